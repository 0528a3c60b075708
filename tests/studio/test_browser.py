"""The pages in Debian's Chromium: what a person does there, and what it looks like to a machine.

`make test-browser` runs these; each is skipped, with the reason, where there is no browser.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stanley

from ..browsing import Server
from .test_runs import ODD, QUICK

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(trained: Path, folder: Path) -> Path:
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def server(serve, folder: Path) -> Server:
    return serve(folder)


@pytest.fixture
def opened(server: Server, page: Any) -> Any:
    """The first page, opened by the address that was printed."""
    page.goto(server.address)
    page.wait_for_selector("#entries tr")
    return page


@pytest.fixture
def looked(standing: Server, page: Any) -> Any:
    """The first page of the studio that nobody changes."""
    page.goto(standing.address)
    page.wait_for_selector("#entries tr")
    return page


def wait(page: Any, condition: str, seconds: float = 30) -> None:
    """Until an expression holds. Playwright's own way evaluates text, which the page forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never: {condition}"
        page.wait_for_timeout(100)


def text_of(selector: str, words: str) -> str:
    """The condition that an element says so."""
    return f"document.querySelector({selector!r}).textContent.includes({words!r})"


def of_run(page: Any, server: Server, name: str) -> Any:
    page.goto(server.at(f"/run?name={name}"))
    wait(page, "document.querySelector('#facts').textContent !== ''")
    return page


def start(page: Any, name: str, fields: str, steps: str = "100000") -> None:
    """As a person does: open the form, fill it in, press the button."""
    if not page.locator("#start").is_visible():
        page.get_by_text("Train a recipe", exact=True).click()
    page.get_by_label("Recipe").select_option("rings")
    page.get_by_label("Name of the run").fill(name)
    page.get_by_label("Steps", exact=True).fill(steps)
    page.get_by_label("Other fields").fill(fields)
    page.get_by_role("button", name="Start").click()


def row(page: Any, name: str) -> Any:
    return page.locator("#entries tr").filter(has=page.get_by_role("rowheader", name=name))


def status(page: Any, name: str, words: str) -> None:
    """Wait until the list says so."""
    row(page, name).locator(f".status.{words}").wait_for(timeout=60_000)


def test_the_list_has_every_run_and_no_token_in_its_address(looked: Any, standing: Server):
    assert "token" not in looked.url
    names = looked.locator("#entries th a").all_text_contents()
    assert sorted(names) == ["both", "chains", "pictures", "rings", "table"]
    assert looked.locator(".status.finished").count() == 5


def test_a_run_grows_while_one_watches(opened: Any, server: Server):
    start(opened, "new", QUICK)
    status(opened, "new", "running")
    page = of_run(opened, server, "new")
    page.wait_for_selector("#curves figure .main-svg")

    last = "Math.max(...document.querySelector('#curves .chart').data.flatMap((t) => t.x))"
    wait(page, f"{last} > {page.evaluate(last)} + 50")
    assert "left" in page.locator("#facts").inner_text()
    page.get_by_role("button", name="Stop", exact=True).first.click()
    page.wait_for_selector("#status.interrupted")


def test_a_new_checkpoint_waits_for_what_is_drawn(opened: Any, server: Server):
    start(opened, "new", f"{QUICK} save_every=20")
    status(opened, "new", "running")
    page = of_run(opened, server, "new")
    wait(page, text_of("#facts", "checkpoint of step"))
    page.get_by_label("Chain steps").fill("6000")
    page.get_by_role("button", name="Draw").click()
    wait(page, text_of("#going", "step 6,000 of 6,000"), 90)
    wait(page, text_of("#fresh-of", "of step"))  # the landscape is that of a newer one by now


def test_a_training_that_is_killed_from_outside_is_resumed_in_the_page(
    opened: Any, server: Server, folder: Path
):
    start(opened, "new", f"{QUICK} save_every=10")
    status(opened, "new", "running")
    run = stanley.RunDirectory(folder / "new")
    end = time.monotonic() + 60
    while run.last_step() <= 10 and time.monotonic() < end:
        opened.wait_for_timeout(200)
    os.kill(process_of(folder / "new"), signal.SIGKILL)
    status(opened, "new", "interrupted")
    killed = run.last_step()
    assert killed > 10
    assert "SIGKILL" in row(opened, "new").inner_text()
    row(opened, "new").get_by_role("button", name="Resume").click()
    status(opened, "new", "running")
    end = time.monotonic() + 120
    while run.last_step() <= killed and time.monotonic() < end:
        opened.wait_for_timeout(200)
    assert run.last_step() > killed
    assert run.events()[-1]["kind"] == "resumed"


def process_of(path: Path) -> int:
    """The process whose command line trains into this folder."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"train" in words and str(path).encode() in words:
            return int(place.parent.name)
    raise AssertionError(f"no process trains into {path}")


def test_what_is_refused_is_said_beside_the_form(looked: Any):
    start(looked, "new", "batch=0")
    refused = looked.locator("#refused")
    refused.wait_for()
    assert "batch is 0" in refused.inner_text()


def test_the_slider_shows_another_checkpoint(looked: Any, standing: Server):
    page = of_run(looked, standing, "rings")
    wait(page, "document.querySelector('#going').textContent.includes('1,000 of 1,000')")
    newest = shown_pixels(page, "#landscape")
    slider = page.get_by_role("slider").first
    assert slider.get_attribute("aria-valuetext") == "Checkpoint of step 30, the newest"
    slider.focus()
    page.keyboard.press("Home")
    wait(
        page, "document.querySelector('#slider').getAttribute('aria-valuetext').endsWith('step 18')"
    )
    page.wait_for_timeout(2500)
    assert shown_pixels(page, "#landscape") != newest


def shown_pixels(page: Any, canvas: str) -> str:
    return page.evaluate(f"document.querySelector('{canvas}').toDataURL()")


def test_chains_move_and_are_stopped(looked: Any, standing: Server):
    page = of_run(looked, standing, "rings")
    page.get_by_label("Chain steps").fill("20000")
    page.wait_for_selector("#plane:not([hidden])")
    page.get_by_role("button", name="Draw").click()
    wait(page, "/step [\\d,]+ of 20,000/.test(document.querySelector('#going').textContent)")
    one = shown_pixels(page, "#landscape")
    for _ in range(50):  # up to ten seconds, on a machine with other work
        page.wait_for_timeout(200)
        if shown_pixels(page, "#landscape") != one:
            break
    assert shown_pixels(page, "#landscape") != one
    page.locator("#halt").click()
    wait(page, "document.querySelector('#halt').disabled")


@pytest.mark.parametrize("name", ["chains", "pictures"])
def test_a_mask_is_painted_and_pixels_come_back(looked: Any, standing: Server, name: str):
    page = of_run(looked, standing, name)
    page.wait_for_selector("#choices button")
    paint = page.locator("#paint")
    paint.scroll_into_view_if_needed()
    before = shown_pixels(page, "#paint")
    box = paint.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    assert shown_pixels(page, "#paint") != before
    page.get_by_role("button", name="Fill in").click()
    page.wait_for_selector("#mean-panel:not([hidden])")
    assert_known_stay(page)


def test_a_mask_is_chosen_with_the_keyboard(looked: Any, standing: Server):
    page = of_run(looked, standing, "pictures")
    page.wait_for_selector("#choices button")
    page.get_by_role("button", name="Left half").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Fill in").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#mean-panel:not([hidden])")
    draws = canvas_array(page, "#draws")
    known = canvas_array(page, "#choices button canvas")
    assert np.array_equal(draws[:8, 4:8], known[:, 4:])
    assert not np.array_equal(draws[:8, :4], known[:, :4])


def canvas_array(page: Any, selector: str) -> np.ndarray:
    """The red values of a canvas, (height, width)."""
    width, values = page.evaluate(
        """(selector) => {
            const canvas = document.querySelector(selector);
            const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.width, [...image.data].filter((_, k) => k % 4 === 0)];
        }""",
        selector,
    )
    return np.array(values).reshape(-1, width)


def assert_known_stay(page: Any) -> None:
    """Of the first draw most pixels are the picture's, and some are not."""
    draws, known = canvas_array(page, "#draws"), canvas_array(page, "#choices button canvas")
    same = draws[:8, :8] == known
    assert same[0].all()  # the brush was in the middle
    assert not same.all()


def test_a_picture_is_dropped_freed_of_noise_and_scored(
    looked: Any, standing: Server, tmp_path: Path
):
    from PIL import Image

    file = tmp_path / "mine.png"
    Image.new("RGB", (40, 30), (250, 250, 250)).save(file)
    page = of_run(looked, standing, "pictures")
    page.wait_for_selector("#choices button")
    page.locator("#file").set_input_files(file)
    wait(page, "!document.querySelector('#choices [aria-pressed=true]')")
    page.get_by_role("button", name="Score").click()
    page.wait_for_selector("#verdict:not([hidden])")
    assert "nats" in page.locator("#verdict-words").inner_text()
    page.get_by_role("button", name="Add noise").click()
    page.wait_for_selector("#mean-panel:not([hidden])")
    assert page.locator("#noisy-panel").is_visible()
    page.get_by_label("it is noisy already").check()
    page.get_by_role("button", name="Take the noise away").click()
    page.wait_for_selector("#mean-panel:not([hidden])")
    assert page.locator("#noisy-panel").is_hidden()
    (tmp_path / "bad.png").write_text("no picture")
    page.locator("#file").set_input_files(tmp_path / "bad.png")
    page.wait_for_selector("#refused:not([hidden])")
    assert "cannot be read" in page.locator("#refused").inner_text()


def test_vectors_have_marginals_and_pairs(looked: Any, standing: Server):
    page = of_run(looked, standing, "table")
    page.wait_for_selector("#marginals .main-svg >> nth=2")
    assert page.locator("#marginals figcaption").all_text_contents() == ["length", "a<b>", "weight"]
    page.get_by_label("Up").select_option("weight")
    wait(page, text_of("#pair", "weight"))


def test_a_name_that_is_html_is_shown_as_text(opened: Any, server: Server, folder: Path):
    (folder / "rings").rename(folder / ODD)
    link = opened.get_by_role("link", name=ODD)
    link.wait_for()
    link.click()
    opened.wait_for_selector("#curves figure")
    assert opened.locator("h1").inner_text() == ODD
    assert opened.locator("img").count() == 0


def test_a_lost_connection_is_said_and_comes_back(serve, page: Any, folder: Path):
    server = serve(folder)
    port = int(re.search(r":(\d+)/", server.address)[1])
    page.goto(server.address)
    page.wait_for_selector("#entries tr")
    server.process.send_signal(signal.SIGINT)
    server.process.wait(30)
    page.wait_for_selector("#connection:not([hidden])")
    assert "Connection lost" in page.locator("#connection").inner_text()
    again = serve(folder, port=port)
    page.goto(again.address)  # with another token
    page.wait_for_selector("#entries tr")
    assert page.locator("#connection").is_hidden()


def test_two_tabs_see_the_same(opened: Any, server: Server):
    other = opened.context.new_page()
    other.goto(server.at("/"))
    other.wait_for_selector("#entries tr")
    start(opened, "new", QUICK, steps="30")
    for tab in (opened, other):
        status(tab, "new", "finished")


def test_a_run_that_is_deleted_is_said(opened: Any, server: Server, folder: Path):
    page = of_run(opened, server, "table")
    shutil.rmtree(folder / "table")
    page.wait_for_selector("#problem:not([hidden])")
    assert "no such run directory" in page.locator("#problem").inner_text()
    page.goto(server.at("/"))
    page.wait_for_selector("#entries tr")
    assert row(page, "table").count() == 0


def test_arms_of_a_comparison_are_switched_on_and_off(looked: Any, standing: Server):
    looked.goto(standing.at("/comparison?name=both"))
    looked.wait_for_selector("#panels figure >> nth=2")
    assert looked.locator("#scores tbody tr").count() == 2
    looked.get_by_role("checkbox", name="mala").uncheck()
    assert looked.locator("#scores tbody tr").count() == 1
    assert looked.locator("#panels figure:visible").count() == 2
    assert looked.locator("#runs a").first.get_attribute("href").startswith("/run?name=both%2F")


def test_runs_of_an_unfinished_comparison_have_their_pages(
    opened: Any, server: Server, compared: Path, folder: Path
):
    shutil.copytree(compared / "both", folder / "half")
    record = json.loads((folder / "half" / "comparison.json").read_text())
    record |= {"unfinished": True, "planned": 12}
    (folder / "half" / "comparison.json").write_text(json.dumps(record))
    opened.goto(server.at("/comparison?name=half"))
    opened.wait_for_selector("#so-far tbody tr")
    assert "of 12 runs done" in opened.locator("#facts").inner_text()
    link = opened.locator("#so-far a").first
    name = link.inner_text()
    link.click()
    assert opened.locator("h1").inner_text() == f"half/runs/{name}"


# Contrast, labels, size ------------------------------------------------------------------------

PAGES = [
    "/",
    "/run?name=rings",
    "/run?name=pictures",
    "/run?name=table",
    "/comparison?name=both",
    "/playground",
    "/run?name=nothing",  # there is no such run
    "/nowhere",
    "refused",
]
#: Keeps what is written on canvases, which no element holds; for a page that is opened after it.
WRITING_IS_KEPT = """
    window.written = [];
    const write = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        window.written.push({on: this.canvas, text, colour: this.fillStyle, font: this.font});
        return write.call(this, text, ...rest);
    };
"""
#: Every text that is shown, of charts too, with its colour, the colours behind it, and its size.
TEXTS = """() => {
    const probe = document.body.appendChild(document.createElement("i"));
    const plain = (colour) => { probe.style.color = colour; return getComputedStyle(probe).color; };
    const behind = (e) => {
        const colours = [];
        for (; e; e = e.parentElement) colours.push(getComputedStyle(e).backgroundColor);
        return [...colours, plain("Canvas")];
    };
    const shown = [...document.querySelectorAll("main *, header *, footer")].flatMap((e) => {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        const seen = e.checkVisibility({visibilityProperty: true}) && !e.closest(":disabled");
        if (!own || !seen) return [];
        const box = e.getBoundingClientRect();
        if (box.width < 2 || box.height < 2) return [];
        const style = getComputedStyle(e), drawn = e.closest("svg") !== null;
        return [{text: e.textContent.trim().slice(0, 40), behind: behind(e),
                 colour: drawn ? style.fill : style.color, of: drawn ? "svg" : "page",
                 size: parseFloat(style.fontSize), bold: Number(style.fontWeight) >= 700}];
    });
    const written = (window.written ?? []).map(({on, text, colour, font}) => ({
        text, behind: behind(on), colour: plain(colour), of: "canvas",
        size: parseFloat(font.match(/([\\d.]+)px/)[1]), bold: false,
    }));
    probe.remove();
    return [...shown, ...written];
}"""
#: Everything that can be used, without a name that a reader of screens could say.
NAMELESS = """() => [...document.querySelectorAll(
    "a, button, input, select, canvas, [role=img], progress")]
    .filter((e) => e.checkVisibility() && !e.closest("[aria-hidden=true]"))
    .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
    .map((e) => e.outerHTML.slice(0, 120))"""


def contrast(text: list[float], behind: list[float]) -> float:
    """WCAG 2.2: (L₁ + 0.05)/(L₂ + 0.05) of the relative luminances."""

    def luminance(rgb: list[float]) -> float:
        linear = [
            v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
            for v in (c / 255 for c in rgb)
        ]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    high, low = sorted((luminance(text), luminance(behind)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def numbers(colour: str) -> list[float]:
    return [float(v) for v in re.findall(r"[\d.]+", colour)]


def too_faint(page: Any) -> list[str]:
    found = []
    for text in page.evaluate(TEXTS):
        solid = (numbers(c) for c in text["behind"])
        behind = next(rgb[:3] for rgb in solid if len(rgb) == 3 or rgb[3] == 1)
        large = text["size"] >= 24 or (text["size"] >= 18.66 and text["bold"])
        ratio = contrast(numbers(text["colour"])[:3], behind)
        if ratio < (3 if large else 4.5):
            found.append(f"{text['text']!r}: {ratio:.2f}")
    return found


def visit(page: Any, server: Server, path: str) -> None:
    """The page there; `refused` is what a browser without the token is shown."""
    if path == "refused":
        page.context.clear_cookies()
    page.goto(server.at("/" if path == "refused" else path))
    page.wait_for_timeout(2500)


def test_negative_control_faint_text_and_nameless_buttons_are_found(looked: Any):
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    looked.evaluate("document.querySelector('main').append(document.createElement('button'))")
    looked.evaluate("document.querySelector('h1').style.color = 'rgb(200, 200, 200)'")
    assert any("'Runs'" in line for line in too_faint(looked))
    assert looked.evaluate(NAMELESS) == ["<button></button>"]


def test_negative_control_faint_text_of_charts_is_found(looked: Any, standing: Server):
    looked.add_init_script(WRITING_IS_KEPT)
    visit(looked, standing, "/run?name=rings")
    assert {text["of"] for text in looked.evaluate(TEXTS)} == {"page", "svg", "canvas"}
    assert too_faint(looked) == []
    looked.evaluate(
        """() => {
            document.querySelector("#curves svg text").style.fill = "rgb(200, 200, 200)";
            const context = document.querySelector("#landscape").getContext("2d");
            context.fillStyle = "#cccccc";
            context.fillText("faint", 9, 9);
        }"""
    )
    assert len(too_faint(looked)) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_texts_stand_out_and_all_that_is_used_has_a_name(
    looked: Any, standing: Server, path: str, scheme: str
):
    looked.emulate_media(color_scheme=scheme)
    looked.add_init_script(WRITING_IS_KEPT)
    visit(looked, standing, path)
    for summary in looked.locator("summary:visible").all():
        summary.click()
    assert too_faint(looked) == []
    assert looked.evaluate(NAMELESS) == []
    assert looked.locator("h1").count() == 1
    assert looked.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_shows_a_page_without_scrolling_aside(looked: Any, standing: Server, path: str):
    looked.set_viewport_size({"width": 360, "height": 740})
    visit(looked, standing, path)
    wide = looked.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360


def test_the_keyboard_reaches_all_and_its_place_is_seen(looked: Any):
    looked.keyboard.press("Tab")
    assert looked.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(12):
        looked.keyboard.press("Tab")
        seen.append(looked.evaluate("document.activeElement.textContent.trim()"))
        outline = looked.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert float(outline.removesuffix("px")) >= 2
    assert "Playground" in seen
    assert "Train a recipe" in seen
    assert "rings" in seen


def test_nothing_is_asked_of_another_machine(standing: Server, page: Any):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(standing.address)
    of_run(page, standing, "rings")
    page.wait_for_timeout(1500)
    assert len(asked) > 5
    assert all(url.startswith((standing.at("/"), "data:", "blob:")) for url in asked), asked
    assert json.dumps(asked).count("token=") == 1
