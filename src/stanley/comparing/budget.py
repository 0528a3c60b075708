"""The same budget for every arm, and what each arm makes of it."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

from stanley.comparing.subject import Changes, Share
from stanley.config import kind_of
from stanley.errors import require
from stanley.samplers import OwnSampler, Sampler
from stanley.samplers.traits import traits_of
from stanley.training.by_name import named_parts
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.objectives import Contrastive

TIMED = 20  # iterations that are timed, after as many that are not
CLOSE = 0.02  # gradients may differ by this share before the number of iterations follows


def gradients_of_a_chain(sampler: Sampler) -> tuple[float, float]:
    """(at its start, in one step) of one chain, as its sampler states them; a value of U without
    its gradient counts half. The gradient at a chain's end counts for every sampler, also where
    training leaves it out, so that samplers of one gradient a step have the same K.
    """
    traits = traits_of(sampler)
    start = traits.init_gradients + traits.init_potentials / 2
    step = traits.gradients + traits.potentials / 2
    return start, step


def gradients_of_an_iteration(config: TrainConfig) -> float | None:
    """Gradient evaluations of the chains in one iteration, of the whole batch, on average over the
    run where K grows; None where the objective runs no chains, or is made of several, and where the
    sampler is the user's own.
    """
    chains = config.objective
    if not isinstance(chains, Contrastive) or isinstance(config.sampler, OwnSampler):
        return None
    steps = [chains.chain_steps]
    if chains.growth is not None:
        steps = [chains.chain_steps_at(k, config.steps) for k in range(config.steps)]
    start, step = gradients_of_a_chain(config.sampler)
    return config.batch * (start + statistics.fmean(steps) * step)


def share_of(config: TrainConfig) -> Share:
    chains = config.objective.contrastive
    each = gradients_of_an_iteration(config)
    return Share(
        config.steps,
        0 if chains is None else chains.chain_steps,
        None if each is None else each * config.steps,
    )


def on_gradients(recipe: TrainConfig, arm: str, config: TrainConfig, own: Changes) -> TrainConfig:
    """As many gradient evaluations as the recipe makes, by K or, where an arm sets that itself or
    a single step costs more, by the number of iterations.
    """
    wanted, each = gradients_of_an_iteration(recipe), gradients_of_an_iteration(config)
    for what, found, of in (("the recipe", wanted, recipe), (f"arm {arm!r}", each, config)):
        is_own = isinstance(of.sampler, OwnSampler)
        why = "sampler is your own" if is_own else f"objective is {kind_of(of.objective)!r}"
        require(
            found is not None,
            f"budget is gradients, which are counted for the library's samplers in objective "
            f"contrastive, but the {why} of {what}; use budget seconds or iterations",
        )
    assert wanted is not None
    assert isinstance(config.objective, Contrastive)
    if "objective.chain_steps" not in own:
        config = replace(
            config, objective=replace(config.objective, chain_steps=fitting(config, wanted))
        )
    each = gradients_of_an_iteration(config)
    assert each is not None
    total = wanted * recipe.steps
    if abs(each * config.steps / total - 1) > CLOSE:
        steps = int(total / each)
        require(
            steps >= 1,
            f"arm {arm!r} takes {each:,.0f} gradients an iteration, and the budget is {total:,.0f} "
            "in all; use more steps, or a smaller batch or chain_steps in that arm",
        )
        config = replace(config, steps=steps)
    return config


def fitting(config: TrainConfig, wanted: float) -> int:
    """K with which an iteration costs at most so many gradients, at least 1."""
    start, step = gradients_of_a_chain(config.sampler)
    return max(1, int((wanted / config.batch - start) / step))


def steps_in(seconds: float, config: TrainConfig) -> int:
    """How many iterations take so many CPU seconds, by a short run of the same configuration."""
    parts = named_parts(config)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = Path(folder) / "run"
        began = time.process_time()
        train(replace(config, steps=TIMED, save_every=TIMED), out, device="cpu", **parts)
        between = time.process_time()
        train(replace(config, steps=2 * TIMED, save_every=2 * TIMED), out, device="cpu", **parts)
        second = time.process_time() - between
    once = max(0.0, between - began - second)
    steps = int((seconds - once) / (second / TIMED))
    require(
        steps >= 1,
        f"seconds is {seconds:g}, but one iteration takes {second / TIMED:.3g} seconds and what "
        f"comes before the first {once:.3g}; use more seconds",
    )
    return steps
