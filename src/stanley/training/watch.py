"""A watch over a training run: has it just lost what it had learned, with every number finite?

A collapse is a swing of the energies in which parts of the density are lost, rarely to be found
again. |gap| and the norm of the parameter gradient leave their usual sizes together, by far and
several times in a row; a moment later both look healthy, and no fixed limit sees it: usual sizes
differ by orders of magnitude between runs. So a run is held against its own recent past.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from stanley.runs.directory import Record

PAST = 400  # records that say what is usual
FEWEST = 200  # of them, before anything is judged
RECENT = 20  # records in which …
SWINGS = 3  # … so many swings are a collapse
# a swing: |gap| and |∇_θ L| are both more than so many times their medians
GAP, GRADIENT = 8.0, 4.0


class Watch:
    """Sees the records of a run one after the other, in the order of their steps.

    At each record: |gap| > 8·median|gap| and |∇_θ L| > 4·median|∇_θ L|, medians over the 400
    records before, is a swing; three swings within 20 records are a collapse, told once until the
    swings are over. Healthy runs swing alone: of the full-length runs in docs/results none
    raised an alarm, and the recorded collapse has more than ten. Nothing is judged before 200
    records.
    Not true: that every bad end is a collapse; a run can also be slow, or lose a mode so slowly
    that nothing swings.

    What it says depends on the last 820 records alone, so a resumed run is watched like an unbroken
    one.
    """

    NEEDED = 2 * PAST + RECENT  # records to begin with, so that its past is that of an unbroken run

    def __init__(self, past: Iterable[Record] = ()) -> None:
        self.gaps: deque[float] = deque(maxlen=PAST)
        self.gradients: deque[float] = deque(maxlen=PAST)
        self.swings: deque[bool] = deque(maxlen=RECENT)
        for record in past:
            self.see(record)

    def see(self, record: Record) -> str | None:
        """What is wrong at this record, if it completes a collapse; a step without chains never."""
        if record.get("gap") is None:
            return None
        gap, gradient = abs(record["gap"]), record["grad_norm"]
        before = sum(self.swings)
        usual_gap = usual_gradient = 0.0
        if len(self.gaps) >= FEWEST:
            usual_gap, usual_gradient = (
                float(np.median(self.gaps)),
                float(np.median(self.gradients)),
            )
        swings = gap > GAP * usual_gap > 0 and gradient > GRADIENT * usual_gradient > 0
        self.swings.append(swings)
        self.gaps.append(gap)
        self.gradients.append(gradient)
        if sum(self.swings) < SWINGS or before >= SWINGS:
            return None
        return (
            f"energies swing: |gap| {gap:.2g} (usually {usual_gap:.2g}) with a parameter gradient"
            f" of {gradient:.2g} (usually {usual_gradient:.2g}), {SWINGS} times within {RECENT}"
            " steps; what was learned is being lost"
        )
