"""Chains that run away: a density without finite mass, or one whose sign was turned around."""

from __future__ import annotations

import torch
from torch import Tensor

from stanley.errors import require
from stanley.samplers.base import evaluate
from stanley.targets.parameters import ParameterPotential
from stanley.types import Energy, LogDensity, layers

FAR = 20.0  # times as far as they started
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
    and U does not rise with it: ∂U/∂|x_i| is zero or negative at 10·x, and not positive at 10²·x,
    10⁴·x and 10⁶·x, for more than half of the chains. Costs nothing unless one is that far, then
    four gradients. Not true: that every density of infinite mass is seen.
    """
    before, now = x0.flatten(1).abs(), x.flatten(1).abs().nan_to_num(nan=torch.inf)
    typical = before.median().clamp(min=torch.finfo(x.dtype).tiny)
    typical = typical if before.any() else torch.ones_like(typical)
    began, ended = before.median(0).values, now.median(0).values
    gone = ended > far * began.clamp(min=float(typical))
    if not gone.any():
        return
    most = torch.finfo(x.dtype).max ** 0.4  # squares of it, and sums of them, are finite
    away = torch.where(x.isfinite(), x, x0.sign() * most).clamp(-most, most)
    try:
        slopes = [slope(potential, (k * away).clamp(-most, most)) for k in BEYOND]
    except Exception:  # a user's function that has no gradient, or fails so far out: no evidence
        return
    near, *beyond = slopes
    rises = torch.stack([s > 0 for s in beyond]).any(0)
    falls = ((near <= 0) & ~rises).double().mean(0)
    away_ones = (gone & (falls > 0.5)).nonzero().flatten().tolist()
    if not away_ones:
        return
    i, d = away_ones[0], now.shape[1]
    parameters = next(
        (u.parameters for u in layers(potential) if isinstance(u, ParameterPotential)), None
    )
    name = f"coordinate {i}" if parameters is None else parameters.coordinate_name(i)
    who = (
        "all coordinates"
        if len(away_ones) == d > 1
        else name
        if len(away_ones) == 1
        else f"{len(away_ones)} of {d} coordinates"
    )
    flat = near[:, i] == 0
    asked = question(potential)
    if flat.double().mean() > 0.5:
        asked = "U is flat there: give that coordinate a prior, or bounds"
    require(
        False,
        f"the chains run away: {who} went from |x| = {float(began[i]):.3g} to"
        f" {float(ended[i]):.3g}, and U does not rise there, so exp(-U) has no finite mass;"
        f" {asked}",
    )


def slope(potential: Energy, x: Tensor) -> Tensor:
    """∂U/∂|x_i|: (B, d)."""
    return (evaluate(potential, x).grad * x.sign()).flatten(1)
