"""Likelihood of a run: the bracket holds the log Z of quadrature,
and the held-out numbers are U plus its ends.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stanley.cli import main
from stanley.data import Folder
from stanley.errors import StanleyError
from stanley.judging.likelihood import NARROWEST, annealing_kernel, held_out_likelihood
from stanley.metrics import log_z, nll
from stanley.models.trained import load
from stanley.networks import ConvNet, LevelMLP
from stanley.runs import checkpoint
from stanley.samplers import MALA, Langevin, ReplicaExchange
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.objectives import Denoising, Growth
from stanley.training.optim import Adam
from tests.conftest import changed


def test_bracket_and_held_out_data_of_a_run_in_the_plane(
    small: TrainConfig, tmp_path: Path
) -> None:
    """Each end is wrong by more than its 6 standard errors with a chance below 1e-6 where the ESS
    is large; one that is wrong by t nats in the forbidden direction has a chance below e⁻ᵗ in any
    case."""
    run = train(replace(small, reference_std=2.0), tmp_path / "run")
    found = held_out_likelihood(run, chains=200, levels=50, steps_per_level=3, rows=500)
    model = load(run)
    exact = log_z(model.potential, 12.0).value
    forward, reverse = found["forward"], found["reverse"]
    assert min(forward["ess"], reverse["ess"]) > 20
    assert found["log_z"]["lower"] < exact + 6 * forward["standard_error"]
    assert found["log_z"]["upper"] > exact - 6 * reverse["standard_error"]
    assert found["log_z"]["upper"] - found["log_z"]["lower"] < 1
    held_out = model.config.data.load().test[:500].float()
    for end in ("lower", "upper"):
        assert found["held_out"][end] == pytest.approx(
            nll(model.potential, held_out, found["log_z"][end]), abs=1e-5
        )
    assert found["held_out"]["n"] == len(held_out)
    assert (
        json.loads((tmp_path / "run" / "likelihood.json").read_text())["held_out"]
        == found["held_out"]
    )


def test_the_chains_on_the_model_are_as_long_as_those_of_its_step(
    small: TrainConfig, tmp_path: Path
) -> None:
    """Ten times K_t of the newest iteration, where K = 2 grows to 12 in half of the run."""
    growth = Growth(final=12, share=0.5)
    config = changed(replace(small, steps=20, save_every=5, keep=9), chain_steps=2, growth=growth)
    run = train(config, tmp_path / "run")
    found = held_out_likelihood(run, chains=4, levels=3, rows=10)
    assert found["model_steps"] == 120
    for path in checkpoint.saved(run.checkpoints):
        if path.name > "step-00000005.safetensors":
            path.unlink()
    # K_5 = 2 + 10·5/(0.5·20)
    with pytest.warns(UserWarning, match="kept the former answer"):
        found = held_out_likelihood(run, chains=4, levels=3, rows=10)
    assert found["model_steps"] == 70


def test_an_energy_that_knows_noise_levels_is_reached_through_them(
    small: TrainConfig, tmp_path: Path
) -> None:
    """The same bounds, held to quadrature, and a bracket that so few levels make narrow."""
    config = replace(
        small,
        network=LevelMLP(width=32, depth=2, fourier=8),
        objective=Denoising(-1.5, 1.2, 0.5),
        optimizer=Adam(lr=3e-3),
        steps=200,
    )
    run = train(config, tmp_path / "run")
    found = held_out_likelihood(run, chains=200, levels=100, model_steps=100, rows=500)
    exact = log_z(load(run).potential, 12.0).value
    forward, reverse = found["forward"], found["reverse"]
    assert (found["through"], found["levels"]) == ("noise levels", 100)
    assert min(forward["ess"], reverse["ess"]) > 20
    assert found["log_z"]["lower"] < exact + 6 * forward["standard_error"]
    assert found["log_z"]["upper"] > exact - 6 * reverse["standard_error"]
    assert found["log_z"]["upper"] - found["log_z"]["lower"] < 1
    with pytest.raises(StanleyError, match="takes one step at each; use more levels"):
        held_out_likelihood(run, steps_per_level=2)


def test_a_bracket_that_is_too_wide_is_said(small: TrainConfig, tmp_path: Path) -> None:
    """Negative control: two levels do not reach an energy that is far from its reference."""
    run = train(
        changed(small, reference_std=0.02, sampler=MALA(1e-4), energy_l2=0.0, gap_limit=1e9),
        tmp_path / "run",
    )
    found = held_out_likelihood(run, chains=16, levels=2, model_steps=50)
    assert "has not converged" in found["log_z"]["verdict"]


def test_images_in_bits(small: TrainConfig, tmp_path: Path) -> None:
    """An energy that is its reference alone is a Gaussian: its bits are known, d·log Z and all."""
    for i, image in enumerate(
        np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    ):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}.png")
    config = changed(
        small,
        data=Folder(
            path=str(tmp_path), size=8, channels=1, cache=str(tmp_path / "cache"), held_out=0.5
        ),
        network=ConvNet(width=2),
        sampler=Langevin(1e-3),
        adapt=None,
        batch=4,
        bank_size=8,
        reference_std=1.0,
        steps=1,
    )
    run = train(config, tmp_path / "run")
    found = held_out_likelihood(run, chains=8, levels=100, rows=10)
    held = found["held_out"]
    assert found["sampler"]["kind"] == "mala"  # Langevin leaves no exp(-U_β) invariant
    assert held["unit"] == "bits per dimension"
    assert held["dimensions"] == 64
    per_nat = 1 / (64 * math.log(2))
    told = (found["log_z"]["upper"] - found["log_z"]["lower"]) * per_nat
    assert held["upper"] - held["lower"] == pytest.approx(told, abs=1e-9)
    # U = |x|²/2 and a network that is nearly constant: log Z = 32 log 2π, E|x|² of uniform bytes =
    # 64/3
    expected = (64 / 6 + 32 * math.log(2 * math.pi)) * per_nat + 7
    assert held["lower"] == pytest.approx(expected, abs=0.5)


def test_kernel_is_the_runs_own_where_it_is_exact(small: TrainConfig, tmp_path: Path) -> None:
    model = load(train(small, tmp_path / "run"))
    assert annealing_kernel(model) is model.sampler
    assert annealing_kernel(replace(model, sampler=Langevin(0.3))) == MALA(0.3)
    assert annealing_kernel(replace(model, sampler=ReplicaExchange(MALA(0.3)))) == MALA(0.3)
    assert NARROWEST > 0


@pytest.mark.parametrize("field", ["chains", "levels", "rows"])
def test_too_little_is_refused(small: TrainConfig, tmp_path: Path, field: str) -> None:
    run = train(small, tmp_path / "run")
    with pytest.raises(StanleyError, match=f"{field} is 1, but must be at least 2"):
        held_out_likelihood(run, **{field: 1})


def test_command(small: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(small, tmp_path / "run")
    arguments = [
        "likelihood",
        str(tmp_path / "run"),
        "--chains",
        "8",
        "--levels",
        "10",
        "--rows",
        "20",
    ]
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    told = capsys.readouterr().out
    assert "log Z" in told
    assert "held-out data" in told
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--json"])
    assert torch.isfinite(torch.tensor(json.loads(capsys.readouterr().out)["held_out"]["lower"]))
