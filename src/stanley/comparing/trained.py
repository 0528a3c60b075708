"""A recipe that is trained: what a comparison asks of it, and one run, trained and scored.

A run is an ordinary run directory. One that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stanley.comparing import budget
from stanley.comparing.subject import QUANTILES, Changes, Share, thresholded
from stanley.comparing.task import ROW, Row, Task, number_in, row_of, tasks_of
from stanley.config import from_dict, to_dict
from stanley.data.given import dataset_of
from stanley.errors import DivergenceError, did_you_mean, require
from stanley.files import write_json
from stanley.judging.evaluate import evaluate, exact_scores
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.training.by_name import ForTraining, named_parts, of_the_model
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.resolve import resolve
from stanley.training.stack import train_stack, why_not_stackable

#: Factors on the recipe's step size that samplers are tuned over where nobody says.
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
#: Scores by quadrature in the plane, which need no samples.
EXACT = ("kl", "tv", "log_z", "nll_held_out")
#: Numbers of the training itself; `record.gap` is the gap in the record of the last step.
OF_TRAINING = ("seconds", "gradients", "steps", "record")


@dataclass(frozen=True)
class TrainedRecipe:
    """See `subject.Subject`."""

    recipe: str
    stackable = True

    def config(self, changes: Changes) -> TrainConfig:
        """An arm may begin from another recipe, `recipe` among its changes."""
        fields = {name: value for name, value in changes.items() if name != "recipe"}
        recipe = str(changes.get("recipe", self.recipe))
        return resolve(recipe, {}, fields, ForTraining({}, trust=True))

    def with_fixed_step_size(self, config: TrainConfig, changes: Changes) -> TrainConfig:
        objective = config.objective
        asked_for = any(name.startswith("objective.adapt") for name in changes)
        if asked_for or objective.contrastive is None or objective.contrastive.adapt is None:
            return config
        fixed = replace(objective.contrastive, adapt=None)
        if objective.contrastive is objective:
            return replace(config, objective=fixed)
        return replace(config, objective=replace(objective, contrastive=fixed))  # type: ignore[arg-type]  # what holds a contrastive part has that field

    def usual_grid(self, base: TrainConfig, samplers: list[str]) -> dict[str, list[Any]]:
        """Step sizes around the recipe's, and two thresholds."""
        h = getattr(base.sampler, "step_size", None)
        grid: dict[str, list[Any]] = {}
        if h is not None:
            grid["sampler.step_size"] = [float(f"{factor * h:.6g}") for factor in FACTORS]
        if thresholded(samplers):
            grid["sampler.threshold"] = [{"quantile": q} for q in QUANTILES]
        return grid

    def check(self, configs: Mapping[str, TrainConfig], against: str) -> None:
        """All have the same data, and networks of the user's own can be made for them."""
        data = {arm: to_dict(config.data) for arm, config in configs.items()}
        apart = next((arm for arm in data if data[arm] != data[against]), None)
        require(
            apart is None,
            f"arm {apart!r} has other data than {against!r}: their scores cannot be compared; make "
            "a comparison for each data set",
        )
        for config in configs.values():
            require_network(config)

    def check_scores(self, scores: list[str], num: int | None) -> None:
        """What a run has below these names is known when it is judged."""
        known = (*EXACT, *OF_TRAINING, "fresh", "bank", "energy")
        wrong = next((name for name in scores if name.partition(".")[0] not in known), "")
        require(
            not wrong,
            f"no score {wrong!r}: {did_you_mean(wrong.partition('.')[0], known)}, such as kl, "
            "fresh.mmd2 or record.gap",
        )

    def on_gradients(
        self, base: TrainConfig, arm: str, config: TrainConfig, own: Changes
    ) -> TrainConfig:
        return budget.on_gradients(base, arm, config, own)

    def steps_in(self, seconds: float, config: TrainConfig) -> int:
        return budget.steps_in(seconds, config)

    def share(self, config: TrainConfig) -> Share:
        return budget.share_of(config)

    def of_a_run(self, config: TrainConfig, seed: int, along: int) -> TrainConfig:
        every = math.ceil(config.steps / along)
        return replace(config, seed=seed, save_every=every, keep=along + 1)

    def usual_scores(self, config: TrainConfig) -> tuple[str, ...]:
        return usual_scores(config)

    def prepare(self, config: TrainConfig, scores: list[str], folder: Path) -> None:
        """Runs share nothing."""

    @staticmethod
    def carry_out(plain: list[dict[str, Any]]) -> list[Row]:
        return carry_out(plain)

    def along(self, scores: list[str]) -> tuple[str, str]:
        return scores[0], "iteration"

    def biased(self, config: TrainConfig) -> bool:
        """A trained energy is judged by itself, whatever trained it."""
        return False

    def last_step(self, row: Row | None) -> float:
        if row is None:
            return 0
        diverged = [step for kind, step in row["went_wrong"] if kind == "diverged"]
        return float(diverged[-1] if diverged else row["config"]["steps"])


def require_network(config: TrainConfig) -> None:
    """Raise StanleyError where a network of the user's own cannot be made for the data."""
    own = named_parts(config)
    if "energy" in own:
        data = dataset_of(own["data"]) if "data" in own else config.data.load()
        own["energy"].build(data.event_shape)


def carry_out(plain: list[dict[str, Any]]) -> list[Row]:
    """Train, score, and write the rows of some tasks, side by side where they can be
    (`training.stack`); a run that diverged has a row as well.

    Raises StanleyError for what has nothing to do with the setting: data that are not there, a
    folder that cannot be written.
    """
    import torch

    torch.set_num_threads(1)
    tasks = tasks_of(plain)
    waiting = [task for task in tasks if row_of(task) is None]
    configs = [from_dict(TrainConfig, task.config) for task in waiting]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few samples, and of scales: the result says them once
        own = any(named_parts(config) for config in configs)
        if len(waiting) > 1 and not own and why_not_stackable(configs) is None:
            train_stack(configs, [task.folder for task in waiting], device="cpu")
        for task, config in zip(waiting, configs, strict=True):
            write_json(Path(task.folder) / ROW, trained_and_scored(task, config))
    return [row for task in tasks if (row := row_of(task)) is not None]


def trained_and_scored(task: Task, config: TrainConfig) -> Row:
    """The row of a task, which is trained to its end where it has not come there in a stack."""
    row: Row = {"config": task.config, "num": task.num, "failure": None, "scores": {}, "along": []}
    run, parts = RunDirectory(task.folder), named_parts(config)
    try:
        if (failure := divergence_of(run)) is None:
            train(config, task.folder, device="cpu", **parts)
    except DivergenceError as error:
        failure = str(error)
    if failure is None:
        row |= scored(run, task, config, of_the_model(parts))
    else:
        row |= {"failure": failure, "scores": dict.fromkeys(task.scores)}
    row["seconds"] = seconds_of(run)
    row["went_wrong"] = [(event["kind"], event["step"]) for event in run.went_wrong()]
    return row


def divergence_of(run: RunDirectory) -> str | None:
    """How a run ended before its last step; None where it did not."""
    events = run.events() if run.config_file.exists() else []
    if events and events[-1]["kind"] == "diverged":
        return f"diverged at step {events[-1]['step']}: {events[-1]['reason']}"
    return None


def scored(run: RunDirectory, task: Task, config: TrainConfig, own: dict[str, Any]) -> Row:
    """The scores at the end, and the first one along the run where it is exact."""
    found: dict[str, Any] = {"gradients": task.gradients, "steps": config.steps}
    found["seconds"] = seconds_of(run)
    found["record"] = run.last_record() or {}
    judged = [name for name in task.scores if name.partition(".")[0] not in OF_TRAINING]
    if set(judged) <= set(EXACT):
        found |= exact_scores(run, **own) if judged else {}
    else:
        found |= evaluate(
            run,
            num=task.num,
            features=features_of(judged),
            kid=any(name.rpartition(".")[2].startswith("kd_") for name in judged),
            neighbours=any("prdc_" in name for name in judged),
            **own,
        )
    without = [name for name in task.scores if not can_have(config, name)]
    scores = {n: None if n in without else number_in(found, n) for n in task.scores}
    row: Row = {"scores": scores, "without": without, "along": []}
    first = task.scores[0]
    if first not in without:
        if scores[first] is None:
            row["failure"] = f"no {first}: {found.get('not_settled', 'it is not finite')}"
        if task.along:
            row["along"] = along(run, first, own)
    return row


def can_have(config: TrainConfig, score: str) -> bool:
    """Whether a run can have this score at all: one by flow matching is no density, and one without
    chains in training has no bank.
    """
    name = score.partition(".")[0]
    if name in EXACT:
        return config.objective.kind != "flow-matching"
    chains = config.objective.contrastive
    return name != "bank" or (chains is not None and chains.start == "bank")


def along(run: RunDirectory, score: str, own: dict[str, Any]) -> list[tuple[int, float | None]]:
    """(step, score) at every checkpoint that was kept, but the untrained first one; empty for a
    score that needs samples.
    """
    steps = [step for step in checkpoint.steps_of(run.checkpoints) if step]
    if score in EXACT:
        return [(step, number_in(exact_scores(run, step=step, **own), score)) for step in steps]
    if score.startswith("record."):
        records = run.records()
        return [(step, number_in({"record": records[step - 1]}, score)) for step in steps]
    return []


def features_of(names: list[str]) -> tuple[str, ...]:
    """The features that scores such as fresh.fd_mnist, kd_cifar or prdc_pixels need."""
    words = (part for name in names for part in name.split("."))
    found = [w.partition("_")[2] for w in words if w.startswith(("fd_", "kd_", "prdc_", "score_"))]
    return tuple(dict.fromkeys(found))


def seconds_of(run: RunDirectory) -> float:
    """Seconds of training, by the run's records."""
    return round(sum(record.get("seconds") or 0.0 for record in run.records()), 3)


def usual_scores(config: TrainConfig) -> tuple[str, ...]:
    """The scores of a comparison that asks for none: exact ones where there are."""
    own = named_parts(config).get("data")
    data = config.data.load() if own is None else dataset_of(own)
    if data.event_shape == (2,) and config.objective.kind != "flow-matching":
        return ("kl", "tv") if data.log_density is not None else ("nll_held_out", "fresh.mmd2")
    if data.is_image:
        return ("fresh.fd_pixels-8x8",) if min(data.event_shape[1:]) > 8 else ("fresh.fd_pixels",)
    return ("fresh.mmd2",)
