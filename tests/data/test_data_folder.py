"""A folder of pictures: every mode, damaged files, and the cache."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stanley.data import Folder
from stanley.data import folder as folder_module
from stanley.data.images import area_downsample, read_square
from stanley.data.pictures import read_mask, read_picture
from stanley.files import PART


def flat(mode: str, colour, size=(9, 12), path: Path | None = None) -> Image.Image:
    image = Image.new(mode, size, colour)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return image


def colours(path: Path, channels: int = 3, size: int = 8) -> list[int]:
    """The one colour of a flat picture."""
    square = read_square(path, size, channels)
    assert square.shape == (channels, size, size)
    assert square.dtype == np.uint8
    assert (square == square[:, :1, :1]).all()
    return square[:, 0, 0].tolist()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for i in range(12):
        flat(
            "RGB", (i, 2 * i, 255 - i), (10 + i, 14), root / f"deep{i % 3}" / "er" / f"{i:02d}.png"
        )
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_text("no picture either")
    return root


@pytest.mark.parametrize(
    ("mode", "colour", "name", "rgb"),
    [
        ("RGB", (10, 20, 30), "x.png", [10, 20, 30]),
        ("L", 77, "x.png", [77, 77, 77]),
        ("1", 1, "x.png", [255, 255, 255]),
        ("RGBA", (255, 0, 0, 255), "x.png", [255, 0, 0]),
        ("RGBA", (9, 9, 9, 0), "x.png", [255, 255, 255]),
        ("RGBA", (255, 0, 0, 51), "x.png", [255, 204, 204]),  # α = 1/5 over white
        ("LA", (0, 51), "x.png", [204, 204, 204]),
        ("I;16", 77 * 257, "x.png", [77, 77, 77]),
        ("I;16", 65535, "x.tif", [255, 255, 255]),
        ("CMYK", (0, 255, 255, 0), "x.tif", [255, 0, 0]),
    ],
)
def test_modes(tmp_path: Path, mode: str, colour, name: str, rgb: list[int]) -> None:
    flat(mode, colour, path=tmp_path / name)
    assert colours(tmp_path / name) == rgb


def test_palette_with_a_clear_entry(tmp_path: Path) -> None:
    image = flat("P", 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(tmp_path / "opaque.png")
    assert colours(tmp_path / "opaque.png") == [10, 200, 30]
    image.save(tmp_path / "clear.png", transparency=1)
    assert colours(tmp_path / "clear.png") == [255, 255, 255]


def grey_png(bits: int, pixels: list[int], clear: int | None = None, channels: int = 1) -> bytes:
    """A PNG of one row, written by hand: pixels of `bits` bits,
    one grey or colour of which is clear.
    """

    def part(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    row = sum(v << bits * i for i, v in enumerate(reversed(pixels)))
    width = len(pixels) // channels
    header = struct.pack(">IIBBBBB", width, 1, bits, 0 if channels == 1 else 2, 0, 0, 0)
    said = b"" if clear is None else part(b"tRNS", struct.pack(">H", clear) * channels)
    packed = (row << -bits * len(pixels) % 8).to_bytes((bits * len(pixels) + 7) // 8, "big")
    lines = part(b"IDAT", zlib.compress(b"\0" + packed))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + said + lines + part(b"IEND", b"")


def grey_tiff(bits: int, photometric: int, pixels: list[int]) -> bytes:
    """A TIFF of one row, written by hand; photometric 0 says that white is zero."""
    size = bits * len(pixels) // 8
    if bits == 16:
        packed = struct.pack(f"<{len(pixels)}H", *pixels)
    else:
        packed = sum(v << bits * i for i, v in enumerate(reversed(pixels))).to_bytes(size, "big")
    values = {
        256: len(pixels),
        257: 1,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: 1,
        279: size,
    }
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return (
        b"II*\0"
        + struct.pack("<I", 8 + size)
        + packed
        + struct.pack("<H", len(values))
        + tags
        + bytes(4)
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_clear_pixels_of_grey_pngs_are_white_with_any_number_of_bits(
    tmp_path: Path, bits: int
) -> None:
    """In pictures, in training data and in masks: the clear grey is white,
    all others are what they were.
    """
    top, file = 2**bits - 1, tmp_path / "x.png"
    clear = 0 if bits == 1 else 1
    file.write_bytes(grey_png(bits, [0, clear, top, clear] * 2, clear))
    black = 255 if clear == 0 else 0
    expected = [black, 255, 255, 255] * 2
    assert read_picture(file, (1, 1, 8), False)[0].flatten().tolist() == expected
    assert read_picture(file, (1, 1, 8), False)[1] == (8, 1)
    assert read_mask(file, (1, 1, 8)).flatten().tolist() == [v > 127 for v in expected]
    file.write_bytes(grey_png(bits, [clear], clear))
    assert colours(file, 1, size=1) == [255]
    file.write_bytes(grey_png(bits, [clear]))  # negative control: without the word that it is clear
    assert colours(file, 1, size=1) == [0 if bits in (1, 16) else round(255 / top)]


def test_clear_pixels_of_a_16_bit_colour_png_are_white(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(grey_png(16, [300, 300, 300, 65535, 0, 0], 300, channels=3))
    picture = read_picture(file, (3, 1, 2), False)[0]
    assert picture[:, 0, 0].tolist() == [255] * 3
    assert picture[:, 0, 1].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("bits", "photometric"), [(8, 0), (8, 1), (12, 1), (16, 0), (16, 1)])
def test_tiffs_in_which_white_is_zero_are_no_negatives(
    tmp_path: Path, bits: int, photometric: int
) -> None:
    top, file = 2**bits - 1, tmp_path / "x.tif"
    pixels = [0, top, top // 3, top // 5]
    file.write_bytes(grey_tiff(bits, photometric, pixels))
    expected = [0, 255, 85, 51] if photometric == 1 else [255, 0, 170, 204]
    assert read_picture(file, (1, 1, 4), False)[0].flatten().tolist() == expected


def test_grey_is_luma(tmp_path: Path) -> None:
    flat("RGB", (255, 0, 0), path=tmp_path / "x.png")
    assert colours(tmp_path / "x.png", 1) == [76]  # 0.299·255


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("L", (16, 16), 0)
    image.paste(255, (0, 0, 8, 16))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: the left side goes up
    image.save(tmp_path / "x.png", exif=exif)
    square = read_square(tmp_path / "x.png", 16, 1)[0]
    assert (square[:8] == 255).all()
    assert (square[8:] == 0).all()


def test_crop_is_central_and_averages_areas(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (16, 40), np.uint8)
    Image.fromarray(x).save(tmp_path / "x.png")
    got = read_square(tmp_path / "x.png", 8, 1)[0].astype(float)
    # Pillow rounds twice
    assert np.abs(got - x[:, 12:28].reshape(8, 2, 8, 2).mean((1, 3))).max() <= 1
    Image.fromarray(x.T.copy()).save(tmp_path / "y.png")
    assert np.array_equal(read_square(tmp_path / "y.png", 8, 1)[0], got.T) or (
        np.abs(read_square(tmp_path / "y.png", 8, 1)[0] - got.T).max() <= 1
    )


@pytest.mark.parametrize("size", [1, 5, 7, 20, 27])
def test_area_downsample_keeps_the_mean(size: int) -> None:
    x = torch.randint(
        256, (6, 2, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    small = area_downsample(x, size)
    assert small.dtype == torch.uint8
    # every pixel of an image has the same total weight; rounding moves each average by ½ at most
    assert float((small.double().mean((2, 3)) - x.double().mean((2, 3))).abs().max()) <= 0.5 + 1e-4
    ramp = torch.arange(28, dtype=torch.uint8).expand(1, 1, 28, 28)
    # of a linear ramp, at the centres of the cells
    exact = (torch.arange(size) + 0.5) * 28 / size - 0.5
    assert float((area_downsample(ramp, size)[0, 0, 0] - exact).abs().max()) <= 0.5 + 0.5 + 1e-4


def test_load(pictures: Path) -> None:
    data = Folder(path=str(pictures), size=10).load()
    assert data.train.shape == (10, 3, 10, 10)
    assert data.test.shape == (2, 3, 10, 10)
    assert data.flip
    reds = torch.cat([data.train, data.test])[:, 0, 0, 0].tolist()
    assert sorted(reds) == list(range(12))
    assert reds != sorted(reds)
    again, other = (
        Folder(path=str(pictures), size=10).load(),
        Folder(path=str(pictures), size=10, seed=1).load(),
    )
    assert torch.equal(again.train, data.train)
    assert not torch.equal(other.train, data.train)
    assert Folder(path=str(pictures), size=10, channels=1, flip=False).load().event_shape == (
        1,
        10,
        10,
    )


def test_errors(pictures: Path, tmp_path: Path, refused) -> None:
    with refused("data.path is not set"):
        Folder().load()
    with refused("data.path", "nowhere is not a folder"):
        Folder(path=str(tmp_path / "nowhere")).load()
    (tmp_path / "empty").mkdir()
    with refused("empty holds no picture", ".png"):
        Folder(path=str(tmp_path / "empty")).load()
    with refused("2 of 12 images", "00.png is 10×14, smaller than data.size 12", "lower data.size"):
        Folder(path=str(pictures), size=12, skip_bad=False).load()
    with refused("data.channels is 2"):
        Folder(channels=2)  # pyright: ignore[reportArgumentType]
    with refused("data.size is 0"):
        Folder(size=0)
    with refused("data.memory_limit_mb is -1"):
        Folder(memory_limit_mb=-1)


def test_damaged_pictures_are_named(pictures: Path, refused) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(pictures / "whole.jpg")
    whole = (pictures / "whole.jpg").read_bytes()
    (pictures / "a_cut.jpg").write_bytes(whole[: len(whole) // 2])
    (pictures / "b_empty.png").write_bytes(b"")
    with refused("2 of 15 images", "a_cut.jpg", "b_empty.png", "remove"):
        Folder(path=str(pictures), size=8, skip_bad=False).load()
    png = (pictures / "deep0" / "er" / "00.png").read_bytes()
    (pictures / "c_cut.png").write_bytes(png[:45])
    (pictures / "d_text.gif").write_text("no picture")
    Image.new("F", (16, 16), 0.5).save(pictures / "e_float.tif")
    (pictures / "f_bad.png").write_bytes(png[:40] + b"\xff" * 10 + png[50:])
    (pictures / "g.webp").write_bytes(b"RIFF1234WEBP")
    with refused("7 of 20 images", "a_cut.jpg", "c_cut.png", "floating-point pixels", "and 2 more"):
        Folder(path=str(pictures), size=8, skip_bad=False).load()


@pytest.mark.parametrize("limit", [0, 2048])
def test_damaged_pictures_are_skipped_by_name(pictures: Path, tmp_path: Path, limit: int) -> None:
    """The others are what is trained on and held out, in memory and in the cache, now and later."""
    spec = Folder(path=str(pictures), size=8, held_out=0.4, cache=str(tmp_path / "cache"))
    spec = replace(spec, memory_limit_mb=limit)
    (pictures / "a_cut.png").write_bytes(b"")
    (pictures / "b_text.gif").write_text("no picture")
    (pictures / "c_gone.png").symlink_to("nowhere.png")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"skipped 3 of 15 pictures: .*a_cut.*b_text.*c_gone"):
            data = spec.load()
        assert len(data.train) + len(data.test) == 12
        rows = torch.cat([data.train, data.test]).flatten(1)
        whole = [read_square(file, 8, 3) for file in pictures.rglob("[01]?.png")]
        expected = torch.tensor(np.stack(whole)).flatten(1)
        assert {tuple(row.tolist()) for row in rows} == {tuple(row.tolist()) for row in expected}


def test_where_too_few_pictures_are_left_none_is_skipped(tmp_path: Path, refused) -> None:
    for k in range(5):
        (tmp_path / f"{k}.png").write_bytes(b"")
    with refused("5 of 5 images cannot be used", "0.png", "remove"):
        Folder(path=str(tmp_path), size=8).load()


def test_cache_holds_the_same_pictures(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    spec = Folder(path=str(pictures), size=8, memory_limit_mb=0, cache=str(cache))
    plain, written = Folder(path=str(pictures), size=8).load(), spec.load()
    (file,) = cache.iterdir()
    assert file.suffix == ".npy"

    def fail(*args: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(folder_module, "read_squares", fail)
    mapped = spec.load()
    for data in (written, mapped):
        assert torch.equal(data.train, plain.train)
        assert torch.equal(data.test, plain.test)
        assert data.flip
    before = file.read_bytes()
    (cache / f".x{PART}").mkdir()  # of a writer that was killed while it cleaned up
    spec.load()
    assert list(cache.iterdir()) == [file]
    mapped.train.zero_()  # copy on write: the file stays as it is
    assert file.read_bytes() == before


def test_cache_goes_to_the_cache_folder(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Folder(path=str(pictures), size=8, memory_limit_mb=0)
    monkeypatch.setenv("STANLEY_CACHE", str(tmp_path / "own"))
    spec.load()
    assert len(list((tmp_path / "own").glob("folder-*.npy"))) == 1
    monkeypatch.delenv("STANLEY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    spec.load()
    assert len(list((tmp_path / "xdg" / "stanley").glob("folder-*.npy"))) == 1


def test_cache_follows_the_files_and_the_request(pictures: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def load(**changes) -> int:
        fields = {
            "path": str(pictures),
            "size": 8,
            "memory_limit_mb": 0,
            "cache": str(cache),
            **changes,
        }
        Folder(**fields).load()
        return len(list(cache.iterdir()))

    assert load() == load() == load(held_out=0.3) == 1
    assert load(size=9) == 2
    assert load(channels=1) == 3
    assert load(seed=1) == 4
    picture = pictures / "deep0" / "er" / "00.png"
    os.utime(picture, ns=(1, 1))
    assert load() == 5
    picture.rename(picture.with_name("99.png"))
    assert load() == 6


def test_an_interrupted_cache_leaves_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "read_squares", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Folder(path=str(pictures), size=8, memory_limit_mb=0, cache=str(tmp_path / "cache")).load()
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_errors(
    pictures: Path, tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Folder(path=str(pictures), size=8, memory_limit_mb=0, cache=str(tmp_path / "cache"))
    spec.load()
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    for content in (b"", b"nonsense", whole[:500]):
        file.write_bytes(content)
        with refused("cannot map", file, "delete it"):
            spec.load()
    np.save(file, np.zeros(3))
    with refused(file, "float64 (3,)", "delete it"):
        spec.load()
    file.unlink()
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda _: usage)
    with refused("data.cache", "MB free", "choose another"):
        spec.load()


@pytest.mark.parametrize("limit", [0, 2048])
def test_a_link_to_nothing(pictures: Path, tmp_path: Path, refused, limit: int) -> None:
    (pictures / "gone.png").symlink_to("nowhere.png")
    with refused("gone.png", "No such file", "replace"):
        Folder(
            path=str(pictures),
            size=8,
            memory_limit_mb=limit,
            skip_bad=False,
            cache=str(tmp_path / "cache"),
        ).load()


@pytest.mark.parametrize("limit", [0, 2048])
def test_one_picture_again_and_again(tmp_path: Path, refused, limit: int) -> None:
    for i in range(9):
        flat("RGB", (9, 9, 9), path=tmp_path / "flat" / f"{i}.png")
    with refused("flat", "the same image 9 times"):
        Folder(
            path=str(tmp_path / "flat"),
            size=8,
            memory_limit_mb=limit,
            cache=str(tmp_path / "cache"),
        ).load()


def test_a_cache_that_cannot_be_made_or_written(
    pictures: Path, tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with refused("data.cache", "file", "cannot be made", "choose another"):
        Folder(path=str(pictures), size=8, memory_limit_mb=0, cache=str(tmp_path / "file")).load()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module.os, "fsync", full)
    with refused("data.cache", "cannot be written", "No space left", "choose another"):
        Folder(path=str(pictures), size=8, memory_limit_mb=0, cache=str(tmp_path / "cache")).load()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_subfolder_that_cannot_be_listed(
    pictures: Path, refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, not left out; the error is made here, because root may list everything."""
    scan = os.scandir

    def locked(path):
        if str(path).endswith("deep1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(folder_module.os, "scandir", locked)
    with refused("deep1", "cannot be listed", "Permission denied"):
        Folder(path=str(pictures), size=8).load()
