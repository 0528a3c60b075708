"""Any proposal with a log-ratio, made exact by a Metropolis test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.samplers.base import ChainState, FollowsChains, Proposal, StepInfo, metropolis
from stanley.samplers.clipped import ClippedLangevin
from stanley.samplers.given import GivenSampler, NamedSampler
from stanley.samplers.langevin import Langevin
from stanley.samplers.stanley import Stanley
from stanley.samplers.tamed import TamedLangevin
from stanley.samplers.traits import Traits, is_adjusted, traits_of, why_not_adjustable
from stanley.types import Energy

if TYPE_CHECKING:
    Adjustable = Proposal  # anything with propose and log_ratio, also one defined elsewhere
else:
    # what a configuration file can name
    Adjustable = Langevin | Stanley | ClippedLangevin | TamedLangevin | GivenSampler | NamedSampler


@dataclass(frozen=True)
class Adjusted:
    """y ~ q(x→·), accepted with probability min(1, α),   log α = U(x) - U(y) + log q(y→x) - log
    q(x→y).

    Leaves exp(-U) invariant exactly, for every step size. `Adjusted(Stanley(...))` is the draft's
    kernel (17), corrected: the covariance is h·diag γ and the ratio is π(y)q(y→x) / π(x)q(x→y). One
    new gradient per step. Not true: that it suits every scope. At d = 3072, γ refreshed per step
    and per element is almost never accepted; 'sample' scope is. With γ frozen at 'start', or a
    quantile threshold, the run as a whole depends on its first state: each step is exact, the first
    few are not at equilibrium. Metropolis et al. (1953), Hastings (1970).
    """

    proposal: Adjustable  # the sampler inside; --sampler adjusted-KIND
    kind: Literal["adjusted"] = "adjusted"

    def __post_init__(self) -> None:
        name = type(self.proposal).__name__
        if is_adjusted(self.proposal):
            raise StanleyError(f"Adjusted({name}): {name} is adjusted already; use it as it is")
        reason = why_not_adjustable(self.proposal)
        if reason is not None:
            raise StanleyError(f"Adjusted({name}): {reason}")

    @property
    def traits(self) -> Traits:
        inner = traits_of(self.proposal)
        return replace(
            inner,
            adjusted=True,
            gradients=inner.gradients + inner.log_ratio_gradients,
            gradient_is_for_next=False,  # the test asks for U at the end
        )

    @property
    def step_size(self) -> float:
        return self.proposal.step_size

    def init(self, potential: Energy, x: Tensor) -> ChainState:
        return self.proposal.init(potential, x)

    def step(
        self, potential: Energy, state: ChainState, generator: torch.Generator
    ) -> tuple[ChainState, StepInfo]:
        candidate, move, info = self.proposal.propose(potential, state, generator)
        log_ratio = self.proposal.log_ratio(potential, state, candidate, move)
        if info.num_gradients is not None:  # a proposal that counts, not knowing of its log-ratio
            own = traits_of(self.proposal).log_ratio_gradients
            info = info._replace(num_gradients=info.num_gradients + own)
        after, info = metropolis(state, candidate, log_ratio, generator, info)
        if isinstance(self.proposal, FollowsChains):
            # At a threshold far too small no candidate is accepted: its noise would be next
            # to nothing. Chains that stand still learn of gradients where they may not go.
            threshold = self.proposal.followed(candidate, factor=1000.0).threshold
            after = after._replace(threshold=threshold)
        return after, info
