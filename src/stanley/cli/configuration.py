"""From a recipe, a file and flags to one checked configuration: flags win over the file,
the file over the recipe.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from stanley.cli import values
from stanley.cli.fields import apply, as_dict
from stanley.config import flatten, from_dict, to_dict
from stanley.data import AnyData
from stanley.errors import StanleyError, in_one_line, require
from stanley.reading import read_whole
from stanley.samplers import AnySampler
from stanley.samplers.traits import is_adjusted
from stanley.training.config import TrainConfig
from stanley.training.former import up_to_date
from stanley.training.recipes import recipe as named_recipe

#: Fields of an objective that only an adjusted sampler can have -> their value without it.
DRIVEN_BY_ACCEPTANCE: dict[str, Any] = {"adapt": None, "free_stuck": 0.0}


def resolve(recipe: str, from_file: dict[str, Any], flags: dict[str, Any]) -> TrainConfig:
    config, from_file = to_dict(named_recipe(recipe)), up_to_date(from_file)
    apply(config, flatten(from_file))
    apply(config, flags)
    require_labels(as_dict(config["data"]))
    asked_for = {".".join(path.split(".")[:2]) for path in (*flatten(from_file), *flags)}
    if not {f"objective.{name}" for name in DRIVEN_BY_ACCEPTANCE} & asked_for:
        leave_out_acceptance(config)
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


def leave_out_acceptance(config: dict[str, Any]) -> None:
    """A recipe for an adjusted sampler, asked for with one that never rejects,
    does without what acceptance drives.
    """
    try:
        sampler = from_dict(AnySampler, config["sampler"])  # type: ignore[arg-type]  # a union is a type to pydantic
    except StanleyError:  # left for the whole configuration to say, with nothing in its way
        sampler = None
    if sampler is None or not is_adjusted(sampler):
        objective = as_dict(config["objective"])
        objective |= {k: off for k, off in DRIVEN_BY_ACCEPTANCE.items() if k in objective}


def read_config_file(path: Path) -> dict[str, Any]:
    """A .yaml, .yml or .toml file of fields."""
    require(
        path.suffix in (".toml", ".yaml", ".yml"), f"--config {path}: give a .yaml or .toml file"
    )
    content = read_whole(path, values.LARGEST, "give --config a .yaml or .toml file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StanleyError(
            f"--config {path} is not UTF-8 text ({error}); save it as UTF-8"
        ) from error
    try:
        fields = load_toml(text) if path.suffix == ".toml" else values.load(text)
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, StanleyError) else in_one_line(error)
        raise StanleyError(f"--config {path} cannot be read: {why}") from error
    fields = {} if fields is None else fields
    require(isinstance(fields, dict), f"--config {path} must hold fields, one `name: value` a line")
    return fields


def load_toml(text: str) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads(text)
