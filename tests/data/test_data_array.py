"""Vectors and images from .npy and .npz files, as they are and standardised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stanley.data import Array
from stanley.data.table import Table
from stanley.errors import StanleyError
from tests import seeds

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((50, 3))


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def rows(data) -> np.ndarray:
    return torch.cat([data.train, data.test]).numpy()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_vectors(tmp_path: Path, dtype) -> None:
    path = save(tmp_path / "x.npy", VECTORS.astype(dtype))
    data = Array(path=str(path), standardise=False).load()
    assert data.standardisation is None
    assert data.train.shape == (45, 3)
    assert data.train.dtype == data.test.dtype == torch.float32
    assert not data.flip
    order = np.lexsort(rows(data).T)
    wanted = VECTORS.astype(dtype).astype(np.float32)
    assert np.array_equal(rows(data)[order], wanted[np.lexsort(wanted.T)])
    assert torch.equal(Array(path=str(path), standardise=False).load().train, data.train)
    assert not torch.equal(Array(path=str(path), seed=1).load().train, data.train)
    assert len(Array(path=str(path), held_out=0.5).load().test) == 25


def test_npz(tmp_path: Path, refused) -> None:
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    np.savez(one, x=VECTORS)
    np.savez_compressed(two, x=VECTORS, y=np.arange(50))
    assert len(Array(path=str(one)).load().train) == 45
    assert torch.equal(
        Array(path=str(two), key="x").load().train, Array(path=str(one)).load().train
    )
    with refused("two.npz holds 2 arrays", "data.key", "x, y"):
        Array(path=str(two)).load()
    with refused("no array 'z'", "x, y"):
        Array(path=str(two), key="z").load()
    with refused("data.key is 'x'", "without a name"):
        Array(path=str(save(tmp_path / "x.npy", VECTORS)), key="x").load()


@pytest.mark.parametrize(
    ("shape", "event"),
    [
        ((20, 8, 9), (1, 8, 9)),
        ((20, 8, 9, 3), (3, 8, 9)),
        ((20, 8, 9, 1), (1, 8, 9)),
        ((20, 3, 8, 9), (3, 8, 9)),
        ((20, 1, 8, 9), (1, 8, 9)),
    ],
)
def test_images(tmp_path: Path, shape: tuple[int, ...], event: tuple[int, ...]) -> None:
    x = RNG.integers(0, 256, shape, np.uint8)
    data = Array(path=str(save(tmp_path / "x.npy", x))).load()
    assert data.is_image
    assert data.event_shape == event
    assert len(data.train) == 18
    first = data.train[0].numpy()
    planes = x[:, None] if x.ndim == 3 else x if shape[1] == event[0] else x.transpose(0, 3, 1, 2)
    assert (planes == first).all((1, 2, 3)).sum() == 1


def with_bad(value: float) -> np.ndarray:
    x = VECTORS.copy()
    x[7, 1] = x[30, 0] = value
    return x


def constant(*columns: int) -> np.ndarray:
    x = VECTORS.copy()
    x[:, columns] = 4.0
    return x


@pytest.mark.parametrize(
    ("array", "parts"),
    [
        (with_bad(np.nan), ("2 NaN or infinite", "first in row 7")),
        (with_bad(np.inf), ("2 NaN or infinite", "first in row 7")),
        (constant(1), ("1 constant column(s) of 3: 1",)),
        (constant(0, 2), ("2 constant column(s) of 3: 0, 2",)),
        (constant(0, 1, 2), ("same row 50 times",)),
        (VECTORS[:, 0], ("float64 (50,)", "(N, d)")),
        (VECTORS.reshape(50, 3, 1), ("float64 (50, 3, 1)", "(N, d)")),
        (VECTORS[:0], ("(0, 3)", "empty")),
        (VECTORS[:2], ("has 2 rows", "leaves 1")),
        (VECTORS.astype(complex), ("complex128",)),
        (VECTORS > 0, ("bool (50, 3)",)),
        (np.array([{}, []], dtype=object), ("Python objects",)),
        (RNG.integers(0, 256, (20, 8, 8, 4), np.uint8), ("uint8 (20, 8, 8, 4)", "C = 1 or 3")),
        (RNG.integers(0, 256, (20, 3, 8, 3), np.uint8), ("axis 1 or 3",)),
        (np.full((20, 8, 8), 9, np.uint8), ("9 in every pixel",)),
    ],
)
def test_refused_arrays(tmp_path: Path, refused, array: np.ndarray, parts: tuple[str, ...]) -> None:
    with refused("x.npy", *parts):
        Array(path=str(save(tmp_path / "x.npy", array))).load()


def test_refused_files(tmp_path: Path, refused) -> None:
    with refused("data.path is not set"):
        Array().load()
    with refused("none.npy is not a file"):
        Array(path=str(tmp_path / "none.npy")).load()
    whole = save(tmp_path / "x.npy", VECTORS).read_bytes()
    np.savez(tmp_path / "y.npz", x=VECTORS)
    archive = (tmp_path / "y.npz").read_bytes()
    for name, content in [
        ("x.npy", b""),
        ("x.npy", b"text"),
        ("x.npy", whole[:50]),
        ("x.npy", whole[:-1]),
        ("y.npz", archive[:200]),
        ("y.npz", archive[:300] + b"\0" * 20 + archive[320:]),
    ]:
        (tmp_path / name).write_bytes(content)
        with refused(f"cannot read {tmp_path / name}"):
            Array(path=str(tmp_path / name)).load()


def test_any_damage_is_told_in_one_line(tmp_path: Path) -> None:
    """Bytes of a header, and of a compressed archive, changed at random: the array,
    or one line that names the file.
    """
    plain, packed = tmp_path / "x.npy", tmp_path / "x.npz"
    np.save(plain, VECTORS)
    np.savez_compressed(packed, x=VECTORS)
    refusals: list[str] = []
    for path, reach in ((plain, 128), (packed, packed.stat().st_size)):
        whole = path.read_bytes()
        for _ in range(200):
            damaged = bytearray(whole)
            for at in seeds.RNG.integers(0, reach, 3):
                damaged[at] = seeds.RNG.integers(256)
            path.write_bytes(damaged)
            try:
                Array(path=str(path)).load()
            except StanleyError as error:
                refusals.append(str(error))
    assert refusals
    assert all(("x.npy" in told or "x.npz" in told) and "\n" not in told for told in refusals)


def test_a_header_that_claims_more_than_there_is_memory(tmp_path: Path, refused) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 3), }"
    padded = header.ljust(117) + b"\n"
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded)
    with refused(path, "cannot read", "numpy.save"):
        Array(path=str(path)).load()


@pytest.mark.parametrize("scale", [1e-30, 1e15])
def test_a_scale_that_float32_cannot_square(tmp_path: Path, refused, scale: float) -> None:
    path = save(tmp_path / "x.npy", scale * VECTORS)
    with refused(path, "standard deviations", "rescale", "data.standardise true"):
        Array(path=str(path), standardise=False).load()
    assert float(Array(path=str(path)).load().train.std()) == pytest.approx(1, abs=0.1)


def test_seed_out_of_range_and_an_unknown_home(tmp_path: Path, refused) -> None:
    path = save(tmp_path / "x.npy", VECTORS)
    for seed in (-1, 2**63):
        with refused(f"data.seed is {seed}", "2^63"):
            Array(path=str(path), seed=seed).load()
    with refused("~nobody-of-this-name/x.npy", "home folder"):
        Array(path="~nobody-of-this-name/x.npy").load()


def test_values_that_float32_cannot_hold(tmp_path: Path, refused) -> None:
    path = str(save(tmp_path / "x.npy", with_bad(1e300)))
    with refused("values up to 1e+300", "infinite in float32"):
        Array(path=path, standardise=False).load()
    assert Array(path=path, columns=(2,)).load().train.shape == (45, 1)
    with refused("standard deviations", "1e+100"):
        Array(path=path).load()


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.uint32])
def test_integers_are_vectors(tmp_path: Path, dtype) -> None:
    x = seeds.RNG.integers(0, 100, (50, 3)).astype(dtype)
    data = Array(path=str(save(tmp_path / "x.npy", x)), standardise=False).load()
    assert data.train.dtype == torch.float32
    assert np.array_equal(np.sort(rows(data), 0), np.sort(x, 0))


def test_each_column_is_standardised_by_the_training_rows(tmp_path: Path) -> None:
    """z has mean 0 and standard deviation 1 over the training rows, and μ + s·z is x again, up to
    float32's rounding of z: |z| < 2⁵ is known to 2⁻²⁰."""
    scale, mean = 10.0 ** seeds.RNG.uniform(-30, 30, 3), 10.0 ** seeds.RNG.uniform(-30, 30, 3)
    x = np.maximum(scale, 1e-8 * mean) * seeds.RNG.standard_normal((200, 3)) + mean
    data = Array(path=str(save(tmp_path / "x.npy", x))).load()
    z, s = data.train.double(), data.standardisation
    assert data.train.dtype == data.test.dtype == torch.float32
    assert z.mean(0).abs().max() < 1e-5
    assert (z.square().mean(0).sqrt() - 1).abs().max() < 1e-5
    plain = Array(path=str(tmp_path / "x.npy"), seed=0)
    order = plain._split(Table(x), tmp_path)
    for ours, theirs in ((data.train, order.train), (data.test, order.test)):
        assert ((s.undo(ours) - theirs) / s.std).abs().max() < 2**-20
    assert s.log_scale == pytest.approx(float(np.log(order.train.numpy().std(0)).sum()))


def test_images_stay_as_they_are(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (20, 8, 9), np.uint8)
    data = Array(path=str(save(tmp_path / "x.npy", x))).load()
    assert data.is_image
    assert data.standardisation is None


def test_another_standardisation(tmp_path: Path, refused) -> None:
    """A model's own, where its data have changed since."""
    first = Array(path=str(save(tmp_path / "x.npy", VECTORS))).load()
    moved = Array(path=str(save(tmp_path / "y.npy", 3 * VECTORS + 5))).load()
    assert first.standardised_by(first.standardisation) is first
    again = moved.standardised_by(first.standardisation)
    x = moved.standardisation.undo(moved.train)
    assert torch.allclose(again.standardisation.undo(again.train), x, atol=1e-5)
    assert again.standardisation is first.standardisation
    with refused("the data are standardised, those of the model were not", "data.standardise"):
        moved.standardised_by(None)


def test_columns_that_are_constant_for_training(tmp_path: Path, refused) -> None:
    """All but one of the rows are equal, and that one is held out; or they differ by rounding."""
    order = Array()._split(Table(np.arange(50.0)[:, None]), tmp_path)
    x = VECTORS.copy()
    x[:, 1] = 7.0
    x[int(order.test[0]), 1] = 8.0
    with refused("constant in the 45 rows for training", "up to rounding: 1;", "--data.columns"):
        Array(path=str(save(tmp_path / "x.npy", x))).load()
    x[:, 1] = 7.0 + 1e-15 * VECTORS[:, 1]
    with refused("constant in the 45 rows for training"):
        Array(path=str(save(tmp_path / "x.npy", x))).load()


def test_columns_by_number(tmp_path: Path, refused) -> None:
    path = str(save(tmp_path / "x.npy", VECTORS))
    for columns in ((2, 0), "2,0", ("2", "0")):
        data = Array(path=path, columns=columns, standardise=False).load()
        assert np.array_equal(
            np.sort(rows(data), 0), np.sort(VECTORS[:, [2, 0]].astype(np.float32), 0)
        )
    with refused("data.columns has 3", "columns are 0 to 2"):
        Array(path=path, columns=3).load()
    with refused("column 1 twice"):
        Array(path=path, columns="1,1").load()
    with refused("data.header is True", "leave it out"):
        Array(path=path, header=True).load()
