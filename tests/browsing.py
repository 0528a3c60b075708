"""`stanley studio` in a process of its own, and Chromium to look at it: for the tests in a browser,
and for what is measured there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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


@dataclass(frozen=True)
class Server:
    """`stanley studio` in a process of its own."""

    address: str  # with the token
    process: subprocess.Popen[str]
    folder: Path

    def at(self, path: str) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}{path}"


def started(folder: Path, *flags: str, port: int = 0) -> Server:
    command = [sys.executable, "-m", "stanley", "studio", str(folder), "--port", str(port), *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return Server(process.stdout.readline().strip(), process, folder)


def ended(server: Server) -> None:
    server.process.send_signal(signal.SIGINT)
    try:
        server.process.wait(60)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
    assert server.process.stdout is not None
    server.process.stdout.close()


@contextmanager
def studio(folder: Path, *flags: str) -> Iterator[Server]:
    """A studio on this folder, ended after the block."""
    server = started(folder, *flags)
    try:
        yield server
    finally:
        ended(server)


NO_CHROMIUM = "there is no chromium: apt install chromium, or set CHROMIUM to its path"


def chromium() -> str | None:
    return (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )


@contextmanager
def headless(*flags: str) -> Iterator[Any]:
    """Debian's Chromium without a screen, through Playwright."""
    from playwright.sync_api import sync_playwright

    found = chromium()
    if found is None:
        raise SystemExit(NO_CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*FLAGS, *flags])
        yield browser
        browser.close()
