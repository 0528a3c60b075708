"""From a run or a density to numbers and verdicts."""
