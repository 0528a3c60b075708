"""The contrastive loss and its penalties: functions of energies alone."""

from __future__ import annotations

from torch import Tensor


def contrastive_loss(energy_pos: Tensor, energy_neg: Tensor, energy_l2: float = 0.0) -> Tensor:
    """L = mean E(x⁺) - mean E(z) + α·(mean E(x⁺)² + mean E(z)²),   α = `energy_l2`.

    energy_pos (B,) on data, energy_neg (B',) on detached samples; of S runs side by side (S, B),
    (S, B') and L (S,). With α = 0, z ~ exp(-E/T)/Z and
    fixed z, ∇_θ L/T = -∇_θ (mean log-likelihood of the data); the draft's (3)-(4) have the opposite
    sign. The penalty keeps energies near zero and biases the density: it is off by default.
    """
    loss = energy_pos.mean(-1) - energy_neg.mean(-1)
    if energy_l2 > 0:
        loss = loss + energy_l2 * ((energy_pos**2).mean(-1) + (energy_neg**2).mean(-1))
    return loss
