"""One iteration of S runs side by side: what `step` and `objectives.contrastive` do for one run,
with a row for each run where those have one number.

The state of each run stays its own: its weights, average and moments lie in the memory of the
stack's, so that a checkpoint of a run is taken, and gone back to, as of any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stanley.data import Dataset, next_batch
from stanley.networks.side_by_side import Rows, side_by_side
from stanley.samplers import ChainInfo, run_chains
from stanley.samplers.noise import Generators
from stanley.samplers.run import potential_for
from stanley.samplers.side_by_side import side_by_side as samplers_side_by_side
from stanley.training.config import TrainConfig
from stanley.training.frozen import Frozen
from stanley.training.losses import contrastive_loss
from stanley.training.objectives.contrastive import (
    LossParts,
    NegativeBatch,
    given_up,
    keep,
    ratios,
    starts,
)
from stanley.training.optim import SideBySide
from stanley.training.state import TrainState
from stanley.training.step import (
    Measured,
    StepResult,
    known_of,
    learning_rate_at,
    quotients,
    with_norm,
)


class Stack:
    """S runs that are at the same step, as one."""

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        states: Sequence[TrainState],
        data: Sequence[Dataset],
    ) -> None:
        self.configs, self.states, self.data = configs, states, data
        first = [*states[0].energy.parameters()]
        shapes, num = [p.shape for p in first], len(states)
        self.weights, self.average = (Rows(shapes, num, first[0]) for _ in range(2))
        for s, state in enumerate(states):
            for rows, network in ((self.weights, state.energy), (self.average, state.average)):
                for own, parameter in zip(rows.of(s), network.parameters(), strict=True):
                    own.copy_(parameter.detach())
                    parameter.data = own
        self.optimizer = SideBySide(
            [config.optimizer for config in configs],
            [state.optimizer for state in states],
            self.weights,
        )
        self.gradient = Rows(shapes, num, first[0])
        self.energy = side_by_side([state.energy for state in states], self.weights)
        self.frozen = Frozen(self.energy, "eager")
        same = all(alike(states[0], state) for state in states)
        self.noises = [state.noise for state in (states[:1] if same else states)]

    def step(self) -> list[Measured]:
        """One iteration of every run; the numbers of each one's record."""
        configs, states, world = self.configs, self.states, self.states[0].world
        batches = [
            next_batch(data, config.batch, state.data_generator, config.data_noise)
            for config, state, data in self.each()
        ]
        x_pos = torch.stack(batches)  # (S, B, *event)
        rates = [learning_rate_at(*pair) for pair in zip(configs, states, strict=True)]
        step_sizes = [state.step_size * state.slowdown for state in states]
        negatives = self.negatives(x_pos, step_sizes)
        parts = self.backward(x_pos, negatives.x)
        grad_norm = self.update(rates)
        for state in states:
            state.step += 1
        told = with_norm(ratios(world, parts, negatives, self.spread(negatives.x)), grad_norm)
        numbers = quotients(world, told).unbind(1)
        results = (
            StepResult(state.step, rate, h, told, grad_norm)
            for state, rate, h in zip(states, rates, step_sizes, strict=True)
        )
        return [
            Measured(known_of(result), tuple(told), own)
            for result, own in zip(results, numbers, strict=True)
        ]

    def each(self) -> Iterator[tuple[TrainConfig, TrainState, Dataset]]:
        return zip(self.configs, self.states, self.data, strict=True)

    def negatives(self, x_pos: Tensor, step_sizes: Sequence[float]) -> NegativeBatch:
        """The ends of each run's chains (S, B, *event), written back to its bank."""
        config, states = self.configs[0], self.states
        objectives = [config.chains for config in self.configs]
        begun = [starts(*own) for own in zip(objectives, states, x_pos, strict=True)]
        x0 = torch.cat([x for _, x in begun])
        samplers = [config.sampler for config in self.configs]
        sampler = samplers_side_by_side(samplers, step_sizes, x0)
        potential = potential_for(sampler, config.potential(self.energy))
        with self.frozen(potential, x0) as seen:
            chains = run_chains(
                sampler,
                seen,
                x0,
                config.chains.chain_steps_at(states[0].step, config.steps),
                generator=Generators([state.chain_generator for state in states]),  # type: ignore[arg-type]
                execution="eager",
                last_gradient=False,
            )
        shape = x_pos.shape[:2]
        x, info = chains.x.view(x_pos.shape), by_run(chains.info, *shape)
        lost = torch.stack([given_up(*own) for own in zip(objectives, runs_of(info), strict=True)])
        for (slots, _), state, ends, gone in zip(begun, states, x, lost, strict=True):
            keep(state, slots, ends, gone)
        return NegativeBatch(x, info, lost.sum(-1), None)

    def backward(self, x_pos: Tensor, x_neg: Tensor) -> LossParts:
        """Leave ∇_θ L of each run in its row of `gradient`: the runs share no weight, so the
        gradient of the sum of their losses is that of each.
        """
        self.energy.train()
        both = torch.cat([x_pos, x_neg], 1)
        energies = self.energy(both.flatten(0, 1)).view(both.shape[:2])
        energy_pos, energy_neg = energies.split([x_pos.shape[1], x_neg.shape[1]], 1)
        loss = contrastive_loss(energy_pos, energy_neg, self.configs[0].chains.energy_l2)
        grads = torch.autograd.grad(loss.sum(), [*self.energy.parameters()])
        for own, grad in zip(self.gradient.of_all(), grads, strict=True):
            own.copy_(grad)
        return LossParts(loss.detach(), energy_pos.detach(), energy_neg.detach())

    @torch.no_grad()
    def update(self, rates: Sequence[float]) -> Tensor:
        """One step of each optimiser and average; |∇_θ L| of each as it was before clipping."""
        gradient = self.gradient.matrix
        norm = torch.linalg.vector_norm(gradient, dim=1)
        limits = [config.clip_norm or torch.inf for config in self.configs]
        gradient *= (norm.new_tensor(limits) / (norm + 1e-6)).clamp(max=1)[:, None]
        self.optimizer.step(gradient, rates)
        t = self.states[0].step
        fresh = [1 - min(config.ema, (1 + t) / (10 + t)) for config in self.configs]
        self.average.matrix.lerp_(self.weights.matrix, norm.new_tensor(fresh)[:, None])
        return norm

    def spread(self, x: Tensor) -> Tensor:
        """`StartNoise.spread` of each run's chains (S, B, *event): (S,)."""
        if len(self.noises) == 1:
            return self.noises[0].spread(x)
        return torch.stack([noise.spread(own) for noise, own in zip(self.noises, x, strict=True)])


def alike(one: TrainState, other: TrainState) -> bool:
    """Whether new chains of both start from the same noise."""
    return torch.equal(one.noise.mean, other.noise.mean) and torch.equal(
        one.noise.std, other.noise.std
    )


def by_run(info: ChainInfo, num: int, chains: int) -> ChainInfo:
    """What happened to the chains of S runs, (S, B) in place of (S·B,)."""
    parts = {
        name: getattr(info, name).view(num, chains)
        for name in ("acceptance", "step_scale", "grad_norm", "invalid", "nonfinite", "potential")
    }
    threshold = info.threshold
    if threshold is not None:
        threshold = threshold.flatten()[::chains]
    return replace(info, **parts, threshold=threshold)


def runs_of(info: ChainInfo) -> Iterator[ChainInfo]:
    """Of each run alone what `given_up` looks at."""
    for acceptance, nonfinite in zip(info.acceptance, info.nonfinite, strict=True):
        yield replace(info, acceptance=acceptance, nonfinite=nonfinite)
