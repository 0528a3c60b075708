"""From a recipe, a file and flags to one checked configuration: flags win over the file,
the file over the recipe.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol, get_args

from stanley.config import OWN, flatten, from_dict, to_dict
from stanley.data import AnyData
from stanley.errors import StanleyError, require
from stanley.networks import AnyNetwork
from stanley.own_code import called, imported, is_named
from stanley.samplers import AnySampler, OwnSampler
from stanley.samplers.traits import is_adjusted
from stanley.training.config import TrainConfig
from stanley.training.fields import apply, as_dict
from stanley.training.former import up_to_date
from stanley.training.objectives import AnyObjective
from stanley.training.recipes import recipe as named_recipe

#: Fields of an objective that only an adjusted sampler can have -> their value without it.
DRIVEN_BY_ACCEPTANCE: dict[str, Any] = {"adapt": None, "free_stuck": 0.0}


class OwnParts(Protocol):
    """What imports and completes the user's own parts of plain fields."""

    def fill(self, config: dict[str, Any]) -> None: ...


def resolve(
    recipe: str,
    from_file: dict[str, Any],
    flags: dict[str, Any],
    own: OwnParts | None = None,
) -> TrainConfig:
    """The configuration; `own` imports what the flags name of the user's own code."""
    config, from_file = to_dict(recipe_of(recipe)), up_to_date(from_file)
    apply(config, flatten(from_file))
    apply(config, flags)
    require_labels(as_dict(config["data"]))
    if own is not None:
        own.fill(config)
    asked_for = {name for path in (*flatten(from_file), *flags) for name in path.split(".")}
    if not DRIVEN_BY_ACCEPTANCE.keys() & asked_for:
        leave_out_acceptance(config)
    if "objective" not in {name.split(".")[0] for name in (*flatten(from_file), *flags)}:
        leave_out_levels(config)
    return from_dict(TrainConfig, config)


def require_labels(data: dict[str, Any]) -> None:
    """data.label is given for data that have labels only."""
    if data.get("label") is None:
        return
    labelled = [
        spec.kind for spec in get_args(AnyData) if "label" in {f.name for f in fields(spec)}
    ]
    plain = {spec.kind for spec in get_args(AnyData)} - {*labelled}
    require(
        data.get("kind") not in plain,
        f"data.label is {data['label']!r}, and {data['kind']} data have no labels; those with"
        f" labels: {', '.join(labelled)}; leave it out, or train a recipe on one of these",
    )


def recipe_of(recipe: str) -> TrainConfig:
    """A recipe of the library, or the user's own as `module:name` or `file.py:name`: a TrainConfig,
    or a function that returns one."""
    if not is_named(recipe):
        return named_recipe(recipe)
    found: Any = imported(recipe, "recipe")
    config: Any = found
    if not isinstance(found, TrainConfig) and callable(found):
        config = called(recipe, found, {})
    require(
        isinstance(config, TrainConfig),
        f"recipe {recipe} is a {type(config).__name__}, but must be a stanley.TrainConfig, or a "
        "function that returns one",
    )
    kinds = {"network": AnyNetwork, "data": AnyData, "sampler": AnySampler}
    kinds["objective"] = AnyObjective
    for part, kind in kinds.items():
        require(
            isinstance(getattr(config, part), kind),
            f"recipe {recipe} has {part} {type(getattr(config, part)).__name__}, which is none of "
            f"the library's; name it with --{part} file.py:Name",
        )
    return config


def leave_out_levels(config: dict[str, Any]) -> None:
    """A recipe that begins by denoising, asked for with a network of the user's own that knows no
    noise levels, trains by its chains from the beginning."""
    network, objective = as_dict(config["network"]), as_dict(config["objective"])
    if network.get("kind") in OWN and not network.get("levels") and "contrastive" in objective:
        config["objective"] = objective["contrastive"]


def leave_out_acceptance(config: dict[str, Any]) -> None:
    """A recipe for an adjusted sampler, asked for with one that never rejects,
    does without what acceptance drives.
    """
    try:
        sampler = from_dict(AnySampler | OwnSampler, config["sampler"])  # type: ignore[arg-type]  # a union is a type to pydantic
    except StanleyError:  # left for the whole configuration to say, with nothing in its way
        sampler = None
    if sampler is None or not is_adjusted(sampler):
        objective = as_dict(config["objective"])
        for part in (objective, as_dict(objective.get("contrastive"))):
            part |= {k: off for k, off in DRIVEN_BY_ACCEPTANCE.items() if k in part}
