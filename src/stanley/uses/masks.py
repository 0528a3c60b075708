"""Masks for inpainting: boolean (H, W), True where a pixel is unknown."""

from __future__ import annotations

import torch
from torch import Tensor

from stanley.errors import require

HALVES = ("left-half", "right-half", "top-half", "bottom-half")


def box_mask(left: int, top: int, width: int, height: int, shape: tuple[int, int]) -> Tensor:
    """A mask (H, W) of a rectangle of width × height pixels whose top left pixel is (left, top).

    Pixels are counted from 0; `shape` is (H, W). Raises StanleyError if the rectangle is empty or
    not inside the image.
    """
    rows, columns = shape
    require(
        width >= 1 and height >= 1,
        f"the mask box is {width}×{height} pixels, but must be at least 1×1",
    )
    inside = left >= 0 and top >= 0 and left + width <= columns and top + height <= rows
    require(
        inside,
        f"the mask box {left},{top},{width},{height} (left, top, width, height) is not inside the"
        f" image of {columns}×{rows} pixels; use a smaller one",
    )
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def half_mask(name: str, shape: tuple[int, int]) -> Tensor:
    """A mask (H, W) of half an image: left-half, right-half, top-half or bottom-half.

    An odd middle column or row belongs to the right or bottom half. `shape` is (H, W).
    """
    require(name in HALVES, f"the mask is {name!r}, but must be one of {', '.join(HALVES)}")
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
