"""What is compared: a recipe that is trained, or a density that is sampled.

Both are asked the same few questions, so that arms, tuning, seeds, tables and verdicts need not
know which it is. `TrainedRecipe` (trained.py) and `SampledDensity` (sampled.py) answer them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stanley.comparing.task import Row

#: Quantiles of the gradient that thresholds are tuned over where nobody says.
QUANTILES = (0.5, 0.9)
THRESHOLDED = ("stanley", "clipped", "matched", "amala")

#: The field of a configuration and its value, for several fields.
Changes = dict[str, Any]
#: Of one arm or one run: a frozen dataclass with `sampler`, `steps` and `seed` among its fields.
Config = Any


@dataclass(frozen=True)
class Share:
    """What an arm gets: K steps an iteration (0 where no chain runs), or of a density the steps of
    so many chains, and its gradients in all.
    """

    steps: int
    chain_steps: int
    gradients: float | None  # one for each chain and step; U without its gradient counts half
    chains: int | None = None  # of a density

    def in_words(self) -> str:
        words = f"{self.steps:,} iterations"
        if self.chains is not None:
            words = f"{self.steps:,} steps of {self.chains} chains"
        if self.chain_steps:
            words += f" of {self.chain_steps} chain steps"
        return words if self.gradients is None else f"{words}, {self.gradients:,.0f} gradients"


def thresholded(samplers: list[str]) -> bool:
    return any(word in name for name in samplers for word in THRESHOLDED)


class Subject(Protocol):
    """What a comparison asks of what it compares."""

    @property
    def stackable(self) -> bool:
        """Whether runs of an arm may be carried out side by side."""
        ...

    def config(self, changes: Changes) -> Config:
        """The configuration with these changes, fields named as `a.b.c`."""
        ...

    def with_fixed_step_size(self, config: Config, changes: Changes) -> Config:
        """Without adaptation, which would leave a step size that was tuned, unless the `changes`
        that all arms share and its own ask for it.
        """
        ...

    def usual_grid(self, base: Config, samplers: list[str]) -> dict[str, list[Any]]:
        """What samplers of these names are tuned over where nobody says."""
        ...

    def check(self, configs: Mapping[str, Config], against: str) -> None:
        """Raise StanleyError for arms that cannot be carried out, or not be compared."""
        ...

    def check_scores(self, scores: list[str], num: int | None) -> None:
        """Raise StanleyError for scores that there are not, as far as that is known before."""
        ...

    def on_gradients(self, base: Config, arm: str, config: Config, own: Changes) -> Config:
        """As many gradient evaluations as the base makes; `own` is what the arm sets itself."""
        ...

    def steps_in(self, seconds: float, config: Config) -> int:
        """How many steps take so many CPU seconds."""
        ...

    def share(self, config: Config) -> Share: ...

    def of_a_run(self, config: Config, seed: int, along: int) -> Config:
        """The configuration of one seed, which is scored at `along` places before its end."""
        ...

    def usual_scores(self, config: Config) -> tuple[str, ...]:
        """The scores of a comparison that asks for none."""
        ...

    def prepare(self, config: Config, scores: list[str], folder: Path) -> None:
        """Write what all tasks share in the folder of the comparison."""
        ...

    def carry_out(self, plain: list[dict[str, Any]]) -> list[Row]:
        """What a worker does: carry out some tasks of one arm and write their rows. Not bound to
        the subject, so that its name alone travels.
        """
        ...

    def along(self, scores: list[str]) -> tuple[str, str]:
        """Which score is known along a run, and along what, in words."""
        ...

    def biased(self, config: Config) -> bool:
        """Whether the arm samples another law than the one that is asked for."""
        ...

    def last_step(self, row: Row | None) -> float:
        """How far a run came that may have failed."""
        ...
