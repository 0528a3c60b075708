"""Pages to hand on: a run or a comparison in one HTML file, with its figures in it."""

from stanley.reports.of_comparison import report_comparison
from stanley.reports.of_run import report_run

__all__ = ["report_comparison", "report_run"]
