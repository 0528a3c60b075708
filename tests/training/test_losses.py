"""The loss gradient against a closed form."""

from __future__ import annotations

import torch

from stanley.training.losses import contrastive_loss
from tests.seeds import stream


class LinearFamily(torch.nn.Module):
    """E_θ(x) = θ·(x, |x|²/2): an exponential family, so ∇_θ mean E = the mean sufficient
    statistics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor([0.3, -0.2, 1.4], dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return statistics(x) @ self.theta


def statistics(x: torch.Tensor) -> torch.Tensor:  # (B, 2) -> (B, 3)
    return torch.cat([x, (x**2).sum(1, keepdim=True) / 2], 1)


def points(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = stream(seed)
    return tuple(torch.randn(n, 2, generator=g, dtype=torch.float64) for n in (50, 70))  # type: ignore[return-value]


def test_gradient_is_data_minus_model() -> None:
    """∇_θ L = E_data[t(x)] - E_model[t(z)] for E_θ = θ·t; float64, so only rounding
    (1e-12) is left.
    """
    energy, (x, z) = LinearFamily(), points(0)
    contrastive_loss(energy(x), energy(z)).backward()
    expected = statistics(x).mean(0) - statistics(z).mean(0)
    torch.testing.assert_close(energy.theta.grad, expected, rtol=1e-12, atol=1e-12)


def test_gradient_is_minus_the_log_likelihood_gradient() -> None:
    """For N(m, I/b), log p = -E - log Z with log Z = |a|²/(2b) - log b + const, a = θ_{1,2}, b =
    θ_3.

    With z replaced by exact moments, ∇L must equal -∇ mean log p, with ∇ log Z = -E_model[t] by
    autograd.
    """
    energy, (x, _) = LinearFamily(), points(1)
    a, b = energy.theta[:2], energy.theta[2]
    log_z = (a**2).sum() / (2 * b) - b.log()
    (gradient,) = torch.autograd.grad(energy(x).mean() + log_z, energy.theta)  # -∇ mean log p
    mean = -(a / b).detach()  # of the model
    second = (2 / b + (mean**2).sum()).detach()
    model_statistics = torch.stack([mean[0], mean[1], second / 2])
    torch.testing.assert_close(
        gradient, statistics(x).mean(0) - model_statistics, rtol=1e-10, atol=1e-12
    )


def test_flipped_sign_is_rejected() -> None:
    """Negative control: the draft's (3)-(4), with data and model exchanged,
    is not this gradient.
    """
    energy, (x, z) = LinearFamily(), points(2)
    contrastive_loss(energy(z), energy(x)).backward()
    expected = statistics(x).mean(0) - statistics(z).mean(0)
    assert energy.theta.grad is not None
    assert not torch.allclose(energy.theta.grad, expected, rtol=1e-3)


def test_penalty_adds_the_mean_squares() -> None:
    e_pos, e_neg = torch.tensor([1.0, 3.0]), torch.tensor([2.0])
    assert float(contrastive_loss(e_pos, e_neg, 0.5)) == (2 - 2) + 0.5 * (5 + 4)
