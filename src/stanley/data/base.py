"""What every data set hands over, and the two maps between stored bytes and points in [-1, 1].

A data set is a frozen spec (`Rings(...)`, `CIFAR10(root=...)`) whose `load()` returns a `Dataset`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """One copy of the data: images stay uint8, vectors are float32.

    train, test   (N, *event): uint8 (N, C, H, W) images, or float32 (N, d) vectors. `train` may be a memory map.
    flip          whether a mirrored image is as likely as the image itself.
    log_density   exact log p(x), (B, d) -> (B,), where the law of the data is known.
    modes         (M, d) centres of the modes and `mode_radius`, where the law has some.
    """

    train: Tensor
    test: Tensor
    flip: bool = False
    log_density: Callable[[Tensor], Tensor] | None = None
    modes: Tensor | None = None
    mode_radius: float = 0.0

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.train.shape[1:])

    @property
    def is_image(self) -> bool:
        return self.train.dtype == torch.uint8


def dequantise(images: Tensor, generator: torch.Generator) -> Tensor:
    """x = 2·(v + u)/256 - 1 with u ~ U[0, 1): bytes v in 0..255 to points spread over [-1, 1)."""
    u = torch.rand(images.shape, generator=generator, device=images.device)
    return (images + u) / 128 - 1


def centre(images: Tensor) -> Tensor:
    """x = 2·(v + ½)/256 - 1: the centre of each byte's cell, without noise."""
    return (images.float() + 0.5) / 128 - 1


def to_bytes(x: Tensor) -> Tensor:
    """Nearest byte of points in [-1, 1]; points outside are shown at the border (for pictures only)."""
    return ((x + 1) * 128).floor().clamp(0, 255).to(torch.uint8)
