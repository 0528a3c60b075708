"""The record of a comparison as a file by itself: what comparison.json holds, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from stanley.errors import did_you_mean, require
from stanley.reading import read_json

CURE = "give the comparison.json of a comparison that is complete"


class Asked(TypedDict):
    scores: list[str]


class Run(TypedDict):
    seed: int
    failure: str | None
    scores: dict[str, float | None]
    along: list[tuple[float, float | None]]
    seconds: float | None
    went_wrong: list[tuple[str, int]]


class Trial(TypedDict):
    score: float | None
    rows: list[dict[str, Any]]


class ArmRecord(TypedDict):
    setting: dict[str, Any]
    setting_name: str
    edges: list[str]
    share: dict[str, Any] | None
    tuning: dict[str, Trial]
    runs: list[Run]
    also: NotRequired[dict[str, dict[str, float]]]  # what else is known: name -> seed -> number
    biased: NotRequired[bool]


class Found(TypedDict):
    values: dict[str, float | None]
    n: int
    failed: int
    mean: float | None
    sd: float | None
    median: float | None
    interval: tuple[float, float] | None
    verdict: str


class Along(TypedDict):
    """Which score a run has along its way, and along what."""

    score: str
    of: str


class Record(TypedDict):
    """What `comparing.compare` returns; `converted` says of a record that another program made
    before, how it came to be this one, and such a record may tell more of an arm (`also`).
    """

    asked: Asked
    arms: dict[str, ArmRecord]
    scores: dict[str, dict[str, Found]]
    lost: list[str]
    along: NotRequired[Along]
    converted: NotRequired[str]


def read_record(path: Path) -> dict[str, Any]:
    """The contents of a comparison.json, of whatever name.

    Raises StanleyError for a file that is missing, or holds no comparison or an unfinished one.
    """
    plain = read_json(path, dict[str, Any], CURE)
    require(not plain.get("unfinished"), f"{path} is of a comparison that is not finished; {CURE}")
    record = read_json(path, Record, CURE)
    arms = record["arms"]
    require(arms and record["asked"]["scores"], f"{path} holds no arms or no scores; {CURE}")
    for score in record["asked"]["scores"]:
        found = record["scores"].get(score, {})
        require(found, f"{path} has no {score} of any arm; {CURE}")
        unknown = next((arm for arm in found if arm not in arms), None)
        require(unknown is None, f"{path} has {score} of an arm {unknown!r} without runs; {CURE}")
    return record


def score_of(record: dict[str, Any], score: str) -> str:
    """The name of a score that the record has; raises StanleyError for any other."""
    known = record["asked"]["scores"]
    require(score in known, f"no score {score!r}: {did_you_mean(score, known)}")
    return score
