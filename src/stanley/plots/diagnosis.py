"""All figures of a diagnosis."""

from __future__ import annotations

from pathlib import Path

from stanley.judging.diagnose import Diagnosis
from stanley.plots import (
    autocorrelation,
    bias_dots,
    chain_traces,
    drift_curve,
    mixing,
    ray_growth,
    save,
    tv_curve,
)

NAMES = ("mixing", "traces", "autocorrelation", "coupling", "growth", "drift", "bias")


def plot_diagnosis(found: Diagnosis, folder: Path, title: str) -> list[Path]:
    """Write FOLDER/*.png, one for each part that was run, and return their paths; those of a part
    that an earlier diagnosis drew there and this one left out are removed.

    Traces and autocorrelation are those of the four coordinates with the largest R̂; a coupling in
    which pairs are left bounds nothing and is not drawn. Chains with a non-finite draw are left
    out.
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
            "traces": chain_traces(draws, coordinates=worst),
            "autocorrelation": autocorrelation(draws, coordinates=worst),
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
    for name in NAMES:
        if name not in drawn:
            (folder / f"{name}.png").unlink(missing_ok=True)
    return [save(figure, folder / f"{name}.png") for name, figure in drawn.items()]
