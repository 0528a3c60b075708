"""Four posteriors with known expectations, and chains whose averages have an error that needs no
mixing time.

B independent chains start in π. A kernel that leaves π invariant keeps each of them there, so the B
averages over time of a function f are independent with mean E f, whatever the autocorrelation, and

    t = (mean of the averages - E f) / √(their variance/B + error²)

is normal but for the skewness s of an average, which multiplies a tail by e^{±c}, c = s·t³/3√B, to
leading order (Cramér's series of a self-normalised mean). `false_positives` is the chance of |t| >
LIMIT that this leaves, and each test asserts that it is below 1e-6; many short chains keep it
there. `error` is that of E f where it is itself measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import norm
from torch import Tensor

from stanley.samplers import HMC, Sampler, adapt
from stanley.targets import Banana, EightSchools, Funnel, LogisticRegression
from stanley.types import Energy
from tests.seeds import stream

LIMIT = 6.5  # standard errors; 8e-11 in two normal tails


def generator(seed: int) -> torch.Generator:
    return stream(seed)


@dataclass(frozen=True)
class Posterior:
    potential: Energy
    start: Callable[[int, torch.Generator], Tensor]  # draws of π
    functions: Callable[[Tensor], Tensor]  # (B, d) -> (B, k) float64
    expected: Tensor  # (k,)
    error: Tensor  # (k,)  standard error of `expected`
    spread: Tensor  # (k,) standard deviation of each function
    chains: int
    gradients: int  # per chain, for one sampler: a step that costs more makes fewer steps


@torch.no_grad()
def time_averages(
    sampler: Sampler,
    potential: Energy,
    functions: Callable[[Tensor], Tensor],
    x0: Tensor,
    num_steps: int,
    rng: torch.Generator,
    burn_in: int = 0,
) -> Tensor:
    """Average of the functions over num_steps steps of each chain, after burn_in: (B, k)."""
    state = sampler.init(potential, x0)
    total = torch.zeros(())
    for n in range(burn_in + num_steps):
        state, _ = sampler.step(potential, state, rng)
        if n >= burn_in:
            total = total + functions(state.x)
    return total / num_steps


def deviations(averages: Tensor, expected: Tensor, error: Tensor) -> Tensor:
    """t of each function: (k,). A chain that is lost makes it NaN, which no bound lets pass."""
    return (averages.mean(0) - expected) / (averages.var(0) / len(averages) + error**2).sqrt()


def agrees(t: Tensor) -> bool:
    return bool((t.abs() <= LIMIT).all())


def false_positives(averages: Tensor) -> float:
    """Σ over functions Q(LIMIT)·(e^c + e^{-c}), Q the normal tail, c from the measured skewness."""
    centred = averages - averages.mean(0)
    skewness = (centred**3).mean(0) / centred.std(0) ** 3
    c = skewness * LIMIT**3 / (3 * math.sqrt(len(averages)))
    return float(norm.sf(LIMIT) * (c.exp() + (-c).exp()).sum())


def resolution(averages: Tensor, posterior: Posterior) -> float:
    """The largest bias that would go unseen: LIMIT standard errors,
    in standard deviations of the function.
    """
    error = (averages.var(0) / len(averages) + posterior.error**2).sqrt()
    return float((LIMIT * error / posterior.spread).max())


# --- three with exact draws and moments


def about(centre: Tensor) -> Callable[[Tensor], Tensor]:
    """x - c and its square."""

    def functions(x: Tensor) -> Tensor:
        y = x.double() - centre
        return torch.cat([y, y**2], 1)

    return functions


def exact(
    target: Banana | EightSchools | Funnel,
    functions: Callable,
    expected: Tensor,
    chains: int,
    gradients: int,
) -> Posterior:
    spread = functions(target.sample(100_000, generator(0))).std(0)
    return Posterior(
        target,
        target.sample,
        functions,
        expected,
        torch.zeros_like(expected),
        spread,
        chains,
        gradients,
    )


def moments(target: Banana | EightSchools, chains: int, gradients: int) -> Posterior:
    """x - E x and its square, whose means are 0 and Var x."""
    return exact(
        target,
        about(target.mean),
        torch.cat([torch.zeros_like(target.mean), target.variance]),
        chains,
        gradients,
    )


def funnel(target: Funnel, chains: int, gradients: int) -> Posterior:
    """v ~ N(0, s²) and x_i e^{-v/2} ~ N(0, 1), and their squares."""

    def functions(x: Tensor) -> Tensor:
        y = torch.cat([x[:, :1], x[:, 1:] * (-x[:, :1] / 2).exp()], 1)
        return torch.cat([y, y**2], 1)

    ones = torch.ones(target.d - 1, dtype=torch.float64)
    expected = torch.cat([torch.zeros(target.d), torch.tensor([target.std**2]), ones])
    return exact(target, functions, expected.double(), chains, gradients)


# --- logistic regression, known from a long run and from independent draws


@dataclass(frozen=True)
class Weighted:
    """Draws x with weights w, Σw = 1: E f ≈ Σ w f."""

    x: Tensor  # (n, d)
    w: Tensor  # (n,)

    @property
    def effective(self) -> float:
        return float(1 / (self.w**2).sum())

    def resample(self, n: int, rng: torch.Generator) -> Tensor:
        return self.x[self.w.multinomial(n, replacement=True, generator=rng)]

    def expectation(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Σ w f and its standard error √Σ w²(f - Σ w f)²."""
        mean = self.w @ values
        return mean, (self.w**2 @ (values - mean) ** 2).sqrt()


def laplace(target: LogisticRegression) -> tuple[Tensor, Tensor]:
    """Mode of π by Newton's method, U is convex, and ∇²U there."""

    def energy(w: Tensor) -> Tensor:
        return target(w[None])[0]

    mode = torch.zeros(target.event_shape, dtype=torch.float64)
    for _ in range(30):
        hessian = torch.func.hessian(energy)(mode)
        step = torch.linalg.solve(hessian, torch.func.grad(energy)(mode))
        mode = mode - step
        if float(step.abs().max()) < 1e-12:
            return mode, torch.func.hessian(energy)(mode)
    raise AssertionError("Newton's method did not settle")


def importance_sample(
    target: LogisticRegression,
    mode: Tensor,
    hessian: Tensor,
    n: int,
    rng: torch.Generator,
    dof: float = 60.0,
) -> Weighted:
    """Student-t draws about the mode with scale (∇²U)⁻¹, weighted by π/q: no Markov chain anywhere.

    U ≥ |w|²/2σ², so π has lighter tails than any Student-t, the weights are bounded, and a weighted
    mean has a standard error. Self-normalised, its bias is of order 1/n.
    """
    d = len(mode)
    normals = torch.randn(n, d, generator=rng, dtype=torch.float64)
    shape = torch.full((n, 1), dof / 2, dtype=torch.float64)
    chi2 = 2 * torch._standard_gamma(shape, generator=rng)
    t = normals * (dof / chi2).sqrt()
    root = torch.linalg.cholesky(hessian)  # LLᵀ, x = mode + L⁻ᵀt
    x = mode + torch.linalg.solve_triangular(root.T, t.T, upper=True).T
    log_q = -(dof + d) / 2 * torch.log1p((t**2).sum(1) / dof)
    log_p = torch.cat([-target(block) for block in x.split(5000)])
    return Weighted(x, (log_p - log_q).softmax(0))


@dataclass(frozen=True)
class Logistic:
    posterior: Posterior
    mode: Tensor  # (d,)
    # the same expectations by importance sampling, and their errors
    independent: tuple[Tensor, Tensor]
    effective: float  # draws that the weighted ones are worth
    false_positives: float  # chance that `posterior` and `independent` differ by LIMIT


def logistic(chains: int, gradients: int) -> Logistic:
    """Expectations by HMC, tuned and preconditioned, in float64; the chains of the tests run in
    float32.

    Rounding moves U, about 400, by less than 2e-4, so the law of an exact chain by less than that
    in total variation: a hundredth of what the tests resolve. All chains start at draws of the
    weighted sample. Given the sample these miss π by its standard error, 0.3 % of a standard
    deviation, less as a chain forgets it: a tenth of that again.
    """
    target = LogisticRegression.synthetic()
    mode, hessian = laplace(target)
    weighted = importance_sample(target, mode, hessian, 200_000, generator(100))
    functions = about(mode)
    values = functions(weighted.x)
    expected, error = weighted.expectation(values)
    spread = (weighted.w @ (values - expected) ** 2).sqrt()

    rng = generator(101)
    sampler, _ = adapt(
        HMC(0.1, 3), target, weighted.resample(100, rng), 200, generator=rng, precondition="both"
    )
    long = time_averages(sampler, target, functions, weighted.resample(500, rng), 500, rng)
    return Logistic(
        Posterior(
            target,
            lambda n, rng: weighted.resample(n, rng).float(),
            functions,
            long.mean(0),
            long.std(0) / math.sqrt(len(long)),
            spread,
            chains,
            gradients,
        ),
        mode,
        (expected, error),
        weighted.effective,
        false_positives(long),
    )
