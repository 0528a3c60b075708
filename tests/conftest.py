"""A seed for every test, small runs that finish in about a second, and a browser."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from stanley.data import Rings
from stanley.networks import MLP
from stanley.samplers import MALA, RobbinsMonro
from stanley.training.config import TrainConfig
from stanley.training.objectives import Contrastive
from stanley.training.optim import Adam

from . import seeds
from .browsing import NO_CHROMIUM, chromium, headless

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, help="of all random draws; none: a new one, told when a test fails"
    )


def pytest_configure(config: pytest.Config) -> None:
    # worker processes are handed the options of the one that started them
    if config.option.seed is None:
        config.option.seed = secrets.randbelow(2**31)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"The same draws once more: --seed {config.option.seed}")


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    seeds.begin(request.config.option.seed, request.node.nodeid)


@pytest.fixture
def small() -> TrainConfig:
    """A configuration in which everything that has state is switched on."""
    return TrainConfig(
        data=Rings(num=2000),
        network=MLP(width=16),
        sampler=MALA(step_size=0.09),
        optimizer=Adam(lr=2e-3),
        objective=Contrastive(
            chain_steps=3, bank_size=64, restart=0.1, energy_l2=0.01, adapt=RobbinsMonro()
        ),
        steps=24,
        batch=32,
        data_noise=0.05,
        warmup=5,
        clip_norm=1.0,
        ema=0.9,
        save_every=6,
        seed=3,
    )


def changed(config: TrainConfig, **values: Any) -> TrainConfig:
    """`replace`, for fields of the configuration and of its objective alike."""
    own = {field.name for field in fields(config.objective)}
    objective = {name: value for name, value in values.items() if name in own}
    rest = {name: value for name, value in values.items() if name not in own}
    return replace(config, objective=replace(config.objective, **objective), **rest)


def without_time(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records are the same run's but for the clock and the memory of the process."""
    return [{k: v for k, v in r.items() if k not in ("seconds", "peak_mib")} for r in records]


__all__ = ["changed", "replace", "small", "without_time"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium through Playwright; the test is skipped where one of the two is missing."""
    pytest.importorskip("playwright", reason="the Python package playwright is not installed")
    if chromium() is None:
        pytest.skip(NO_CHROMIUM)
    with headless() as browser:
        yield browser


#: What a console says of refused requests and lost connections.
EXPECTED = ("Failed to load resource", "net::ERR", "WebSocket")


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page; it fails the test if a script of it raised, or the browser refused something.

    Refused requests and lost connections are no fault: some tests bring them about.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda said: (
            faults.append(said.text)
            if said.type == "error" and not any(word in said.text for word in EXPECTED)
            else None
        ),
    )
    yield page
    context.close()
    assert not faults, faults
