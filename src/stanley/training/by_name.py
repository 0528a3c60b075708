"""The user's own parts of a configuration, by their names `module:Name` or `file.py:Name`.

Nothing here is imported because a file names it: only what the user has named, or trusts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from stanley.config import to_dict
from stanley.errors import require
from stanley.networks.levels import LevelEnergy, knows_levels
from stanley.own_code import called, checksum, imported, is_named, with_arguments
from stanley.samplers.traits import is_adjusted
from stanley.training.config import TrainConfig
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
        return of_the_model(self.parts)


def innermost_record(part: Any) -> dict[str, Any] | None:
    """What stands for a sampler inside others, or the part itself."""
    part = as_dict(part)
    inside = WRAPPED.get(str(part.get("kind")))
    return innermost_record(part.get(inside)) if inside else part or None


def named_parts(config: TrainConfig) -> dict[str, Any]:
    """The arguments of `train` for a configuration whose code the user has named: imported here."""
    own = ForTraining({}, trust=True)
    own.fill(to_dict(config))
    return own.parts


def of_the_model(parts: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments of `train` that load and judge what was trained."""
    return {ARGUMENT[part]: parts[ARGUMENT[part]] for part in PARTS if ARGUMENT[part] in parts}
