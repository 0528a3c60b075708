"""Flowers-102 in its official layout, written small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from stanley.data import Flowers102, flowers102

SPLITS = {"trnid": [1, 4], "valid": [2, 6], "tstid": [3, 5, 7]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 9):
        grey = np.full((40 + number, 50), 20 * number, np.uint8)
        Image.fromarray(np.stack([grey] * 3, -1)).save(
            folder / "jpg" / f"image_{number:05d}.jpg", quality=95
        )
    savemat(folder / "setid.mat", {name: np.array([ids]) for name, ids in SPLITS.items()})
    return tmp_path


@pytest.fixture(autouse=True)
def small_files_are_official(request: pytest.FixtureRequest, monkeypatch) -> None:
    """These tests write the official layout small, so that its checksums do not fit."""
    if "official" not in request.node.name:
        monkeypatch.setattr(flowers102, "require_official", lambda path: None)


def test_a_file_that_is_not_official_is_not_parsed(root: Path, refused, monkeypatch) -> None:
    """On some damaged files scipy's parser ends the whole process."""

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("scipy.io.loadmat", parsed)
    with refused("setid.mat has md5", "a5357ecc9cb78c4bef273ce3793fc85c", "download it again"):
        Flowers102(root=str(root)).load()


def greys(images) -> list[int]:
    return (images.float().mean((1, 2, 3)) / 20).round().int().tolist()


def test_splits(root: Path) -> None:
    data = Flowers102(root=str(root)).load()
    assert data.train.shape == (5, 3, 32, 32)
    assert data.flip
    assert greys(data.train) == [1, 4, 3, 5, 7]
    assert greys(data.test) == [2, 6]
    official = Flowers102(
        root=str(root / "flowers-102"), size=8, train_splits=("trnid",), test_split="tstid"
    ).load()
    assert greys(official.train) == [1, 4]
    assert greys(official.test) == [3, 5, 7]
    assert official.event_shape == (3, 8, 8)


def test_errors(root: Path, refused, tmp_path: Path) -> None:
    with refused("data.train_splits", "data.test_split is 'trnid'", "different"):
        Flowers102(train_splits=("trnid",), test_split="trnid")
    with refused("data.train_splits is ()"):
        Flowers102(train_splits=())
    with refused("7 of 7 images", "smaller than data.size 64", "image_00001.jpg is 50×41"):
        Flowers102(root=str(root), size=64).load()
    folder = root / "flowers-102"
    for number in (3, 6):
        (folder / "jpg" / f"image_{number:05d}.jpg").unlink()
    with refused("2 of 7 images", "image_00003.jpg"):
        Flowers102(root=str(root)).load()
    (folder / "setid.mat").write_bytes(b"no mat file")
    with refused("setid.mat cannot be read"):
        Flowers102(root=str(root)).load()
    savemat(folder / "setid.mat", {"trnid": np.array([[1]])})
    with refused("setid.mat cannot be read", "valid"):
        Flowers102(root=str(root)).load()
    savemat(folder / "setid.mat", {name: np.array([["a"]]) for name in SPLITS})
    with refused("setid.mat", "must be image numbers"):
        Flowers102(root=str(root)).load()
    (folder / "setid.mat").unlink()
    with refused("lacks setid.mat"):
        Flowers102(root=str(root)).load()
    with refused("holds no Flowers-102", "flowers-102/setid.mat"):
        Flowers102(root=str(tmp_path / "nowhere")).load()


@pytest.mark.parametrize(
    "content",
    [b"", b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"\x0f\0\0\0\x09\0\0\0not zlib!"],
)
def test_damaged_splits(root: Path, refused, content: bytes) -> None:
    (root / "flowers-102" / "setid.mat").write_bytes(content)
    with refused("setid.mat", "cannot be read", "download it again"):
        Flowers102(root=str(root)).load()


def test_one_class(root: Path, refused) -> None:
    """Image numbers count from 1: images 1, 4, 3 are of class 7 to train on, 2 and 6 to test on."""
    savemat(
        root / "flowers-102" / "imagelabels.mat", {"labels": np.array([[7, 7, 7, 7, 9, 7, 9, 9]])}
    )
    data = Flowers102(root=str(root), size=8, label=7).load()
    assert greys(data.train) == [1, 4, 3]
    assert greys(data.test) == [2, 6]
    with refused("data.label is 9", "0 images of that class"):
        Flowers102(root=str(root), label=9).load()
    with refused("data.label is 103", "1 to 102"):
        Flowers102(label=103)
    (root / "flowers-102" / "imagelabels.mat").write_bytes(b"no mat file")
    with refused("imagelabels.mat cannot be read"):
        Flowers102(root=str(root), label=7).load()
