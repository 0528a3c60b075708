"""Checkpoints: one safetensors file each, written atomically, checksummed and restored exactly.

A file holds the weights, their average, the optimiser, the bank and every generator, and as
metadata the step, the adapted step size, what rollbacks changed, the configuration and a checksum.
Where several processes trained it holds the parts of all, so that any number of processes can
resume from it. No pickle is ever written or read.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stanley.errors import StanleyError, require
from stanley.files import write_atomic
from stanley.ranks import sharded_like
from stanley.reading import checked

#: Version of the layout below. A reader refuses what is newer than itself.
FORMAT = 1


class NewerFormatError(StanleyError):
    """A file of a version of stanley that is newer than this one: no reason to use an older
    file.
    """


@dataclass(frozen=True)
class Checkpoint:
    """The content of one file: named tensors, and a dictionary of plain values."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    path: Path | None = None

    @property
    def step(self) -> int:
        return self.meta["step"]

    @property
    def ranks(self) -> int:
        """How many processes trained; 1 where the file does not say."""
        return self.meta.get("ranks", 1)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix.`, under the rest of their names."""
        return {
            name[len(prefix) + 1 :]: t
            for name, t in self.tensors.items()
            if name.startswith(prefix + ".")
        }


def save(checkpoint: Checkpoint, folder: Path, keep: int) -> Path:
    """Write step-XXXXXXXX.safetensors atomically, then remove all but the newest `keep`."""
    from safetensors.torch import save as serialise

    tensors = apart({name: t.detach().cpu() for name, t in checkpoint.tensors.items()})
    meta = {**checkpoint.meta, "format": FORMAT}
    header = {"stanley": json.dumps(meta, sort_keys=True), "checksum": checksum(tensors, meta)}
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    write_atomic(path, serialise(tensors, metadata=header))
    prune(folder, path, keep)
    return path


def apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each whole and in memory of its own, as a file takes them: weights that a
    network uses twice have two names.
    """
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        whole = tensor.contiguous()
        storage = whole.untyped_storage()
        alone = storage.nbytes() == whole.nbytes and storage.data_ptr() not in seen
        separate[name] = whole if alone else whole.clone()
        seen.add(storage.data_ptr())
    return separate


def prune(folder: Path, newest: Path, keep: int) -> None:
    """Remove all but the newest `keep` of `newest` and the checkpoints before it.

    Those after it, which could not be read, are left to whoever looks into them.
    """
    for old in [path for path in saved(folder) if path.name <= newest.name][:-keep]:
        old.unlink()


def load(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint; raises StanleyError, with the file and what is wrong with it."""
    from safetensors import SafetensorError, safe_open

    require(path.is_file(), f"{path} is not a file; restore it, or give the folder that holds it")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            names = file.keys()  # a method of safetensors, not of a dictionary
            tensors = {name: file.get_tensor(name) for name in names}
        meta: Any = json.loads(header.get("stanley", "null"))
        good = header.get("checksum") == checksum(tensors, meta)
    except PermissionError as error:
        raise StanleyError(
            f"{path} cannot be read ({error.strerror}); change its permissions"
        ) from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise StanleyError(f"{path} is truncated or corrupt ({error})") from error
    require(
        isinstance(meta, dict),
        f"{path} is not a stanley checkpoint: its header has no 'stanley' entry",
    )
    version = meta.get("format")
    require(type(version) is int, f"{path} is corrupt: its header states no format")
    if version > FORMAT:
        raise NewerFormatError(
            f"{path} has format {version}, but this version of stanley reads formats up to"
            f" {FORMAT}; update stanley"
        )
    require(good, f"{path} is corrupt: its checksum does not match")
    found = Checkpoint({name: t.to(device) for name, t in tensors.items()}, meta, path)
    if meta.get("holds", "model") == "model":
        require_trained(found)
    return found


def require_trained(found: Checkpoint) -> None:
    """What every energy that was trained comes with is there, and fits the shape of its points."""
    from stanley.runs.contents import Meta

    content = json.dumps(found.meta).encode()
    checked(content, Meta, f"the header of {found.path}", "restore the file")
    shape = tuple(found.meta["event_shape"])
    for name in ("noise.mean", "noise.std", "bank.positions"):
        require(name in found.tensors, f"{found.path} lacks {name!r}; restore the file")
        t = found.tensors[name]
        event = tuple(t.shape[1:] if name.startswith("bank") and t.ndim else t.shape)
        require(
            t.is_floating_point() and t.ndim == len(shape) + name.startswith("bank"),
            f"{found.path}: {name!r} is {t.dtype} {tuple(t.shape)}, not points of shape {shape};"
            f" restore the file",
        )
        require(
            event == shape,
            f"{found.path}: {name!r} has points of shape {event}, its header says {shape}",
        )
    require_standardisation(found, shape)


def require_standardisation(found: Checkpoint, shape: tuple[int, ...]) -> None:
    """Where vectors were standardised, both numbers of each column are there; and where columns
    have names, all have.
    """
    part = found.part("standardisation")
    good = not part or (
        part.keys() == {"mean", "std"}
        and all(tuple(t.shape) == shape and t.is_floating_point() for t in part.values())
        and all(bool(t.isfinite().all()) for t in part.values())
        and float(part["std"].min()) > 0
    )
    require(
        good,
        f"{found.path}: 'standardisation' is not a finite mean and a positive std for each of "
        f"{shape} coordinates; restore the file",
    )
    columns = found.meta.get("columns")
    require(
        columns is None or shape == (len(columns),),
        f"{found.path}: its header names {len(columns or ())} columns, of points of shape {shape}; "
        "restore the file",
    )


def saved(folder: Path) -> list[Path]:
    """All checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, or None where there is no checkpoint.

    A broken one is passed over with a warning. A checkpoint of a newer format is not: it raises
    StanleyError, and so does a folder in which every checkpoint is broken.
    """
    paths = saved(folder)
    for path in reversed(paths):
        try:
            return load(path)
        except NewerFormatError:
            raise
        except StanleyError as error:
            warnings.warn(f"{error}; the previous checkpoint is used instead", stacklevel=2)
    require(
        not paths,
        f"none of the {len(paths)} checkpoints in {folder} can be read; "
        "restore one from a backup, or start again with another --out",
    )
    return None


def steps_of(folder: Path) -> list[int]:
    """The steps whose checkpoints are kept, in order."""
    return sorted(int(path.stem.partition("-")[2]) for path in saved(folder))


def of_step(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of a step; raises StanleyError where it was not kept."""
    kept = {int(path.stem.partition("-")[2]): path for path in saved(folder)}
    require(
        step in kept,
        f"step is {step}, but {folder} keeps {', '.join(map(str, sorted(kept))) or 'none'}; "
        "train with a larger keep, or use one of these",
    )
    return load(kept[step])


def checksum(tensors: dict[str, Tensor], meta: dict[str, Any]) -> str:
    """BLAKE2b over the metadata and every tensor's name, type, shape and bytes."""
    digest = hashlib.blake2b(json.dumps(meta, sort_keys=True).encode(), digest_size=20)
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as {"index.key": tensor}; its settings are in the configuration."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{key}": torch.as_tensor(value)
        for i, entry in state.items()
        for key, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`: moments are sharded as their parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:  # a moment, not the step count
            tensor = sharded_like(tensor, parameter)
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def restore_weights(energy: nn.Module, weights: dict[str, Tensor], where: object) -> None:
    """load_state_dict; raises StanleyError with the first name that is missing or does not fit."""
    require_fit(energy, weights, where)
    ours = energy.state_dict()
    energy.load_state_dict({name: sharded_like(t, ours[name]) for name, t in weights.items()})


def require_fit(energy: nn.Module, weights: dict[str, Tensor], where: object) -> None:
    """Names and shapes are those of the energy, which may be on the meta device: nothing is
    filled.
    """
    ours = energy.state_dict()
    wrong = [
        f"{name!r} ({shape_in(weights, name)} there, {shape_in(ours, name)} here)"
        for name in [*ours, *(n for n in weights if n not in ours)]
        if shape_in(ours, name) != shape_in(weights, name)
    ]
    more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    require(
        not wrong,
        f"{where}: the weights do not fit the configured network, first at "
        f"{', '.join(wrong[:3])}{more}; use the network that the run began with",
    )


def shape_in(tensors: dict[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "none"
