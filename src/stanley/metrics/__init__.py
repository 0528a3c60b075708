"""How good a model is: exactly in two dimensions, by samples in any."""

from stanley.metrics.coverage import Coverage, coverage, mode_coverage, nearest_mode, nearest_ring
from stanley.metrics.exact2d import (
    Exact2D,
    LogZ,
    density_on_grid,
    judge_density,
    kl,
    log_z,
    nll,
    total_variation,
)
from stanley.metrics.frechet import (
    Features,
    FeatureStatistics,
    Frechet,
    PixelFeatures,
    frechet,
    frechet_distance,
)
from stanley.metrics.kernel import MMD2, MMDTest, mmd2, mmd_test

__all__ = [
    "MMD2",
    "Coverage",
    "Exact2D",
    "FeatureStatistics",
    "Features",
    "Frechet",
    "LogZ",
    "MMDTest",
    "PixelFeatures",
    "coverage",
    "density_on_grid",
    "frechet",
    "frechet_distance",
    "judge_density",
    "kl",
    "log_z",
    "mmd2",
    "mmd_test",
    "mode_coverage",
    "nearest_mode",
    "nearest_ring",
    "nll",
    "total_variation",
]
