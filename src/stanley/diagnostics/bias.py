"""The bias of a sampler without a Metropolis test, measured against an exact sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor
from torch.distributions import Distribution

from stanley.device import widest_float
from stanley.errors import StanleyError, require
from stanley.samplers.adjusted import Adjusted
from stanley.samplers.arguments import Points, as_request
from stanley.samplers.base import Proposal, Sampler
from stanley.samplers.run import check_event, check_precision, check_request
from stanley.samplers.traits import is_adjusted
from stanley.types import Energy, in_float32

Function = Callable[[Tensor], Tensor]

SIGNIFICANCE = 0.01  # of all comparisons of a bias together


@dataclass(frozen=True)
class Comparison:
    """The time averages of one function f under two samplers, each (*shape) as f(x) of a point.

    value            under the sampler that is examined
    reference        under the reference sampler
    difference       value - reference
    standard_error   of the difference, from the spread between chains
    limit            |difference| in standard errors above which a coordinate counts as biased, with
                     the correction for multiple comparisons
    """

    value: Tensor
    reference: Tensor
    difference: Tensor
    standard_error: Tensor
    limit: float


@dataclass(frozen=True)
class Bias:
    """The result of `bias_against_adjusted`.

    functions    the comparison of each function, by its name
    acceptance   of the reference, mean over the chains and the steps after the burn-in; 1 if it
                 never rejects
    verdict      one sentence for each function, and one if the acceptance is suspiciously low
    """

    functions: dict[str, Comparison]
    acceptance: float
    verdict: list[str]


def identity(x: Tensor) -> Tensor:
    return x


MOMENTS: dict[str, Function] = {"mean": identity, "second moment": torch.square}


@torch.no_grad()
def bias_against_adjusted(
    sampler: Sampler | str,
    potential: Energy | Distribution,
    x0: Points,
    num_steps: int = 1000,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    reference: Sampler | None = None,
    burn_in: int | None = None,
    functions: Mapping[str, Function] = MOMENTS,
) -> Bias:
    """Estimate the bias of an unadjusted sampler, E_ρ f - E_π f, for each f of `functions`.

    ρ is the law to which the sampler converges and π ∝ exp(-U). The sampler and a reference both
    run B chains from x0; f is averaged over the steps after `burn_in`, for each chain, and then
    over chains. Since chains are independent, their spread gives the standard error whatever their
    autocorrelation, and difference / standard error follows a Student t (with Welch's degrees of
    freedom). A false alarm has a probability of 0.01 per call, all functions and coordinates
    together (Bonferroni).

    x0          (B, *event), B >= 2
    reference   an exact sampler; by default `Adjusted(sampler)`, the same proposal with a
                Metropolis test. Needed for a sampler that has no acceptance ratio: use MALA.
    burn_in     number of steps that are discarded, half of num_steps by default
    functions   name -> f: (B, *event) -> (B, *shape); by default x and x²

    Cost: two runs; memory does not grow with num_steps. Known: for U = x²/2 Langevin has
    E x² = 1/(1 - h/4). Not true: that it tells bias from slow mixing: a chain that still depends on
    x0 after the burn-in differs too, so look at R̂ of both samplers; a reference that accepts almost
    nothing is reported. Not true: that the standard errors hold for chains that influence each
    other (MatchedLangevin, γ 'lagged'): they may then be too small or too large. Raises
    StanleyError for a sampler that is adjusted already.
    """
    sampler, potential, x0, generator = as_request(
        "bias_against_adjusted", sampler, potential, x0, generator, seed
    )
    reference = adjusted_twin(sampler) if reference is None else reference
    require(
        len(functions) > 0,
        "bias_against_adjusted: functions is empty; leave it out for the first two moments",
    )
    check_request(x0, num_steps, generator, None)
    check_precision(sampler, potential)
    check_event(potential, x0)
    require(
        len(x0) >= 2,
        f"bias_against_adjusted: x0 of shape {tuple(x0.shape)} holds {len(x0)} chain, but must hold"
        " at least 2: the standard error comes from the spread between chains",
    )
    first = num_steps // 2 if burn_in is None else burn_in
    require(
        0 <= first < num_steps,
        f"burn_in is {first}, but must lie between 0 and num_steps - 1 = {num_steps - 1}",
    )
    value, _ = time_averages(sampler, potential, x0, num_steps, first, functions, generator)
    # float32 for the reference, which must be exact; rounding of the sampler's own U is a bias too
    potential = in_float32(potential)
    exact, acceptance = time_averages(
        reference, potential, x0, num_steps, first, functions, generator
    )
    number = sum(v[0].numel() for v in value.values())
    comparisons = {name: compare(value[name], exact[name], number) for name in functions}
    return Bias(comparisons, acceptance, judge_bias(comparisons, acceptance))


def adjusted_twin(sampler: Sampler) -> Sampler:
    """The same proposal with a Metropolis test."""
    name = type(sampler).__name__
    if is_adjusted(sampler):
        raise StanleyError(
            f"bias_against_adjusted: {name} is exact already; give the unadjusted sampler, or a"
            " reference to compare with"
        )
    proposal: Proposal = sampler  # type: ignore[assignment]
    try:
        return Adjusted(proposal)
    except StanleyError as error:
        raise StanleyError(
            f"bias_against_adjusted: {error}; or give reference=MALA(step_size)"
        ) from None


def time_averages(
    sampler: Sampler,
    potential: Energy,
    x0: Tensor,
    num_steps: int,
    burn_in: int,
    functions: Mapping[str, Function],
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], float]:
    """Means over the steps after the burn-in, for each chain, and the mean acceptance."""
    totals = {
        name: torch.zeros_like(check_function(name, f(x0), x0), dtype=widest_float(x0.device))
        for name, f in functions.items()
    }
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
        f"function {name!r} returned shape {tuple(values.shape)} for {len(x0)} chains, but must"
        f" return ({len(x0)}, *shape)",
    )
    return values


def compare(value: Tensor, reference: Tensor, number: int) -> Comparison:
    """Welch's t test over chains, where `number` comparisons are made in all.

    One limit serves all coordinates: that of the smallest number of degrees of freedom.
    """
    n = len(value)
    a, b = value.var(0) / n, reference.var(0) / n
    error = (a + b).sqrt()
    degrees = (n - 1) * (a + b) ** 2 / (a**2 + b**2)  # n - 1 … 2n - 2; NaN where neither varies
    least = float(torch.where(degrees.isfinite(), degrees, n - 1).min())
    limit = -float(stdtrit(least, SIGNIFICANCE / 2 / number))
    mean, exact = value.mean(0), reference.mean(0)
    return Comparison(mean, exact, mean - exact, error, limit)


def judge_bias(comparisons: Mapping[str, Comparison], acceptance: float) -> list[str]:
    sentences = []
    for name, c in comparisons.items():
        lost = int((~c.difference.isfinite()).sum())
        if lost:
            sentences.append(
                f"{name}: not finite at {lost} of {c.difference.numel()} coordinates, so the"
                " sampler diverges; use a smaller step size"
            )
            continue
        z = (c.difference / c.standard_error).abs().flatten()
        z = torch.where(z.isnan(), 0.0, z)  # 0/0: neither varies and both agree
        k, beyond = int(z.argmax()), int((z > c.limit).sum())
        difference, error = float(c.difference.flatten()[k]), float(c.standard_error.flatten()[k])
        index = [int(i) for i in torch.unravel_index(torch.tensor(k), c.difference.shape)]
        numbers = (
            f"{difference:+.3g} ± {error:.1g} at {index}, "
            f"{float(c.value.flatten()[k]):.4g} instead of {float(c.reference.flatten()[k]):.4g}"
        )
        if beyond:
            sentences.append(
                f"{name}: biased at {beyond} of {len(z)} coordinates, most clearly by {numbers}"
            )
        else:
            sentences.append(f"{name}: no bias seen; the most significant difference is {numbers}")
    if acceptance < 0.05:
        sentences.append(
            f"the reference accepts a share of only {acceptance:.2g} of its proposals, so it may"
            " not have left its start; use a smaller step size"
        )
    return sentences
