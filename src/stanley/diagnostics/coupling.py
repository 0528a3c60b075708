"""How far a chain is from its invariant law after t steps, measured by pairs of coupled chains.

Two chains X and Y start independently from the same law. X first makes L steps alone (the lag);
then both move together, each with exactly the law of the sampler's step, but coupled such that they
can meet: τ = inf{t ≥ L : X_t = Y_{t-L}}. Once they have met they stay equal. The meeting times
bound the distance to the invariant law π:

    |π_t - π|_TV ≤ E max(0, ⌈(τ - L - t)/L⌉),
    W₁(π_t, π)   ≤ E Σ_{j≥1} |X_{t+jL} - Y_{t+(j-1)L}|.

Both hold for every L ≥ 1 and every coupling. A larger lag gives a tighter bound and costs L more
steps per pair. π is whatever the sampler leaves invariant: proportional to exp(-U) for an adjusted
sampler, a biased law for an unadjusted one.

Biswas, Jacob & Vanetti (2019), Estimating convergence of Markov chains with L-lag couplings,
section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from stanley.batches import finite_chains
from stanley.diagnostics.meeting import Meeting
from stanley.errors import require
from stanley.samplers.adjusted import Adjusted
from stanley.samplers.arguments import Points, as_positions, as_potential, as_sampler, device_of
from stanley.samplers.base import (
    ChainState,
    Gaussian,
    Law,
    RandomSigns,
    Sampler,
    StepInfo,
    choose,
    evaluate,
    log_normal,
    metropolis,
    per_chain,
)
from stanley.samplers.noise import normal_like, uniform_like
from stanley.samplers.random_walk import evaluate_only
from stanley.samplers.run import check_event, check_precision, check_request
from stanley.samplers.traits import has_quantile, is_adjusted, traits_of
from stanley.streams import as_generator
from stanley.types import Energy

Initial = Callable[[int, torch.Generator], Tensor]  # (n, generator) -> (n, *event)

NEAR = 0.7  # overlap above which a pair with different covariances tries to meet
# C: such a pair meets with probability min(C, q/p), so that sampling the rest of q stays cheap
CEILING = 0.9


@torch.no_grad()
def couple(
    sampler: Sampler | str,
    potential: Energy | Distribution,
    initial: Initial | tuple[Points, Points],
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    num_pairs: int | None = None,
    lag: int = 1,
    max_steps: int = 10_000,
) -> Meeting:
    """Run coupled pairs (X_t, Y_{t-L}) until all have met, but for at most `max_steps` steps.

    initial      π_0, the law from which the chains start and whose convergence the bounds describe:
                 a function (n, generator) -> (n, *event), or two tensors (num_pairs, *event) of
                 independent draws, for X and for Y
    num_pairs    number of pairs P, if `initial` is a function; 500 give a bound that is accurate
                 down to about 0.01
    lag          L, steps that X makes alone; raise it until the bound starts near 1
    max_steps    coupled steps after which pairs are given up; the bounds are then not valid

    The sampler must have a Gaussian proposal N(μ, diag v) whose law depends on the position alone:
    a quantile threshold and a γ that is kept between steps raise StanleyError. Proposals are
    coupled by `coupled_draw`; both chains use the same uniform number in the Metropolis test, and
    the same random signs of a drift. Cost: L steps of P chains, then one step of 2P chains for each
    coupled step, without the pairs that have met; memory for one number per pair and coupled step.
    Not true: that chains that meet have seen all of π: a mode that neither chain visits leaves no
    trace, unless the starts are spread over it. Biswas, Jacob & Vanetti (2019), algorithm 1.
    """
    sampler, potential = as_sampler(sampler), as_potential(potential)
    given: Any = initial
    device = device_of(potential)
    if not callable(initial):
        given = [as_positions(x, potential, "initial") for x in initial]
        device = given[0].device if given else device
    generator = as_generator(generator, seed, "couple", device=device)
    move = coupled_move(sampler)
    require(lag >= 1, f"couple: lag is {lag}, but must be at least 1; 1 is the usual start")
    require(
        max_steps >= 1, f"couple: max_steps is {max_steps}, but must be at least 1; 10000 is usual"
    )
    x0, y0 = starts(given, num_pairs, generator)
    check_precision(sampler, potential)
    check_event(potential, x0)
    x, y = sampler.init(potential, x0), sampler.init(potential, y0)
    for _ in range(lag):
        x, _ = sampler.step(potential, x, generator)

    times = torch.full((len(x0),), math.inf, dtype=torch.float64)
    diverged = torch.zeros_like(times, dtype=torch.bool)
    apart, distances = torch.arange(len(x0)), []
    for k in range(max_steps + 1):
        met, lost = same(x, y).cpu(), ~(finite_chains(x.x) & finite_chains(y.x)).cpu()
        times[apart[met]] = lag + k
        diverged[apart[lost]] = True
        row = torch.where(diverged, math.inf, 0.0).double()
        row[apart[~lost]] = (
            torch.linalg.vector_norm((x.x - y.x).flatten(1), dim=1).cpu().double()[~lost]
        )
        distances.append(row)
        left = ~(met | lost)
        apart, x, y = apart[left], chains_at(x, left), chains_at(y, left)
        if k == max_steps or len(apart) == 0:
            break
        x, y = coupled_step(sampler, move, potential, x, y, generator)
    return Meeting(times, torch.stack(distances), diverged, lag, max_steps, is_adjusted(sampler))


def coupled_step(
    sampler: Sampler,
    move: Gaussian,
    potential: Energy,
    x: ChainState,
    y: ChainState,
    generator: torch.Generator,
) -> tuple[ChainState, ChainState]:
    """One step of both chains, each with the law of the sampler's step; equal chains stay equal.

    x accepts where log u < log α_x and y where log u < log α_y, with the same u and

        log α = U(x) - U(x') + log N(x; μ(x'), v(x')) - log N(x'; μ(x), v(x)).
    """
    both = stacked(x, y)
    signs = random_signs(move, x, generator)
    law = law_of(move, potential, both, signs)
    p, q = (Law(*half, None) for half in zip(law.mean.chunk(2), law.variance.chunk(2), strict=True))
    points = torch.cat(coupled_draw(p, q, generator))
    evaluation = evaluate if traits_of(move).gradients else evaluate_only
    candidate = evaluation(potential, points)._replace(threshold=both.threshold)
    x_next, y_next = split_pairs(candidate)
    if is_adjusted(sampler):
        back = law_of(move, potential, candidate, signs)
        x_ratio, y_ratio = (log_normal(both.x, back) - log_normal(points, law)).chunk(2)
        before = generator.get_state()
        x_next, _ = metropolis(x, x_next, x_ratio, generator, StepInfo())
        generator.set_state(before)  # the same u
        y_next, _ = metropolis(y, y_next, y_ratio, generator, StepInfo())
    return x_next, choose(same(x, y) | same(x_next, y_next), x_next, y_next)


def coupled_draw(p: Law, q: Law, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw x ~ p = N(μ₁, v₁) and y ~ q = N(μ₂, v₂) for each pair, coupled so that often x = y.

        x = μ₁ + √v₁ ξ
        y = x                          where log u < log q(x) - log p(x), u uniform
        y = μ₂ + √v₂ (ξ - 2e⟨e, ξ⟩)    elsewhere, with e = Δ/|Δ|, Δ = (μ₁ - μ₂)/√v

    v₁ = v₂    exactly this, the reflection-maximal coupling: P(x = y) = 2Φ(-|Δ|/2), the largest
               possible probability.
    v₁ ≠ v₂    If the overlap ∫√(pq) is at least 0.7, y = x with probability min(C, q(x)/p(x)),
               C = 0.9; otherwise y is drawn from the rest of q, ∝ q - min(Cp, q), by rejection.
               Each trial succeeds with probability at least 1 - C, so that the number of trials has
               a geometric tail; with C = 1 its variance would be infinite. If the overlap is
               smaller, y is always the last line, with v = (v₁ + v₂)/2.

    Which case applies depends on the two laws and not on the draws, so x and y have exactly the
    laws p and q. Thorisson (2000) for the rest of q; Bou-Rabee, Eberle & Zimmer (2020) for
    reflection; Jacob, O'Leary & Atchadé (2020), with the discussion by Gerber & Lee, for both and
    for C.
    """
    noise = normal_like(p.mean, generator)
    x = p.mean + p.variance.sqrt() * noise
    delta = (p.mean - q.mean) / ((p.variance + q.variance) / 2).sqrt()
    # 0 where Δ = 0
    along = per_chain(delta * noise) / per_chain(delta**2).clamp(min=torch.finfo(delta.dtype).tiny)
    reflected = noise - 2 * delta * along.to(delta).view(-1, *[1] * (delta.dim() - 1))
    y = q.mean + q.variance.sqrt() * reflected

    equal = (p.variance == q.variance).flatten(1).all(1)
    near = ~equal & (overlap(p, q) >= NEAR)
    ratio = log_normal(x, q) - log_normal(x, p)
    together = log_uniform(ratio, generator) < torch.where(
        equal, ratio, ratio.clamp(max=math.log(CEILING))
    )
    y = torch.where((together & (equal | near)).view(-1, *[1] * (x.dim() - 1)), x, y)
    rest = (near & ~together).nonzero()[:, 0]
    return x, y.index_copy(0, rest, rest_of(at(p, rest), at(q, rest), generator))


def rest_of(p: Law, q: Law, generator: torch.Generator) -> Tensor:
    """Draws y from the density ∝ q - min(Cp, q), by rejection.

    A draw y of q is accepted with probability 1 - min(1, C p(y)/q(y)).
    """
    y, left = torch.empty_like(q.mean), torch.arange(len(q.mean), device=q.mean.device)
    while len(left):
        draw = q.mean + q.variance.sqrt() * normal_like(q.mean, generator)
        share = math.log(CEILING) + log_normal(draw, p) - log_normal(draw, q)
        kept = log_uniform(share, generator) >= share
        y[left[kept]] = draw[kept]
        left, p, q = left[~kept], at(p, ~kept), at(q, ~kept)
    return y


def overlap(p: Law, q: Law) -> Tensor:
    """The overlap of two Gaussians, which lies in [P(x = y)/2, 1]; NaN if it overflows.

    ∫√(pq) = Π_i √(2√(v₁v₂)/(v₁+v₂)) · exp(-¼ Σ_i (μ₁-μ₂)²/(v₁+v₂))
    """
    total = p.variance + q.variance
    spread = (2 * p.variance.sqrt() * q.variance.sqrt() / total).log() / 2
    return per_chain(spread - (p.mean - q.mean) ** 2 / total / 4).exp()


def law_of(move: Gaussian, potential: Energy, state: ChainState, signs: Tensor | None) -> Law:
    """The law of the proposal, with one variance for each coordinate."""
    law = move.law(potential, state, signs)
    return law._replace(variance=law.variance.expand_as(law.mean))


def random_signs(move: Gaussian, x: ChainState, generator: torch.Generator) -> Tensor | None:
    """The signs of a random drift, the same for both chains of a pair: (2P, …)."""
    signs = move.signs(x.x, generator) if isinstance(move, RandomSigns) else None
    return None if signs is None else torch.cat([signs, signs])


def coupled_move(sampler: Sampler) -> Gaussian:
    """The Gaussian proposal of a sampler, refused unless its law depends on the position alone.

    An inherited `law` does not count, since the subclass may move in another way.
    """
    move = sampler.proposal if type(sampler) is Adjusted else sampler
    name, traits = type(move).__name__, traits_of(move)
    reason = traits.not_markov or traits.not_adjustable
    if "law" not in vars(type(move)):
        reason = "it has no method `law` that states a Gaussian proposal"
    require(
        reason is None,
        f"couple: {name} cannot be coupled: {reason}; samplers that can be are those whose proposal"
        " is one Gaussian draw that depends on x alone, as that of Langevin, MALA, RandomWalk and"
        " Stanley without midpoint, with or without Adjusted",
    )
    require(
        not has_quantile(move),
        f"couple: the threshold of {name} is a quantile over the chains from which a run starts;"
        " use a number, such as info.threshold of a run",
    )
    assert isinstance(move, Gaussian)
    return move


def starts(
    initial: Initial | tuple[Tensor, Tensor], num_pairs: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The checked starting points x0 and y0, (P, *event) each."""
    if callable(initial):
        require(
            num_pairs is not None and num_pairs >= 2,
            f"couple: num_pairs is {num_pairs}, but must be at least 2 if initial is a function;"
            " 500 is usual",
        )
        assert num_pairs is not None
        x0, y0 = initial(num_pairs, generator), initial(num_pairs, generator)
        for z in (x0, y0):
            require(
                z.shape[:1] == (num_pairs,),
                f"couple: initial returned shape {tuple(z.shape)} for n = {num_pairs}, but must"
                f" return ({num_pairs}, *event)",
            )
    else:
        require(
            num_pairs is None,
            f"couple: num_pairs is {num_pairs}, but must be left out if initial is two tensors:"
            " their length is the number of pairs",
        )
        require(
            len(initial) == 2,
            f"couple: initial holds {len(initial)} tensors, but must hold 2: (num_pairs, *event)"
            " for X and the same for Y",
        )
        x0, y0 = initial
    for z in (x0, y0):
        check_request(z, 1, generator, None)
    require(
        x0.shape == y0.shape and x0.dtype == y0.dtype and len(x0) >= 2,
        f"couple: the starts are {tuple(x0.shape)} in {x0.dtype} and {tuple(y0.shape)} in"
        f" {y0.dtype}, but must have the same shape and dtype and at least 2 rows",
    )
    return x0, y0


def log_uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """log u for each chain, with u uniform on [0, 1)."""
    return uniform_like(like, generator).log()


def same(x: ChainState, y: ChainState) -> Tensor:
    """Whether X = Y, bit for bit: (P,)."""
    return (x.x == y.x).flatten(1).all(1)


def chains_at(state: ChainState, chosen: Tensor) -> ChainState:
    return state._replace(
        x=state.x[chosen], potential=state.potential[chosen], grad=state.grad[chosen]
    )


def at(law: Law, chosen: Tensor) -> Law:
    return Law(law.mean[chosen], law.variance[chosen], None)


def stacked(x: ChainState, y: ChainState) -> ChainState:
    """P pairs as 2P chains, so that they are evaluated in one batch."""
    pairs = zip(x[:3], y[:3], strict=True)
    return ChainState(*(torch.cat([a, b]) for a, b in pairs), threshold=x.threshold)


def split_pairs(both: ChainState) -> tuple[ChainState, ChainState]:
    (x, y), (u, v), (g, k) = (part.chunk(2) for part in both[:3])
    return both._replace(x=x, potential=u, grad=g), both._replace(x=y, potential=v, grad=k)
