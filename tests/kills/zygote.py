"""The process that every stopped command is forked from: it has one thread and has loaded all that
they need. A line of JSON on stdin asks for a run, one on stdout says how it ended.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.kills.points import forked


def load() -> None:
    """What the commands import when they are first used."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import PIL.Image  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch

    import stanley.cli.demo
    import stanley.cli.sample_files
    import stanley.features.classifier_training
    import stanley.judging.diagnose
    import stanley.models.export
    import stanley.models.packing
    import stanley.plots.run
    import stanley.training.loop
    import stanley.uses

    torch.set_num_threads(1)
    small_demo(stanley.cli.demo)


def small_demo(module: Any) -> None:
    """The demonstration with a network and a number of chains that take no time."""
    whole = module.demo_config

    def small(*a: Any, **k: Any) -> Any:
        config = whole(*a, **k)
        data = replace(config.data, num=60)
        network = replace(config.network, width=4, depth=1)
        objective = replace(config.objective, bank_size=8, chain_steps=1)
        return replace(config, data=data, network=network, objective=objective, batch=8)

    module.demo_config, module.FRESH_STEPS = small, 2


def main() -> None:
    load()
    for line in sys.stdin:
        asked = json.loads(line)
        end = forked(asked["arguments"], Path(asked["folder"]), asked["at"], asked["how"])
        print(json.dumps(asdict(end)), flush=True)


if __name__ == "__main__":
    main()
