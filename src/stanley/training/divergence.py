"""Divergence of a training run: how it is detected, what to try against it, and the way back.

Detection reads records alone, never the model. `find_divergence` holds each record against the
limits of the configuration, a `Watch` against the run's own past, and `split_at_divergence` goes
through records in the order of their steps. What was found is a `Divergence`, and `recover` acts on
one without asking who found it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

from stanley.errors import DivergenceError
from stanley.runs import checkpoint
from stanley.runs.checkpoint import Checkpoint
from stanley.runs.directory import Record, RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.state import TrainState
from stanley.training.watch import RECENT, Watch


class Divergence(NamedTuple):
    """The step at which a run went wrong, and why.

    'diverged': its numbers mean nothing any more. 'collapsed': they are finite and within the
    limits, but the run is losing what it had learned; it can go on, and rarely recovers.
    """

    kind: Literal["diverged", "collapsed"]
    record: Record
    reason: str  # what was seen, what it most likely means, and what to try

    @property
    def step(self) -> int:
        return self.record["step"]


# Detection.


class Split(NamedTuple):
    """Records, cut where the run went wrong."""

    good: Sequence[Record]  # those before the divergence
    divergence: Divergence | None  # from which the run must recover
    collapses: Sequence[Divergence]  # in the good ones, to be told: the run goes on


def split_at_divergence(
    config: TrainConfig, rollbacks: int, watch: Watch, records: Sequence[Record]
) -> Split:
    """Find the first divergence, and the collapses before it.

    A run that can go back to a checkpoint, after `rollbacks` of them, recovers from a collapse like
    from a divergence. All ranks have the same records, so all of them decide alike without a
    message.
    """
    collapses = []
    for i, record in enumerate(records):
        reason = find_divergence(config, record)
        if reason is not None:
            return Split(records[:i], Divergence("diverged", record, reason), collapses)
        reason = watch.see(record)
        if reason is not None:
            collapse = Divergence("collapsed", record, f"{reason}. {advise_on_swings(config)}")
            if can_go_back(config, rollbacks):
                return Split(records[:i], collapse, collapses)
            collapses.append(collapse)
    return Split(records, None, collapses)


def find_divergence(config: TrainConfig, record: Record) -> str | None:
    """Why a run with this record diverges, and what to try; None for a record within the limits.

    The first that holds is told: a number is not finite, |gap| > gap_limit, spread > spread_limit.
    """
    missing = [
        name
        for name in ("loss", "gap", "grad_norm", "spread")
        if name in record and record[name] is None
    ]
    chains = config.objective.contrastive
    if chains is None or "gap" not in record:  # a step without chains
        return f"{missing[0]} is not finite. {advise_on_swings(config)}" if missing else None
    if missing:
        return f"{missing[0]} is not finite, {why_not_finite(config, record)}"
    if abs(record["gap"]) > chains.gap_limit:
        return (
            f"|gap| is {abs(record['gap']):.3g}, above {config.chains_at}.gap_limit = "
            f"{chains.gap_limit:g}: the energies of data and samples run apart. "
            + advise_on_gap(config, record)
        )
    if record.get("spread", 0.0) > chains.spread_limit:
        return (
            f"the median chain is {record['spread']:.3g} standard deviations of the data away from "
            f"their mean, above {config.chains_at}.spread_limit = {chains.spread_limit:g}: the "
            "chains leave the data. " + advise_on_spread(config, record)
        )
    return None


def why_not_finite(config: TrainConfig, record: Record) -> str:
    """Where the numbers of a step with chains come from that are not finite, and what to try.

    A chain that never rejects may end at a finite place where E is not: it counts as not finite,
    and nothing takes its place in the bank, as its last step did not look at E there.
    """
    lost, restarted = (record.get(name) or 0 for name in ("nonfinite", "restarted"))
    if record.get("energy_pos", 0.0) is None:
        return (
            f"nor is E at the data: the weights overflowed. {advise_on_swings(config)}, or use a"
            " network that is finite at the data"
        )
    if lost > restarted and "restarted" in record:
        return (
            f"because {lost - restarted:.0f} of {config.batch} chains ended at a finite place where"
            " E is not, while it is at the data: they ran to where it overflows or is not defined. "
            f"Lower sampler.step-size (now {record['step_size']:g}), use an adjusted sampler, which"
            f" refuses such places, or {advise_reference(config)}"
        )
    return (
        f"and {lost:.0f} of {config.batch} chains are not finite: the chains or the weights"
        " overflowed. Lower sampler.step-size or optimizer.lr, or use an adjusted sampler"
    )


# Advice: every sentence starts from what is set.


def advise_on_gap(config: TrainConfig, record: Record) -> str:
    """What to try against energies that run apart; a chain step has noise √h, in data units."""
    noise_std = record["step_size"] ** 0.5
    return (
        f"{advise_at_first_step(config) if record['step'] == 1 else ''}"
        f"Lower optimizer.lr (now {config.optimizer.lr:g}), "
        f"{advise_raising(f'{config.chains_at}.energy_l2', config.chains.energy_l2, 0.01)}, "
        f"{advise_raising('data_noise', config.data_noise, noise_std)} "
        f"(the noise of one chain step is {noise_std:.2g}), "
        f"or raise {config.chains_at}.gap_limit if energies of this size are expected"
    )


def advise_on_spread(config: TrainConfig, record: Record) -> str:
    """What to try against chains that leave the data."""
    return (
        f"Lower sampler.step-size (now {record['step_size']:g}), {advise_reference(config)}, "
        f"or {advise_raising(f'{config.chains_at}.restart', config.chains.restart, 0.02)}"
    )


def advise_on_swings(config: TrainConfig) -> str:
    """What to try against energies that swing: smaller steps of the weights."""
    limit = (
        "set clip_norm to 1" if config.clip_norm == 0 else f"lower clip_norm ({config.clip_norm:g})"
    )
    return f"Lower optimizer.lr (now {config.optimizer.lr:g}), or {limit}"


def advise_raising(name: str, now: float, usual: float) -> str:
    """Set a field that is below its usual value to that; raise one that is not."""
    return f"set {name} to {usual:.2g}" if now < usual else f"raise {name} (now {now:g})"


def advise_reference(config: TrainConfig) -> str:
    """A reference keeps chains near the data: it is N(0, s²T), so N(0, 1) at s = 1/√T."""
    if config.reference_std is None:
        usual = config.temperature**-0.5
        return f"set reference_std to {usual:.3g} (a Gaussian reference N(0, 1) of x)"
    return f"lower reference_std (now {config.reference_std:g})"


def advise_at_first_step(config: TrainConfig) -> str:
    """At step 1 the reference is all that has a shape yet, and it may be far too narrow."""
    if config.reference_std is None:
        return ""
    std = config.reference_std * config.temperature**0.5
    return (
        "At the first step nothing is learned yet, and the Gaussian reference N(0, "
        f"{std:.2g}²) of x may be too narrow: raise reference_std (now {config.reference_std:g}). "
    )


# Recovery.


def can_go_back(config: TrainConfig, rollbacks: int) -> bool:
    return config.on_divergence == "rollback" and rollbacks < config.max_rollbacks


def tell(run: RunDirectory, collapse: Divergence) -> None:
    """Write down a collapse that the run goes on with, and warn."""
    run.event(kind="collapsed", step=collapse.step, reason=collapse.reason, record=collapse.record)
    warnings.warn(f"training collapsed at step {collapse.step}: {collapse.reason}", stacklevel=3)


def recover(
    config: TrainConfig, run: RunDirectory, state: TrainState, divergence: Divergence
) -> None:
    """Go back to the last good checkpoint with half the step sizes, or raise DivergenceError.

    It raises where the configuration says 'stop' and after `max_rollbacks` rollbacks; the
    checkpoint is kept either way. Rank 0 reads and writes the files, and every rank gets the same
    checkpoint.
    """
    world, good = state.world, None
    rollbacks, slowdown = state.rollbacks + 1, state.slowdown / 2
    with world.agreed():
        if world.first:
            good = last_good_checkpoint(run, state, divergence)
            event = {"step": divergence.step, "reason": divergence.reason}
            event |= {"record": divergence.record, "checkpoint": good.step}
            if not can_go_back(config, state.rollbacks):
                run.event(kind="diverged", **event)
                raise DivergenceError(explain(config, state, divergence, good))
            run.truncate_records(good.step)
            run.event(kind="rollback", after=divergence.kind, slowdown=slowdown, **event)
            warnings.warn(
                f"training {divergence.kind} at step {divergence.step}: {divergence.reason}. It "
                f"goes back to step {good.step}, with both step sizes multiplied by {slowdown:g}",
                stacklevel=2,
            )
    good = world.broadcast(good)
    assert good is not None
    state.restore(good)
    state.rollbacks, state.slowdown = rollbacks, slowdown


def explain(
    config: TrainConfig, state: TrainState, divergence: Divergence, good: Checkpoint
) -> str:
    """What a person is told where a run stops: when, why, what to try, what is kept."""
    after = f" after {state.rollbacks} rollbacks" if state.rollbacks else ""
    continuing = (
        ""
        if config.on_divergence == "rollback"
        else (
            "; with --on-divergence rollback the run continues from there with half the step sizes"
        )
    )
    return (
        f"training diverged at step {divergence.step}{after}: {divergence.reason}. "
        "A run with other settings needs another --out. "
        f"The last good checkpoint, of step {good.step}, is kept as {good.path}{continuing}"
    )


def last_good_checkpoint(
    run: RunDirectory, state: TrainState, divergence: Divergence
) -> Checkpoint:
    """The newest checkpoint that may be gone back to; where only one is left, that one.

    One that a rollback has already started from led here again. One from the midst of a collapse
    holds weights that have begun to swing. Neither is good: they are deleted.
    """
    good = newest_checkpoint(run)
    calm = divergence.step - (RECENT if divergence.kind == "collapsed" else 0)
    others = len(checkpoint.saved(run.checkpoints)) - 1
    while others and (used(run, state, good) or good.step >= calm):
        assert good.path is not None
        good.path.unlink()
        good, others = newest_checkpoint(run), others - 1
    return good


def used(run: RunDirectory, state: TrainState, good: Checkpoint) -> bool:
    """Whether a rollback went back to this checkpoint since it was written.

    Each rollback halves the slowdown, so that it tells their order. One that was written down and
    then lost, as the process ended before it took effect, is below the state's.
    """
    back = [event for event in run.events() if event["kind"] == "rollback"]
    since = [e for e in back if state.slowdown <= e["slowdown"] < good.meta["slowdown"]]
    return good.step in [event["checkpoint"] for event in since]


def newest_checkpoint(run: RunDirectory) -> Checkpoint:
    newest = checkpoint.newest(run.checkpoints)
    assert newest is not None  # step 0 is always saved
    return newest
