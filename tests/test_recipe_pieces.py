"""Augmentation, the KL term and growing chains in whole runs: resumed equals unbroken, two ranks are one."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stanley import checkpoint, training
from stanley.augment import Augment
from stanley.config import from_dict, to_dict
from stanley.data import MNIST, Dataset
from stanley.distributed import joined
from stanley.errors import StanleyError
from stanley.last_step import LastStep
from stanley.networks import ConvNet, ResNet
from stanley.recipes import RECIPES
from stanley.samplers import Langevin, Quantile, Stanley
from stanley.train_config import Growth, TrainConfig
from stanley.trained import load
from stanley.training import TrainState, backward, train
from tests.conftest import without_time
from tests.ranks import on_ranks
from tests.test_train import newest, same_state


@pytest.fixture
def digits(small: TrainConfig, tmp_path: Path) -> TrainConfig:
    """Every piece switched on, on sixteen random images of 8×8."""
    for name, seed in (("train-images-idx3-ubyte", 0), ("t10k-images-idx3-ubyte", 1)):
        pixels = torch.randint(256, (16, 28, 28), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        (tmp_path / name).write_bytes(struct.pack(">4i", 2051, *pixels.shape) + pixels.numpy().tobytes())
    return replace(
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


@pytest.mark.parametrize("sampler", [Langevin(1e-4), Stanley(1e-4, Quantile(0.8))], ids=lambda s: s.kind)
def test_resumed_equals_unbroken(digits: TrainConfig, tmp_path: Path, sampler: Langevin | Stanley) -> None:
    config = replace(digits, sampler=sampler)
    unbroken = train(config, tmp_path / "unbroken")
    broken = train(config, tmp_path / "broken")
    checkpoint.saved(broken.checkpoints)[-1].unlink()
    assert newest(broken).step == 4
    resumed = train(config, tmp_path / "broken")
    same_state(newest(unbroken), newest(resumed))
    assert without_time(unbroken.records()) == without_time(resumed.records())


@pytest.mark.parametrize("piece", [{"augment": None}, {"kl_weight": 0.0}, {"growth": None}], ids=str)
def test_each_piece_makes_it_another_run(digits: TrainConfig, tmp_path: Path, piece: dict[str, None]) -> None:
    """Negative control of the test above: no piece is accepted and ignored."""
    a = train(digits, tmp_path / "a")
    b = train(replace(digits, **piece), tmp_path / "b")  # type: ignore[arg-type]
    assert without_time(a.records()) != without_time(b.records())


def test_chains_grow_to_their_final_length(
    digits: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K_t of the formula, in the chains that are run and in the number of steps that samples take by default."""
    real, taken = training.run_chains, []
    monkeypatch.setattr(training, "run_chains", lambda *a, **k: (taken.append(a[3]), real(*a, **k))[1])
    run = train(replace(digits, growth=Growth(5, share=0.5)), tmp_path / "run")
    assert taken == [1, 2, 3, 4, 5, 5, 5, 5]
    assert load(run, device="cpu").default_steps("bank") == 5


def test_growth_has_bounds(digits: TrainConfig) -> None:
    with pytest.raises(StanleyError, match=r"growth\.final is 1, must be above chain_steps = 1"):
        replace(digits, growth=Growth(1))
    with pytest.raises(StanleyError, match=r"growth\.share is 0"):
        Growth(5, share=0)


def test_the_pieces_are_plain_data(digits: TrainConfig) -> None:
    assert from_dict(TrainConfig, to_dict(digits)) == digits


def gradients(config: TrainConfig, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """∇_θ L with the KL term as this rank has it, in float64, for the last step of a chain that is given."""
    torch.set_default_dtype(torch.float64)
    try:
        with joined("cpu") as world:
            x_pos, x_neg, before = torch.randn((3, *shape), generator=torch.Generator().manual_seed(0))
            state = TrainState(config, Dataset(x_pos, x_pos), world)
            with training.frozen(state.energy):
                state.energy(x_pos)
            last = LastStep(config.sampler, world.part(before), torch.tensor(0.1), config.temperature)
            backward(config, state, world.part(x_pos), world.part(x_neg), last if config.kl_weight > 0 else None)
            return {name: p.grad for name, p in state.energy.named_parameters() if p.grad is not None}
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("network", [ConvNet(width=4), ResNet(width=4, spectral_norm=True)], ids=lambda n: n.kind)
@pytest.mark.parametrize("sampler", [Langevin(0.1), Stanley(0.1)], ids=lambda s: s.kind)
def test_the_gradient_over_two_ranks_is_that_of_one(
    digits: TrainConfig, network: ConvNet | ResNet, sampler: Langevin | Stanley
) -> None:
    """DDP averages a gradient that was differentiated twice as it does any other; sums in another order, float64.

    Negative control: without the term it is another gradient.
    """
    config = replace(digits, network=network, sampler=sampler, temperature=1.0, kl_weight=1.0, augment=None)
    shape = (8, 3, 8, 8)
    alone = gradients(config, shape)
    largest = max(float(g.abs().max()) for g in alone.values())
    for ours in on_ranks(2, gradients, config, shape):
        assert max(float((ours[name] - alone[name]).abs().max()) for name in alone) < 1e-12 * largest
    plain = gradients(replace(config, kl_weight=0.0), shape)
    assert max(float((plain[name] - alone[name]).abs().max()) for name in alone) > 1e-6 * largest


def test_recipes_check_themselves() -> None:
    for name, config in RECIPES.items():
        assert from_dict(TrainConfig, to_dict(config)) == config, name
