"""From a recipe, a file and flags to one checked configuration; flags win over the file, the file over the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import yaml

from stanley.config import flatten, from_dict, to_dict
from stanley.data import AnyData
from stanley.errors import StanleyError, require
from stanley.samplers import AnySampler
from stanley.samplers.named import step_is_time
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


def parse_fields(tokens: Sequence[str]) -> dict[str, Any]:
    """`--a.b-c value` and `--a.b-c=value` to {"a.b_c": value}; a value is read as YAML: 3, true, null, [1, 2]."""
    flags: dict[str, Any] = {}
    rest = list(tokens)
    while rest:
        name = rest.pop(0)
        require(name.startswith("--"), f"unexpected argument {name!r}; a field is given as --name value")
        name, given, value = name[2:].partition("=")
        if not given:
            require(rest, f"--{name} needs a value, for example --{name} 1")
            value = rest.pop(0)
        field = name.replace("-", "_")
        require(field not in flags, f"--{name} is given twice; give it once")
        try:
            flags[field] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise StanleyError(f"--{name} is {value!r}, which is not a number, word, list or null") from error
    return flags


def override(config: dict[str, Any], path: str, value: Any) -> None:
    """Set `a.b.c` in place.

    Naming another `kind` of a part starts that part anew, but for a step size or learning rate, which carry over;
    not between a variance and a time step, which are not the same number.
    A field that a sampler made of another does not have is the other's: sampler.step_size works for all samplers.
    A word given for a part that has a kind names its kind, and a kind `adjusted-x` is x in `adjusted`.
    """
    *parents, last = path.split(".")
    at = config
    for name in parents:
        at = inner(at, name)
        if not isinstance(at.get(name), dict):
            at[name] = {}
        at = at[name]
    at = inner(at, last)
    if isinstance(value, str) and (last in WRAPPED.values() or "kind" in as_dict(at.get(last))):
        return override(config, f"{path}.kind", value)
    if last == "kind" and isinstance(value, str) and value.startswith("adjusted-"):
        override(config, path, "adjusted")
        return override(config, ".".join((*parents, "proposal", "kind")), value.removeprefix("adjusted-"))
    if last == "kind" and at.get("kind") != value:
        carried = {name: inner(at, name)[name] for name in ("step_size", "lr") if name in inner(at, name)}
        if step_is_time(inner(at, "step_size").get("kind")) != step_is_time(value):
            carried.pop("step_size", None)
        at.clear()
        at.update({WRAPPED[str(value)]: carried} if str(value) in WRAPPED else carried)
    at[last] = value
    return None


def as_dict(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}


#: The field in which a sampler of this kind holds the one that it is made of, and its other fields.
WRAPPED = {"adjusted": "proposal", "replica-exchange": "sampler"}
BESIDES = ("kind", "temperatures", "power")


def inner(part: dict[str, Any], name: str) -> dict[str, Any]:
    """The part itself, or the sampler it is made of where only that can have such a field."""
    wrapped = WRAPPED.get(str(part.get("kind")))
    if wrapped is None or wrapped not in part or name in (wrapped, *BESIDES):
        return part
    return inner(part[wrapped], name)


def apply(config: dict[str, Any], changes: dict[str, Any]) -> None:
    """Override every `a.b.c` of `changes`: kinds first, from the outside in, because a new kind starts a part anew."""
    parts = [name for name, part in config.items() if "kind" in as_dict(part)]
    names_kind = {p for p in changes if p.split(".")[-1] in ("kind", *WRAPPED.values()) or p in parts}
    for path in sorted(changes, key=lambda p: (p not in names_kind, p.count("."))):
        override(config, path, changes[path])


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
