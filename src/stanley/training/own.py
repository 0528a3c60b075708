"""What the user hands over beside the configuration: parts of their own."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from torch import Tensor, nn

from stanley import data as library_data
from stanley import networks, samplers
from stanley.config import kind_of, to_dict
from stanley.data import Dataset
from stanley.data import given as given_data
from stanley.errors import StanleyError, require
from stanley.networks import build_energy
from stanley.networks import given as given_network
from stanley.networks.levels import level_energy
from stanley.own_code import OwnPart
from stanley.runs.checkpoint import Checkpoint, restore_weights
from stanley.samplers import given as given_sampler
from stanley.streams import stream
from stanley.training.arguments import Arguments
from stanley.training.config import TrainConfig
from stanley.training.objectives import OwnObjective
from stanley.training.objectives import given as given_objective
from stanley.training.state import TrainState
from stanley.types import piecewise_linear


@dataclass(frozen=True)
class Parts:
    """A configuration that can be trained, and what it cannot hold.

    written   the configuration as files hold it: of what was handed over only what it is called
    """

    config: TrainConfig
    written: dict[str, Any]
    energy: nn.Module | None = None
    data: Dataset | None = None


def taken(arguments: Arguments, load: Callable[[TrainConfig], Dataset]) -> Parts:
    """The configuration of the arguments with what they hand over in the place of its parts.

    A part that stands in the configuration itself, though it is none of the library, is taken from
    there. Raises StanleyError, in one line, for a part that has to be handed over and is not.
    `load` reads the data of the configuration, where a network of the user's is built for them.
    """
    config = arguments.config
    energy, network = apart(
        config.network, arguments.energy, networks.AnyNetwork, networks.OwnNetwork
    )
    data, spec = apart(config.data, arguments.data, library_data.AnyData, library_data.OwnData)
    sampler, objective = arguments.sampler, arguments.objective
    require_all(config, energy, data, sampler, objective)
    own_data = None
    if data is None:
        require(
            arguments.standardise is None,
            f"standardise is {arguments.standardise}, but no data are handed over; leave it out, "
            "or set the field standardise of the configuration's data, where they have one",
        )
    else:
        rows = given_data.dataset_of(data)
        asked = arguments.standardise
        if asked is None and isinstance(spec, library_data.OwnData):
            asked = None if spec.standardise else False
        own_data = given_data.for_training(rows, type(data).__qualname__, asked)
        spec = given_data.described(data, rows, own_data, spec)
        if rows.stream is not None:
            warn_of_stream(rows.stream)

    module = None
    if energy is not None:
        whole = isinstance(energy, nn.Module)
        shape = () if whole else (own_data or load(config)).event_shape
        module = build_energy(config.network, shape, seed=config.seed, own=energy)
        if isinstance(network, given_network.NamedNetwork):
            network = replace(network, levels=level_energy(module) is not None)
        else:
            network = given_network.described(module, given_network.class_name(energy))

    named = config.sampler if given_sampler.own_inside(config.sampler) is not None else None
    moved = sampler if named is None else given_sampler.with_own(config.sampler, sampler)
    moved = config.sampler if moved is None else moved
    if given_sampler.is_own(moved) or not isinstance(moved, samplers.AnySampler):
        given_sampler.require_sampler(moved)
    descended = given_objective.with_own(config.objective, objective)
    stands_for = config.objective
    if not isinstance(stands_for, OwnObjective):
        stands_for = given_objective.described(descended)
    config = replace(config, network=network, data=spec, sampler=moved, objective=descended)
    shown = replace(config, sampler=named or given_sampler.described(moved), objective=stands_for)
    return Parts(config, to_dict(shown), module, own_data)


def apart(part: Any, given: Any, library: Any, own: Any) -> tuple[Any, Any]:
    """What is handed over for a part, and what stands for it in the configuration."""
    if given is None and type(part) not in (*get_args(library), *get_args(own)):
        return part, None
    return given, part


def require_all(config: TrainConfig, *brought: Any) -> None:
    """All that stands in the configuration as the user's own is there."""
    sampler = given_sampler.own_inside(config.sampler)
    parts = (config.network, config.data, sampler, config.objective)
    for part, handed_over in zip(parts, brought, strict=True):
        if handed_over is None and isinstance(part, OwnPart):
            raise StanleyError(part.why_not)


def warn_of_stream(stream: Any) -> None:
    """What an iterable cannot have."""
    once = ", which can be read only once: training stops where it ends" if stream.once else ""
    warnings.warn(
        f"the data ({stream.name}) are an iterable{once}. A resumed run reads it from its "
        "beginning again, so that it does not equal an unbroken one; no rows are held out, so that "
        "stanley evaluate needs other data, evaluate(run, data=…)",
        stacklevel=7,
    )


def first_points(data: Dataset) -> Tensor:
    """The first rows (8, *event) of the data, as training sees them."""
    rows = data.train[:8]
    return library_data.centre(rows) if data.is_image else rows.float()


def probe_loss(config: TrainConfig, state: TrainState, data: Dataset) -> None:
    """Raise StanleyError where the user's loss cannot train the network on these data."""
    if isinstance(config.objective, given_objective.OwnLoss):
        device = state.world.device
        generator = stream(config.seed, "probe of the loss", device=device)
        x = first_points(data).to(device)
        config.objective.probe(state.energy, x, config.temperature, generator)


def probe(config: TrainConfig, energy: nn.Module, data: Dataset) -> None:
    """Raise StanleyError where the user's network cannot be trained on these data."""
    given_network.probe(energy, first_points(data))
    kink = piecewise_linear(energy) if config.objective.differentiates_twice else None
    require(
        kink is None or level_energy(energy) is not None,
        f"{type(energy).__name__} has activations {kink}, whose second derivative is 0, and "
        f"objective {kind_of(config.objective)!r} differentiates twice; use a smooth one such as "
        "SiLU",
    )


def require_same_network(energy: nn.Module, saved: Checkpoint) -> None:
    """Raise StanleyError where the energy, which gets the averaged weights of the checkpoint, does
    not have them, or computes something else with them than is kept there.
    """
    restore_weights(energy, saved.part("average"), saved.path)
    if probe := saved.part("probe"):
        points, values = probe["points"], probe["energy"]
        given_network.require_same_values(energy, points, values, saved.path)
