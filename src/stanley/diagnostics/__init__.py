"""Whether to trust a chain: convergence diagnostics, and checks of what the theorems assume."""

from __future__ import annotations

from stanley.diagnostics.bias import Bias, Comparison, bias_against_adjusted
from stanley.diagnostics.chains import (
    ChainSummary,
    autocorrelation,
    autocorrelation_by_chain,
    ess_bulk,
    ess_mean,
    ess_quantile,
    ess_tail,
    mcse_mean,
    mcse_quantile,
    mcse_sd,
    nested_rhat,
    rhat,
    summarise,
    verdict,
)
from stanley.diagnostics.coupling import couple
from stanley.diagnostics.drift import DriftRatio, drift_ratio, exponential_norm
from stanley.diagnostics.growth import RayGrowth, h1_on_rays
from stanley.diagnostics.meeting import Curve, Meeting
from stanley.diagnostics.rays import points_on_rays
from stanley.diagnostics.table import Summary, summary_by_name

__all__ = [
    "Bias",
    "ChainSummary",
    "Comparison",
    "Curve",
    "DriftRatio",
    "Meeting",
    "RayGrowth",
    "Summary",
    "autocorrelation",
    "autocorrelation_by_chain",
    "bias_against_adjusted",
    "couple",
    "drift_ratio",
    "ess_bulk",
    "ess_mean",
    "ess_quantile",
    "ess_tail",
    "exponential_norm",
    "h1_on_rays",
    "mcse_mean",
    "mcse_quantile",
    "mcse_sd",
    "nested_rhat",
    "points_on_rays",
    "rhat",
    "summarise",
    "summary_by_name",
    "verdict",
]
