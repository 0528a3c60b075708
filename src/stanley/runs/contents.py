"""What the JSON files of a run and of a model must hold for the rest of the program to read
them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

Step = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, lt=2**31)]

#: One line of records.jsonl: numbers, null where one was not finite.
Record = dict[str, float | None]


class Event(TypedDict):
    """One line of events.jsonl."""

    kind: str
    step: NotRequired[Step]
    reason: NotRequired[str]


class Meta(TypedDict):
    """What a checkpoint and a packed model say of their tensors."""

    step: Step
    step_size: Positive
    slowdown: Annotated[float, Field(gt=0, le=1)]
    event_shape: Annotated[list[Size], Field(min_length=1, max_length=8)]
    is_image: bool
    config: dict[str, Any]
    rollbacks: NotRequired[Step]
    ranks: NotRequired[Size]
    columns: NotRequired[list[str]]


class Scores(TypedDict):
    """The parts of scores.json that go onto the card of a packed model."""

    step: NotRequired[Step]
    seed: NotRequired[int]
    kl: NotRequired[float | None]
    tv: NotRequired[float | None]
    fresh: NotRequired[dict[str, Any]]
    bank: NotRequired[dict[str, Any]]
    chains: NotRequired[dict[str, dict[str, Any]]]
    energy: NotRequired[dict[str, Any]]
