"""Runs that are there already, grouped by their configurations, with their seeds as replicates."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stanley.comparing.comparison import in_short
from stanley.comparing.given_chains import GivenChains, are_chains
from stanley.comparing.statistics import verdicts
from stanley.comparing.task import RECORD, more_is_better, number_in
from stanley.comparing.trained import EXACT, features_of, seconds_of, usual_scores
from stanley.config import flatten, from_dict
from stanley.errors import StanleyError, did_you_mean, require
from stanley.judging.evaluate import evaluate, exact_scores
from stanley.overwriting import json_object
from stanley.runs.directory import RunDirectory
from stanley.training.config import MAY_CHANGE, TrainConfig
from stanley.training.former import of_a_run

LONGEST = 60  # characters of an arm's name


def compare_runs(
    runs: Sequence[str | os.PathLike[str]],
    *,
    scores: Sequence[str] = (),
    baseline: str | None = None,
) -> dict[str, Any]:
    """Compare runs that are there: those whose configurations differ in the seed alone are one arm.

    An arm is called by the fields in which it differs from the others. A score that the run's
    scores.json does not hold is computed. Folders of seeds, in a comparison of samplers on a
    density, are compared alike, by the scores that they have. Raises StanleyError for runs on
    different data or densities, for two of the same configuration and seed, and for a score that
    they do not have.
    """
    require(len(runs) >= 2, "one run is given; give at least two, or a recipe")
    paths = [Path(path) for path in runs]
    whole = next((path for path in paths if (path / RECORD).is_file()), None)
    require(
        whole is None,
        f"{whole} is a whole comparison; give it alone, or some of its folders, {whole}/runs/…",
    )
    given = GivenChains.of(paths) if any(map(are_chains, paths)) else GivenRuns.of(paths)
    arms = grouped(given.configs)
    names = named([given.configs[members[0]] for members in arms])
    wanted = list(scores) or given.usual_scores()
    values: dict[str, dict[int, dict[str, Any]]] = {}
    for name, members in zip(names, arms, strict=True):
        values[name] = {}
        for index in members:
            seed = int(given.configs[index]["seed"])
            require(
                seed not in values[name],
                f"{paths[index]} and {values[name].get(seed, {}).get('folder')} have the same "
                "configuration and seed; leave one of them out",
            )
            values[name][seed] = {"folder": str(paths[index])} | given.row(index, wanted)
    require(
        baseline is None or baseline in values,
        f"baseline is {baseline!r}: {did_you_mean(str(baseline), values)}",
    )
    against = baseline or names[0]
    first = {name: members[0] for name, members in zip(names, arms, strict=True)}
    biased = {name: given.biased(index) for name, index in first.items()}
    shares = {name: given.share(index) for name, index in first.items()}
    asked = {"runs": [str(path) for path in paths], "scores": wanted, "baseline": against}
    return {
        "asked": asked | given.asked,
        "arms": {
            name: {
                "changes": {},
                "setting": {},
                "setting_name": "",
                "edges": [],
                "biased": biased[name],
                "share": shares[name],
                "tuning": {},
                "runs": [{"seed": seed} | row for seed, row in sorted(rows.items())],
            }
            for name, rows in values.items()
        },
        "scores": {
            score: verdicts(
                {
                    name: {seed: row["scores"][score] for seed, row in sorted(rows.items())}
                    for name, rows in values.items()
                },
                against,
                more_is_better(score),
            )
            for score in wanted
        },
        "along": dict(zip(("score", "of"), given.along(wanted), strict=True)),
        "lost": [],
    }


@dataclass(frozen=True)
class GivenRuns:
    """Run directories on the same data."""

    runs: list[RunDirectory]
    configs: list[dict[str, Any]]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> GivenRuns:
        runs = [RunDirectory.existing(path) for path in paths]
        configs = [of_a_run(run.read_config()) for run in runs]
        require_same_data(runs, configs)
        return cls(runs, configs)

    @property
    def asked(self) -> dict[str, Any]:
        """What the record says of the question, besides runs and scores: nothing."""
        return {}

    def usual_scores(self) -> list[str]:
        return list(usual_scores(from_dict(TrainConfig, self.configs[0])))

    def row(self, index: int, scores: list[str]) -> dict[str, Any]:
        return row_of_run(self.runs[index], self.configs[index], scores)

    def biased(self, index: int) -> bool:
        """Whether the sampler's law says that the score is not what it seems: not in training."""
        return False

    def share(self, index: int) -> dict[str, Any] | None:
        """What a run cost, in words of a budget: runs that are there had none in common."""
        return None

    def along(self, scores: list[str]) -> tuple[str, str]:
        return scores[0], "iteration"


def require_same_data(runs: list[RunDirectory], configs: list[dict[str, Any]]) -> None:
    """Scores of different data say nothing of each other."""
    kinds = [{k: v for k, v in flatten(c).items() if k.startswith("data.")} for c in configs]
    data = [{k: v for k, v in kind.items() if k not in MAY_CHANGE} for kind in kinds]
    apart = next((k for k, fields in enumerate(data) if fields != data[0]), None)
    if apart is not None:
        fields = sorted({**data[0], **data[apart]}, key=lambda n: n != "data.kind")
        name = next(n for n in fields if data[0].get(n) != data[apart].get(n))
        raise StanleyError(
            f"{runs[apart].path} was trained on other data than {runs[0].path} ({name} is "
            f"{data[apart].get(name)!r}, not {data[0].get(name)!r}); compare runs on the same data"
        )


def compared_fields(config: dict[str, Any]) -> dict[str, Any]:
    """All fields but the seed and those that change no number."""
    ignored = (MAY_CHANGE | {"seed"}) - {"steps"}
    return {name: value for name, value in flatten(config).items() if name not in ignored}


def grouped(configs: list[dict[str, Any]]) -> list[list[int]]:
    """Positions of the runs that differ in nothing but the seed."""
    groups: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        groups.setdefault(json.dumps(compared_fields(config), sort_keys=True), []).append(index)
    return list(groups.values())


def named(configs: list[dict[str, Any]]) -> list[str]:
    """A name for each of some configurations, by as few of the fields in which they differ as tell
    them apart; kinds come first.
    """
    if len(configs) == 1:
        return [str(configs[0]["sampler"]["kind"])]
    fields = [compared_fields(config) for config in configs]
    every = dict.fromkeys(name for own in fields for name in own)
    apart = [n for n in every if any(own.get(n) != fields[0].get(n) for own in fields)]
    apart.sort(key=lambda n: (not n.endswith("kind"), n.count(".")))
    chosen: list[str] = []
    names = [""] * len(configs)
    for name in apart:
        if len(set(names)) == len(names):
            break
        longer = [words(own, [*chosen, name]) for own in fields]
        if len(set(longer)) > len(set(names)):
            chosen, names = [*chosen, name], longer
    return [
        name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}… {k}"
        for k, name in enumerate(names)
    ]


def words(fields: dict[str, Any], names: list[str]) -> str:
    """`mala, step_size=0.02`: a kind by itself, any other field with its name."""
    said = []
    for name in names:
        if name in fields:
            last = name.rpartition(".")[2]
            value = in_short(fields[name])
            said.append(value if last == "kind" else f"{last}={value}")
    return ", ".join(said) or "the others"


def row_of_run(run: RunDirectory, config: dict[str, Any], scores: list[str]) -> dict[str, Any]:
    """The scores of a run: those of scores.json, and else computed."""
    events, steps = run.went_wrong(), len(run.records())
    row: dict[str, Any] = {
        "failure": None,
        "scores": dict.fromkeys(scores),
        "along": [],
        "seconds": seconds_of(run),
        "went_wrong": [(event["kind"], event["step"]) for event in events],
    }
    if events and events[-1]["kind"] == "diverged" and steps < config["steps"]:
        return row | {"failure": f"diverged at step {events[-1]['step']}: {events[-1]['reason']}"}
    require(
        steps == config["steps"],
        f"{run.path} has made {steps:,} of its {config['steps']:,} steps; let it come to its end "
        "first",
    )
    there = json_object(run.scores_file)
    if there.get("step") != steps:
        there = {}
    found = {"seconds": row["seconds"], "steps": steps, "record": run.last_record()} | there
    missing = [name for name in scores if not has(found, name)]
    if missing and set(missing) <= set(EXACT):
        found |= exact_scores(run)
    elif missing:
        found |= evaluate(run, features=features_of(missing))
    row["scores"] = {name: number_in(found, name) for name in scores}
    if row["scores"][scores[0]] is None:
        row["failure"] = f"no {scores[0]}: {found.get('not_settled', 'it is not finite')}"
    return row


def has(found: dict[str, Any], name: str) -> bool:
    try:
        number_in(found, name)
    except StanleyError:
        return False
    return True
