"""HMC for many chains whose trajectory length is learned in the warm-up: ChEES-HMC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stanley.samplers.base import (
    ChainState,
    StepInfo,
    evaluate,
    metropolis,
    per_chain,
    require_positive,
)
from stanley.samplers.hmc import leapfrog
from stanley.samplers.noise import normal_like
from stanley.samplers.traits import Traits
from stanley.types import Energy

MOST_LEAPFROG = 1000  # of one trajectory, as in the paper


class Trajectory(NamedTuple):
    """One step, and the trajectory that it took."""

    after: ChainState
    info: StepInfo
    end: ChainState  # of the trajectory, accepted or not
    momentum: Tensor  # (B, *event), there
    time: float


@dataclass(frozen=True)
class ChEES:
    """(y, p') = leapfrog^L(x, p),   p ~ N(0, I),   L = ⌈uT/ε⌉,   u ~ U(0, 1), one u for all chains,
    accepted with probability min(1, α),   log α = U(x) - U(y) + ½|p|² - ½|p'|².

    `step_size` is the leapfrog step ε, `trajectory` the longest time T. `adapt` finds both: ε by
    the acceptance rate, T by ascending the criterion that gives the sampler its name, the Change in
    the Estimator of the Expected Square,

        ChEES(T) = ¼ E[(|y - E y|² - |x - E x|²)²],

    which is large where |x|² of successive states is as different as it can be. E is the mean over
    chains, so it takes many of them, 16 at least. Cost: one gradient per leapfrog step, at most
    1,000; reads one number back from the device. Leaves exp(-U) invariant exactly, for every ε and
    T, as L does not depend on the state. Not true: that the chains are independent of each other in
    time, since they share each step's length.
    Hoffman, Radul & Sountsov (2021), An Adaptive-MCMC Scheme for Setting Trajectory Lengths in
    Hamiltonian Monte Carlo, section 3.
    """

    step_size: float  # ε, a leapfrog step: √h of a Langevin sampler
    trajectory: float = 1.0  # T, the longest time of a trajectory
    kind: Literal["chees"] = "chees"

    def __post_init__(self) -> None:
        require_positive(self, step_size=self.step_size, trajectory=self.trajectory)

    @property
    def traits(self) -> Traits:
        return Traits(
            adjusted=True,
            target_acceptance=0.651,  # the optimum of HMC: Beskos et al. (2013)
            step_is_time=True,
            step_size_hint="it is the leapfrog step ε, √h of a Langevin sampler",
            gradients=self.mean_leapfrog,
            not_traceable="ChEES draws its number of leapfrog steps anew for each step",
        )

    @property
    def mean_leapfrog(self) -> int:
        """E L, to the nearest whole number, with m = ⌈T/ε⌉:  Σ_{k<m} (1 - kε/T)."""
        if not (0 < self.step_size < math.inf and 0 < self.trajectory < math.inf):
            return 1  # they are about to be refused
        ratio = min(float(self.trajectory / self.step_size), MOST_LEAPFROG)
        if ratio <= 1:
            return 1
        most = math.ceil(ratio)
        return max(1, round(most - most * (most - 1) / (2 * ratio)))

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return evaluate(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        u = float(torch.rand((), generator=generator, device=generator.device, dtype=torch.float64))
        move = self.move(potential, state, u, generator)
        return move.after, move.info

    def move(
        self,
        potential: Energy,
        state: ChainState,
        u: float,
        generator: torch.Generator,
        most: int = MOST_LEAPFROG,
    ) -> Trajectory:
        """The step of a trajectory that lasts uT, or `most` leapfrog steps."""
        time = u * float(self.trajectory)
        num = min(max(1, math.ceil(time / float(self.step_size))), most)
        momentum = normal_like(state.x, generator)
        end, last = leapfrog(potential, state, momentum, self.step_size, num)
        log_ratio = per_chain(momentum**2 - last**2) / 2
        info = StepInfo(num_gradients=num)
        after, info = metropolis(state, end, log_ratio, generator, info)
        return Trajectory(after, info, end, last, time)


class TrajectorySearch:
    """Ascends ChEES(T) in log T by Adam without momentum, rate 0.025 and β₂ = 0.95, as the paper.

    T̄ is the average of log T over the steps, weighted like a polynomial, n/Σn, so that late ones
    count more.
    """

    def __init__(self, length: float, rate: float = 0.025) -> None:
        self.log_length, self.rate = math.log(length), rate
        self.square, self.n, self.log_mean = 0.0, 0, 0.0

    @property
    def length(self) -> float:
        return math.exp(self.log_length)

    @property
    def mean_length(self) -> float:
        return math.exp(self.log_mean if self.n else self.log_length)

    def update(self, before: Tensor, move: Trajectory) -> None:
        gradient = move.time * chees_gradient(before, move)
        self.n += 1
        if math.isfinite(gradient):
            self.square = 0.95 * self.square + 0.05 * gradient**2
            size = math.sqrt(self.square / (1 - 0.95**self.n)) or 1.0
            self.log_length += self.rate * max(-3.0, min(3.0, gradient / size))
        weight = 2 / (self.n + 1)
        self.log_mean += weight * (self.log_length - self.log_mean)


def chees_gradient(before: Tensor, move: Trajectory) -> float:
    """∂ChEES/∂t of trajectories that go on for a moment longer:

        E[(|y - E y|² - |x - E x|²)·⟨y - E y, p'⟩],

    over chains weighted by their probability of accepting. NaN where no chain has any.
    """
    weight = move.info.acceptance
    assert weight is not None
    weight = weight.to(torch.float64)
    total = weight.sum()
    rows = weight.view(-1, *[1] * (before.dim() - 1))
    y = torch.where(rows > 0, move.end.x, 0.0).double()
    p = torch.where(rows > 0, move.momentum, 0.0).double()
    x = before.double()
    y = y - (rows * y).sum(0) / total
    x = x - x.mean(0)
    change = per_chain(y**2) - per_chain(x**2)
    return float((weight * change * per_chain(y * p)).sum() / total)


def van_der_corput(n: int) -> float:
    """The n-th number, from 1, of the sequence that fills (0, 1) evenly: ½, ¼, ¾, ⅛, …"""
    value, place = 0.0, 0.5
    while n:
        value += place * (n & 1)
        n, place = n >> 1, place / 2
    return value
