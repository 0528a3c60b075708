"""The figure of a comparison: names, failures and curves of many arms can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stanley.comparing.statistics import verdicts
from stanley.plots.comparison import MOST_INSIDE, comparison, in_words, samples
from tests.seeds import fresh_seed


def record(arms: int, failed: int = 0, seeds: int = 4, scale: float = 1.0) -> dict[str, Any]:
    """Arms with long names that differ at their ends, of which each loses its first seeds."""
    rng = np.random.default_rng(fresh_seed())
    names = [f"adjusted STANLEY element, midpoint, th {k}" for k in range(arms)]
    scores: dict[str, dict[int, float | None]] = {
        name: {s: None if s < failed else scale ** rng.random() for s in range(seeds)}
        for name in names
    }
    return {
        "asked": {"recipe": "rings", "scores": ["kl"]},
        "arms": {
            name: {"runs": [{"seed": s, "along": [[5, v], [9, v]]} for s, v in own.items()]}
            for name, own in scores.items()
        },
        "scores": {"kl": verdicts(scores, names[0], more_is_better=False)},
    }


def test_names_that_differ_at_their_ends_are_told_apart():
    labels = [tick.get_text() for tick in comparison(record(6)).axes[0].get_yticklabels()]
    assert len(set(labels)) == 6
    assert all(label.startswith("adjusted STANLEY element, midpoint, th ") for label in labels)


@pytest.mark.parametrize("scale", [2.0, 1000.0], ids=["linear", "logarithmic"])
def test_what_is_said_of_failures_has_room_beside_the_dots(scale: float):
    """Three tenths of what the dots take, on the right."""
    found = record(3, failed=1, scale=scale)
    ax = comparison(found).axes[0]
    values = [v for own in found["scores"]["kl"].values() for v in own["values"].values() if v]
    place = ax.transAxes.inverted().transform(ax.transData.transform((max(values), 0)))[0]
    assert place < 1 / 1.3
    whole = comparison(record(3, scale=scale)).axes[0]
    dots = [collection.get_offsets() for collection in whole.collections]
    most = max(float(np.max(np.asarray(points)[:, 0])) for points in dots if len(points))
    place = whole.transAxes.inverted().transform(whole.transData.transform((most, 0)))[0]
    assert place > 1 / 1.3  # negative control: where none failed, there is no such room


@pytest.mark.parametrize("arms", [MOST_INSIDE, MOST_INSIDE + 1, 20])
def test_lines_of_many_arms_differ_and_their_names_cover_nothing(arms: int):
    curves = comparison(record(arms)).axes[1]
    lines = {(str(line.get_color()), str(line.get_linestyle())) for line in curves.get_lines()}
    assert len(lines) == len(curves.get_lines()) == arms
    legend = curves.get_legend()
    assert legend is not None
    curves.figure.draw_without_rendering()
    covers = legend.get_window_extent().x0 < curves.get_window_extent().x1
    assert covers == (arms <= MOST_INSIDE)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ("kl", "KL(data‖model), nats"),
        ("fresh.mmd2", "MMD², fresh chains"),
        ("bank.fd_pixels-8x8", "Fréchet distance in pixels-8x8, bank"),
        ("fresh.prdc_cifar.recall", "fresh.prdc_cifar.recall"),
        ("record.loss", "record.loss"),
    ],
)
def test_scores_in_words(score: str, words: str):
    assert in_words(score) == words


def test_data_of_unknown_density_are_a_histogram_beside_the_densities():
    """And draw no contours of a model over themselves."""
    rng = np.random.default_rng(fresh_seed())
    points, grid = rng.normal(size=(300, 2)), np.ones((20, 20)) / 64
    grid[5:9, 5:9] *= 9
    arm = {"title": "A", "note": "", "box": 4.0, "samples": points, "density": grid}
    data = {"title": "data", "note": "held out", "box": 4.0, "samples": points}
    figure = samples([data, arm])
    assert figure is not None
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 2
    counted = np.asarray(shown[0].images[0].get_array())
    assert counted.sum() * 64 / counted.size == pytest.approx((np.abs(points) <= 4).all(1).mean())
    scattered = [ax for ax in figure.axes if ax.collections and not ax.images][:2]
    assert [len(ax.collections) for ax in scattered] == [1, 1]
    # negative control: with a density of the data there are contours
    known = samples([data | {"density": grid}, arm])
    assert known is not None
    scattered = [ax for ax in known.axes if ax.collections and not ax.images][:2]
    assert all(len(ax.collections) > 1 for ax in scattered)
