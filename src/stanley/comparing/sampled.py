"""A density that is sampled: what a comparison asks of it, and one seed of a sampler, judged."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from stanley.comparing.moments import Moments, exact_moments, moments_of
from stanley.comparing.sampling import (
    FILE,
    Chains,
    DensityAt,
    Sampled,
    SamplingConfig,
    density_of,
    errors_along,
    ready,
    require_finite,
    require_runnable,
    rhat_along,
    run,
    sampler_of,
    scores_of,
    write_draws,
)
from stanley.comparing.subject import QUANTILES, Changes, Share, thresholded
from stanley.comparing.task import ROW, Row, Task, number_in, row_of, tasks_of
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError, did_you_mean, require
from stanley.files import make_folder, write_json
from stanley.judging.draw import NotConverged, draw
from stanley.overwriting import json_object
from stanley.runs.checkpoint import saved
from stanley.samplers import MALA, OwnSampler, RandomWalk, adapt
from stanley.samplers.base import DETACHED, evaluate
from stanley.samplers.runaway import check_mass
from stanley.samplers.traits import innermost, is_adjusted, traits_of
from stanley.streams import stream
from stanley.targets.named import TARGETS, named
from stanley.training.by_name import ForTraining
from stanley.training.config import TrainConfig
from stanley.training.fields import apply

SCORES = (
    "bias2",
    "ess_per_gradient",
    "ess_per_second",
    "rhat",
    "gradients_to_bias2",
    "ess",
    "gradients",
    "seconds",
)
OF_MOMENTS = ("bias2", "gradients_to_bias2")  # scores that need E f
#: Fields in which arms may differ; the question is the same in all others.
OF_AN_ARM = ("sampler", "adapt", "precondition", "steps")
#: Factors on MALA's step size that samplers are tuned over where nobody says: mostly smaller ones,
#: since chains that start far out, and samplers that never reject, need these.
FACTORS = (1 / 27, 1 / 9, 1 / 3, 1.0, 3.0)
LEAPFROGS = (4, 16)  # that HMC is tuned over where nobody says
SCALE = 500  # steps that find the step size which others are tuned around
LEAST = 8  # steps of a chain
WARM, TIMED = 10, 50  # steps that are not timed, and those that are
#: The reference where a density has no exact moments: exact chains of `draw` with this ESS, so that
#: its own part of b² is 1e-4, within this budget of gradients of each chain.
REFERENCE, REFERENCE_ESS, REFERENCE_BUDGET = "reference.json", 10_000, 200_000


@dataclass(frozen=True)
class SampledDensity:
    """See `subject.Subject`."""

    target: str
    stackable = False

    def config(self, changes: Changes) -> SamplingConfig:
        require(
            changes.get("target", self.target) == self.target,
            f"target is {changes.get('target')!r}, but all arms sample {self.target}; make a "
            "comparison for each density",
        )
        plain = to_dict(SamplingConfig(self.target))
        of_training = {f.name for f in fields(TrainConfig)} - plain.keys()
        other = next((name for name in changes if name.split(".")[0] in of_training), None)
        require(
            other is None,
            f"unknown field {other!r} (value {changes.get(str(other))!r}): it is one of training, "
            f"and a density is sampled, whose fields are {', '.join(n for n in plain)}",
        )
        apply(plain, changes)
        ForTraining({}, trust=True).fill(plain)
        return from_dict(SamplingConfig, plain)

    def with_fixed_step_size(self, config: SamplingConfig, changes: Changes) -> SamplingConfig:
        require(
            not config.adapt,
            f"adapt is {config.adapt} and the grid has sampler.step_size: each finds a step size; "
            "leave out one of them",
        )
        return config

    def usual_grid(self, base: SamplingConfig, samplers: list[str]) -> dict[str, list[Any]]:
        """Step sizes around the one at which MALA accepts as usual, or where U has no gradient a
        random walk; thresholds at two quantiles of |∂U/∂x_i| where its chains ended. With `adapt`
        each seed finds its step size, and thresholds are quantiles.
        """
        grid: dict[str, list[Any]] = {}
        if base.adapt:
            thresholds: list[Any] = [{"quantile": q} for q in QUANTILES]
        else:
            found, steep = scale_of(base)
            grid["sampler.step_size"] = [float(f"{factor * found:.2g}") for factor in FACTORS]
            thresholds = [] if steep is None else [float(f"{t:.2g}") for t in steep]
        if thresholded(samplers) and thresholds:
            grid["sampler.threshold"] = thresholds
        if "hmc" in samplers:
            grid["sampler.num_leapfrog"] = list(LEAPFROGS)
        return grid

    def check(self, configs: Mapping[str, SamplingConfig], against: str) -> None:
        plain = {arm: to_dict(config) for arm, config in configs.items()}
        for arm, config in configs.items():
            name = next(
                (n for n, v in plain[arm].items() if n not in OF_AN_ARM and v != plain[against][n]),
                None,
            )
            require(
                name is None,
                f"arm {arm!r} has {name} {plain[arm].get(str(name))!r}, and {against!r} has "
                f"{plain[against].get(str(name))!r}: then they are asked different questions; set "
                "it for all arms, in fields",
            )
            try:
                require_runnable(config, density_of(config))
            except StanleyError as error:
                raise StanleyError(f"arm {arm!r}: {error}") from error

    def check_scores(self, scores: list[str], num: int | None) -> None:
        wrong = next((name for name in scores if name not in SCORES), None)
        require(
            wrong is None,
            f"score {wrong!r} is none of chains on a density: {did_you_mean(str(wrong), SCORES)}",
        )
        require(
            num is None,
            f"num is {num}, but of chains on a density all draws are judged; leave it out, or set "
            "chains in fields",
        )

    def on_gradients(
        self, base: SamplingConfig, arm: str, config: SamplingConfig, own: Changes
    ) -> SamplingConfig:
        """So many gradients of each chain as the base has steps, the one at the start included."""
        require(
            "steps" not in own,
            f"arm {arm!r} sets steps, but they follow from the budget, {base.steps:,} gradients of "
            "each chain; use budget iterations, or leave steps out",
        )
        require(
            not isinstance(config.sampler, OwnSampler),
            "budget is gradients, which are counted for the library's samplers, but that of arm "
            f"{arm!r} is your own; use budget seconds or iterations",
        )
        start, step = cost_of(config)
        steps = int((base.steps - start) / step) if step else base.steps
        require(
            steps >= LEAST,
            f"arm {arm!r} takes {step:g} gradients a step, and the budget is {base.steps:,} of "
            f"each chain; use --steps {math.ceil(start + LEAST * step):,} or more",
        )
        return replace(config, steps=steps)

    def steps_in(self, seconds: float, config: SamplingConfig) -> int:
        density, sampler = density_of(config), sampler_of(config)
        state = sampler.init(density.potential, density.starts(config))
        generator = stream(0, "time")
        began = 0.0
        for n in range(WARM + TIMED):
            began = time.process_time() if n == WARM else began
            state, _ = sampler.step(density.potential, state, generator)
        each = (time.process_time() - began) / TIMED
        steps = int(seconds / each)
        require(
            steps >= LEAST,
            f"seconds is {seconds:g}, but a step of {config.chains} chains takes {each:.3g}; use "
            "more seconds",
        )
        return steps

    def share(self, config: SamplingConfig) -> Share:
        gradients = None
        if not isinstance(config.sampler, OwnSampler):
            start, step = cost_of(config)
            gradients = config.chains * (start + config.steps * step)
        return Share(config.steps, 0, gradients, config.chains)

    def of_a_run(self, config: SamplingConfig, seed: int, along: int) -> SamplingConfig:
        return replace(config, seed=seed, along=along)

    def usual_scores(self, config: SamplingConfig) -> tuple[str, ...]:
        return SCORES[:4]

    def prepare(self, config: SamplingConfig, scores: list[str], folder: Path) -> None:
        """A reference for b² where the density has no exact moments."""
        file, density = folder / REFERENCE, density_of(config)
        needed = set(scores) & set(OF_MOMENTS) and exact_moments(density.potential) is None
        if needed and not json_object(file):
            write_json(file, reference(config, density).plain())

    @staticmethod
    def carry_out(plain: list[dict[str, Any]]) -> list[Row]:
        return carry_out(plain)

    def along(self, scores: list[str]) -> tuple[str, str]:
        of_moments = scores[0] in OF_MOMENTS or "bias2" in scores
        return "bias2" if of_moments else "rhat", "gradients a chain"

    def biased(self, config: SamplingConfig) -> bool:
        return not is_adjusted(sampler_of(config))

    def last_step(self, row: Row | None) -> float:
        return 0.0 if row is None else float(row["steps"])


def cost_of(config: SamplingConfig) -> tuple[float, float]:
    """Gradients of a chain at the start and in each step; one of U alone counts half."""
    traits = traits_of(sampler_of(config))
    start = traits.init_gradients + traits.init_potentials / 2
    return start, traits.gradients + traits.potentials / 2


def scale_of(config: SamplingConfig) -> tuple[float, list[float] | None]:
    """The step size at which MALA accepts as usual, and two quantiles of |∂U/∂x_i| there."""
    density = density_of(config)
    x0, generator = density.starts(config), stream(0, "scale of a density")
    require_finite(density.potential, x0)
    try:
        evaluate(density.potential, x0)
    except StanleyError as error:
        if str(error) != DETACHED:
            raise
        sampler, _ = adapt(RandomWalk(0.1), density.potential, x0, SCALE, generator=generator)
        return sampler.step_size, None
    sampler, x = adapt(MALA(0.1), density.potential, x0, SCALE, generator=generator)
    check_mass(density.potential, x0, x)
    slopes = evaluate(density.potential, x).grad.abs().flatten().double()
    at = torch.tensor(QUANTILES, dtype=torch.float64)
    return sampler.step_size, torch.quantile(slopes, at).tolist()


def reference(config: SamplingConfig, density: DensityAt) -> Moments:
    """E f and Var f from long exact chains.

    Raises StanleyError where these do not converge: nothing is known to compare with then.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        found = draw(
            density.potential,
            density.event_shape,
            ess=REFERENCE_ESS,
            budget=REFERENCE_BUDGET,
            start_std=config.start_std,
            dtype=density.dtype,
            seed=0,
        )
    require(
        found.converged,
        f"{config.target} has no exact moments, and a reference run of {found.gradients:,} "
        f"gradients a chain did not converge ({'; '.join(found.reasons)}), so that bias2 is not "
        "known; leave it out: --scores ess_per_gradient,ess_per_second,rhat",
    )
    ess = found.table.chains.worst_ess_bulk
    words = f"exact chains of {found.gradients:,} gradients each, bulk ESS at least {ess:,.0f}"
    return moments_of(found.points, density.potential, words)


def moments_for(task: Task, density: DensityAt) -> Moments | None:
    """Exact, or those that `prepare` wrote in the folder of the comparison."""
    if not set(task.scores) & set(OF_MOMENTS):
        return None
    exact = of_the_library(task.config["target"]) or exact_moments(density.potential)
    if exact is not None:
        return exact
    return Moments.of(json_object(Path(task.folder).parents[3] / REFERENCE))


@cache
def of_the_library(target: str) -> Moments | None:
    """Those of a name of the library, which a worker needs again and again."""
    return exact_moments(named(target)) if target in TARGETS else None


def carry_out(plain: list[dict[str, Any]]) -> list[Row]:
    """Sample, judge, and write the rows of some tasks; chains that leave the finite numbers, and a
    step size that is not found, have a row as well.

    Raises StanleyError for what has nothing to do with the sampler: starts at which U is not
    finite, a density without finite mass, a folder that cannot be written.
    """
    torch.set_num_threads(1)
    tasks = tasks_of(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rounding, and of scales: the scores show what they do
        for task in tasks:
            if row_of(task) is None:
                make_folder(Path(task.folder))
                write_json(Path(task.folder) / ROW, sampled_and_scored(task))
                for file in saved(Path(task.folder) / "checkpoints"):
                    file.unlink()
    return [row for task in tasks if (row := row_of(task)) is not None]


def sampled_and_scored(task: Task) -> Row:
    config = from_dict(SamplingConfig, task.config)
    density, folder = density_of(config), Path(task.folder)
    row: Row = {"config": task.config, "num": task.num, "failure": None, "along": []}
    row |= {"scores": dict.fromkeys(task.scores), "seconds": None, "went_wrong": [], "steps": 0}
    try:
        sampler = ready(config, density, density.starts(config))
    except StanleyError as error:
        return row | {"failure": f"no step size was found: {error}"}
    chains = run(config, density, sampler, folder)
    if isinstance(chains, str):
        step = int(chains.rpartition(" ")[2])
        return row | {"failure": chains, "steps": step, "went_wrong": [("diverged", step)]}
    return row | scored(task, config, density, sampler, chains)


def scored(
    task: Task, config: SamplingConfig, density: DensityAt, sampler: Any, chains: Chains
) -> Row:
    moments = moments_for(task, density)
    found = scores_of(chains, density, moments)
    scores = {name: number_in(found, name) for name in task.scores}
    acceptance = chains.accepted / chains.step if is_adjusted(sampler) else None
    row: Row = {"scores": scores, "seconds": round(chains.seconds, 3), "steps": chains.step}
    row |= {"acceptance": acceptance, "step_size": float(sampler.step_size)}
    first = task.scores[0]
    if scores[first] is None:
        row["failure"] = (
            f"bias2 was not below 0.01 within {chains.gradients:,.0f} gradients of each chain"
            if first == "gradients_to_bias2"
            else f"no {first}: some coordinate never moved"
        )
    if task.along:
        start, step = cost_of(config)  # as stated, so that all seeds have the same places
        found_along = (
            rhat_along(chains, density) if moments is None else errors_along(chains, moments)
        )
        row["along"] = [(start + t * step, value) for t, value in found_along]
        threshold = getattr(innermost(sampler), "threshold", None)
        as_it_ran: Sampled = {
            "config": task.config,
            "sampler": repr(sampler),
            "step_size": float(sampler.step_size),
            "threshold": float(threshold) if isinstance(threshold, float | int) else None,
        }
        write_json(Path(task.folder) / FILE, as_it_ran)
        write_draws(chains.draws, Path(task.folder))
    return row
