"""The playground in Debian's Chromium: chains that move, controls, what is told of a wrong one."""

from __future__ import annotations

from typing import Any

import pytest

from ..browsing import Server
from .test_browser import wait

pytestmark = pytest.mark.browser

STEP = "Number(document.querySelector('#panels').dataset.step ?? 0)"
PICTURE = "document.querySelectorAll('.sampler canvas')[{}].toDataURL()"


@pytest.fixture
def played(standing: Server, page: Any) -> Any:
    """The playground as it is first seen, once its chains move."""
    page.goto(standing.address)
    page.goto(standing.at("/playground"))
    page.wait_for_selector(".sampler canvas")
    wait(page, f"{STEP} > 0")
    return page


def test_what_is_first_seen_moves_and_can_be_stopped(played: Any):
    assert played.locator(".sampler").count() == 3
    before = [played.evaluate(PICTURE.format(k)) for k in range(3)]
    wait(played, f"{STEP} > {played.evaluate(STEP)} + 20")
    after = [played.evaluate(PICTURE.format(k)) for k in range(3)]
    assert all(a != b for a, b in zip(before, after, strict=True))
    played.get_by_role("button", name="Pause").click()
    played.wait_for_timeout(500)
    held, picture = played.evaluate(STEP), played.evaluate(PICTURE.format(0))
    played.wait_for_timeout(700)
    assert (played.evaluate(STEP), played.evaluate(PICTURE.format(0))) == (held, picture)
    played.get_by_role("button", name="One step").click()
    wait(played, f"{STEP} === {held} + 1")
    played.get_by_role("button", name="Start again").click()
    wait(played, f"{STEP} === 0")


def test_chains_that_stand_still_stay_in_another_window(played: Any):
    played.get_by_role("button", name="Pause").click()
    shown, before = "", played.evaluate(PICTURE.format(0))
    while shown != before:
        shown = before
        played.wait_for_timeout(700)
        before = played.evaluate(PICTURE.format(0))
    played.evaluate(f"window.before = {PICTURE.format(0)}")
    side = "document.querySelector('.sampler canvas').width"
    whole = played.evaluate(side)
    played.set_viewport_size({"width": 1000, "height": 900})
    wait(played, f"{side} !== {whole}")
    assert played.evaluate(PICTURE.format(0)) != before
    played.set_viewport_size({"width": 1280, "height": 900})
    wait(played, f"{PICTURE.format(0)} === window.before")


def test_a_sampler_in_another_is_called_by_both(played: Any):
    names = [title.inner_text() for title in played.locator(".sampler h2").all()]
    assert names == ["langevin", "stanley", "adjusted stanley"]
    tops = [box.bounding_box()["y"] for box in played.locator(".sampler canvas").all()]
    assert tops == [tops[0]] * 3  # pictures that are compared are level


def test_another_sampler_and_another_step_size(played: Any):
    panel = played.locator(".sampler").first
    panel.get_by_label("Sampler 1: kind").select_option("mala")
    wait(played, "document.querySelector('.sampler canvas').ariaLabel.includes('Sampler 1, MALA')")
    wait(played, "/acceptance0\\./.test(document.querySelector('.sampler dl').textContent)")
    panel.get_by_label("step size", exact=True).fill("0.5")
    panel.get_by_label("step size", exact=True).press("Enter")
    wait(played, "document.querySelector('.sampler canvas').ariaLabel.includes('0.5')")
    assert "MALA(step_size=0.5)" in panel.locator("pre").text_content()


def test_a_wrong_value_is_told_beside_its_sampler_and_a_right_one_goes_on(played: Any):
    panel = played.locator(".sampler").nth(1)
    size = panel.get_by_label("step size", exact=True)
    size.fill("-1")
    size.press("Enter")
    panel.get_by_text("step_size is -1").wait_for()
    assert size.get_attribute("aria-invalid") == "true"
    assert played.locator("#run").inner_text() == "Play"  # what was watched stands still
    size.fill("0.02")
    size.press("Enter")
    panel.locator(".wrong").wait_for(state="hidden")
    wait(played, f"{STEP} > 3")
    assert played.locator("#run").inner_text() == "Pause"


def test_another_density_and_one_panel_more(played: Any):
    played.locator("select[name=density]").select_option("ill-conditioned")
    wait(played, "document.querySelector('.sampler canvas').ariaLabel.includes('ill-conditioned')")
    assert played.locator("select[name=across]").is_visible()
    played.get_by_role("button", name="Add a sampler").click()
    wait(played, "document.querySelectorAll('.sampler').length === 4")
    assert not played.get_by_role("button", name="Add a sampler").is_visible()
    played.get_by_label("Remove Sampler 4").click()
    wait(played, "document.querySelectorAll('.sampler').length === 3")


def test_who_wants_no_motion_begins_still(standing: Server, browser: Any):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(standing.address)
    page.goto(standing.at("/playground"))
    page.get_by_role("button", name="Play").wait_for()
    page.wait_for_timeout(1500)
    assert page.evaluate(STEP) == 0
    context.close()


def test_a_run_of_the_folder_is_watched_from_its_page(standing: Server, page: Any):
    page.goto(standing.address)
    page.goto(standing.at("/run?name=rings"))
    page.get_by_role("link", name="In the playground").click()
    wait(page, "document.querySelector('.sampler canvas')?.ariaLabel.includes('density ./rings')")
    wait(page, f"{STEP} > 3")
