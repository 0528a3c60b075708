"""One arm of a comparison while it is carried out, and the setting that its tuning chose."""

from __future__ import annotations

from dataclasses import dataclass, field

from stanley.comparing.comparison import Comparison, setting_name
from stanley.comparing.subject import Changes, Share
from stanley.comparing.task import Row, more_is_better


@dataclass
class Arm:
    """What is known of an arm so far."""

    name: str
    settings: list[Changes]
    tuning: dict[str, list[Row | None]] = field(default_factory=dict)  # setting -> row of each seed
    chosen: Changes | None = None
    runs: dict[int, Row] = field(default_factory=dict)  # seed -> row
    share: Share | None = None  # of the budget
    biased: bool = False  # samples another law than the one that is asked for

    def tuned(self, comparison: Comparison) -> bool:
        """Whether any setting that was tried gave a score."""
        return any(mean_score(comparison, rows) is not None for rows in self.tuning.values())


def mean_score(comparison: Comparison, rows: list[Row | None]) -> float | None:
    """The mean of the first score over the tuning seeds; None where one of them failed."""
    name = comparison.scores[0]
    values = [None if row is None else row["scores"].get(name) for row in rows]
    if any(value is None for value in values):
        return None
    return sum(value for value in values if value is not None) / len(values)


def best_setting(comparison: Comparison, arm: Arm) -> Changes:
    """The setting with the best mean; where all failed, the one that failed last.

    A tie goes to the setting that stands first.
    """
    if len(arm.settings) == 1:
        return arm.settings[0]
    sign = -1 if more_is_better(comparison.scores[0]) else 1

    def rank(setting: Changes) -> tuple[int, float]:
        rows = arm.tuning[setting_name(setting)]
        mean = mean_score(comparison, rows)
        if mean is not None:
            return 0, sign * mean
        lasted = [comparison.subject.last_step(row) for row in rows]
        return 1, -sum(lasted) / len(lasted)

    return min(arm.settings, key=rank)
