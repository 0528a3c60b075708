"""Flow matching: a potential whose gradient is the velocity that moves noise to data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from stanley.errors import StanleyError, require
from stanley.networks.levels import LevelEnergy, level_energy
from stanley.samplers import ChainResult, ladder
from stanley.samplers.transport import transport
from stanley.training.objectives.without_chains import (
    WithoutChains,
    draw_log_ratio,
    require_law_of_levels,
    require_levels,
)
from stanley.types import Energy

if TYPE_CHECKING:
    from stanley.training.config import TrainConfig
    from stanley.training.objectives import Ratios
    from stanley.training.state import TrainState

STEPS = 40  # of the flow, two gradients each
POWER = 3.0  # the levels of the flow are even in σ^{1/3}


@dataclass(frozen=True)
class FlowMatching(WithoutChains):
    """Data x⁺ are joined by straight lines to noise z ~ N(μ, (σ_max² + s²)·I), where chains start:

        y = x⁺ + σ·ζ,   ζ = (z - x⁺)/σ_max,        L = mean of |∇_y V(y, σ) - ζ|²/d,
        V(y, σ) = √(σ² + f²s²)·E(y, σ),

    over levels σ, ln(σ/s) ~ N(m, w²) between the levels that the network knows; μ, s and f are
    those of `LevelEnergy`. x⁺ and z are paired within each batch by optimal transport, the pairing
    of least Σ|z - x⁺|²; with `pairing` "random" they are left as they were drawn.

    At the minimum ∇V is the gradient that comes closest to the velocity E[ζ | y], and points that
    start as z and follow dy/dσ = ∇V from σ_max down end as data with a share σ_min/σ_max of noise,
    where E[ζ | y] is a gradient. It is one where pairs are those of the optimal transport between
    the two laws, and then their lines are straight to follow; in batches of B that holds the better
    the larger B is, and hardly in many dimensions.
    Not true: that exp(-V) or exp(-E) is the density of anything. There is no likelihood, no score
    of outsiders, and no chain to run: V moves points and does nothing else.
    Lipman, Chen, Ben-Hamu, Nickel & Le (2023); Liu, Gong & Liu (2023); Tong, Fatras et al. (2024),
    minibatch optimal transport; Albergo & Vanden-Eijnden (2023).
    """

    level_mean: float = 0.0  # m, the mean of ln(σ/s)
    level_std: float = 1.3  # w, its standard deviation
    pairing: Literal["transport", "random"] = "transport"  # of data and noise in a batch
    kind: Literal["flow-matching"] = "flow-matching"

    def __post_init__(self) -> None:
        require_law_of_levels(self.level_mean, self.level_std)
        require(
            self.pairing in ("transport", "random"),
            f"objective.pairing is {self.pairing!r}, but must be 'transport' or 'random'",
        )

    def check(self, config: TrainConfig) -> None:
        """Raise StanleyError for what cannot work together with the rest of the configuration."""
        require_levels(config, self.kind)
        require(
            config.temperature == 1,
            f"temperature is {config.temperature}, but the gradient of V is a velocity, which has "
            "none; use temperature 1",
        )

        require(
            self.pairing == "random" or not getattr(config.network, "damped", False),
            "network.damped is true, which blurs the network at high noise levels, but paths of "
            "optimal transport part sharply at all of them; use network.damped false, or "
            "objective.pairing random",
        )

    @property
    def differentiates_twice(self) -> bool:
        return True

    def descend(self, config: TrainConfig, state: TrainState, x_pos: Tensor) -> Ratios:
        """Leave ∇_θ L of one batch x⁺ (B, *event) in the parameters; what its record says of it."""
        energy, generator = level_energy(state.energy), state.chain_generator
        assert energy is not None
        state.energy.train()
        z = energy.start(len(x_pos), generator)
        if self.pairing == "transport":
            z = z[paired(x_pos, z)]
        log_ratio = draw_log_ratio(
            energy.levels, self.level_mean, self.level_std, len(x_pos), generator
        )
        bf16 = config.in_bf16(x_pos.device)
        with torch.autocast(x_pos.device.type, torch.bfloat16, enabled=bf16):
            loss = flow_loss(
                lambda y, r: factor(energy, r) * state.model(y, r),
                x_pos,
                (z - x_pos) / energy.sigma_max,
                energy.std * log_ratio.exp(),
                log_ratio,
            )
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return {"loss": (loss.detach(), torch.ones_like(loss))}


def paired(x: Tensor, z: Tensor) -> Tensor:
    """The order of z (B, *event) in which Σ|z - x|² is least: an optimal assignment, exact.

    The squares do not depend on it, so it is the order of the largest Σ x·z. O(B³) on the CPU.
    """
    products = (x.flatten(1).double() @ z.flatten(1).double().T).cpu().numpy()
    return torch.from_numpy(linear_sum_assignment(products, maximize=True)[1]).to(z.device)


def factor(energy: LevelEnergy, log_ratio: Tensor) -> Tensor:
    """√(σ² + f²s²) of V = √(σ² + f²s²)·E(y, σ), which ∇V needs to be of one size at all levels."""
    return energy.std * ((2 * log_ratio).exp() + energy.floor**2).sqrt()


def flow_loss(
    potential: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    zeta: Tensor,
    sigma: Tensor,
    log_ratio: Tensor,
) -> Tensor:
    """mean of |∇_y V(y, ln(σ/s)) - ζ|²/d at y = x + σ·ζ, for data x and velocities ζ (B, *event)
    and levels σ and ln(σ/s) (B,).
    """
    y = (x + sigma.view(-1, *[1] * (x.dim() - 1)) * zeta).requires_grad_()
    (velocity,) = torch.autograd.grad(potential(y, log_ratio).sum(), y, create_graph=True)
    return (velocity - zeta).square().mean()


@dataclass(frozen=True)
class Flow:
    """x ↦ V(x, σ) of one level, from an energy that was trained by flow matching."""

    energy: LevelEnergy
    sigma: float

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        log_ratio = x.new_full((len(x),), self.sigma).log() - self.energy.std.log()
        return factor(self.energy, log_ratio) * self.energy(x, log_ratio)


def down_the_flow(
    config: TrainConfig,
    energy: LevelEnergy,
    x: Tensor,
    steps: int,
    *,
    keep_every: int | None = None,
    progress: bool = False,
) -> ChainResult:
    """Points x (B, *event) of the noise that the flow starts from, moved down in `steps` steps."""
    require(steps >= 1, f"steps is {steps}, but a flow needs at least 1; {STEPS} is usual")
    at: Callable[[float], Energy] = lambda sigma: config.potential(Flow(energy, sigma))  # noqa: E731
    sigmas = ladder(energy.sigma_max, energy.sigma_min, steps + 1, POWER)
    return transport(at, x, sigmas, keep_every=keep_every, progress=progress)


def no_density(what: object) -> StanleyError:
    """What whoever asks for a density is told of a run, or a model, that has none."""
    return StanleyError(
        f"{what} was trained by flow-matching: its potential moves noise to data, and exp(-V) is "
        "no density; draw from it with stanley sample, or train with --objective denoising"
    )
