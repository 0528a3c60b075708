"""Every sampler under test, with what is true of it."""

from __future__ import annotations

from stanley.samplers import (
    MALA,
    Adjusted,
    ClippedLangevin,
    GradientDescent,
    Langevin,
    MatchedLangevin,
    PreconditionedLangevin,
    ReplicaExchange,
    Stanley,
    TamedLangevin,
    Underdamped,
)

SCOPES = ("element", "pixel", "sample")

STANLEYS = {
    f"stanley-{scope}-{correction}": Stanley(0.1, 1.0, scope, correction=correction)
    for scope in SCOPES
    for correction in ("none", "drift", "midpoint")
} | {
    f"stanley-{scope}-{refresh}": Stanley(0.1, 1.0, scope, refresh=refresh)
    for scope in SCOPES
    for refresh in ("start", "lagged")
}
STANLEYS["stanley-floor"] = Stanley(0.1, 1.0, floor=0.3)
STANLEYS["stanley-floor-drift"] = Stanley(0.1, 1.0, floor=0.3, correction="drift")

ADJUSTED = {f"adjusted-{name}": Adjusted(s) for name, s in STANLEYS.items() if s.correction != "midpoint"}
ADJUSTED |= {f"adjusted-clipped-{scope}": Adjusted(ClippedLangevin(0.1, 1.0, scope)) for scope in SCOPES}
ADJUSTED |= {f"adjusted-tamed-{scope}": Adjusted(TamedLangevin(0.1, scope)) for scope in ("sample", "element")}
ADJUSTED |= {"mala": MALA(0.1), "adjusted-langevin": Adjusted(Langevin(0.1))}

UNADJUSTED = {"langevin": Langevin(0.1), "descent": GradientDescent(0.1), **STANLEYS}
UNADJUSTED |= {f"clipped-{scope}": ClippedLangevin(0.1, 1.0, scope) for scope in SCOPES}
UNADJUSTED |= {f"matched-{scope}": MatchedLangevin(0.1, 1.0, scope) for scope in SCOPES}


def proposal_of(sampler):
    for name in ("proposal", "sampler"):
        if hasattr(sampler, name):
            return proposal_of(getattr(sampler, name))
    return sampler


def remembers(sampler) -> bool:
    """Something besides x goes from step to step, and a new run starts without it."""
    return isinstance(sampler, Underdamped | PreconditionedLangevin | ReplicaExchange)


def density_of(sampler):
    """What has `propose` and `log_ratio` for the move that the sampler makes; None where the move has no density."""
    inner = proposal_of(sampler)
    return inner if hasattr(inner, "log_ratio") else None


def adjusted(sampler) -> bool:
    return getattr(sampler, "adjusted", False)


def gradient_free(sampler) -> bool:
    return getattr(sampler, "init_gradients", 1) == 0


def scope_of(sampler) -> str:
    return getattr(proposal_of(sampler), "scope", "element")


def frozen(sampler) -> bool:
    """γ is resolved when a run starts, so two short runs are not one long run."""
    return getattr(proposal_of(sampler), "refresh", "step") != "step"


def independent(sampler) -> bool:
    """One chain's law does not depend on another chain."""
    return getattr(proposal_of(sampler), "refresh", "step") != "lagged" and not isinstance(sampler, MatchedLangevin)
