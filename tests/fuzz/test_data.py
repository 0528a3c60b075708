"""Data: arrays, folders of pictures, masks, and the official files of MNIST, CIFAR-10 and
Flowers-102.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import pickle
import struct
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from .damage import damaged, fuzzed, words
from .sandbox import SMALL, attempt, images

TRAIN = ("--out", "new", "--steps", "1", "--network.kind", "mlp", "--sampler", "mala", *SMALL)
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (8, 8), np.uint8)
COLOUR = RNG.integers(0, 256, (8, 8, 3), np.uint8)


def numpy_file(array: np.ndarray, many: bool = False) -> bytes:
    buffer = io.BytesIO()
    if many:
        np.savez_compressed(buffer, a=array, b=array)
    else:
        np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@functools.cache
def pictures() -> dict[str, bytes]:
    """One of each kind of file that Pillow writes and the program takes."""
    made = {}
    for suffix, mode, extra in (
        ("png", "L", {}),
        ("png", "RGBA", {}),
        ("png", "P", {"transparency": 3}),
        ("png", "I;16", {}),
        ("jpg", "L", {"quality": 90}),
        ("jpg", "CMYK", {}),
        ("gif", "P", {}),
        ("bmp", "RGB", {}),
        ("tif", "I;16", {}),
        ("tif", "L", {"compression": "tiff_lzw"}),
        ("pgm", "L", {}),
        ("webp", "RGB", {}),
    ):
        image = (
            Image.fromarray(GREY.astype(np.uint16) * 257)
            if mode == "I;16"
            else Image.fromarray(COLOUR).convert(mode)
        )
        buffer = io.BytesIO()
        image.save(
            buffer,
            {"tif": "TIFF", "jpg": "JPEG", "pgm": "PPM"}.get(suffix, suffix.upper()),
            **extra,
        )
        made[f"{mode.replace(';', '')}-{len(made)}.{suffix}"] = buffer.getvalue()
    return made


@fuzzed(50)
@given(st.data(), st.sampled_from(("npy", "npz")))
def test_a_damaged_array(data: st.DataObject, suffix: str) -> None:
    rng = np.random.default_rng(0)
    array = (
        rng.normal(size=(12, 3))
        if data.draw(st.booleans())
        else np.stack([GREY] * 11 + [255 - GREY])
    )
    content = data.draw(damaged(numpy_file(array, suffix == "npz")))
    key = ["--data.key", "a"] if suffix == "npz" else []
    attempt(
        ["train", "array-contrastive", "--data.path", f"a.{suffix}", *key, *TRAIN],
        changed={f"a.{suffix}": content},
    )


@fuzzed(50)
@given(
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from(
        ["f8", "f4", "f2", "u1", "i8", "b1", "c16", "O", "U3", "S2", "M8[s]", "V4", ">f4", "f16"]
    ),
    st.sampled_from((0.0, 1.0, np.nan, np.inf, 1e300, 1e-300)),
)
def test_an_array_of_another_kind(shape: list[int], kind: str, scale: float) -> None:
    with np.errstate(all="ignore"):
        x = np.random.default_rng(0).normal(size=[max(n, 0) * 3 for n in shape]) * scale
        try:
            array = x.astype(kind)
        except (TypeError, ValueError):
            array = np.zeros(x.shape, kind)
    attempt(
        ["train", "array-contrastive", "--data.path", "a.npy", *TRAIN],
        changed={"a.npy": numpy_file(array)},
    )


@fuzzed(12)
@given(
    st.sampled_from(((2**31, 2**31), (10**9, 100), (2**62,), (-1, 2), (1, 2**40))),
    st.sampled_from(["f8", "u1"]),
)
def test_an_array_that_says_it_is_large(shape: tuple[int, ...], kind: str) -> None:
    header = str(
        {"descr": f"<{kind}" if kind != "u1" else "|u1", "fortran_order": False, "shape": shape}
    ).encode()
    content = (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + b"\x00" * 64
    )
    attempt(
        ["train", "array-contrastive", "--data.path", "a.npy", *TRAIN], changed={"a.npy": content}
    )


@fuzzed(60)
@given(st.data(), st.booleans())
def test_damaged_pictures(data: st.DataObject, training: bool) -> None:
    name = data.draw(st.sampled_from(sorted(pictures())))
    content = data.draw(damaged(pictures()[name]))
    files = {f"dir/{n}": c for n, c in pictures().items()} | {f"dir/{name}": content}
    if training:
        size = ["--data.size", "8", "--data.channels", "1"]
        attempt(["train", "folder-contrastive", "--data.path", "dir", *size, *TRAIN], changed=files)
    else:
        attempt(["ood", "packed", "dir", "--out", "new/a.csv", "--resize"], images(), files)


@fuzzed(30)
@given(st.data(), st.sampled_from(("mask", "picture")))
def test_one_damaged_picture(data: st.DataObject, which: str) -> None:
    content = data.draw(damaged(data.draw(st.sampled_from(sorted(pictures().values())))))
    mask, picture = ("x.png", "pictures/0.png") if which == "mask" else ("right-half", "x.png")
    command = [
        "inpaint",
        "packed",
        picture,
        "--mask",
        mask,
        "--steps",
        "1",
        "--num",
        "1",
        "--out",
        "new",
        "--resize",
    ]
    attempt(command, images(), {"x.png": content})


@fuzzed(40)
@given(words)
def test_words_of_a_mask(mask: str) -> None:
    attempt(
        [
            "inpaint",
            "packed",
            "pictures/0.png",
            "--mask",
            mask,
            "--steps",
            "1",
            "--num",
            "1",
            "--out",
            "new",
        ],
        images(),
    )


@fuzzed(20)
@given(
    st.text("\n\r\t\x1b[;31m=+-@ é‮a", min_size=1, max_size=12).filter(lambda s: s.strip(".")),
    st.booleans(),
)
def test_names_of_pictures(name: str, whole: bool) -> None:
    content = pictures()["L-0.png"] if whole else b"no picture"
    attempt(
        ["ood", "packed", "pictures", "--out", "new/a.csv"],
        images(),
        {f"pictures/{name}.png": content},
    )
    attempt(
        [
            "inpaint",
            "packed",
            f"pictures/{name}.png",
            "--mask",
            "left-half",
            "--steps",
            "1",
            "--num",
            "1",
            "--out",
            "new",
        ],
        images(),
        {f"pictures/{name}.png": content},
    )


@functools.cache
def mnist() -> dict[str, bytes]:
    files = {}
    for part, n in (("train", 12), ("t10k", 4)):
        rows = RNG.integers(0, 256, (n, 28, 28), np.uint8)
        files[f"MNIST/raw/{part}-images-idx3-ubyte"] = (
            struct.pack(">4i", 2051, n, 28, 28) + rows.tobytes()
        )
        labels = np.arange(n, dtype=np.uint8) % 2
        files[f"MNIST/raw/{part}-labels-idx1-ubyte"] = (
            struct.pack(">2i", 2049, n) + labels.tobytes()
        )
    return files


@functools.cache
def cifar(python: bool) -> dict[str, bytes]:
    files = {}
    for part in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        rows, labels = RNG.integers(0, 256, (4, 3072), np.uint8), [0, 1, 0, 1]
        if python:
            files[f"cifar-10-batches-py/{part}"] = pickle.dumps(
                {b"data": rows, b"labels": labels}, protocol=2
            )
        else:
            each = (bytes([label]) + row.tobytes() for label, row in zip(labels, rows, strict=True))
            files[f"cifar-10-batches-bin/{part}.bin"] = b"".join(each)
    return files


@functools.cache
def flowers() -> dict[str, bytes]:
    from scipy.io import savemat

    files: dict[str, bytes] = {}
    for name, value in (
        (
            "setid",
            {
                "trnid": np.arange(1, 5)[None],
                "valid": np.arange(5, 7)[None],
                "tstid": np.arange(7, 9)[None],
            },
        ),
        ("imagelabels", {"labels": np.arange(8)[None] % 2 + 1}),
    ):
        buffer = io.BytesIO()
        savemat(buffer, value, do_compression=True)
        files[f"flowers-102/{name}.mat"] = buffer.getvalue()
    for number in range(1, 9):
        buffer = io.BytesIO()
        Image.fromarray(RNG.integers(0, 256, (9, 9, 3), np.uint8)).save(buffer, "JPEG")
        files[f"flowers-102/jpg/image_{number:05d}.jpg"] = buffer.getvalue()
    return files


def official(name: str, files: dict[str, bytes], *flags: str) -> None:
    attempt(
        ["train", f"{name}-contrastive", "--data.root", ".", *TRAIN, *flags], changed=dict(files)
    )


@fuzzed(40)
@given(st.data(), st.booleans(), st.booleans())
def test_mnist(data: st.DataObject, zipped: bool, label: bool) -> None:
    files: dict[str, Any] = (
        {n + ".gz": gzip.compress(c, mtime=0) for n, c in mnist().items()}
        if zipped
        else dict(mnist())
    )
    name = data.draw(st.sampled_from(sorted(files)))
    official(
        "mnist",
        files | {name: data.draw(damaged(files[name]))},
        *(["--data.label", "1"] if label else []),
    )


@fuzzed(40)
@given(st.data(), st.booleans(), st.booleans())
def test_cifar(data: st.DataObject, python: bool, label: bool) -> None:
    files = cifar(python)
    name = data.draw(st.sampled_from(sorted(files)))
    official(
        "cifar10",
        files | {name: data.draw(damaged(files[name]))},
        *(["--data.label", "1"] if label else []),
    )


class Harmful:
    """What a pickle can ask for."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("harm"), "done"))


@fuzzed(6)
@given(st.sampled_from(("data_batch_1", "test_batch")), st.integers(0, 5))
def test_a_pickle_that_wants_to_run(name: str, protocol: int) -> None:
    content = pickle.dumps({b"data": Harmful(), b"labels": [1]}, protocol=protocol)

    def harmless(folder: Path, end: object) -> list[str]:
        return ["the pickle was run"] if (folder / "harm").exists() else []

    files = cifar(True) | {f"cifar-10-batches-py/{name}": content}
    attempt(
        ["train", "cifar10-contrastive", "--data.root", ".", *TRAIN],
        changed=dict(files),
        also=harmless,
    )


@fuzzed(30)
@given(st.data(), st.booleans())
def test_flowers(data: st.DataObject, label: bool) -> None:
    files = flowers()
    name = data.draw(st.sampled_from(sorted(files)))
    flags = ["--data.size", "8", *(["--data.label", "1"] if label else [])]
    whole = {n.split("/")[-1]: hashlib.md5(c).hexdigest() for n, c in files.items()}
    with mock.patch.dict("stanley.data.flowers102.CHECKSUMS", whole):  # of what is written here
        official("flowers102", files | {name: data.draw(damaged(files[name]))}, *flags)
