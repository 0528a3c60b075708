"""What a command samples: a trained run, or a density by its name,
with the sampler that the flags ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stanley.cli.flags import NOTHING, OwnFlags, UnknownFlag
from stanley.cli.own import parts_of, sampler_named
from stanley.cli.values import parse_fields, whole_number
from stanley.comparing.sampling import FILE, as_it_ran, density_of, read_sampled
from stanley.config import flatten, from_dict
from stanley.device import pick_device
from stanley.diagnostics.coupling import Initial
from stanley.errors import require
from stanley.models.packing import pretrained
from stanley.models.trained import Trained, Weights, load
from stanley.own_code import is_named
from stanley.samplers import AnySampler, NamedSampler, OwnSampler, Sampler
from stanley.samplers.given import own_inside, plain, with_own
from stanley.samplers.run import potential_for
from stanley.samplers.traits import innermost
from stanley.targets.by_name import DType, find
from stanley.training.by_name import made_of
from stanley.training.fields import apply
from stanley.types import Energy

FIRST_STEP = 0.1  # where the search for a step size begins


@dataclass(frozen=True)
class WhatToSample:
    """A potential, the law its chains start from, and a sampler whose step size may be still to be
    found.
    """

    name: str
    event_shape: tuple[int, ...]
    initial: Initial
    sampler: Sampler
    tune: bool
    device: torch.device
    # on standardised points where training had such; None for a density
    model: Trained | None
    # of a run, where its results go; None for a density and a model of the library
    folder: Path | None
    density: Energy | None = None  # None for a model
    # no flag says anything of the sampler of a density: the rules of `draw` choose
    by_rules: bool = False
    # of a density, how its chains start
    start_std: float = 1.0
    dtype: torch.dtype | None = None

    @property
    def potential(self) -> Energy:
        """U that the sampler sees; raises StanleyError for a model that is no density."""
        if self.density is not None:
            return self.density
        assert self.model is not None
        return potential_for(self.sampler, self.model.potential)

    @property
    def own_sampler(self) -> Trained | None:
        """The trained model with the sampler that it brings along;
        None where a step size is to be found.
        """
        return (
            None if self.model is None or self.tune else replace(self.model, sampler=self.sampler)
        )


def what_to_sample(
    run: Path | None,
    fields: tuple[str, ...],
    target: str | None,
    pretrained: str | None,
    shape: str | None,
    start_std: float | None,
    dtype: DType | None,
    weights: Weights | None,
    device: str,
    own: OwnFlags = NOTHING,
    log_density: bool | None = None,
) -> WhatToSample:
    """A run, a model of the library or a density; a flag that means nothing for what is given is
    refused.
    """
    # a flag of the sampler stands where RUN would
    if run is not None and str(run).startswith("--"):
        run, fields = None, (str(run), *fields)
    ways = {
        f"a run ({run})": run,
        f"--pretrained {pretrained}": pretrained,
        f"--target {target}": target,
    }
    given = [way for way, value in ways.items() if value is not None]
    require(len(given) <= 1, f"both {' and '.join(given)} are given; give one")
    require(given, "give a run directory, --pretrained, or --target; stanley targets lists names")
    if pretrained is not None:
        refuse_unused(
            shape=shape,
            start_std=start_std,
            dtype=dtype,
            weights=weights,
            log_density=log_density,
            network=own.network,
            trust=own.trust or None,
        )
        return a_pretrained_model(pretrained, fields, device)
    if run is not None:
        refuse_unused(shape=shape, start_std=start_std, dtype=dtype, log_density=log_density)
        if (run / FILE).is_file():
            refuse_unused(weights=weights, network=own.network)
            return of_a_comparison(run, fields, own.trust)
        return a_run(run, fields, weights or "average", device, own)
    refuse_unused(network=own.network, trust=own.trust or None)
    assert target is not None
    refuse_unused(weights=weights)
    return a_density(
        target,
        fields,
        shape=shape_of(shape),
        start_std=1.0 if start_std is None else start_std,
        dtype=dtype,
        device=device,
        log_density=bool(log_density),
    )


def refuse_unused(**flags: object) -> None:
    """Each of the flags was left out: here it would change nothing."""
    for name, value in flags.items():
        flag = name.replace("_", "-") + ("" if value is True else f" {value}")
        require(value is None, f"--{flag} changes nothing here: {USES[name]}; leave it out")


#: What the flags are for that not every sample or diagnose can use.
USES = {
    "shape": "a run knows the shape of its points",
    "start_std": "a run starts its chains from noise of the width of its data",
    "dtype": "a run has the type of its weights",
    "log_density": "an energy is no log-density",
    "ess": "it says when to stop, where neither --steps, --keep-every nor a sampler is given",
    "mcse": "it says when to stop, where neither --steps, --keep-every nor a sampler is given",
    "budget": "it says when to stop, where neither --steps, --keep-every nor a sampler is given",
    "all": "a table of coordinates is shown for a density",
    "weights": "only a run has averaged and raw weights",
    "start": "only a run with its own sampler can start from its bank",
    "network": "only a run may have been trained with a network of your own",
    "trust": "only a run names code",
    "precondition": "it is found along with the step size, and this run's is kept",
}


def a_density(
    target: str,
    fields: Sequence[str],
    *,
    shape: tuple[int, ...] | None,
    start_std: float,
    dtype: DType | None,
    device: str,
    log_density: bool = False,
) -> WhatToSample:
    """A named target or a user's function; the sampler is ChEES-HMC, which is exact, unless the
    flags say otherwise.
    """
    density = find(
        target,
        shape=shape,
        start_std=start_std,
        dtype=dtype,
        device=pick_device(device),
        log_density=log_density,
    )
    sampler, tune = sampler_of(None, fields)
    return WhatToSample(
        target,
        density.event_shape,
        density.initial,
        sampler,
        tune,
        density.device,
        None,
        None,
        density.potential,
        by_rules=not fields,
        start_std=start_std,
        dtype=density.dtype,
    )


def a_run(
    run: Path, fields: Sequence[str], weights: Weights, device: str, own: OwnFlags
) -> WhatToSample:
    """A run's energy and its own sampler at its last step size,
    or the one that the flags make of it.
    """
    sampler, rest = sampler_named(run, fields)
    parts = parts_of(run, own._replace(sampler=sampler))
    return a_model(load(run, weights=weights, device=device, **parts), str(run), run, rest)


def of_a_comparison(folder: Path, fields: Sequence[str], trust: bool) -> WhatToSample:
    """The density and the sampler of one seed of a comparison, at the step size that it had."""
    asked, _ = read_sampled(folder)
    require(
        trust or not (is_named(asked.target) or own_inside(asked.sampler)),
        f"{folder / FILE} names code, which is imported only where you say so: pass --trust",
    )
    config, own = as_it_ran(folder)
    density = density_of(config)
    sampler, tune = sampler_of(own, fields)
    return WhatToSample(
        config.target,
        density.event_shape,
        lambda n, generator: density.initial(config, n, generator),
        sampler,
        tune,
        torch.device("cpu"),
        None,
        folder,
        density.potential,
        dtype=density.dtype,
    )


def a_pretrained_model(name: str, fields: Sequence[str], device: str) -> WhatToSample:
    """A model that comes with the library."""
    return a_model(pretrained(name, device=device), name, None, fields)


def a_model(model: Trained, name: str, folder: Path | None, fields: Sequence[str]) -> WhatToSample:
    model = model.standardised  # whose chains one step size suits
    sampler, tune = sampler_of(model.sampler, fields)

    def initial(n: int, generator: torch.Generator) -> Tensor:
        return model.starts(n, "noise", generator)

    require(
        model.flow is None or not fields,
        f"{' '.join(fields)} changes nothing here: {name} was trained by flow-matching, and its "
        "samples are moved by its potential, not by a sampler; leave it out",
    )
    return WhatToSample(
        name, model.event_shape, initial, sampler, tune, model.device, model, folder
    )


def sampler_of(own: Sampler | None, fields: Sequence[str]) -> tuple[Sampler, bool]:
    """The sampler that --sampler and its fields make of a run's own, and whether its step size is
    to be found.

    It is to be found where no flag gives it and the run, if there is one, has it for another kind
    of sampler.
    """
    flags = parse_fields(fields)
    for name in flags:
        if name.split(".")[0] != "sampler":
            raise UnknownFlag(name.replace("_", "-"))
    base = {"kind": "chees"} if own is None else plain(own)
    config: dict[str, Any] = {"sampler": dict(base)}
    apply(config, flags)
    given = any(name.split(".")[-1] == "step_size" for name in flags)
    inside = config["sampler"].get("sampler")
    if config["sampler"].get("kind") == "replica-exchange" and "kind" not in (inside or {}):
        apply(config, {"sampler.sampler.kind": "mala"})  # what most ladders are made of
    tune = not given and (own is None or kinds(config["sampler"]) != kinds(base))
    if tune:
        apply(config, {"sampler.step_size": FIRST_STEP})
    sampler: Any = from_dict(AnySampler | OwnSampler, config["sampler"])  # type: ignore[arg-type]  # a union is a type to pydantic
    record = own_inside(sampler)
    if isinstance(record, NamedSampler):  # by the flags: a run's own is an object by now
        return with_own(sampler, made_of("sampler", record.name, {})), tune
    if record is not None:
        assert own is not None
        return with_own(sampler, type(innermost(own))), tune
    return sampler, tune


def kinds(sampler: dict[str, Any]) -> dict[str, Any]:
    """Of the sampler and of those inside it."""
    return {
        name: value for name, value in flatten(sampler).items() if name.split(".")[-1] == "kind"
    }


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """`10` or `3,32,32`."""
    if text is None:
        return None
    sizes = [whole_number(n.strip()) for n in text.replace("×", ",").replace("x", ",").split(",")]
    good = all(n is not None and 1 <= n < 2**31 for n in sizes)
    require(good, f"--shape is {text!r}, but must be whole numbers from 1, such as 10 or 3,32,32")
    return tuple(int(n or 0) for n in sizes)
