"""What is told before training of vectors whose scales do not suit it."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch

from stanley.data import Array, Dataset
from stanley.data.base import coordinate_names
from stanley.training.config import TrainConfig

SCALES = 10.0  # ratio of scales between columns, or of a mean to its column's, that is warned of
FEW = 1 / 200  # a share of the rows that is no part of the density's shape …
MOST = 0.75  # … unless it makes up so much of a column's variance: the others look half as wide


def warn_of_scales(config: TrainConfig, data: Dataset) -> None:
    """One step size and one start suit vectors whose coordinates are of one scale, and near 0."""
    if data.is_image:
        return
    by_field = "use data.standardise true, or " if isinstance(config.data, Array) else ""
    x = data.train[:10_000].double()
    mean, std = x.mean(0).flatten(), x.std(0).flatten()
    least, most = float(std.min()), float(std.max())
    offset = float((mean.abs() / std.clamp(min=1e-300)).max())
    far = far_rows(data)
    if far is not None:
        warnings.warn(explain(far, data), stacklevel=3)
    elif most > SCALES * least:
        warnings.warn(
            f"the columns of the data have standard deviations from {least:.3g} to {most:.3g}: no "
            f"step size suits all of them, and training may fail; {by_field}rescale them first",
            stacklevel=3,
        )
    elif offset > SCALES:
        warnings.warn(
            f"a column of the data has its mean {offset:.3g} standard deviations from 0, where the "
            f"network's first weights know nothing; {by_field}subtract the mean first",
            stacklevel=3,
        )


class FarRows(NamedTuple):
    """A few training rows that make up most of the variance of a column."""

    column: int
    row: int  # the farthest of them
    number: int  # how many are needed for that
    share: float  # of the column's variance that these have


def far_rows(data: Dataset) -> FarRows | None:
    """The column of vectors (N, d) whose variance is most of all that of a few rows, if those, at
    most N/200 or one, have more than 3/4 of it.

    The mean is then far from where most rows are, and in units of the standard deviation they lie
    closer together than half of what the step sizes, starts and noise levels are made for. Not
    true: that a few rows which lie together and are less far, a small mode, are told.
    """
    if data.train.dim() != 2 or data.streamed:
        return None
    x = data.train.double()
    most = max(1, int(FEW * len(x)))
    squares = (x - x.mean(0)).square()
    largest, rows = squares.topk(most, dim=0)  # (most, d)
    shares = (largest.cumsum(0) / squares.sum(0)).nan_to_num(0)
    column = int(shares[-1].argmax())
    enough = shares[:, column] > MOST
    if not enough.any():
        return None
    first = int(enough.int().argmax())
    return FarRows(column, int(rows[0, column]), first + 1, float(shares[first, column]))


def explain(far: FarRows, data: Dataset) -> str:
    """Which row it is, how far it is from the others, and what to do."""
    x = data.train if data.standardisation is None else data.standardisation.undo(data.train)
    column = x[:, far.column].double()
    others = column[torch.arange(len(column)) != far.row]
    value, spread = float(column[far.row]), float(others.std())
    constant = bool((others == others[0]).all())
    where = "a training row" if data.row_name is None else data.row_name(far.row)
    name = coordinate_names(data)[far.column]
    name = repr(name) if data.columns else f"column {name}"
    away = abs(value - float(others.mean())) / max(spread, 1e-300)
    distance = (
        "where all other rows have one value"
        if constant
        else f"{away:.3g} standard deviations of the other rows from their mean"
    )
    these = (
        "this row alone has"
        if far.number == 1
        else f"with {far.number - 1} more of {len(x)} rows it has"
    )
    return (
        f"{where} has {name} = {value:.4g}, {distance}; {these} {far.share:.0%} of the column's "
        "variance, so that training may fail or learn the others badly: remove what is a "
        "mistake, and take the logarithm of a column with heavy tails"
    )
