"""A Gaussian reference that can be added to any energy."""

from __future__ import annotations

from torch import Tensor, nn

from stanley.errors import require
from stanley.networks.by_hand import untouched
from stanley.samplers.joint import Pull, Vjp, vjp_of


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

    def vjp(self) -> Vjp | None:
        """E and the way back to x without autograd, where E_θ has one: see `samplers.joint`.

        A network with features takes x twice, and autograd would add three gradients in an order of
        its own.
        """
        inner, twice = vjp_of(self.energy), 2 * self.std**2
        takes_x_twice = getattr(self.energy, "features", None) is not None
        if type(self) is not WithReference or not untouched(self) or takes_x_twice or inner is None:
            return None

        def function(x: Tensor) -> tuple[Tensor, Pull]:
            energy, pull = inner(x)

            def both(v: Tensor) -> Tensor:
                rows = (v / twice).view(-1, *[1] * (x.dim() - 1))
                return rows * (2 * x) + pull(v)

            return energy + (x**2).flatten(1).sum(1) / twice, both

        return function
