"""The bias of a chain without a Metropolis test: its time averages against those of an exact
chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from stanley.device import widest_float
from stanley.errors import StanleyError, require
from stanley.samplers.adjusted import Adjusted
from stanley.samplers.base import Proposal, Sampler
from stanley.samplers.run import check_event, check_precision, check_request
from stanley.samplers.traits import is_adjusted
from stanley.types import Energy, in_float32

Function = Callable[[Tensor], Tensor]

SIGNIFICANCE = 0.01  # of all comparisons of a bias together


@dataclass(frozen=True)
class Comparison:
    """One function's time average under two samplers, each (*shape) as the function returns it for
    a point.
    """

    value: Tensor
    reference: Tensor
    difference: Tensor  # value - reference
    standard_error: Tensor  # of the difference, from the spread between chains
    # |difference| in standard errors beyond which it is no accident, for all coordinates together
    limit: float


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

    Both samplers run B chains from x0 for `num_steps` steps; f is averaged over the steps after
    `burn_in`, chain by chain, and over chains. The chains are independent, so their spread gives
    the standard error whatever the autocorrelation is, and the difference over it is Student t
    (Welch's degrees of freedom). What counts as no accident leaves one false alarm in a hundred
    calls, all functions and coordinates together (Bonferroni).

    reference   the exact sampler; `Adjusted(sampler)`, the same moves with a Metropolis test,
                unless given. A sampler without a log-ratio needs one, MALA for instance
    burn_in     steps thrown away, half unless given
    functions   name -> f: (B, *event) -> (B, *shape), of any shape

    Cost: two runs; memory does not grow with num_steps. Known: for U = x²/2 Langevin has E x² =
    1/(1 - h/4). Not true: that it tells bias from slow mixing. A chain that remembers x0 after the
    burn-in differs for that reason, so look at R̂ of both; a reference that accepts almost nothing
    has not left x0 at all, and is reported. Chains that influence each other (MatchedLangevin, γ
    'lagged') have standard errors that are too small or large.
    """
    reference = adjusted_twin(sampler) if reference is None else reference
    require(
        len(functions) > 0,
        "bias_against_adjusted: no functions were given; leave them out for the two moments",
    )
    check_request(x0, num_steps, generator, None)
    check_precision(sampler, potential)
    check_event(potential, x0)
    require(
        len(x0) >= 2,
        f"bias_against_adjusted: {len(x0)} chain in x0 of shape {tuple(x0.shape)}, must be at least"
        " 2; the error comes from the spread between chains",
    )
    first = num_steps // 2 if burn_in is None else burn_in
    require(
        0 <= first < num_steps,
        f"burn_in is {first}, must lie between 0 and num_steps - 1 = {num_steps - 1}",
    )
    value, _ = time_averages(sampler, potential, x0, num_steps, first, functions, generator)
    # the reference is exact; that of the sampler may be rounded, which is bias too
    potential = in_float32(potential)
    exact, acceptance = time_averages(
        reference, potential, x0, num_steps, first, functions, generator
    )
    number = sum(v[0].numel() for v in value.values())
    found = {name: compare(value[name], exact[name], number) for name in functions}
    return Bias(found, acceptance, judge_bias(found, acceptance))


def adjusted_twin(sampler: Sampler) -> Sampler:
    name = type(sampler).__name__
    if is_adjusted(sampler):
        raise StanleyError(
            f"bias_against_adjusted: {name} is exact already; give the unadjusted sampler, or a"
            " reference"
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
    """Means over the steps after the burn-in, chain by chain, and the mean acceptance."""
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
        f"function {name!r} returned shape {tuple(values.shape)} for {len(x0)} chains, must be"
        f" ({len(x0)}, *shape)",
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
            said.append(
                f"{name}: not finite at {lost} of {c.difference.numel()} coordinates: the sampler"
                " diverges"
            )
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
            said.append(
                f"{name}: biased at {beyond} of {len(z)} coordinates, most clearly {numbers}"
            )
        else:
            said.append(
                f"{name}: no bias seen; the largest difference in standard errors is {numbers}"
            )
    if acceptance < 0.05:
        said.append(
            f"the reference accepts {acceptance:.2g} of its proposals: it may not have left its"
            " start"
        )
    return said
