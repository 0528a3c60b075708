"""What is compared: a recipe that is trained, or a density that is sampled.

Both are asked the same few questions, so that arms, tuning, seeds, tables and verdicts need not
know which it is. `TrainedRecipe` (trained.py) and `SampledDensity` (sampled.py) answer them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stanley.comparing.task import Row

#: The field of a configuration and its value, for several fields.
Changes = dict[str, Any]
#: Of one arm or one run: a frozen dataclass with `sampler`, `steps` and `seed` among its fields.
Config = Any


@dataclass(frozen=True)
class Share:
    """What an arm gets: K steps an iteration (0 where no chain runs), and its gradients in all."""

    steps: int
    chain_steps: int
    gradients: float | None  # one for each chain and step; U without its gradient counts half

    def in_words(self) -> str:
        words = f"{self.steps:,} iterations"
        if self.chain_steps:
            words += f" of {self.chain_steps} chain steps"
        return words if self.gradients is None else f"{words}, {self.gradients:,.0f} gradients"


class Subject(Protocol):
    """What a comparison asks of what it compares."""

    def config(self, changes: Changes) -> Config:
        """The configuration with these changes, fields named as `a.b.c`."""
        ...

    def with_fixed_step_size(self, config: Config) -> Config:
        """Without adaptation, which would leave a step size that was tuned."""
        ...

    def check(self, configs: Mapping[str, Config], against: str) -> None:
        """Raise StanleyError for arms that cannot be carried out, or not be compared."""
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

    def carry_out(self, plain: list[dict[str, Any]]) -> list[Row]:
        """What a worker does: carry out some tasks of one arm and write their rows. Not bound to
        the subject, so that its name alone travels.
        """
        ...

    def last_step(self, row: Row | None) -> float:
        """How far a run came that may have failed."""
        ...
