"""Normalising constants by annealed importance sampling, forward and reverse, and bits per
dimension.

    U_β = (1 - β)·U₀ + β·U,   0 = β₀ < … < β_K = 1,   exp(-U₀) a normalised reference that can be
                              drawn from.

Forward   x ~ exp(-U₀), then for k = 1 … K: log w += (β_k - β_{k-1})·(U₀(x) - U(x)), x moves by a
          kernel that leaves
          exp(-U_{β_k}) invariant. E w = Z = ∫ exp(-U), so E log(mean w) <= log Z.          Neal
          (2001)
Reverse   x ~ exp(-U)/Z, then for k = K … 1: log w += (β_k - β_{k-1})·(U(x) - U₀(x)), x moves at
          β_{k-1}.
          E w = 1/Z, so E[-log(mean w)] >= log Z.                                           Grosse
                                                                                            et al.
                                                                                            (2015)

By Markov, P(forward > log Z + t) <= e⁻ᵗ and P(reverse < log Z - t) <= e⁻ᵗ: how far the bracket may
lie on the wrong side is bounded for every U and every number of steps. How wide it is, is not: a
mode that neither pass finds is missing from both. The reverse bound needs exact samples of exp(-U);
with those of a long chain it is as good as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stanley.batches import in_chunks
from stanley.data import dequantise
from stanley.errors import require
from stanley.samplers import Sampler
from stanley.samplers.base import values
from stanley.samplers.run import check_precision
from stanley.samplers.traits import has_quantile, is_adjusted, traits_of, with_step_size
from stanley.types import Energy

LOG_2PI = math.log(2 * math.pi)
CHUNK = 1024  # points at a time through the network
PILOT = 64  # chains that find the step size of each level


@dataclass(frozen=True, eq=False)
class GaussianReference:
    """U₀(x) = |x - mean|²/2std² + Σ log std + (d/2) log 2π: N(mean, diag std²),
    std a number or one a coordinate.
    """

    mean: Tensor  # (*event)
    std: Tensor | float = 1.0

    def __post_init__(self) -> None:
        low = float(torch.as_tensor(self.std).min())
        require(low > 0, f"std has an entry {low:g}, must be > 0; 1 is a start")

    def draw(self, num: int, generator: Generator) -> Tensor:
        noise = torch.randn(
            num,
            *self.mean.shape,
            generator=generator,
            dtype=self.mean.dtype,
            device=generator.device,
        )
        return self.mean + self.std * noise

    def __call__(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        std = torch.as_tensor(self.std, dtype=x.dtype, device=x.device).expand(self.mean.shape)
        square = ((x - self.mean) / std).square() + 2 * std.log() + LOG_2PI
        return square.flatten(1).sum(1) / 2


@dataclass(frozen=True)
class UniformReference:
    """U₀(x) = d·log(high - low) on [low, high]^d, +∞ elsewhere.

    log Z is then that of exp(-U) on the box alone. Chains that leave it are rejected: at dimensions
    of images few Langevin steps stay inside, and a Gaussian reference is the better choice.
    """

    event_shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        require(self.low < self.high, f"the box is [{self.low}, {self.high}], must have low < high")

    def draw(self, num: int, generator: Generator) -> Tensor:
        u = torch.rand(
            num, *self.event_shape, generator=generator, dtype=self.dtype, device=generator.device
        )
        return self.low + (self.high - self.low) * u

    def __call__(self, x: Tensor) -> Tensor:
        inside = ((x >= self.low) & (x <= self.high)).flatten(1).all(1)
        volume = math.prod(self.event_shape) * math.log(self.high - self.low)
        return torch.where(inside, x.new_tensor(volume), torch.inf)


Reference = GaussianReference | UniformReference


@dataclass(frozen=True)
class Between:
    """U_β = (1 - β)·U₀ + β·U, a potential like any other; +∞ where U₀ is."""

    reference: Reference
    energy: Energy  # U
    beta: float

    def __call__(self, x: Tensor) -> Tensor:
        first = self.reference(x)
        outside = first.isinf()
        mixed = (1 - self.beta) * first.masked_fill(outside, 0.0) + self.beta * self.energy(x)
        return mixed.masked_fill(outside, torch.inf)


@dataclass(frozen=True, eq=False)
class Pass:
    """One direction: log w of each chain, and what its estimate of log Z is worth.

    log_z            log(mean w) forward, -log(mean w) reverse
    standard_error   sd(w) / (mean w·√n), the delta method: an understatement where the ess is small
    ess              (Σ w)² / Σ w², of n chains; near 1, one chain decides the estimate
    acceptance       smallest mean acceptance of a level
    """

    log_z: float
    standard_error: float
    ess: float
    n: int
    acceptance: float
    log_weights: Tensor


@dataclass(frozen=True, eq=False)
class Bracket:
    """forward.log_z <= log Z <= reverse.log_z up to the error of both; reverse is None where no
    samples of exp(-U) were given, and there is then no upper bound."""

    forward: Pass
    reverse: Pass | None
    num_levels: int

    @property
    def lower(self) -> float:
        return self.forward.log_z

    @property
    def upper(self) -> float | None:
        return None if self.reverse is None else self.reverse.log_z

    @property
    def width(self) -> float | None:
        """In nats; slightly below 0 where the pass errors are larger than the gap."""
        return None if self.reverse is None else self.reverse.log_z - self.forward.log_z

    def verdict(self, limit: float = 1.0) -> str:
        """Whether log Z is known to `limit` nats, in words."""
        f, r = self.forward, self.reverse
        if r is None:
            return (
                f"log Z >= {f.log_z:.4g} (ESS {f.ess:.1f} of {f.n}) without an upper bound: give"
                " samples of the target"
            )
        low, high = sorted((f.log_z, r.log_z))
        told = f"log Z in [{low:.4g}, {high:.4g}]"
        width, error = r.log_z - f.log_z, math.hypot(f.standard_error, r.standard_error)
        if width > limit:
            return (
                f"{told}: the bracket is {width:.3g} nats wide, limit {limit:g}, so annealing has"
                f" not converged; use more levels than {self.num_levels}, more steps a level, or a"
                " reference nearer to the target"
            )
        if width < -max(limit, 6 * error):
            return (
                f"{told}: the bounds have changed places by {-width:.3g} nats, which exact samples"
                " of the target do only by chance e⁻ᵗ; the given samples are not those of exp(-U)"
            )
        few = min(f.ess, r.ess)
        if few < 5:
            return (
                f"{told}: narrow, but an effective sample size of {few:.1f} decides it; use more"
                " levels or chains"
            )
        if width < 0:
            return (
                f"{told}: ends in the other order by {-width:.2g} nats, within their error; known"
                f" to {error:.2g}"
            )
        return f"{told}: known to {max(width, error):.2g} nats"


def annealing_schedule(num_levels: int, sharpness: float = 4.0) -> list[float]:
    """β_k = (σ(δ(2k/K - 1)) - σ(-δ)) / (σ(δ) - σ(-δ)), k = 0 … K: dense at both ends. Wu et al.
    (2017), section 4.
    """
    require(
        num_levels >= 1,
        f"num_levels is {num_levels}, must be at least 1; a thousand is usual for images",
    )
    k = torch.linspace(-1, 1, num_levels + 1, dtype=torch.float64)
    s = torch.sigmoid(sharpness * k)
    betas = (s - s[0]) / (s[-1] - s[0])
    return [0.0, *betas[1:-1].tolist(), 1.0]


@torch.no_grad()
def bracket_log_z(
    potential: Energy,
    reference: Reference,
    sampler: Sampler,
    *,
    num_chains: int,
    num_levels: int,
    generator: Generator,
    steps_per_level: int = 1,
    target_samples: Tensor | None = None,
    betas: list[float] | None = None,
    tune: bool = True,
) -> Bracket:
    """log Z of exp(-U) from below, and from above where samples of the target are given.

    sampler          adjusted, so that each level keeps its law exactly: MALA, HMC, Adjusted(...),
                     RandomWalk, …
    target_samples   (n, *event), independent draws of exp(-U)/Z: the reverse chains start there
    betas            0 = β₀ < … < β_K = 1 in place of `annealing_schedule(num_levels)`
    tune             a pilot of 64 chains, thrown away, finds a step size for each level from the
                     sampler's own as a first guess; False keeps the sampler's own. Either way
                     nothing adapts in the two passes

    Cost: steps_per_level steps, one more gradient and one more U a level, chain and direction, and
    the pilot's.
    """
    require_invariant(sampler)
    check_precision(sampler, potential)
    require(num_chains >= 2, f"num_chains is {num_chains}, must be at least 2; a hundred is usual")
    require(steps_per_level >= 1, f"steps_per_level is {steps_per_level}, must be at least 1")
    levels = annealing_schedule(num_levels) if betas is None else betas
    rising = levels[0] == 0 and levels[-1] == 1 and levels == sorted(set(levels))
    require(rising, "betas must rise from 0 to 1; use annealing_schedule(num_levels)")
    path = Path(potential, reference, levels, steps_per_level, generator)
    samplers = [sampler] * len(levels)
    if tune:
        samplers = path.tuned(sampler, reference.draw(min(PILOT, num_chains), generator))
    forward = path.forward(samplers, reference.draw(num_chains, generator))
    reverse = None if target_samples is None else path.reverse(samplers, target_samples)
    return Bracket(forward, reverse, len(levels) - 1)


@dataclass(frozen=True, eq=False)
class Path:
    """The densities exp(-U_β) and the passes along them."""

    potential: Energy
    reference: Reference
    betas: list[float]
    steps: int
    generator: Generator

    def forward(self, samplers: list[Sampler], x: Tensor) -> Pass:
        K, log_w, least = len(self.betas) - 1, 0.0, 1.0
        for k in range(1, K + 1):
            log_w = log_w + (self.betas[k] - self.betas[k - 1]) * self.difference(x)
            if k < K:  # the last move would change no weight
                x, acceptance = self.move(samplers[k], k, x)
                least = min(least, acceptance)
        return summary(log_w, least, sign=1)

    def reverse(self, samplers: list[Sampler], x: Tensor) -> Pass:
        K, log_w, least = len(self.betas) - 1, 0.0, 1.0
        for k in range(K, 0, -1):
            log_w = log_w - (self.betas[k] - self.betas[k - 1]) * self.difference(x)
            if k > 1:
                x, acceptance = self.move(samplers[k - 1], k - 1, x)
                least = min(least, acceptance)
        return summary(log_w, least, sign=-1)

    def difference(self, x: Tensor) -> Tensor:
        """U₀(x) - U(x) in float64: (B,)."""
        return (
            in_chunks(self.reference, x, CHUNK).double() - values(self.potential, x, CHUNK).double()
        )

    def move(self, sampler: Sampler, k: int, x: Tensor) -> tuple[Tensor, float]:
        between = Between(self.reference, self.potential, self.betas[k])
        state, accepted = sampler.init(between, x), 0.0
        for _ in range(self.steps):
            state, info = sampler.step(between, state, self.generator)
            assert info.acceptance is not None  # it is adjusted
            accepted += float(info.acceptance.mean()) / self.steps
        return state.x, accepted

    def tuned(self, sampler: Sampler, x: Tensor) -> list[Sampler]:
        """log h ← log h + ρ·(a - a*), from level to level; at the first one until it settles."""
        target, log_h = traits_of(sampler).target_acceptance, math.log(float(sampler.step_size))
        found = [sampler]
        for k in range(1, len(self.betas)):
            for n in range(50 if k == 1 else 1):
                moved, acceptance = self.move(with_step_size(sampler, math.exp(log_h)), k, x)
                x = moved
                log_h += (1.0 if k == 1 and n < 25 else 0.3) * (acceptance - target)
            found.append(with_step_size(sampler, math.exp(log_h)))
        return found


def summary(log_w: Tensor | float, acceptance: float, sign: int) -> Pass:
    assert isinstance(log_w, Tensor)
    n = len(log_w)
    lost = int(log_w.isnan().sum())
    require(
        lost == 0 and bool(log_w.isfinite().any()),
        f"{lost} of {n} weights are NaN, and {int(log_w.isfinite().sum())} are finite: U is not"
        " finite on the path, or the samples lie outside the reference; choose another reference",
    )
    log_mean = float(log_w.logsumexp(0)) - math.log(n)
    w = (log_w - log_w.max()).exp()
    ess = float(w.sum().square() / w.square().sum())
    error = float(w.std() / w.mean()) / n**0.5
    return Pass(sign * log_mean, error, ess, n, acceptance, log_w)


def require_invariant(sampler: Sampler) -> None:
    """Annealing needs a kernel that keeps exp(-U_β) and is the same for every chain,
    whatever the others do.
    """
    name = type(sampler).__name__
    require(
        is_adjusted(sampler),
        f"annealing needs a Metropolis-adjusted sampler, got {name}; use MALA or HMC",
    )
    require(
        not has_quantile(sampler),
        f"{name} has a quantile threshold, which depends on all chains; give the threshold as a"
        " number",
    )
    reason = traits_of(sampler).not_markov
    require(
        reason is None,
        f"annealing needs a step that depends on x alone, which that of {name} does not: {reason}",
    )


@dataclass(frozen=True)
class BitsPerDimension:
    """Between `lower` and `upper`, which come from the two ends of the bracket; upper is None
    without a reverse pass.

    lower            optimistic: log Z is bounded from below only, and more mass elsewhere makes the
                     images less likely
    upper            with the upper bound of log Z
    standard_error   over the n images, the noise of dequantisation included
    """

    lower: float
    upper: float | None
    standard_error: float
    n: int
    dimensions: int


@torch.no_grad()
def bits_per_dimension(
    potential: Energy, images: Tensor, bracket: Bracket, *, generator: Generator
) -> BitsPerDimension:
    """(E U(x) + log Z) / (d log 2) + 7,   x = (v + u)/128 - 1, u ~ U[0, 1)^d, for bytes v (n, C, H,
                                           W).

    A byte's probability is the mass of its cell, of volume 128⁻ᵈ: P(v) = 128⁻ᵈ E_u p(x). By Jensen
    -log P(v) <= d·log 128 - E_u log p(x), and log p = -U - log Z. So it is an upper bound on the
    code length of the bytes (Theis et al. 2016, section 3.1), up to the bracket. One draw of u an
    image. Not true: that a density which reaches beyond [-1, 1) is at an advantage: the mass there
    is lost to it.
    """
    require(
        images.dtype == torch.uint8,
        f"images have type {images.dtype}, must be uint8: bits are those of bytes",
    )
    require(len(images) >= 2, f"there are {len(images)} images, must be at least 2")
    d = math.prod(images.shape[1:])

    def of_bytes(part: Tensor) -> Tensor:
        return values(potential, dequantise(part.to(generator.device), generator)).double()

    u, bits = in_chunks(of_bytes, images, CHUNK), d * math.log(2)
    mean, error = float(u.mean()), float(u.std()) / len(images) ** 0.5
    upper = None if bracket.upper is None else (mean + bracket.upper) / bits + 7
    return BitsPerDimension((mean + bracket.lower) / bits + 7, upper, error / bits, len(images), d)
