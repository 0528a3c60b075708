"""A picture of every page, to be looked at: `make screenshots`, or, of your own runs,

    make screenshots FOLDER=runs/demo

light, dark, and as a phone shows it, in runs/screenshots. Without FOLDER it is the small runs of
the tests, which have learned next to nothing. The site is among them where `make docs` has built
it. It is no test file by its name, so that only who names it runs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ..browsing import Server, studio

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
OUT = ROOT / "runs" / "screenshots"
SITE = ROOT / "docs" / "_build" / "html"
OF_THE_SITE = (
    "index.html",
    "studio.html",
    "samplers.html",
    "api/index.html",
    "notebooks/rings-from-start-to-verdict.html",
)
LOOKS = {"light": (1280, 900, "light"), "dark": (1280, 900, "dark"), "phone": (390, 844, "light")}
MOST = 12  # runs and comparisons, the newest first

Shown = Callable[[Any], None]  # brings a page to what is to be seen


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The studio on the folder that was named, or on the small runs."""
    if "FOLDER" not in os.environ:
        yield request.getfixturevalue("standing")
        return
    folder = Path(os.environ["FOLDER"])
    assert folder.is_dir(), f"FOLDER is {folder}: no such folder"
    with studio(folder) as server:
        yield server


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with studio(tmp_path_factory.mktemp("empty")) as server:
        yield server


def first_page(server: Server) -> Shown:
    def shown(page: Any) -> None:
        page.goto(server.address)
        page.wait_for_selector("#entries tr, #none:not([hidden])")

    return shown


def refused_form(server: Server) -> Shown:
    def shown(page: Any) -> None:
        first_page(server)(page)
        page.get_by_text("Train a recipe", exact=True).click()
        page.get_by_label("Name of the run").fill("new")
        page.get_by_label("Other fields").fill("sampler.step-sice=0.1")
        page.get_by_role("button", name="Start").click()
        page.wait_for_selector("#refused:not([hidden])")

    return shown


def at(server: Server, path: str) -> Shown:
    def shown(page: Any) -> None:
        page.goto(server.address)
        page.goto(server.at(path))

    return shown


def without_the_token(server: Server) -> Shown:
    def shown(page: Any) -> None:
        page.context.clear_cookies()
        page.goto(server.at("/"))

    return shown


def of_run(server: Server, name: str) -> Shown:
    """A run once its chains are drawn and, of images, a picture with a part to fill in."""

    def shown(page: Any) -> None:
        at(server, f"/run?name={quote(name)}")(page)
        page.wait_for_selector("#curves figure, #problem:not([hidden])")
        at_rest(page)
        if page.locator("#choices button").count():
            page.get_by_role("button", name="Right half").click()
            page.get_by_role("button", name="Fill in").click()
            page.wait_for_timeout(1000)
            at_rest(page)

    return shown


def at_rest(page: Any) -> None:
    """Until nothing is computed, or for half a minute."""
    for _ in range(60):
        page.wait_for_timeout(500)
        if page.locator("#halt").is_disabled():
            return


def of_comparison(server: Server, name: str) -> Shown:
    """A comparison once what its arms learned is drawn."""

    def shown(page: Any) -> None:
        at(server, f"/comparison?name={quote(name)}")(page)
        page.wait_for_selector("#scores figure, #scores .chart, #problem:not([hidden])")
        for _ in range(60):
            page.wait_for_timeout(500)
            working = page.locator("#working")
            if not working.is_visible() or not working.inner_text().endswith("…"):
                return

    return shown


def playing(server: Server) -> Shown:
    def shown(page: Any) -> None:
        at(server, "/playground")(page)
        page.wait_for_selector(".sampler canvas")
        page.wait_for_timeout(8000)
        page.get_by_role("button", name="Pause").click()

    return shown


def of_site(name: str) -> Shown:
    return lambda page: page.goto((SITE / name).as_uri())


def pages(server: Server, empty: Server, page: Any) -> dict[str, Shown]:
    """What there is to see, by the names of the pictures."""
    first_page(server)(page)
    entries = page.evaluate("fetch('/api/runs').then((answer) => answer.json())")["entries"]
    found = {
        "runs": first_page(server),
        "runs-empty": first_page(empty),
        "runs-refused": refused_form(server),
        "playground": playing(server),
        "error": at(server, "/run?name=nothing"),
        "nowhere": at(server, "/nowhere"),
    }
    for entry in entries[:MOST]:
        name, kind = entry["name"], entry["kind"]
        found[f"{kind}-{quote(name, safe='')}"] = (of_run if kind == "run" else of_comparison)(
            server, name
        )
    if SITE.is_dir():
        found |= {f"site-{quote(name, safe='')}": of_site(name) for name in OF_THE_SITE}
    return found | {"without-the-token": without_the_token(server)}


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_drawn(server: Server, empty: Server, page: Any, look: str):
    width, height, scheme = LOOKS[look]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    (OUT / look).mkdir(parents=True, exist_ok=True)
    for name, shown in pages(server, empty, page).items():
        shown(page)
        page.wait_for_timeout(1500)
        whole = not name.startswith("site-")  # whose pages are long: their first screens
        page.screenshot(path=OUT / look / f"{name}.png", full_page=whole)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
