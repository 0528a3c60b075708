"""Restored images against the true ones, beside a baseline that needs no energy."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from stanley.metrics.similarity import WINDOW, psnr, ssim


def restoration_scores(
    estimates: dict[str, Tensor], truth: Tensor, where: Tensor | None = None
) -> dict[str, dict[str, Any]]:
    """PSNR (over the pixels `where`, or all) and SSIM (whole image) of each estimate (N, C, H, W):
    mean and sd.

    SSIM is null below 11×11 pixels, sd for one image.
    """
    scores: dict[str, dict[str, Any]] = {}
    large = min(truth.shape[-2:]) >= WINDOW
    for name, x in estimates.items():
        scores[name] = {
            "psnr": spread(psnr(x, truth, where=where)),
            "ssim": spread(ssim(x, truth)) if large else None,
        }
    return scores


def spread(values: Tensor) -> dict[str, Any]:
    """Values that are not finite (equal images have infinite PSNR) are left out,
    and counted by n.
    """
    finite = values[values.isfinite()]
    return {
        "n": len(finite),
        "mean": float(finite.mean()) if len(finite) else None,
        "sd": float(finite.std()) if len(finite) > 1 else None,
    }
