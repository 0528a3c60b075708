"""Checkpoints and packed models, damaged, or made by a stranger with a checksum that is right."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from stanley.runs.checkpoint import checksum

from .damage import altered, damaged, fuzzed
from .sandbox import attempt, images, plane

SAMPLE = ("--num", "2", "--steps", "1", "--warm-up", "1", "--out", "new")
PACKED = "packed/model.safetensors"


def read(path: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(str(path), framework="pt") as file:
        names = file.keys()  # a method of safetensors, not of a dictionary
        tensors = {name: file.get_tensor(name) for name in names}
        return tensors, json.loads(file.metadata()["stanley"])


def sealed(
    tensors: dict[str, torch.Tensor], meta: Any, extra: dict[str, str] | None = None
) -> bytes:
    """A file whose checksum is right, whatever it says."""
    header = {"stanley": json.dumps(meta, sort_keys=True), "checksum": checksum(tensors, meta)}
    return save({n: t.contiguous() for n, t in tensors.items()}, metadata=header | (extra or {}))


def newest() -> str:
    return str(sorted((plane() / "run/checkpoints").iterdir())[-1].relative_to(plane()))


@st.composite
def altered_tensors(draw: st.DrawFn, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One tensor of another shape, kind or name, not finite, or gone."""
    named = dict(tensors)
    name = draw(st.sampled_from(sorted(named)))
    t = named[name]
    match draw(
        st.sampled_from(("gone", "name", "shape", "empty", "kind", "nan", "huge", "scalar"))
    ):
        case "gone":
            del named[name]
        case "name":
            named[draw(st.text(max_size=6))] = named.pop(name)
        case "shape":
            named[name] = torch.zeros([2 * n + 1 for n in t.shape])
        case "empty":
            named[name] = torch.zeros(0)
        case "kind":
            named[name] = t.to(
                draw(st.sampled_from((torch.int64, torch.bool, torch.float64, torch.uint8)))
            )
        case "nan":
            named[name] = torch.full(t.shape, float("nan"))
        case "huge":
            named[name] = torch.full(t.shape, 1e38)
        case _:
            named[name] = torch.tensor(1.0)
    return named


@fuzzed(60)
@given(st.data(), st.booleans())
def test_damaged_bytes(data: st.DataObject, packed: bool) -> None:
    """Refused, or harmless; a run of which another checkpoint is whole goes on from that one."""
    name = PACKED if packed else newest()
    content = data.draw(damaged((plane() / name).read_bytes()))
    attempt(["sample", name.split("/")[0], *SAMPLE], plane(), {name: content})


@fuzzed(40)
@given(st.data())
def test_a_damaged_checkpoint_and_training(data: st.DataObject) -> None:
    name = newest()
    content = data.draw(damaged((plane() / name).read_bytes()))
    again = ["train", "rings", "--out", "run", "--steps", "4", "--data.num", "60"]
    small = [
        "--batch",
        "8",
        "--objective.chain-steps",
        "1",
        "--save-every",
        "2",
        "--objective.bank-size",
        "8",
    ]
    small += ["--network.width", "4", "--network.depth", "1", "--device", "cpu"]
    attempt([*again, *small], plane(), {name: content}, may_change=("run/",))


@fuzzed(80)
@given(st.data(), st.booleans())
def test_a_header_of_a_stranger(data: st.DataObject, image: bool) -> None:
    base = images() if image else plane()
    tensors, meta = read(base / PACKED)
    content = sealed(tensors, data.draw(altered(meta)))
    attempt(["sample", "packed", *SAMPLE], base, {PACKED: content})


@fuzzed(60)
@given(st.data())
def test_a_header_of_a_run_from_elsewhere(data: st.DataObject) -> None:
    name = newest()
    tensors, meta = read(plane() / name)
    content = sealed(tensors, data.draw(altered(meta)))
    attempt(["sample", "run", *SAMPLE], plane(), {name: content})


@fuzzed(50)
@given(st.data())
def test_tensors_of_a_stranger(data: st.DataObject) -> None:
    tensors, meta = read(images() / PACKED)
    content = sealed(data.draw(altered_tensors(tensors)), meta)
    attempt(["sample", "packed", *SAMPLE], images(), {PACKED: content})


@fuzzed(30)
@given(
    st.sampled_from(("width", "depth", "blocks")),
    st.sampled_from((600, 5000, 10**5, 10**6, 10**9, 10**18, 10**30, -1, 2.5)),
    st.sampled_from(("mlp", "convnet", "resnet")),
)
def test_a_small_file_that_says_it_is_large(field: str, size: float, kind: str) -> None:
    """What is built is no larger than what the file holds."""
    tensors, meta = read(images() / PACKED)
    meta["config"]["network"] = {"kind": kind, field: size}
    attempt(["sample", "packed", *SAMPLE], images(), {PACKED: sealed(tensors, meta)})


@fuzzed(30)
@given(
    st.sampled_from(
        (["ood", "packed", "pictures", "--out", "new/a.csv"], ["sample", "packed", *SAMPLE])
    ),
    st.sampled_from(("array", "folder", "mnist", "cifar10", "flowers102")),
    st.sampled_from(("foreign", "foreign/images.npy", "../foreign", "/etc", "~")),
    st.booleans(),
)
def test_a_model_that_names_files(
    command: list[str], kind: str, place: str, download: bool
) -> None:
    """What a stranger's model says of its data is neither read, nor written, nor downloaded."""
    tensors, meta = read(images() / PACKED)
    field = "path" if kind in ("array", "folder") else "root"
    meta["config"]["data"] = {"kind": kind, field: place}
    if field == "root":
        meta["config"]["data"]["download"] = download
    if kind == "folder":
        meta["config"]["data"] |= {
            "cache": "foreign/cache",
            "memory_limit_mb": 0,
            "size": 8,
            "channels": 1,
        }
    rows = (images() / "images.npy").read_bytes()
    changed = {PACKED: sealed(tensors, meta), "foreign/images.npy": rows, "foreign/0.png": b""}
    attempt(command, images(), changed)
