"""What is asked: arms, their budget, how each is tuned, seeds and scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stanley.comparing.sampled import SampledDensity
from stanley.comparing.search import BATCH, By, Space, ends, require_space, side
from stanley.comparing.subject import Changes, Config, Subject
from stanley.comparing.trained import TrainedRecipe
from stanley.config import flatten, to_dict
from stanley.errors import StanleyError, did_you_mean, require
from stanley.samplers.named import step_is_time
from stanley.samplers.traits import traits_of

MOST_RUNS = 100_000


@dataclass(frozen=True)
class Comparison:
    """Arms, each a named set of changes to one recipe, on the same budget and the same seeds.

    With `target` in place of `recipe` nothing is trained: arms are samplers of one density, fields
    are those of `sampling.SamplingConfig`, the budget is gradients of each chain, and scores are
    bias2, ess_per_gradient, ess_per_second, rhat, gradients_to_bias2.
    Each arm is first tuned: on `tuning_seeds` other seeds it is trained with every value of `grid`
    in the fields that it has, and the setting with the best first score, a mean over these seeds,
    is the one that the reported seeds are trained with. `search` and `trials` in place of a grid
    have every arm tried with so many settings, which a sampler of optuna proposes. Without either
    nothing is tuned.
    Values of sampler.step_size are variances h of a Langevin step; a sampler whose step is a time,
    such as hmc, gets √h.
    Whatever is named as module:Name or file.py:Name is imported, here and by the workers.
    An adjusted arm whose step size is tuned keeps it fixed (`objective.adapt` null, unless it
    says otherwise), so that what is tuned is what is used.

    budget   gradients: so many gradient evaluations as the recipe makes (an evaluation of U without
             its gradient counts half); the arm's K, or where it sets K itself or cannot meet it,
             its iterations, follow from what its sampler states of its cost.
             iterations: those of the recipe. seconds: as many iterations as `seconds` of one core
             allow, timed before.
    scores   names in scores.json, such as kl, tv, nll_held_out, fresh.mmd2, fresh.fd_mnist, or
             seconds, gradients, or record.NAME of the last training record; the first one decides.
             Empty for the usual ones.

    Not true: that a grid of one tuning seed finds the best setting. What it chose, and what the
    others would have given there, is part of the result.
    """

    recipe: str | None = None  # recipe that all arms change, which is trained
    # name -> its changes, such as {"sampler": "stanley"}
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)  # changes that all arms share
    baseline: str | None = None  # the arm that others are compared with; null is the first
    seeds: int = 5  # reported seeds, consecutive
    first_seed: int = 0  # the first of them
    budget: Literal["gradients", "iterations", "seconds"] = "gradients"  # what is equal
    seconds: float | None = None  # CPU seconds of a run, where these are equal
    grid: dict[str, list[Any]] = field(default_factory=dict)  # field -> values to tune over
    search: Space = field(default_factory=dict)  # field -> {low, high, log}, or a list of choices
    trials: int | None = None  # of every arm, where search is given
    by: By = "tpe"  # what proposes them: optuna's sampler tpe, random or qmc
    tuning_seeds: int = 1  # seeds of the tuning, which are not reported
    first_tuning_seed: int = 10_000  # the first of them
    scores: list[str] = field(default_factory=list)  # the first one decides; empty: the usual ones
    num: int | None = None  # samples that are judged; null: 2,000 vectors, or 256 images
    stacks: bool = True  # train runs of an arm side by side, where that can be done
    along: int = 4  # checkpoints that are scored along a run, where the score is exact
    target: str | None = None  # density that all arms sample, in place of a recipe

    def __post_init__(self) -> None:
        require(
            self.recipe is None or self.target is None,
            f"recipe is {self.recipe!r} and target is {self.target!r}; give a recipe, whose "
            "settings are trained, or a target, whose samplers are compared, not both",
        )
        require(
            self.recipe is not None or self.target is not None,
            "neither recipe nor target is given; give a recipe, whose settings are trained, or a "
            "target, whose samplers are compared",
        )
        require(self.arms, "arms is empty; name at least two, such as --samplers langevin,stanley")
        for name in self.arms:
            plain = name.isprintable() and not set(name) & set("/\\")
            plain = plain and name and name.strip(". ") == name
            require(
                plain,
                f"arm {name!r} names a folder; use letters, digits, blanks and hyphens",
            )
        folders = [folder_name(name) for name in self.arms]
        twice = next((n for n in folders if folders.count(n) > 1), None)
        require(twice is None, f"two arms would share the folder {twice!r}; name them differently")
        require(
            self.baseline is None or self.baseline in self.arms,
            f"baseline is {self.baseline!r}: {did_you_mean(str(self.baseline), self.arms)}",
        )
        for name in ("seeds", "tuning_seeds", "along"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}, but must be at least 1")
        require(
            self.num is None or self.num >= 2, f"num is {self.num}, but must be at least 2 samples"
        )
        for name in ("first_seed", "first_tuning_seed"):
            value = getattr(self, name)
            require(0 <= value < 2**31, f"{name} is {value}, but must lie in [0, 2^31)")
        reported, tuning = set(self.reported), set(self.for_tuning)
        require(
            not self.tuned_fields or not reported & tuning,
            f"seed {min(reported & tuning, default=0)} is tuned on and reported; use another "
            "first_tuning_seed",
        )
        require(
            (self.seconds is not None) == (self.budget == "seconds"),
            f"budget is {self.budget} and seconds is {self.seconds}; give seconds where the budget "
            "is seconds, and only there",
        )
        require(
            self.seconds is None or 0 < self.seconds < math.inf,
            f"seconds is {self.seconds}, but must be > 0",
        )
        require(
            not (self.grid and self.search),
            "grid and search are both given; tune by one of them",
        )
        require_space(self.search)
        require(
            (self.trials is not None) == bool(self.search),
            f"trials is {self.trials} and search is {self.search or 'empty'}; give the number of "
            "trials of every arm where there is a search, and only there",
        )
        require(
            self.trials is None or self.trials >= 2,
            f"trials is {self.trials}, but must be at least 2",
        )
        require(
            self.search or self.by == "tpe",
            f"by is {self.by!r}, which is how a search proposes trials; give search and trials",
        )
        for name in self.tuned_fields:
            require(
                name not in ("seed", "steps"),
                f"{name} would be tuned, but it is what the arms have in common",
            )
        for name, values in self.grid.items():
            require(
                values,
                f"grid.{name} is empty; give the values to try, such as [0.01, 0.02, 0.04]",
            )
            twice = next((v for v in values if values.count(v) > 1), None)
            require(twice is None, f"grid.{name} holds {twice} twice; give it once")
        settings = self.trials or math.prod(map(len, self.grid.values()))
        runs = len(self.arms) * (self.seeds + self.tuning_seeds * settings)
        require(
            runs <= MOST_RUNS,
            f"that is up to {runs:,} runs, but at most {MOST_RUNS:,}; use fewer seeds or values",
        )

    @property
    def reported(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def for_tuning(self) -> range:
        return range(self.first_tuning_seed, self.first_tuning_seed + self.tuning_seeds)

    @property
    def tuned_fields(self) -> list[str]:
        """The fields that are tuned, in the arms that have them."""
        return [*self.grid, *self.search]

    @property
    def against(self) -> str:
        """The arm that others are compared with."""
        return self.baseline or next(iter(self.arms))

    @property
    def subject(self) -> Subject:
        """What is compared."""
        if self.target is not None:
            return SampledDensity(self.target)
        assert self.recipe is not None
        return TrainedRecipe(self.recipe)

    def config(self, arm: str, setting: Changes | None = None) -> Config:
        """The configuration of an arm with one setting of the grid, before its budget.

        Raises StanleyError, with the name of the arm, where that cannot be carried out.
        """
        setting = setting or {}
        changes = flatten(self.fields) | flatten(self.arms[arm])
        kind = changes.get("sampler", changes.get("sampler.kind"))
        try:
            if step_is_time(kind):
                changes = {"sampler.step_size": self.usual_time_step()} | changes
                setting = as_time(setting)
            config = self.subject.config(changes | setting)
            if "sampler.step_size" in setting:
                config = self.subject.with_fixed_step_size(config, changes)
        except StanleyError as error:
            raise StanleyError(f"arm {arm!r}: {error}") from error
        return config

    def base(self) -> Config:
        """What all arms change: the budget is taken from it."""
        return self.subject.config(flatten(self.fields))

    def on_budget(self, arm: str, config: Config, steps: int) -> Config:
        """The configuration of an arm with its share of the budget, `steps` where seconds are
        equal.
        """
        if self.budget == "iterations":
            return config
        if self.budget == "seconds":
            return replace(config, steps=steps)
        return self.subject.on_gradients(self.base(), arm, config, flatten(self.arms[arm]))

    def usual_time_step(self) -> float:
        """√h of what all arms change, whose step size does not carry over to a sampler whose step
        is a time: one leapfrog step with √h is a Langevin step with h.
        """
        sampler: Any = self.base().sampler
        step = float(getattr(sampler, "step_size", 1.0))
        return step if traits_of(sampler).step_is_time else step**0.5

    def settings(self, arm: str) -> list[Changes]:
        """The settings of the grid in the fields of the arm; one empty setting where there are
        none.
        """
        has = [name for name in self.grid if self.is_tuned(arm, name)]
        every = itertools.product(*(self.grid[name] for name in has))
        return [dict(zip(has, values, strict=True)) for values in every]

    def space(self, arm: str) -> Space:
        """What is searched for the arm: a range is of real numbers where its field takes them, and
        else of whole ones.
        """
        found = {name: of for name, of in self.search.items() if self.is_tuned(arm, name)}
        for name, of in found.items():
            if not isinstance(of, list):
                kind = float if self.takes(arm, name, int(of["low"]) + 0.5) else int
                found[name] = of | {"low": kind(of["low"]), "high": kind(of["high"])}
        return found

    def takes(self, arm: str, name: str, value: Any) -> bool:
        """Whether a field of an arm may have a value."""
        try:
            self.config(arm, {name: value})
        except StanleyError:
            return False
        return True

    def is_tuned(self, arm: str, name: str) -> bool:
        """Whether the arm has a field, and does not set it itself."""
        own = {name for changes in (self.arms[arm], self.fields) for name in flatten(changes)}
        return name not in own and has_field(self, arm, name)

    def batches(self) -> list[int]:
        """How many trials of an arm are proposed at a time."""
        trials = self.trials or 0
        return [min(BATCH, trials - first) for first in range(0, trials, BATCH)]

    def planned_runs(self) -> int:
        """How many runs these are, those for tuning among them. Not true of a search that proposes
        a setting twice: it takes fewer.
        """
        return sum(self.seeds + self.tuning_seeds * self.tried(arm) for arm in self.arms)

    def tried(self, arm: str) -> int:
        """How many settings of an arm are tried before one is chosen."""
        if self.search:
            return (self.trials or 0) * bool(self.space(arm))
        settings = len(self.settings(arm))
        return settings if settings > 1 else 0

    def edges(self, chosen: Changes) -> Iterator[tuple[str, bool]]:
        """(field, whether below) for every number that was chosen at an end of its values, or
        within 5 % of one of its range.
        """
        yield from edges(self.grid, {n: v for n, v in chosen.items() if n in self.grid})
        for name, value in chosen.items():
            where = side(self.search[name], value) if name in self.search else None
            if where is not None:
                yield name, where

    def check(self) -> None:
        """Raise StanleyError for arms that cannot be carried out, that are the same, or that no
        value of the grid concerns."""
        configs = {arm: self.config(arm) for arm in self.arms}
        plain = {arm: to_dict(config) for arm, config in configs.items()}
        for one, other in itertools.combinations(plain, 2):
            require(
                plain[one] != plain[other],
                f"arms {one!r} and {other!r} are the same configuration; leave one of them out",
            )
        of = "search" if self.search else "grid"
        for name in self.tuned_fields:
            require(
                any(has_field(self, arm, name) for arm in self.arms),
                f"{of}.{name} is a field that no arm has; its arms are {', '.join(self.arms)}",
            )
        for arm in self.arms:
            for setting in self.settings(arm):
                config = self.config(arm, setting)
                self.on_budget(arm, config, config.steps)
            for name in self.space(arm):
                for value in ends(self.search[name]):
                    self.config(arm, {name: value})
            self.on_budget(arm, configs[arm], configs[arm].steps)
        self.subject.check(configs, self.against)
        self.subject.check_scores(self.scores, self.num)

    def extended(self, name: str, value: Any, *, below: bool) -> Comparison:
        """With one more value of the grid, before its first or behind its last one."""
        values = self.grid[name]
        return replace(
            self, grid=self.grid | {name: [value, *values] if below else [*values, value]}
        )


def has_field(comparison: Comparison, arm: str, name: str) -> bool:
    """Whether an arm has a field of this name, a wrapper's being that of what is inside it, and the
    values to tune over make a difference there: not where the arm sets what is inside the field, as
    sampler.threshold.quantile is inside sampler.threshold.
    """
    values = comparison.grid.get(name) or ends(comparison.search[name])
    try:
        configs = [comparison.config(arm, {name: value}) for value in values]
    except StanleyError as error:
        if "unknown field" in str(error):
            return False
        raise
    return len(values) == 1 or any(config != configs[0] for config in configs[1:])


def as_time(setting: Changes) -> Changes:
    """The setting with √h in the place of a variance h."""
    h = setting.get("sampler.step_size")
    if not isinstance(h, int | float) or h <= 0:
        return setting
    return setting | {"sampler.step_size": h**0.5}


def folder_name(arm: str) -> str:
    """`STANLEY, th 1` to `stanley-th-1`."""
    words = "".join(c if c.isalnum() or c in "._=+-" else " " for c in arm.lower()).split()
    return "-".join(words)


def setting_name(setting: Changes) -> str:
    """`step_size=0.01,threshold=1`, also the name of a folder."""
    words = (f"{name.rpartition('.')[2]}={in_short(value)}" for name, value in setting.items())
    return ",".join(words) or "as-given"


def in_short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return "+".join(f"{k}-{in_short(v)}" for k, v in value.items())
    text = "null" if value is None else str(value)
    return "".join(c if c.isalnum() or c in "._+-" else "-" for c in text)


def numbers_of(values: list[Any]) -> list[float] | None:
    """The values of a grid where all of them are numbers."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return [float(v) for v in values]
    return None


def edges(grid: dict[str, list[Any]], chosen: Changes) -> Iterator[tuple[str, bool]]:
    """(field, whether below) for every number that was chosen at an end of its values."""
    for name, value in chosen.items():
        values = numbers_of(grid[name])
        if values is None or len(values) < 2:
            continue
        if value == min(values):
            yield name, True
        elif value == max(values):
            yield name, False


def next_value(values: list[Any], *, below: bool) -> float:
    """One step further, by the ratio of the two values at that end."""
    ordered = sorted(map(float, values), reverse=not below)
    end, inner = ordered[0], ordered[1]
    return float(f"{end * end / inner:.6g}") if inner and end else 2 * end - inner
