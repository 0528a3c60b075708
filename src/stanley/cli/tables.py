"""What a person reads of a diagnosis, and what a machine reads."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from stanley.cli.wording import acceptance_in_words, json_ready
from stanley.judging.diagnose import ROWS, Diagnosis, coordinate_table
from stanley.samplers.traits import is_adjusted


def diagnosis_lines(
    found: Diagnosis, names: Sequence[str] | None = None, all_rows: bool = False
) -> list[str]:
    """The table, then a verdict per part; `names` are those of a vector's coordinates."""
    s, info = found.summary, found.info
    d = len(found.table) - 1
    head = (
        f"{s.num_chains} chains × {s.num_draws:,} draws  "
        f" {acceptance_in_words(found.sampler, info)}   "
    )
    lines = [
        head + f"{info.num_gradients:,} gradients a chain",
        "",
        f"{'':<12}{'mean':>10}{'sd':>10}{'mcse':>10}{'R̂':>9}{'ESS bulk':>10}{'tail':>10}",
    ]
    for row in coordinate_table(found, None if all_rows else ROWS):
        numbers = (f"{row[k]:>10.4g}" for k in ("mean", "sd", "mcse"))
        lines.append(
            f"{short(str(row['name'])):<12}{''.join(numbers)}{row['rhat']:>8.3f}{row['ess_bulk']:>10,.0f}{row['ess_tail']:>10,.0f}"
        )
    if d > ROWS and not all_rows:
        more = "with the largest R̂; --all shows all of them"
        lines.append(f"(the {ROWS} of {d:,} coordinates {more})")
    lines.append("")
    for name, said in verdicts(found, names).items():
        lines += [hanging(name if k == 0 else "", line) for k, line in enumerate(said)]
    lines += [
        hanging(name, re.sub(r"^\w+: ", "", reason)) for name, reason in found.left_out.items()
    ]
    return ["", *"\n".join(lines).split("\n"), ""][1:]


def verdicts(found: Diagnosis, names: Sequence[str] | None) -> dict[str, list[str]]:
    """The sentences of a diagnosis, with coordinates called as the data call them."""

    def called(match: re.Match[str]) -> str:
        return names[int(match[1])] if names is not None else match[0]

    return {
        part: [re.sub(r"x\[(\d+)\]", called, sentence) for sentence in said]
        for part, said in found.verdicts().items()
    }


def short(name: str, longest: int = 11) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def hanging(name: str, line: str) -> str:
    """The name in a column of its own, the sentence beside it as wide as the terminal."""
    width = max(80, shutil.get_terminal_size((100, 24)).columns)
    line = line.replace("max_steps", "--coupled-steps")
    return textwrap.fill(f"{name:<14}{line}", width, subsequent_indent=" " * 14)


def diagnosis_json(found: Diagnosis, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Every number of the figures that is not a draw; null where there is none."""
    s, info, m, g, r, b = (
        found.summary,
        found.info,
        found.coupling,
        found.growth,
        found.drift,
        found.bias,
    )
    value: dict[str, Any] = {
        "num_draws": s.num_draws,
        "num_chains": s.num_chains,
        "acceptance": float(info.acceptance.mean()) if is_adjusted(found.sampler) else None,
        "gradients_per_chain": info.num_gradients,
        "nonfinite": int(s.nonfinite.sum()),
        "worst": {"rhat": s.worst_rhat, "ess_bulk": s.worst_ess_bulk, "ess_tail": s.worst_ess_tail},
        "table": coordinate_table(found),
        "verdicts": verdicts(found, names),
        "left_out": found.left_out,
    }
    if m is not None:
        slope, error = m.slope()
        value["coupling"] = {
            "pairs": len(m.times),
            "lag": m.lag,
            "unmet": m.unmet,
            "valid": m.valid,
            "mixing_time": m.mixing_time(),
            "slope": slope,
            "slope_error": error,
            "meeting_times": m.times,
        }
    if g is not None:
        value["growth"] = {"holds": g.holds, "radii": g.radii, "exponent": g.exponent}
    if r is not None:
        value["drift"] = {"beyond": r.beyond, "radius": r.radius, "log_ratio": r.log_ratio}
    if b is not None:
        value["bias"] = {
            name: {
                "largest": c.difference.abs().max(),
                "standard_errors": (c.difference / c.standard_error).abs().max(),
            }
            for name, c in b.functions.items()
        }
    return json_ready(value)
