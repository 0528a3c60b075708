"""What `open_run`, `steps` and `train` take, said once."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ParamSpec, TypeVar

from stanley.ranks import Parallel
from stanley.samplers.execution import Execution
from stanley.training.config import TrainConfig

A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


@dataclass(frozen=True)
class Arguments:
    """Those of a run that is opened; `stanley.train` says what each of them is."""

    config: TrainConfig
    out: str | os.PathLike[str]
    _: KW_ONLY
    energy: Any = None
    data: Any = None
    standardise: bool | None = None
    sampler: Any = None
    objective: Any = None
    device: str = "auto"
    execution: Execution = "auto"
    parallel: Parallel = "ddp"
    read_every: int | None = None
    track: str | Sequence[str] | None = None


@dataclass(frozen=True)
class ShownArguments(Arguments):
    """Those of the loop, which can show how far it is."""

    _: KW_ONLY
    progress: bool = False
    picture: bool = False
    title: str = "training"


def taking(arguments: Callable[P, A]) -> Callable[[Callable[[A], R]], Callable[P, R]]:
    """A function of `arguments` as one that takes their fields, with the signature of their class;
    whatever does not fit it raises TypeError.
    """

    def declare(function: Callable[[A], R]) -> Callable[P, R]:
        signature = inspect.signature(arguments)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            signature.bind(*args, **kwargs)  # which names no other function than this one
            return function(arguments(*args, **kwargs))

        returned = inspect.signature(function).return_annotation
        vars(called)["__signature__"] = signature.replace(return_annotation=returned)
        return called

    return declare
