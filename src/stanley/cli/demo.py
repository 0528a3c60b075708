"""The demonstration: a small comparison of three samplers on rings."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from stanley.comparing import Comparison
from stanley.comparing.carry_out import compare
from stanley.comparing.tables import terminal_lines, write_tables
from stanley.plots.comparison import write_figures
from stanley.plots.figures import Drawing

#: Each with the step size that was best for it on another seed: experiments/demo.yaml.
ARMS: dict[str, dict[str, Any]] = {
    "Langevin": {"sampler": "langevin", "sampler.step_size": 0.005},
    "STANLEY": {"sampler": "stanley", "sampler.step_size": 0.01, "sampler.threshold": 1.0},
    "STANLEY, Metropolis-adjusted": {
        "sampler": "adjusted-stanley",
        "sampler.step_size": 0.09,
        "sampler.threshold": 1.0,
    },
}


def demo_comparison(seed: int, seeds: int, steps: int) -> Comparison:
    """Rings on a small budget of gradient evaluations, the same for every sampler; the chains' own
    step size is kept fixed.

    A run that diverges is told as one: it does not go back and try again.
    """
    return Comparison(
        recipe="rings",
        arms=ARMS,
        fields={"steps": steps, "on_divergence": "stop", "objective.adapt": None},
        first_seed=seed,
        seeds=seeds,
        scores=["kl", "tv"],
    )


def called() -> str:
    """How this command was called: `.venv/bin/stanley` where the shell would not find `stanley`."""
    program = sys.argv[0]
    by_path = Path(program).name == "stanley" and shutil.which("stanley") is None
    return program if by_path else "stanley"


def run_demo(
    out: Path,
    drawing: Drawing,
    *,
    seed: int,
    seeds: int,
    steps: int,
    workers: int,
    progress: bool,
) -> tuple[dict[str, Any], list[str]]:
    """Train rings once per sampler and seed; what was found, and the lines that a person reads."""
    asked = demo_comparison(seed, seeds, steps)
    result = compare(asked, out, workers=workers, progress=progress)
    write_tables(result, out)
    *_, figure = write_figures(result, out, drawing)  # the last one: what each arm learned
    stanley = called()
    again = f"shown again by {stanley} compare {out}, and in a browser by {stanley} studio {out}"
    lines = ["", f"figure: {figure}", again]
    few = ["One seed decides nothing: --seeds 5 tests the difference, docs/results.md has more."]
    return result, [*terminal_lines(result), *lines, *(few if seeds == 1 else [])]
