"""A studio to ask: in this process for the server's tests, as the command itself for a browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette", reason="the extra studio is not installed")

from starlette.testclient import TestClient

from stanley.studio import application

TOKEN = "the token of a test"
ADDRESS = "http://127.0.0.1:8765"

#: What a browser without a screen, in a container, is started with.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


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
    with TestClient(application(folder, TOKEN), base_url=ADDRESS) as client:
        client.headers["origin"] = ADDRESS
        assert client.get("/", params={"token": TOKEN}).status_code == 200
        yield client


@dataclass(frozen=True)
class Server:
    """`stanley studio` in a process of its own."""

    address: str  # with the token
    process: subprocess.Popen[str]
    folder: Path

    def at(self, path: str) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}{path}"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts `stanley studio FOLDER …`; all are ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(folder: Path, *flags: str, port: int = 0) -> Server:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "stanley", "studio", str(folder), "--port", str(port), *flags],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        running.append(process)
        assert process.stdout is not None
        return Server(process.stdout.readline().strip(), process, folder)

    yield start
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def chromium() -> str | None:
    return (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium through Playwright; the test is skipped where one of the two is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the Python package playwright is not installed"
    )
    found = chromium()
    if found is None:
        pytest.skip("there is no chromium: apt install chromium, or set CHROMIUM to its path")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page; it fails the test if a script of it raised, or the browser refused something.

    Messages of lost connections are no fault: some tests lose them on purpose.
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
            if said.type == "error" and "net::ERR" not in said.text and "WebSocket" not in said.text
            else None
        ),
    )
    yield page
    context.close()
    assert not faults, faults
