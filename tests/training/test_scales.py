"""What is told before training of vectors whose scales do not suit it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stanley import recipe, train
from stanley.data import Array, Dataset
from stanley.data.given import dataset_of, for_training
from stanley.training.scales import FEW, MOST, explain, far_rows
from tests.conftest import changed
from tests.seeds import RNG

N = 500


def points(far: float | None = None, row: int = 0, num: int = N) -> np.ndarray:
    """Rows of N(0, 1)², of which one may have a second coordinate that is far off."""
    x = RNG.standard_normal((num, 2))
    if far is not None:
        x[row, 1] = far
    return x


def trained_row(num: int = N) -> int:
    """A row of the user's that is not held out."""
    marked = Dataset(*map(torch.clone, split_of(num)))
    return int(marked.train[0, 0])


def split_of(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = dataset_of(torch.arange(2.0 * num).view(num, 2) // 2)
    return data.train, data.test


def told(x: np.ndarray) -> str:
    data = for_training(dataset_of(x), "ndarray", None)
    far = far_rows(data)
    return "" if far is None else explain(far, data)


def test_a_row_of_a_table_is_told_by_its_line_its_column_and_how_far_it_is(tmp_path: Path):
    x = RNG.standard_normal((N, 2))
    row = trained_row()
    x[row] = (0.5, 54.0)
    table = tmp_path / "far.csv"
    np.savetxt(table, x, delimiter=",", header="a,b", comments="")
    data = Array(path=str(table)).load()
    far = far_rows(data)
    assert far is not None
    line = explain(far, data)
    assert f"{table} line {row + 2} has 'b' = 54" in line
    # the mean of 449 others is below 0.25 and their spread within 20 %: five standard errors
    distance = float(line.split(", ")[1].split()[0])
    assert distance == pytest.approx(54, rel=0.2)
    assert "this row alone has" in line


@pytest.mark.parametrize("standardise", [True, False], ids=["standardised", "as-it-is"])
def test_a_row_that_was_handed_over_is_told_by_its_number(standardise: bool):
    row = trained_row()
    data = for_training(dataset_of(points(54.0, row)), "ndarray", standardise)
    far = far_rows(data)
    assert far is not None
    assert f"row {row} of the data (ndarray) has column 1 = 54" in explain(far, data)


def test_the_share_is_that_of_the_variance():
    """One row at D beside n - 1 at ±1 has share (1 - 1/n)/(1 - 1/n + (n-1)/D'²) of it, D' its
    distance to their mean: Σ(x - m)² = (n-1)·1 + (1 - 1/n)·D², of which it has (1 - 1/n)²·D².
    """
    n, distance = 101, 40.0
    x = torch.ones(n, 1)
    x[: n // 2] = -1
    x[-1] = distance
    far = far_rows(Dataset(x, x[:0]))
    assert far is not None
    whole = (n - 1) + (1 - 1 / n) * distance**2
    assert far.row == n - 1
    assert far.share == pytest.approx(((1 - 1 / n) * distance) ** 2 / whole, rel=1e-9)


def test_the_rows_of_one_value_but_one_are_told_as_such():
    x = points()
    x[:, 1] = 3.0
    x[trained_row(), 1] = 4.0
    assert "where all other rows have one value" in told(x)


def test_heavy_tails_are_told():
    """Of n = 9,000 Cauchy numbers the k = 45 farthest have |x| > c = 2n/kπ = 127 or so, and the
    others Σx² = (2/π)·n·c = 7.3e5. Those squares have a tail of index 1/2: their sum is about
    Lévy's with scale k²c²π/2 = 5.1e7, and below 3·7.3e5 with probability erfc(√(5.1e7/4.4e6))
    = 1.5e-6.
    """
    assert "logarithm" in told(RNG.standard_cauchy((10_000, 1)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda n: RNG.standard_normal((n, 2)),
        lambda n: RNG.exponential(size=(n, 2)),
        lambda n: RNG.laplace(size=(n, 2)),
        lambda n: RNG.uniform(size=(n, 2)),
        lambda n: (RNG.uniform(size=(n, 2)) < 0.05) * 1.0,
        lambda n: RNG.standard_normal((n, 1)) + 40.0 * (RNG.uniform(size=(n, 1)) < 0.05),
    ],
    ids=["normal", "exponential", "laplace", "uniform", "rare-ones", "a-small-mode"],
)
@pytest.mark.parametrize("num", [300, 5_000])
def test_what_can_be_learned_is_not_told(draw, num: int):
    """The N/200 largest have at most a quarter of an exponential's variance; of ones with chance
    0.05 and of a mode of that weight they are a tenth, and more than 3/4 needs 15 in 300 to be 1:
    P(Bin(270, 0.05) < 2) = 1.5e-5 a column.
    """
    assert told(draw(num)) == ""


def test_the_limit_is_where_the_others_look_half_as_wide():
    """With more than 3/4 of the variance in a few rows, the others have less than half of σ."""
    assert math.sqrt(1 - MOST) == 0.5
    assert FEW < 0.01


def test_a_training_tells_of_it_before_the_first_step(tmp_path: Path):
    config = changed(recipe("array-contrastive"), steps=1, batch=16, bank_size=32)
    with pytest.warns(UserWarning, match=r"row \d+ of the data \(ndarray\) has column 1 = 54"):
        train(config, tmp_path / "run", data=points(54.0, trained_row()))
