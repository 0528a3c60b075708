"""A comparison on paper: seeds, means, intervals and failures, scores along training, samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stanley.comparing.panels import panels
from stanley.comparing.tables import heading, named, ordered
from stanley.errors import StanleyError
from stanley.plots.density import NAMES, Panel, densities, histogram
from stanley.plots.figures import (
    CYCLE,
    INK,
    LABEL,
    MUTED,
    SMALL,
    VERMILION,
    Drawing,
    dress,
    in_numbers,
    joined,
    label,
    new_figure,
)
from stanley.plots.images import labelled_grids

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SCORES = 3  # scores that are drawn; the tables have all
#: What stands at an axis for a score.
WORDS = {
    "kl": "KL(data‖model), nats",
    "tv": "total variation",
    "nll_held_out": "held-out -log p, nats",
    "seconds": "seconds",
    "bias2": "b², squared error",
    "gradients_to_bias2": "gradients a chain until b² < 0.01",
    "ess_per_gradient": "ESS per gradient",
    "ess_per_second": "ESS per second",
    "rhat": "R̂",
}
#: The samples that a score is of, and what it is.
WHOSE = {"fresh": "fresh chains", "bank": "bank"}
DISTANCES = {
    "mmd2": "MMD²",
    "fd": "Fréchet distance",
    "kd": "kernel distance",
    "fid": "FID",
    "kid": "KID",
    "score": "class score",
}
LEAST_RATIO = 8  # of scores, all positive, from which on their axis is logarithmic
LONGEST = 48  # characters of an arm's name that are shown
DASHES = ("-", "--", ":", "-.")  # of the lines whose colours come back
MOST_INSIDE = 5  # arms whose names stand inside the curves, with the range of each
ROOM = 0.3  # of an axis, for what is said of seeds that failed
COLUMNS = 8  # pictures side by side in the samples of one arm


def comparison(result: dict[str, Any]) -> Figure:
    """Every seed as a dot, the mean as a line and its interval as a bar, the best arm on top;
    failed seeds are crosses beside them. Below it a score along the runs, if it is known.

    result   what `comparing.compare` returns, or the contents of comparison.json
    """
    scores = result["asked"]["scores"][:MOST_SCORES]
    arms = ordered(result, scores[0])
    curves = {arm: along(result, arm) for arm in arms}
    learned = any(len(curve) > 1 for curve in curves.values())
    longest = max(len(label(named(result, arm), LONGEST)) for arm in arms)
    left = 0.9 + 0.062 * longest
    height = 0.9 + 0.36 * len(arms)
    below = 2.6 if len(arms) <= MOST_INSIDE else 0.8 + 0.2 * len(arms)
    figure = new_figure(left + 2.9 * len(scores), height + (below if learned else 0))
    rows = figure.add_gridspec(2 if learned else 1, 1, height_ratios=[height, below][: 1 + learned])
    top = rows[0].subgridspec(1, len(scores))
    first: Axes | None = None
    for k, score in enumerate(scores):
        first = ax = (
            figure.add_subplot(top[k], sharey=first) if first else figure.add_subplot(top[k])
        )
        dots(ax, result, score, arms)
        if k:
            ax.tick_params(labelleft=False)
    if learned:
        score, of = along_what(result)
        learning(figure.add_subplot(rows[1]), score, of, curves)
    title = heading(result, scores[0]).partition(":")
    figure.suptitle(
        f"{title[0]}, {title[2].rpartition(';')[2].strip()}; line: mean, bar: 95 % interval",
        x=0.01,
        ha="left",
        fontsize=LABEL,
        color=MUTED,
    )
    return figure


def dots(ax: Axes, result: dict[str, Any], score: str, arms: list[str]) -> None:
    """One score of all arms, an arm a row."""
    found = result["scores"][score]
    shown = [found[arm] for arm in arms if arm in found]
    every = [v for own in shown for v in own["values"].values() if v is not None]
    log = bool(every) and min(every) > 0 and max(every) > LEAST_RATIO * min(every)
    if log:
        ax.set_xscale("log")
    dress(ax, "", in_words(score))
    if log:
        in_numbers(ax.xaxis, max(every) / min(every))
    for row, arm in enumerate(arms):
        if arm not in found:  # it cannot have this score
            continue
        own, colour = found[arm], colour_of(result, arm)
        values = [v for v in own["values"].values() if v is not None]
        spread = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(len(values))
        ax.scatter(values, row + spread, s=16, color=colour, alpha=0.75, linewidths=0, zorder=3)
        if own["interval"] is not None:
            line(ax, own["interval"], (row, row), color=colour, linewidth=5, alpha=0.25, zorder=2)
        if own["mean"] is not None:
            ends = (row - 0.3, row + 0.3)
            line(ax, (own["mean"],) * 2, ends, color=INK, linewidth=1.4, zorder=4)
        if own["failed"]:
            words = f"× {own['failed']} failed"
            ax.annotate(
                words,
                (1, row),
                (-2, 0),
                ("axes fraction", "data"),
                "offset points",
                ha="right",
                va="center",
                fontsize=SMALL,
                color=VERMILION,
                fontweight="bold",
            )
    ax.set_yticks(range(len(arms)), [label(named(result, arm), LONGEST) for arm in arms])
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.yaxis.grid(visible=False)
    if every and any(own["failed"] for own in found.values()):
        low, high = ax.get_xlim()
        ax.set_xlim(low, high * (high / low) ** ROOM if log else high + ROOM * (high - low))
    if not every:
        ax.set_xticks([])


def line(ax: Axes, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
    """Straight, with its ends where they are given. `vlines` and `hlines` ask for the limits of a
    logarithmic axis before there are two points on it."""
    ax.plot(x, y, solid_capstyle="butt", **style)


def learning(ax: Axes, score: str, of: str, curves: dict[str, Any]) -> None:
    """The score along the runs: the mean over seeds, and the range of all of them, which is left
    out where many arms would lie on each other.
    """
    every = [v for curve in curves.values() for _, values in curve for v in values]
    log = bool(every) and min(every) > 0 and max(every) > LEAST_RATIO * min(every)
    if log:
        ax.set_yscale("log")
    few = len(curves) <= MOST_INSIDE
    if of != "iteration":
        ax.set_xscale("log")
    at = [step for curve in curves.values() for step, _ in curve]
    dress(ax, "", of, f"{in_words(score)}: mean{', range' if few else ''}")
    if log:
        in_numbers(ax.yaxis, max(every) / min(every))
    if of != "iteration" and min(at, default=0) > 0:
        in_numbers(ax.xaxis, max(at) / min(at))
    for k, (arm, curve) in enumerate(curves.items()):
        if not curve:
            continue
        steps = [step for step, _ in curve]
        means = [float(np.mean(values)) for _, values in curve]
        colour, dashes = CYCLE[k % len(CYCLE)], DASHES[k // len(CYCLE) % len(DASHES)]
        if few:
            least, most = [min(values) for _, values in curve], [max(v) for _, v in curve]
            ax.fill_between(steps, least, most, color=colour, alpha=0.15, linewidth=0)
        ax.plot(
            steps,
            means,
            color=colour,
            linestyle=dashes,
            marker="o",
            markersize=3,
            linewidth=1.4,
            label=label(arm, LONGEST),
        )
    beside = {} if few else {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    ax.legend(frameon=False, fontsize=SMALL, labelcolor=INK, **beside)


def along_what(result: dict[str, Any]) -> tuple[str, str]:
    """Which score is known along the runs, and along what."""
    told = result.get("along", {"score": result["asked"]["scores"][0], "of": "iteration"})
    return told["score"], told["of"]


def in_words(score: str) -> str:
    """A score as a person would call it; a name that is not known stays as it is."""
    whose, _, name = score.rpartition(".")
    kind, _, features = name.partition("_")
    if score in WORDS or whose not in WHOSE:
        return WORDS.get(score, score)
    if kind in DISTANCES:
        what = f"{DISTANCES[kind]} in {label(features)}" if features else DISTANCES[kind]
        return f"{what}, {WHOSE[whose]}"
    return score


def along(result: dict[str, Any], arm: str) -> list[tuple[int, list[float]]]:
    """(step, the score of every seed that had one there)."""
    found: dict[int, list[float]] = {}
    for run in result["arms"][arm]["runs"]:
        for step, value in run["along"]:
            if value is not None:
                found.setdefault(step, []).append(value)
    return sorted(found.items())


def colour_of(result: dict[str, Any], arm: str) -> str:
    """The same in every part of the figure."""
    arms = ordered(result, result["asked"]["scores"][0])
    return CYCLE[arms.index(arm) % len(CYCLE)]


def samples(shown: list[dict[str, Any]]) -> Figure | None:
    """What the arms learned, beside the truth; None where there is nothing to draw."""
    if not shown:
        return None
    if "images" in shown[0]:
        groups = [(f"{label(p['title'])}: {p['note']}", p["images"]) for p in shown]
        return labelled_grids(groups, columns=COLUMNS)
    box = shown[0]["box"]
    first, second = map(label, shown[0]["names"]) if "names" in shown[0] else NAMES
    both = any("density" in p and "samples" in p for p in shown)
    panels = []
    for p in shown:
        points, density = p.get("samples"), p.get("density")
        binned = both and density is None  # no density is known of the data
        if both and density is None and points is not None:
            density = histogram(points, box)
        note = joined([p["note"], "histogram" if binned else ""])
        names = (first, second)
        panels.append(Panel(label(p["title"]), density, points, box, note, names, binned))
    return densities(panels)


def figures_of_comparison(result: dict[str, Any], folder: Path) -> dict[str, Figure]:
    """`comparison`, and `samples` where the runs in the folder can be drawn."""
    figures = {"comparison": comparison(result)}
    try:
        drawn = samples(panels(result, folder))
    except StanleyError as error:  # data that are not there any more
        drawn = None
        import warnings

        warnings.warn(f"samples are not drawn: {error}", stacklevel=2)
    return figures if drawn is None else figures | {"samples": drawn}


def write_figures(result: dict[str, Any], folder: Path, drawing: Drawing) -> list[Path]:
    """comparison.EXT, and samples.EXT where the runs can be drawn, in every format."""
    return drawing.write(figures_of_comparison(result, folder), folder)
