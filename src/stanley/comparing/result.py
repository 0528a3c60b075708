"""What came of a comparison, as comparison.json holds it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from stanley.comparing.arm import Arm, mean_score
from stanley.comparing.comparison import Comparison, folder_name, setting_name
from stanley.comparing.statistics import verdicts
from stanley.comparing.task import Row, more_is_better
from stanley.config import to_dict
from stanley.errors import require


def summary(
    comparison: Comparison, arms: list[Arm], folder: Path, lost: list[str]
) -> dict[str, Any]:
    """What comparison.json holds."""
    return {
        "asked": to_dict(comparison),
        "arms": {arm.name: arm_as_json(comparison, arm, folder) for arm in arms},
        "scores": {name: of_all(comparison, arms, name) for name in comparison.scores},
        "along": dict(
            zip(("score", "of"), comparison.subject.along(comparison.scores), strict=True)
        ),
        "lost": lost,
    }


def of_all(comparison: Comparison, arms: list[Arm], score: str) -> dict[str, Any]:
    """The verdicts on one score, of the arms that can have it, against the baseline or, where that
    cannot, the first of them.
    """
    found = {
        arm.name: {seed: row["scores"].get(score) for seed, row in arm.runs.items()}
        for arm in arms
        if not any(score in row.get("without", ()) for row in arm.runs.values())
    }
    require(
        found,
        f"no arm can have the score {score}; leave it out (the runs are kept, and the same command "
        "with other --scores goes on)",
    )
    against = comparison.against if comparison.against in found else next(iter(found))
    return verdicts(found, against, more_is_better(score))


def arm_as_json(comparison: Comparison, arm: Arm, folder: Path) -> dict[str, Any]:
    chosen = arm.chosen or {}
    place = f"runs/{folder_name(arm.name)}/{setting_name(chosen)}"
    tuning = {
        name: {"score": mean_score(comparison, rows), "rows": [short(row) for row in rows]}
        for name, rows in arm.tuning.items()
    }
    return {
        "changes": comparison.arms[arm.name],
        "setting": chosen,
        "setting_name": setting_name(chosen),
        "edges": [name for name, _ in comparison.edges(chosen) if arm.tuned(comparison)],
        "biased": arm.biased,
        "share": None if arm.share is None else asdict(arm.share),
        "tuning": tuning,
        "runs": [
            {"seed": seed, "folder": f"{place}/seed-{seed}"} | short(arm.runs.get(seed))
            for seed in comparison.reported
        ],
    }


def short(row: Row | None) -> Row:
    """A row without its configuration, which the run directory has."""
    if row is None:
        return {"failure": "lost", "scores": {}, "along": [], "seconds": None, "went_wrong": []}
    return {name: value for name, value in row.items() if name != "config"}
