"""Bounds on the distance to equilibrium, from the meeting times of coupled chains.

The formulas and their source are at the top of `stanley.diagnostics.coupling`, which runs the
pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stanley.errors import require

LEVEL = 0.25  # the total variation that usually defines a mixing time
TAIL = 10  # number of meetings after the median one that a slope needs


class Curve(NamedTuple):
    """A bound on the distance to equilibrium, as a function of the step t of one chain.

    times            t, (T,)
    value            the bound, a mean over pairs, (T,)
    standard_error   of that mean, (T,); 0 where no pair is left
    valid            if False, the values are too low by an unknown amount and are no bound
    """

    times: Tensor
    value: Tensor
    standard_error: Tensor
    valid: bool


@dataclass(frozen=True)
class Meeting:
    """The result of `couple`: when P pairs of chains met, and the bounds that follow from it.

    times       τ in float64, (P,); ∞ for a pair that had not met after max_steps coupled steps
    distances   Euclidean |X_{L+k} - Y_k| for k = 0 … S-1, (S, P); ∞ for a pair that has diverged
    diverged    whether a chain of the pair became non-finite, (P,) bool
    lag         L
    max_steps   limit on the number of coupled steps
    exact       whether the sampler is adjusted, so that π ∝ exp(-U)
    """

    times: Tensor
    distances: Tensor
    diverged: Tensor
    lag: int
    max_steps: int
    exact: bool

    @property
    def unmet(self) -> float:
        """Share of the pairs that had not met."""
        return float(self.times.isinf().double().mean())

    @property
    def never_apart(self) -> float:
        """Share of the pairs with equal starts, which X had not left after its first L steps."""
        return float((self.times == self.lag).double().mean())

    @property
    def valid(self) -> bool:
        """Whether all pairs have met, and at least half of them had been apart before."""
        return self.unmet == 0 and self.never_apart <= 0.5

    def total_variation(self, times: Tensor | None = None) -> Curve:
        """The bound E max(0, ⌈(τ - L - t)/L⌉) ≥ |π_t - π|_TV on total variation, at steps t.

        By default t are up to 1001 steps from 0 to where the bound is 0. Values above 1 give no
        information. A pair that has not met counts as if it met just after `max_steps`; the curve
        is then not valid. Not true: that 0 means equilibrium: P pairs cannot resolve values much
        below 1/P.
        """
        t = self.steps(times)
        tau = self.times.clamp(max=self.lag + self.max_steps + 1)
        count = ((tau - self.lag - t[:, None]) / self.lag).ceil().clamp(min=0)
        return self.curve(t, count)

    def wasserstein(self, times: Tensor | None = None) -> Curve:
        """The bound E Σ_{j≥1} |X_{t+jL} - Y_{t+(j-1)L}| ≥ W₁(π_t, π) on the Wasserstein distance.

        The norm is Euclidean over the event, and the laws must have a finite mean. By default t are
        as in `total_variation`. For pairs that have not met the sum ends at `max_steps`; the curve
        is then not valid.
        """
        t, lag, (size, pairs) = self.steps(times), self.lag, self.distances.shape
        fill = torch.where(self.diverged, math.inf, 0.0).double()
        rows = torch.cat([self.distances, fill.expand(-size % lag, pairs)]).view(-1, lag, pairs)
        sums = rows.flip(0).cumsum(0).flip(0).view(-1, pairs)  # sums[k] = D[k] + D[k+L] + …
        beyond = t >= len(sums)
        return self.curve(t, torch.where(beyond[:, None], fill, sums[t.where(~beyond, 0)]))

    def slope(self) -> tuple[float, float]:
        """The slope d log TV/dt of the tail of the bound, and its standard error.

        The slope is negative; both are NaN if there are too few meetings. After the median meeting
        time u, pairs are assumed to meet with the same probability p in every step (a geometric
        tail), so that P(τ > t) and the bound fall like (1-p)^t. p is estimated by
        Σ 1{τ > u} / Σ (τ - u)₊, the number of meetings over the number of steps, including the
        steps of pairs that have not met: the maximum-likelihood estimate under censoring. Not true:
        that it is the convergence rate of the chain: coupled chains may take longer to meet than
        the chain takes to forget its start.
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
        """The first step at which the bound plus two standard errors is below `level`.

        None if the bound is not valid. Raises StanleyError for a level outside (0, 1).
        """
        require(
            0 < level < 1,
            f"mixing_time: level is {level}, but must lie between 0 and 1; 0.25 is usual",
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
        """One sentence with the result and its numbers."""
        pairs, missing, diverged = (
            len(self.times),
            int(self.times.isinf().sum()),
            int(self.diverged.sum()),
        )
        law = "exp(-U)" if self.exact else "the sampler's own invariant law, which is not exp(-U)"
        if diverged:
            return (
                f"{diverged} of {pairs} pairs became non-finite, so the chain diverges; use a"
                " smaller step size"
            )
        if missing:
            return (
                f"{missing} of {pairs} pairs had not met after {self.max_steps} coupled steps, so"
                " the curves are too low by an unknown amount and are no bounds; raise max_steps;"
                " if that does not help, the chain does not mix from these starts"
            )
        if not self.valid:
            return (
                f"{int((self.times == self.lag).sum())} of {pairs} pairs were never apart: they"
                f" started at one point, which X had not left after {self.lag} steps, so nothing is"
                " known about convergence; spread the starts, or use a larger lag"
            )
        slope, error = self.slope()
        pace = (
            f"; the bound falls by a factor e every {-1 / slope:.3g} ± {error / slope**2:.1g} steps"
        )
        return (
            f"all {pairs} pairs met, the last at step {int(self.times.max())}: the chain is within"
            f" total variation {LEVEL} of {law} after {self.mixing_time()}"
            f" steps{'' if math.isnan(slope) else pace}"
        )

    def steps(self, times: Tensor | None) -> Tensor:
        """The given steps, or at most 1001 steps from 0 to where the bound is 0."""
        if times is None:
            last = len(self.distances) - 1
            return torch.linspace(0, last, min(last, 1000) + 1, dtype=torch.float64).round().long()
        t = torch.as_tensor(times).cpu()
        require(
            t.dim() == 1 and not t.is_floating_point() and bool((t >= 0).all()),
            f"times are {t.tolist() if t.numel() < 9 else tuple(t.shape)}, but must be a vector"
            " (T,) of whole numbers >= 0",
        )
        return t

    def curve(self, times: Tensor, values: Tensor) -> Curve:
        """Mean over the pairs and its standard error: (T, P) -> (T,)."""
        return Curve(times, values.mean(1), values.std(1) / values.shape[1] ** 0.5, self.valid)
