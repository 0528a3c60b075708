"""An energy of standardised points as one of points in the units of the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stanley.data.standardisation import Standardisation
from stanley.types import Energy


class InUnitsOfData(nn.Module):
    """E_x(x) = E_z((x - mean)/std) + T·Σ_i log std_i, so that exp(-E_x/T) is the density of x where
    exp(-E_z/T) is that of z; see `Standardisation`.

    z is computed in the type of the buffers, float64 (float32 on MPS), and handed on in the type
    of the network's weights; E has the type of x. Not true: that an x in float32 is always fine
    enough: where a column's mean is 10⁶ of its standard deviations, use float64.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, energy: nn.Module, standardisation: Standardisation, temperature: float
    ) -> None:
        super().__init__()
        self.energy = energy
        weight = next((w for w in energy.parameters()), torch.zeros(()))
        mean, std = standardisation.on(weight.device)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.shift = temperature * standardisation.log_scale
        self.train(energy.training)

    def forward(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        weight = next((w for w in self.energy.parameters()), x)
        z = (x.to(self.mean.dtype) - self.mean) / self.std
        return (self.energy(z.to(weight.dtype)) + self.shift).to(x.dtype)


class OfStandardised:
    """z ↦ U(mean + std·z): a potential of points in the units of the data, for chains on z.

    It differs from the density of z by the constant Σ log std, which no chain sees.
    """

    def __init__(self, energy: Energy, standardisation: Standardisation) -> None:
        self.energy, self.standardisation = energy, standardisation

    def __call__(self, z: Tensor) -> Tensor:  # (B, *event) -> (B,)
        return self.energy(self.standardisation.undo(z)).to(z.dtype)
