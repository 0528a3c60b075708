"""Fewer points for the same picture: what is left out is never an extreme and never the end of the
run.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

#: A hole of more than this many times the usual spacing is drawn as a hole.
GAP = 3.0


@dataclass(frozen=True)
class Band:
    """Bins of consecutive points: where they are, and their least, median and greatest value. All
    (bins,).

    A row of NaN separates stretches with a hole between them. `exact` says that each bin is a
    single point.
    """

    step: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    exact: bool


def decimate(step: np.ndarray, value: np.ndarray, bins: int = 400) -> Band:
    """Finite points (step ascending) as about `bins` bins of equal count, or as they are when they
    are few.

    The least and greatest value of every stretch survive in `low` and `high`. The first and the
    last bin of a stretch stand at its first and last step, the others at their mean step. Points
    missing or not finite are left out; where they leave a hole of more than three times the usual
    (median) spacing, the line is broken.
    """
    finite = np.isfinite(value)
    step, value = step[finite].astype(np.float64), value[finite]
    exact = len(step) <= bins
    rows: list[np.ndarray] = []
    for start, stop in _stretches(step):
        n = stop - start
        count = n if exact else min(n, max(2, round(bins * n / len(step))))
        rows.append(_bin(step[start:stop], value[start:stop], count))
        rows.append(np.full((4, 1), np.nan))
    table = np.concatenate(rows[:-1], axis=1) if rows else np.empty((4, 0))
    return Band(table[0], table[1], table[2], table[3], exact)


def _stretches(step: np.ndarray) -> list[tuple[int, int]]:
    if len(step) == 0:
        return []
    spacing = np.diff(step)
    moved = spacing[spacing > 0]
    breaks = (
        np.flatnonzero(spacing > GAP * np.median(moved)) + 1 if len(moved) else np.empty(0, int)
    )
    edges = [0, *breaks.tolist(), len(step)]
    return list(itertools.pairwise(edges))


def _bin(step: np.ndarray, value: np.ndarray, count: int) -> np.ndarray:  # (n,), (n,) -> (4, count)
    edges = np.linspace(0, len(step), count + 1).astype(int)
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    at = np.array([step[p].mean() for p in parts])
    at[0], at[-1] = step[0], step[-1]
    low, middle, high = (
        np.array([f(value[p]) for p in parts]) for f in (np.min, np.median, np.max)
    )
    return np.stack([at, low, middle, high])


def running_median(
    step: np.ndarray, value: np.ndarray, points: int = 400
) -> tuple[np.ndarray, np.ndarray, int]:
    """Medians over a window of about 1/40 of the run: steps (m,), medians (m,) and the odd window
    length.

    Centred; at the ends of the run, and of a hole as `decimate` sees it, the window is cut to what
    exists, and NaN stands in the hole. Values are finite.
    """
    n = len(value)
    half = max(2, n // 80)
    wanted = np.unique(np.linspace(0, n - 1, min(n, points)).astype(int))
    at, medians = [], []
    for start, stop in _stretches(step):
        for i in np.union1d(wanted[(wanted >= start) & (wanted < stop)], [start, stop - 1]):
            at.append(step[i])
            medians.append(np.median(value[max(start, i - half) : min(stop, i + half + 1)]))
        at.append(np.nan)
        medians.append(np.nan)
    return np.array(at[:-1]), np.array(medians[:-1]), 2 * half + 1


def extreme_indices(value: np.ndarray, bins: int = 600) -> np.ndarray:
    """Indices, ascending, of the least and the greatest value of each bin, and of both ends;
    (n,) -> (m,).
    """
    n = len(value)
    if n <= 2 * bins:
        return np.arange(n)
    edges = np.linspace(0, n, bins + 1).astype(int)
    kept = {0, n - 1}
    for a, b in itertools.pairwise(edges):
        kept |= {a + int(value[a:b].argmin()), a + int(value[a:b].argmax())}
    return np.array(sorted(kept))
