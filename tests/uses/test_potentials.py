"""Clamped, Noisy and Composed on Gaussians: the conditional,
the posterior and the product in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    Barker,
    GradientDescent,
    Langevin,
    RandomWalk,
    ReplicaExchange,
    Stanley,
    Underdamped,
    ladder,
)
from stanley.targets import Gaussian
from stanley.types import Chunked, Potential
from stanley.uses import Clamped, Composed, Noisy, denoise, inpaint, posterior_mean
from stanley.uses.inpainting import anneal_unknown
from tests.samplers.bounds import SIGMAS
from tests.seeds import fresh, fresh_seed, stream

D = 5
MASK = torch.tensor([True, False, True, True, False])
N = 4000  # chains


def some_gaussian(seed: int) -> Gaussian:
    g = stream(seed)
    a = torch.randn(D, D, generator=g, dtype=torch.float64)
    return Gaussian(a @ a.T + torch.eye(D), torch.randn(D, generator=g, dtype=torch.float64))


@pytest.fixture
def target() -> Gaussian:
    return some_gaussian(fresh_seed())


def conditional(target: Gaussian, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, m) and covariance of x_u | x_k, by the covariance's blocks: Σ_uk Σ_kk⁻¹,
    not by the precision.
    """
    s, mu, k = target.covariance, target.mean, ~MASK
    gain = s[MASK][:, k] @ torch.linalg.inv(s[k][:, k])
    return mu[MASK] + (known[:, k] - mu[k]) @ gain.T, s[MASK][:, MASK] - gain @ s[k][:, MASK]


def quadratic(z: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    y = z - mean
    return (y * torch.linalg.solve(covariance, y.T).T).sum(1) / 2


def same_up_to_a_constant(a: Tensor, b: Tensor) -> None:
    """1e-9: float64, values of at most a few thousand, matrices of condition below 1e4."""
    torch.testing.assert_close(a - a[0], b - b[0], rtol=1e-9, atol=1e-9)


def agrees(x: Tensor, mean: Tensor, covariance: Tensor) -> bool:
    """Mean and second moments of n independent draws within SIGMAS standard errors."""
    y, n = x - mean, len(x)
    products = y[:, :, None] * y[:, None]
    first = (y.mean(0).abs() <= SIGMAS * y.std(0) / n**0.5).all()
    second = ((products.mean(0) - covariance).abs() <= SIGMAS * products.std(0) / n**0.5).all()
    return bool(first & second)


def another(mean_of: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """x (1, D) moved along the direction to which an affine mean answers most, until the mean has
    moved by 1.

    A coordinate of it has then moved by 1/√D at least: 28 standard errors of N draws, as no
    variance here exceeds 1.
    """
    slopes = mean_of(torch.eye(D, dtype=torch.float64)) - mean_of(
        torch.zeros(1, D, dtype=torch.float64)
    )
    directions, answers, _ = torch.linalg.svd(slopes, full_matrices=False)
    return x + directions[:, 0] / answers[0]


def exact_draws(mean: Tensor, covariance: Tensor) -> Tensor:
    return (
        mean
        + torch.randn(N, len(covariance), dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    )


# --- clamped


def test_clamped_is_the_conditional(target):
    known = torch.randn(1, D, dtype=torch.float64)
    z = 3 * torch.randn(50, 3, dtype=torch.float64)
    same_up_to_a_constant(
        Clamped(target, known, MASK)(z), quadratic(z, *conditional(target, known))
    )


def test_clamped_by_row(target):
    """Each chain has its own known values; a wrong row would shift the mean."""
    known, z = torch.randn(50, D, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    rows = torch.stack(
        [Clamped(target, known[k : k + 1], MASK)(z[k : k + 1])[0] for k in range(50)]
    )
    torch.testing.assert_close(Clamped(target, known, MASK)(z), rows, rtol=1e-12, atol=1e-12)


def test_values_under_the_mask_are_not_looked_at(target):
    known, z = torch.randn(1, D, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    other = torch.where(MASK, torch.tensor(torch.nan), known)
    assert torch.equal(Clamped(target, known, MASK)(z), Clamped(target, other, MASK)(z))


@pytest.mark.parametrize(
    "sampler", [MALA(0.3), Adjusted(Stanley(0.3, 1.0)), HMC(0.3)], ids=lambda s: s.kind
)
def test_inpainting_leaves_the_conditional_invariant(target, sampler):
    """Chains that start from the conditional law end in it: exact, whatever the number of steps."""
    known = torch.randn(1, D, dtype=torch.float64)
    mean, covariance = conditional(target, known)
    x0 = known.repeat(N, 1)
    x0[:, MASK] = exact_draws(mean, covariance)
    out = inpaint(sampler, target, known, MASK, x0, 10, generator=fresh())
    x = out.draws[0]
    assert (x[:, MASK] != x0[:, MASK]).any(1).double().mean() > 0.3  # it moved
    assert torch.equal(x[:, ~MASK], known[:, ~MASK].expand(N, -1))
    assert agrees(x[:, MASK], mean[0], covariance)
    assert agrees(x[:, MASK], out.mean[0, MASK], covariance)


def test_inpainting_forgets_its_start(target):
    """From far away, by 400 adapted steps on each of two images:
    mean and covariance are those of each image.
    """
    from stanley.samplers import adapt

    known = torch.randn(1, D, dtype=torch.float64)
    known = torch.cat([known, another(lambda x: conditional(target, x)[0], known)])
    mean, covariance = conditional(target, known)
    g = fresh()
    clamped = Clamped(target, known.repeat_interleave(N, 0), MASK)
    z0 = mean.repeat_interleave(N, 0) + 3 * torch.randn(2 * N, 3, dtype=torch.float64)
    sampler, z = adapt(MALA(0.1), clamped, z0, 300, generator=g)
    slowest = float(torch.linalg.eigvalsh(covariance).max())
    # contraction h/2λ a step: e⁻²⁰ at least, or 2,000
    steps = int(min(2000, 40 * slowest / sampler.step_size)) + 20
    out = inpaint(sampler, target, known, MASK, clamped.put(z), steps, generator=g)
    for k in range(2):
        assert agrees(out.draws[k][:, MASK], mean[k], covariance)
    # the images' rows are not exchanged
    assert not agrees(out.draws[0][:, MASK], mean[1], covariance)


def test_the_wrong_conditional_is_seen(target):
    """Negative control: the marginal of the unknown, which forgets what is known,
    fails the same check.
    """
    mean, covariance = conditional(
        target, another(lambda x: conditional(target, x)[0], target.mean[None])
    )
    marginal = target.covariance[MASK][:, MASK]
    assert agrees(exact_draws(mean[0], covariance), mean[0], covariance)
    assert not agrees(exact_draws(target.mean[MASK], marginal), mean[0], covariance)


def quartic(x: Tensor) -> Tensor:
    return (x**4 / 4 - x.roll(1, -1) * x).flatten(1).sum(1)


IMAGE_MASK = torch.zeros(4, 4, dtype=torch.bool)
IMAGE_MASK[1:3, 2:] = True


@pytest.mark.parametrize(
    "sampler",
    [
        Langevin(0.05),
        MALA(0.05),
        RandomWalk(0.05),
        HMC(0.1),
        Barker(0.05),
        Underdamped(0.1),
        GradientDescent(0.05),
        Stanley(0.05, 0.5),
        Stanley(0.05, 0.5, scope="pixel"),
        Stanley(0.05, 0.5, scope="sample"),
        Adjusted(Stanley(0.05, 0.5, scope="pixel")),
        ReplicaExchange(MALA(0.05)),
    ],
    ids=str,
)
def test_known_pixels_stay_bit_for_bit(sampler):
    images = torch.randn(2, 3, 4, 4)
    x0 = torch.randn(6, 3, 4, 4)
    g = stream()
    out = inpaint(sampler, Potential(quartic, 0.5), images, IMAGE_MASK, x0, 20, generator=g)
    assert out.draws.shape == (2, 3, 3, 4, 4)
    assert torch.equal(
        out.draws[..., ~IMAGE_MASK], images[:, None].expand(2, 3, 3, 4, 4)[..., ~IMAGE_MASK]
    )
    changed = out.draws[..., IMAGE_MASK] != x0.view(2, 3, 3, 4, 4)[..., IMAGE_MASK]
    assert changed.flatten(2).any(-1).all()  # every chain moved
    assert out.info.acceptance.shape == (6,)


def test_masks_and_rows_that_do_not_fit():
    known, g = torch.randn(2, 3, 4, 4), torch.Generator()
    for mask, message in (
        (torch.zeros(4, 4, dtype=torch.bool), "marks nothing"),
        (torch.ones(4, 4, dtype=torch.bool), "marks all 16"),
        (torch.ones(5, 4, dtype=torch.bool), r"\(5, 4\), but must be torch.bool of shape \(4, 4\)"),
        (IMAGE_MASK.int(), "torch.int32"),
    ):
        with pytest.raises(StanleyError, match=message):
            Clamped(quartic, known, mask)
    with pytest.raises(StanleyError, match="2 rows for 3 chains"):
        Clamped(quartic, known, IMAGE_MASK)(torch.randn(3, 3, 1, 4))
    with pytest.raises(StanleyError, match="same number of chains"):
        inpaint(MALA(0.1), quartic, known, IMAGE_MASK, torch.randn(3, 3, 4, 4), 1, generator=g)


@pytest.mark.parametrize("images", [1, 3, 6])
@pytest.mark.parametrize(
    "sampler", [MALA(0.05), ReplicaExchange(MALA(0.05)), RandomWalk(0.05)], ids=lambda s: s.kind
)
def test_chunks_are_the_whole(images, sampler):
    """Also where each image is known to some of the chains only,
    and a chunk holds chains of two images.
    """
    known, x0 = torch.randn(images, 3, 4, 4), torch.randn(6, 3, 4, 4)
    runs = [
        inpaint(sampler, u, known, IMAGE_MASK, x0, 5, generator=stream()).draws
        for u in (quartic, Chunked(quartic, 4))
    ]
    torch.testing.assert_close(*runs)
    runs = [
        denoise(sampler, u, known, 0.5, x0, 5, generator=stream()).draws
        for u in (quartic, Chunked(quartic, 4))
    ]
    torch.testing.assert_close(*runs)


def test_negative_control_rows_of_other_chains_are_noticed():
    known, x = (
        torch.randn(6, 3, 4, 4, dtype=torch.float64),
        torch.randn(6, 3, 4, 4, dtype=torch.float64),
    )
    posterior = Noisy(quartic, known, 0.5)
    assert not torch.allclose(posterior.for_rows(slice(0, 2))(x[2:4]), posterior(x)[2:4])
    torch.testing.assert_close(posterior.for_rows(slice(2, 4))(x[2:4]), posterior(x)[2:4])


# --- noisy


def posterior(target: Gaussian, y: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """By the gain K = Σ(Σ + σ²I)⁻¹: mean μ + K(y - μ), covariance Σ - KΣ."""
    s = target.covariance
    gain = s @ torch.linalg.inv(s + std**2 * torch.eye(D, dtype=torch.float64))
    return target.mean + (y - target.mean) @ gain.T, s - gain @ s


@pytest.mark.parametrize("std", [0.1, 0.7, 5.0])
def test_noisy_is_the_posterior(target, std):
    y, x = torch.randn(1, D, dtype=torch.float64), 3 * torch.randn(50, D, dtype=torch.float64)
    same_up_to_a_constant(Noisy(target, y, std)(x), quadratic(x, *posterior(target, y, std)))


def test_denoising_leaves_the_posterior_invariant(target):
    y, std = torch.randn(1, D, dtype=torch.float64), 0.7
    y = torch.cat([y, another(lambda x: posterior(target, x, std)[0], y)])
    mean, covariance = posterior(target, y, std)
    x0 = torch.cat([exact_draws(m, covariance) for m in mean])
    g = fresh()
    out = denoise(MALA(0.2), target, y, std, x0, 10, generator=g)
    for k in range(2):
        assert agrees(out.draws[k], mean[k], covariance)
    assert not agrees(out.draws[0], mean[1], covariance)
    prior = target.sample(N, fresh()).double()  # negative control: y not looked at
    assert not agrees(prior, mean[0], covariance)


def test_the_gradient_flow_ends_at_the_posterior_mean(target):
    """x - m shrinks by max|1 - hλ/2| a step, λ the eigenvalues of P + I/σ²."""
    y, std = torch.randn(3, D, dtype=torch.float64), 0.7
    mean, covariance = posterior(target, y, std)
    rates = 1 / torch.linalg.eigvalsh(covariance)
    h = 2 / float(rates.max())
    contraction, steps = 1 - h * float(rates.min()) / 2, 200
    out = denoise(GradientDescent(h), target, y, std, y, steps, generator=torch.Generator())
    error = (out.mean - mean).norm(dim=1)
    assert (error <= contraction**steps * (y - mean).norm(dim=1) + 1e-9).all()


def test_noise_that_is_none():
    for std in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(StanleyError, match="noise std is"):
            Noisy(quartic, torch.zeros(1, 2), std)


# --- composed


def test_composed_is_the_product(target):
    """Precisions add: P = Σ w P_i, μ = P⁻¹ Σ w P_i μ_i."""
    other, w = some_gaussian(1), (0.5, 2.0)
    p = w[0] * target.precision + w[1] * other.precision
    mu = torch.linalg.solve(
        p, w[0] * target.precision @ target.mean + w[1] * other.precision @ other.mean
    )
    x = 3 * torch.randn(50, D, dtype=torch.float64)
    same_up_to_a_constant(Composed((target, other), w)(x), Gaussian(p, mu)(x))
    x0 = Gaussian(p, mu).sample(N, fresh()).double()
    from stanley.samplers import run_chains

    g = fresh()
    out = run_chains(MALA(0.05), Composed((target, other), w), x0, 10, generator=g)
    assert agrees(out.x, mu, torch.linalg.inv(p))
    # negative control: one part alone
    assert not agrees(target.sample(N, g).double(), mu, torch.linalg.inv(p))
    assert Composed((target, other)).weights == (1.0, 1.0)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, float("nan"))])
def test_weights_that_do_not_do(target, weights):
    with pytest.raises(StanleyError, match="weights"):
        Composed((target, target), weights)


@pytest.mark.parametrize(("corrections", "share"), [(0, 0.59), (2, 0.88), (20, 1.0)])
def test_a_ladder_beside_known_values(corrections: int, share: float) -> None:
    """Gaussian data with correlation 0.8: given x₁ = 1 the other has mean 0.8. The shares of the
    way are those that the docstring states; many corrections go all of it.
    """
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)

    def at(sigma: float) -> Callable[[Tensor], Tensor]:
        precision = torch.linalg.inv(covariance + sigma**2 * eye)
        return lambda x: ((x @ precision) * x).sum(1) / 2

    known = torch.ones(20_000, 2, dtype=torch.float64)
    mask, g = torch.tensor([False, True]), stream(0)
    x0 = 10 * torch.randn(known.shape, generator=g, dtype=torch.float64)
    x = anneal_unknown(
        at, known, mask, x0, ladder(10.0, 0.02), generator=g, corrections=corrections
    )
    assert torch.equal(x[:, 0], known[:, 0])
    error = 0.02 + SIGMAS * float(x[:, 1].std()) / len(x) ** 0.5
    assert float(x[:, 1].mean()) == pytest.approx(0.8 * share, abs=error)
    coarse = ladder(10.0, 0.02, 6)  # where the noise of the known value is 16 % of the variance
    x = anneal_unknown(at, known, mask, x0, coarse, generator=g, corrections=0)
    variance = 100.0
    for sigma, lower in pairwise(coarse):  # each step is linear
        drift = (sigma**2 - lower**2) * torch.linalg.inv(covariance + sigma**2 * eye)[1]
        own, of_known = float(1 - drift[1]) ** 2 * variance, float(drift[0] * sigma) ** 2
        variance = own + of_known + lower**2 * (1 - lower**2 / sigma**2)
    bound = SIGMAS * (2 / len(x)) ** 0.5
    assert float(x[:, 1].var()) == pytest.approx(variance, rel=bound)


def test_the_posterior_mean_by_one_gradient() -> None:
    """Of N(m, s²): (s²·y + σ²·m)/(s² + σ²). That of clean data gives another point."""
    y = torch.linspace(-3, 3, 12, dtype=torch.float64).view(6, 2)
    m, s, sigma = 0.5, 0.8, 0.4

    def at(sigma: float) -> Callable[[Tensor], Tensor]:
        return lambda x: (x - m).square().sum(1) / (2 * (s**2 + sigma**2))

    expected = (s**2 * y + sigma**2 * m) / (s**2 + sigma**2)
    assert torch.allclose(posterior_mean(at(sigma), y, sigma), expected, atol=1e-12)
    assert not torch.allclose(posterior_mean(at(0.0), y, sigma), expected, atol=1e-2)
    with pytest.raises(StanleyError, match="noise std is 0"):
        posterior_mean(at(sigma), y, 0.0)
