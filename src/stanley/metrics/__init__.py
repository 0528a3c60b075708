"""Measures of how good a model is: exact ones in two dimensions, sample-based ones in any."""

from stanley.metrics.classes import ClassScore, class_score
from stanley.metrics.coverage import Coverage, coverage, mode_coverage, nearest_mode, nearest_ring
from stanley.metrics.cubic_kernel import KernelDistance, kernel_distance
from stanley.metrics.detection import (
    Detection,
    aupr,
    auroc,
    average_precision,
    energy_score,
    fpr_at_95,
    gradient_score,
    judge_detection,
    synthetic_out_sets,
)
from stanley.metrics.exact2d import (
    Exact2D,
    LogZ,
    density_on_grid,
    half_side,
    judge_density,
    kl,
    log_z,
    nll,
    total_variation,
)
from stanley.metrics.extrapolation import FrechetLimit, frechet_limit
from stanley.metrics.frechet import (
    Features,
    FeatureStatistics,
    Frechet,
    PixelFeatures,
    frechet,
    frechet_distance,
)
from stanley.metrics.kernel import MMD2, MMDTest, mmd2, mmd_test
from stanley.metrics.level_likelihood import bracket_down_levels
from stanley.metrics.likelihood import (
    BitsPerDimension,
    Bracket,
    GaussianReference,
    UniformReference,
    annealing_schedule,
    bits_per_dimension,
    bracket_log_z,
)
from stanley.metrics.neighbours import PRDC, prdc
from stanley.metrics.similarity import psnr, ssim

__all__ = [
    "MMD2",
    "PRDC",
    "BitsPerDimension",
    "Bracket",
    "ClassScore",
    "Coverage",
    "Detection",
    "Exact2D",
    "FeatureStatistics",
    "Features",
    "Frechet",
    "FrechetLimit",
    "GaussianReference",
    "KernelDistance",
    "LogZ",
    "MMDTest",
    "PixelFeatures",
    "UniformReference",
    "annealing_schedule",
    "aupr",
    "auroc",
    "average_precision",
    "bits_per_dimension",
    "bracket_down_levels",
    "bracket_log_z",
    "class_score",
    "coverage",
    "density_on_grid",
    "energy_score",
    "fpr_at_95",
    "frechet",
    "frechet_distance",
    "frechet_limit",
    "gradient_score",
    "half_side",
    "judge_density",
    "judge_detection",
    "kernel_distance",
    "kl",
    "log_z",
    "mmd2",
    "mmd_test",
    "mode_coverage",
    "nearest_mode",
    "nearest_ring",
    "nll",
    "prdc",
    "psnr",
    "ssim",
    "synthetic_out_sets",
    "total_variation",
]
