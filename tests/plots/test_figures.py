"""Every figure becomes a valid file, as it is or at another size, without pyplot; wrong input is
one line.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from stanley.errors import StanleyError
from stanley.plots import (
    Drawing,
    Panel,
    autocorrelation,
    chain_traces,
    densities,
    energy_histograms,
    energy_landscape,
    histogram,
    image_grid,
    labelled_grids,
    learning_curves,
    marginals,
    pairs,
    samples_over_density,
    save,
    write_grid_png,
)
from stanley.plots.figures import number
from tests.seeds import RNG


def records(n, **changed):
    """A run with everything recorded but what `changed` says."""
    rows = [
        {
            "step": t,
            "gap": float(RNG.normal()),
            "energy_pos": float(RNG.normal()),
            "energy_neg": float(RNG.normal()),
            "acceptance": 0.6,
            "step_size": 0.01,
            "scale": 0.5,
            "chain_grad_norm": float(RNG.exponential()),
            "grad_norm": float(RNG.exponential()),
            "learning_rate": 1e-3,
            "nonfinite": 0,
            "spread": 1.0,
        }
        for t in range(1, n + 1)
    ]
    return [{**row, **changed} for row in rows]


def grid(n=40, box=3.0):
    axis = (np.arange(n) + 0.5) / n * 2 * box - box
    density = np.exp(-(axis[:, None] ** 2 + (axis[None, :] - 1) ** 2))
    return density / density.sum() * (n / (2 * box)) ** 2


def check(figure, path):
    save(figure, path)
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.convert("RGB")


FIGURES = {
    "curves": lambda: learning_curves(
        records(40), [{"step": 20, "reason": "gap 1e5 over 100"}], "rings"
    ),
    "one record, keys missing": lambda: learning_curves(
        [{"step": 0, "gap": 1.0, "acceptance": None}]
    ),
    "nothing finite, all zero": lambda: learning_curves(
        records(30, gap=float("nan"), grad_norm=0.0, step_size=0.0, scale=0.0)
    ),
    "densities": lambda: densities(
        [
            Panel("truth", grid(), None, 3.0),
            Panel("A", grid(50), RNG.normal(size=(90, 2)), 3.0, "KL 0.1"),
        ]
    ),
    "samples only": lambda: densities([Panel("A", None, torch.randn(50, 2), 3.0)]),
    "flat density": lambda: densities([Panel("A", np.zeros((4, 4)), np.full((3, 2), np.nan), 3.0)]),
    "landscape": lambda: energy_landscape(-np.log(grid()), 3.0, "E"),
    "flat landscape": lambda: energy_landscape(np.zeros((9, 9)), 3.0),
    "landscape with holes": lambda: energy_landscape(np.where(np.eye(9) > 0, np.nan, 1.0), 3.0),
    "samples over density": lambda: samples_over_density(RNG.normal(size=(9, 2)), grid(), 3.0),
    "images": lambda: image_grid(RNG.integers(0, 256, (5, 1, 28, 28), dtype=np.uint8)),
    "groups": lambda: labelled_grids(
        [
            ("fresh", torch.zeros(1, 3, 8, 8, dtype=torch.uint8)),
            ("bank", np.zeros((7, 1, 8, 8), np.uint8)),
        ]
    ),
    "energies": lambda: energy_histograms(
        {"data": RNG.normal(size=99), "bank": np.array([1e9, np.nan, 0.0])}
    ),
    "equal energies": lambda: energy_histograms({"data": np.ones(3)}),
    "marginals": lambda: marginals(
        {"data": RNG.normal(size=(9, 20)), "fresh": RNG.normal(size=(5, 20))},
        [f"column ${k}" for k in range(20)],
    ),
    "marginals, nothing finite": lambda: marginals({"data": np.full((3, 2), np.nan)}),
    "pairs": lambda: pairs(
        {"data": RNG.normal(size=(9, 3)), "fresh": RNG.normal(size=(3_000, 3))}, ["$a$", "b", "c"]
    ),
    "pairs of one point": lambda: pairs({"samples": np.ones((1, 2))}),
    "pairs, nothing finite": lambda: pairs({"data": np.full((3, 2), np.nan)}),
    "traces": lambda: chain_traces(RNG.normal(size=(30, 20, 3, 4, 4))),
    "one draw, one chain": lambda: chain_traces(np.ones((1, 1))),
    "autocorrelation": lambda: autocorrelation(torch.randn(30, 4, 3, dtype=torch.bfloat16)),
    "constant chain": lambda: autocorrelation(np.ones((10, 1, 1))),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_png_with_something_on_it(name, tmp_path):
    image = check(FIGURES[name](), tmp_path / "deep" / "figure.png")
    assert np.asarray(image).std() > 1
    # no temporary file left
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["figure.png"]


def test_a_long_run_with_a_wild_step(tmp_path):
    rows = records(2_000)
    rows[900]["gap"] = 1e6
    figure = learning_curves(rows)
    gap = figure.axes[0]
    assert gap.get_ylim()[1] < 1e3  # one step does not set the axis, and the panel says it is there
    assert any("1 beyond the axis, the furthest at 1e6" in text.get_text() for text in gap.texts)
    edge = [line for line in gap.lines if line.get_marker() == "^"]
    assert [list(line.get_xdata()) for line in edge] == [[901.0]]
    check(figure, tmp_path / "long.png")


def test_what_is_lost_is_said():
    rows = records(50)
    for row in rows[10:20]:
        row["gap"] = float("nan")
    for row in rows:
        del row["spread"]
    figure = learning_curves(rows)
    said = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert said[0] == ["10 not finite (not drawn)"]
    assert said[1] == []
    for row in rows:
        del row["gap"]
    assert [t.get_text() for t in learning_curves(rows).axes[0].texts] == ["not recorded"]


def test_events_are_lines_and_are_listed():
    figure = learning_curves(records(30), [{"step": 7, "reason": "gap 99 over 10"}])
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) >= 3
    assert all(any(list(line.get_xdata()) == [7, 7] for line in ax.lines) for ax in shown)
    assert "step 7: gap 99 over 10" in figure.get_supxlabel()
    assert learning_curves(records(30)).get_supxlabel() == ""


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]


def test_what_is_the_same_in_every_step_is_told_and_gives_way_to_what_changes():
    """records() has constant acceptance, step size, γ and spread, and nothing else that changes."""
    rows = [{**row, "seconds": 0.1 + RNG.random()} for row in records(30)]
    figure = learning_curves(rows)
    assert titles(figure) == ["Energy gap", "Mean energy", "Gradient norms", "Time of a step"]
    assert "in every step: acceptance 0.6, step size 0.01, γ 0.5, spread of the bank 1" in str(
        figure.get_suptitle()
    )
    rows[7]["acceptance"] = 0.5  # negative control: it changes once, so it is drawn
    assert titles(learning_curves(rows))[2] == "Acceptance rate"
    rows[8]["step_size"] = 0.02
    assert titles(learning_curves(rows))[2] == "Acceptance and step size"


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return image.size


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("size", [(4.0, 3.0), (12.0, 9.0)], ids=["small", "large"])
def test_every_figure_has_the_size_that_is_asked_for(name, size):
    """To the pixel, in all formats."""
    dpi = int(RNG.integers(40, 90))
    figure = FIGURES[name]()
    drawing = Drawing(("png", "pdf", "svg"), dpi, size)
    width, height = pixels(drawing.encoded(figure, "png"))
    # Agg rounds down, and dpi · inches are whole numbers here
    assert (width, height) == (size[0] * dpi, size[1] * dpi)
    pdf, svg = (drawing.encoded(figure, suffix) for suffix in ("pdf", "svg"))
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert box is not None
    assert [float(side) / 72 for side in box.groups()] == pytest.approx(size)
    head = re.search(rb'width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    assert head is not None
    assert [float(side) / 72 for side in head.groups()] == pytest.approx(size)


def test_text_shrinks_with_a_figure_and_images_keep_their_shape():
    x = RNG.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
    figure = labelled_grids([("left", x), ("right", x)], most=4)
    own = figure.get_size_inches()
    texts = [(t.get_text(), float(t.get_fontsize())) for ax in figure.axes for t in ax.texts]
    assert [text for text, _ in texts] == ["left", "4 of 6 images", "right", "4 of 6 images"]
    Drawing(size=(own[0] * 0.7, own[1] * 2)).encoded(figure, "png")
    now = [float(t.get_fontsize()) for ax in figure.axes for t in ax.texts]
    assert now == pytest.approx([0.7 * before for _, before in texts])
    for ax in figure.axes:
        place = ax.get_position()
        assert place.width * own[0] * 0.7 == pytest.approx(place.height * own[1] * 2)


def test_nothing_is_reduced():
    """A grid of noise has all its pixels and colours, however large the file."""
    x = RNG.integers(0, 256, (64, 3, 16, 16), dtype=np.uint8)
    content = Drawing().encoded(image_grid(x), "png")
    with Image.open(io.BytesIO(content)) as image:
        shown = np.asarray(image.convert("RGB"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 0.9 * 64 * 16 * 16


@pytest.mark.parametrize(
    ("drawing", "told"),
    [
        ({"formats": ("gif",)}, "format is 'gif'"),
        ({"formats": ("",)}, "format is ''"),
        ({"formats": ("png", "png")}, "formats are png, png"),
        ({"dpi": 5}, "dpi is 5"),
        ({"dpi": 1201}, "dpi is 1201"),
        ({"size": (0.5, 3.0)}, "size is 0.5x3 inches"),
        ({"size": (5.0, 61.0)}, "size is 5x61 inches"),
        ({"size": (30.0, 20.0), "dpi": 500}, "150 million"),
    ],
    ids=["gif", "empty", "twice", "few dots", "many dots", "small", "large", "many pixels"],
)
def test_a_drawing_that_cannot_be_is_one_line(drawing, told):
    with pytest.raises(StanleyError, match=told) as caught:
        Drawing(**drawing)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_same_figure_is_the_same_file(suffix):
    rows, drawing = records(30), Drawing(size=(6.0, 4.0))
    first, again = (drawing.encoded(learning_curves(rows), suffix) for _ in range(2))
    assert first == again
    rows[3]["gap"] += 1  # negative control
    assert drawing.encoded(learning_curves(rows), suffix) != first


@pytest.mark.parametrize("name", ["densities", "curves"])
def test_no_room_is_one_line_and_nothing_is_written(name, tmp_path):
    figures = {"a": image_grid(np.zeros((1, 1, 2, 2), np.uint8)), "b": FIGURES[name]()}
    with pytest.raises(StanleyError, match="does not fit") as caught:
        Drawing(size=(1.0, 1.0)).write(figures, tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_a_histogram_is_a_density():
    """Its integral is the share of the points inside; shifted points shift it, the right way up."""
    n = int(RNG.integers(200, 4000))
    points = RNG.normal(size=(n, 2)) * [0.2, 0.4] + [1.0, -2.0]
    box = (-1.0, 5.0, -4.0, 2.0)
    inside = ((points >= [-1, -4]) & (points <= [5, 2])).all(1).mean()
    found = histogram(points, box)
    cell = 36 / len(found) ** 2
    assert found.sum() * cell == pytest.approx(inside)
    row, column = np.indices(found.shape)
    at = (np.array([column, row]) + 0.5) * 6 / len(found)
    mean = [(found * at[k]).sum() * cell / inside + (-1.0, -4.0)[k] for k in (0, 1)]
    # a cell's centre is at most half a cell from its points
    assert np.abs(np.array(mean) - points.mean(0)).max() <= 3 / len(found) + 6 * (1 - inside)
    with_lost = np.concatenate([points, np.full((n, 2), np.nan)])
    assert histogram(with_lost, box).sum() * 36 / len(histogram(with_lost, box)) ** 2 == (
        pytest.approx(inside / 2)
    )


def test_densities_share_one_scale_and_one_shape():
    figure = densities([Panel("truth", grid(), None, 3.0), Panel("spike", 9 * grid(), None, 3.0)])
    first, second = (ax.images[0] for ax in figure.axes[:2])
    assert first.get_clim() == second.get_clim() == (0.0, grid().max())
    assert {ax.get_aspect() for ax in figure.axes[:2]} == {1.0}
    assert figure.axes[2].get_ylabel() == "density"


def test_the_density_is_the_right_way_up():
    """grid() peaks at x = +1, y = 0: the brightest cell of the picture as well,
    in data coordinates.
    """
    image = densities([Panel("truth", grid(60), None, 3.0)]).axes[0].images[0]
    shown = np.asarray(image.get_array())
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    left, right, bottom, top = image.get_extent()
    assert abs(left + (column + 0.5) / 60 * (right - left) - 1) <= 0.1
    assert abs(bottom + (row + 0.5) / 60 * (top - bottom)) <= 0.1
    assert image.origin == "lower"


def test_samples_outside_the_box_are_counted():
    samples = np.array([[0.0, 0.0], [9.0, 0.0], [np.nan, 0.0], [0.0, -np.inf]])
    ax = densities([Panel("A", None, samples, 3.0)]).axes[0]
    assert "4 samples · 3 outside the box" in [text.get_text() for text in ax.texts]
    assert len(ax.collections[0].get_offsets()) == 1


def test_every_finite_energy_inside_the_axis_is_in_the_histogram():
    value = np.concatenate([RNG.normal(size=500), [1e6, np.inf]])
    figure = energy_histograms({"data": value, "bank": RNG.normal(size=200) + 3})
    heights = figure.axes[0].patches[0].get_data().values
    inside = (
        (value >= figure.axes[0].get_xlim()[0]) & (value <= figure.axes[0].get_xlim()[1])
    ).sum()
    assert heights.sum() == pytest.approx(inside / 502)
    assert f"{501 - inside} outside the axis · 1 not finite" in figure.axes[0].get_title(
        loc="right"
    )
    assert figure.axes[0].get_xlim()[1] < 100


WRONG = {
    "no records": lambda: learning_curves([]),
    "no step": lambda: learning_curves([{"gap": 1.0}]),
    "a word": lambda: learning_curves([{"step": 1, "gap": "high"}]),
    "event without step": lambda: learning_curves(records(2), [{"reason": "?"}]),
    "no panels": lambda: densities([]),
    "empty panel": lambda: densities([Panel("A")]),
    "two boxes": lambda: densities([Panel("A", grid(), None, 3.0), Panel("B", grid(), None, 4.0)]),
    "oblong density": lambda: densities([Panel("A", np.ones((3, 4)))]),
    "log density": lambda: densities([Panel("A", np.log(grid()))]),
    "no box": lambda: samples_over_density(np.ones((3, 2)), grid(), 0.0),
    "samples in 3-d": lambda: samples_over_density(np.ones((3, 3)), grid(), 3.0),
    "energy all NaN": lambda: energy_landscape(np.full((3, 3), np.nan), 3.0),
    "float images": lambda: image_grid(np.zeros((2, 3, 4, 4))),
    "channels last": lambda: image_grid(np.zeros((2, 4, 4, 3), np.uint8)),
    "no images": lambda: image_grid(np.zeros((0, 3, 4, 4), np.uint8)),
    "no columns": lambda: image_grid(np.zeros((2, 3, 4, 4), np.uint8), columns=0),
    "no groups": lambda: labelled_grids([]),
    "no vectors": lambda: marginals({}),
    "columns differ": lambda: marginals({"a": np.ones((3, 2)), "b": np.ones((3, 3))}),
    "names differ": lambda: marginals({"a": np.ones((3, 2))}, ["x"]),
    "pairs of one column": lambda: pairs({"a": np.ones((3, 1))}),
    "pairs of seven columns": lambda: pairs({"a": np.ones((3, 7))}),
    "no energies": lambda: energy_histograms({}),
    "no finite energy": lambda: energy_histograms({"data": np.array([np.nan])}),
    "energies in 2-d": lambda: energy_histograms({"data": np.ones((2, 2))}),
    "one draw": lambda: autocorrelation(np.ones((1, 3, 2))),
    "lag": lambda: autocorrelation(np.ones((5, 3, 2)), max_lag=5),
    "draws in 1-d": lambda: chain_traces(np.ones(5)),
    "lost draws": lambda: chain_traces(np.full((5, 1), np.nan)),
    "no such coordinate": lambda: chain_traces(np.ones((5, 1, 2)), coordinates=[2]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_line(name):
    with pytest.raises(StanleyError) as caught:
        WRONG[name]()
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    images = np.zeros((1, 1, 2, 2), np.uint8)
    with pytest.raises(StanleyError, match="PNG, PDF or SVG"):
        save(image_grid(images), tmp_path / "figure.jpg")
    for path in (tmp_path / "figure.jpg", tmp_path / "file" / "figure.png"):
        with pytest.raises(StanleyError) as caught:
            write_grid_png(images, path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (-2.0, "−2"),
        (1e-17, "0"),
        (25_000, "25,000"),
        (1e7, "1e7"),
        (-1e-7, "−1e−7"),
        (1e12, "1e12"),
    ],
)
def test_numbers_on_an_axis(value, text):
    assert number(value) == text


def test_import_costs_no_matplotlib_and_drawing_no_pyplot():
    program = (
        "import sys, numpy as np, stanley.plots as p\n"
        "assert not any(m.startswith('matplotlib') for m in sys.modules), 'import is not lazy'\n"
        "p.image_grid(np.zeros((1, 1, 2, 2), np.uint8)).canvas.draw()\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules, 'pyplot'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
