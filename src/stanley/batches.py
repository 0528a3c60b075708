"""Rows of a batch: a few at a time, and those that are finite."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def in_chunks(f: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Tensor:
    """f(x) of an f that treats each row alone, computed for at most `rows` rows at a time: (B,
    …) -> (B, …).
    """
    return torch.cat([f(part) for part in x.split(rows)])


def finite_chains(x: Tensor) -> Tensor:
    """Which of the B chains, or rows, are finite in every coordinate: (B, *event) -> (B,) bool."""
    return x.flatten(1).isfinite().all(1)
