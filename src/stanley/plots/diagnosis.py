"""The figures of a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stanley.judging.diagnose import Diagnosis
from stanley.plots import (
    autocorrelation,
    bias_dots,
    chain_traces,
    drift_curve,
    mixing,
    ray_growth,
    tv_curve,
)
from stanley.plots.figures import FORMATS, USUAL, Drawing

NAMES = ("mixing", "traces", "autocorrelation", "coupling", "growth", "drift", "bias")


def plot_diagnosis(
    found: Diagnosis,
    folder: Path,
    title: str,
    names: Sequence[str] | None = None,
    drawing: Drawing = USUAL,
) -> list[Path]:
    """Write the figures of a diagnosis into a folder, and return their paths.

    There is one figure for each part that was run; the figure that an earlier diagnosis left for a
    part that was not run now is deleted. Traces and autocorrelation show the four coordinates with
    the largest R̂, without the chains that hold a non-finite draw. A coupling that gives no valid
    bound is not drawn. `names` are those of a vector's coordinates.
    """
    draws = found.draws[:, ~found.summary.nonfinite]
    s, u = found.summary, found.summary_u
    of_u = (float(u.rhat), float(u.ess_bulk), float(u.ess_tail))
    drawn = (
        {"mixing": mixing(s.rhat, s.ess_bulk, s.ess_tail, of_u)} if s.rhat.isfinite().any() else {}
    )
    if draws.shape[1]:
        worst = (
            s.rhat.flatten()
            .nan_to_num(0.0)
            .argsort(descending=True, stable=True)[:4]
            .sort()
            .values.tolist()
        )
        drawn |= {
            "traces": chain_traces(draws, coordinates=worst, names=names),
            "autocorrelation": autocorrelation(draws, coordinates=worst, names=names),
        }
    if found.coupling is not None and found.coupling.valid:
        curve = found.coupling.total_variation()
        if (curve.value > 0).any():
            drawn["coupling"] = tv_curve({title: curve})
    if found.growth is not None:
        drawn["growth"] = ray_growth(found.growth.radii, found.growth.radial, found.growth.cosine)
    if found.drift is not None:
        drawn["drift"] = drift_curve(
            found.drift.radius, found.drift.log_ratio, found.drift.relative_error
        )
    if found.bias is not None:
        drawn["bias"] = bias_dots(
            {
                name: (c.difference, c.standard_error, c.limit)
                for name, c in found.bias.functions.items()
            }
        )
    for file in figure_files(folder):
        if file.stem not in drawn:
            file.unlink(missing_ok=True)
    return drawing.write(drawn, folder)


def figure_files(folder: Path) -> list[Path]:
    """Where the figures of a diagnosis may be."""
    return [folder / f"{name}.{suffix}" for name in NAMES for suffix in FORMATS]
