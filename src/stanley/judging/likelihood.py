"""The likelihood of held-out data under the energy of a run, with log Z bounded by annealing."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from stanley.batches import in_chunks
from stanley.errors import require
from stanley.metrics.level_likelihood import bracket_down_levels
from stanley.metrics.likelihood import Bracket, GaussianReference, bits_per_dimension, bracket_log_z
from stanley.models.trained import Trained, Weights, data_of, load, with_data_at
from stanley.overwriting import write_answer
from stanley.runs.directory import RunDirectory
from stanley.samplers import MALA, Sampler, run_chains
from stanley.samplers.annealed import evenly_in_log
from stanley.samplers.base import values
from stanley.samplers.given import plain
from stanley.samplers.traits import has_quantile, is_adjusted, traits_of, with_step_size
from stanley.streams import stream
from stanley.types import in_float32

CHUNK = 1024  # rows of data at a time through the network
NARROWEST = 0.1  # smallest standard deviation of the reference, for pixels that never change


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
    energy: Any = None,
    data: Any = None,
    own_sampler: Any = None,
) -> dict[str, Any]:
    """The likelihood of held-out data, in bits per dimension for images and nats for vectors.

        -log p(x) = E(x)/T + log Z

    Standardised vectors are judged on z; log Z is the same for x, and -log p(x) = -log p(z) + Σ log
    std, which is added to what is told of the held-out data.

    Log Z is bounded by annealed importance sampling between N(mean, std²) of the data and the model
    (see `metrics.likelihood`): from below by the forward pass, from above by the reverse pass. An
    energy that knows noise levels is reached down its ladder (`metrics.level_likelihood`). The
    reverse pass starts from chains that make `model_steps` adjusted steps on the model, from the
    bank (or from noise, if there is none). The result is written to likelihood.json and returned; a
    file with the answer to another request is kept as likelihood-former.json.

    chains       chains of each pass; of the reverse pass at most the size of the bank
    levels       number of levels between the reference and the model: by default 1000
    model_steps  by default 10 times the chain steps of one training iteration, those of the step
                 that the weights are of where `growth` made them longer: the energy of that step is
                 what the chains must follow. 200 where training ran no chains.
    rows         number of held-out points, at most
    sampler      Metropolis-adjusted; by default that of the run, or MALA if that is unadjusted or
                 has a quantile threshold
    energy       the network, `data` and, as `own_sampler`, the sampler that were handed over to
                 `train`, where they were

    Not true: that the upper bound is proved: it is as good as the chains on the model have
    converged, and no number here proves that they have.
    """
    model = load(run, weights=weights, device=device, energy=energy, data=data, sampler=own_sampler)
    model = with_data_at(model, data_root).standardised
    potential = in_float32(model.potential)  # since Metropolis tests and log Z compare values of U
    data = data_of(model)
    for name, value in {"chains": chains, "levels": levels, "rows": rows}.items():
        require(value >= 2, f"{name} is {value}, but must be at least 2")
    generator = stream(seed, "annealing", device=model.device)
    kernel = sampler or annealing_kernel(model)
    steps = 10 * model.default_steps("bank") if model_steps is None else model_steps
    start = model.starts(
        min(chains, len(model.bank)) or chains, "bank" if len(model.bank) else "noise", generator
    )
    x = run_chains(kernel, potential, start, steps, generator=generator).x if steps else start
    if model.levels is not None:
        require(
            steps_per_level == 1,
            f"steps_per_level is {steps_per_level}, but the ladder of noise levels takes one step "
            "at each; use more levels",
        )
        bracket = down_the_ladder(model, levels, chains, x, generator)
    else:
        bracket = bracket_log_z(
            potential,
            GaussianReference(model.noise.mean, model.noise.std.clamp(min=NARROWEST)),
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
    answer = {
        "asked": asked
        | {"steps_per_level": steps_per_level, "model_steps": steps, "sampler": plain(kernel)},
        "step": model.step,
        "weights": weights,
        "seed": seed,
        "temperature": model.config.temperature,
        "sampler": plain(kernel),
        "levels": levels,
        "through": "noise levels" if model.levels is not None else "inverse temperatures",
        "steps_per_level": steps_per_level,
        "model_steps": steps,
        "log_z": {"lower": bracket.lower, "upper": bracket.upper, "verdict": bracket.verdict()},
        "forward": described(bracket.forward),
        "reverse": None if bracket.reverse is None else described(bracket.reverse),
        "held_out": of_held_out(model, data.test[:rows], bracket, generator),
    }
    write_answer(RunDirectory(model.path).path / "likelihood.json", answer)
    return answer


def down_the_ladder(
    model: Trained, num: int, chains: int, x: Tensor, generator: torch.Generator
) -> Bracket:
    """log Z by the model's own `num` noise levels, with equal ratios between neighbours: what a
    step of ln σ is worth in nats hardly depends on σ. x (n, *event) are samples of the model.
    """
    energy = model.levels
    assert energy is not None
    return bracket_down_levels(
        lambda sigma: in_float32(model.config.potential(energy.at(sigma))),
        evenly_in_log(energy.sigma_max, energy.sigma_min, num),
        GaussianReference(energy.mean, float(energy.std) * math.hypot(energy.levels.largest, 1)),
        num_chains=chains,
        generator=generator,
        target_samples=x,
    )


def annealing_kernel(model: Trained) -> Sampler:
    """The run's sampler if it leaves every exp(-U_β) invariant for each chain alone, else MALA."""
    own = model.sampler
    if is_adjusted(own) and not has_quantile(own) and traits_of(own).not_markov is None:
        return own
    return with_step_size(MALA(1.0), float(own.step_size))


def of_held_out(
    model: Trained, rows: Tensor, bracket: Bracket, generator: torch.Generator
) -> dict[str, Any]:
    """Bits per dimension of images or nats of vectors, for both bounds of log Z."""
    potential = in_float32(model.potential)
    if model.is_image:
        return asdict(bits_per_dimension(potential, rows, bracket, generator=generator)) | {
            "unit": "bits per dimension"
        }
    u = in_chunks(
        lambda part: values(potential, part.to(generator.device).float()), rows, CHUNK
    ).double()
    mean, error = float(u.mean()) + model.log_scale, float(u.std()) / len(u) ** 0.5
    upper = None if bracket.upper is None else mean + bracket.upper
    return {
        "lower": mean + bracket.lower,
        "upper": upper,
        "standard_error": error,
        "n": len(u),
        "unit": "nats",
    }


def described(one: Any) -> dict[str, Any]:
    """The fields of a pass, without its weights."""
    return {k: v for k, v in vars(one).items() if k != "log_weights"}
