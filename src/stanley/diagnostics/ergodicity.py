"""What the theorems ask for, measured: growth along rays (H1), the drift condition, the bias of a chain without a test.

Each answer is a frozen value with its numbers and a `verdict` in words that quotes them. None is a proof: rays and
points are a sample of all directions and radii, and what holds far out in a sample can fail elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from scipy.special import stdtrit
from torch import Tensor

from stanley.errors import StanleyError, require
from stanley.samplers.adjusted import Adjusted
from stanley.samplers.base import ChainState, Proposal, Sampler, evaluate
from stanley.samplers.inside import adjustable_step, wrapped_by
from stanley.samplers.preconditioned import Preconditioned
from stanley.samplers.run import check_event, check_request
from stanley.samplers.scale import Quantile
from stanley.types import Energy, network_of

Function = Callable[[Tensor], Tensor]

RADII = tuple(10 ** (k / 3) for k in range(13))  # 1 … 10⁴, three a decade
LEAST_EXPONENT = 0.05  # r^0.05 grows by a quarter from 1 to 100; what grows less counts as levelling off
SAME = 1e-6  # relative difference of radii that is taken for rounding
ERRORS = 4.0  # standard errors that a drift ratio must stay below 1
SIGNIFICANCE = 0.01  # of all comparisons of a bias together


# H1: growth along rays.


@dataclass(frozen=True)
class RayGrowth:
    """∇U along rays u: the numbers behind H1 and a verdict on them."""

    radii: Tensor  # (R,)
    radial: Tensor  # (R, num_rays)   ⟨u, ∇U(ru)⟩, the radial derivative
    cosine: Tensor  # (R, num_rays)   ⟨u, ∇U/|∇U|⟩; H1 has its sign reversed and asks for a limsup below 0
    exponent: Tensor  # (num_rays,)   p in radial ~ r^p over the last decade of radii; NaN where radial is not > 0
    holds: bool  # nothing seen on these rays contradicts H1
    verdict: str

    def quantiles(self, levels: Sequence[float] = (0.0, 0.1, 0.5, 0.9, 1.0)) -> tuple[Tensor, Tensor]:
        """Of the radial derivative and of the cosine over the rays: (R, levels) each."""
        at = torch.tensor(levels, dtype=self.radial.dtype, device=self.radial.device)
        return self.radial.quantile(at, 1).T, self.cosine.quantile(at, 1).T


def h1_on_rays(
    potential: Energy,
    event_shape: Sequence[int],
    *,
    generator: torch.Generator,
    num_rays: int = 64,
    radii: Sequence[float] = RADII,
    dtype: torch.dtype | None = None,
) -> RayGrowth:
    """Whether U grows faster than linearly along random rays x = ru, |u| = 1, as H1 asks in every direction:

        ⟨u, ∇U(ru)⟩ → ∞   and   limsup ⟨x/|x|, -∇U/|∇U|⟩ < 0      as r → ∞.

    Growth is the exponent p of ⟨u, ∇U⟩ ~ r^p over the last decade of radii, on the ray where it is least: a piecewise
    linear network has p = 0, a Gaussian 1, x⁴ 3, Student t -1. H1 is refused where ⟨u, ∇U⟩ ≤ 0, p ≤ 0.05 or the
    cosine ≤ 0 on any ray.

    radii   increasing, in the units of x; the largest should lie where the tails have taken over, and a Gaussian
            reference of standard deviation s takes over from a network of slope a only beyond a·s²
    dtype   of the points; the network's own unless given, float64 for a function

    One gradient per ray and radius. Not true: that passing proves H1 or that failing refutes it. All is judged
    at finite radii, growth slower than r^0.05 is taken for none, and in high dimension random rays miss the axes and
    every other thin cone.
    STANLEY (draft), H1, eq. (9).
    """
    require(num_rays >= 1, f"h1_on_rays: num_rays is {num_rays}, must be at least 1; 64 is usual")
    check_radii(radii, least=2)
    rays = directions(event_shape, num_rays, generator, dtype or dtype_of(potential, generator))
    radial, cosine = [], []
    for r in radii:
        grad = gradient(potential, r * rays, r).flatten(1)
        along = (grad * rays.flatten(1)).sum(1, dtype=wide(grad))
        radial.append(along)
        cosine.append(along / torch.linalg.vector_norm(grad, dim=1, dtype=wide(grad)))
    values = torch.stack(radial)
    at = torch.tensor(radii, dtype=values.dtype, device=values.device)
    exponent = growth(at, values)
    return RayGrowth(at, values, torch.stack(cosine), exponent, *judge_growth(at, values, cosine[-1], exponent))


def growth(radii: Tensor, radial: Tensor) -> Tensor:
    """p from the outermost radius and the last one that is a decade further in, or the first: (num_rays,)."""
    inner = int((radii <= radii[-1] / 10 * (1 + 1e-9)).sum().clamp(min=1)) - 1
    first, last = radial[inner], radial[-1]
    return torch.where((first > 0) & (last > 0), (last / first).log() / (radii[-1] / radii[inner]).log(), math.nan)


def judge_growth(radii: Tensor, radial: Tensor, cosine: Tensor, exponent: Tensor) -> tuple[bool, str]:
    far, last, n = float(radii[-1]), radial[-1], radial.shape[1]
    spread = f"radial derivative {float(last.min()):.3g} to {float(last.max()):.3g} at radius {far:g}"
    inward = int((last <= 0).sum())
    if inward:
        return False, f"the potential does not grow outward on {inward} of {n} rays ({spread}): H1 fails"
    turned = int(exponent.isnan().sum())
    if turned:
        return False, f"{turned} of {n} rays still fell a decade before ({spread}): no exponent yet, use larger radii"
    least = float(exponent.min())
    if least < -LEAST_EXPONENT:
        return False, f"the radial derivative falls like r^{least:.2f} ({spread}): less than linear growth, H1 fails"
    if least <= LEAST_EXPONENT:
        return False, (
            f"the radial derivative levels off (r^p, p = {least:.3f} on the flattest ray; {spread}): "
            "at most linear growth, H1 fails; a Gaussian reference |x|²/(2s²) repairs it"
        )
    lowest = float(cosine.min())
    if lowest <= 0:
        return False, f"the gradient turns away from the ray: least cosine {lowest:.3g} at radius {far:g}, H1 fails"
    return True, (
        f"the radial derivative grows like r^p, p = {least:.2f} to {float(exponent.max()):.2f} ({spread}), "
        f"and the cosine is at least {lowest:.3g}: superlinear on all {n} rays, nothing contradicts H1"
    )


# The drift condition.


@dataclass(frozen=True)
class DriftRatio:
    """ΠV(x)/V(x) at points sorted by |x|. Logarithms, since V overflows where it matters."""

    radius: Tensor  # (P,)           |x|
    log_ratio: Tensor  # (P,)        log ΠV(x)/V(x)
    relative_error: Tensor  # (P,)   standard error of the ratio / the ratio
    largest_share: Tensor  # (P,)    of one copy in the mean; near 1 the standard error means nothing
    beyond: float | None  # the ratio is below 1 at every point with |x| at least this; None if not at the outermost
    verdict: str

    @property
    def ratio(self) -> Tensor:
        return self.log_ratio.exp()

    @property
    def standard_error(self) -> Tensor:
        return self.ratio * self.relative_error


def exponential_norm(s: float) -> Function:
    """log V for V(x) = e^{s|x|}."""
    require(0 < s < math.inf, f"exponential_norm: s is {s}, must be > 0 and finite; 1/√h is a good start")
    return lambda x: s * torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=wide(x))


def drift_ratio(
    sampler: Sampler,
    potential: Energy,
    x0: Tensor,
    *,
    generator: torch.Generator,
    log_v: Function | None = None,
    num_copies: int = 1000,
) -> DriftRatio:
    """ΠV(x)/V(x) = E[V(x')/V(x)], x' one step from x: geometric ergodicity asks that it stay below 1 far out.

    x0           (P, *event), points at a range of radii, as `points_on_rays` makes them
    log_v        log V: (B, *event) -> (B,); V(x) = e^{|x|} if left out, `exponential_norm(s)` for e^{s|x|}
    num_copies   independent steps from each point, one point at a time

    A rejected proposal stays, and counts as V(x). Known: STANLEY with 'sample' scope has a ratio of at most
    e^{-s·th·h·c/2} far out where |∇U| → ∞, c the least cosine of x and ∇U; MALA on exp(-Σx⁴) is always rejected and
    has 1; Langevin there overshoots and has ∞. num_copies gradients a point.
    The kernel must depend on x alone: a quantile threshold or γ kept from the start of a run is refused.
    Not true: that a ratio below 1 at these points is the drift condition, nor that one above 1 with this V refutes
    it; another V may do. The mean of e^{s|x'|} is estimated well while s²h is at most about 1.
    Meyn & Tweedie (2009), Markov Chains and Stochastic Stability, chapter 15; STANLEY (draft), eq. (16).
    """
    require(num_copies >= 2, f"drift_ratio: num_copies is {num_copies}, must be at least 2; 1000 is usual")
    check_request(x0, 1, generator, None)
    check_event(potential, x0)
    refuse_history(sampler)
    log_v = log_v or exponential_norm(1.0)
    rows = []
    for point in x0.detach().flatten(1).norm(dim=1).argsort().tolist():
        copies = x0[point].detach().expand(num_copies, *x0.shape[1:]).clone()
        with torch.no_grad():
            state, _ = sampler.step(potential, sampler.init(potential, copies), generator)
            refuse_memory(sampler, state)
            change = (log_v_at(log_v, state.x) - log_v_at(log_v, copies)).double()
        rows.append(torch.stack([copies[0].double().norm(), *log_mean(change)]))
    radius, log_ratio, error, largest = torch.stack(rows).unbind(1)
    return DriftRatio(radius, log_ratio, error, largest, *judge_drift(radius, log_ratio, error, largest))


def log_mean(change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log of the mean of e^c, its relative standard error and the largest share of one term, without overflow."""
    top = change.max()
    if not bool(top.isfinite()):  # NaN: the step left the numbers; ∞: so did V
        nan = change.new_tensor(math.nan)
        return change.new_tensor(math.inf), nan, nan
    weight = (change - top).exp()
    mean = weight.mean()
    return top + mean.log(), weight.std() / mean / len(weight) ** 0.5, weight.max() / weight.sum()


def judge_drift(radius: Tensor, log_ratio: Tensor, error: Tensor, largest: Tensor) -> tuple[float | None, str]:
    """Shell by shell: points of one radius, but for rounding, are below 1 together or not at all."""
    below = log_ratio.exp() * (1 + ERRORS * error) < 1  # NaN is not below
    shell = torch.cat([radius.new_zeros(1), (radius[1:] > radius[:-1] * (1 + SAME)).cumsum(0)])  # (P,)
    whole = torch.stack([below[shell == k].all() for k in shell])
    trailing = int(whole.flip(0).long().cumprod(0).sum())
    outermost = shell == shell[-1]
    at = int(torch.where(outermost, log_ratio.nan_to_num(math.inf), -math.inf).argmax())  # the worst point there
    far, last = float(radius[-1]), float(log_ratio[at])
    ratio = f"{math.exp(last):.4g} ± {math.exp(last) * float(error[at]):.1g}" if -9 < last < 50 else f"e^{last:.3g}"
    if not trailing:
        if not math.isfinite(last):
            return None, f"a step from |x| = {far:.4g} left the finite numbers: no drift condition with this V"
        return None, f"ΠV/V is {ratio} at |x| = {far:.4g}, the outermost point: not below 1, no drift condition seen"
    doubt = float(largest[-trailing:].max())
    note = f"; one copy makes up {doubt:.0%} of a mean, use more copies or a smaller s" if doubt > 0.1 else ""
    beyond, most = float(radius[-trailing]), float(log_ratio[-trailing:].max().exp())
    return beyond, f"ΠV/V is at most {most:.4g} from |x| = {beyond:.4g} on and {ratio} at {far:.4g}: below 1{note}"


def refuse_memory(sampler: Sampler, state: ChainState) -> None:
    carried = state.memory.memory if isinstance(sampler, Preconditioned) else state.memory
    require(
        carried is None,
        f"drift_ratio: {type(sampler).__name__} carries momentum, moments or replicas from step to step, so a step "
        "does not depend on x alone; use Langevin, MALA or STANLEY",
    )


def refuse_history(sampler: Sampler) -> None:
    inner = sampler
    while (wrapped := wrapped_by(inner)) is not None:
        inner = wrapped[1]
    name, refresh = type(inner).__name__, getattr(inner, "refresh", "step")
    require(
        refresh == "step",
        f"drift_ratio: {name} with refresh={refresh!r} keeps γ from the start of a run, so a step does not depend on "
        "x alone; use refresh='step'",
    )
    require(
        not isinstance(getattr(inner, "threshold", None), Quantile),
        f"drift_ratio: the threshold of {name} is a quantile, resolved over the chains that a run starts from; "
        "use a number, such as info.threshold of the run",
    )


def points_on_rays(
    event_shape: Sequence[int],
    radii: Sequence[float] = RADII,
    *,
    generator: torch.Generator,
    num_rays: int = 4,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """ru for each of the radii r on the same random unit rays u: (len(radii)·num_rays, *event)."""
    require(num_rays >= 1, f"points_on_rays: num_rays is {num_rays}, must be at least 1; 4 is usual")
    check_radii(radii, least=1)
    rays = directions(event_shape, num_rays, generator, dtype)
    return torch.cat([r * rays for r in radii])


# The bias of an unadjusted chain.


@dataclass(frozen=True)
class Comparison:
    """One function's time average under two samplers, each (*shape) as the function returns it for a point."""

    value: Tensor
    reference: Tensor
    difference: Tensor  # value - reference
    standard_error: Tensor  # of the difference, from the spread between chains
    limit: float  # |difference| in standard errors beyond which it is no accident, for all coordinates together


@dataclass(frozen=True)
class Bias:
    """Time averages of a sampler against an exact one."""

    functions: dict[str, Comparison]
    acceptance: float  # of the reference, mean over chains and kept steps; 1 if it rejects nothing
    verdict: list[str]


def identity(x: Tensor) -> Tensor:
    return x


MOMENTS: dict[str, Function] = {"mean": identity, "second moment": torch.square}


@torch.no_grad()
def bias_against_adjusted(
    sampler: Sampler,
    potential: Energy,
    x0: Tensor,
    num_steps: int,
    *,
    generator: torch.Generator,
    reference: Sampler | None = None,
    burn_in: int | None = None,
    functions: Mapping[str, Function] = MOMENTS,
) -> Bias:
    """E_ρ f - E_π f, ρ what the sampler converges to and π ∝ exp(-U), for each of `functions`.

    Both samplers run B chains from x0 for `num_steps` steps; f is averaged over the steps after `burn_in`, chain by
    chain, and over chains. The chains are independent, so their spread gives the standard error whatever the
    autocorrelation is, and the difference over it is Student t (Welch's degrees of freedom). What counts as no
    accident leaves one false alarm in a hundred calls, all functions and coordinates together (Bonferroni).

    reference   the exact sampler; `Adjusted(sampler)`, the same moves with a Metropolis test, unless given.
                A sampler without a log-ratio needs one, MALA for instance
    burn_in     steps thrown away, half unless given
    functions   name -> f: (B, *event) -> (B, *shape), of any shape

    Cost: two runs; memory does not grow with num_steps. Known: for U = x²/2 Langevin has E x² = 1/(1 - h/4).
    Not true: that it tells bias from slow mixing. A chain that remembers x0 after the burn-in differs for that
    reason, so look at R̂ of both; a reference that accepts almost nothing has not left x0 at all, and is reported.
    Chains that influence each other (MatchedLangevin, γ 'lagged') have standard errors that are too small or large.
    """
    reference = adjusted_twin(sampler) if reference is None else reference
    require(len(functions) > 0, "bias_against_adjusted: no functions were given; leave them out for the two moments")
    check_request(x0, num_steps, generator, None)
    check_event(potential, x0)
    require(
        len(x0) >= 2,
        f"bias_against_adjusted: {len(x0)} chain in x0 of shape {tuple(x0.shape)}, must be at least 2; "
        "the error comes from the spread between chains",
    )
    first = num_steps // 2 if burn_in is None else burn_in
    require(0 <= first < num_steps, f"burn_in is {first}, must lie between 0 and num_steps - 1 = {num_steps - 1}")
    value, _ = time_averages(sampler, potential, x0, num_steps, first, functions, generator)
    exact, acceptance = time_averages(reference, potential, x0, num_steps, first, functions, generator)
    number = sum(v[0].numel() for v in value.values())
    found = {name: compare(value[name], exact[name], number) for name in functions}
    return Bias(found, acceptance, judge_bias(found, acceptance))


def adjusted_twin(sampler: Sampler) -> Sampler:
    name = type(sampler).__name__
    if adjustable_step(sampler):
        raise StanleyError(
            f"bias_against_adjusted: {name} is exact already; give the unadjusted sampler, or a reference"
        )
    proposal: Proposal = sampler  # type: ignore[assignment]
    try:
        return Adjusted(proposal)
    except StanleyError as error:
        raise StanleyError(f"bias_against_adjusted: {error}; or give reference=MALA(step_size)") from None


def time_averages(
    sampler: Sampler,
    potential: Energy,
    x0: Tensor,
    num_steps: int,
    burn_in: int,
    functions: Mapping[str, Function],
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], float]:
    """Means over the steps after the burn-in, chain by chain, and the mean acceptance."""
    totals = {name: torch.zeros_like(check_function(name, f(x0), x0), dtype=wide(x0)) for name, f in functions.items()}
    accepted = x0.new_zeros(len(x0))
    state = sampler.init(potential, x0)
    for n in range(num_steps):
        state, info = sampler.step(potential, state, generator)
        if n >= burn_in:
            accepted = accepted + (1 if info.acceptance is None else info.acceptance)
            totals = {name: total + functions[name](state.x) for name, total in totals.items()}
    kept = num_steps - burn_in
    return {name: total / kept for name, total in totals.items()}, float(accepted.mean()) / kept


def check_function(name: str, values: Tensor, x0: Tensor) -> Tensor:
    require(
        values.dim() >= 1 and len(values) == len(x0),
        f"function {name!r} returned shape {tuple(values.shape)} for {len(x0)} chains, must be ({len(x0)}, *shape)",
    )
    return values


def compare(value: Tensor, reference: Tensor, number: int) -> Comparison:
    """Welch's t over chains; the limit uses the fewest degrees of freedom over the coordinates."""
    n = len(value)
    a, b = value.var(0) / n, reference.var(0) / n
    error = (a + b).sqrt()
    degrees = (n - 1) * (a + b) ** 2 / (a**2 + b**2)  # n - 1 … 2n - 2; NaN where neither varies
    least = float(torch.where(degrees.isfinite(), degrees, n - 1).min())
    limit = -float(stdtrit(least, SIGNIFICANCE / 2 / number))
    mean, exact = value.mean(0), reference.mean(0)
    return Comparison(mean, exact, mean - exact, error, limit)


def judge_bias(found: Mapping[str, Comparison], acceptance: float) -> list[str]:
    said = []
    for name, c in found.items():
        lost = int((~c.difference.isfinite()).sum())
        if lost:
            said.append(f"{name}: not finite at {lost} of {c.difference.numel()} coordinates: the sampler diverges")
            continue
        z = (c.difference / c.standard_error).abs().flatten()
        z = torch.where(z.isnan(), 0.0, z)  # 0/0: neither varies and both agree
        k, beyond = int(z.argmax()), int((z > c.limit).sum())
        difference, error = float(c.difference.flatten()[k]), float(c.standard_error.flatten()[k])
        index = [int(i) for i in torch.unravel_index(torch.tensor(k), c.difference.shape)]
        numbers = (
            f"{difference:+.3g} ± {error:.1g} at {index}, "
            f"{float(c.value.flatten()[k]):.4g} against {float(c.reference.flatten()[k]):.4g}"
        )
        if beyond:
            said.append(f"{name}: biased at {beyond} of {len(z)} coordinates, most clearly {numbers}")
        else:
            said.append(f"{name}: no bias seen; the largest difference in standard errors is {numbers}")
    if acceptance < 0.05:
        said.append(f"the reference accepts {acceptance:.2g} of its proposals: it may not have left its start")
    return said


# What several of them share.


def directions(event_shape: Sequence[int], number: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Uniform on the unit sphere: (number, *event), on the generator's device."""
    require(
        len(event_shape) >= 1 and all(size >= 1 for size in event_shape),
        f"event_shape is {tuple(event_shape)}, must be the shape of one point such as (2,) or (3, 32, 32)",
    )
    ray = torch.randn(number, *event_shape, generator=generator, dtype=dtype, device=generator.device)
    length = torch.linalg.vector_norm(ray.flatten(1), dim=1)
    return ray / length.view(-1, *[1] * len(event_shape))


def check_radii(radii: Sequence[float], least: int) -> None:
    increasing = all(a < b for a, b in pairwise(radii))
    require(
        len(radii) >= least and increasing and radii[0] > 0 and math.isfinite(radii[-1]),
        f"radii are {[float(f'{r:.4g}') for r in radii]}, must be at least {least} positive increasing finite numbers",
    )


def dtype_of(potential: Energy, generator: torch.Generator) -> torch.dtype:
    """Of the weights of the network behind a potential, float64 for anything else."""
    network = network_of(potential)
    weights = network.parameters() if network is not None else ()
    weight = next((w for w in weights if w.is_floating_point()), None)
    if weight is None:
        return torch.float64
    require(
        weight.device.type == generator.device.type,
        f"the network is on {weight.device} and the generator on {generator.device}; "
        f"use torch.Generator({str(weight.device)!r})",
    )
    return weight.dtype


def gradient(potential: Energy, x: Tensor, radius: float) -> Tensor:
    """∇U, refused where it is no number: nothing can be said of growth from there on."""
    grad = evaluate(potential, x).grad
    bad = int((~grad.flatten(1).isfinite().all(1)).sum())
    require(
        bad == 0,
        f"∇U is not finite on {bad} of {len(x)} rays at radius {radius:g} in {x.dtype}; use smaller radii or float64",
    )
    return grad


def wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64


def log_v_at(log_v: Function, x: Tensor) -> Tensor:
    values = log_v(x)
    require(
        values.shape == x.shape[:1],
        f"log_v returned shape {tuple(values.shape)} for points of shape {tuple(x.shape)}, must be ({len(x)},)",
    )
    return values
