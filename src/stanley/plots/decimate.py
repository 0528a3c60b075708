"""Draw long series with fewer points, without losing an extreme value or an end."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

#: The line is broken where points are missing for more than this many times the usual spacing.
GAP = 3.0


@dataclass(frozen=True)
class Band:
    """Bins of consecutive points, with their smallest, median and largest values, (bins,) each.

    An entry of NaN separates stretches between which points are missing. If `exact`, each bin is a
    single point.
    """

    step: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    exact: bool


def decimate(step: np.ndarray, value: np.ndarray, bins: int = 400) -> Band:
    """Points with increasing step as about `bins` bins of equal count; at most `bins` stay as is.

    Points that are not finite are left out. Where points are missing for more than three times the
    usual (median) spacing, a stretch ends. The first and the last bin of a stretch are at its first
    and last step, the others at their mean step. The smallest and largest value of every stretch
    are kept in `low` and `high`.
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
    """Medians of finite values over a centred window of about 1/40 of the run.

    Returns steps (m,), medians (m,) and the length of the window, which is odd. The window is cut
    at the ends of a stretch, as `decimate` defines it, and an entry of NaN separates stretches.
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
    """Indices of the smallest and largest value of each bin, and of both ends, increasing: (m,)."""
    n = len(value)
    if n <= 2 * bins:
        return np.arange(n)
    edges = np.linspace(0, n, bins + 1).astype(int)
    kept = {0, n - 1}
    for a, b in itertools.pairwise(edges):
        kept |= {a + int(value[a:b].argmin()), a + int(value[a:b].argmax())}
    return np.array(sorted(kept))
