"""The process that every stopped command is forked from: it has one thread and has loaded all that
they need. A line of JSON on stdin asks for a run, one on stdout says how it ended.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.comparing.here import Here
from tests.kills.points import forked


def load() -> None:
    """What the commands import when they are first used."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import PIL.Image  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch

    import stanley.cli.comparing
    import stanley.cli.demo
    import stanley.cli.sample_files
    import stanley.comparing.carry_out
    import stanley.comparing.tables
    import stanley.features.classifier_training
    import stanley.judging.diagnose
    import stanley.models.export
    import stanley.models.packing
    import stanley.plots.comparison
    import stanley.plots.run
    import stanley.training.loop
    import stanley.uses

    torch.set_num_threads(1)
    small_demo(stanley.cli.demo)
    in_this_process(stanley.comparing.carry_out)


def small_demo(module: Any) -> None:
    """The demonstration with a network and a number of chains that take no time."""
    whole = module.demo_comparison
    small = {"data.num": 60, "network.width": 4, "network.depth": 1, "batch": 8}
    small |= {"objective.bank_size": 8, "objective.chain_steps": 1}

    def smaller(*a: Any, **k: Any) -> Any:
        comparison = whole(*a, **k)
        return replace(comparison, fields=comparison.fields | small, scores=["record.loss"])

    module.demo_comparison = smaller


def in_this_process(module: Any) -> None:
    """The runs of a comparison without workers, whose file operations nobody would count."""
    module.workers_on = lambda *_: nullcontext(Here())


def main() -> None:
    load()
    for line in sys.stdin:
        asked = json.loads(line)
        end = forked(asked["arguments"], Path(asked["folder"]), asked["at"], asked["how"])
        print(json.dumps(asdict(end)), flush=True)


if __name__ == "__main__":
    main()
