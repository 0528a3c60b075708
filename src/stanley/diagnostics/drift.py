"""The drift condition of geometric ergodicity: E V(x')/V(x) after one step is below 1 far out.

The result holds the numbers and a `verdict`, one sentence that quotes them. Not true: that it is a
proof: the points are a sample, and what holds at them can fail elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from stanley.device import widest_float
from stanley.errors import require
from stanley.samplers.arguments import Points, as_request
from stanley.samplers.base import ChainState, Sampler
from stanley.samplers.preconditioned import Preconditioned
from stanley.samplers.run import check_event, check_request
from stanley.samplers.traits import has_quantile, innermost, traits_of
from stanley.types import Energy

Function = Callable[[Tensor], Tensor]

SAME = 1e-6  # radii with a smaller relative difference count as equal
ERRORS = 4.0  # standard errors that a drift ratio must stay below 1


@dataclass(frozen=True)
class DriftRatio:
    """The result of `drift_ratio`: ΠV(x)/V(x) at P points, sorted by |x|.

    radius           |x|, (P,)
    log_ratio        log ΠV(x)/V(x), (P,); a logarithm, since V overflows at large |x|
    relative_error   standard error of the ratio, divided by the ratio, (P,)
    largest_share    share of a single copy in the mean, (P,); near 1 the standard error is
                     meaningless
    beyond           the ratio is below 1 at every point with |x| >= beyond; None if it is not below
                     1 at the outermost points
    verdict          one sentence that quotes these numbers
    """

    radius: Tensor
    log_ratio: Tensor
    relative_error: Tensor
    largest_share: Tensor
    beyond: float | None
    verdict: str

    @property
    def ratio(self) -> Tensor:
        return self.log_ratio.exp()

    @property
    def standard_error(self) -> Tensor:
        return self.ratio * self.relative_error


def exponential_norm(s: float) -> Function:
    """The function log V(x) = s|x|, (B, *event) -> (B,), for V(x) = e^{s|x|}."""
    require(
        0 < s < math.inf,
        f"exponential_norm: s is {s}, but must be > 0 and finite; 1/√h is a good start",
    )
    return lambda x: s * torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=widest_float(x.device))


def drift_ratio(
    sampler: Sampler | str,
    potential: Energy | Distribution,
    x0: Points,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    log_v: Function | None = None,
    num_copies: int = 1000,
) -> DriftRatio:
    """Estimate the drift ratio ΠV(x)/V(x) = E[V(x')/V(x)], where x' is one step from x.

    Geometric ergodicity requires that the ratio stays below 1 far out. A rejected proposal leaves
    x' = x and counts as V(x).

    x0           (P, *event), points at several radii, as `points_on_rays` makes them
    log_v        log V: (B, *event) -> (B,), by default V(x) = e^{|x|}; `exponential_norm(s)` is
                 V(x) = e^{s|x|}
    num_copies   independent steps from each point; the cost is as many gradients per point

    Known: where |∇U| → ∞, STANLEY with scope 'sample' has a ratio of at most e^{-s·th·h·c/2} far
    out, with c the smallest cosine between x and ∇U. On exp(-Σx⁴) MALA always rejects far out, so
    its ratio is 1; Langevin overshoots, so its ratio is ∞. The mean of e^{s|x'|} is estimated well
    while s²h is at most about 1. Raises StanleyError for a step that does not depend on x alone: a
    quantile threshold, or a γ kept from the start of a run. Not true: that a ratio below 1 at these
    points proves the drift condition. Not true: that a ratio above 1 refutes it: another V may
    satisfy it. Meyn & Tweedie (2009), Markov Chains and Stochastic Stability, chapter 15; STANLEY
    (draft), eq. (16).
    """
    sampler, potential, x0, generator = as_request(
        "drift_ratio", sampler, potential, x0, generator, seed
    )
    require(
        num_copies >= 2,
        f"drift_ratio: num_copies is {num_copies}, but must be at least 2; 1000 is usual",
    )
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
    return DriftRatio(
        radius, log_ratio, error, largest, *judge_drift(radius, log_ratio, error, largest)
    )


def log_mean(change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The log of the mean of e^c, its relative standard error, and the largest share of one term.

    Computed without overflow.
    """
    top = change.max()
    if not bool(top.isfinite()):  # the step, or V after it, is not finite
        nan = change.new_tensor(math.nan)
        return change.new_tensor(math.inf), nan, nan
    weight = (change - top).exp()
    mean = weight.mean()
    return top + mean.log(), weight.std() / mean / len(weight) ** 0.5, weight.max() / weight.sum()


def judge_drift(
    radius: Tensor, log_ratio: Tensor, error: Tensor, largest: Tensor
) -> tuple[float | None, str]:
    """`beyond` and `verdict` of a DriftRatio.

    Points of equal radius, up to rounding, form a shell, which is below 1 only if all of them are.
    """
    below = log_ratio.exp() * (1 + ERRORS * error) < 1  # NaN is not below
    # (P,)
    shell = torch.cat([radius.new_zeros(1), (radius[1:] > radius[:-1] * (1 + SAME)).cumsum(0)])
    whole = torch.stack([below[shell == k].all() for k in shell])
    trailing = int(whole.flip(0).long().cumprod(0).sum())
    outermost = shell == shell[-1]
    # the worst point there
    at = int(torch.where(outermost, log_ratio.nan_to_num(math.inf), -math.inf).argmax())
    far, last = float(radius[-1]), float(log_ratio[at])
    ratio = (
        f"{math.exp(last):.4g} ± {math.exp(last) * float(error[at]):.1g}"
        if -9 < last < 50
        else f"e^{last:.3g}"
    )
    if not trailing:
        if not math.isfinite(last):
            return (
                None,
                (
                    f"a step from |x| = {far:.4g} is not finite, so the drift condition does not"
                    " hold with this V"
                ),
            )
        return (
            None,
            (
                f"ΠV/V is {ratio} at the outermost point, |x| = {far:.4g}, which is not below 1: no"
                " drift condition seen"
            ),
        )
    doubt = float(largest[-trailing:].max())
    note = (
        f"; but one copy makes up {doubt:.0%} of a mean: use more copies or a smaller s"
        if doubt > 0.1
        else ""
    )
    beyond, most = float(radius[-trailing]), float(log_ratio[-trailing:].max().exp())
    return (
        beyond,
        (
            f"ΠV/V is at most {most:.4g} from |x| = {beyond:.4g} on and {ratio} at {far:.4g}: below"
            f" 1{note}"
        ),
    )


def refuse_memory(sampler: Sampler, state: ChainState) -> None:
    """Refuse a sampler that carries something from step to step, even if it does not say so."""
    carried = state.memory.memory if isinstance(sampler, Preconditioned) else state.memory
    require(
        carried is None,
        f"drift_ratio: a step of {type(sampler).__name__} does not depend on x alone, since it "
        "keeps something in the state's memory; use Langevin, MALA or Stanley",
    )


def refuse_history(sampler: Sampler) -> None:
    """Refuse a sampler that declares that its step does not depend on x alone."""
    name, reason = type(innermost(sampler)).__name__, traits_of(sampler).not_markov
    require(
        reason is None,
        f"drift_ratio: a step of {type(sampler).__name__} does not depend on x alone: {reason}",
    )
    require(
        not has_quantile(sampler),
        f"drift_ratio: the threshold of {name} is a quantile over the chains from which a run"
        " starts; use a number, such as info.threshold of the run",
    )


def log_v_at(log_v: Function, x: Tensor) -> Tensor:
    values = log_v(x)
    require(
        values.shape == x.shape[:1],
        f"log_v returned shape {tuple(values.shape)} for points of shape {tuple(x.shape)}, but"
        f" must return ({len(x)},)",
    )
    return values
