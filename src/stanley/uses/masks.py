"""Which pixels are unknown: boolean masks (H, W), True where a chain may move."""

from __future__ import annotations

import torch
from torch import Tensor

from stanley.errors import require

HALVES = ("left-half", "right-half", "top-half", "bottom-half")


def box_mask(left: int, top: int, width: int, height: int, shape: tuple[int, int]) -> Tensor:
    """The rectangle of width × height pixels whose top left pixel is (left, top),
    counted from 0.
    """
    rows, columns = shape
    require(
        width >= 1 and height >= 1,
        f"mask box is {width}×{height} pixels wide and high, must be at least 1×1",
    )
    inside = left >= 0 and top >= 0 and left + width <= columns and top + height <= rows
    require(
        inside,
        f"mask box {left},{top},{width},{height} (left, top, width, height) does not lie inside"
        f" {columns}×{rows} pixels; choose a smaller one",
    )
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def half_mask(name: str, shape: tuple[int, int]) -> Tensor:
    """One of left-half, right-half, top-half, bottom-half; the left and top one leave out the odd
    middle.
    """
    require(name in HALVES, f"mask half is {name!r}, must be one of {', '.join(HALVES)}")
    rows, columns = shape
    mask = torch.zeros(shape, dtype=torch.bool)
    if name == "left-half":
        mask[:, : columns // 2] = True
    elif name == "right-half":
        mask[:, columns // 2 :] = True
    elif name == "top-half":
        mask[: rows // 2] = True
    else:
        mask[rows // 2 :] = True
    return mask
