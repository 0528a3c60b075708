"""A hierarchical model with constrained parameters, its draws handed to ArviZ.

    python examples/eight_schools.py FOLDER

Eight schools (Rubin 1981; Gelman et al., Bayesian Data Analysis, section 5.5) in the non-centred
form. Writes the table of all coordinates to FOLDER/eight-schools.csv, and where ArviZ is installed
(pip install 'stanley[arviz]') shows what it says of the same draws.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import HalfCauchy, Normal

import stanley
from stanley import Parameters, StanleyError, positive, real

EFFECT = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERROR = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

model = Parameters(mu=real(), tau=positive(), eta=real(8))


def log_density(mu: Tensor, tau: Tensor, eta: Tensor) -> Tensor:
    """Of one point: priors of mean and spread, and the schools' effects θ = μ + τη."""
    return (
        Normal(0.0, 5.0).log_prob(mu)
        + HalfCauchy(5.0).log_prob(tau)
        + Normal(0.0, 1.0).log_prob(eta).sum()
        + Normal(mu + tau * eta, ERROR).log_prob(EFFECT).sum()
    )


potential = model.potential(log_density)

if __name__ == "__main__":
    out = stanley.draw(potential, seed=3)
    print(out.summary())
    print(out.verdict())
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    out.summary().to_csv(folder / "eight-schools.csv")
    theta = out["mu"][..., None] + out["tau"][..., None] * out["eta"]  # (chains, draws, schools)
    for school, effect in zip("ABCDEFGH", theta.mean((0, 1)).tolist(), strict=True):
        print(f"school {school}: {effect:5.1f}")
    try:
        print(out.to_arviz()["posterior"])
    except StanleyError as error:  # the extra is not installed
        print(error)
