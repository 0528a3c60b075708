"""A table of all coordinates by name: for people, for spreadsheets and for programs."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stanley.diagnostics.chains import (
    ChainSummary,
    check_draws,
    ordered_draws,
    over_event,
    summarise,
)
from stanley.errors import require
from stanley.files import write_atomic

QUANTILES = (0.05, 0.5, 0.95)
COLUMNS = ("mean", "sd", "5%", "50%", "95%", "mcse", "rhat", "ess_bulk", "ess_tail")
#: How a column is called where a person reads it.
TITLES = {"rhat": "R̂", "ess_bulk": "ESS bulk", "ess_tail": "ESS tail"}


@dataclass(frozen=True, eq=False)
class Summary:
    """Mean, standard deviation, 5, 50 and 95 % quantiles, the Monte Carlo error of the mean, R̂,
    bulk and tail ESS of named coordinates.

    `print(summary)` shows all of them, a notebook a table; `rows()`, `to_csv()` and `to_json()`
    give them away. A number that cannot be known, as R̂ of a coordinate that never moves, is NaN:
    an empty cell in CSV, null in JSON.
    """

    names: tuple[str, ...]
    chains: ChainSummary
    quantiles: Tensor  # (k, 3)

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> Tensor:
        """One number for each coordinate, (k,)."""
        require(name in COLUMNS, f"there is no column {name!r}: known: {', '.join(COLUMNS)}")
        if name.endswith("%"):
            return self.quantiles[:, COLUMNS.index(name) - 2]
        return getattr(self.chains, name)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each coordinate: its name, and a number for each of COLUMNS."""
        columns = {name: self.column(name).tolist() for name in COLUMNS}
        return [
            {"name": name, **{key: values[i] for key, values in columns.items()}}
            for i, name in enumerate(self.names)
        ]

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The row of one coordinate."""
        from stanley.errors import did_you_mean

        require(
            name in self.names, f"there is no coordinate {name!r}: {did_you_mean(name, self.names)}"
        )
        i = self.names.index(name)
        return {"name": name, **{key: float(self.column(key)[i]) for key in COLUMNS}}

    def to_csv(self, path: str | Path | None = None) -> str:
        """The table as CSV, also written to `path` if one is given."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", *COLUMNS])
        for row in self.rows():
            numbers = (row[key] for key in COLUMNS)
            writer.writerow([row["name"], *("" if math.isnan(v) else repr(v) for v in numbers)])
        return written(text.getvalue(), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """The table as JSON, with the numbers of chains and draws, also written to `path`."""
        rows = [
            {
                k: None if isinstance(v, float) and not math.isfinite(v) else v
                for k, v in row.items()
            }
            for row in self.rows()
        ]
        value = {"chains": self.chains.num_chains, "draws": self.chains.num_draws, "rows": rows}
        return written(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n", path)

    def lines(self) -> list[str]:
        """The table for a person, a line for each coordinate."""
        width = max(map(len, (*self.names, "")))
        head = "".join(f"{TITLES.get(key, key):>10}" for key in COLUMNS)
        return [
            f"{'':<{width}}{head}",
            *(
                f"{row['name']:<{width}}" + "".join(cell(key, row[key], 10) for key in COLUMNS)
                for row in self.rows()
            ),
        ]

    def __str__(self) -> str:
        s = self.chains
        return "\n".join([f"{s.num_chains} chains × {s.num_draws:,} draws", *self.lines()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{TITLES.get(key, key)}</th>" for key in COLUMNS)
        body = "".join(
            f"<tr><th>{html.escape(row['name'])}</th>"
            + "".join(f"<td>{cell(key, row[key])}</td>" for key in COLUMNS)
            + "</tr>"
            for row in self.rows()
        )
        s = self.chains
        return (
            f"<table><caption>{s.num_chains} chains × {s.num_draws:,} draws</caption>"
            f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def summary_by_name(draws: Tensor, names: Sequence[str]) -> Summary:
    """The table of draws (num_draws, B, k) of k named coordinates.

    Needs two chains and four draws. Everything is NaN for a coordinate with a draw that is not
    finite.
    """
    check_draws(draws, "summary_by_name", chains=2, finite=False)
    require(
        draws.dim() == 3 and draws.shape[2] == len(names),
        f"summary_by_name: draws have shape {tuple(draws.shape)}, but must be (num_draws, chains,"
        f" {len(names)}), one coordinate for each of the {len(names)} names",
    )
    bad = ~draws.isfinite().all(1).all(0)  # (k,)

    def kernel(x: Tensor) -> Tensor:
        ordered = ordered_draws(x)
        places = [p * (ordered.shape[1] - 1) for p in QUANTILES]
        low = [ordered[:, math.floor(place)] for place in places]
        high = [ordered[:, math.ceil(place)] for place in places]
        return torch.stack(
            [a + (b - a) * (place % 1) for a, b, place in zip(low, high, places, strict=True)], 1
        )

    quantiles = over_event(draws.masked_fill(bad, 0), kernel, moving=False, degree=1)
    quantiles = torch.where(bad[:, None].to(quantiles.device), math.nan, quantiles)
    return Summary(tuple(names), summarise(draws), quantiles)


def cell(key: str, value: float, width: int = 0) -> str:
    if math.isnan(value):
        return f"{'–':>{width}}"
    if key == "rhat":
        return f"{value:>{width}.3f}"
    if key.startswith("ess"):
        return f"{value:>{width},.0f}"
    return f"{value:>{width}.3g}" if abs(value) < 1e5 else f"{value:>{width}.2e}"


def written(text: str, path: str | Path | None) -> str:
    if path is not None:
        write_atomic(Path(path), text.encode())
    return text
