"""Normalising constants by annealed importance sampling, and bits per dimension.

    U_β = (1 - β)·U₀ + β·U,   0 = β₀ < … < β_K = 1,

where exp(-U₀) is a normalised reference density from which one can draw.

Forward pass   draw x ~ exp(-U₀); for k = 1 … K add (β_k - β_{k-1})·(U₀(x) - U(x)) to log w, and
               move x by a kernel that leaves exp(-U_{β_k}) invariant. Then E w = Z = ∫ exp(-U), so
               E log(mean w) <= log Z. Neal (2001)
Reverse pass   draw x ~ exp(-U)/Z; for k = K … 1 add (β_k - β_{k-1})·(U(x) - U₀(x)) to log w, and
               move x by a kernel that leaves exp(-U_{β_{k-1}}) invariant. Then E w = 1/Z, so
               E[-log(mean w)] >= log Z. Grosse et al. (2015)

By Markov's inequality, P(forward > log Z + t) <= e⁻ᵗ and P(reverse < log Z - t) <= e⁻ᵗ: for every
U and every number of levels an end of the bracket is unlikely to be far on the wrong side of log Z.
Not true: that a narrow bracket proves that no mode was missed: both passes may miss the same one.
The reverse bound needs exact samples of exp(-U)/Z; with those of a long chain it is only as good as
the chain has converged.
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
from stanley.samplers.arguments import as_potential, as_sampler, device_of
from stanley.samplers.base import values
from stanley.samplers.run import check_precision
from stanley.samplers.traits import has_quantile, is_adjusted, traits_of, with_step_size
from stanley.streams import as_generator
from stanley.types import Energy

LOG_2PI = math.log(2 * math.pi)
CHUNK = 1024  # points at a time through the network
PILOT = 64  # chains of the pilot run, which finds a step size for each level


@dataclass(frozen=True, eq=False)
class GaussianReference:
    """A Gaussian reference density N(mean, diag std²).

        U₀(x) = |x - mean|²/2std² + Σ log std + (d/2) log 2π

    std   one number for all coordinates, or one for each
    """

    mean: Tensor  # (*event)
    std: Tensor | float = 1.0

    def __post_init__(self) -> None:
        low = float(torch.as_tensor(self.std).min())
        require(low > 0, f"std has an entry {low:g}, but all must be > 0; try 1")

    def draw(self, num: int, generator: Generator) -> Tensor:
        """`num` independent draws (num, *event)."""
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
    """A reference density that is uniform on the box [low, high]^d.

        U₀(x) = d·log(high - low) in the box, +∞ elsewhere

    log Z is then that of exp(-U) restricted to the box. Steps that leave the box are rejected. In
    the dimension of images that is nearly every Langevin step: use a `GaussianReference` there.
    """

    event_shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        require(
            self.low < self.high,
            f"the box is [{self.low}, {self.high}], but low must be < high",
        )

    def draw(self, num: int, generator: Generator) -> Tensor:
        """`num` independent draws (num, *event)."""
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
    """The potential U_β = (1 - β)·U₀ + β·U, which is +∞ wherever U₀ is."""

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
    """The result of the forward or the reverse pass of n chains.

    log_z            log(mean w) of the forward pass, -log(mean w) of the reverse pass
    standard_error   sd(w) / (mean w·√n), by the delta method; it is too small where ess is small
    ess              effective sample size (Σ w)² / Σ w² of the n weights; where it is near 1, a
                     single chain decides the estimate
    acceptance       mean acceptance at the level where it is smallest; None where the moves have no
                     Metropolis test
    log_weights      log w of each chain, (n,)
    """

    log_z: float
    standard_error: float
    ess: float
    n: int
    acceptance: float | None
    log_weights: Tensor


@dataclass(frozen=True, eq=False)
class Bracket:
    """Bounds forward.log_z <= log Z <= reverse.log_z, up to the errors of both passes.

    Where no samples of exp(-U)/Z were given, `reverse` is None and there is no upper bound.
    """

    forward: Pass
    reverse: Pass | None
    num_levels: int

    @property
    def lower(self) -> float:
        """The lower bound of log Z, in nats."""
        return self.forward.log_z

    @property
    def upper(self) -> float | None:
        """The upper bound of log Z, in nats; None without a reverse pass."""
        return None if self.reverse is None else self.reverse.log_z

    @property
    def width(self) -> float | None:
        """upper - lower, in nats; slightly negative where the errors exceed the distance."""
        return None if self.reverse is None else self.reverse.log_z - self.forward.log_z

    def verdict(self, limit: float = 1.0) -> str:
        """One sentence that says whether log Z is known within `limit` nats."""
        f, r = self.forward, self.reverse
        if r is None:
            return (
                f"log Z >= {f.log_z:.4g} (ESS {f.ess:.1f} of {f.n}) without an upper bound; for"
                " one, give samples of the target"
            )
        low, high = sorted((f.log_z, r.log_z))
        interval = f"log Z is in [{low:.4g}, {high:.4g}]"
        width, error = r.log_z - f.log_z, math.hypot(f.standard_error, r.standard_error)
        if width > limit:
            return (
                f"{interval}: the bracket is {width:.3g} nats wide, but must be at most {limit:g},"
                f" so annealing has not converged; use more levels than {self.num_levels}, more"
                " steps per level, or a reference closer to the target"
            )
        if width < -max(limit, 6 * error):
            return (
                f"{interval}: the lower bound exceeds the upper one by t = {-width:.3g} nats, which"
                " has a probability of the order e⁻ᵗ with exact samples; the given samples are not"
                " those of exp(-U)"
            )
        few = min(f.ess, r.ess)
        if few < 5:
            return (
                f"{interval}, a narrow bracket, but from an effective sample size of only"
                f" {few:.1f}; use more levels or chains"
            )
        if width < 0:
            return (
                f"{interval}: the lower bound exceeds the upper one by {-width:.2g} nats, within"
                f" their errors; log Z is known to {error:.2g} nats"
            )
        return f"{interval}: known to {max(width, error):.2g} nats"


def annealing_schedule(num_levels: int, sharpness: float = 4.0) -> list[float]:
    """Inverse temperatures 0 = β₀ < … < β_K = 1 that are dense at both ends, K = num_levels.

        β_k = (σ(δ(2k/K - 1)) - σ(-δ)) / (σ(δ) - σ(-δ)),   k = 0 … K,

    where σ is the logistic function and δ is `sharpness`. Wu et al. (2017), section 4.
    """
    require(
        num_levels >= 1,
        f"num_levels is {num_levels}, but must be at least 1; a thousand is usual for images",
    )
    k = torch.linspace(-1, 1, num_levels + 1, dtype=torch.float64)
    s = torch.sigmoid(sharpness * k)
    betas = (s - s[0]) / (s[-1] - s[0])
    return [0.0, *betas[1:-1].tolist(), 1.0]


@torch.no_grad()
def bracket_log_z(
    potential: Energy,
    reference: Reference,
    sampler: Sampler | str,
    *,
    num_chains: int,
    num_levels: int,
    generator: Generator | None = None,
    seed: int | None = None,
    steps_per_level: int = 1,
    target_samples: Tensor | None = None,
    betas: list[float] | None = None,
    tune: bool = True,
) -> Bracket:
    """Bound log Z of exp(-U) from below, and from above where samples of exp(-U)/Z are given.

    sampler          Metropolis-adjusted, so that it leaves the law of each level invariant: MALA,
                     HMC, Adjusted(...), RandomWalk, …
    num_chains       chains of the forward pass
    num_levels       K; more levels make the bracket narrower
    steps_per_level  steps of the sampler at each level
    target_samples   (n, *event), independent draws of exp(-U)/Z, from which the reverse pass starts
    betas            0 = β₀ < … < β_K = 1, in place of `annealing_schedule(num_levels)`
    tune             whether a pilot run of 64 chains, which is then discarded, finds a step size
                     for each level, starting from the sampler's own. The step sizes are fixed in
                     both passes.

    Cost, for each level, chain and pass: steps_per_level steps, one more gradient and one more U;
    and those of the pilot run. Raises StanleyError for a sampler that is unadjusted or depends on
    more than each chain's own position, for too few chains or levels, and where the weights are not
    finite. See the top of this module for the two bounds, and for what is not true of them.
    """
    sampler, potential = as_sampler(sampler), as_potential(potential)
    generator = as_generator(generator, seed, "bracket_log_z", device=device_of(potential))
    require_invariant(sampler)
    check_precision(sampler, potential)
    require(
        num_chains >= 2, f"num_chains is {num_chains}, but must be at least 2; a hundred is usual"
    )
    require(steps_per_level >= 1, f"steps_per_level is {steps_per_level}, but must be at least 1")
    levels = annealing_schedule(num_levels) if betas is None else betas
    rising = levels[0] == 0 and levels[-1] == 1 and levels == sorted(set(levels))
    require(rising, "betas must increase from 0 to 1; use annealing_schedule(num_levels)")
    path = Path(potential, reference, levels, steps_per_level, generator)
    samplers = [sampler] * len(levels)
    if tune:
        samplers = path.tuned(sampler, reference.draw(min(PILOT, num_chains), generator))
    forward = path.forward(samplers, reference.draw(num_chains, generator))
    reverse = None if target_samples is None else path.reverse(samplers, target_samples)
    return Bracket(forward, reverse, len(levels) - 1)


@dataclass(frozen=True, eq=False)
class Path:
    """The densities exp(-U_β) from the reference to the target, and the passes along them."""

    potential: Energy
    reference: Reference
    betas: list[float]
    steps: int
    generator: Generator

    def forward(self, samplers: list[Sampler], x: Tensor) -> Pass:
        K, log_w, least = len(self.betas) - 1, 0.0, 1.0
        for k in range(1, K + 1):
            log_w = log_w + (self.betas[k] - self.betas[k - 1]) * self.difference(x)
            if k < K:  # a last move would change no weight
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
        """The sampler with a step size for each level.

        log h ← log h + ρ·(a - a*), with a the acceptance and a* its target: one update at each
        level, but 50 at the first.
        """
        target, log_h = traits_of(sampler).target_acceptance, math.log(float(sampler.step_size))
        samplers = [sampler]
        for k in range(1, len(self.betas)):
            for n in range(50 if k == 1 else 1):
                moved, acceptance = self.move(with_step_size(sampler, math.exp(log_h)), k, x)
                x = moved
                log_h += (1.0 if k == 1 and n < 25 else 0.3) * (acceptance - target)
            samplers.append(with_step_size(sampler, math.exp(log_h)))
        return samplers


def summary(log_w: Tensor | float, acceptance: float | None, sign: int) -> Pass:
    """The result of a pass; `sign` is 1 for the forward and -1 for the reverse pass."""
    assert isinstance(log_w, Tensor)
    n = len(log_w)
    lost = int(log_w.isnan().sum())
    require(
        lost == 0 and bool(log_w.isfinite().any()),
        f"{lost} of {n} weights are NaN and {int(log_w.isfinite().sum())} are finite: U is not"
        " finite between reference and target, or the samples lie outside the reference; choose"
        " another reference",
    )
    log_mean = float(log_w.logsumexp(0)) - math.log(n)
    w = (log_w - log_w.max()).exp()
    ess = float(w.sum().square() / w.square().sum())
    error = float(w.std() / w.mean()) / n**0.5
    return Pass(sign * log_mean, error, ess, n, acceptance, log_w)


def require_invariant(sampler: Sampler) -> None:
    """Refuse a sampler that does not leave exp(-U_β) invariant for each chain on its own."""
    name = type(sampler).__name__
    require(
        is_adjusted(sampler),
        f"annealing needs a Metropolis-adjusted sampler, but {name} is unadjusted; use MALA or HMC",
    )
    require(
        not has_quantile(sampler),
        f"{name} has a quantile threshold, which depends on all chains; use a number as its"
        " threshold",
    )
    reason = traits_of(sampler).not_markov
    require(
        reason is None,
        f"annealing needs a sampler whose step depends on x alone, but that of {name} does not:"
        f" {reason}",
    )


@dataclass(frozen=True)
class BitsPerDimension:
    """The result of `bits_per_dimension`, of n images with `dimensions` values each.

    lower            with the lower bound of log Z; it is optimistic, since mass that annealing did
                     not find would make the images less likely
    upper            with the upper bound of log Z; None if there is none
    standard_error   over the images; it includes the noise of dequantisation
    """

    lower: float
    upper: float | None
    standard_error: float
    n: int
    dimensions: int


@torch.no_grad()
def bits_per_dimension(
    potential: Energy,
    images: Tensor,
    bracket: Bracket,
    *,
    generator: Generator | None = None,
    seed: int | None = None,
) -> BitsPerDimension:
    """An upper bound on the code length of images under p = exp(-U)/Z, in bits per dimension.

        (E U(x) + log Z) / (d log 2) + 7,   x = (v + u)/128 - 1,   u ~ U[0, 1)^d

    images    v, uint8 (n, C, H, W), n >= 2; u is drawn once for each
    bracket   bounds of log Z, from `bracket_log_z`

    The probability of an image of bytes is the mass of its cell, which has the volume 128⁻ᵈ:
    P(v) = 128⁻ᵈ E_u p(x). By Jensen's inequality -log P(v) <= d·log 128 - E_u log p(x), and
    log p = -U - log Z (Theis et al. 2016, section 3.1). Not true: that a density gains by reaching
    beyond [-1, 1): the mass there is lost to it.
    """
    rng = as_generator(generator, seed, "bits_per_dimension", device=device_of(potential))
    require(
        images.dtype == torch.uint8,
        f"images have type {images.dtype}, but must be uint8, since bits are counted for bytes",
    )
    require(len(images) >= 2, f"there are {len(images)} images, but must be at least 2")
    d = math.prod(images.shape[1:])

    def of_bytes(part: Tensor) -> Tensor:
        return values(potential, dequantise(part.to(rng.device), rng)).double()

    u, bits = in_chunks(of_bytes, images, CHUNK), d * math.log(2)
    mean, error = float(u.mean()), float(u.std()) / len(images) ** 0.5
    upper = None if bracket.upper is None else (mean + bracket.upper) / bits + 7
    return BitsPerDimension((mean + bracket.lower) / bits + 7, upper, error / bits, len(images), d)
