"""What a run counts of its chains from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stanley.batches import finite_chains
from stanley.device import widest_float
from stanley.samplers.base import ChainState, Sampler, StepInfo
from stanley.samplers.traits import traits_of


class Sums(NamedTuple):
    """Running sums over the steps; zeros of what the sampler does not tell."""

    acceptance: Tensor  # (B,)
    scale: Tensor  # (B,)
    grad_norm: Tensor  # (B,)   |∇U|₂ where the steps began
    invalid: Tensor  # (B,)
    # (R - 1,)  of replicas, and in how many rounds each pair of temperatures took part
    swaps: Tensor
    swap_rounds: Tensor

    @classmethod
    def of(cls, state: ChainState) -> Sums:
        """Before the first step."""
        zero = torch.zeros_like(state.potential)
        none = torch.zeros_like(zero, dtype=torch.long)
        acceptance = zero.to(widest_float(zero.device))
        return cls(acceptance, zero, zero, none, zero.new_zeros(()), none.new_zeros(()))

    def after(self, before: ChainState, info: StepInfo) -> Sums:
        """With one step more, which began at the state `before`."""
        acceptance, scale, grad_norm, invalid, swaps, rounds = self
        grad_norm = grad_norm + torch.linalg.vector_norm(before.grad.flatten(1), dim=1)
        if info.acceptance is not None:
            acceptance = acceptance + info.acceptance
        if info.scale is not None:
            scale = scale + info.scale
        if info.invalid is not None:
            invalid = invalid + info.invalid
        if info.swap_acceptance is not None:
            # a pair of temperatures takes part in every other round
            tried = ~info.swap_acceptance.isnan()
            rates = info.swap_acceptance.where(tried, 0.0)
            swaps, rounds = swaps + rates, rounds + tried
        return Sums(acceptance, scale, grad_norm, invalid, swaps, rounds)

    def swap_acceptance(self) -> Tensor | None:
        """(R - 1,), or None of a sampler without replicas."""
        return self.swaps / self.swap_rounds if self.swap_rounds.dim() else None


@dataclass(frozen=True)
class Told:
    """What the host knows of a step without asking the device."""

    acceptance: bool  # whether it is told
    scale: bool  # likewise
    num_gradients: int | None
    num_potentials: int | None

    @classmethod
    def of(cls, info: StepInfo) -> Told:
        acceptance, scale, *_ = info
        cost = info.num_gradients, info.num_potentials
        return cls(acceptance is not None, scale is not None, *cost)


@dataclass(frozen=True)
class ChainInfo:
    """What happened to B chains over a run. Means are over the steps of the run."""

    # (B,)   mean probability of accepting; 1 where nothing is rejected by design
    acceptance: Tensor
    step_scale: Tensor  # (B,)   mean γ over steps and event; 1 for isotropic samplers
    # (B,)    mean |∇U|₂ at the states the steps began at; NaN where no gradient is computed
    grad_norm: Tensor
    invalid: Tensor  # (B,)      proposals rejected because log α was NaN or infinite
    nonfinite: Tensor  # (B,)    bool: the chain ended at a non-finite position or potential
    potential: Tensor  # (B,)    U at the last positions; NaN where it was left out
    threshold: Tensor | None  # 0-d, STANLEY's th as it was resolved
    # per chain, the start's and the steps' (not drift's one check of the Hessian)
    num_gradients: int
    num_potentials: int = 0  # per chain, evaluations of U without its gradient
    # (R - 1,) mean over the swaps tried between neighbours; NaN if none was
    swap_acceptance: Tensor | None = None


class Totals:
    """What happened over a run so far, on the device; nothing is read back before the run ends."""

    def __init__(self, sampler: Sampler, state: ChainState, left_out: bool = False) -> None:
        self.cost, self.left_out = traits_of(sampler), left_out
        self.sums = Sums.of(state)
        self.num_gradients = self.cost.init_gradients - left_out
        self.num_potentials = self.cost.init_potentials
        self.has_acceptance = self.has_scale = False

    def add(self, before: ChainState, info: StepInfo) -> None:
        """One step, which began at the state `before`."""
        self.sums = self.sums.after(before, info)
        self.count(Told.of(info))

    def count(self, told: Told) -> None:
        """What is known of a step without its sums."""
        gradients, potentials = told.num_gradients, told.num_potentials
        self.num_gradients += self.cost.gradients if gradients is None else gradients
        self.num_potentials += self.cost.potentials if potentials is None else potentials
        self.has_acceptance |= told.acceptance
        self.has_scale |= told.scale

    def note(self, steps: int) -> str:
        acceptance = float(self.sums.acceptance.mean()) / steps
        return f"acceptance {acceptance:.2f}" if self.has_acceptance else ""

    def summary(self, state: ChainState, num_steps: int) -> ChainInfo:
        finite, sums = finite_chains(state.x), self.sums
        if not self.left_out:
            finite = finite & state.potential.isfinite()
        one = torch.ones_like(state.potential)
        return ChainInfo(
            acceptance=(sums.acceptance / num_steps).to(one) if self.has_acceptance else one,
            step_scale=sums.scale / num_steps if self.has_scale else one,
            grad_norm=sums.grad_norm / num_steps,
            invalid=sums.invalid,
            nonfinite=~finite,
            potential=state.potential,
            threshold=state.threshold,
            num_gradients=self.num_gradients,
            num_potentials=self.num_potentials,
            swap_acceptance=sums.swap_acceptance(),
        )
