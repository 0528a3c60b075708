"""MNIST's idx files, written small."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from stanley.data import MNIST

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def pixels(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), np.uint8)


def idx(x: np.ndarray, magic: int = 2051) -> bytes:
    return struct.pack(">4i", magic, *x.shape) + x.tobytes()


@pytest.fixture(params=["gz", "plain"])
def raw(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, x in ((TRAIN, pixels(12, 0)), (TEST, pixels(5, 1))):
        if request.param == "gz":
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(x)))
        else:
            (folder / name).write_bytes(idx(x))
    return folder


def test_reads_both_layouts(raw: Path) -> None:
    for root in (raw, raw.parent, raw.parent.parent):
        data = MNIST(root=str(root)).load()
        assert data.train.dtype == torch.uint8
        assert not data.flip
        assert np.array_equal(data.train[:, 0].numpy(), pixels(12, 0))
        assert np.array_equal(data.test[:, 0].numpy(), pixels(5, 1))


def test_sizes(raw: Path) -> None:
    small = MNIST(root=str(raw), size=14).load().train
    quads = pixels(12, 0).reshape(12, 1, 14, 2, 14, 2).mean((3, 5))
    assert np.abs(small.numpy() - quads).max() <= 0.5
    for size, before in ((32, 2), (31, 1)):
        large = MNIST(root=str(raw), size=size).load().train
        assert large.shape == (12, 1, size, size)
        assert large.dtype == torch.uint8
        assert np.array_equal(
            large[:, 0, before : before + 28, before : before + 28].numpy(), pixels(12, 0)
        )
        assert int(large.long().sum()) == pixels(12, 0).sum(dtype=int)


def test_limit(raw: Path, refused) -> None:
    assert len(MNIST(root=str(raw), limit=3).load().train) == 3
    with refused("data.limit is 13", "1 to 12"):
        MNIST(root=str(raw), limit=13).load()


def label_file(labels: list[int], magic: int = 2049) -> bytes:
    return struct.pack(">2i", magic, len(labels)) + bytes(labels)


def test_labels(raw: Path, refused) -> None:
    """In the order of the images, also of a limited training set."""
    packed = any(path.suffix == ".gz" for path in raw.iterdir())

    def write(split: str, content: bytes) -> None:
        path = raw / f"{split}-labels-idx1-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)

    with refused("train-labels-idx1-ubyte", "cannot be read"):
        MNIST(root=str(raw)).labels()
    write("train", label_file([*range(10), 3, 4]))
    write("t10k", label_file([9, 8, 7, 6, 5]))
    train, test = MNIST(root=str(raw)).labels()
    assert train.tolist() == [*range(10), 3, 4]
    assert test.tolist() == [9, 8, 7, 6, 5]
    whole, few = MNIST(root=str(raw)).load().train, MNIST(root=str(raw), limit=5)
    rows = [next(i for i in range(12) if torch.equal(whole[i], x)) for x in few.load().train]
    assert few.labels()[0].tolist() == train[rows].tolist()
    for content in (b"", label_file([1, 2], magic=2051), label_file([1, 2]) + b"x"):
        write("t10k", content)
        with refused("t10k-labels", "not a complete file of MNIST labels", "delete it"):
            MNIST(root=str(raw)).labels()
    write("t10k", label_file([1, 12]))
    with refused("t10k-labels", "has label 12"):
        MNIST(root=str(raw)).labels()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (idx(pixels(3, 0))[:9], ("ends after 9 bytes",)),
        (idx(pixels(3, 0), magic=2049), ("magic number 2049", "2051")),
        (idx(np.zeros((3, 20, 28), np.uint8)), ("3×20×28", "N×28×28")),
        (idx(np.zeros((0, 28, 28), np.uint8)), ("0×28×28",)),
        (idx(pixels(3, 0))[:-1], ("holds 2351 bytes", "3 images in its header take 2352")),
        (idx(pixels(3, 0)) + b"x", ("holds 2353 bytes",)),
    ],
)
def test_damaged_files(raw: Path, refused, content: bytes, parts: tuple[str, ...]) -> None:
    path = next(raw.glob("train*"))
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    with refused(path, "delete it", *parts):
        MNIST(root=str(raw)).load()


def test_damaged_gzip(tmp_path: Path, refused) -> None:
    for name in (TRAIN, TEST):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(pixels(12, 0))))
    whole = (tmp_path / f"{TEST}.gz").read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for content in (whole[:100], b"plain text, no gzip", flipped, whole[:-8] + b"\0" * 8):
        (tmp_path / f"{TEST}.gz").write_bytes(content)
        with refused(f"{TEST}.gz", "cannot be read", "delete it"):
            MNIST(root=str(tmp_path)).load()


def test_missing(tmp_path: Path, refused) -> None:
    with refused("holds no MNIST", "MNIST/raw/train-images-idx3-ubyte.gz", "--data.download true"):
        MNIST(root=str(tmp_path)).load()
    (tmp_path / f"{TRAIN}.gz").write_bytes(b"")
    with refused("lacks t10k-images-idx3-ubyte.gz", "incomplete"):
        MNIST(root=str(tmp_path)).load()
    with refused("data.size is 0"):
        MNIST(size=0)


def test_a_folder_in_the_place_of_a_file(tmp_path: Path, refused) -> None:
    for name in (TRAIN, TEST):
        (tmp_path / name).mkdir()
    with refused(TRAIN, "cannot be read"):
        MNIST(root=str(tmp_path)).load()


def test_one_digit_again_and_again(raw: Path, refused) -> None:
    same = idx(np.repeat(pixels(1, 0), 300, 0))
    path = next(raw.glob("train*"))
    path.write_bytes(gzip.compress(same) if path.suffix == ".gz" else same)
    with refused("the same image 300 times", "nothing can be learned"):
        MNIST(root=str(raw)).load()


def write_labels(raw: Path, train: list[int], test: list[int]) -> None:
    for name, values in ((TRAIN, train), (TEST, test)):
        content = struct.pack(">2i", 2049, len(values)) + bytes(values)
        path = raw / name.replace("images-idx3", "labels-idx1")
        if any(raw.glob("*.gz")):
            path = path.with_name(f"{path.name}.gz")
            content = gzip.compress(content)
        path.write_bytes(content)


def test_one_digit(raw: Path, refused) -> None:
    """Label k alone, in order, in both parts; the limit counts within it."""
    train, test = [3, 1, 3, 0, 3, 9, 1, 1, 3, 0, 0, 3], [1, 3, 3, 0, 1]
    write_labels(raw, train, test)
    data, spec = MNIST(root=str(raw), label=3).load(), MNIST(root=str(raw), label=3)
    assert np.array_equal(data.train[:, 0].numpy(), pixels(12, 0)[np.array(train) == 3])
    assert np.array_equal(data.test[:, 0].numpy(), pixels(5, 1)[np.array(test) == 3])
    assert [len(part) for part in spec.labels()] == [len(data.train), len(data.test)]
    assert all((part == 3).all() for part in spec.labels())
    assert len(MNIST(root=str(raw), label=3, limit=2).load().train) == 2
    with refused("data.label is 5", "holds 0 images of that class"):
        MNIST(root=str(raw), label=5).load()
    with refused("data.label is 10", "0 to 9"):
        MNIST(label=10)
    write_labels(raw, train[:-1], test)
    with refused("12 images and 11 labels"):
        MNIST(root=str(raw), label=3).load()
