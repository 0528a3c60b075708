"""The demonstration: one energy, three samplers, one budget, exact scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stanley.config import to_dict
from stanley.errors import DivergenceError
from stanley.files import make_folder, write_json
from stanley.judging.evaluate import evaluate
from stanley.overwriting import make_room
from stanley.plots import Panel, densities, save
from stanley.samplers import Adjusted, Langevin, Stanley
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.recipes import recipe

#: Step sizes tuned in the same way for each sampler: see benchmarks/demo_step_sizes.py and
#: docs/results.md.
SAMPLERS: dict[str, Langevin | Stanley | Adjusted] = {
    "Langevin": Langevin(step_size=0.01),
    "STANLEY": Stanley(step_size=0.02, threshold=1.0),
    "STANLEY, Metropolis-adjusted": Adjusted(Stanley(step_size=0.02, threshold=1.0)),
}

STEPS = 1500  # training iterations of each sampler
FRESH_STEPS = 500


def demo_config(sampler: Langevin | Stanley | Adjusted, seed: int, steps: int) -> TrainConfig:
    """Rings on a small budget: the same for every sampler, the chains' own step size kept fixed.

    A run that diverges is told as one: it does not go back and try again.
    """
    rings = recipe("rings")
    return replace(
        rings,
        on_divergence="stop",
        sampler=sampler,
        objective=replace(rings.objective, adapt=None),
        seed=seed,
        steps=steps,
        save_every=max(1, steps // 2),
        keep=1,
    )


def run_demo(out: Path, *, seed: int, steps: int, progress: bool) -> dict[str, Any]:
    """Train rings once per sampler from the same seed and budget of gradient evaluations;
    table and figure in `out`.
    """
    configs = {name: demo_config(sampler, seed, steps) for name, sampler in SAMPLERS.items()}
    folders = {name: out / name.lower().replace(", ", "-").replace(" ", "-") for name in SAMPLERS}
    record = out / "demo.json"
    make_folder(out)
    asked = {
        "seed": seed,
        "steps": steps,
        "runs": {name: to_dict(config) for name, config in configs.items()},
    }
    make_room(record, asked, beside=[out / "demo.png", *folders.values()])
    rows: list[dict[str, Any]] = []
    panels: list[Panel] = []
    for name, sampler in SAMPLERS.items():
        config = configs[name]
        row: dict[str, Any] = {"sampler": name, "step_size": float(sampler.step_size), "seed": seed}
        row["gradients"] = config.steps * config.batch * (config.chains.chain_steps + 1)
        try:
            run = train(config, str(folders[name]), progress=progress, title=name)
        except DivergenceError as error:
            rows.append(row | {"kl": None, "outcome": str(error)})
            continue
        scores = evaluate(run, num=1000, steps=FRESH_STEPS)
        row |= {name: scores.get(name) for name in ("kl", "tv")}
        row["fresh_mmd2"] = scores["fresh"].get("mmd2", {}).get("value")
        rows.append(row | {"outcome": scores.get("not_settled", "trained")})
        with np.load(run.samples / "evaluated.npz") as kept:
            if not panels:
                panels.append(
                    Panel(
                        "true density",
                        kept["data_density"],
                        kept["data"],
                        float(kept["box"]),
                        "data",
                    )
                )
            note = f"KL {row['kl']:.3f} nats" if row["kl"] is not None else "no finite KL"
            panels.append(
                Panel(name, kept["model_density"], kept["samples_fresh"], float(kept["box"]), note)
            )
    figure = str(save(densities(panels), out / "demo.png")) if panels else None
    table = {"asked": asked, "rows": rows, "figure": figure}
    write_json(record, table)
    return table


def table_lines(table: dict[str, Any]) -> list[str]:
    """The table a person reads, best first; a failure is a row like any other."""
    rows, figure = table["rows"], table["figure"]
    lines = [
        (
            f"rings, seed {rows[0]['seed']}, {rows[0]['gradients']:,} gradient evaluations each; "
            "exact KL by quadrature; fresh chains from noise"
        ),
        f"{'sampler':<30}{'step size':>10}{'KL(data‖model)':>16}{'TV':>8}{'MMD² fresh':>13}",
    ]
    for row in sorted(rows, key=lambda r: (r["kl"] is None, r["kl"])):
        if row["kl"] is None:
            lines.append(f"{row['sampler']:<30}{row['step_size']:>10g}  {row['outcome']}")
        else:
            scores = f"{row['kl']:>11.4f} nats{row['tv']:>8.3f}{row['fresh_mmd2']:>13.2e}"
            lines.append(f"{row['sampler']:<30}{row['step_size']:>10g}{scores}")
    best = next(
        (r for r in sorted(rows, key=lambda r: (r["kl"] is None, r["kl"])) if r["kl"] is not None),
        None,
    )
    if best:
        lines.append(
            f"Best on this seed and budget: {best['sampler']}. One seed decides nothing: see"
            " docs/results.md."
        )
    return [*lines, *([f"figure: {figure}"] if figure else [])]
