"""The tables of docs/performance.md, of a record of chain_speed.py.

python benchmarks/chain_tables.py benchmarks/chain_speed.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Rows = list[list[str]]


def tables(report: dict[str, Any]) -> dict[str, str]:
    """Each table by what it is of: "chains", "training", "against"."""
    found = {of: markdown(ratios(report["rows"], of)) for of in ("chains", "training")}
    return found | {"against": markdown(aims(report["against"]))}


def ratios(rows: list[dict[str, Any]], of: str) -> Rows:
    """A contender a row, a case a column: the median ratio to the floor (quartiles)."""
    by = {(row["case"], row["run"]): row for row in rows if row["of"] == of}
    cases, runs = (list(dict.fromkeys(key[i] for key in by)) for i in (0, 1))
    floor = [f"{by[case, 'floor']['ms_per_gradient']:.3g}" for case in cases]
    found = [["", *map(short, cases)], ["floor, ms a gradient", *floor]]
    for run in runs[1:]:
        found.append([run, *(cell(by.get((case, run))) for case in cases)])
    if of == "chains":
        for name, run in (("faults a gradient, Langevin", "Langevin"), ("the same, kept", KEPT)):
            faults = [f"{by[case, run]['faults_per_gradient']:.0f}" for case in cases]
            found.append([name, *faults])
    return found


KEPT = "Langevin, kept"


def short(case: str) -> str:
    return case.replace(" chains", "").replace(" × 3×32×32", "")


def cell(row: dict[str, Any] | None) -> str:
    return "–" if row is None else f"{row['ratio']:.2f} ({row['q1']:.2f}-{row['q3']:.2f})"


def aims(against: list[dict[str, Any]]) -> Rows:
    """Speed in terms of the fastest rival's, and what was aimed at."""
    found = [["case", "contender", "against", "its speed", "aimed at", ""]]
    for row in against:
        speed = f"{row['speed']:.2f} ({row['q1']:.2f}-{row['q3']:.2f})"
        reached = "reached" if row["reached"] else "missed"
        found.append(
            [row["case"], row["run"], row["against"], speed, f"{row['wanted']:.2f}", reached]
        )
    return found


def markdown(rows: Rows) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


if __name__ == "__main__":
    for name, table in tables(json.loads(Path(sys.argv[1]).read_text())).items():
        print(f"{name}\n\n{table}\n")
