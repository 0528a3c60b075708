"""Uses of a trained energy: fill in, denoise, go between, add up, score. One function per command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from stanley.cli.commands import DataRoot, Device, Json, WarmUp, Weights, Whole
from stanley.cli.image_answer import claim, drawn, finish, made_from, ran, report, sampler_asked, sampler_line, settle
from stanley.cli.image_request import (
    generator_of,
    held_out_images,
    home,
    images_of,
    mask_of,
    model_of,
    prepare,
    request,
    split_words,
)

if TYPE_CHECKING:
    from torch import Tensor


Pretrained = Annotated[str | None, Parameter(help="A model that is shipped, in the place of RUN.")]
WhichWeights = Annotated[Weights | None, Parameter(help="Of a run: averaged (EMA) or raw weights.")]
Out = Annotated[Path | None, Parameter(help="Folder; one under RUN, named for the command, unless given.")]
Resize = Annotated[bool, Parameter(negative="", help="Fit pictures of another size or mode to the model.")]
HeldOut = Annotated[Whole | None, Parameter(help="Take the first N held-out images of the run's data instead.")]
PerImage = Annotated[Whole | None, Parameter(help="Chains for each image, one draw of each; 4.")]
Steps = Annotated[Whole | None, Parameter(help="Chain steps; ten training calls, 10 K, unless given.")]


def inpaint(
    *words: Annotated[
        str,
        Parameter(
            name="RUN IMAGE",
            allow_leading_hyphen=True,
            help="A run, and a picture or a folder of them; the sampler's flags of stanley sample.",
        ),
    ],
    mask: Annotated[
        str,
        Parameter(
            help="Unknown pixels: a picture (white is unknown), left,top,width,height, or "
            "left-half, right-half, top-half, bottom-half."
        ),
    ],
    held_out: HeldOut = None,
    num: PerImage = None,
    start: Annotated[
        Literal["noise", "bank"], Parameter(help="What the chains start from under the mask: noise, or the bank.")
    ] = "noise",
    steps: Steps = None,
    warm_up: WarmUp = 500,
    damaged: Annotated[bool, Parameter(negative="", help="The pixels under the mask are no truth: no scores.")] = False,
    resize: Resize = False,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    seed: Whole = 0,
    weights: WhichWeights = None,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Fill in the masked pixels of pictures: chains on these pixels alone, the known ones clamped.

    Writes the draws (images, chains, C, H, W), their mean, a picture, and PSNR (under the mask) and SSIM beside those
    of filling in the training data's mean. --sampler KIND and its fields choose the sampler, as in stanley sample.
    """  # fmt: skip
    import torch

    from stanley.uses import Clamped, restoration_scores
    from stanley.uses import inpaint as fill

    model, (source,), fields = request(words, ("IMAGE",), pretrained, held_out, weights, device, data_root)
    num, steps = 4 if num is None else num, model.default_steps("noise") if steps is None else steps
    images, origin = images_of(model, source, held_out, resize)
    unknown = mask_of(mask, model.event_shape).to(images.device)
    generator = generator_of(seed, images.device)
    x0 = model.starts(num * len(images), start, generator)
    clamped = Clamped(model.potential, images.repeat_interleave(num, 0), unknown)
    ready = prepare(model, fields, clamped, clamped.take(x0), warm_up, generator)
    asked = {"use": "inpaint", "mask": mask, "unknown_pixels": int(unknown.sum()), "chains_per_image": num}
    asked["start"] = start
    answer = settle(model, ready, asked | origin, steps, seed, out or home(model, pretrained) / "inpainted")
    filled = fill(
        ready.sampler,
        model.potential,
        images,
        unknown,
        clamped.put(ready.x),
        steps,
        generator=generator,
        progress=sys.stderr.isatty(),
    )
    mean_fill = torch.where(unknown, model.noise.mean, images)
    scores = None
    if not damaged:
        estimates = {"mean": filled.mean, "draw": filled.draws[:, 0], "training_mean": mean_fill}
        scores = restoration_scores(estimates, images, unknown)
    hidden = torch.where(unknown, torch.zeros_like(images), images)
    columns = {"known": hidden, "mean": filled.mean} | drawn(filled.draws)
    columns |= {} if damaged else {"truth": images}
    finish(answer, ready, filled, columns, scores, json_, "PSNR under the mask")


def denoise(
    *words: Annotated[
        str,
        Parameter(
            name="RUN IMAGE",
            allow_leading_hyphen=True,
            help="A run, and a picture or a folder of them; the sampler's flags of stanley sample.",
        ),
    ],
    noise: Annotated[
        float, Parameter(help="σ of the noise, in units of pixels in [-1, 1]: 0.2 is 25.6 of 256 grey levels.")
    ],
    clean: Annotated[
        bool,
        Parameter(
            negative="", help="The pictures are clean: add the noise, and judge the result; always so for --held-out."
        ),
    ] = False,
    flow: Annotated[
        bool, Parameter(negative="", help="Descend to a mode of the posterior instead of sampling it.")
    ] = False,
    held_out: HeldOut = None,
    num: PerImage = None,
    steps: Steps = None,
    warm_up: WarmUp = 500,
    resize: Resize = False,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    seed: Whole = 0,
    weights: WhichWeights = None,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Denoise pictures: chains on the posterior U(x) + |y - x|²/(2σ²), from y, or its gradient flow.

    Writes the draws (images, chains, C, H, W), their mean, a picture, and for clean pictures PSNR and SSIM before and
    after. --sampler KIND and its fields choose the sampler, as in stanley sample.
    """  # fmt: skip
    import torch

    from stanley.errors import require
    from stanley.samplers import GradientDescent, Langevin
    from stanley.uses import Noisy, restoration_scores
    from stanley.uses import denoise as clean_up

    require(not flow or num in (None, 1), f"--flow draws nothing: its {num} chains would be one; leave out --num")
    model, (source,), fields = request(words, ("IMAGE",), pretrained, held_out, weights, device, data_root)
    num, steps = (1 if flow else 4) if num is None else num, model.default_steps("noise") if steps is None else steps
    images, origin = images_of(model, source, held_out, resize)
    clean = clean or held_out is not None
    generator = generator_of(seed, images.device)
    y = images + noise * torch.randn(images.shape, generator=generator, device=images.device) if clean else images
    posterior = Noisy(model.potential, y.repeat_interleave(num, 0), noise)
    ready = prepare(model, fields, posterior, y.repeat_interleave(num, 0), warm_up, generator)
    h = float(ready.sampler.step_size)
    require(
        h < 4 * noise**2 or not (flow or isinstance(ready.sampler, Langevin)),
        f"--noise is {noise:g} and the step size {h:.3g}: steps of the posterior are unstable from 4σ² = "
        f"{4 * noise**2:.3g} on; use --sampler.step-size {noise**2:.2g}, or --sampler mala",
    )
    if flow:
        from dataclasses import replace

        ready = replace(ready, sampler=GradientDescent(float(ready.sampler.step_size)), x=posterior.observed)
    asked = {"use": "denoise", "noise": noise, "noise_added": clean, "flow": flow, "chains_per_image": num}
    answer = settle(model, ready, asked | origin, steps, seed, out or home(model, pretrained) / "denoised")
    restored = clean_up(ready.sampler, model.potential, y, noise, ready.x, steps, generator=generator,
                        progress=sys.stderr.isatty())  # fmt: skip
    scores = None
    if clean:
        estimates = {"noisy": y, "mean": restored.mean} | ({} if flow else {"draw": restored.draws[:, 0]})
        scores = restoration_scores(estimates, images)
    columns = {"noisy": y} | ({"mode": restored.mean} if flow else {"mean": restored.mean} | drawn(restored.draws))
    columns |= {"truth": images} if clean else {}
    finish(answer, ready, restored, columns, scores, json_, "PSNR")


def interpolate(
    *words: Annotated[str, Parameter(name="RUN A B", allow_leading_hyphen=True, help="A run and two pictures.")],
    points: Annotated[Whole, Parameter(help="Images on the path, both ends included.")] = 9,
    steps: Annotated[Whole, Parameter(help="Relaxation steps.")] = 200,
    step_size: Annotated[float | None, Parameter(help="h of x - (h/2)∇U; the run's sampler's unless given.")] = None,
    resize: Resize = False,
    pretrained: Pretrained = None,
    weights: WhichWeights = None,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """A path of images between two, relaxed into the valleys of U by the string method; no latents, no noise.

    Writes the path as an array, a picture of it above the straight line it started from, and U along both.
    """
    import torch

    from stanley.data import to_bytes
    from stanley.errors import require
    from stanley.plots import energy_path, picture_table, save
    from stanley.sample_files import write_array
    from stanley.uses import string

    model, (a, b), fields = request(words, ("A.png", "B.png"), pretrained, None, weights, device)
    require(not fields, f"{' '.join(fields)}: the string method has no sampler, only --step-size; leave it out")
    require(a is not None and b is not None and a.is_file() and b.is_file(), f"{a} and {b}: give two picture files")
    (x_a, from_a), (x_b, from_b) = (images_of(model, end, None, resize) for end in (a, b))
    h = float(model.sampler.step_size) if step_size is None else step_size
    found = string(model.potential, x_a[0], x_b[0], points, steps, h)
    ends = {"from": from_a["images"][0], "to": from_b["images"][0]}
    sums = {"from_sha256": from_a["sha256"], "to_sha256": from_b["sha256"]}
    asked = made_from(model) | {"use": "interpolate", "points": points, "steps": steps, "step_size": h} | ends | sums
    folder = out or home(model, pretrained) / "interpolated"
    name = f"interpolate-{a.stem}-{b.stem}" if a and b else "interpolate"
    claim(folder, name, asked)
    share = torch.linspace(0, 1, points, device=x_a.device).view(-1, 1, 1, 1)
    rows = torch.stack([found.points, torch.lerp(x_a, x_b, share)])
    table = picture_table(to_bytes(rows).cpu().numpy(), [f"{s:.2f}" for s in share.flatten()], ("relaxed", "straight"))
    files = [
        write_array(found.points, folder, name),
        save(table, folder / f"{name}.png"),
        save(energy_path(found.energy, found.straight), folder / f"{name}-energy.png"),
    ]
    result = {
        "energy": found.energy.tolist(),
        "energy_straight": found.straight.tolist(),
        "barrier": found.barrier,
        "barrier_straight": found.straight_barrier,
        "moved_last": found.moved,
    }
    lines = [
        f"{points} images, {steps} steps of size {h:.3g}; the last moved a pixel by {found.moved:.2g} on average",
        f"barrier (max U less the higher end) {found.barrier:.4g}, on the straight line {found.straight_barrier:.4g}",
    ]
    report(folder, name, asked, result, files, lines, json_)


def compose(
    *words: Annotated[
        str,
        Parameter(
            name="RUN1 RUN2 ...",
            allow_leading_hyphen=True,
            help="Runs on points of one shape; the sampler's flags of stanley sample.",
        ),
    ],
    weights: Annotated[str | None, Parameter(help="One number a run, such as 1,0.5; all 1 unless given.")] = None,
    num: Annotated[Whole, Parameter(help="How many chains, one sample of each.")] = 64,
    steps: Annotated[
        Whole | None, Parameter(help="Chain steps; the most that one of the runs takes from noise.")
    ] = None,
    warm_up: WarmUp = 500,
    pretrained: Annotated[str | None, Parameter(help="A model that is shipped, in front of the runs.")] = None,
    seed: Whole = 0,
    out: Annotated[Path | None, Parameter(help="Folder; composed unless given.")] = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Sample the sum of the energies of several runs, p ∝ Π p_i^w_i: likely where all of them are.

    Chains start from the first run's noise and use its sampler: an adjusted one finds its step size in the warm-up, an
    unadjusted one takes its own divided by Σ w, since forces add up. Averaged weights.
    """  # fmt: skip
    from dataclasses import replace

    from stanley.cli.subject import file_name
    from stanley.errors import StanleyError, require
    from stanley.sample_files import write_samples
    from stanley.samplers import run_chains
    from stanley.samplers.inside import adjustable_step, with_step_size
    from stanley.uses import Composed
    from stanley.uses.composition import require_same_shape

    names, fields = split_words(words)
    require(len(names) + (pretrained is not None) >= 2, "give two runs or more to compose: stanley compose RUN1 RUN2")
    models = [model_of(None, pretrained, None, device)] if pretrained is not None else []
    models += [model_of(Path(name), None, None, device) for name in names]
    called = ([pretrained] if pretrained is not None else []) + names
    require_same_shape([(name, m.event_shape) for name, m in zip(called, models, strict=True)])
    try:
        given = () if weights is None else tuple(float(w) for w in weights.split(","))
    except ValueError:
        raise StanleyError(f"--weights is {weights!r}, must be numbers with commas, such as 1,0.5") from None
    potential = Composed(tuple(m.potential for m in models), given)
    first = models[0]
    generator = generator_of(seed, first.noise.mean.device)
    sizes = any("step-size" in f or "step_size" in f for f in fields)
    model, tune = first, adjustable_step(first.sampler) and not fields
    if not sizes and not tune:
        step_size = float(first.sampler.step_size) / sum(potential.weights)
        model = replace(first, sampler=with_step_size(first.sampler, step_size))
    ready = prepare(model, fields, potential, first.starts(num, "noise", generator), warm_up, generator, tune=tune)
    steps = max(m.default_steps("noise") for m in models) if steps is None else steps
    parts = [made_from(m) | {"weight": w} for m, w in zip(models, potential.weights, strict=True)]
    asked = {"use": "compose", "parts": parts, "num": num, "steps": steps, "seed": seed} | sampler_asked(ready, fields)
    folder = out or Path("composed")
    name = "-".join(["compose", *(file_name(Path(c).name) for c in called), f"n{num}", f"seed{seed}"])
    claim(folder, name, asked)
    chains = run_chains(ready.sampler, potential, ready.x, steps, generator=generator, progress=sys.stderr.isatty())
    files = write_samples(chains.x, folder, name, density=None if first.is_image else potential)
    lost = int(chains.info.nonfinite.sum())
    lines = [sampler_line(ready, chains.info)]
    if lost:
        lines.append(f"{lost} of {num} chains are not finite; use a smaller --sampler.step-size, or an adjusted one")
    report(folder, name, asked, ran(ready, chains.info), files, lines, json_)


def ood(
    *words: Annotated[
        str, Parameter(name="RUN FOLDER", allow_leading_hyphen=True, help="A run, and a picture or a folder of them.")
    ],
    out: Annotated[Path | None, Parameter(help="CSV file; RUN/ood/FOLDER.csv unless given.")] = None,
    against: Annotated[
        str | None,
        Parameter(
            help="What counts as inside: held-out, or a folder. Adds AUROC, AUPR and FPR at 95 % of FOLDER against it."
        ),
    ] = None,
    resize: Resize = False,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    weights: WhichWeights = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Score pictures by how far outside the training data they lie: a CSV of file, energy, gradient norm, percentile.

    The percentile is among (at most 2,000) held-out data of the run, where its data are at hand. Damaged files are
    named and skipped. Higher is more outside.
    """  # fmt: skip
    import csv
    import io

    from stanley.errors import StanleyError, require
    from stanley.files import write_atomic
    from stanley.plots import energy_histograms, save
    from stanley.sample_files import make_folder
    from stanley.uses import percentile, score

    model, (source,), fields = request(words, ("FOLDER",), pretrained, None, weights, device, data_root)
    require(not fields, f"{' '.join(fields)}: scoring runs no chain; leave it out")
    images, origin = images_of(model, source, None, resize)
    scores = score(model.potential, images)
    reference, why = None, None
    try:
        reference = score(model.potential, held_out_images(model, 2000))
    except StanleyError as error:
        require(against != "held-out", f"--against held-out: {error}")
        data = model.config.data
        missing = getattr(data, "root", "") is None
        why = f"the model's {data.kind} data are not at hand; pass --data.root DIR" if missing else str(error)
    inside, other_origin = reference, None
    if against not in (None, "held-out"):
        others, other_origin = images_of(model, Path(against), None, resize)
        inside = score(model.potential, others)
    if against is not None:
        assert inside is not None
        fewest = min(len(images), len(inside.energy))
        require(fewest >= 2, f"{fewest} picture on one side of --against {against}, AUROC needs 2 on each; add some")
    percent = None if reference is None else percentile(scores.energy, reference.energy)

    out = out or home(model, pretrained) / "ood" / f"{source.stem if source else 'images'}.csv"
    require(out.suffix.lower() == ".csv", f"--out is {out}, must be a .csv file")
    asked = made_from(model) | {"use": "ood", "against": against} | origin
    folder, name = out.parent, out.stem
    make_folder(folder)
    claim(folder, name, asked, also=out)
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "energy", "gradient_norm", "percentile"])
    for k, file in enumerate(origin["images"]):
        where = "" if percent is None else f"{float(percent[k]):.2f}"
        writer.writerow([file, f"{float(scores.energy[k]):.7g}", f"{float(scores.grad_norm[k]):.7g}", where])
    write_atomic(out, table.getvalue().encode())

    result: dict[str, Any] = {"skipped": origin["skipped"], "reference": why or f"{len(reference.energy)} held-out"}  # type: ignore[union-attr]
    lines = [f"{len(images)} scored, {len(origin['skipped'])} skipped", *(f"skipped {s}" for s in origin["skipped"])]
    lines.append(f"no percentiles: {why}" if why else f"percentiles among {result['reference']} images")
    groups = {} if reference is None else {"held-out": reference.energy}
    if against is not None:
        assert inside is not None
        if other_origin is not None:
            groups[Path(against).name] = inside.energy
            result["against"] = other_origin
        lines.append(f"outside: {source.name if source else 'images'}, inside: {against}; high scores mean outside")
        for kind in ("energy", "grad_norm"):
            found = detection(getattr(inside, kind), getattr(scores, kind))
            result[kind] = found
            lines.append(f"{kind:<10} " + "   ".join(f"{k} {v:.4g}" for k, v in found.items()))
    groups[source.name if source else "images"] = scores.energy
    files = [
        out,
        save(energy_histograms({k: v.cpu() for k, v in groups.items()}, label="U = E/T"), folder / f"{name}.png"),
    ]
    report(folder, name, asked, result, files, lines, json_)


def detection(inside: Tensor, outside: Tensor) -> dict[str, float]:
    from stanley.metrics.detection import aupr, auroc, fpr_at_95

    numbers = {"auroc": auroc, "aupr": aupr, "fpr_at_95": fpr_at_95}
    return {"n_inside": len(inside), "n_outside": len(outside)} | {
        name: float(number(inside, outside)) for name, number in numbers.items()
    }
