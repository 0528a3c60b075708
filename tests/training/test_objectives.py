"""Objectives other than the contrastive one, inside the main loop."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stanley.config import from_dict, to_dict
from stanley.data import Rings
from stanley.errors import StanleyError
from stanley.judging.evaluate import evaluate
from stanley.models.packing import pack
from stanley.models.trained import Trained, load, starts_of_sum
from stanley.networks import MLP, LevelMLP
from stanley.plots.run import plot_run
from stanley.ranks import World
from stanley.runs import checkpoint
from stanley.samplers import MALA, RobbinsMonro, anneal, ladder
from stanley.training.config import TrainConfig
from stanley.training.divergence import find_divergence
from stanley.training.loop import train
from stanley.training.objectives import (
    Contrastive,
    Denoising,
    FlowMatching,
    NoiseContrastive,
    ScoreMatching,
    WarmStart,
    warm_start,
)
from stanley.training.objectives.warm_start import from_the_ladder
from stanley.training.optim import Adam
from stanley.training.state import TrainState
from tests.conftest import without_time

CHAINS = Contrastive(chain_steps=2, bank_size=64, adapt=RobbinsMonro())
LEVELS = LevelMLP(width=16, depth=2, fourier=4)
OBJECTIVES = {
    "denoising": Denoising(),
    "score alone": Denoising(level_weight=0.0),
    "warm-start": WarmStart(share=0.5, contrastive=CHAINS),
    "anchored": WarmStart(share=0.5, anchor=0.5, contrastive=CHAINS),
    "sliced": ScoreMatching(),
    "at one level": ScoreMatching(noise_std=0.3),
    "noise-contrastive": NoiseContrastive(noise_ratio=2),
    "flow-matching": FlowMatching(),
    "flow between random pairs": FlowMatching(pairing="random"),
}


def small(objective: Any) -> TrainConfig:
    flow = isinstance(objective, FlowMatching)
    levels = bool(objective.denoising or objective.contrastive or flow)
    return TrainConfig(
        data=Rings(num=500),
        network=replace(LEVELS, damped=not flow) if levels else MLP(width=16),
        reference_std=None if levels else 4.0,
        sampler=MALA(0.05),
        objective=objective,
        optimizer=Adam(lr=3e-3),
        steps=24,
        batch=32,
        save_every=5,
        decay=0.5,
    )


@pytest.fixture(params=OBJECTIVES)
def config(request: pytest.FixtureRequest) -> TrainConfig:
    return small(OBJECTIVES[request.param])


@pytest.mark.parametrize("cut", [3, 12, 15])
def test_resumed_equals_unbroken(config: TrainConfig, cut: int, tmp_path: Path) -> None:
    """Also where the contrastive part of a warm start begins, at step 12."""
    config = replace(config, save_every=3, keep=99)
    whole = train(config, tmp_path / "whole")
    parts = train(config, tmp_path / "parts")
    for path in checkpoint.saved(parts.checkpoints):
        if path.name > f"step-{cut:08d}.safetensors":
            path.unlink()
    again = train(config, tmp_path / "parts")
    assert again.events()[-1]["step"] == cut
    assert without_time(whole.records()) == without_time(again.records())
    a, b = (load(run.path) for run in (whole, again))
    assert all(
        torch.equal(x, y)
        for x, y in zip(a.energy.state_dict().values(), b.energy.state_dict().values(), strict=True)
    )
    assert torch.equal(a.bank, b.bank)


def test_records_say_what_the_objective_knows(config: TrainConfig, tmp_path: Path) -> None:
    records = train(config, tmp_path / "run").records()
    chains = [record["step"] for record in records if "gap" in record]
    denoised = [record["step"] for record in records if "score_loss" in record]
    warm = isinstance(config.objective, WarmStart)
    last = 24 if config.objective.denoising else 0
    if warm and config.objective.anchor == 0:
        last = 12
    assert denoised == list(range(1, last + 1))
    assert chains == (list(range(13, 25)) if warm else [])
    assert all(record["loss"] is not None for record in records)


def test_it_can_be_sampled_judged_drawn_and_packed(config: TrainConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run")
    model = load(run.path)
    x = model.sample(16, steps=3, seed=1).x
    assert x.shape == (16, 2)
    assert x.isfinite().all()
    scores = evaluate(run, num=50, steps=3)
    assert (scores["kl"] is None) if model.flow else (scores["kl"] > 0)
    assert "curves.png" in {path.name for path in plot_run(run)}
    packed = load(pack(run, tmp_path / "packed"))
    assert torch.allclose(packed.energy(x), model.energy(x), rtol=1e-2)


def test_fresh_chains_come_down_the_ladder(tmp_path: Path) -> None:
    """Right after training has begun E(·, σ_min) is next to a Gaussian, which a ladder of exact
    gradients ends in; starts of the ladder are far outside.
    """
    run = train(replace(small(Denoising()), steps=1), tmp_path / "run")
    model = load(run.path)
    levels = model.levels
    assert levels is not None
    generator = model.stream(0, "noise")
    start, end = levels.start(2000, generator), model.starts(2000, "noise", generator)
    assert float(start.std()) > 3 * float(model.noise.std.mean())
    assert float(end.std()) == pytest.approx(float(levels.std), rel=0.15)
    down = from_the_ladder(model.config, levels, 50, model.stream(1, "noise"))
    assert torch.equal(model.starts(50, "noise", model.stream(1, "noise")), down)


def test_noisy_points_come_down_the_ladder_from_their_own_level(tmp_path: Path) -> None:
    model = load(train(small(Denoising()), tmp_path / "run"))
    levels = model.levels
    assert levels is not None
    y, std = levels.start(20, model.stream(0, "noise")), 0.5 * levels.sigma_max
    sigmas = ladder(std, levels.sigma_min)
    expected = anneal(levels.at, y, sigmas, generator=model.stream(1, "noise"))
    found = model.starts_below(y, std, model.stream(1, "noise"))
    assert found is not None
    torch.testing.assert_close(found, expected)
    for unknown in (levels.sigma_min, 1.1 * levels.sigma_max):
        assert model.starts_below(y, unknown, model.stream(1, "noise")) is None
    plain = load(train(small(ScoreMatching()), tmp_path / "plain"))
    assert plain.starts_below(y, std, model.stream(1, "noise")) is None


def test_a_sum_of_energies_has_a_ladder_where_all_have_one(tmp_path: Path) -> None:
    """Of one energy twice the weighted mean is that energy, to the last bit."""
    model = load(train(small(Denoising()), tmp_path / "run"))
    plain = load(train(small(ScoreMatching()), tmp_path / "plain"))

    def starts(models: list[Trained], weights: tuple[float, ...]) -> Tensor:
        return starts_of_sum(models, weights, 50, model.stream(1, "noise"))

    own = model.starts(50, "noise", model.stream(1, "noise"))
    assert torch.equal(starts([model, model], (1.0, 1.0)), own)
    assert torch.equal(starts([model, plain], (1.0, 1.0)), own)  # the ladder of the first
    noise = plain.starts(50, "noise", model.stream(1, "noise"))
    assert torch.equal(starts([plain, model], (1.0, 1.0)), noise)
    other = load(train(replace(small(Denoising()), seed=1), tmp_path / "other"))
    assert not torch.equal(starts([model, other], (1.0, 1.0)), own)
    other.energy.get_buffer("std").mul_(1e4)
    with pytest.raises(StanleyError, match="no noise level in common"):
        starts([model, other], (1.0, 1.0))


def test_the_learning_rate_rises_again_when_chains_begin(tmp_path: Path) -> None:
    """lr · schedule in the first part; in the second a quarter of it, after a warm-up of 4."""
    config = small(WarmStart(share=0.5, rate=0.25, contrastive=CHAINS))
    records = train(replace(config, warmup=4, decay=0.0), tmp_path / "run").records()
    rising = [0.25, 0.5, 0.75, 1.0]
    expected = [*rising, *[1.0] * 8, *(0.25 * r for r in rising), *[0.25] * 8]
    assert [r["learning_rate"] / 3e-3 for r in records] == pytest.approx(expected)


def test_the_bank_is_filled_once_when_chains_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, filled = warm_start.fill_bank, []

    def fill_bank(config: TrainConfig, state: TrainState) -> None:
        before = state.bank.positions.clone()
        real(config, state)
        filled.append((state.step, bool((state.bank.positions != before).all())))

    monkeypatch.setattr(warm_start, "fill_bank", fill_bank)
    train(small(OBJECTIVES["warm-start"]), tmp_path / "run")
    assert filled == [(12, True)]


@pytest.mark.parametrize("anchor", [0.5, 4.0])
def test_an_anchor_adds_the_gradient_of_denoising(tmp_path: Path, anchor: float) -> None:
    """In the second part, at the same weights and on the same draws: ∇L = ∇L_chains + α·∇L_levels,
    to the rounding of float32 of sums over 32 points."""
    warm = WarmStart(share=0.5, anchor=anchor, contrastive=CHAINS)
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))

    def gradients(descend: Callable[[TrainConfig, TrainState], object]) -> list[Tensor]:
        config = small(warm)
        state = TrainState(config, config.data.load(), World())
        state.step = 13
        descend(config, state)
        return [w.grad.clone() for w in state.energy.parameters() if w.grad is not None]

    def chains_then_levels(config: TrainConfig, state: TrainState) -> None:
        CHAINS.descend(config, state, x)
        state.optimizer.zero_grad(set_to_none=True)
        warm.denoising.add_gradient(config, state, x)

    both = gradients(lambda config, state: warm.descend(config, state, x))
    chains = gradients(lambda config, state: CHAINS.descend(config, state, x))
    levels = gradients(chains_then_levels)
    for total, first, second in zip(both, chains, levels, strict=True):
        torch.testing.assert_close(total, first + anchor * second, rtol=1e-4, atol=1e-5)
    assert any(bool((second.abs() > 1e-3).any()) for second in levels)


def test_chains_after_denoising_start_where_the_ladder_ends(tmp_path: Path) -> None:
    config = small(WarmStart(share=0.5, contrastive=replace(CHAINS, chain_steps=1)))
    run = train(replace(config, save_every=13, keep=9), tmp_path / "run")
    spread = [record["spread"] for record in run.records() if "spread" in record]
    assert max(spread) < 1.5


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"network": MLP(width=8)}, "network 'mlp' knows none; use network level-mlp"),
        ({"temperature": 0.5}, "temperature is 0.5"),
        ({"reference_std": 1.0}, "reference_std is 1.0"),
        (
            {"objective": Contrastive(bank_size=64)},
            "contrastive training reaches only the smallest",
        ),
        ({"objective": ScoreMatching()}, "objective 'score-matching' reaches only the smallest"),
        ({"objective": NoiseContrastive()}, "'noise-contrastive' reaches only the smallest"),
        (
            {"objective": ScoreMatching(), "network": MLP(activation="relu")},
            "network.activation is 'relu'",
        ),
    ],
)
def test_what_cannot_work_together(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(StanleyError, match=what):
        replace(small(Denoising()), **changes)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ScoreMatching(noise_std=-1.0), "noise_std is -1.0"),
        (lambda: NoiseContrastive(noise_ratio=0), "noise_ratio is 0"),
        (lambda: NoiseContrastive(noise_width=0.0), "noise_width is 0.0"),
        (lambda: WarmStart(share=0.0), "share is 0.0"),
        (lambda: WarmStart(share=1.0), "use objective denoising"),
        (lambda: WarmStart(rate=0.0), "rate is 0.0"),
        (lambda: WarmStart(anchor=-1.0), "anchor is -1.0"),
        (lambda: WarmStart(contrastive=Contrastive(start="data")), "contrastive.start is 'data'"),
        (
            lambda: small(WarmStart(contrastive=Contrastive(bank_size=8))),
            "bank_size is 8, but must be at least batch",
        ),
    ],
)
def test_values_that_are_refused(make: Any, what: str) -> None:
    with pytest.raises(StanleyError, match=what):
        make()


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("contrastive", "chain_steps", 0),
        ("contrastive", "bank_size", 8),
        ("contrastive", "free_stuck", 2.0),
        ("contrastive", "kl_weight", 1.0),
        ("contrastive", "growth", {"final": 9, "share": 2.0}),
        ("contrastive", "augment", {"chance": 0.0}),
        ("contrastive", "adapt", {"rate": -1.0}),
        ("denoising", "level_std", 0.0),
    ],
)
def test_a_field_is_named_as_its_flag(part: str, field: str, value: Any) -> None:
    """Inside a warm start objective.contrastive.bank_size, alone objective.bank_size."""
    warm = to_dict(small(OBJECTIVES["warm-start"]))
    alone = warm | {"objective": dict(warm["objective"][part])}
    if part == "contrastive":
        alone["network"] = to_dict(MLP())
    for values, own in ((warm, warm["objective"][part]), (alone, alone["objective"])):
        place = "objective" if own is values["objective"] else f"objective.{part}"
        own[field] = value
        with pytest.raises(StanleyError) as caught:
            from_dict(TrainConfig, values)
        named = set(re.findall(r"objective\.[a-z_.]+", str(caught.value)))
        assert any(name.startswith(f"{place}.{field}") for name in named), caught.value
        assert all(name.startswith(f"{place}.") for name in named), caught.value
        if place == "objective":
            assert not any(f"objective.{part}" in name for name in named)


def test_a_divergence_of_a_warm_start_names_its_flags() -> None:
    record = {"step": 20, "loss": 0.0, "gap": 1e6, "grad_norm": 1.0, "spread": 1.0}
    record |= {"step_size": 0.1, "nonfinite": 0.0}
    warm = small(OBJECTIVES["warm-start"])
    for config in (warm, replace(warm, network=MLP(), objective=CHAINS)):
        for broken in (record, record | {"gap": 0.0, "spread": 99.0}):
            reason = find_divergence(config, broken)
            assert reason is not None
            named = re.findall(r"objective\.[a-z_.]+", reason)
            assert len(named) >= 2
            assert {name.count(".contrastive.") for name in named} == {int(config is warm)}


def test_resuming_with_another_objective_is_refused(tmp_path: Path) -> None:
    train(small(Denoising()), tmp_path / "run")
    with pytest.raises(StanleyError, match=r"objective\.kind: 'denoising' → 'warm-start'"):
        train(small(OBJECTIVES["warm-start"]), tmp_path / "run")


def test_a_configuration_goes_through_plain_values(config: TrainConfig) -> None:
    assert from_dict(TrainConfig, to_dict(config)) == config


def test_energies_that_overflow_are_a_divergence(tmp_path: Path) -> None:
    config = replace(small(Denoising()), optimizer=Adam(lr=1e30), warmup=0, clip_norm=0.0)
    with pytest.raises(StanleyError, match=r"is not finite\. Lower optimizer\.lr"):
        train(config, tmp_path / "run")
