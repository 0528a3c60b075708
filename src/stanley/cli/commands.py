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

    from stanley.cli.subject import Subject
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
Execution = Annotated[
    Literal["auto", "eager", "compile", "graph"],
    Parameter(help="How a chain step is carried out; see docs/performance.md."),
]
Run = Annotated[Path, Parameter(help="Run directory: the --out of a stanley train.")]
Weights = Literal["average", "raw"]
WhichWeights = Annotated[Weights, Parameter(help="Averaged (EMA) or raw weights.")]
RunOrNone = Annotated[
    Path | None,
    Parameter(allow_leading_hyphen=True, help="Run directory or packed model; or give --pretrained or --target."),
]
Pretrained = Annotated[str | None, Parameter(help="A model that comes with the library, by its name.")]
Target = Annotated[str | None, Parameter(help="A name (stanley targets), module:function or file.py:function.")]
WarmUp = Annotated[Whole, Parameter(help="Steps thrown away, in which a step size is found if none is given.")]
Scale = Annotated[
    Literal["draws", "gradients", "both"] | None, Parameter(help="Find a scale per coordinate besides the step size.")
]
Shape = Annotated[str | None, Parameter(help="Of one point of your own density: 10, or 3,32,32.")]
StartStd = Annotated[float | None, Parameter(help="Chains on a density start from N(0, s² I); 1.")]
DTypeFlag = Annotated[
    Literal["float32", "float64"] | None,
    Parameter(name="--dtype", help="Of a density; float64, but of a module that of its weights."),
]
DataRoot = Annotated[str | None, Parameter(name="--data.root", help="Where the model's data lie now.")]
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
    execution: Execution = "auto",
    parallel: Annotated[
        Literal["ddp", "fsdp"], Parameter(help="Under torchrun: whole weights on each process, or shards of them.")
    ] = "ddp",
    read_every: Annotated[
        Whole | None, Parameter(help="Steps whose records are read together: 1, on a GPU 10 where nothing is adapted.")
    ] = None,
    quiet: Annotated[bool, Parameter(negative="", help="No progress bar.")] = False,
    json_: Json = False,
) -> None:
    """Train an energy by a recipe, or resume the run that is in --out.

    Any other field of the configuration is a flag too, with dots between its parts: --network.width 64,
    --sampler.kind stanley, --sampler.threshold.quantile 0.9, --optimizer.lr=1e-3, --data.flip false.
    stanley recipes NAME prints all of them.

    torchrun --nproc-per-node N -m stanley train RECIPE … trains on N processes; a run may go on with another N.
    """
    from stanley.cli.fields import parse_fields, read_config_file, resolve
    from stanley.launch import place
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
    run = run_training(
        resolved,
        out,
        device=device,
        execution=execution,
        parallel=parallel,
        read_every=read_every,
        progress=not quiet and sys.stderr.isatty(),
    )
    if place().rank == 0:
        report_training(run, json_)


def sample(
    run: RunOrNone = None,
    *fields: Extra,
    target: Target = None,
    pretrained: Pretrained = None,
    num: Annotated[Whole, Parameter(help="How many chains, one sample of each.")] = 64,
    start: Annotated[
        Literal["noise", "bank"] | None, Parameter(help="Of a run: fresh chains from noise, or the bank.")
    ] = None,
    steps: Annotated[
        Whole | None, Parameter(help="Chain steps. A run: from the bank K, from noise 10 K or more; a density: 1,000.")
    ] = None,
    warm_up: WarmUp = 500,
    precondition: Scale = None,
    keep_every: Annotated[
        Whole | None, Parameter(help="Also keep every n-th state: NAME-draws.npy, of images NAME-film.png.")
    ] = None,
    shape: Shape = None,
    start_std: StartStd = None,
    dtype: DTypeFlag = None,
    seed: Whole = 0,
    weights: Annotated[Weights | None, Parameter(help="Of a run: averaged (EMA) or raw weights.")] = None,
    out: Annotated[Path | None, Parameter(help="Folder; RUN/samples or samples/NAME unless given.")] = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Sample a trained energy (RUN or --pretrained) or any density (--target): array, picture, and how it was made.

    --target NAME is one that stanley targets lists; --target module:function or file.py:function is your own
    potential U, (B, *event) -> (B,), p ∝ exp(-U), imported because you name it. --sampler KIND and
    --sampler.step-size, --sampler.threshold, … choose the sampler (mala, hmc, barker, adjusted-stanley, …); on a
    density it is stanley unless given, which is not exact. Without a step size one is found in the warm-up.
    """
    import torch

    from stanley.cli.claims import claim_samples
    from stanley.cli.subject import described, file_name, in_words
    from stanley.cli.tables import accepted
    from stanley.files import write_json
    from stanley.sample_files import write_array, write_film, write_samples
    from stanley.samplers.inside import adjustable_step

    subject = subject_of(run, fields, target, pretrained, shape, start_std, dtype, weights, device)
    bar = sys.stderr.isatty()
    if subject.model is not None and not subject.tune:
        from dataclasses import replace

        refuse_unused(precondition=precondition)
        model = replace(subject.model, sampler=subject.sampler)
        start = start or "noise"
        steps = model.default_steps(start) if steps is None else steps
        chains = model.sample(num, steps=steps, start=start, seed=seed, keep_every=keep_every, progress=bar)
        x0 = model.starts(num, start, torch.Generator(subject.device).manual_seed(seed))  # those of the chains above
        sampler, how = model.sampler, "its own step size"
    else:
        from stanley.samplers import run_chains

        refuse_unused(start=start)
        steps, start = 1000 if steps is None else steps, "noise"
        ready, generator = subject.start(num, warm_up, seed, precondition)
        x0 = ready.x
        chains = run_chains(
            ready.sampler, subject.potential, x0, steps, generator=generator, keep_every=keep_every, progress=bar
        )
        sampler, how = ready.sampler, ready.how
    model, density = subject.model, None if subject.model else subject.potential
    folder = out or (subject.folder / "samples" if subject.folder else Path("samples") / file_name(subject.name))
    name = f"{start if model else file_name(in_words(sampler).split(',')[0])}-n{num}-seed{seed}"
    asked = {"sampled": subject.name, "num": num, "start": start, "steps": steps, "seed": seed}
    asked |= {"sampler": described(sampler)} | ({"trained": model.step, "weights": model.weights} if model else {})
    claim_samples(folder / f"{name}.json", asked)
    files = write_samples(chains.x, folder, name, density=density)
    if chains.draws is not None:
        files.append(write_array(chains.draws, folder, f"{name}-draws"))
        if model is not None and model.is_image and keep_every:
            files.append(write_film(x0, chains.draws, keep_every, folder, f"{name}-film"))
    lost = int(chains.info.nonfinite.sum())
    summary = asked | {
        "step_size": how,
        "acceptance": float(chains.info.acceptance.mean()) if adjustable_step(sampler) else None,
        "gradients_per_chain": chains.info.num_gradients,
        "nonfinite": lost,
    }
    write_json(folder / f"{name}.json", summary)
    lines = [
        f"{in_words(sampler)} ({how}); {accepted(sampler, chains.info)}",
        *(f"wrote {f}" for f in (*files, folder / f"{name}.json")),
    ]
    if lost:
        lines.append(
            f"{lost} of {num} chains are not finite; use a smaller --sampler.step-size, or an adjusted sampler"
        )
    if adjustable_step(sampler) and float(chains.info.acceptance.mean()) < 0.02:
        lines.append("almost nothing was accepted: these points are near the start; more --warm-up, or a nearer start")
    show(summary | {"files": [str(f) for f in files]}, json_, lines)


def diagnose(
    run: RunOrNone = None,
    *fields: Extra,
    target: Target = None,
    pretrained: Pretrained = None,
    num: Annotated[Whole | None, Parameter(help="Chains; 64, for images 16.")] = None,
    steps: Annotated[Whole | None, Parameter(help="Steps of each chain; 2,000, for images 500.")] = None,
    warm_up: WarmUp = 500,
    precondition: Scale = None,
    pairs: Annotated[Whole | None, Parameter(help="Coupled pairs, 0 for none; 200, for images none.")] = None,
    coupled_steps: Annotated[Whole | None, Parameter(help="Steps after which pairs are given up; 5,000.")] = None,
    rays: Annotated[Whole | None, Parameter(help="Rays for the growth of U, 0 for none; 64, for images 16.")] = None,
    copies: Annotated[
        Whole | None, Parameter(help="Copies a point for the drift condition, 0 for none; 1,000, for images none.")
    ] = None,
    shape: Shape = None,
    start_std: StartStd = None,
    dtype: DTypeFlag = None,
    seed: Whole = 0,
    weights: Annotated[Weights | None, Parameter(help="Of a run: averaged (EMA) or raw weights.")] = None,
    out: Annotated[Path | None, Parameter(help="Folder; RUN/diagnosis or diagnosis/NAME unless given.")] = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Whether to believe a sampler on a trained energy (RUN or --pretrained) or any density (--target).

    A table, a verdict and figures: R̂, ESS and Monte Carlo errors of every coordinate and of U; steps to equilibrium
    from coupled chains; growth of U on rays (H1); the drift condition ΠV/V; the bias of an unadjusted sampler against
    its adjusted twin. Samplers and targets are chosen as for stanley sample; a run is judged with its own sampler
    unless --sampler names another.
    """
    from dataclasses import replace

    from stanley.cli.subject import described, file_name, in_words
    from stanley.cli.tables import diagnosis_json, diagnosis_lines
    from stanley.diagnosis import IMAGES, VECTORS
    from stanley.diagnosis import diagnose as judge
    from stanley.files import write_json
    from stanley.plots.diagnosis import plot_diagnosis
    from stanley.sample_files import make_folder

    subject = subject_of(run, fields, target, pretrained, shape, start_std, dtype, weights, device)
    wanted = {
        "chains": num, "steps": steps, "pairs": pairs, "coupled_steps": coupled_steps, "rays": rays, "copies": copies
    }  # fmt: skip
    usual = VECTORS if len(subject.event_shape) == 1 else IMAGES
    effort = replace(usual, **{name: value for name, value in wanted.items() if value is not None})
    folder = out or (subject.folder / "diagnosis" if subject.folder else Path("diagnosis") / file_name(subject.name))
    make_folder(folder)
    ready, generator = subject.start(effort.chains, warm_up, seed, precondition)
    found = judge(
        ready.sampler,
        subject.potential,
        subject.initial,
        ready.x,
        generator=generator,
        effort=effort,
        progress=sys.stderr.isatty(),
    )
    how = {"sampled": subject.name, "seed": seed, "warm_up": warm_up, "effort": vars(effort)}
    value = how | {"sampler": described(ready.sampler), "step_size": ready.how} | diagnosis_json(found)
    write_json(folder / "diagnosis.json", value)
    files = plot_diagnosis(found, folder, in_words(ready.sampler))
    lines = [
        f"{subject.name}: {in_words(ready.sampler)}",
        f"({ready.how})",
        *diagnosis_lines(found),
        f"wrote {folder / 'diagnosis.json'} and {', '.join(f.name for f in files)}",
    ]
    show(value | {"files": [str(f) for f in files]}, json_, lines)


def targets(*, json_: Json = False) -> None:
    """List the densities that stanley sample and stanley diagnose know by name."""
    from stanley.targets.named import ABOUT

    width = max(map(len, ABOUT))
    show(dict(ABOUT), json_, [f"{name:<{width}}  {about}" for name, about in ABOUT.items()])


def subject_of(
    run: Path | None,
    fields: tuple[str, ...],
    target: str | None,
    pretrained: str | None,
    shape: str | None,
    start_std: float | None,
    dtype: Literal["float32", "float64"] | None,
    weights: Weights | None,
    device: str,
) -> Subject:
    """A run, a model of the library or a density; a flag that means nothing for what is given is refused."""
    from stanley.cli.subject import density_subject, pretrained_subject, run_subject, shape_of
    from stanley.errors import require

    if run is not None and str(run).startswith("--"):  # a flag of the sampler stands where RUN would
        run, fields = None, (str(run), *fields)
    ways = {f"a run ({run})": run, f"--pretrained {pretrained}": pretrained, f"--target {target}": target}
    given = [told for told, value in ways.items() if value is not None]
    require(len(given) <= 1, f"both {' and '.join(given)} are given; give one")
    require(given, "give a run directory, --pretrained, or --target; stanley targets lists names")
    if pretrained is not None:
        refuse_unused(shape=shape, start_std=start_std, dtype=dtype, weights=weights)
        return pretrained_subject(pretrained, fields, device)
    if run is not None:
        refuse_unused(shape=shape, start_std=start_std, dtype=dtype)
        return run_subject(run, fields, weights or "average", device)
    assert target is not None
    refuse_unused(weights=weights)
    return density_subject(
        target,
        fields,
        shape=shape_of(shape),
        start_std=1.0 if start_std is None else start_std,
        dtype=dtype,
        device=device,
    )


def refuse_unused(**flags: object) -> None:
    """Each of the flags was left out: here it would change nothing."""
    from stanley.errors import require

    for name, value in flags.items():
        flag = name.replace("_", "-")
        require(value is None, f"--{flag} {value} changes nothing here: {USES[name]}; leave it out")


#: What the flags are for that not every sample or diagnose can use.
USES = {
    "shape": "a run knows the shape of its points",
    "start_std": "a run starts its chains from noise of the width of its data",
    "dtype": "a run has the type of its weights",
    "weights": "only a run has averaged and raw weights",
    "start": "only a run with its own sampler can start from its bank",
    "precondition": "it is found along with the step size, and this run's is kept",
}


def evaluate(
    run: Run,
    *,
    num: Annotated[Whole | None, Parameter(help="Samples of each kind; 2,000 vectors or 256 images.")] = None,
    steps: Annotated[Whole | None, Parameter(help="Chain steps from noise.")] = None,
    seed: Whole = 0,
    weights: WhichWeights = "average",
    features: Annotated[
        list[str] | None,
        Parameter(help="pixels, pixels-8x8, cifar, mnist, inception, inception:PATH; several: commas, or again."),
    ] = None,
    against: Annotated[
        Literal["held-out", "train"], Parameter(help="What features are compared with; FIDs use the training set.")
    ] = "held-out",
    kid: Annotated[bool | None, Parameter(help="Kernel distance in the features; of images yes.")] = None,
    prdc: Annotated[bool | None, Parameter(help="Precision, recall, density, coverage; of images yes.")] = None,
    extrapolate: Annotated[
        bool, Parameter(negative="", help="Also the Fréchet distance extrapolated to infinitely many samples.")
    ] = False,
    data_root: DataRoot = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Judge a run: exact KL in two dimensions, sample metrics, energies; writes RUN/scores.json.

    Fréchet and kernel distances carry the name of their features; only --features inception, with the published
    weights, gives a FID and a KID. docs/metrics.md says what each number is, and how it errs at small n.
    """
    from stanley.evaluation import evaluate as judge

    scores = judge(
        run,
        num=num,
        steps=steps,
        seed=seed,
        weights=weights,
        data_root=data_root,
        device=device,
        progress=sys.stderr.isatty(),
        features=[name for given in features or () for name in given.split(",") if name],
        against=against,
        kid=kid,
        neighbours=prdc,
        extrapolate=extrapolate,
    )
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
            parts.append(f"MMD² {scores[name]['mmd2']['value']:.2e} (p {scores[name]['mmd2']['p_value']:.3f})")
        if "modes" in scores[name]:
            parts.append(f"modes hit {scores[name]['modes']['hit_share']:.0%}")
        lines += ["   ".join(parts), *feature_lines(scores[name])]
    for name, energy in scores["energy"].items():
        if energy["mean"] is not None:
            lines.append(f"energy of {name:<9} {energy['mean']:.4g} ± {energy['sd']:.3g} (sd)   n {energy['n']}")
    return lines


def feature_lines(scores: dict[str, Any]) -> list[str]:
    """One line for each number that was computed in features."""
    lines = []
    for key, s in scores.items():
        kind = key.partition("_")[0]
        n = f"n {s.get('n1', s.get('num_samples', s.get('n')))}" if isinstance(s, dict) else ""
        match kind:
            case "fd" | "fid":
                told = f"{s['value']:.4g}{'' if s.get('rank_deficient') is not True else '  (mostly bias: n <= k)'}"
                n += f" against {s['n2']} {s['against']}"
            case "kd" | "kid":
                told = f"{s['value']:.4g} ± {s['standard_error']:.2g}"
                n += f" against {s['n2']} {s['against']}"
            case "prdc":
                told = "  ".join(f"{k} {s[k]:.2f}" for k in ("precision", "recall", "density", "coverage"))
            case "score":
                told = f"{s['value']:.2f} ± {s['sd']:.2f}  (of {s['num_classes']} classes)"
            case _:
                continue
        lines.append(f"       {key.upper() if kind in ('fid', 'kid') else key:<16} {told}   {n}")
    return lines


def show(value: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    print(json.dumps(value, ensure_ascii=False) if as_json else "\n".join(lines))
