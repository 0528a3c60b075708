"""Comparisons: one question to several settings, on one budget, tuned alike, with all seeds."""

from stanley.comparing.carry_out import compare
from stanley.comparing.comparison import Comparison

__all__ = ["Comparison", "compare"]
