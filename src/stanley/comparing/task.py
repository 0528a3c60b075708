"""One task of a comparison: plain values that travel to a worker, and the row that comes back.

No code travels. A row is the file compared.json in the folder of the task; one that is there is not
computed again.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stanley.errors import require
from stanley.overwriting import json_object

ROW = "compared.json"
RECORD = "comparison.json"  # of the whole, in the folder of the comparison
#: Scores of which more is better, by the last part of their names; of all others less is.
MORE_IS_BETTER = ("covered", "precision", "recall", "density", "coverage", "score", "ess")


@dataclass(frozen=True)
class Task:
    """One seed of an arm: where it is written, its configuration, which scores it gets."""

    folder: str
    config: dict[str, Any]
    scores: tuple[str, ...]
    along: bool = False
    gradients: float | None = None
    num: int | None = None

    def plain(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))


Row = dict[str, Any]


def tasks_of(plain: list[dict[str, Any]]) -> list[Task]:
    """The tasks that plain values stand for."""
    return [Task(**{**one, "scores": tuple(one["scores"])}) for one in plain]


def row_of(task: Task) -> Row | None:
    """The row of a task that was carried out, with these scores of as many samples; None where it
    was not.
    """
    there, plain = json_object(Path(task.folder) / ROW), task.plain()
    same = all(there.get(name) == plain[name] for name in ("config", "num"))
    ended = there.get("failure") is not None
    return there if same and (ended or set(task.scores) <= set(there.get("scores", ()))) else None


def number_in(found: dict[str, Any], name: str) -> float | None:
    """The number at `fresh.fd_mnist`; None where it is not finite.

    Raises StanleyError where the run has no such score.
    """
    at: Any = found
    for word in name.split("."):
        names = sorted(at) if isinstance(at, dict) else []
        require(
            isinstance(at, dict) and word in at,
            f"score {name!r} is not among those of this run, which has {', '.join(names)}",
        )
        at = at[word]
    if isinstance(at, dict):
        require(
            "value" in at,
            f"score {name!r} is made of {', '.join(sorted(at))}; say which, as in {name}."
            f"{next(iter(at), '')}",
        )
        at = at["value"]
    if at is None:
        return None
    is_number = isinstance(at, int | float) and not isinstance(at, bool)
    require(is_number, f"score {name!r} is {at!r}, which is no number")
    return float(at) if math.isfinite(at) else None


def more_is_better(name: str) -> bool:
    words = name.split(".")
    return any(
        word.startswith(MORE_IS_BETTER) for word in (words[-1], words[-2 if words[1:] else 0])
    )
