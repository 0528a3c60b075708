"""Learning curves that grow: the records of a run, of which only what is new is read."""

from __future__ import annotations

import json
import math
import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stanley.errors import StanleyError
from stanley.plots.decimate import decimate

BINS = 300  # points of a drawn curve
FLOAT32 = 3.4e38
AT_ONCE = 64 << 20  # bytes of new records that are read for one answer


class Line(NamedTuple):
    """One quantity of the records, what it is called, and a colour of the style."""

    key: str
    name: str
    colour: str


class Panel(NamedTuple):
    title: str
    axis: str
    lines: tuple[Line, ...]
    log: bool = False


#: As in `plots.curves`; a panel is shown where the run has one of its numbers.
PANELS = (
    Panel("Energy gap", "E(data) − E(samples)", (Line("gap", "gap", "blue"),)),
    Panel(
        "Denoising loss",
        "error; 1 is a Gaussian",
        (Line("score_loss", "score", "blue"), Line("level_loss", "noise level", "orange")),
        log=True,
    ),
    Panel("Loss", "loss", (Line("loss", "loss", "blue"),)),
    Panel(
        "Mean energy",
        "E",
        (Line("energy_pos", "data", "blue"), Line("energy_neg", "samples", "vermilion")),
    ),
    Panel("Acceptance", "share", (Line("acceptance", "acceptance", "green"),)),
    Panel("Step size", "h", (Line("step_size", "step size", "orange"),)),
    Panel("Mean scale γ", "1: full drift", (Line("scale", "γ", "purple"),)),
    Panel(
        "Gradient norms",
        "norm",
        (
            Line("grad_norm", "weights", "blue"),
            Line("chain_grad_norm", "chains", "vermilion"),
        ),
        log=True,
    ),
    Panel("Spread of the bank", "in data sd", (Line("spread", "spread", "green"),)),
    Panel("Learning rate", "rate", (Line("learning_rate", "rate", "blue"),)),
)
KEYS = [line.key for panel in PANELS for line in panel.lines]


@dataclass
class Followed:
    """The records of one run, as far as they were read: 4 bytes a number, so that of a run of a
    million steps there are 60 MB. Only what is drawn is kept.
    """

    path: Path
    inode: int = 0
    place: int = 0
    steps: array[float] = field(default_factory=lambda: array("d"))
    values: dict[str, array[float]] = field(
        default_factory=lambda: {key: array("f") for key in KEYS}
    )

    @property
    def version(self) -> str:
        return f"{self.inode}-{self.place}"

    def read(self) -> None:
        """Read what was appended; from the beginning where the file is another one, as after a
        rollback. Raises StanleyError where it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                if about.st_ino != self.inode or about.st_size < self.place:
                    self.__init__(self.path, about.st_ino)
                file.seek(self.place)
                content = file.read(AT_ONCE)
        except FileNotFoundError:
            self.__init__(self.path)
            return
        except OSError as error:
            raise StanleyError(f"{self.path} cannot be read: {error.strerror}") from error
        whole = content.rfind(b"\n") + 1
        self.place += whole
        for line in content[:whole].splitlines():
            self.take(line)

    def take(self, line: bytes) -> None:
        """Take one record; a line that is none, or is of a step before the last one, is left
        out.
        """
        try:
            record = json.loads(line)
            step = float(record["step"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return
        if self.steps and step <= self.steps[-1]:
            return
        self.steps.append(step)
        for key in KEYS:
            value = record.get(key)
            known = isinstance(value, int | float) and not isinstance(value, bool)
            self.values[key].append(in_float32(value) if known else math.nan)

    def told(self) -> dict[str, Any]:
        """What is drawn: of each line the median of a few steps, and their smallest and largest
        value where there are more of them than points. What never changed is told in words.
        """
        step, shown, constant = np.asarray(self.steps), [], []
        for panel in PANELS:
            if panel.title == "Loss" and shown:  # of what has a gap, the loss is the gap and more
                continue
            lines = [
                drawn(line, step, np.asarray(self.values[line.key]), panel.log)
                for line in panel.lines
            ]
            lines = [line for line in lines if line["step"]]
            known = {v for line in lines for v in line["middle"] if v is not None}
            if len(known) == 1 and len(step) > 1:
                constant.append(f"{panel.title.lower()} {known.pop():.4g}")
            elif lines:
                shown.append(
                    {"title": panel.title, "axis": panel.axis, "log": panel.log, "lines": lines}
                )
        return {"panels": shown, "constant": constant}


def in_float32(value: float) -> float:
    """The number, or NaN where it is beyond float32's, which no chart shows."""
    return float(value) if abs(value) < FLOAT32 else math.nan


def drawn(line: Line, step: np.ndarray, value: np.ndarray, log: bool) -> dict[str, Any]:
    good = value > 0 if log else np.isfinite(value)
    band = decimate(step[good], value[good], BINS)
    about: dict[str, Any] = {"name": line.name, "colour": line.colour, "step": plain(band.step)}
    about["middle"] = plain(band.middle)
    if not band.exact:
        about |= {"low": plain(band.low), "high": plain(band.high)}
    return about


def plain(values: np.ndarray) -> list[float | None]:
    """Five digits each; null where a line is interrupted."""
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values.tolist()]
