"""Augmentation, the KL term and growing chains in whole runs: resumed equals unbroken."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stanley.config import from_dict, to_dict
from stanley.data import MNIST
from stanley.errors import StanleyError
from stanley.models.trained import load
from stanley.networks import ConvNet
from stanley.runs import checkpoint
from stanley.samplers import Langevin, Quantile, Stanley
from stanley.training import step as iteration
from stanley.training.augment import Augment
from stanley.training.config import TrainConfig
from stanley.training.divergence import find_divergence
from stanley.training.loop import train
from stanley.training.objectives.contrastive import Growth
from stanley.training.recipes import RECIPES
from tests.conftest import changed, without_time
from tests.training.test_loop import newest, same_state


@pytest.fixture
def digits(small: TrainConfig, tmp_path: Path) -> TrainConfig:
    """Every piece switched on, on sixteen random images of 8×8."""
    for name, seed in (("train-images-idx3-ubyte", 0), ("t10k-images-idx3-ubyte", 1)):
        pixels = torch.randint(
            256, (16, 28, 28), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
        )
        (tmp_path / name).write_bytes(
            struct.pack(">4i", 2051, *pixels.shape) + pixels.numpy().tobytes()
        )
    return changed(
        small,
        data=MNIST(root=str(tmp_path), size=8),
        network=ConvNet(width=2),
        sampler=Langevin(1e-4),
        temperature=1e-3,
        adapt=None,
        batch=4,
        bank_size=8,
        chain_steps=1,
        growth=Growth(3),
        augment=Augment(shift=1, zoom=0.2, chance=0.5),
        kl_weight=0.3,
        steps=8,
        save_every=4,
    )


@pytest.mark.parametrize(
    "sampler", [Langevin(1e-4), Stanley(1e-4, Quantile(0.8))], ids=lambda s: s.kind
)
def test_resumed_equals_unbroken(
    digits: TrainConfig, tmp_path: Path, sampler: Langevin | Stanley
) -> None:
    config = replace(digits, sampler=sampler)
    unbroken = train(config, tmp_path / "unbroken")
    broken = train(config, tmp_path / "broken")
    checkpoint.saved(broken.checkpoints)[-1].unlink()
    assert newest(broken).step == 4
    resumed = train(config, tmp_path / "broken")
    same_state(newest(unbroken), newest(resumed))
    assert without_time(unbroken.records()) == without_time(resumed.records())


@pytest.mark.parametrize(
    "piece", [{"augment": None}, {"kl_weight": 0.0}, {"growth": None}], ids=str
)
def test_each_piece_makes_it_another_run(
    digits: TrainConfig, tmp_path: Path, piece: dict[str, None]
) -> None:
    """Negative control of the test above: no piece is accepted and ignored."""
    a = train(digits, tmp_path / "a")
    b = train(changed(digits, **piece), tmp_path / "b")
    assert without_time(a.records()) != without_time(b.records())


def test_chains_grow_to_their_final_length(
    digits: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K_t of the formula, in the chains that are run and in the number of steps that samples take
    by default.
    """
    real, taken = iteration.run_chains, []
    monkeypatch.setattr(
        iteration, "run_chains", lambda *a, **k: (taken.append(a[3]), real(*a, **k))[1]
    )
    run = train(changed(digits, growth=Growth(5, share=0.5)), tmp_path / "run")
    assert taken == [1, 2, 3, 4, 5, 5, 5, 5]
    assert load(run, device="cpu").default_steps("bank") == 5


def test_growth_has_bounds(digits: TrainConfig) -> None:
    with pytest.raises(
        StanleyError,
        match=r"objective\.growth\.final is 1, but must be above objective\.chain_steps = 1",
    ):
        changed(digits, growth=Growth(1))
    with pytest.raises(StanleyError, match=r"objective\.growth\.share is 0"):
        Growth(5, share=0)


def test_the_pieces_are_plain_data(digits: TrainConfig) -> None:
    assert from_dict(TrainConfig, to_dict(digits)) == digits


def test_recipes_check_themselves() -> None:
    for name, config in RECIPES.items():
        assert from_dict(TrainConfig, to_dict(config)) == config, name


def test_the_advice_on_data_noise_is_the_chain_noise(digits: TrainConfig) -> None:
    """√h, whatever the temperature: x' = x - … + √h·ξ."""
    for temperature in (1.0, 1e-4):
        reason = find_divergence(replace(digits, temperature=temperature, data_noise=0.0), APART)
        assert reason is not None
        assert "set data_noise to 0.05 (the noise of one chain step is 0.05)" in reason


APART = {
    "step": 9,
    "loss": 1.0,
    "gap": 1e9,
    "grad_norm": 1.0,
    "spread": 1.0,
    "step_size": 0.0025,
    "nonfinite": 0.0,
}
FAR = APART | {"gap": 0.0, "spread": 1e3}


@pytest.mark.parametrize(
    ("record", "now", "said"),
    [
        (APART, {"energy_l2": 0.0}, "set objective.energy_l2 to 0.01"),
        (APART, {"energy_l2": 0.1}, "raise objective.energy_l2 (now 0.1)"),
        (APART, {"data_noise": 0.1}, "raise data_noise (now 0.1)"),
        (
            APART | {"step": 1},
            {"reference_std": 1.0, "temperature": 0.01},
            "N(0, 0.1²) of x may be too narrow: raise reference_std (now 1)",
        ),
        (FAR, {"restart": 0.0}, "set objective.restart to 0.02"),
        (FAR, {"restart": 0.05}, "raise objective.restart (now 0.05)"),
        (FAR, {"reference_std": None, "temperature": 0.01}, "set reference_std to 10"),
        (FAR, {"reference_std": 5.0}, "lower reference_std (now 5)"),
        (FAR, {}, "Lower sampler.step-size (now 0.0025)"),
    ],
)
def test_the_advice_starts_from_what_is_set(
    digits: TrainConfig, record: dict, now: dict, said: str
) -> None:
    reason = find_divergence(changed(digits, **now), record)
    assert reason is not None
    assert said in reason
