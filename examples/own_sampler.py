"""A sampler of your own, defined outside the package: anything with `step_size`, `init` and `step`.

With `propose` and `log_ratio` besides, `stanley.Adjusted` makes it exact. What is unlike Langevin
in other ways, such as the number of gradients a step takes, is stated in an attribute `traits`, a
`stanley.samplers.Traits`.

    python examples/own_sampler.py
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import stanley
from stanley.samplers import StepInfo, evaluate


@dataclass(frozen=True)
class CoordinateLangevin:
    """x_i' = x_i - (h/2)·∂_iU(x) + √h·ξ for one coordinate i, drawn uniformly, the same for all
    chains.

    A random scan: i does not depend on x, so log q(y→x) - log q(x→y) is that of a one-dimensional
    Langevin move.
    """

    step_size: float

    def init(self, potential: stanley.Energy, x: Tensor) -> stanley.ChainState:
        return evaluate(potential, x)

    def step(
        self, potential: stanley.Energy, state: stanley.ChainState, generator: torch.Generator
    ) -> tuple[stanley.ChainState, StepInfo]:
        candidate, _, info = self.propose(potential, state, generator)
        return candidate, info

    def propose(
        self, potential: stanley.Energy, state: stanley.ChainState, generator: torch.Generator
    ) -> tuple[stanley.ChainState, Tensor, StepInfo]:
        d = state.x.shape[1]
        i = torch.randint(d, (1,), generator=generator)
        e = torch.nn.functional.one_hot(i, d).to(state.x)  # (1, d)
        noise = torch.randn(state.x.shape, generator=generator, dtype=state.x.dtype)
        x = state.x + e * (-self.step_size / 2 * state.grad + self.step_size**0.5 * noise)
        return evaluate(potential, x), e, StepInfo()

    def log_ratio(
        self,
        potential: stanley.Energy,
        state: stanley.ChainState,
        candidate: stanley.ChainState,
        move: Tensor,
    ) -> Tensor:
        h, e = self.step_size, move
        there = e * (candidate.x - state.x + h / 2 * state.grad)
        back = e * (state.x - candidate.x + h / 2 * candidate.grad)
        return ((there**2).sum(1) - (back**2).sum(1)).double() / (2 * h)


def main(num_steps: int = 2_000) -> Tensor:
    target = stanley.targets.Gaussian.from_std(torch.tensor([0.5, 2.0]))
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(1_000, 2, generator=generator)
    sampler, x0 = stanley.adapt(
        stanley.Adjusted(CoordinateLangevin(1.0)), target, x0, 200, generator=generator
    )
    out = stanley.run_chains(sampler, target, x0, num_steps, generator=generator)
    print(f"h = {sampler.step_size:.2f}, acceptance {out.info.acceptance.mean():.2f}")
    print(f"standard deviations {out.x.std(0).tolist()}, truth [0.5, 2.0]")
    return out.x


if __name__ == "__main__":
    main()
