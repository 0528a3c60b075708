"""Recipes at full length, over consecutive seeds; every seed is a row.

    python benchmarks/recipe_seeds.py --first 200 --seeds 30 --jobs 2
    python benchmarks/recipe_seeds.py --recipes mnist-small --data-root DIR --seeds 5

Rows are added to benchmarks/recipe_seeds.jsonl as they are done, and a row that is there is not
computed again. Score of the averaged weights: in the plane the exact KL(data‖model) in nats; of
MNIST the Fréchet distance fd_mnist of 2,000 fresh chains from held-out digits. Besides, the largest
|gap| and parameter gradient after the first 300 steps, and what the run's events say went wrong.
`--table` prints the record as Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

PLANE = ("rings", "gmm", "moons", "rings-warm-start", "gmm-contrastive", "moons-contrastive")
DIGITS = ("mnist-small", "mnist-small-contrastive")
RECORD = Path(__file__).with_suffix(".jsonl")
EARLY = 300  # steps in which the first energies swing in every run


def score(job: tuple[str, int, str | None]) -> dict[str, Any]:
    import torch

    from stanley.errors import StanleyError
    from stanley.judging.evaluate import evaluate, exact_kl, what_went_wrong
    from stanley.training.loop import train
    from stanley.training.recipes import recipe

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    name, seed, data_root = job
    score = "fd_mnist" if name in DIGITS else "kl"
    row: dict[str, Any] = {"recipe": name, "seed": seed, score: None}
    config = replace(recipe(name), seed=seed)
    if name in DIGITS:
        config = replace(config, data=replace(config.data, root=data_root))
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = train(config, Path(folder) / "run", device="cpu")
            row["cpu_seconds"] = round(time.process_time() - began)
            late = run.records()[EARLY:]
            row["steps"] = EARLY + len(late)
            gaps = [abs(record["gap"]) for record in late if "gap" in record]
            row["largest_gap"] = round(max(gaps, default=0.0), 3)  # denoising runs no chains
            row["largest_gradient"] = round(max(record["grad_norm"] for record in late), 3)
            row["went_wrong"] = [(e["kind"], e["step"]) for e in what_went_wrong(run)]
            if name in DIGITS:
                scores = evaluate(run, num=2_000, features=("mnist",), kid=False, neighbours=False)
                row[score] = scores["fresh"]["fd_mnist"]["value"]
            else:
                row[score] = exact_kl(run)
        except StanleyError as error:
            row["failure"] = str(error)
    return row


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []


def table(found: list[dict[str, Any]]) -> str:
    lines = [
        "| recipe | seeds | score of every seed | median | greatest | largest \\|gap\\| "
        "| collapses, rollbacks |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (*PLANE, *DIGITS):
        score, digits = ("fd_mnist", 2) if name in DIGITS else ("kl", 4)
        own = sorted((r for r in found if r["recipe"] == name), key=lambda row: row["seed"])
        if not own:
            continue
        found_scores = [row[score] for row in own if row[score] is not None]
        each = " ".join(
            "failed" if row[score] is None else f"{row[score]:.{digits}f}" for row in own
        )
        wrong = sum(len(row.get("went_wrong", ())) for row in own)
        gap = max(row.get("largest_gap", 0.0) for row in own)
        lines.append(
            f"| {name} | {own[0]['seed']} to {own[-1]['seed']} (n = {len(own)}) | {each} "
            f"| {statistics.median(found_scores):.{digits}f} | {max(found_scores):.{digits}f} "
            f"| {gap:.2f} | {wrong} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=PLANE[:3], choices=PLANE + DIGITS)
    parser.add_argument("--data-root", help="where MNIST lies")
    parser.add_argument("--first", type=int, default=200, help="the first seed")
    parser.add_argument("--seeds", type=int, default=30, help="how many, one after the other")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--table", action="store_true", help="print the record and stop")
    asked = parser.parse_args()
    if asked.table:
        print(table(rows()))
        return
    done = {(row["recipe"], row["seed"]) for row in rows()}
    seeds = range(asked.first, asked.first + asked.seeds)
    jobs = [
        (name, seed, asked.data_root)
        for seed in seeds
        for name in asked.recipes
        if (name, seed) not in done
    ]
    with ProcessPoolExecutor(asked.jobs) as pool:
        for finished in as_completed([pool.submit(score, job) for job in jobs]):
            with RECORD.open("a") as file:
                file.write(json.dumps(finished.result()) + "\n")
    print(table(rows()))


if __name__ == "__main__":
    main()
