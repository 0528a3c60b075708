"""Samples in one call: warm-up, step size and run as by hand, and what they came to in numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stanley.errors import StanleyError
from stanley.models.sampling import sample_density, sample_trained
from stanley.models.trained import load
from stanley.samplers import MALA, Langevin, run_chains
from stanley.samplers.warm_up import warm_up
from stanley.streams import stream
from stanley.targets import Banana
from stanley.training.config import TrainConfig
from stanley.training.loop import train

CPU = torch.device("cpu")


def normal(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, 2, generator=generator)


@pytest.mark.parametrize("tune", [True, False])
def test_a_density_is_sampled_as_by_hand(tune: bool) -> None:
    sampler = MALA(0.1)
    found = sample_density(
        sampler,
        Banana(),
        normal,
        8,
        20,
        warm_up_steps=10,
        seed=3,
        device=CPU,
        tune=tune,
        keep_every=5,
    )
    generator = stream(3, "warm-up and chains")
    ready = warm_up(sampler, Banana(), normal(8, generator), 10, generator=generator, tune=tune)
    chains = run_chains(ready.sampler, Banana(), ready.x, 20, generator=generator)
    assert torch.equal(found.chains.x, chains.x)
    assert found.chains.draws is not None
    assert len(found.chains.draws) == 4
    assert found.ready.sampler == ready.sampler
    numbers = found.numbers
    assert (numbers["step_size"] == 0.1) != tune
    assert numbers["acceptance"] == pytest.approx(float(chains.info.acceptance.mean()))
    assert numbers["step_size_from"].startswith("adapt, 10 steps" if tune else "the sampler itself")


def test_what_never_rejects_has_no_acceptance() -> None:
    found = sample_density(
        Langevin(0.01), Banana(), normal, 8, 5, warm_up_steps=0, seed=0, device=CPU, tune=False
    )
    assert found.numbers["acceptance"] is None
    assert found.numbers["nonfinite"] == 0


@pytest.mark.parametrize(
    ("wrong", "told"), [({"seed": -1}, "seed is -1"), ({"num": 0}, "num is 0")]
)
def test_bad_requests(wrong: dict[str, int], told: str) -> None:
    request = {"num": 4, "seed": 0} | wrong
    with pytest.raises(StanleyError, match=told):
        sample_density(
            MALA(0.1),
            Banana(),
            normal,
            request["num"],
            5,
            warm_up_steps=1,
            seed=request["seed"],
            device=CPU,
            tune=False,
        )


def test_a_trained_energy_is_sampled_as_by_its_own_method(
    small: TrainConfig, tmp_path: Path
) -> None:
    run = train(replace(small, steps=6, save_every=6), tmp_path / "run", device="cpu")
    model = load(run, device="cpu")
    for start in ("noise", "bank"):
        found = sample_trained(model, 5, 4, start=start, seed=2)
        assert torch.equal(found.chains.x, model.sample(5, steps=4, start=start, seed=2).x)
        again = run_chains(
            model.sampler,
            model.potential,
            found.ready.x,
            1,
            generator=torch.Generator().manual_seed(0),
        )
        assert again.x.shape == found.ready.x.shape == (5, 2)
        assert not torch.equal(found.ready.x, found.chains.x)
        assert found.numbers["step_size"] == pytest.approx(float(model.sampler.step_size))
        assert found.numbers["step_size_from"] == "the run"
