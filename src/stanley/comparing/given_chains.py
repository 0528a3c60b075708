"""Chains on a density that are there already: the folder of one seed, in a comparison that was made
with a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from stanley.comparing.sampled import OF_AN_ARM, SCORES, SampledDensity
from stanley.comparing.sampling import SamplingConfig
from stanley.comparing.task import ROW, Row
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError, require
from stanley.reading import read_json
from stanley.samplers.given import own_inside
from stanley.samplers.traits import is_adjusted

CURE = "make the comparison again"
#: Fields in which folders may differ; the question is the same in all others.
MAY_DIFFER = (*OF_AN_ARM, "seed", "along")


class Kept(TypedDict):
    """What the file of a seed must hold."""

    config: dict[str, Any]
    failure: str | None
    scores: dict[str, float | None]
    along: list[tuple[float, float | None]]
    seconds: float | None
    went_wrong: list[tuple[str, int]]


@dataclass(frozen=True)
class GivenChains:
    """Seeds of samplers on one density, as a comparison kept them: `rows` have their scores, and
    how it went.
    """

    paths: Sequence[Path]
    sampled: list[SamplingConfig]
    rows: list[Row]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> GivenChains:
        """Raises StanleyError where one is damaged, something else, or of another question."""
        other = next((path for path in paths if not are_chains(path)), None)
        require(
            other is None,
            f"{other} is not of one seed on a density, and others are; give runs, or folders such "
            "as COMPARISON/runs/ARM/SETTING/seed-0",
        )
        rows = [read_json(path / ROW, Kept, CURE) for path in paths]
        found = [config_of(path, row) for path, row in zip(paths, rows, strict=True)]
        require_same_question(paths, [to_dict(config) for config in found])
        return cls(paths, found, rows)

    @property
    def configs(self) -> list[dict[str, Any]]:
        return [to_dict(config) for config in self.sampled]

    @property
    def asked(self) -> dict[str, Any]:
        """What the record says of the question, besides runs and scores."""
        return {"target": self.sampled[0].target}

    def usual_scores(self) -> list[str]:
        """Those that all of them have."""
        common = [name for name in SCORES if all(name in row["scores"] for row in self.rows)]
        require(
            common,
            f"{self.paths[0]} and the others have no score in common; give folders of reported "
            "seeds, which comparison.json names",
        )
        return common

    def row(self, index: int, scores: Sequence[str]) -> Row:
        """The row of one; raises StanleyError for a score that was not computed then."""
        row = self.rows[index]
        has = row["scores"]
        missing = next((name for name in scores if name not in has), None)
        require(
            missing is None,
            f"{self.paths[index]} has no {missing}, but {', '.join(has)}; the comparison that it "
            f"is of computes it: stanley compare FOLDER --scores {missing}",
        )
        told = {name: value for name, value in row.items() if name != "config"}
        return told | {"scores": {name: has[name] for name in scores}}

    def biased(self, index: int) -> bool:
        """Whether its sampler has another law than exp(-U); one of a user's own is not looked at,
        as it would have to be imported.
        """
        sampler = self.sampled[index].sampler
        return own_inside(sampler) is None and not is_adjusted(sampler)

    def share(self, index: int) -> dict[str, Any] | None:
        """What its chains cost; not known of a sampler of a user's own."""
        config = self.sampled[index]
        if own_inside(config.sampler) is not None:
            return None
        return asdict(SampledDensity(config.target).share(config))

    def along(self, scores: Sequence[str]) -> tuple[str, str]:
        return SampledDensity(self.sampled[0].target).along(list(scores))


def are_chains(path: Path) -> bool:
    """Whether a folder is of one seed on a density; a run has a configuration of its own."""
    return (path / ROW).is_file() and not (path / "config.json").is_file()


def config_of(path: Path, row: Row) -> SamplingConfig:
    try:
        return from_dict(SamplingConfig, row["config"])
    except StanleyError as error:
        raise StanleyError(f"{path / ROW} is damaged: {error}; {CURE}") from error


def require_same_question(paths: Sequence[Path], configs: Sequence[dict[str, Any]]) -> None:
    """Scores on different densities, or from other starts, say nothing of each other."""
    first = configs[0]
    for path, own in zip(paths, configs, strict=True):
        name = next((n for n in own if n not in MAY_DIFFER and own[n] != first[n]), "")
        require(
            not name,
            f"{path} has {name} {own.get(name)!r}, and {paths[0]} has {first.get(name)!r}: they "
            "were asked different questions; give folders of one question",
        )
