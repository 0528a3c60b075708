"""Bytes to points and back; batches are uniform draws of the rows."""

from __future__ import annotations

import math

import pytest
import torch

from stanley.data import Dataset, centre, dequantise, positive_batch, to_bytes
from stanley.data.base import first_rows, held_out_order
from tests.seeds import stream

ALPHA = 1e-6  # false-positive rate of each comparison


def gen(seed: int = 0) -> torch.Generator:
    return stream(seed)


def hoeffding(n: int) -> float:
    """P(|mean of n draws in [0, 1] - its expectation| > ε) <= 2·exp(-2nε²) = ALPHA;
    also the DKW bound.
    """
    return math.sqrt(math.log(2 / ALPHA) / (2 * n))


def test_to_bytes_undoes_centre() -> None:
    v = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(centre(v)), v)
    assert centre(v)[[0, 255]].tolist() == [-1 + 1 / 256, 1 - 1 / 256]


def test_to_bytes_shows_outside_points_at_the_border() -> None:
    assert to_bytes(torch.tensor([-3.0, -1.0, 0.0, 1.0, 5.0])).tolist() == [0, 0, 128, 255, 255]


def test_dequantise_spreads_each_byte_over_its_cell() -> None:
    n = 100_000
    for v in (0, 7, 255):
        x = dequantise(torch.full((n,), v, dtype=torch.uint8), gen(v))
        u = (x.double() + 1) * 128 - v
        assert float(u.min()) >= 0
        assert float(u.max()) <= 1
        uniform = torch.arange(1, n + 1, dtype=torch.float64) / n
        # float32 rounds v + u by 2^-17 at most
        assert float((u.sort().values - uniform).abs().max()) < hoeffding(n) + 1 / n + 2**-17


def test_dataset_tells_images_from_vectors() -> None:
    images = Dataset(
        torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    )
    assert images.is_image
    assert images.event_shape == (3, 8, 8)
    vectors = Dataset(torch.zeros(4, 2), torch.zeros(2, 2))
    assert not vectors.is_image
    assert vectors.event_shape == (2,)


def test_rows_are_uniform() -> None:
    n, rows = 100_000, 50
    x = positive_batch(torch.arange(rows, dtype=torch.float32)[:, None], n, gen())
    counts = torch.bincount(x[:, 0].long(), minlength=rows)
    gap = counts.cumsum(0) / n - torch.arange(1, rows + 1) / rows
    assert float(gap.abs().max()) < hoeffding(n)
    assert x.shape == (n, 1)


def test_vectors_come_as_they_are() -> None:
    data = torch.randn(20, 3, generator=gen(), dtype=torch.float64)
    x = positive_batch(data, 64, gen(1))
    assert x.dtype == torch.float64
    assert all(bool((row == data).all(1).any()) for row in x)


def test_images_are_mirrored_one_by_one_half_of_the_time() -> None:
    n = 20_000
    image = torch.arange(2 * 3 * 4, dtype=torch.uint8).reshape(1, 2, 3, 4)
    half_cell = 1 / 256 + 2**-23  # and float32's rounding
    x = positive_batch(image, n, gen(), flip=True)
    straight = ((x - centre(image)).abs() <= half_cell).flatten(1).all(1)
    mirrored = ((x - centre(image.flip(-1))).abs() <= half_cell).flatten(1).all(1)
    assert bool((straight ^ mirrored).all())
    assert abs(float(mirrored.double().mean()) - 0.5) < hoeffding(n)
    assert bool(((positive_batch(image, 100, gen()) - centre(image)).abs() <= half_cell).all())


def test_noise_has_the_given_spread() -> None:
    n = 100_000
    data = torch.full((1, 2), 3.0)
    noise = positive_batch(data, n, gen(), noise_std=0.1) - 3
    # 2n draws: the mean is off by z·σ/√2n, the variance by z·σ²·√(2/2n); z = 4.9 has two-sided rate
    # 1e-6
    assert abs(float(noise.mean())) < 4.9 * 0.1 / math.sqrt(2 * n)
    assert abs(float(noise.var()) / 0.01 - 1) < 4.9 * math.sqrt(1 / n)


def test_a_batch_is_a_function_of_the_generator_alone() -> None:
    data = torch.randint(256, (30, 1, 4, 4), generator=gen(), dtype=torch.uint8)
    before = torch.get_rng_state()
    a, b, c = (positive_batch(data, 16, gen(seed), flip=True, noise_std=0.1) for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


def test_batch_requests_that_make_no_sense(refused) -> None:
    data = torch.zeros(4, 2)
    with refused("flip is set", "torch.float32 vectors"):
        positive_batch(data, 2, gen(), flip=True)
    with refused("device is meta", "generator is on cpu"):
        positive_batch(data, 2, gen(), device="meta")
    assert positive_batch(data, 2, gen(), device="cpu").device.type == "cpu"


@pytest.mark.parametrize(
    ("n", "held_out", "trained"), [(10, 0.1, 9), (11, 0.1, 9), (3, 0.1, 2), (100, 0.25, 75)]
)
def test_held_out_rows(n: int, held_out: float, trained: int) -> None:
    order, num_train = held_out_order(n, held_out, 0, "x")
    assert num_train == trained
    assert order.sort().values.tolist() == list(range(n))
    assert torch.equal(order, held_out_order(n, held_out, 0, "x")[0])
    assert n < 10 or not torch.equal(order, held_out_order(n, held_out, 1, "x")[0])


def test_held_out_errors(refused) -> None:
    with refused("data.held_out is 0", "between 0 and 1"):
        held_out_order(10, 0, 0, "x")
    with refused("file.npy has 2 rows", "leaves 1", "2 are needed"):
        held_out_order(2, 0.1, 0, "file.npy")


def test_first_rows_are_nested(refused) -> None:
    data = torch.arange(20)
    assert first_rows(data, None, "x") is data
    five, nine = first_rows(data, 5, "x"), first_rows(data, 9, "x")
    assert torch.equal(nine[:5], five)
    assert len(nine.unique()) == 9
    with refused("data.limit is 21", "1 to 20", "folder"):
        first_rows(data, 21, "folder")
    with refused("data.limit is 0"):
        first_rows(data, 0, "folder")
