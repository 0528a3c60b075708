"""What a terminal shows of a training is what the state holds, and showing it changes nothing."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import stanley
from stanley.data import Rings
from stanley.networks import MLP, LevelMLP
from stanley.samplers import MALA
from stanley.training import portrait
from stanley.training.arguments import ShownArguments
from stanley.training.config import TrainConfig
from stanley.training.objectives import Contrastive, Denoising, FlowMatching
from stanley.training.opening import opened_with
from stanley.training.portrait import SIDE, BankOfImages, InThePlane, RestoredImages, portrait_of
from tests.seeds import RNG, fresh_seed
from tests.test_progress import UPPER, console, decoded

PLANE = TrainConfig(
    data=Rings(num=500),
    network=MLP(width=8),
    sampler=MALA(0.1),
    objective=Contrastive(chain_steps=2, bank_size=64),
    steps=6,
    batch=16,
    save_every=3,
)
"""A small run in the plane."""


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setattr(portrait, "terminal", console)


def opened(tmp_path, config=PLANE, **more):
    return opened_with(ShownArguments(config, tmp_path / "run", device="cpu", **more))


def test_the_plane_is_the_data_the_density_and_the_bank(wide, tmp_path):
    """Each panel peaks where its points are put: a corner, by x and y, is that corner."""
    with opened(tmp_path) as run:
        found = portrait_of(run.config, run.state, run.data)
        assert isinstance(found, InThePlane)
        corner = torch.tensor([0.9, -0.9]) * found.box  # right and below
        run.state.bank.positions[:] = corner
        pixels = found.pixels()
    assert pixels is not None
    assert pixels.shape == (SIDE, 3 * SIDE + 2 * portrait.GAP, 3)
    bank = pixels[:, -SIDE:].astype(int).sum(-1)
    row, column = np.unravel_index(bank.argmax(), bank.shape)
    share = np.array([column + 0.5, SIDE - row - 0.5]) / SIDE * 2 - 1
    assert np.abs(share - np.array([0.9, -0.9])).max() <= 1 / SIDE  # half a cell of 2/SIDE


def test_a_bank_of_images_is_shown_as_it_is(wide, tmp_path):
    x = RNG.integers(0, 256, (40, 1, 10, 10), dtype=np.uint8)
    config = replace(PLANE, network=stanley.networks.ConvNet(width=2), sampler=MALA(1e-4))
    config = replace(config, objective=replace(config.objective, augment=None))
    with opened(tmp_path, config, data=torch.from_numpy(x)) as run:
        found = portrait_of(run.config, run.state, run.data)
        assert isinstance(found, BankOfImages)
        bank = stanley.data.to_bytes(run.state.bank.positions[: found.num]).numpy()
        pixels = found.pixels()
    assert found.num == (100 + portrait.GAP) // (10 + portrait.GAP)
    for k in range(found.num):
        shown = pixels[:, k * (10 + portrait.GAP) :][:, :10]
        np.testing.assert_array_equal(shown, np.repeat(bank[k, 0][..., None], 3, -1))


def test_restored_images_are_one_gradient_away(wide, tmp_path):
    """Of the first energy, a Gaussian with the data's mean μ and spread s, E[x | y] is known:
    μ + (y - μ)/(1 + σ²/s²).
    """
    x = RNG.integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
    network = stanley.networks.LevelConvNet(width=2, blocks=0)
    config = replace(PLANE, network=network, objective=Denoising(), sampler=MALA(1e-4))
    with opened(tmp_path, config, data=torch.from_numpy(x)) as run:
        found = portrait_of(run.config, run.state, run.data)
        assert isinstance(found, RestoredImages)
        levels, sigma = found.levels, found.sigma
        gain = 1 / (1 + (sigma / float(levels.std)) ** 2)
        expected = levels.mean + gain * (found.noisy - levels.mean)
        potential = config.potential(levels.at(sigma))
        got = portrait.posterior_mean(potential, found.noisy, sigma)
        pixels = found.pixels()
    # the network's last layer begins at a share of about 1e-2 of the Gaussian's
    assert (got - expected).abs().mean() < 0.1 * (found.noisy - expected).abs().mean()
    assert pixels.shape[0] == 8


@pytest.mark.parametrize("why", ["vectors in space", "a flow", "no room"])
def test_nothing_to_see(why, wide, tmp_path, monkeypatch):
    config, more = PLANE, {}
    if why == "vectors in space":
        more = {"data": torch.randn(50, 5)}
    elif why == "a flow":
        config = replace(PLANE, network=LevelMLP(width=8, damped=False), objective=FlowMatching())
    else:
        monkeypatch.setattr(portrait, "terminal", lambda: console(terminal=False))
    with opened(tmp_path, config, **more) as run:
        assert portrait_of(run.config, run.state, run.data) is None


def test_weights_that_are_not_finite_show_nothing(wide, tmp_path):
    with opened(tmp_path) as run:
        found = portrait_of(run.config, run.state, run.data)
        assert found is not None
        next(run.state.average.parameters()).fill_(float("nan"))
        assert found.pixels() is None


def test_a_run_that_is_watched_is_the_same_run(wide, tmp_path, monkeypatch):
    """Bit for bit: weights, average, moments, bank and generators."""
    from stanley import progress

    on = console()
    monkeypatch.setattr(progress, "terminal", lambda: on)
    config = replace(PLANE, seed=fresh_seed() % 1000)
    stanley.train(config, tmp_path / "shown", device="cpu", progress=True, picture=True)
    on.file.seek(0)
    assert UPPER in on.file.read()
    stanley.train(config, tmp_path / "plain", device="cpu")
    shown, plain = (
        load_file(tmp_path / name / "checkpoints" / "step-00000006.safetensors")
        for name in ("shown", "plain")
    )
    assert shown.keys() == plain.keys()
    assert {"generator.chains", "bank.positions"} & set(shown)
    assert all(torch.equal(shown[name], plain[name]) for name in shown)


def in_a_terminal(words: list[str], cwd: Path, **environment: str) -> str:
    """What a command writes into a pseudo-terminal of 100 × 40."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    own = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONIOENCODING": "utf-8"}
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "stanley", *words],
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=cwd,
        env=kept | own | environment,
    )
    os.close(child)
    text, until = b"", time.monotonic() + 120
    while time.monotonic() < until:
        ready, _, _ = select.select([parent], [], [], 1.0)
        try:
            part = os.read(parent, 1 << 16) if ready else b""
        except OSError:  # the other end is closed
            break
        text += part
        if not part and process.poll() is not None:
            break
    assert process.wait(30) == 0, text[-2000:].decode(errors="replace")
    os.close(parent)
    return text.decode("utf-8", "replace")


TRAIN = ["train", "rings-contrastive", "--steps", "4", "--warmup", "1", "--batch", "16"]
TRAIN += ["--objective.bank-size", "64", "--data.num", "500", "--network.width", "8"]


@pytest.mark.parametrize(
    ("flags", "environment", "seen"),
    [
        ([], {}, True),
        (["--no-picture"], {}, False),
        (["--quiet"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb", "COLORTERM": ""}, False),
    ],
    ids=["shown", "no-picture", "quiet", "NO_COLOR", "dumb"],
)
def test_a_training_in_a_real_terminal(flags, environment, seen, tmp_path):
    text = in_a_terminal([*TRAIN, *flags, "--out", "run"], tmp_path, **environment)
    assert (UPPER in text) == seen
    assert "done: step 4" in text
    if seen:
        pixels = decoded(text[text.rindex("data    ") :])
        assert pixels.shape == (SIDE, 100, 3)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
        assert re.search(r"4/4", text[text.rindex("data    ") :])
