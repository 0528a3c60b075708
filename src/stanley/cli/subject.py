"""What a command samples: a trained run, or a density by its name, with the sampler that the flags ask for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stanley.cli.fields import apply, parse_fields
from stanley.config import flatten, from_dict, to_dict
from stanley.device import pick_device
from stanley.diagnostics.coupling import Initial
from stanley.errors import StanleyError, did_you_mean, require
from stanley.models.packing import pretrained
from stanley.models.trained import Trained, Weights, load
from stanley.samplers import AnySampler, Preconditioned, Sampler
from stanley.samplers.adapt import Precondition
from stanley.samplers.run import potential_for
from stanley.samplers.warm_up import Ready, warm_up
from stanley.streams import stream
from stanley.targets.by_name import DType, find
from stanley.types import Energy

FIRST_STEP = 0.1  # where the search for a step size begins


@dataclass(frozen=True)
class Subject:
    """A potential, the law its chains start from, and a sampler whose step size may be still to be found."""

    name: str
    potential: Energy
    event_shape: tuple[int, ...]
    initial: Initial
    sampler: Sampler
    tune: bool
    device: torch.device
    model: Trained | None  # None for a density
    folder: Path | None  # of a run, where its results go; None for a density and a model of the library

    def start(
        self, num: int, steps: int, seed: int, precondition: Precondition | None
    ) -> tuple[Ready, torch.Generator]:
        """`num` chains after the warm-up, and the generator to go on with."""
        require(num >= 1, f"num is {num}, must be at least 1")
        generator = stream(seed, "warm-up and chains", device=self.device)
        x0 = self.initial(num, generator)
        ready = warm_up(
            self.sampler,
            self.potential,
            x0,
            steps,
            generator=generator,
            tune=self.tune,
            precondition=precondition,
        )
        return ready, generator


def subject_of(
    run: Path | None,
    fields: tuple[str, ...],
    target: str | None,
    pretrained: str | None,
    shape: str | None,
    start_std: float | None,
    dtype: DType | None,
    weights: Weights | None,
    device: str,
) -> Subject:
    """A run, a model of the library or a density; a flag that means nothing for what is given is refused."""
    if run is not None and str(run).startswith("--"):  # a flag of the sampler stands where RUN would
        run, fields = None, (str(run), *fields)
    ways = {f"a run ({run})": run, f"--pretrained {pretrained}": pretrained, f"--target {target}": target}
    given = [told for told, value in ways.items() if value is not None]
    require(len(given) <= 1, f"both {' and '.join(given)} are given; give one")
    require(given, "give a run directory, --pretrained, or --target; stanley targets lists names")
    if pretrained is not None:
        refuse_unused(shape=shape, start_std=start_std, dtype=dtype, weights=weights)
        return pretrained_subject(pretrained, fields, device)
    if run is not None:
        refuse_unused(shape=shape, start_std=start_std, dtype=dtype)
        return run_subject(run, fields, weights or "average", device)
    assert target is not None
    refuse_unused(weights=weights)
    return density_subject(
        target,
        fields,
        shape=shape_of(shape),
        start_std=1.0 if start_std is None else start_std,
        dtype=dtype,
        device=device,
    )


def refuse_unused(**flags: object) -> None:
    """Each of the flags was left out: here it would change nothing."""
    for name, value in flags.items():
        flag = name.replace("_", "-")
        require(value is None, f"--{flag} {value} changes nothing here: {USES[name]}; leave it out")


#: What the flags are for that not every sample or diagnose can use.
USES = {
    "shape": "a run knows the shape of its points",
    "start_std": "a run starts its chains from noise of the width of its data",
    "dtype": "a run has the type of its weights",
    "weights": "only a run has averaged and raw weights",
    "start": "only a run with its own sampler can start from its bank",
    "precondition": "it is found along with the step size, and this run's is kept",
}


def density_subject(
    target: str,
    fields: Sequence[str],
    *,
    shape: tuple[int, ...] | None,
    start_std: float,
    dtype: DType | None,
    device: str,
) -> Subject:
    """A named target or a user's function; the sampler is unadjusted STANLEY unless the flags say otherwise."""
    density = find(target, shape=shape, start_std=start_std, dtype=dtype, device=pick_device(device))
    sampler, tune = sampler_of(None, fields)
    return Subject(
        target, density.potential, density.event_shape, density.initial, sampler, tune, density.device, None, None
    )


def run_subject(run: Path, fields: Sequence[str], weights: Weights, device: str) -> Subject:
    """A run's energy and its own sampler at its last step size, or the one that the flags make of it."""
    return model_subject(load(run, weights=weights, device=device), str(run), run, fields)


def pretrained_subject(name: str, fields: Sequence[str], device: str) -> Subject:
    """A model that comes with the library."""
    return model_subject(pretrained(name, device=device), name, None, fields)


def model_subject(model: Trained, name: str, folder: Path | None, fields: Sequence[str]) -> Subject:
    sampler, tune = sampler_of(model.sampler, fields)

    def initial(n: int, generator: torch.Generator) -> Tensor:
        return model.starts(n, "noise", generator)

    place = model.noise.mean.device
    potential = potential_for(sampler, model.potential)
    return Subject(name, potential, model.event_shape, initial, sampler, tune, place, model, folder)


def sampler_of(own: Sampler | None, fields: Sequence[str]) -> tuple[Sampler, bool]:
    """The sampler that --sampler and its fields make of a run's own, and whether its step size is to be found.

    It is to be found where no flag gives it and the run, if there is one, has it for another kind of sampler.
    """
    flags = parse_fields(fields)
    stray = [name.replace("_", "-") for name in flags if name.split(".")[0] != "sampler"]
    require(not stray, f"unknown flag --{unknown_flag(stray)}")
    base = {"kind": "stanley"} if own is None else to_dict(own)
    config: dict[str, Any] = {"sampler": dict(base)}
    apply(config, flags)
    given = any(name.split(".")[-1] == "step_size" for name in flags)
    inside = config["sampler"].get("sampler")
    if config["sampler"].get("kind") == "replica-exchange" and "kind" not in (inside or {}):
        apply(config, {"sampler.sampler.kind": "mala"})  # what most ladders are made of
    tune = not given and (own is None or kinds(config["sampler"]) != kinds(base))
    if tune:
        apply(config, {"sampler.step_size": FIRST_STEP})
    return from_dict(AnySampler, config["sampler"]), tune  # type: ignore[arg-type]  # a union is a type to pydantic


def unknown_flag(stray: Sequence[str]) -> str:
    """Its name and what may have been meant; sample and diagnose have all flags that chains have."""
    import inspect

    from stanley.cli.sampling import diagnose, sample

    flags = {name for command in (sample, diagnose) for name in inspect.signature(command).parameters}
    name = "".join(stray[:1])
    told = did_you_mean(name, {"sampler", *(flag.replace("_", "-") for flag in flags)})
    return f"{name}: {told if '?' in told else 'beside the flags of --help only --sampler and its fields'}"


def kinds(sampler: dict[str, Any]) -> dict[str, Any]:
    """Of the sampler and of those inside it."""
    return {name: value for name, value in flatten(sampler).items() if name.split(".")[-1] == "kind"}


def described(sampler: Sampler) -> dict[str, Any]:
    """JSON-ready, with the scale that a configuration file cannot hold."""
    if isinstance(sampler, Preconditioned):
        return {"kind": "preconditioned", "sampler": described(sampler.sampler), "scale": sampler.scale.tolist()}
    return to_dict(sampler)


def in_words(sampler: Sampler) -> str:
    """`adjusted stanley, step size 0.43, threshold 1.6`."""
    if isinstance(sampler, Preconditioned):
        return f"preconditioned {in_words(sampler.sampler)}"
    names, numbers, part = [], [], to_dict(sampler)
    while True:
        names.append(part["kind"])
        numbers += [f"{key.replace('_', ' ')} {told(part[key])}" for key in ("step_size", "threshold") if key in part]
        inside = part.get("proposal", part.get("sampler"))
        if inside is None:
            return ", ".join([" ".join(names), *numbers])
        part = inside


def told(value: float | dict[str, Any]) -> str:
    """0.43, or of a threshold that follows the gradients `quantile 0.9`."""
    return f"{value:.3g}" if not isinstance(value, dict) else " ".join(f"{k} {v:.3g}" for k, v in value.items())


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """`10` or `3,32,32`."""
    if text is None:
        return None
    try:
        return tuple(int(n) for n in text.replace("×", ",").replace("x", ",").split(","))
    except ValueError:
        raise StanleyError(f"--shape is {text!r}, must be whole numbers such as 10 or 3,32,32") from None


def file_name(name: str) -> str:
    """The name of a density as the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")
