"""Replica exchange (parallel tempering): hot chains find the modes, swaps hand them down."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from stanley.errors import StanleyError, require
from stanley.samplers.base import ChainState, Sampler, StepInfo, choose, per_chain
from stanley.samplers.given import GivenSampler, NamedSampler
from stanley.samplers.named import SingleSampler
from stanley.samplers.noise import uniform_like
from stanley.samplers.preconditioned import Preconditioned
from stanley.samplers.traits import Traits, traits_of, with_step_size
from stanley.types import Energy, Potential

if TYPE_CHECKING:
    # anything whose positions are x, potential and grad of its state, also one defined elsewhere
    Replicated = Sampler
else:
    # what a configuration file can name
    Replicated = SingleSampler | GivenSampler | NamedSampler

MOST_REPLICAS = 1_000  # so that a small file cannot ask for much memory


class Replicas(NamedTuple):
    """What the cold chains carry besides themselves."""

    own: Any  # the inner sampler's memory of the cold chains
    hot: tuple[ChainState, ...]  # R - 1 states, on U/T_1 ... U/T_{R-1}
    rounds: int  # swap rounds so far; its parity says which pairs come next


@dataclass(frozen=True)
class ReplicaExchange:
    """B ladders of R replicas: replica r runs `sampler` on U/T_r with step size h·T_r^power, then
    neighbours swap,

        log α = (1/T_i - 1/T_j)·(U(x_i) - U(x_j)),   j = i + 1,

    pairs (0, 1), (2, 3), … after even steps and (1, 2), (3, 4), … after odd ones, counted from the
    start of the run.

    temperatures  T_0 = 1 < T_1 < …; the state and its draws are those of T_0
    power         1 keeps h, a variance, in proportion to a quadratic target's; 0.5 does so where
                  the step size is a time (`Underdamped`, `HMC`)

    The product of the exp(-U/T_r), and so exp(-U), is left invariant if the sampler leaves its
    target invariant. Not true for an unadjusted sampler: its replicas have laws of their own, and
    the swaps, exact for exp(-U/T_r), add to the bias. Not true: that the hot replicas know their
    law when a run starts; they start where the cold do. A swap exchanges x, and U and ∇U rescaled
    to the temperature; thresholds, frozen scales and momenta stay. A threshold is in units of
    |∇U|/T_r. R gradients for one of the sampler; acceptance is that of the cold chains. A swap
    whose log α is NaN or infinite is refused. Geyer (1991); even-odd rounds: Okabe et al. (2001),
    Syed et al. (2022), "Non-reversible parallel tempering".
    """

    sampler: Replicated  # the sampler of each replica
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)  # of the replicas, from 1 upwards
    power: float = 1.0  # the step size grows as T to this power
    kind: Literal["replica-exchange"] = "replica-exchange"

    def __post_init__(self) -> None:
        t, name = self.temperatures, type(self.sampler).__name__
        num = len(t)
        shown = f"({', '.join(map(str, t[:10]))}{', …' if num > 10 else ''})"
        if isinstance(self.sampler, ReplicaExchange | Preconditioned):
            raise StanleyError(
                f"ReplicaExchange({name}): a swap would not reach the positions that {name} keeps"
                " in its memory; use one ladder, and Preconditioned(ReplicaExchange(...), scale)"
                " for a scale"
            )
        increasing = all(a < b for a, b in pairwise(t))
        require(
            len(t) >= 1 and t[0] == 1 and increasing and t[-1] < math.inf and num <= MOST_REPLICAS,
            f"ReplicaExchange: temperatures are {shown}, must start at 1, increase, be finite"
            f" and at most {MOST_REPLICAS} of them; (1, 2, 4) is a start",
        )
        require(
            0 <= self.power < math.inf,
            f"ReplicaExchange: power is {self.power}, must be >= 0 and finite; 1 for a step size"
            " that is a variance, 0.5 for one that is a time",
        )

    @property
    def step_size(self) -> float:
        return self.sampler.step_size

    @property
    def traits(self) -> Traits:
        inner, num = traits_of(self.sampler), len(self.temperatures)
        return replace(
            inner,
            deterministic=False,  # the swaps toss coins
            gradient_is_for_next=False,  # and ask for U
            gradients=num * inner.gradients,
            potentials=num * inner.potentials,
            init_gradients=num * inner.init_gradients,
            init_potentials=num * inner.init_potentials,
            not_markov="it carries replicas from step to step" if num > 1 else inner.not_markov,
        )

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        cold, *hot = (self.at(t).init(tempered(potential, t), x) for t in self.temperatures)
        return cold._replace(memory=Replicas(cold.memory, tuple(hot), 0))

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        own, hot, rounds = state.memory
        t, ladder, infos = self.temperatures, [state._replace(memory=own), *hot], []
        for r in range(len(t)):
            ladder[r], info = self.at(t[r]).step(tempered(potential, t[r]), ladder[r], generator)
            infos.append(info)
        # NaN: not tried in this round
        swaps = [torch.full_like(state.potential[0], torch.nan)] * (len(t) - 1)
        for i in range(rounds % 2, len(t) - 1, 2):
            ladder[i], ladder[i + 1], acceptance = swap(
                ladder[i], ladder[i + 1], t[i], t[i + 1], generator
            )
            swaps[i] = acceptance.mean().to(swaps[i])
        cold, *hot = ladder
        return cold._replace(memory=Replicas(cold.memory, tuple(hot), rounds + 1)), infos[
            0
        ]._replace(
            num_gradients=total([info.num_gradients for info in infos]),
            num_potentials=total([info.num_potentials for info in infos]),
            swap_acceptance=torch.stack(swaps) if swaps else None,
        )

    def at(self, temperature: float) -> Sampler:
        """The sampler with the step size of a temperature; T = 1 is the sampler itself."""
        h = self.step_size * temperature**self.power
        return self.sampler if temperature == 1 else with_step_size(self.sampler, h)


def total(counts: list[int | None]) -> int | None:
    """Of all replicas; None where their sampler counts nothing, since its traits state it."""
    counted = [n for n in counts if n is not None]
    return sum(counted) if counted else None


def tempered(potential: Energy, temperature: float) -> Energy:
    """U/T; U itself at T = 1."""
    return potential if temperature == 1 else Potential(potential, temperature)


def swap(
    low: ChainState, high: ChainState, t_low: float, t_high: float, generator: torch.Generator
) -> tuple[ChainState, ChainState, Tensor]:
    """The two states after each chain's swap was accepted or refused, and min(1, α): (B,)."""
    log_alpha = log_swap(low, high, t_low, t_high)
    valid = log_alpha.isfinite()
    coin = uniform_like(log_alpha, generator)
    accept = valid & (coin.log() < log_alpha)
    ratio = t_high / t_low  # U/T_high to U/T_low
    down = low._replace(x=high.x, potential=high.potential * ratio, grad=high.grad * ratio)
    up = high._replace(x=low.x, potential=low.potential / ratio, grad=low.grad / ratio)
    acceptance = torch.where(valid, log_alpha.clamp(max=0).exp(), 0.0)
    return choose(accept, down, low), choose(accept, up, high), acceptance


def log_swap(low: ChainState, high: ChainState, t_low: float, t_high: float) -> Tensor:
    """log α = (1/T_i - 1/T_j)·(U_i - U_j), U_i = T_i·(U/T_i) in float64."""
    u_low, u_high = (t * per_chain(s.potential[:, None]) for t, s in ((t_low, low), (t_high, high)))
    return (1 / t_low - 1 / t_high) * (u_low - u_high)
