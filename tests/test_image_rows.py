"""The rows of the image experiment differ in their sampler alone and cost the same,
at full scale and at a core's.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stanley.cli.config_file import read_config_file
from stanley.comparing import Comparison
from stanley.config import from_dict
from stanley.samplers import HMC, RandomWalk, run_chains
from stanley.training.config import TrainConfig
from stanley.training.recipes import COMPARED, EPSILON, RECIPES
from stanley.types import Potential

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
ROWS = [
    f"{data}-{name}"
    for data in ("cifar10", "flowers102")
    for name in COMPARED
    if f"{data}-{name}" in RECIPES
]


class Counted:
    """E(x) = T·|x|²/2, so that U = |x|²/2 whatever T is; counts the chains it was asked about."""

    def __init__(self, temperature: float) -> None:
        self.temperature, self.chains = temperature, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.chains += len(x)
        return self.temperature * x.flatten(1).square().sum(1) / 2


def evaluations(config: TrainConfig) -> int:
    """Evaluations of E by one chain over one training iteration, counted where they happen."""
    energy, g = Counted(config.temperature), torch.Generator().manual_seed(0)
    x = torch.randn(3, 1, 2, 2, generator=g)
    run_chains(
        config.sampler,
        Potential(energy, config.temperature),
        x,
        config.objective.chain_steps,
        generator=g,
    )
    return energy.chains // 3


def small(data: str) -> Comparison:
    """The same experiment at the scale of a core."""
    return from_dict(Comparison, read_config_file(EXPERIMENTS / f"draft-{data}.yaml"))


ARMS = [(data, arm) for data in ("cifar10", "flowers102") for arm in small(data).arms]


def test_there_are_thirteen_rows() -> None:
    assert len(ROWS) == 13


def differing(one: Any, other: Any) -> set[str]:
    """The fields in which two values of one class differ."""
    return {f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)}


@pytest.mark.parametrize("row", ROWS)
def test_rows_differ_in_their_sampler_and_what_belongs_to_it(row: str) -> None:
    ours, langevin = RECIPES[row], RECIPES[f"{row.split('-')[0]}-langevin"]
    assert differing(ours, langevin) <= {"sampler", "objective"}
    assert differing(ours.objective, langevin.objective) <= {"chain_steps", "adapt"}
    assert ours.sampler.step_size == (EPSILON if isinstance(ours.sampler, HMC) else EPSILON**2)


@pytest.mark.parametrize("row", ROWS)
def test_rows_cost_the_same(row: str) -> None:
    assert evaluations(RECIPES[row]) == 50 + 1


@pytest.mark.parametrize(("data", "arm"), ARMS, ids=lambda word: word)
def test_arms_at_the_scale_of_a_core_cost_the_same(data: str, arm: str) -> None:
    """The random walk takes values of U alone, of which two count as one gradient."""
    comparison = small(data)
    config = comparison.on_budget(arm, comparison.config(arm), 0)
    assert config.steps == 1_000
    values = 2 if isinstance(config.sampler, RandomWalk) else 1
    assert evaluations(config) == values * (10 + 1)


def test_negative_control_hmc_with_the_steps_of_langevin_costs_more() -> None:
    config = small("cifar10").config("HMC")
    objective = replace(config.objective, chain_steps=10)
    assert evaluations(replace(config, objective=objective)) == 10 * 5 + 1


@pytest.mark.parametrize(("data", "arm"), ARMS, ids=lambda word: word)
def test_arms_differ_in_their_sampler_and_what_belongs_to_it(data: str, arm: str) -> None:
    comparison = small(data)
    ours, base = comparison.config(arm), comparison.base()
    assert differing(ours, base) <= {"sampler", "objective"}
    assert differing(ours.objective, base.objective) <= {"adapt"}


def test_the_small_scale_is_small() -> None:
    config = small("flowers102").config("STANLEY", {"sampler.step_size": 4e-4})
    assert config.data.size == 16
    assert config.network.width == 8
    assert config.network.activation == "leaky-relu"
    assert config.sampler.step_size == 4e-4
    assert config.temperature == RECIPES["flowers102-stanley"].temperature
