"""Every sampler under test; what is true of each is what it states, `traits_of(sampler)`."""

from __future__ import annotations

from stanley.samplers import (
    MALA,
    Adjusted,
    ClippedLangevin,
    GradientDescent,
    Langevin,
    MatchedLangevin,
    Stanley,
    TamedLangevin,
)
from stanley.samplers.traits import innermost

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

ADJUSTED = {
    f"adjusted-{name}": Adjusted(s) for name, s in STANLEYS.items() if s.correction != "midpoint"
}
ADJUSTED |= {
    f"adjusted-clipped-{scope}": Adjusted(ClippedLangevin(0.1, 1.0, scope)) for scope in SCOPES
}
ADJUSTED |= {
    f"adjusted-tamed-{scope}": Adjusted(TamedLangevin(0.1, scope))
    for scope in ("sample", "element")
}
ADJUSTED |= {"mala": MALA(0.1), "adjusted-langevin": Adjusted(Langevin(0.1))}

UNADJUSTED = {"langevin": Langevin(0.1), "descent": GradientDescent(0.1), **STANLEYS}
UNADJUSTED |= {f"clipped-{scope}": ClippedLangevin(0.1, 1.0, scope) for scope in SCOPES}
UNADJUSTED |= {f"matched-{scope}": MatchedLangevin(0.1, 1.0, scope) for scope in SCOPES}


def scope_of(sampler) -> str:
    return getattr(innermost(sampler), "scope", "element")
