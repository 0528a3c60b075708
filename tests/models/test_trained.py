"""The sampler of a loaded run is the one that its energy was trained with,
wherever its chains start from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stanley.models.trained import Trained, load
from stanley.samplers import (
    Adjusted,
    AnySampler,
    ChainResult,
    ClippedLangevin,
    Langevin,
    Quantile,
    Stanley,
    run_chains,
)
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from tests.conftest import changed
from tests.seeds import stream

HALF = Quantile(0.5)
CUT = [Stanley(0.01, HALF), Stanley(0.01, HALF, scope="sample"), ClippedLangevin(0.01, HALF)]


def trained(small: TrainConfig, folder: Path, sampler: AnySampler, **fields: object) -> Trained:
    config = changed(small, sampler=sampler, adapt=None, steps=6, save_every=6, **fields)  # type: ignore[arg-type]
    return load(train(config, folder / "run", device="cpu"), device="cpu")


def median_slope(model: Trained, scope: str) -> float:
    """The median of |∇U| over the first chains of the bank, as many as training takes at once,
    by numpy.
    """
    x = model.bank[: model.config.batch].clone().requires_grad_(True)
    slope = torch.autograd.grad(model.energy(x).sum() / model.config.temperature, x)[0].numpy()
    sizes = np.sort(np.abs(slope).ravel() if scope == "element" else np.linalg.norm(slope, axis=1))
    return float(sizes[round((len(sizes) - 1) / 2)])


@pytest.mark.parametrize("sampler", CUT, ids=lambda s: f"{type(s).__name__}-{s.scope}")
def test_a_quantile_is_resolved_on_the_bank(
    small: TrainConfig, tmp_path: Path, sampler: Any
) -> None:
    model = trained(small, tmp_path, sampler)
    found = getattr(model.sampler, "threshold", None)
    assert found == pytest.approx(median_slope(model, sampler.scope), rel=1e-5)
    assert model.sampler == replace(sampler, threshold=found)


def test_also_inside_a_metropolis_test(small: TrainConfig, tmp_path: Path) -> None:
    model = trained(small, tmp_path, Adjusted(Stanley(0.01, HALF)))
    assert isinstance(model.sampler, Adjusted)
    found = model.sampler.proposal.threshold  # type: ignore[attr-defined]
    assert found == pytest.approx(median_slope(model, "element"), rel=1e-5)


def test_chains_from_noise_and_from_the_bank_have_one_threshold(
    small: TrainConfig, tmp_path: Path
) -> None:
    model = trained(small, tmp_path, Stanley(0.01, HALF))
    ran = [model.sample(20, steps=2, start=start) for start in ("noise", "bank")]
    assert len({threshold_of(chains) for chains in ran}) == 1


def test_negative_control_the_quantile_itself_would_not(small: TrainConfig, tmp_path: Path) -> None:
    model = trained(small, tmp_path, Stanley(0.01, HALF))
    g = stream()
    starts = (model.starts(20, "noise", g), model.starts(20, "bank", g))
    ran = [run_chains(model.config.sampler, model.potential, x0, 2, generator=g) for x0 in starts]
    assert len({threshold_of(chains) for chains in ran}) == 2


def threshold_of(chains: ChainResult) -> float:
    assert chains.info.threshold is not None
    return float(chains.info.threshold)


def test_without_a_bank_training_resolved_it_at_noise_and_so_do_samples(
    small: TrainConfig, tmp_path: Path
) -> None:
    assert trained(small, tmp_path, Stanley(0.01, HALF), start="noise").sampler == Stanley(
        0.01, HALF
    )


@pytest.mark.parametrize(
    "sampler", [Langevin(0.01), Stanley(0.01, 2.0)], ids=lambda s: type(s).__name__
)
def test_what_is_a_number_stays(small: TrainConfig, tmp_path: Path, sampler: AnySampler) -> None:
    assert trained(small, tmp_path, sampler).sampler == sampler
