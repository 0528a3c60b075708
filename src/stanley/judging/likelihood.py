"""How likely a run's energy makes data that it was not trained on: log Z by annealing,
then bits or nats a point.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from stanley.batches import in_chunks
from stanley.config import to_dict
from stanley.errors import require
from stanley.metrics.likelihood import Bracket, GaussianReference, bits_per_dimension, bracket_log_z
from stanley.models.trained import Trained, Weights, data_of, load, with_data_at
from stanley.overwriting import write_answer
from stanley.runs.directory import RunDirectory
from stanley.samplers import MALA, Sampler, run_chains
from stanley.samplers.base import values
from stanley.samplers.traits import has_quantile, is_adjusted, traits_of, with_step_size
from stanley.streams import stream
from stanley.types import in_float32

CHUNK = 1024  # rows of data at a time through the network
NARROWEST = 0.1  # the reference's least standard deviation: pixels that never change have none


def held_out_likelihood(
    run: str | os.PathLike[str] | RunDirectory,
    *,
    chains: int = 64,
    levels: int = 1000,
    steps_per_level: int = 1,
    model_steps: int | None = None,
    rows: int = 1000,
    sampler: Sampler | None = None,
    seed: int = 0,
    weights: Weights = "average",
    data_root: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """log Z of exp(-E/T) in a bracket, and with it the held-out data: bits per dimension, of
    vectors nats.

    -log p(x) = E(x)/T + log Z; log Z from annealed importance sampling between N(mean, std²) of the
    data and the model, from below forward, from above in reverse (`metrics.likelihood`). Reverse
    chains start where `model_steps` adjusted steps on the model have led from the bank (from noise
    where there is none): the upper end is as good as those chains have converged, and no number
    here proves that they have. Writes likelihood.json; returns it. The answer to another request
    that is there is kept as likelihood-former.json.

    sampler      adjusted; the run's own unless it is unadjusted or has a quantile threshold, then
                 MALA
    model_steps  K·10 unless given
    """
    model = with_data_at(load(run, weights=weights, device=device), data_root)
    data = data_of(model)
    for name, value in {"chains": chains, "levels": levels, "rows": rows}.items():
        require(value >= 2, f"{name} is {value}, must be at least 2")
    generator = stream(seed, "annealing", device=model.device)
    kernel = sampler or annealing_kernel(model)
    steps = 10 * model.config.chain_steps if model_steps is None else model_steps
    start = model.starts(
        min(chains, len(model.bank)) or chains, "bank" if len(model.bank) else "noise", generator
    )
    potential = in_float32(model.potential)  # Metropolis tests and log Z compare values of U
    x = run_chains(kernel, potential, start, steps, generator=generator).x if steps else start
    reference = GaussianReference(model.noise.mean, model.noise.std.clamp(min=NARROWEST))
    bracket = bracket_log_z(
        potential,
        reference,
        kernel,
        num_chains=chains,
        num_levels=levels,
        steps_per_level=steps_per_level,
        generator=generator,
        target_samples=x,
    )
    asked = {
        "step": model.step,
        "weights": weights,
        "seed": seed,
        "chains": chains,
        "levels": levels,
        "rows": rows,
    }
    found = {
        "asked": asked
        | {"steps_per_level": steps_per_level, "model_steps": steps, "sampler": to_dict(kernel)},
        "step": model.step,
        "weights": weights,
        "seed": seed,
        "temperature": model.config.temperature,
        "sampler": to_dict(kernel),
        "levels": levels,
        "steps_per_level": steps_per_level,
        "model_steps": steps,
        "log_z": {"lower": bracket.lower, "upper": bracket.upper, "verdict": bracket.verdict()},
        "forward": described(bracket.forward),
        "reverse": None if bracket.reverse is None else described(bracket.reverse),
        "held_out": of_held_out(model, data.test[:rows], bracket, generator),
    }
    write_answer(RunDirectory(model.path).path / "likelihood.json", found)
    return found


def annealing_kernel(model: Trained) -> Sampler:
    """The run's own sampler where it leaves every exp(-U_β) invariant for each chain alone,
    else MALA.
    """
    own = model.sampler
    if is_adjusted(own) and not has_quantile(own) and traits_of(own).not_markov is None:
        return own
    return with_step_size(MALA(1.0), float(own.step_size))


def of_held_out(
    model: Trained, rows: Tensor, bracket: Bracket, generator: torch.Generator
) -> dict[str, Any]:
    """Images in bits per dimension, vectors in nats; from the lower and the upper end of the
    bracket.
    """
    potential = in_float32(model.potential)
    if model.is_image:
        return asdict(bits_per_dimension(potential, rows, bracket, generator=generator)) | {
            "unit": "bits per dimension"
        }
    u = in_chunks(
        lambda part: values(potential, part.to(generator.device).float()), rows, CHUNK
    ).double()
    mean, error = float(u.mean()), float(u.std()) / len(u) ** 0.5
    upper = None if bracket.upper is None else mean + bracket.upper
    return {
        "lower": mean + bracket.lower,
        "upper": upper,
        "standard_error": error,
        "n": len(u),
        "unit": "nats",
    }


def described(one: Any) -> dict[str, Any]:
    """A pass without its weights."""
    return {k: v for k, v in vars(one).items() if k != "log_weights"}
