"""From a recipe, a file and flags to one checked configuration: flags win over the file, the file over the recipe."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import yaml

from stanley.cli.fields import apply
from stanley.config import flatten, from_dict, to_dict
from stanley.data import AnyData
from stanley.errors import StanleyError, require
from stanley.samplers import AnySampler
from stanley.samplers.traits import is_adjusted
from stanley.training.config import TrainConfig
from stanley.training.recipes import recipe as named_recipe


def resolve(recipe: str, from_file: dict[str, Any], flags: dict[str, Any]) -> TrainConfig:
    config = to_dict(named_recipe(recipe))
    apply(config, flatten(from_file))
    apply(config, flags)
    require_labels(config["data"])
    if not {"adapt", "free_stuck"} & {path.split(".")[0] for path in (*from_file, *flags)}:
        leave_out_acceptance(config)
    return from_dict(TrainConfig, config)


def require_labels(data: dict[str, Any]) -> None:
    """data.label is given for data that have labels only."""
    if data.get("label") is None:
        return
    labelled = [spec.kind for spec in get_args(AnyData) if "label" in {f.name for f in fields(spec)}]
    plain = {spec.kind for spec in get_args(AnyData)} - {*labelled}
    require(
        data.get("kind") not in plain,
        f"data.label is {data['label']!r}, and {data['kind']} data have no labels; those with labels: "
        f"{', '.join(labelled)}; leave it out, or train a recipe on one of these",
    )


def leave_out_acceptance(config: dict[str, Any]) -> None:
    """A recipe for an adjusted sampler, asked for with one that never rejects, does without what acceptance drives."""
    try:
        sampler = from_dict(AnySampler, config["sampler"])  # type: ignore[arg-type]  # a union is a type to pydantic
    except StanleyError:  # left for the whole configuration to say, with nothing in its way
        sampler = None
    if sampler is None or not is_adjusted(sampler):
        config["adapt"], config["free_stuck"] = None, 0.0


def read_config_file(path: Path) -> dict[str, Any]:
    """A .yaml, .yml or .toml file of fields."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StanleyError(f"--config {path}: {error.strerror}; give a .yaml or .toml file") from error
    except UnicodeDecodeError as error:
        raise StanleyError(f"--config {path} is not UTF-8 text ({error}); save it as UTF-8") from error
    try:
        if path.suffix == ".toml":
            values = load_toml(text)
        else:
            require(path.suffix in (".yaml", ".yml"), f"--config {path}: give a .yaml or .toml file")
            values = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, StanleyError):
            raise
        raise StanleyError(f"--config {path} cannot be read: {' '.join(str(error).split())}") from error
    require(isinstance(values, dict), f"--config {path} must hold fields, one `name: value` a line")
    return values


def load_toml(text: str) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads(text)
