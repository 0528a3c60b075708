"""What is watched as a program with the same chains, for a person to copy."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from torch import Tensor

from stanley.studio.playing import Play, start
from stanley.studio.stage import Stage


def as_python(play: Play, stage: Stage, panel: int) -> str:
    """A program with the same chains as a panel, for a person to copy."""
    sampler = play.samplers[panel]
    classes = sorted(classes_in(sampler))
    event = ", ".join(map(str, stage.event_shape))
    kind = str(stage.mean.dtype)
    lines = ["import torch", "", f"from stanley.samplers import {', '.join(classes)}, run_chains"]
    if play.start == "noise":
        lines.append("from stanley.streams import stream")
    lines += [stage.python, ""]
    if play.start == "noise":
        lines += [
            f'noise = torch.randn({play.chains}, {event}, generator=stream({play.seed}, "start"), '
            f"dtype={kind})",
            f"x0 = {affine(stage, play.width)}",
        ]
    else:
        point = start(play, stage)[0].tolist()
        lines.append(f"x0 = torch.tensor([{point}], dtype={kind}).expand({play.chains}, {event})")
    lines += [
        f"sampler = {written(sampler)}",
        f"chains = run_chains(sampler, density, x0, num_steps=1000, seed={play.seed})",
        "",
    ]
    return "\n".join(lines)


def affine(stage: Stage, width: float) -> str:
    """mean + width·std·noise, as Python."""
    if not stage.mean.any() and (stage.std == 1).all():
        return "noise" if width == 1 else f"{width!r} * noise"
    noise = f"{width!r} * {as_tensor(stage.std)} * noise"
    return f"{as_tensor(stage.mean)} + {noise}" if stage.mean.any() else noise


def as_tensor(values: Tensor) -> str:
    """The same values as Python, with no more digits than they need."""
    shortest = values.numpy().astype(str).astype(float).tolist()
    return f"torch.tensor({shortest}, dtype={values.dtype})"


def written(value: Any) -> str:
    """A sampler as Python writes it, without the fields that have their defaults."""
    if not hasattr(value, "__dataclass_fields__"):
        return repr(value)
    given = {f.name: getattr(value, f.name) for f in fields(value) if f.name != "kind"}
    defaults = {f.name: f.default for f in fields(value) if f.default is not MISSING}
    shown = [f"{n}={written(v)}" for n, v in given.items() if n not in defaults or v != defaults[n]]
    return f"{type(value).__name__}({', '.join(shown)})"


def classes_in(value: Any) -> set[str]:
    """The names of the classes that its Python names."""
    if not hasattr(value, "__dataclass_fields__"):
        return set()
    defaults = {f.name: f.default for f in fields(value)}
    held = [getattr(value, name) for name, default in defaults.items()]
    inside = (classes_in(v) for v, d in zip(held, defaults.values(), strict=True) if v != d)
    return {type(value).__name__}.union(*inside)
