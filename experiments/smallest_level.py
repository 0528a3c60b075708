"""A network of noise levels as an energy of x alone, E(x, σ_min), so that chains can train it.

For experiments/objectives-rings.yaml and objectives-gmm.yaml: `network.data` is the recipe whose
data give it mean and spread, as they do where it is trained by denoising.
"""

from __future__ import annotations

from torch import Tensor, nn

from stanley.networks import LevelMLP
from stanley.networks.levels import level_energy
from stanley.training.recipes import recipe


class SmallestLevel(nn.Module):
    def __init__(
        self, event_shape: tuple[int, ...], data: str, width: int = 64, depth: int = 3
    ) -> None:
        super().__init__()
        levels = level_energy(LevelMLP(width=width, depth=depth).build(event_shape))
        assert levels is not None
        levels.fit_data(recipe(data).data.load())
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)
