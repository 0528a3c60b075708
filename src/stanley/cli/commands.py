"""One function per command: read the request, call the library, show the result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

    from stanley.records import RunDirectory


def whole(kind: object, tokens: Sequence[Token]) -> int:
    """The integer that is written; 3.5 is refused, not rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number; write it like 100") from None


Whole = Annotated[int, Parameter(converter=whole)]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object for machines.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, …")]
Run = Annotated[Path, Parameter(help="Run directory: the --out of a stanley train.")]
Weights = Annotated[Literal["average", "raw"], Parameter(help="Averaged (EMA) or raw weights.")]
Extra = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


def train(
    recipe: Annotated[str, Parameter(help="Name of a recipe; stanley recipes lists them.")],
    *fields: Extra,
    out: Annotated[
        str | None, Parameter(help="Run directory; runs/RECIPE unless given. Resumes what is there.")
    ] = None,
    config: Annotated[Path | None, Parameter(help="YAML or TOML file of fields that replace the recipe's.")] = None,
    seed: Annotated[Whole | None, Parameter(help="Seed of weights, data order and chains.")] = None,
    steps: Annotated[Whole | None, Parameter(help="Training iterations.")] = None,
    batch: Annotated[Whole | None, Parameter(help="Data points, and chains, per iteration.")] = None,
    chain_steps: Annotated[Whole | None, Parameter(help="Sampler steps per iteration.")] = None,
    save_every: Annotated[Whole | None, Parameter(help="Iterations between checkpoints.")] = None,
    data_root: Annotated[str | None, Parameter(name="--data.root", help="Folder with the official files.")] = None,
    data_path: Annotated[str | None, Parameter(name="--data.path", help="Folder of images, or .npy/.npz file.")] = None,
    step_size: Annotated[
        float | None, Parameter(name="--sampler.step-size", help="Variance of the noise per chain step.")
    ] = None,
    threshold: Annotated[
        float | None, Parameter(name="--sampler.threshold", help="STANLEY's threshold, in units of |∇U|.")
    ] = None,
    device: Device = "auto",
    quiet: Annotated[bool, Parameter(negative="", help="No progress bar.")] = False,
    json_: Json = False,
) -> None:
    """Train an energy by a recipe, or resume the run that is in --out.

    Any other field of the configuration is a flag too, with dots between its parts: --network.width 64,
    --sampler.kind stanley, --sampler.threshold.quantile 0.9, --optimizer.lr=1e-3, --data.flip false.
    stanley recipes NAME prints all of them.
    """
    from stanley.cli.fields import parse_fields, read_config_file, resolve
    from stanley.training import train as run_training

    named = {
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "chain_steps": chain_steps,
        "save_every": save_every,
        "data.root": data_root,
        "data.path": data_path,
        "sampler.step_size": step_size,
        "sampler.threshold": threshold,
    }
    flags = {**parse_fields(fields), **{name: value for name, value in named.items() if value is not None}}
    resolved = resolve(recipe, read_config_file(config) if config else {}, flags)
    out = out or f"runs/{recipe}"
    run = run_training(resolved, out, device=device, progress=not quiet and sys.stderr.isatty())
    report_training(run, json_)


def sample(
    run: Run,
    *,
    num: Annotated[Whole, Parameter(help="How many samples.")] = 64,
    start: Annotated[Literal["noise", "bank"], Parameter(help="Fresh chains from noise, or the bank.")] = "noise",
    steps: Annotated[Whole | None, Parameter(help="Chain steps; from the bank K, from noise 10 K or more.")] = None,
    seed: Whole = 0,
    weights: Weights = "average",
    out: Annotated[Path | None, Parameter(help="Folder; RUN/samples unless given.")] = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Draw samples of a trained energy: an .npy array and a picture."""
    from stanley.trained import load, write_samples

    model = load(run, weights=weights, device=device)
    chains = model.sample(num, steps=steps, start=start, seed=seed, progress=sys.stderr.isatty())
    folder = out or run / "samples"
    files = write_samples(model, chains, folder, f"{start}-n{num}-seed{seed}")
    lost = int(chains.info.nonfinite.sum())
    summary = {
        "files": [str(f) for f in files],
        "num": num,
        "start": start,
        "steps": steps or model.default_steps(start),
        "acceptance": float(chains.info.acceptance.mean()),
        "nonfinite": lost,
    }
    lines = [f"wrote {f}" for f in files]
    if lost:
        lines.append(f"{lost} of {num} chains are not finite; take fewer --steps, or train with an adjusted sampler")
    show(summary, json_, lines)


def evaluate(
    run: Run,
    *,
    num: Annotated[Whole | None, Parameter(help="Samples of each kind; 2,000 vectors or 256 images.")] = None,
    steps: Annotated[Whole | None, Parameter(help="Chain steps from noise.")] = None,
    seed: Whole = 0,
    weights: Weights = "average",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Judge a run: exact KL in two dimensions, sample metrics, energies; writes RUN/scores.json."""
    from stanley.evaluation import evaluate as judge

    scores = judge(run, num=num, steps=steps, seed=seed, weights=weights, device=device, progress=sys.stderr.isatty())
    show(
        scores,
        json_,
        [*score_lines(scores), f"wrote {run / 'scores.json'}; draw it with: stanley plot {run}"],
    )


def plot(run: Run, *, json_: Json = False) -> None:
    """Draw a run: learning curves, and after stanley evaluate its samples, densities, energies and chains."""
    from stanley.plots.run import plot_run
    from stanley.records import RunDirectory

    directory = RunDirectory.existing(run)
    files = plot_run(directory)
    lines = [f"wrote {f}" for f in files]
    if len(files) == 1:
        lines.append(f"samples and densities need: stanley evaluate {run}")
    show({"files": [str(f) for f in files]}, json_, lines)


def recipes(
    name: Annotated[str | None, Parameter(help="Print this recipe in full.")] = None, *, json_: Json = False
) -> None:
    """List the recipes, or print one with every field, ready for --config."""
    from stanley.config import to_dict
    from stanley.recipes import ABOUT, RECIPES, recipe

    if name is None:
        width = max(map(len, RECIPES))
        show({n: ABOUT[n] for n in RECIPES}, json_, [f"{n:<{width}}  {ABOUT[n]}" for n in RECIPES])
        return
    import yaml

    full = to_dict(recipe(name))
    show(full, json_, [yaml.safe_dump(full, sort_keys=False).rstrip()])


def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for the runs, the table and the figure.")] = Path("runs/demo"),
    seed: Whole = 0,
    steps: Annotated[Whole, Parameter(help="Training iterations of each sampler.")] = 1500,
    json_: Json = False,
) -> None:
    """Train rings with three samplers on one budget, and judge each exactly."""
    from stanley.demo import run_demo

    table = run_demo(out, seed=seed, steps=steps, progress=sys.stderr.isatty())
    show(table, json_, table["lines"])


def report_training(run: RunDirectory, as_json: bool) -> None:
    last = run.last_record() or {}
    numbers = {k: last.get(k) for k in ("step", "gap", "acceptance", "step_size")}
    told = "  ".join(f"{k} {v:.4g}" for k, v in numbers.items() if v is not None)
    lines = [
        f"done: {told}",
        f"next: stanley evaluate {run.path}; stanley sample {run.path}; stanley plot {run.path}",
    ]
    show({"run": str(run.path), **numbers}, as_json, lines)


def score_lines(scores: dict[str, Any]) -> list[str]:
    """The numbers a person asks for first."""
    lines = [f"step {scores['step']}, {scores['weights']} weights, sampler {scores['sampler']['kind']}"]
    if scores.get("kl") is not None:
        lines.append(f"KL(data‖model)  {scores['kl']:.4f} nats   total variation {scores['tv']:.4f}   (exact)")
    if scores.get("nll_held_out"):
        lines.append(f"held-out NLL    {scores['nll_held_out']['value']:.4f} nats   n {scores['nll_held_out']['n']}")
    if "not_settled" in scores:
        lines.append(f"no exact density: {scores['not_settled']}")
    for name, chains in scores["chains"].items():
        parts = [f"{name:<6} n {chains['n']}, {chains['steps']} steps from {chains['start']}"]
        if chains["nonfinite"]:
            parts.append(f"{chains['nonfinite']} not finite")
        if "mmd2" in scores[name]:
            parts.append(f"MMD² {scores[name]['mmd2']['value']:.2e} (p {scores[name]['mmd2']['p_value']:.2f})")
        if "frechet" in scores[name]:
            parts.append(f"Fréchet ({scores[name]['frechet']['feature']}) {scores[name]['frechet']['value']:.3g}")
        if "modes" in scores[name]:
            parts.append(f"modes hit {scores[name]['modes']['hit_share']:.0%}")
        lines.append("   ".join(parts))
    for name, energy in scores["energy"].items():
        if energy["mean"] is not None:
            lines.append(f"energy of {name:<9} {energy['mean']:.4g} ± {energy['sd']:.3g} (sd)   n {energy['n']}")
    return lines


def show(value: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    print(json.dumps(value, ensure_ascii=False) if as_json else "\n".join(lines))
