"""The user's own parts, by their names on the command line.

What a run or a model names is not imported for that: only what the flags of this command name, or,
with --trust, what the run names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from stanley.cli.flags import NOTHING, OwnFlags
from stanley.cli.output import say
from stanley.cli.values import parse_fields
from stanley.config import OWN, to_dict
from stanley.errors import StanleyError, require
from stanley.networks.levels import LevelEnergy, knows_levels
from stanley.own_code import called, checksum, imported, is_named, with_arguments
from stanley.runs.directory import RunDirectory
from stanley.runs.origin import is_signed, without_paths
from stanley.samplers.traits import is_adjusted
from stanley.training.fields import WRAPPED, as_dict
from stanley.training.objectives.given import described, taken_as

PARTS = ("network", "data", "sampler")  # that a trained model needs again
#: Parts that training needs -> the argument of the Python functions.
ARGUMENT = {
    "network": "energy",
    "data": "data",
    "sampler": "sampler",
    "objective": "objective",
}


@dataclass(frozen=True)
class NetworkByName:
    """What builds the user's network: a class or function that is called with the arguments, and
    with event_shape where it has such a parameter; a module; or what has `build(event_shape)`."""

    name: str
    found: Any
    arguments: dict[str, Any]

    @property
    def called(self) -> str:
        return self.name.rpartition(":")[2]

    @property
    def levels(self) -> bool:
        """Whether it knows noise levels, as far as that is seen before it is built."""
        return knows_levels(self.found) or (
            isinstance(self.found, type) and issubclass(self.found, LevelEnergy)
        )

    def build(self, event_shape: tuple[int, ...]) -> nn.Module:
        made = self.found
        if not isinstance(made, nn.Module) and not hasattr(made, "build"):
            made = called(self.name, made, self.arguments, event_shape=event_shape)
        elif isinstance(made, type):  # a class with a method build
            made = called(self.name, made, self.arguments)
        else:
            require(
                not self.arguments,
                f"{self.name} is made already and takes no arguments, but "
                f"{', '.join(self.arguments)} is given",
            )
        if not isinstance(made, nn.Module) and callable(getattr(made, "build", None)):
            made = made.build(event_shape)
        require(
            isinstance(made, nn.Module),
            f"{self.name} made a {type(made).__name__}, but must make a torch.nn.Module, "
            "(B, *event) -> (B,)",
        )
        return made


def made_of(part: str, name: str, arguments: dict[str, Any]) -> Any:
    """What is handed over for this part: the network's maker, the data, the sampler's class."""
    found = imported(name, part)
    if part == "network":
        require(
            callable(found) or hasattr(found, "build"),
            f"network {name} is a {type(found).__name__}, but must be a class or function that "
            "makes a torch.nn.Module",
        )
        return NetworkByName(name, found, arguments)
    if part == "sampler":
        require(
            callable(found) or hasattr(found, "init"),
            f"sampler {name} is a {type(found).__name__}, but must be the class of a sampler; see "
            "examples/own_sampler.py",
        )
    if part == "objective":
        if isinstance(found, type):
            return called(name, found, arguments)
        if arguments and callable(found):
            return with_arguments(name, found, arguments)
    if part == "data" and callable(found) and not hasattr(found, "__getitem__"):
        return called(name, found, arguments)
    require(
        part == "sampler" or not arguments,
        f"{name} is no function and takes no arguments, but {', '.join(arguments)} is given",
    )
    return found


class ForTraining:
    """The user's own parts of a configuration that is about to be trained.

    `fill` imports what the flags name and completes what the configuration says of it; `parts` are
    then the arguments of `train`.
    """

    def __init__(self, named: dict[str, Any], trust: bool) -> None:
        self.allowed = {name for name in named.values() if is_named(name)}
        self.trust = trust
        self.parts: dict[str, Any] = {}

    def fill(self, config: dict[str, Any]) -> None:
        for part in ARGUMENT:
            record = innermost_record(config.get(part))
            if record is None or record.get("kind") != "by-name":
                continue
            name = str(record.get("name"))
            require(
                is_named(name),
                f"{part}.name is {record.get('name')!r}, but must be module:Name or file.py:Name; "
                f"pass --{part} file.py:Name",
            )
            require(
                self.trust or name in self.allowed,
                f"the configuration names code, {part} {name}, which is imported only where you "
                f"name it: pass --{part} {name}, or --trust",
            )
            made = made_of(part, name, record["arguments"])
            record["checksum"] = checksum(name)
            if part == "network":
                record["levels"] = made.levels
            if part == "sampler":
                record["adjusted"] = is_adjusted(made)
            if part == "objective":
                like = described(taken_as(made)).like
                record["like"] = None if like is None else to_dict(like)
            self.parts[ARGUMENT[part]] = made

    @property
    def of_the_model(self) -> dict[str, Any]:
        """Those that are needed to load and judge what was trained."""
        return {
            ARGUMENT[part]: self.parts[ARGUMENT[part]]
            for part in PARTS
            if ARGUMENT[part] in self.parts
        }


def innermost_record(part: Any) -> dict[str, Any] | None:
    """What stands for a sampler inside others, or the part itself."""
    part = as_dict(part)
    inside = WRAPPED.get(str(part.get("kind")))
    return innermost_record(part.get(inside)) if inside else part or None


def parts_of(
    run: Path,
    flags: OwnFlags = NOTHING,
    data_root: str | None = None,
    *,
    needs_data: bool = False,
) -> dict[str, Any]:
    """The arguments energy, data and sampler of `load`, for a run or a packed model; its data, with
    --trust, only where `needs_data` says that the command reads them.

    Each is what a flag names, called with the arguments that the run has kept, or, with --trust,
    what the run names. Warns where a file is not the one the run was trained with. `data_root` is
    where the file is now that the user's own data come from.
    """
    config = configuration_of(run)
    parts: dict[str, Any] = {}
    for part in PARTS if config else ():
        record = innermost_record(config.get(part)) or {}
        name = getattr(flags, part)
        needed = needs_data or part != "data"
        if name is None and flags.trust and needed and record.get("kind") == "by-name":
            name = str(record.get("name"))
        if name is None:
            continue
        arguments = dict(as_dict(record.get("arguments")))
        if part == "data":
            if not is_signed(run, record):
                arguments = as_dict(without_paths(record).get("arguments"))
            arguments = moved(arguments, data_root)
        parts[ARGUMENT[part]] = made_of(part, name, arguments)
        before, now = record.get("checksum"), checksum(name)
        if before is not None and before != now:
            say(
                f"warning: {part} {name} has changed since the run was trained (SHA-256 {before}… "
                f"then, {now}… now): its numbers are those of another program"
            )
    return parts


def flags_in_words(config: dict[str, Any]) -> str:
    """` --network mine.py:MyNet`, what a command on the run has to say besides."""
    records = ((part, innermost_record(config.get(part)) or {}) for part in PARTS)
    return "".join(f" --{p} {r['name']}" for p, r in records if r.get("kind") == "by-name")


def configuration_of(run: Path) -> dict[str, Any]:
    """The configuration of a run or of a packed model; an empty one where it cannot be read, which
    is then for whoever loads it to say."""
    from stanley.models.packed import is_packed, read_packed

    try:
        if is_packed(run):
            return as_dict(read_packed(run).meta.get("config"))
        return as_dict(RunDirectory(run).read_config())
    except StanleyError:
        return {}


def moved(arguments: dict[str, Any], data_root: str | None) -> dict[str, Any]:
    """With --data.path, or --data.root, in the place of the argument of that name."""
    if data_root is None:
        return {name: value for name, value in arguments.items() if value is not None}
    name = next((n for n in ("path", "root") if n in arguments), "path")
    return arguments | {name: data_root}


def sampler_named(run: Path, fields: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The name that --sampler gives of the user's own sampler that a run was trained with, and the
    flags that remain. On a run with one of the library it is another sampler, and stays."""
    record = innermost_record(configuration_of(run).get("sampler")) or {}
    name = parse_fields(fields).get("sampler")
    if record.get("kind") not in OWN or not is_named(name):
        return None, tuple(fields)
    rest, words = [], list(fields)
    while words:
        word = words.pop(0)
        if word == "--sampler":
            words.pop(0)
        elif not word.startswith("--sampler="):
            rest.append(word)
    return str(name), tuple(rest)
