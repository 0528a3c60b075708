"""CIFAR-10 in its two official layouts, written small; hostile pickles."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from stanley.data import CIFAR10

COUNTS = (4, 3, 5, 2, 6, 7)  # records of the five batches and of the test batch


def pixels(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (n, 3, 32, 32), np.uint8) for n in COUNTS]


def write_binary(folder: Path, batches: list[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for name, x in zip(names, batches, strict=True):
        labels = np.arange(len(x), dtype=np.uint8)[:, None] % 10
        np.concatenate([labels, x.reshape(len(x), -1)], 1).tofile(folder / name)


def python2_pickle(x: np.ndarray) -> bytes:
    """A batch as Python 2 and its numpy wrote the official files: protocol 2, byte strings."""
    data = x.tobytes()
    rows = struct.pack("<I", len(x))
    return (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR("
        b"K\x01J" + rows + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(data))
        + data
        + b"tb"
        b"U\x06labels](K\x00K\x01eu."
    )


def write_python(folder: Path, batches: list[np.ndarray], protocol: int | None) -> None:
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, x in zip(names, batches, strict=True):
        rows = x.reshape(len(x), -1)
        if protocol is None:
            (folder / name).write_bytes(python2_pickle(rows))
        else:
            content = {b"data": rows, b"labels": [0] * len(x), b"filenames": [b"a.png"] * len(x)}
            (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))


def expect(root: Path, batches: list[np.ndarray]) -> None:
    data = CIFAR10(root=str(root)).load()
    assert data.train.dtype == torch.uint8
    assert data.flip
    assert np.array_equal(data.train.numpy(), np.concatenate(batches[:5]))
    assert np.array_equal(data.test.numpy(), batches[5])


def test_binary(tmp_path: Path) -> None:
    write_binary(tmp_path / "cifar-10-batches-bin", pixels())
    expect(tmp_path, pixels())
    expect(tmp_path / "cifar-10-batches-bin", pixels())


@pytest.mark.parametrize("protocol", [None, 0, 2, 4, 5])
def test_python(tmp_path: Path, protocol: int | None) -> None:
    write_python(tmp_path / "cifar-10-batches-py", pixels(), protocol)
    expect(tmp_path, pixels())
    expect(tmp_path / "cifar-10-batches-py", pixels())


def test_the_hand_written_pickle_is_a_pickle() -> None:
    x = pixels()[0].reshape(4, -1)
    module = (
        "numpy.core.multiarray"
        if np.lib.NumpyVersion(np.__version__) < "2.0.0"
        else "numpy._core.multiarray"
    )
    stream = python2_pickle(x).replace(b"numpy.core.multiarray", module.encode())
    # booleans, which newer numpy asks for
    stream = stream.replace(b"K\x00K\x01\x87R", b"\x89\x88\x87R")
    assert np.array_equal(pickle.loads(stream, encoding="bytes")[b"data"], x)


def test_smaller_size_is_the_mean_of_areas(tmp_path: Path) -> None:
    write_binary(tmp_path / "cifar-10-batches-bin", pixels())
    data = CIFAR10(root=str(tmp_path), size=16, flip=False).load()
    assert data.train.dtype == torch.uint8
    assert data.event_shape == (3, 16, 16)
    assert not data.flip
    quads = np.concatenate(pixels()[:5]).reshape(20, 3, 16, 2, 16, 2).mean((3, 5))
    assert np.abs(data.train.numpy() - quads).max() <= 0.5


def test_limit_is_a_nested_subset(tmp_path: Path) -> None:
    write_binary(tmp_path / "cifar-10-batches-bin", pixels())
    whole, eight, five = (CIFAR10(root=str(tmp_path), limit=k).load() for k in (None, 8, 5))
    assert torch.equal(eight.train[:5], five.train)
    assert torch.equal(five.test, whole.test)
    assert all(bool((row == whole.train).flatten(1).all(1).any()) for row in eight.train)


@pytest.mark.parametrize("layout", ["bin", "py"])
def test_labels_belong_to_their_images(tmp_path: Path, layout: str) -> None:
    """Each image's first pixel is its label; also where `limit` draws some in another order."""
    batches = pixels()
    for x in batches:
        x[:, 0, 0, 0] = np.arange(len(x)) % 10
    folder = tmp_path / f"cifar-10-batches-{layout}"
    if layout == "bin":
        write_binary(folder, batches)
    else:
        write_python(folder, batches, 4)
        for path, x in zip(sorted(folder.iterdir()), batches, strict=True):
            content = pickle.loads(path.read_bytes())
            path.write_bytes(
                pickle.dumps(content | {b"labels": x[:, 0, 0, 0].astype(int).tolist()})
            )
    for limit in (None, 7):
        spec = CIFAR10(root=str(tmp_path), limit=limit)
        data, (train, test) = spec.load(), spec.labels()
        assert train.dtype == torch.int64
        assert torch.equal(data.train[:, 0, 0, 0].long(), train)
        assert torch.equal(data.test[:, 0, 0, 0].long(), test)


def test_wrong_labels(tmp_path: Path, refused) -> None:
    write_binary(tmp_path / "cifar-10-batches-bin", pixels())
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    content = path.read_bytes()
    path.write_bytes(bytes([10]) + content[1:])
    with refused(path, "has label 10", "0..9"):
        CIFAR10(root=str(tmp_path)).labels()
    write_python(tmp_path / "py" / "cifar-10-batches-py", pixels(), 2)
    path = tmp_path / "py" / "cifar-10-batches-py" / "data_batch_2"
    for labels in ([0, 1], [0.5] * 3, None):
        path.write_bytes(pickle.dumps({b"data": pixels()[1].reshape(3, -1), b"labels": labels}))
        with refused(path, "lacks a list of 3 labels"):
            CIFAR10(root=str(tmp_path / "py")).labels()


def test_errors(tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("data.size is 33", "1 to 32"):
        CIFAR10(size=33)
    with refused(
        f"data.root {tmp_path} holds no CIFAR-10", "cifar-10-batches-bin", "--data.download true"
    ):
        CIFAR10(root=str(tmp_path)).load()
    monkeypatch.setenv("STANLEY_CACHE", str(tmp_path / "cache"))
    with refused("data.root is not set", tmp_path / "cache", "pass --data.root"):
        CIFAR10().load()
    folder = tmp_path / "cifar-10-batches-bin"
    write_binary(folder, pixels())
    with refused("data.limit is 21", "1 to 20"):
        CIFAR10(root=str(tmp_path), limit=21).load()
    (folder / "data_batch_3.bin").write_bytes(b"0" * 5000)
    with refused("data_batch_3.bin has 5000 bytes", "3073", "30730000"):
        CIFAR10(root=str(tmp_path)).load()
    (folder / "data_batch_3.bin").write_bytes(b"")
    with refused("data_batch_3.bin has 0 bytes"):
        CIFAR10(root=str(tmp_path)).load()
    for name in ("data_batch_3.bin", "data_batch_5.bin"):
        (folder / name).unlink()
    with refused("lacks data_batch_3.bin, data_batch_5.bin", "incomplete"):
        CIFAR10(root=str(tmp_path)).load()


class _Touch:
    """Creates a file when unpickled by the ordinary Unpickler."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_negative_control_the_hostile_pickle_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Touch(tmp_path / "touched")))
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_hostile_pickles_are_refused_and_not_run(tmp_path: Path, refused, protocol: int) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_python(folder, pixels(), 4)
    (folder / "data_batch_2").write_bytes(
        pickle.dumps(_Touch(tmp_path / "touched"), protocol=protocol)
    )
    with refused("data_batch_2", "refused", "numpy arrays only"):
        CIFAR10(root=str(tmp_path)).load()
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"\x80\x04\x8c\x05numpy\x8c\x14ndarray.__subclass__\x93.", "numpy.ndarray.__subclass__"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (
            b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
            "not a CIFAR-10 batch",
        ),
        (b"not a pickle", "not a CIFAR-10 batch"),
        (b"", "not a CIFAR-10 batch"),
        (pickle.dumps({b"data": np.zeros((2, 3072))}), "float64 (2, 3072)"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8)}), "uint8 (2, 5)"),
        (pickle.dumps({b"labels": [1]}), "NoneType"),
        (pickle.dumps([1, 2]), "NoneType"),
    ],
)
def test_bad_pickles(tmp_path: Path, refused, content: bytes, part: str) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_python(folder, pixels(), 4)
    (folder / "test_batch").write_bytes(content)
    with refused("test_batch", part, "delete it"):
        CIFAR10(root=str(tmp_path)).load()


def test_a_pickle_cut_short_anywhere_is_refused(tmp_path: Path, refused) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_python(folder, pixels(), 4)
    whole = (folder / "data_batch_1").read_bytes()
    for length in (1, 20, 60, 200, len(whole) - 1):
        (folder / "data_batch_1").write_bytes(whole[:length])
        with refused("data_batch_1", "delete it"):
            CIFAR10(root=str(tmp_path)).load()


def test_a_folder_in_the_place_of_a_batch(tmp_path: Path, refused) -> None:
    write_binary(tmp_path / "a", pixels())
    (tmp_path / "a" / "data_batch_3.bin").unlink()
    (tmp_path / "a" / "data_batch_3.bin").mkdir()
    with refused("data_batch_3.bin", "cannot be read"):
        CIFAR10(root=str(tmp_path / "a")).load()


def test_black_images_only(tmp_path: Path, refused) -> None:
    write_binary(tmp_path / "a", [0 * x for x in pixels()])
    with refused("the same image 20 times"):
        CIFAR10(root=str(tmp_path / "a")).load()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8d" + b"\xff" * 8 + b"text",  # a string of 2^64 - 1 bytes
        b"\x80\x04r\xff\xff\xff\x7f.",  # memo entry 2^31 - 1 of an empty stack
        b"",
    ],
)
def test_pickles_that_claim_the_impossible(tmp_path: Path, refused, content: bytes) -> None:
    write_python(tmp_path / "a", pixels(), 2)
    (tmp_path / "a" / "data_batch_2").write_bytes(content)
    with refused("data_batch_2", "not a CIFAR-10 batch", "download it again"):
        CIFAR10(root=str(tmp_path / "a")).load()


def test_one_class(tmp_path: Path, refused) -> None:
    """Both layouts, in order, in both parts; a class that is not there is said."""
    batches = [np.concatenate([x, x]) for x in pixels()]
    labels = [np.arange(len(x)) % 2 for x in batches]
    (tmp_path / "a").mkdir()
    for name, x, y in zip(
        [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], batches, labels, strict=True
    ):
        rows = x.reshape(len(x), -1)
        content = {b"data": rows, b"labels": y.tolist()}
        (tmp_path / "a" / name).write_bytes(pickle.dumps(content, protocol=2))
        np.concatenate([y[:, None].astype(np.uint8), rows], 1).tofile(tmp_path / f"{name}.bin")
    for root in (tmp_path, tmp_path / "a"):
        data = CIFAR10(root=str(root), label=1).load()
        ones = [x[y == 1] for x, y in zip(batches, labels, strict=True)]
        assert np.array_equal(data.train.numpy(), np.concatenate(ones[:5]))
        assert np.array_equal(data.test.numpy(), ones[5])
        assert [len(part) for part in CIFAR10(root=str(root), label=1).labels()] == [
            len(data.train),
            len(data.test),
        ]
        with refused("data.label is 4", "holds 0 images"):
            CIFAR10(root=str(root), label=4).load()
    with refused("data.label is -1", "0 to 9"):
        CIFAR10(label=-1)
