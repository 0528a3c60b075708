"""A studio to ask: in this process for the server's tests, as the command itself for a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra studio is not installed")

from starlette.testclient import TestClient

import stanley
from stanley.cli.values import parse_fields
from stanley.data import Array
from stanley.networks import ConvNet, LevelConvNet
from stanley.studio import application
from stanley.training.objectives import Contrastive

from ..browsing import Server, ended, started, studio
from ..seeds import RNG

TOKEN = "the token of a test"
ADDRESS = "http://127.0.0.1:8765"
SOCKETS = "ws://127.0.0.1:8765"  # a client of tests calls them `testserver` else


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the studio shows, with something beside it that it must not touch."""
    (tmp_path / "secret.txt").write_text("nobody's business")
    shown = tmp_path / "shown"
    shown.mkdir()
    return shown


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    """Asks as a page of the studio does, with the token's cookie and its origin."""
    with asking(folder) as client:
        yield client


@contextmanager
def asking(folder: Path) -> Iterator[TestClient]:
    with TestClient(application(folder, TOKEN, read=parse_fields), base_url=ADDRESS) as client:
        client.headers["origin"] = ADDRESS
        assert client.get("/", params={"token": TOKEN}).status_code == 200
        yield client


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small runs: `rings` in the plane, `pictures` of 8×8 pixels that knows noise
    levels, `chains`, the same without them, and `table`, of three columns. Nobody changes it.
    """
    folder = tmp_path_factory.mktemp("studio") / "trained"
    folder.mkdir()
    np.save(folder / "pictures.npy", RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8))
    rows = "\n".join(",".join(f"{v:.4f}" for v in row) for row in RNG.normal(size=(90, 3)))
    (folder / "table.csv").write_text(f"length,a<b>,weight\n{rows}\n")
    rings, digits = stanley.recipe("rings"), stanley.recipe("mnist-small-contrastive")
    short = {"steps": 12, "batch": 8, "save_every": 6}
    pictures = Array(path=str(folder / "pictures.npy"))
    runs = {
        "rings": replace(rings, **short | {"steps": 30}),
        "pictures": replace(
            stanley.recipe("mnist-small"),
            data=pictures,
            network=LevelConvNet(width=4, blocks=1),
            precision="float32",
            **short,
        ),
        "chains": replace(digits, data=pictures, network=ConvNet(width=4), **short),
        "table": replace(
            stanley.recipe("array-contrastive"),
            data=Array(path=str(folder / "table.csv")),
            reference_std=4.0,  # so that exp(-E) is a density however little E was trained
            **short,
        ),
    }
    for name, config in runs.items():
        if isinstance(config.objective, Contrastive):
            objective = replace(config.objective, bank_size=40, chain_steps=3)
            config = replace(config, objective=objective)
        stanley.train(config, folder / name)
    return folder


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `both`, a comparison of two samplers on two seeds. Nobody changes it."""
    folder = tmp_path_factory.mktemp("studio") / "compared"
    folder.mkdir()
    words = "compare rings --samplers langevin,mala --seeds 2 --steps 6 --data.num 200 --out both"
    words += " --budget iterations --scores record.loss --grid sampler.step_size=0.05 --workers 1"
    words += " --network.width 8 --batch 16 --objective.bank-size 32"
    command = [sys.executable, "-m", "stanley", *words.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts `stanley studio FOLDER …`; all are ended after the test."""
    running: list[Server] = []

    def start(folder: Path, *flags: str, port: int = 0) -> Server:
        running.append(started(folder, *flags, port=port))
        return running[-1]

    yield start
    for server in running:
        ended(server)


@pytest.fixture(scope="session")
def standing(
    trained: Path, compared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A studio on the small runs and the comparison, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("standing") / "shown"
    shutil.copytree(trained, folder)
    shutil.copytree(compared / "both", folder / "both")
    with studio(folder) as server:
        yield server
