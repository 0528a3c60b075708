"""Scores of restored images, compared with the true ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from stanley.metrics.similarity import WINDOW, psnr, ssim


def restoration_scores(
    estimates: dict[str, Tensor], truth: Tensor, where: Tensor | None = None
) -> dict[str, dict[str, Any]]:
    """PSNR and SSIM of estimates of the true images, with mean and sd over images.

    estimates   name -> (N, C, H, W)
    truth       (N, C, H, W)
    where       bool (H, W), the pixels over which PSNR is taken; all by default. SSIM is of the
                whole image.

    Returns name -> {"psnr": {n, mean, sd}, "ssim": {n, mean, sd}}. SSIM is None for images below
    11×11 pixels, and sd is None for a single image.
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
    """n, mean and sd of the finite values; equal images, whose PSNR is infinite, are left out."""
    finite = values[values.isfinite()]
    return {
        "n": len(finite),
        "mean": float(finite.mean()) if len(finite) else None,
        "sd": float(finite.std()) if len(finite) > 1 else None,
    }
