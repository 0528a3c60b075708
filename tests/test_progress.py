"""Bars and pictures in a terminal: what is shown is what was given, it costs little, and where a
terminal cannot show it, it is not there.
"""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from stanley import progress
from stanley.progress import OFTEN, REST, UPPER, Bar, HalfBlocks, Rest, room_for_pictures
from tests.seeds import RNG


def console(color_system="truecolor", width=100, height=40, terminal=True, **more):
    return Console(
        file=io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True),
        force_terminal=terminal,
        color_system=color_system,
        width=width,
        height=height,
        legacy_windows=False,
        _environ=more.pop("environ", {"TERM": "xterm"}),
        **more,
    )


def written(on: Console) -> str:
    on.file.seek(0)
    return on.file.read()


def decoded(text: str) -> np.ndarray:
    """The pixels of half blocks in true colours, by the escape sequences alone."""
    rows = []
    for line in text.splitlines():
        if UPPER not in line:
            continue
        upper, lower = [], []
        top = bottom = None
        for codes, blocks in re.findall(rf"\x1b\[([\d;]*)m|({UPPER}+)", line):
            seen = {
                ground: tuple(map(int, rgb))
                for ground, *rgb in re.findall(r"([34]8);2;(\d+);(\d+);(\d+)", codes)
            }
            top, bottom = seen.get("38", top), seen.get("48", bottom)
            upper += [top] * len(blocks)
            lower += [bottom] * len(blocks)
        rows += [upper] + ([lower] if lower[0] is not None else [])
    return np.array(rows, np.uint8)


@pytest.mark.parametrize("height", [2, 7, 8], ids=["two", "odd", "even"])
@pytest.mark.parametrize("colours", [2, 256], ids=["long runs", "noise"])
def test_half_blocks_are_the_pixels(height, colours):
    """Read back from the escape sequences, every pixel is what was given."""
    palette = RNG.integers(0, 256, (colours, 3), dtype=np.uint8)
    pixels = palette[RNG.integers(0, colours, (height, 30))]
    on = console()
    on.print(HalfBlocks(pixels))
    np.testing.assert_array_equal(decoded(written(on)), pixels)


class Still:
    """A picture that counts how often it is asked for."""

    title = "a picture"

    def __init__(self, pixels: np.ndarray | None) -> None:
        self.given, self.asked = pixels, 0

    def pixels(self) -> np.ndarray | None:
        self.asked += 1
        return self.given


def shown_on(monkeypatch, on: Console, picture: Still) -> str:
    monkeypatch.setattr(progress, "terminal", lambda: on)
    with Bar("training", 3, picture=picture) as bar:
        for k in (1, 2, 3):
            if bar.due(k):
                bar.draw(k, "gap 1")
    return written(on)


def test_a_picture_stands_above_the_bar(monkeypatch):
    pixels = RNG.integers(0, 256, (8, 20, 3), dtype=np.uint8)
    picture = Still(pixels)
    text = shown_on(monkeypatch, console(), picture)
    last = text[text.rindex("a picture") :]
    np.testing.assert_array_equal(decoded(last), pixels)
    assert last.index(UPPER) < last.index("3/3")


UNABLE = {
    "a pipe": {"terminal": False},
    "no colours": {"no_color": True},
    "NO_COLOR": {"environ": {"TERM": "xterm", "NO_COLOR": "1"}},
    "sixteen colours": {"color_system": "standard"},
    "none": {"color_system": None},
    "a dumb terminal": {"environ": {"TERM": "dumb"}},
    "narrow": {"width": 59},
    "low": {"height": 21},
}


@pytest.mark.parametrize("how", UNABLE)
def test_a_terminal_that_cannot_show_it_has_the_bar_alone(how, monkeypatch):
    on, picture = console(**UNABLE[how]), Still(np.zeros((8, 20, 3), np.uint8))
    assert room_for_pictures(on) is None
    text = shown_on(monkeypatch, on, picture)
    assert picture.asked == 0
    assert UPPER not in text
    # negative control
    assert room_for_pictures(console()) == (100, 40)


def test_a_stream_without_half_blocks_has_no_picture():
    on = console()
    on.file.reconfigure(encoding="ascii")
    assert room_for_pictures(on) is None


def test_nothing_to_see_leaves_the_former_picture(monkeypatch):
    picture = Still(None)
    assert UPPER not in shown_on(monkeypatch, console(), picture)
    assert picture.asked > 0


def test_pictures_take_less_than_a_hundredth_of_the_time(monkeypatch):
    """By a clock that only painting and writing move, beside steps of training of 10 ms: with the
    picture's cost drawn anew each time, after the first two.
    """
    now, spent = [0.0], [0.0]

    def work(seconds):
        now[0] += seconds
        spent[0] += seconds

    class Slow(Still):
        def pixels(self):
            work(0.05 * RNG.random())
            return super().pixels()

    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    on = console()
    monkeypatch.setattr(progress, "terminal", lambda: on)
    with Bar("training", 10**9, picture=Slow(np.zeros((8, 20, 3), np.uint8))) as bar:
        update = bar.progress.update
        monkeypatch.setattr(
            bar.progress, "update", lambda *a, **k: (work(0.01 * RNG.random()), update(*a, **k))
        )
        for k in range(1, 60_000):
            now[0] += 0.01
            if bar.due(k):
                bar.draw(k, "")
    # by the shorter of two costs: the mean of U(0, 1) over that of the least of two is 3/2
    assert spent[0] / now[0] < 2 * 1.5 / REST + 0.1 / 600
    assert spent[0] > 0.05  # negative control: it was painted


def test_one_slow_time_is_not_waited_for():
    rest = Rest()
    rest.took(5.0)  # the first, which loads what it needs
    assert rest.seconds == 0
    rest.took(0.01)
    assert rest.seconds == pytest.approx(REST * 0.01)
    rest.took(3.0)  # another process was in between
    assert rest.seconds == pytest.approx(REST * 0.01)
    rest.took(3.0)
    assert rest.seconds == pytest.approx(REST * 3.0)


def test_a_bar_without_a_picture_is_drawn_as_often_as_before(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    on = console(terminal=False)
    monkeypatch.setattr(progress, "terminal", lambda: on)
    with Bar("chains", 10) as bar:
        assert bar.due(1)
        bar.draw(1, "")
        assert not bar.due(2)
        now[0] += 1.01 * OFTEN
        assert bar.due(2)
        bar.draw(2, "")
        assert bar.due(10)  # the last one always
    assert not Bar("chains", 10, enabled=False).due(10)
