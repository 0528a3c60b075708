"""How near a restored image is to the true one: PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from stanley.errors import require

WINDOW, SIGMA = 11, 1.5  # pixels
K1, K2 = 0.01, 0.03


def psnr(
    x: Tensor, truth: Tensor, *, data_range: float = 2.0, where: Tensor | None = None
) -> Tensor:
    """10·log₁₀(L² / mean (x - truth)²) in decibels, for each image: (N, *event) -> (N,); ∞ where
    they are equal.

    L is `data_range`, 2 for images in [-1, 1]. `where`, bool (H, W), restricts the mean to these
    pixels: an inpainted image is right for nothing where it was clamped.
    Not true: that it sees structure: a blurred mean has a better PSNR than a sharp draw.
    """
    require_alike(x, truth)
    square = (x.double() - truth.double()).square()
    if where is not None:
        require(bool(where.any()), "PSNR over no pixel: `where` is false everywhere; mark some")
        square = square[..., where]
    return 10 * (data_range**2 / square.flatten(1).mean(1)).log10()


def ssim(x: Tensor, truth: Tensor, *, data_range: float = 2.0) -> Tensor:
    """Mean over windows and channels of the structural similarity, for each image: (N, C, H, W) ->
    (N,), in [-1, 1].

        (2·μ_x·μ_y + C₁)(2·σ_xy + C₂) / ((μ_x² + μ_y² + C₁)(σ_x² + σ_y² + C₂)),   C_i = (K_i·L)²

    with means and (biased) covariances under a Gaussian window of 11×11 pixels, σ = 1.5, at every
    place where the whole window lies inside the image; K₁ = 0.01, K₂ = 0.03, L = `data_range`.
    Wang, Bovik, Sheikh & Simoncelli (2004), section III.B.
    """
    require_alike(x, truth)
    require(
        x.dim() == 4 and min(x.shape[2:]) >= WINDOW,
        f"SSIM needs images (N, C, H, W) of at least {WINDOW}×{WINDOW} pixels, got"
        f" {tuple(x.shape)}",
    )
    n, c, h, w = x.shape
    x, y = (v.double().reshape(n * c, 1, h, w) for v in (x, truth))
    window = gaussian_window(x)

    def average(v: Tensor) -> Tensor:
        return conv2d(v, window)

    mx, my = average(x), average(y)
    vx, vy, vxy = average(x * x) - mx**2, average(y * y) - my**2, average(x * y) - mx * my
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    local = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return local.reshape(n, -1).mean(1)


def gaussian_window(like: Tensor) -> Tensor:  # (1, 1, 11, 11), sums to 1
    at = torch.arange(WINDOW, dtype=like.dtype, device=like.device) - WINDOW // 2
    line = torch.exp(-(at**2) / (2 * SIGMA**2))
    window = line[:, None] * line
    return (window / window.sum())[None, None]


def require_alike(x: Tensor, truth: Tensor) -> None:
    require(
        x.shape == truth.shape,
        f"images have shape {tuple(x.shape)} and the true ones {tuple(truth.shape)}; they must"
        " agree",
    )
