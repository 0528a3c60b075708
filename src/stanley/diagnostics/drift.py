"""The drift condition of geometric ergodicity: E V(x')/V(x) of one step, below 1 far out.

The answer is a frozen value with its numbers and a `verdict` in words that quotes them. It is no
proof: points are a sample, and what holds at them can fail elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.device import widest_float
from stanley.errors import require
from stanley.samplers.base import ChainState, Sampler
from stanley.samplers.preconditioned import Preconditioned
from stanley.samplers.run import check_event, check_request
from stanley.samplers.traits import has_quantile, innermost, traits_of
from stanley.types import Energy

Function = Callable[[Tensor], Tensor]

SAME = 1e-6  # relative difference of radii that is taken for rounding
ERRORS = 4.0  # standard errors that a drift ratio must stay below 1


@dataclass(frozen=True)
class DriftRatio:
    """ΠV(x)/V(x) at points sorted by |x|. Logarithms, since V overflows where it matters."""

    radius: Tensor  # (P,)           |x|
    log_ratio: Tensor  # (P,)        log ΠV(x)/V(x)
    relative_error: Tensor  # (P,)   standard error of the ratio / the ratio
    # (P,)    of one copy in the mean; near 1 the standard error means nothing
    largest_share: Tensor
    # the ratio is below 1 at every point with |x| at least this; None if not at the outermost
    beyond: float | None
    verdict: str

    @property
    def ratio(self) -> Tensor:
        return self.log_ratio.exp()

    @property
    def standard_error(self) -> Tensor:
        return self.ratio * self.relative_error


def exponential_norm(s: float) -> Function:
    """log V for V(x) = e^{s|x|}."""
    require(
        0 < s < math.inf,
        f"exponential_norm: s is {s}, must be > 0 and finite; 1/√h is a good start",
    )
    return lambda x: s * torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=widest_float(x.device))


def drift_ratio(
    sampler: Sampler,
    potential: Energy,
    x0: Tensor,
    *,
    generator: torch.Generator,
    log_v: Function | None = None,
    num_copies: int = 1000,
) -> DriftRatio:
    """ΠV(x)/V(x) = E[V(x')/V(x)], x' one step from x: geometric ergodicity asks that it stay below
    1 far out.

    x0           (P, *event), points at a range of radii, as `points_on_rays` makes them
    log_v        log V: (B, *event) -> (B,); V(x) = e^{|x|} if left out, `exponential_norm(s)` for
                 e^{s|x|}
    num_copies   independent steps from each point, one point at a time

    A rejected proposal stays, and counts as V(x). Known: STANLEY with 'sample' scope has a ratio of
    at most e^{-s·th·h·c/2} far out where |∇U| → ∞, c the least cosine of x and ∇U; MALA on
    exp(-Σx⁴) is always rejected and has 1; Langevin there overshoots and has ∞. num_copies
    gradients a point. The kernel must depend on x alone: a quantile threshold or γ kept from the
    start of a run is refused. Not true: that a ratio below 1 at these points is the drift
    condition, nor that one above 1 with this V refutes it; another V may do. The mean of e^{s|x'|}
    is estimated well while s²h is at most about 1. Meyn & Tweedie (2009), Markov Chains and
    Stochastic Stability, chapter 15; STANLEY (draft), eq. (16).
    """
    require(
        num_copies >= 2,
        f"drift_ratio: num_copies is {num_copies}, must be at least 2; 1000 is usual",
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
    """log of the mean of e^c, its relative standard error and the largest share of one term,
    without overflow.
    """
    top = change.max()
    if not bool(top.isfinite()):  # NaN: the step left the numbers; ∞: so did V
        nan = change.new_tensor(math.nan)
        return change.new_tensor(math.inf), nan, nan
    weight = (change - top).exp()
    mean = weight.mean()
    return top + mean.log(), weight.std() / mean / len(weight) ** 0.5, weight.max() / weight.sum()


def judge_drift(
    radius: Tensor, log_ratio: Tensor, error: Tensor, largest: Tensor
) -> tuple[float | None, str]:
    """Shell by shell: points of one radius, but for rounding,
    are below 1 together or not at all.
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
                    f"a step from |x| = {far:.4g} left the finite numbers: no drift condition with"
                    " this V"
                ),
            )
        return (
            None,
            (
                f"ΠV/V is {ratio} at |x| = {far:.4g}, the outermost point: not below 1, no drift"
                " condition seen"
            ),
        )
    doubt = float(largest[-trailing:].max())
    note = (
        f"; one copy makes up {doubt:.0%} of a mean, use more copies or a smaller s"
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
    """A sampler of one's own need not have said that it carries something."""
    carried = state.memory.memory if isinstance(sampler, Preconditioned) else state.memory
    require(
        carried is None,
        f"drift_ratio: a step of {type(sampler).__name__} does not depend on x alone: it carries "
        "something in the state's memory; use Langevin, MALA or STANLEY",
    )


def refuse_history(sampler: Sampler) -> None:
    name, reason = type(innermost(sampler)).__name__, traits_of(sampler).not_markov
    require(
        reason is None,
        f"drift_ratio: a step of {type(sampler).__name__} does not depend on x alone: {reason}",
    )
    require(
        not has_quantile(sampler),
        f"drift_ratio: the threshold of {name} is a quantile, resolved over the chains that a run"
        " starts from; use a number, such as info.threshold of the run",
    )


def log_v_at(log_v: Function, x: Tensor) -> Tensor:
    values = log_v(x)
    require(
        values.shape == x.shape[:1],
        f"log_v returned shape {tuple(values.shape)} for points of shape {tuple(x.shape)}, must be"
        f" ({len(x)},)",
    )
    return values
