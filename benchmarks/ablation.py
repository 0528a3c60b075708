"""What each piece of a training recipe does on its own: MNIST at 14×14, one option changed at a
time.

    python benchmarks/ablation.py --data-root DIR --seeds 2 --json benchmarks/ablation.json

Every row is the base with one change, trained by the same number of iterations, so not by the same
time: seconds are given. Score: Fréchet distance to 10,000 training images in 8×8 pixels (not FID)
of `--num` chains, in float32, averaged weights: `fresh` after 10·K steps from noise, `long` after
`--long` steps from noise, `bank` the bank as it is. `floor` is the score of as many held-out
images. A run that diverges is counted, not replaced.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stanley import (
    Augment,
    ConvNet,
    Growth,
    Langevin,
    ResNet,
    Stanley,
    StanleyError,
    TrainConfig,
    load,
    recipe,
    train,
)
from stanley.data import MNIST, centre
from stanley.metrics import FeatureStatistics, PixelFeatures, frechet
from stanley.samplers import MALA, RobbinsMonro
from stanley.training.optim import SGD

FEATURES = PixelFeatures(size=8)


def base(root: str, steps: int) -> TrainConfig:
    """The recipe mnist-small-contrastive, made smaller still."""
    small = recipe("mnist-small-contrastive")
    return replace(
        small,
        data=MNIST(root=root, size=14),
        network=ConvNet(width=8),
        objective=replace(small.objective, chain_steps=10, bank_size=500),
        steps=steps,
        save_every=steps,
        ema=0.99,
    )


def changes(config: TrainConfig) -> dict[str, dict[str, Any]]:
    """Each row of the table: what differs from the base."""
    h = config.sampler.step_size

    def objective(**fields: Any) -> dict[str, Any]:
        return {"objective": replace(config.objective, **fields)}

    return {
        "base": {},
        "no data noise": {"data_noise": 0.0},
        "no restarts": objective(restart=0.0),
        "restart 0.2": objective(restart=0.2),
        "chains from noise": objective(start="noise"),
        "no energy L2": objective(energy_l2=0.0),
        "energy L2 1": objective(energy_l2=1.0),
        "raw weights (no EMA)": {"ema": 0.0},
        "no rate decay": {"decay": 0.0},
        "shift 1, a tenth of the chains": objective(augment=Augment(shift=1, chance=0.1)),
        "KL term, weight 0.1": objective(kl_weight=0.1),
        "KL term, weight 1": objective(kl_weight=1.0),
        "K 20": objective(chain_steps=20),
        "K from 5 to 15 over the whole run": objective(chain_steps=5, growth=Growth(15, share=1.0)),
        "Gaussian reference N(0, 1) of U": {"reference_std": config.temperature**-0.5},
        "STANLEY, th at the 0.9 quantile": {"sampler": Stanley(h)},
        "half the noise": {"sampler": Langevin(h / 4), "temperature": config.temperature / 4},
        "MALA, adapted step": {"sampler": MALA(h / 4), **objective(adapt=RobbinsMonro())},
        "SGD, rate 0.05": {"optimizer": SGD(lr=0.05)},
        "convergent learning": {
            "optimizer": SGD(lr=0.05),
            **objective(chain_steps=50, restart=0.01, energy_l2=0.0),
            "reference_std": config.temperature**-0.5,
            "decay": 0.0,
        },
        "ResNet of width 8": {"network": ResNet(width=8)},
        "ResNet with spectral norm": {"network": ResNet(width=8, spectral_norm=True)},
    }


def distance(x: Tensor, data: FeatureStatistics) -> float | None:
    x = x[x.flatten(1).isfinite().all(1)]
    return (
        round(frechet(FeatureStatistics.of(x.split(1000), FEATURES), data).value, 3)
        if len(x) > 64
        else None
    )


def score(config: TrainConfig, data: FeatureStatistics, num: int, long: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        try:
            run = train(config, Path(folder) / "run", device="cpu")
        except StanleyError as error:
            # what happened, without the advice
            return {"failure": ":".join(str(error).split(":")[:2])}
        row["cpu_seconds"] = round(time.process_time() - began, 1)
        model = load(run, device="cpu")
        fresh = model.sample(num, steps=model.default_steps("noise"), start="noise", seed=1).x
        row["fresh"] = distance(fresh, data)
        if long:
            row["long"] = distance(model.sample(num, steps=long, start="noise", seed=1).x, data)
        row["bank"] = distance(model.bank[:num], data) if len(model.bank) else None
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--num", type=int, default=256)
    parser.add_argument(
        "--long", type=int, default=0, help="steps of long chains; 0 leaves them out"
    )
    parser.add_argument("--only", nargs="+", help="names of rows")
    parser.add_argument(
        "--json", type=Path, required=True, help="record; rows that it holds are not run again"
    )
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    config = base(arguments.data_root, arguments.steps)
    loaded = config.data.load()
    data = FeatureStatistics.of([centre(loaded.train[:10_000])], FEATURES)
    setting = {"steps": arguments.steps, "num": arguments.num, "long": arguments.long}
    setting |= {"floor": distance(centre(loaded.test[: arguments.num]), data)}
    setting |= {
        "machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}, 1 thread"
    }
    record: dict[str, Any] = {"setting": setting, "rows": []}
    if arguments.json.exists():
        record = json.loads(arguments.json.read_text())
        if record["setting"] != setting:
            sys.exit(
                f"{arguments.json} holds another setting, {record['setting']}; name another file"
            )
    done = {(row["change"], row["seed"]) for row in record["rows"]}
    named = changes(config)
    for seed in range(arguments.seeds):
        for name in arguments.only or named:
            if (name, seed) in done:
                continue
            row = {"change": name, "seed": seed}
            row |= score(
                replace(config, seed=seed, **named[name]), data, arguments.num, arguments.long
            )
            print(row, file=sys.stderr)
            record["rows"].append(row)
            arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


def table(record: dict[str, Any]) -> str:
    """Mean of the seeds and half their range, as Markdown."""
    scores = [
        name for name in ("fresh", "long", "bank") if any(name in row for row in record["rows"])
    ]
    lines = [
        "| change | seeds | " + " | ".join(scores) + " | CPU s |",
        "|---" * (len(scores) + 3) + "|",
    ]
    for name in dict.fromkeys(row["change"] for row in record["rows"]):
        rows = [row for row in record["rows"] if row["change"] == name]
        good = [row for row in rows if "failure" not in row]
        cells = [
            name,
            f"{len(rows)}"
            + (f", {len(rows) - len(good)} diverged" if len(good) < len(rows) else ""),
        ]
        for score_name in scores:
            found = [row[score_name] for row in good if row.get(score_name) is not None]
            half = (max(found) - min(found)) / 2 if found else 0
            cells.append(f"{statistics.mean(found):.2f} ± {half:.2f}" if found else "–")
        cells.append(
            f"{statistics.mean([row['cpu_seconds'] for row in good]):.0f}" if good else "–"
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
