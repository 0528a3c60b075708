"""The learning curves of a training run: three to eight panels from its records."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stanley.errors import StanleyError, require
from stanley.plots.decimate import decimate, running_median
from stanley.plots.figures import (
    BLUE,
    GREEN,
    LABEL,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    TITLE,
    VERMILION,
    dress,
    in_numbers,
    joined,
    key_above,
    new_figure,
    number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]

#: If all values span more than this many times the middle 99 %, the axis leaves out the far ones,
#: and a note under the panel counts them.
FAR = 10.0
#: The numbers of a record that are drawn or told.
KEYS = (
    "gap",
    "energy_pos",
    "energy_neg",
    "acceptance",
    "step_size",
    "scale",
    "chain_grad_norm",
    "grad_norm",
    "spread",
    "learning_rate",
    "seconds",
    "nonfinite",
    "score_loss",
    "level_loss",
)
#: What a number that is the same in every step is called in the line on top.
WORDS = {
    "acceptance": "acceptance",
    "step_size": "step size",
    "scale": "γ",
    "spread": "spread of the bank",
}


@dataclass(frozen=True)
class Series:
    """One quantity over the run, without the `lost` values that are not finite."""

    step: np.ndarray  # (n,) ascending
    value: np.ndarray  # (n,) finite
    lost: int

    @classmethod
    def of(cls, records: Sequence[Record], key: str) -> Series:
        rows = [(r["step"], r[key]) for r in records if r.get(key) is not None]
        try:
            step, value = (np.array([row[i] for row in rows], dtype=np.float64) for i in (0, 1))
        except (TypeError, ValueError) as error:
            raise StanleyError(
                f"records: {key!r} holds a value that is not a number ({error}); leave it out"
            ) from error
        finite = np.isfinite(value)
        order = np.argsort(step[finite], kind="stable")
        return cls(step[finite][order], value[finite][order], int((~finite).sum()))

    def positive(self) -> Series:
        kept = self.value > 0
        return Series(self.step[kept], self.value[kept], self.lost)

    def __bool__(self) -> bool:
        return len(self.value) > 0


def learning_curves(
    records: Sequence[Record], events: Sequence[Record] | None = None, title: str | None = None
) -> Figure:
    """The learning curves of a training run, three to eight panels.

    With chains they show the energy gap, the mean energies, acceptance and step size, the mean
    scale γ, gradient norms, and the spread of the bank; with denoising its loss. What is the same
    in every step (the acceptance of a sampler that never rejects, γ of one without a scale) is told
    in the line on top, and in its panel's place there is another: the learning rate, the time of a
    step, the chains that are not finite.

    records  one mapping per step with "step" and any of gap, energy_pos, energy_neg, acceptance,
             step_size, scale, chain_grad_norm, grad_norm, spread, score_loss, level_loss,
             learning_rate, seconds, nonfinite. A key may be missing or None.
    events   mappings with "step" and "reason" (rolled back, …), drawn as dotted lines and listed
             below the panels

    Runs of more than 400 steps are drawn as the median of each bin, in a band from its smallest to
    its largest value, so that no spike is lost. Values that are not finite or beyond the axis are
    counted under their panel.
    """
    require(len(records) > 0, "records is empty; train for at least one step first")
    for i, record in enumerate(records):
        require(
            _is_step(record.get("step")),
            f'record {i} has no finite "step", but every record must have one',
        )
    for i, event in enumerate(events or ()):
        require(_is_step(event.get("step")), f'event {i} has no finite "step"; leave it out')
    series = {key: Series.of(records, key) for key in KEYS}
    chains, denoised = any("gap" in r for r in records), any("score_loss" in r for r in records)
    panels = [*(DENOISING if denoised else ()), *(CHAINS if chains or not denoised else ())]
    panels.append(gradient_norms)
    wanted = 3 if not (chains or not denoised) else 8 if denoised else 6
    panels += [spread] if chains or not denoised else []
    told = [draw for draw in panels if not says_nothing(draw, series)]
    spare = [draw for draw in INSTEAD if not says_nothing(draw, series)]
    drawn = [*told, *spare[: max(0, wanted - len(told))]] or panels[:1]

    columns = min(len(drawn), 4 if len(drawn) in (4, 7, 8) else 3)
    rows = math.ceil(len(drawn) / columns)
    figure = new_figure(4.4 * columns, 3.3 * rows)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel().tolist()
    for ax in axes[len(drawn) :]:
        ax.set_visible(False)
    axes = axes[: len(drawn)]
    for ax, draw in zip(axes, drawn, strict=True):
        draw(ax, series)

    steps = [float(r["step"]) for r in records]
    for ax in axes:
        _finish(ax, min(steps), max(steps), events or ())
    left_out = [draw for draw in panels if draw not in told]
    heading = joined([title or "", _summary(len(records), max(steps), series, left_out)])
    figure.suptitle(heading, fontsize=LABEL, color=MUTED, x=0.01, ha="left")
    if events:
        figure.supxlabel(_event_list(events), fontsize=SMALL, color=PURPLE, x=0.01, ha="left")
    return figure


def _is_step(value: Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def energy_gap(ax: Axes, series: Mapping[str, Series]) -> None:
    gap = series["gap"]
    dress(ax, "Energy gap", ylabel="E(data) − E(samples)")
    if not gap:
        return _absent(ax, gap)
    label = "each step" if len(gap.value) <= 400 else "range"
    _draw(ax, gap, BLUE, label, faint=True)
    if len(gap.value) >= 20:
        step, medians, window = running_median(gap.step, gap.value)
        ax.plot(step, medians, color=BLUE, linewidth=1.7, label=f"median of {window:,} steps")
        key_above(ax)
    ax.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    _fit(ax, [gap])
    return None


def mean_energies(ax: Axes, series: Mapping[str, Series]) -> None:
    lines = [("data", series["energy_pos"], BLUE), ("samples", series["energy_neg"], VERMILION)]
    _lines(ax, "Mean energy", "energy E", lines)


def denoising_loss(ax: Axes, series: Mapping[str, Series]) -> None:
    """Both terms, of which the first is 1 where E knows the data's spread alone."""
    lines = [("score", series["score_loss"], BLUE), ("noise level", series["level_loss"], ORANGE)]
    _lines(ax, "Denoising loss", "error (log scale; score: 1 is a Gaussian)", lines, log=True)


def gradient_norms(ax: Axes, series: Mapping[str, Series]) -> None:
    of_weights = ("∇E, parameters", series["grad_norm"], BLUE)
    of_points = ("∇U, chains", series["chain_grad_norm"], VERMILION)
    _lines(ax, "Gradient norms", "norm (log scale)", [of_weights, of_points], log=True)


def spread(ax: Axes, series: Mapping[str, Series]) -> None:
    _lines(
        ax, "Spread of the bank", "median distance (in data sd)", [("", series["spread"], GREEN)]
    )


def learning_rate(ax: Axes, series: Mapping[str, Series]) -> None:
    _lines(ax, "Learning rate", "learning rate", [("", series["learning_rate"], BLUE)])


def time_of_a_step(ax: Axes, series: Mapping[str, Series]) -> None:
    _lines(ax, "Time of a step", "seconds (log scale)", [("", series["seconds"], SKY)], log=True)


def lost_chains(ax: Axes, series: Mapping[str, Series]) -> None:
    _lines(ax, "Chains that are not finite", "chains", [("", series["nonfinite"], VERMILION)])


def _lines(
    ax: Axes, title: str, ylabel: str, lines: list[tuple[str, Series, str]], log: bool = False
) -> None:
    if log:
        ax.set_yscale("log")
    dress(ax, title, ylabel=ylabel)
    drawn = []
    for name, series, colour in lines:
        shown = series.positive() if log else series
        if shown:
            _draw(ax, shown, colour, name or None)
            drawn.append(series)
    if not drawn:
        return _absent(ax, *(series for _, series, _ in lines))
    key_above(ax)
    if log:
        values = np.concatenate([s.positive().value for s in drawn])
        in_numbers(ax.yaxis, float(values.max() / values.min()))
    return _fit(ax, drawn, log)


def acceptance_and_step_size(ax: Axes, series: Mapping[str, Series]) -> None:
    """One of them alone where the other is the same in every step."""
    acceptance, step_size = series["acceptance"], series["step_size"]
    if not acceptance and not step_size:
        dress(ax, "Acceptance and step size")
        return _absent(ax, acceptance, step_size)
    if is_constant(acceptance):
        dress(ax, "Step size", ylabel="step size h")
        _draw(ax, step_size, ORANGE)
        _positive_axis(ax, step_size)
        return _note(ax, [step_size])
    dress(ax, "Acceptance rate" if is_constant(step_size) else "Acceptance and step size")
    _draw(ax, acceptance, BLUE)
    ax.set_ylim(-0.02, 1.04)
    ax.set_ylabel("acceptance rate", color=BLUE)
    if is_constant(step_size):
        return _note(ax, [acceptance])
    other = ax.twinx()
    dress(other)
    other.grid(False)
    other.spines["left"].set_visible(False)
    _draw(other, step_size, ORANGE)
    _positive_axis(other, step_size)
    other.set_ylabel("step size h", color="#A66F00")
    return _note(ax, [acceptance, step_size])


def mean_scale(ax: Axes, series: Mapping[str, Series]) -> None:
    scale = series["scale"]
    dress(ax, "Mean scale γ", ylabel="mean γ (1: full drift)")
    if not scale:
        return _absent(ax, scale)
    _draw(ax, scale, PURPLE)
    if scale.value.max() <= 1.0001 and scale.value.min() > 0.05:
        ax.set_ylim(0, 1.04)
    else:
        _positive_axis(ax, scale)
    return _note(ax, [scale])


Panel = Callable[["Axes", Mapping[str, Series]], None]
DENOISING: tuple[Panel, ...] = (denoising_loss,)
CHAINS: tuple[Panel, ...] = (energy_gap, mean_energies, acceptance_and_step_size, mean_scale)
#: What takes the place of a panel that has nothing to show.
INSTEAD: tuple[Panel, ...] = (learning_rate, time_of_a_step, lost_chains)
#: What a panel has nothing to show without: the quantities of which one must change over the run.
SHOWS: dict[Panel, tuple[str, ...]] = {
    acceptance_and_step_size: ("acceptance", "step_size"),
    mean_scale: ("scale",),
    spread: ("spread",),
    learning_rate: ("learning_rate",),
    time_of_a_step: ("seconds",),
    lost_chains: ("nonfinite",),
}


def says_nothing(draw: Panel, series: Mapping[str, Series]) -> bool:
    """Whether all that a panel would show is the same in every step, or was not recorded."""
    shown = [series[key] for key in SHOWS.get(draw, ())]
    return bool(shown) and all(is_constant(one) for one in shown) and not any(s.lost for s in shown)


def is_constant(series: Series) -> bool:
    return len(series.value) < 2 or bool(np.ptp(series.value) == 0)


def _draw(
    ax: Axes, series: Series, colour: str, label: str | None = None, faint: bool = False
) -> None:
    band = decimate(series.step, series.value)
    if not band.exact:
        alpha = 0.22
        ax.fill_between(
            band.step,
            band.low,
            band.high,
            color=colour,
            alpha=alpha,
            linewidth=0,
            label=label if faint else None,
        )
        if faint:
            return
    ax.plot(
        band.step,
        band.middle,
        color=colour,
        linewidth=0.8 if faint else 1.3,
        alpha=0.4 if faint else 1.0,
        label=label,
    )
    missing = ~np.isfinite(np.concatenate([[np.nan], band.middle, [np.nan]]))
    alone = ~missing[1:-1] & missing[:-2] & missing[2:]
    if alone.any():
        ax.plot(band.step[alone], band.middle[alone], ".", color=colour, markersize=4)


def _positive_axis(ax: Axes, series: Series) -> None:
    """A linear axis from 0 for values within a factor of 20, else a logarithmic one."""
    low, high = series.value.min(), series.value.max()
    if low > 0 and high / low > 20:
        ax.set_yscale("log")
    elif low >= 0 and high > 0:
        ax.set_ylim(0, 1.15 * high)


def _fit(ax: Axes, drawn: list[Series], log: bool = False) -> None:
    """Limits that ignore single extreme values; arrows at the edge and a note stand for those."""
    beyond = ""
    values = np.concatenate([s.value for s in drawn])
    low, high = np.quantile(values, [0.005, 0.995])
    span = high - low
    if not log and 0 < FAR * span < values.max() - values.min():
        near = values[(values >= low - 2 * span) & (values <= high + 2 * span)]
        margin = 0.05 * (near.max() - near.min())
        bottom, top = near.min() - margin, near.max() + margin
        for series in drawn:
            for edge, marker, out in (
                (top, "^", series.value > top),
                (bottom, "v", series.value < bottom),
            ):
                # an empty unclipped line has an infinite extent, which breaks the layout
                if out.any():
                    at = series.step[out]
                    at = at[np.linspace(0, len(at) - 1, min(len(at), 60)).astype(int)]
                    style = {"color": VERMILION, "markersize": 5, "clip_on": False, "zorder": 5}
                    ax.plot(at, np.full(len(at), edge), marker, **style)
        ax.set_ylim(bottom, top)
        out = values[(values < bottom) | (values > top)]
        furthest = number(float(f"{out[np.abs(out).argmax()]:.3g}"))
        beyond = f"{len(out):,} beyond the axis, the furthest at {furthest}"
    omitted = sum(int((s.value <= 0).sum()) for s in drawn) if log else 0
    _note(ax, drawn, beyond, f"{omitted:,} not positive (not drawn)" if omitted else "")


def _note(ax: Axes, series: list[Series], *more: str) -> None:
    lost = sum(s.lost for s in series)
    text = joined([*more, f"{lost:,} not finite (not drawn)" if lost else ""])
    if text:
        ax.annotate(
            text,
            (0.5, 0.0),
            xycoords="axes fraction",
            xytext=(0, -33),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=SMALL,
            color=VERMILION,
            annotation_clip=False,
        )


def _absent(ax: Axes, *series: Series) -> None:
    lost = sum(s.lost for s in series)
    ax.set_yscale("linear")
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.grid(False)
    text = f"none of {lost:,} values is finite" if lost else "not recorded"
    ax.text(
        0.5,
        0.5,
        text,
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=TITLE,
        color=MUTED,
    )


def _finish(ax: Axes, first: float, last: float, events: Sequence[Record]) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    for event in events:
        ax.axvline(
            float(event["step"]), color=PURPLE, linewidth=1.1, linestyle=(0, (1, 1.5)), zorder=1.5
        )
    margin = 0.02 * (last - first) or 0.5
    ax.set_xlim(first - margin, last + margin)
    ax.xaxis.set_major_locator(
        MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10], min_n_ticks=1)
    )
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.tick_params(labelbottom=True)
    ax.set_xlabel("training step", fontsize=LABEL)


def _summary(n: int, last: float, series: Mapping[str, Series], left_out: Sequence[Panel]) -> str:
    parts = [f"{n:,} record{'s' if n > 1 else ''} to step {last:,.0f}"]
    if rate := series["learning_rate"]:
        ends = [number(float(f"{v:.3g}")) for v in (rate.value[0], rate.value[-1])]
        parts.append(
            "learning rate " + (ends[0] if ends[0] == ends[1] else f"{ends[0]} → {ends[1]}")
        )
    if bad := series["nonfinite"]:
        steps = int((bad.value > 0).sum())
        parts.append(
            f"{bad.value.sum():,.0f} non-finite chains in {steps:,} steps"
            if steps
            else "all chains finite"
        )
    same = [(key, series[key]) for draw in left_out for key in SHOWS[draw] if series[key]]
    if same:
        values = ", ".join(f"{WORDS[key]} {number(float(f'{s.value[0]:.3g}'))}" for key, s in same)
        parts.append(f"in every step: {values}")
    return joined(parts)


def _event_list(events: Sequence[Record], shown: int = 4) -> str:
    ordered = sorted(events, key=lambda event: float(event["step"]))
    lines = dict.fromkeys(
        f"step {float(e['step']):,.0f}: {e.get('reason') or 'no reason given'}" for e in ordered
    )
    more = f" · and {len(lines) - shown} more" if len(lines) > shown else ""
    return "\n".join(textwrap.wrap(f"Dotted lines: {joined([*lines][:shown])}{more}", 190))
