"""Objectives of the user's own: a loss, or a class that extends an objective of the library.

    loss(potential, x, generator) -> ()                 a function, or a method of that name

is L of one batch x (B, *event) of data, to be descended; `potential` is U = E/T, (B, *event) ->
(B,), and `generator` the stream that all random numbers come from. It may return (L, {name:
number}) to have more in the record. It runs no chains; what extends `Contrastive` has them, and the
bank, and may define

    contrast(energy_pos, energy_neg) -> ()              in place of their difference

and what defines `descend` does everything itself.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from stanley.config import differences, to_dict
from stanley.errors import StanleyError, in_one_line, require
from stanley.own_code import GivenInPython, NamedByUser, OwnPart, called, value_of
from stanley.training.objectives.contrastive import Contrastive
from stanley.training.objectives.denoising import Denoising
from stanley.training.objectives.named import AnyObjective
from stanley.training.objectives.without_chains import WithoutChains, require_no_levels
from stanley.types import Potential

if TYPE_CHECKING:
    from stanley.training.config import TrainConfig
    from stanley.training.objectives import Ratios
    from stanley.training.state import TrainState

#: Names that a record has already.
TAKEN = ("step", "learning_rate", "step_size", "grad_norm", "seconds", "peak_mib")
WANTED = (
    "a function loss(potential, x, generator), an object with a method loss like it, or one that "
    "extends stanley.Contrastive or another objective of the library; see docs/own-parts.md"
)


class NotHandedOver(OwnPart, WithoutChains):
    """What stands in a configuration for an objective of the user's own until that is handed over.

    It knows what a run needs of it after training, when the code is not at hand any more.
    """

    like: AnyObjective | None

    @property
    def contrastive(self) -> Contrastive | None:
        return None if self.like is None else self.like.contrastive

    @property
    def denoising(self) -> Denoising | None:
        return None if self.like is None else self.like.denoising

    @property
    def differentiates_twice(self) -> bool:
        return self.like is not None and self.like.differentiates_twice

    def check(self, config: TrainConfig) -> None:
        """Nothing: it was checked when it was trained."""

    def descend(self, config: TrainConfig, state: TrainState, x_pos: Tensor) -> Ratios:
        raise StanleyError(self.why_not)


@dataclass(frozen=True)
class GivenObjective(GivenInPython, NotHandedOver):
    """An objective that was an object in Python; `like` is the library's that it extends."""

    class_: str
    arguments: dict[str, Any] = field(default_factory=dict)
    like: AnyObjective | None = None
    kind: Literal["given"] = "given"

    part: ClassVar[str] = "objective"
    handed: ClassVar[str] = "objective={}"


@dataclass(frozen=True)
class NamedObjective(NamedByUser, NotHandedOver):
    """An objective that was named on the command line, `module:Name` or `file.py:Name`."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    checksum: str | None = None
    like: AnyObjective | None = None
    kind: Literal["by-name"] = "by-name"

    part: ClassVar[str] = "objective"
    handed: ClassVar[str] = "objective={}"


@dataclass(frozen=True)
class OwnLoss(WithoutChains):
    """A loss of the user's own as an objective."""

    own: Any
    kind: Literal["given"] = "given"

    @property
    def called(self) -> str:
        return name_of(self.own)

    @property
    def loss(self) -> Callable[..., Any]:
        return getattr(self.own, "loss", self.own)

    @property
    def differentiates_twice(self) -> bool:
        """Whether it says that it takes second derivatives of U."""
        return bool(getattr(self.own, "differentiates_twice", False))

    def check(self, config: TrainConfig) -> None:
        """Raise StanleyError for what cannot work together with the rest of the configuration."""
        require_no_levels(config, self.called)

    def descend(self, config: TrainConfig, state: TrainState, x_pos: Tensor) -> Ratios:
        """Leave ∇_θ L of one batch x⁺ (B, *event) in the parameters; what its record says of it."""
        state.energy.train()
        potential = Potential(state.model, config.temperature)
        loss, numbers = self.parted(self.loss(potential, x_pos, state.chain_generator))
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return ratios_of(self.called, {**numbers, "loss": loss.detach()}, loss)

    def parted(self, told: Any) -> tuple[Tensor, Mapping[str, Any]]:
        """L, and what else goes into the record; raises StanleyError for what is no loss."""
        loss, numbers = told if isinstance(told, tuple) and len(told) == 2 else (told, {})
        if not (isinstance(loss, Tensor) and loss.dim() == 0 and loss.is_floating_point()):
            raise StanleyError(
                f"objective {self.called} returned {in_words(loss)}, but its loss must be one "
                "number, a tensor of shape (): take the mean over the batch"
            )
        require(
            loss.requires_grad,
            f"objective {self.called} returned a loss without gradient; compute it with torch "
            "operations on potential(x), without detach, numpy or no_grad",
        )
        return loss, numbers

    def probe(
        self, energy: nn.Module, x: Tensor, temperature: float, generator: torch.Generator
    ) -> None:
        """Raise StanleyError where the loss of data x (B, *event) cannot train a copy of `energy`:
        it fails, is no finite number, has no gradient, or draws random numbers elsewhere.
        """
        energy, name = copy.deepcopy(energy).train(), self.called
        draws = torch.get_rng_state()
        try:
            told = self.loss(Potential(energy, temperature), x, generator)
            drew = not torch.equal(draws, torch.get_rng_state())
        except StanleyError:
            raise
        except (Exception, SystemExit) as error:
            raise StanleyError(
                f"objective {name} failed on data of shape {tuple(x.shape)}: {in_one_line(error)}"
            ) from error
        finally:
            torch.set_rng_state(draws)
        require(
            not drew,
            f"objective {name} draws random numbers that are not its generator's, so that a resumed"
            " run would not equal an unbroken one; pass generator=generator where it draws them",
        )
        loss, numbers = self.parted(told)
        ratios_of(name, numbers, loss)
        require(
            bool(loss.isfinite()),
            f"objective {name} is {float(loss.detach()):g} at first weights, but must be finite",
        )
        weights = [p for p in energy.parameters() if p.requires_grad]
        require(
            any(g is not None for g in torch.autograd.grad(loss, weights, allow_unused=True)),
            f"objective {name} has a gradient that reaches no weight of the network, so nothing "
            "can be learned; compute it from potential(x)",
        )


def ratios_of(name: str, numbers: Any, like: Tensor) -> Ratios:
    """What a step's record says of its batch: numbers, each a mean over the ranks, or pairs of two,
    the ratio of whose sums it is; on the device of `like`.
    """
    require(
        isinstance(numbers, Mapping) and all(isinstance(key, str) for key in numbers),
        f"objective {name} returned {in_words(numbers)} for its record, but must return "
        "{name: number}",
    )
    taken = [key for key in numbers if key in TAKEN]
    require(
        not taken,
        f"objective {name} has a number {taken and taken[0]!r}, a name that records have already; "
        "call it otherwise",
    )

    def pair(key: str, value: Any) -> tuple[Tensor, Tensor]:
        both = value if isinstance(value, tuple) and len(value) == 2 else (value, 1.0)
        try:
            above, below = (torch.as_tensor(part).detach().to(like).reshape(()) for part in both)
        except (TypeError, ValueError, RuntimeError) as error:
            raise StanleyError(
                f"objective {name} has {in_words(value)} as {key!r}, but must have a number"
            ) from error
        return above, below

    return {key: pair(key, value) for key, value in numbers.items()}


def in_words(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def is_own(objective: object) -> bool:
    """Whether it is the user's own, or holds a loss that is."""
    return type(objective) not in (*get_args(AnyObjective), GivenObjective, NamedObjective)


def taken_as(objective: Any) -> Any:
    """What the main loop can call: an objective of the library or what extends one as it is, a loss
    of the user's own as `OwnLoss`. Raises StanleyError for what is neither.
    """
    if not is_own(objective) or isinstance(objective, OwnLoss):
        return objective
    name = name_of(objective)
    require(
        not isinstance(objective, type),
        f"objective is the class {name}, but must be an object of it; call it, {name}(…)",
    )
    require(
        not isinstance(objective, nn.Module),
        f"objective {name} is a torch.nn.Module, whose weights no optimiser would see; keep what is"
        " trained in the network, and give a function of it",
    )
    if isinstance(objective, get_args(AnyObjective)):
        return objective
    own = objective.loss if hasattr(objective, "loss") else objective
    require(callable(own), f"objective is {in_words(objective)}, but must be {WANTED}")
    return OwnLoss(objective)


def name_of(own: Any) -> str:
    """The class of an object, the name of a function, also with arguments filled in."""
    inside = own.func if isinstance(own, functools.partial) else own
    return str(getattr(inside, "__qualname__", type(inside).__qualname__))


def described(objective: Any) -> Any:
    """The objective as a configuration holds it."""
    if not is_own(objective):
        return objective
    own = objective.own if isinstance(objective, OwnLoss) else objective
    base = next((k for k in get_args(AnyObjective) if isinstance(own, k)), None)
    like = None
    if base is not None:
        like = base(**{f.name: getattr(own, f.name) for f in fields(base) if f.name != "kind"})
    known = () if base is None else tuple(f.name for f in fields(base))
    arguments = {k: value_of(v) for k, v in arguments_of(own).items() if k not in known}
    return GivenObjective(name_of(own), arguments, like)


def arguments_of(own: Any) -> dict[str, Any]:
    """What it was made with: the fields of a dataclass, what was filled in of a function, else the
    attributes of the object.
    """
    if is_dataclass(own):
        return {f.name: getattr(own, f.name) for f in fields(own) if f.init}
    if isinstance(own, functools.partial):
        named = {str(k): value for k, value in enumerate(own.args)}
        return named | own.keywords
    return {} if hasattr(own, "__qualname__") else dict(getattr(own, "__dict__", {}))


def extended(objective: Any) -> Any:
    """The library's objective that it is or extends; itself where that is none."""
    return getattr(objective, "like", None) or objective


def with_own(objective: Any, own: Any) -> Any:
    """The objective that is trained, `own` in place of a configuration's: where that stands for one
    of the user's own it must be the same, or its class, which is called with the same arguments.
    """
    if not isinstance(objective, GivenObjective | NamedObjective):
        return taken_as(objective if own is None else own)
    if own is None:
        raise StanleyError(objective.why_not)
    if isinstance(own, type):
        own = called(objective.called, own, objective.arguments)
    own = taken_as(own)
    here = described(own)
    fields_here = here.arguments | ({} if here.like is None else to_dict(here.like))
    changed = differences(
        {"class": objective.called, "arguments": objective.arguments},
        {
            "class": here.class_ if isinstance(here, GivenObjective) else here.kind,
            "arguments": {name: fields_here.get(name) for name in objective.arguments},
        },
    )
    require(
        not changed,
        "the objective that is handed over is not the one that was used ("
        + "; ".join(f"{n}: {a!r} → {b!r}" for n, (a, b) in changed.items())
        + "); hand over that one, or its class",
    )
    return own
