"""Settings that a sampler of optuna proposes: the same number of trials for every arm.

The space of a search is plain values, as files hold them: a field and {low, high}, with `log` where
its logarithm is what is even, or a field and a list of choices.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from stanley.errors import StanleyError, did_you_mean, require

#: optuna's samplers: tree-structured Parzen estimator, random, quasi-Monte Carlo (Sobol).
By = Literal["tpe", "random", "qmc"]
#: Trials of an arm that are proposed before any of them has its score. It is fixed, so that what is
#: proposed does not depend on how many workers there are.
BATCH = 5
EDGE = 0.05  # a best value within this share of an end of its range is said to lie there
DIGITS = 4  # of a value that is proposed

Space = dict[str, Any]


def require_space(space: Space) -> None:
    """Raise StanleyError for a field that has neither a range nor choices."""
    for name, values in space.items():
        if isinstance(values, list):
            require(len(values) > 1, f"search.{name} is {values}; give at least two choices")
            twice = next((v for v in values if values.count(v) > 1), None)
            require(twice is None, f"search.{name} holds {twice} twice; give it once")
            continue
        require(
            isinstance(values, dict) and {"low", "high"} <= set(values),
            f"search.{name} is {values!r}; give {{low: 1e-3, high: 1.0, log: true}}, or a list of "
            "choices",
        )
        other = next((key for key in values if key not in ("low", "high", "log")), None)
        require(
            other is None,
            f"search.{name} has unknown field {other!r}: "
            f"{did_you_mean(str(other), ('low', 'high', 'log'))}",
        )
        low, high, log = values["low"], values["high"], values.get("log", False)
        require(isinstance(log, bool), f"search.{name}.log is {log!r}, but must be true or false")
        require(
            all(is_number(end) for end in (low, high)) and low < high,
            f"search.{name} goes from {low!r} to {high!r}, but must go from a number to a larger "
            "one",
        )
        require(
            low > 0 or not log,
            f"search.{name}.low is {low!r}, but must be > 0 where log is true",
        )


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def ends(values: Any) -> list[Any]:
    """Both ends of a range, or all choices."""
    return values if isinstance(values, list) else [values["low"], values["high"]]


def side(values: Any, value: Any) -> bool | None:
    """Whether a value lies at the lower end of its range (True), at the upper one (False), or at
    none; choices have no ends.
    """
    if isinstance(values, list):
        return None
    scale = math.log if values.get("log") else float
    low, high = scale(values["low"]), scale(values["high"])
    share = (scale(value) - low) / (high - low)
    return True if share <= EDGE else False if share >= 1 - EDGE else None


class Search:
    """The trials of one arm, in the fields of the space that it has.

    optuna is asked for BATCH settings and told their scores, in the order of their numbers; what it
    proposes follows from the seed and from what it was told. So a search that goes on asks for the
    trials that are there already and gets the same ones. Not true: that another version of optuna
    proposes the same.
    """

    def __init__(self, space: Space, by: By, seed: int, *, more_is_better: bool) -> None:
        optuna = installed()
        self.space, self.states = space, optuna.trial.TrialState
        self.distributions = {name: distribution(optuna, of) for name, of in space.items()}
        with quiet(optuna):
            self.study = optuna.create_study(
                sampler=sampler(optuna, by, seed),
                direction="maximize" if more_is_better else "minimize",
            )
            if by == "qmc":  # which takes its space from a first trial, and nothing else of it
                first = {name: ends(of)[0] for name, of in space.items()}
                first |= {n: 0 for n, of in space.items() if isinstance(of, list)}
                self.study.add_trial(
                    optuna.trial.create_trial(
                        params=first, distributions=self.distributions, value=0.0
                    )
                )
        self.asked: list[Any] = []

    def ask(self, count: int) -> list[dict[str, Any]]:
        """Settings to try next."""
        with quiet(installed()):
            self.asked = [self.study.ask(self.distributions) for _ in range(count)]
        return [
            {name: proposed(self.space[name], value) for name, value in trial.params.items()}
            for trial in self.asked
        ]

    def tell(self, scores: list[float | None]) -> None:
        """The scores of what was asked for; None for a trial that failed, which is then worse than
        any other.
        """
        with quiet(installed()):
            for trial, score in zip(self.asked, scores, strict=True):
                if score is None:
                    self.study.tell(trial, state=self.states.PRUNED)
                else:
                    self.study.tell(trial, score)


def installed() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise StanleyError(
            "search is done by optuna, which is not installed; pip install 'stanley[optuna]', or "
            "give a grid"
        ) from error
    return optuna


def distribution(optuna: Any, values: Any) -> Any:
    """A range or choices as optuna's; choices by their place, since they need not be numbers."""
    of = optuna.distributions
    if isinstance(values, list):
        return of.CategoricalDistribution(list(range(len(values))))
    whole = isinstance(values["low"], int) and isinstance(values["high"], int)
    kind = of.IntDistribution if whole else of.FloatDistribution
    return kind(values["low"], values["high"], log=values.get("log", False))


def sampler(optuna: Any, by: By, seed: int) -> Any:
    with quiet(optuna):
        if by == "tpe":  # a trial of the batch whose score is not known counts as a bad one
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        if by == "qmc":
            return optuna.samplers.QMCSampler(seed=seed, scramble=True)
        return optuna.samplers.RandomSampler(seed=seed)


def proposed(values: Any, value: Any) -> Any:
    """The choice, or the number in few digits, which name its folder, within its range."""
    if isinstance(values, list):
        return values[value]
    if isinstance(value, int):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), values["low"]), values["high"])


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Without a line for every study, and without what is experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
