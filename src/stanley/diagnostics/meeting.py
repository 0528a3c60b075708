"""What meeting times of coupled chains say: bounds on the distance to equilibrium, and when it is
small.

The bounds and their source stand at the top of `stanley.diagnostics.coupling`, which runs the
pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stanley.errors import require

LEVEL = 0.25  # of total variation, the usual definition of a mixing time
TAIL = 10  # meetings beyond the median that a slope needs


class Curve(NamedTuple):
    """A bound against the step of the marginal chain."""

    times: Tensor  # (T,) t
    value: Tensor  # (T,) mean over pairs
    standard_error: Tensor  # (T,) of that mean; 0 where no pair is left
    valid: bool  # False: the curve is too low by an unknown amount and bounds nothing


@dataclass(frozen=True)
class Meeting:
    """When P pairs of chains met, and what follows from it."""

    times: Tensor  # (P,) τ as float64; ∞ where the pair had not met after max_steps coupled steps
    # (S, P) |X_{L+k} - Y_k|, Euclidean over the event, k = 0 … S-1; ∞ once diverged
    distances: Tensor
    diverged: Tensor  # (P,) bool: a chain of the pair left the finite numbers
    lag: int
    max_steps: int
    exact: bool  # the sampler is adjusted: π is exp(-U)

    @property
    def unmet(self) -> float:
        """Share of the pairs that had not met."""
        return float(self.times.isinf().double().mean())

    @property
    def never_apart(self) -> float:
        """Share of the pairs that started at one point and that X had not left after its first L
        steps.
        """
        return float((self.times == self.lag).double().mean())

    @property
    def valid(self) -> bool:
        """All pairs have met, and at least half of them had been apart."""
        return self.unmet == 0 and self.never_apart <= 0.5

    def total_variation(self, times: Tensor | None = None) -> Curve:
        """E max(0, ⌈(τ - L - t)/L⌉) ≥ |π_t - π|_TV ∈ [0, 1] at steps t, or at up to 1001 of them to
        where it ends.

        A pair that has not met counts as if it met just after the cap: the curve is then not valid.
        Above 1 it says nothing. Not true: that 0 means arrived; P pairs see nothing much below 1/P.
        """
        t = self.steps(times)
        tau = self.times.clamp(max=self.lag + self.max_steps + 1)
        count = ((tau - self.lag - t[:, None]) / self.lag).ceil().clamp(min=0)
        return self.curve(t, count)

    def wasserstein(self, times: Tensor | None = None) -> Curve:
        """E Σ_{j≥1} |X_{t+jL} - Y_{t+(j-1)L}| ≥ W₁(π_t, π), for the Euclidean norm over the event.

        For laws with a finite mean. Pairs that have not met are summed up to the cap: the curve is
        then not valid.
        """
        t, lag, (size, pairs) = self.steps(times), self.lag, self.distances.shape
        fill = torch.where(self.diverged, math.inf, 0.0).double()
        rows = torch.cat([self.distances, fill.expand(-size % lag, pairs)]).view(-1, lag, pairs)
        sums = rows.flip(0).cumsum(0).flip(0).view(-1, pairs)  # sums[k] = D[k] + D[k+L] + …
        beyond = t >= len(sums)
        return self.curve(t, torch.where(beyond[:, None], fill, sums[t.where(~beyond, 0)]))

    def slope(self) -> tuple[float, float]:
        """d log TV/dt of the tail of the curve, negative, and its standard error; NaN with too few
        meetings.

        Beyond the median meeting time u every step meets with probability p (a geometric tail), for
        which P(τ > t) and the curve fall like (1-p)^t. p is estimated by meetings over steps, Σ 1{τ
        > u} / Σ (τ - u)₊, where pairs that have not met count with the steps that they made: the
        maximum-likelihood estimate under censoring. Not true: that it is the chain's own rate; the
        coupling may meet more slowly than the chain forgets.
        """
        met = self.times[self.times.isfinite()].sort().values
        if len(met) < 2 * TAIL:
            return math.nan, math.nan
        u = met[len(met) // 2 - 1]
        steps = float(
            (self.times.clamp(max=self.lag + self.max_steps) - u)[~self.diverged].clamp(min=0).sum()
        )
        meetings = float((met > u).sum())
        if meetings < TAIL or steps <= meetings:
            return math.nan, math.nan
        p = meetings / steps
        return math.log1p(-p), math.sqrt(p / (1 - p) / steps)

    def mixing_time(self, level: float = LEVEL) -> int | None:
        """First t at which the curve and two standard errors are below the level;
        None if the curve is not valid.
        """
        require(
            0 < level < 1, f"mixing_time: level is {level}, must lie between 0 and 1; 0.25 is usual"
        )
        if not self.valid:
            return None
        for block in torch.arange(int(self.times.max()) - self.lag + 1).split(1000):
            t, value, error, _ = self.total_variation(block)
            below = value + 2 * error < level
            if below.any():
                return int(t[below][0])
        raise AssertionError("the curve is 0 at its last step")

    def verdict(self) -> str:
        """What was seen, in one sentence with its numbers."""
        pairs, missing, diverged = (
            len(self.times),
            int(self.times.isinf().sum()),
            int(self.diverged.sum()),
        )
        law = "exp(-U)" if self.exact else "the sampler's own invariant law, which is not exp(-U)"
        if diverged:
            return (
                f"{diverged} of {pairs} pairs left the finite numbers: the chain diverges, use a"
                " smaller step size"
            )
        if missing:
            return (
                f"{missing} of {pairs} pairs had not met after {self.max_steps} coupled steps: the"
                " curves are too low by an unknown amount and bound nothing; give more max_steps,"
                " or take it that the chain does not mix from there"
            )
        if not self.valid:
            return (
                f"{int((self.times == self.lag).sum())} of {pairs} pairs were never apart: they"
                f" started at one point that X had not left after {self.lag} steps, so nothing is"
                " known of convergence; spread the starts or use a larger lag"
            )
        slope, error = self.slope()
        pace = f", falling by a factor e every {-1 / slope:.3g} ± {error / slope**2:.1g} steps"
        return (
            f"all {pairs} pairs met, the last at step {int(self.times.max())}: the chain is within"
            f" total variation {LEVEL} of {law} after {self.mixing_time()}"
            f" steps{'' if math.isnan(slope) else pace}"
        )

    def steps(self, times: Tensor | None) -> Tensor:
        """The steps asked for, or 0 … where the curve ends, at most 1001 of them."""
        if times is None:
            last = len(self.distances) - 1
            return torch.linspace(0, last, min(last, 1000) + 1, dtype=torch.float64).round().long()
        t = torch.as_tensor(times).cpu()
        require(
            t.dim() == 1 and not t.is_floating_point() and bool((t >= 0).all()),
            f"times are {t.tolist() if t.numel() < 9 else tuple(t.shape)}, must be a vector of"
            " whole numbers >= 0",
        )
        return t

    def curve(self, times: Tensor, values: Tensor) -> Curve:
        """Mean over the pairs and its standard error: (T, P) -> (T,)."""
        return Curve(times, values.mean(1), values.std(1) / values.shape[1] ** 0.5, self.valid)
