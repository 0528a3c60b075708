"""What is drawn of each arm: in the units of the data, at the median seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stanley.comparing.given import compare_runs
from stanley.comparing.panels import CELLS, panels
from stanley.plots.comparison import samples
from stanley.training.loop import train
from stanley.training.resolve import resolve
from tests.seeds import fresh_seed

SCALE, CENTRE = np.array([1000.0, 0.01]), np.array([5000.0, -3.0])
FIELDS = {
    "steps": 4,
    "batch": 16,
    "network": "mlp",
    "network.width": 16,
    "network.depth": 2,
    "objective.bank_size": 32,
    "objective.chain_steps": 2,
    "reference_std": 1.0,
}


@pytest.fixture
def shown(tmp_path: Path):
    rows = np.random.default_rng(fresh_seed()).normal(size=(400, 2)) * SCALE + CENTRE
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", header="mass,drift", comments="")
    config = resolve("array-contrastive", {}, FIELDS | {"data.path": str(tmp_path / "t.csv")})
    for seed in (0, 1):
        train(replace(config, seed=seed), tmp_path / f"{seed}", device="cpu")
    found = compare_runs([tmp_path / "0", tmp_path / "1"], scores=["record.loss"])
    return panels(found, tmp_path)


def test_densities_of_standardised_columns_are_in_their_own_units(shown: list[dict]):
    """The sum of the cells times their area is 1, since the density is normalised over the window;
    of standardised points it would be the product of the deviations. The corners are in float32.
    """
    data, arm = shown
    left, right, bottom, top = arm["box"]
    assert data["box"] == arm["box"]
    assert data["names"] == ("mass", "drift")
    assert left < CENTRE[0] < right
    assert bottom < CENTRE[1] < top
    x = data["samples"]
    inside = (x >= (left, bottom)) & (x <= (right, top))
    assert inside.all()
    mass = arm["density"].sum() * (right - left) * (top - bottom) / CELLS**2
    assert mass == pytest.approx(1.0, rel=1e-4)
    figure = samples(shown)
    assert figure is not None
    assert {ax.get_xlabel() for ax in figure.axes} >= {"mass"}
