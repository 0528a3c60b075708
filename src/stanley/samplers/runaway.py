"""Chains that run away: a density without finite mass, or one whose sign was turned around."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stanley.errors import StanleyError
from stanley.samplers.base import evaluate
from stanley.targets.parameters import ParameterPotential
from stanley.types import Energy, LogDensity, layers

FAR = 20.0  # times as far as they started
MOST = 8  # coordinates that are asked
BEYOND = (10.0, 1e2, 1e4, 1e6)  # times as far as they are, where U must rise


def question(potential: Energy) -> str:
    """What may have been handed over in place of a potential."""
    inside = tuple(layers(potential))
    if any(isinstance(layer, ParameterPotential) for layer in inside):
        return "is the sign of the log-density wrong, or a prior missing?"
    if any(isinstance(layer, LogDensity) for layer in inside):
        return (
            "was a potential U handed over as a log-density? Then leave out --log-density, or"
            " from_log_density"
        )
    return (
        "was a log-density handed over? A potential is U = -log p: use"
        " stanley.from_log_density(f), or --log-density"
    )


def check_mass(potential: Energy, x0: Tensor, x: Tensor, far: float = FAR) -> None:
    """Raise StanleyError where chains that began at x0 have run away to x (B, *event).

    A coordinate has run away if |x_i| of the median chain is more than `far` times what it was,
    and U does not rise with it alone: ∂U/∂|x_i| is zero or negative at 10·x_i, and not positive at
    10²·x_i, 10⁴·x_i and 10⁶·x_i, the other coordinates as they are, for more than half of the
    chains. A chain that has left the finite numbers is asked where it began. Costs nothing unless
    one is that far, then four gradients for each such coordinate, eight at most. Not true: that
    every density of infinite mass is seen.
    """
    before, now = x0.flatten(1).abs(), x.flatten(1).abs().nan_to_num(nan=torch.inf)
    typical = before.median().clamp(min=torch.finfo(x.dtype).tiny)
    typical = typical if before.any() else torch.ones_like(typical)
    began, ended = before.median(0).values, now.median(0).values
    gone = (ended > far * began.clamp(min=float(typical))).nonzero().flatten().tolist()
    asked_of = gone[:MOST]
    finite = x.flatten(1).isfinite().all(1).view(-1, *(1,) * (x.dim() - 1))
    here = torch.where(finite, x, x0)
    try:
        slopes = [slopes_of(potential, here, i, float(typical)) for i in asked_of]
    except Exception:  # a user's function that has no gradient, or fails so far out: no evidence
        return
    away = [i for i, (near, *beyond) in zip(asked_of, slopes, strict=True) if falls(near, beyond)]
    if not away:
        return
    d = now.shape[1]
    num = len(gone) if len(away) == len(asked_of) else len(away)
    parameters = next(
        (u.parameters for u in layers(potential) if isinstance(u, ParameterPotential)), None
    )
    i = away[0]
    name = f"coordinate {i}" if parameters is None else parameters.coordinate_name(i)
    who = "all coordinates" if num == d > 1 else name if num == 1 else f"{num} of {d} coordinates"
    asked = question(potential)
    if (slopes[asked_of.index(i)][0] == 0).double().mean() > 0.5:
        asked = "U is flat there: give that coordinate a prior, or bounds"
    raise StanleyError(
        f"the chains run away: {who} went from |x| = {float(began[i]):.3g} to"
        f" {float(ended[i]):.3g}, and U does not rise there, so exp(-U) has no finite mass;"
        f" {asked}"
    )


def falls(near: Tensor, beyond: Sequence[Tensor]) -> bool:
    """Whether U falls or is flat outwards, and farther out does not rise, for most chains (B,)."""
    rises = torch.stack([s > 0 for s in beyond]).any(0)
    return float(((near <= 0) & ~rises).double().mean()) > 0.5


def slopes_of(potential: Energy, x: Tensor, i: int, typical: float) -> list[Tensor]:
    """∂U/∂|x_i|, (B,), where coordinate i alone lies farther and farther out."""
    most = torch.finfo(x.dtype).max ** 0.4  # squares of it, and sums of them, are finite
    found = []
    for k in BEYOND:
        y = x.flatten(1).clamp(-most, most)
        sign = torch.where(y[:, i] < 0, -1.0, 1.0).to(y)
        y[:, i] = sign * (k * y[:, i].abs().clamp(min=typical)).clamp(max=most)
        found.append(evaluate(potential, y.view_as(x)).grad.flatten(1)[:, i] * sign)
    return found
