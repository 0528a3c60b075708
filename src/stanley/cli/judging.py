"""stanley evaluate, plot: the scores of a run, and its figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from stanley.cli.figures import Dpi, Format, Size, drawing_of
from stanley.cli.flags import (
    DataRoot,
    Device,
    Json,
    OwnDataName,
    OwnFlags,
    OwnNetworkName,
    OwnSamplerName,
    Run,
    Seed,
    Track,
    Trust,
    WhichWeights,
    Whole,
)
from stanley.cli.output import say, show


def evaluate(
    run: Run,
    *,
    num: Annotated[
        Whole | None,
        Parameter(
            help=(
                "Samples from noise and from the bank, each. [default: 2,000 vectors or 256 images]"
            )
        ),
    ] = None,
    steps: Annotated[
        Whole | None, Parameter(help="Steps of the chains from noise. [default: as stanley sample]")
    ] = None,
    seed: Seed = 0,
    weights: WhichWeights = "average",
    features: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            show_default=False,
            help=(
                "Features to compare images in, separated by commas: pixels, pixels-8x8, cifar,"
                " mnist, inception, "
                "inception:PATH. [default: pixels, or pixels-8x8 for images wider than 8]"
            ),
        ),
    ] = None,
    against: Annotated[
        Literal["held-out", "train"],
        Parameter(
            help=(
                "Data that the samples are compared with in the features. A published FID uses"
                " train."
            )
        ),
    ] = "held-out",
    kid: Annotated[
        bool | None, Parameter(help="Also compute the kernel distance. [default: for images only]")
    ] = None,
    prdc: Annotated[
        bool | None,
        Parameter(
            help="Also compute precision, recall, density and coverage. [default: for images only]"
        ),
    ] = None,
    extrapolate: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Also extrapolate the Fréchet distance to infinitely many samples.",
        ),
    ] = False,
    data_root: DataRoot = None,
    network: OwnNetworkName = None,
    data: OwnDataName = None,
    sampler: OwnSamplerName = None,
    trust: Trust = False,
    track: Track = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Judge a run by its energies and samples, in two dimensions by its exact KL, and write
    RUN/scores.json.

    Fréchet and kernel distances carry the name of their features; only --features inception, with
    the published weights, gives a FID and a KID. docs/metrics.md says what each number is, and how
    it errs at small n.

    Scores of another request (step, n, seed, features, …) that are in scores.json are kept as
    scores-former.json.
    """
    from stanley.cli.own import parts_of
    from stanley.judging.evaluate import evaluate as judge
    from stanley.runs.directory import RunDirectory
    from stanley.training.tracking import require_trackers, track_scores, tracker_names

    require_trackers(tracker_names(track))
    own = parts_of(run, OwnFlags(network, data, sampler, trust), data_root, needs_data=True)
    scores = judge(
        run,
        num=num,
        steps=steps,
        seed=seed,
        weights=weights,
        data_root=None if "data" in own else data_root,
        device=device,
        progress=sys.stderr.isatty(),
        features=[name for given in features or () for name in given.split(",") if name],
        against=against,
        kid=kid,
        neighbours=prdc,
        extrapolate=extrapolate,
        **own,
    )
    parts = ("kl", "tv", "log_z", "nll_held_out", "fresh", "bank", "energy")
    told = {name: scores[name] for name in parts if scores.get(name) is not None}
    track_scores(RunDirectory(run), track, scores["step"], told)
    if scores["step"] == 0:
        say(f"warning: {run} is at step 0: these are the scores of an untrained network")
    next_ = f"; draw it with: stanley plot {run}, or stanley report {run}" if scores["step"] else ""
    show(scores, json_, [*score_lines(scores), f"wrote {run / 'scores.json'}{next_}"])


def plot(
    run: Run,
    *,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    json_: Json = False,
) -> None:
    """Draw a run: learning curves, and after stanley evaluate its samples, densities,
    energies and chains.
    """
    from stanley.plots.run import plot_run
    from stanley.runs.directory import RunDirectory

    drawing = drawing_of(format_, dpi, size)
    directory = RunDirectory.existing(run)
    files = plot_run(directory, drawing)
    lines = [f"wrote {f}" for f in files]
    if len(files) == len(drawing.formats):
        lines.append(f"samples and densities need: stanley evaluate {run}")
    show({"files": [str(f) for f in files]}, json_, lines)


WRONG = {"collapsed": "collapsed at", "rollback": "went back from", "diverged": "diverged at"}


def wrong_lines(events: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader of the scores must know of how the run went."""
    said = [f"{WRONG[event['kind']]} step {event['step']:,}" for event in events]
    return [f"on the way the run {', '.join(said)}: see events.jsonl"] if said else []


def score_lines(scores: dict[str, Any]) -> list[str]:
    """The numbers a person asks for first."""
    lines = [
        f"step {scores['step']}, {scores['weights']} weights, sampler {scores['sampler']['kind']}"
    ]
    lines += wrong_lines(scores.get("went_wrong", ()))
    if scores.get("kl") is not None:
        lines.append(
            f"KL(data‖model)  {scores['kl']:.4f} nats   total variation {scores['tv']:.4f}  "
            " (exact)"
        )
    if scores.get("nll_held_out"):
        lines.append(
            f"held-out NLL    {scores['nll_held_out']['value']:.4f} nats   n"
            f" {scores['nll_held_out']['n']}"
        )
    if "not_settled" in scores:
        lines.append(f"no exact density: {scores['not_settled']}")
    for name, chains in scores["chains"].items():
        parts = [f"{name:<6} n {chains['n']}, {chains['steps']} steps from {chains['start']}"]
        if chains["nonfinite"]:
            parts.append(f"{chains['nonfinite']} not finite")
        if "mmd2" in scores[name]:
            parts.append(
                f"MMD² {scores[name]['mmd2']['value']:.2e} (p"
                f" {scores[name]['mmd2']['p_value']:.3f})"
            )
        if "modes" in scores[name]:
            parts.append(f"modes hit {scores[name]['modes']['hit_share']:.0%}")
        lines += ["   ".join(parts), *feature_lines(scores[name])]
    for name, energy in scores["energy"].items():
        if energy["mean"] is not None:
            lines.append(
                f"energy of {name:<9} {energy['mean']:.4g} ± {energy['sd']:.3g} (sd)   n"
                f" {energy['n']}"
            )
    return lines


def feature_lines(scores: dict[str, Any]) -> list[str]:
    """One line for each number that was computed in features."""
    lines = []
    for key, s in scores.items():
        kind = key.partition("_")[0]
        n = f"n {s.get('n1', s.get('num_samples', s.get('n')))}" if isinstance(s, dict) else ""
        match kind:
            case "fd" | "fid":
                biased = s.get("rank_deficient") is True
                numbers = f"{s['value']:.4g}{'  (mostly bias: n <= k)' if biased else ''}"
                n += f" against {s['n2']} {s['against']}"
            case "kd" | "kid":
                numbers = f"{s['value']:.4g} ± {s['standard_error']:.2g}"
                n += f" against {s['n2']} {s['against']}"
            case "prdc":
                numbers = "  ".join(
                    f"{k} {s[k]:.2f}" for k in ("precision", "recall", "density", "coverage")
                )
            case "score":
                numbers = f"{s['value']:.2f} ± {s['sd']:.2f}  (of {s['num_classes']} classes)"
            case _:
                continue
        lines.append(f"       {key.upper() if kind in ('fid', 'kid') else key:<16} {numbers}   {n}")
    return lines
