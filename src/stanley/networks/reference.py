"""A Gaussian reference that can be added to any energy."""

from __future__ import annotations

from torch import Tensor, nn

from stanley.errors import require


class WithReference(nn.Module):
    """E(x) = E_θ(x) + |x|²/(2s²).

    It makes exp(-E) integrable. For a network that grows at most linearly it gives the super-linear
    tails that the draft's H1 needs and its own piecewise-linear network lacks. At temperature T the
    potential contains |x|²/(2Ts²), a Gaussian of variance Ts².
    """

    def __init__(self, energy: nn.Module, std: float) -> None:
        super().__init__()
        require(std > 0, f"reference_std is {std}, but must be > 0; use null for no reference")
        self.energy, self.std = energy, std

    def forward(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(x) + (x**2).flatten(1).sum(1) / (2 * self.std**2)
