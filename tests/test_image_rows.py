"""The rows of the image experiment differ in their sampler alone and cost the same,
at full scale and at a core's.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stanley.cli.config_file import read_config_file
from stanley.samplers import HMC, run_chains
from stanley.training.config import TrainConfig
from stanley.training.recipes import COMPARED, EPSILON, RECIPES
from stanley.training.resolve import resolve
from stanley.types import Potential

SMALL = Path(__file__).parent.parent / "benchmarks" / "paper_images.yaml"
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


def small(row: str, **flags: object) -> TrainConfig:
    return resolve(
        row, read_config_file(SMALL), {name.replace("__", "."): v for name, v in flags.items()}
    )


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
    hmc = {"objective__chain_steps": 2, "sampler__num_leapfrog": 5} if row.endswith("hmc") else {}
    assert evaluations(small(row, **hmc)) == 10 + 1


def test_negative_control_hmc_without_its_flags_costs_more() -> None:
    assert evaluations(small("cifar10-hmc")) == 10 * 10 + 1


def test_the_small_scale_is_small() -> None:
    config = small("flowers102-stanley", **{"data__root": "DIR", "sampler__step_size": 4e-4})
    assert config.data.size == 16  # type: ignore[union-attr]
    assert config.network.width == 8  # type: ignore[union-attr]
    assert config.network.activation == "leaky-relu"  # type: ignore[union-attr]
    assert config.sampler.step_size == 4e-4
    assert config.temperature == RECIPES["flowers102-stanley"].temperature
