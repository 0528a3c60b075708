"""A sampler and its numbers: in words for a person, as plain values for a program."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from stanley.samplers import ChainInfo, DensePreconditioned, Preconditioned, Sampler
from stanley.samplers.given import plain
from stanley.samplers.traits import is_adjusted
from stanley.samplers.warm_up import Ready


def sampler_as_json(sampler: Sampler) -> dict[str, Any]:
    """Its fields, with the scale that a configuration file cannot hold: of a dense one, which may
    have a million numbers, the widths (LLᵀ)ᵢᵢ^½ alone.
    """
    if isinstance(sampler, DensePreconditioned):
        inside, widths = sampler_as_json(sampler.sampler), sampler.scale.norm(dim=1)
        return {"kind": "dense-preconditioned", "sampler": inside, "widths": widths.tolist()}
    if isinstance(sampler, Preconditioned):
        inside = sampler_as_json(sampler.sampler)
        return {"kind": "preconditioned", "sampler": inside, "scale": sampler.scale.tolist()}
    return plain(sampler)


def sampler_in_words(sampler: Sampler) -> str:
    """`adjusted stanley, step size 0.43, threshold 1.6`."""
    if isinstance(sampler, Preconditioned):
        dense = "dense " if isinstance(sampler, DensePreconditioned) else ""
        return f"{dense}preconditioned {sampler_in_words(sampler.sampler)}"
    names, numbers, part = [], [], plain(sampler)
    while True:
        names.append(part.get("class", part["kind"]))
        part |= part.get("arguments", {})
        for key in ("step_size", "threshold", "trajectory"):
            if isinstance(part.get(key), float | int | dict):
                numbers.append(f"{key.replace('_', ' ')} {field_in_words(part[key])}")
        inside = part.get("proposal", part.get("sampler"))
        if inside is None:
            return ", ".join([" ".join(names), *numbers])
        part = inside


def how_it_went(ready: Ready, info: ChainInfo) -> str:
    """`mala, step size 0.43 (step size from adapt, 500 steps); acceptance 0.57`."""
    sampler = f"{sampler_in_words(ready.sampler)} (step size from {ready.step_size_from})"
    return f"{sampler}; {acceptance_in_words(ready.sampler, info)}"


def field_in_words(value: float | dict[str, Any]) -> str:
    """0.43, or of a threshold that follows the gradients `quantile 0.9`."""
    if isinstance(value, dict):
        return " ".join(f"{key} {number:.3g}" for key, number in value.items())
    return f"{value:.3g}"


def acceptance_in_words(sampler: Sampler, info: ChainInfo) -> str:
    if is_adjusted(sampler):
        return f"acceptance {float(info.acceptance.mean()):.2f}"
    return "never rejects"


def json_ready(value: Any) -> Any:
    """Tensors as lists; NaN and infinities, which JSON does not have, as null."""
    if isinstance(value, Tensor):
        return json_ready(value.tolist())
    if isinstance(value, dict):
        return {key: json_ready(v) for key, v in value.items()}
    if isinstance(value, list):
        return [json_ready(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
