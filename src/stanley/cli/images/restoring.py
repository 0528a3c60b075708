"""stanley inpaint, denoise: pictures of which a part or the noise is unknown."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from stanley.cli.figures import Dpi, Format, Size, drawing_of
from stanley.cli.flags import (
    DataRoot,
    Device,
    HeldOut,
    Json,
    Out,
    OwnDataName,
    OwnFlags,
    OwnNetworkName,
    PasteBack,
    PerImage,
    Pretrained,
    Real,
    Resize,
    Seed,
    Steps,
    Trust,
    WarmUp,
    WeightsOfRun,
)
from stanley.cli.images.answer import drawn, report_restoration, restoration
from stanley.cli.images.request import file_of_mask, home, images_of, mask_of, prepare, request
from stanley.cli.images.restored import Restored, first_finite, require_files
from stanley.errors import require


def inpaint(
    *words: Annotated[
        str,
        Parameter(
            name="RUN IMAGE",
            allow_leading_hyphen=True,
            help=(
                "A run, a picture or a folder of them, and flags of the sampler as for stanley"
                " sample."
            ),
        ),
    ],
    mask: Annotated[
        str,
        Parameter(
            help=(
                "Unknown pixels: a picture in which they are white, left,top,width,height, or"
                " one of "
                "left-half, right-half, top-half, bottom-half."
            )
        ),
    ],
    held_out: HeldOut = None,
    num: PerImage = None,
    start: Annotated[
        Literal["noise", "bank"], Parameter(help="What the chains start from under the mask.")
    ] = "noise",
    steps: Steps = None,
    warm_up: WarmUp = 500,
    damaged: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="The pixels under the mask are damaged: compute no scores.",
        ),
    ] = False,
    resize: Resize = False,
    paste_back: PasteBack = False,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    seed: Seed = 0,
    weights: WeightsOfRun = None,
    out: Out = None,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    network: OwnNetworkName = None,
    data: OwnDataName = None,
    trust: Trust = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Fill in the masked pixels of pictures: chains on these pixels alone, the known ones clamped.

    Writes the draws (images, chains, C, H, W), their mean, a picture of all, a PNG of a draw for
    every input, and PSNR (under the mask) and SSIM beside those of filling in the training data's
    mean. --sampler KIND and its fields choose
    the sampler, as in stanley sample.
    """  # fmt: skip
    import torch

    from stanley.samplers.run import potential_for
    from stanley.uses import Clamped, restoration_scores
    from stanley.uses import inpaint as fill
    from stanley.uses.inpainting import inpaint_stream

    drawing = drawing_of(format_, dpi, size)
    require_files(paste_back, held_out)
    own = OwnFlags(network, data, trust=trust)
    model, (source,), fields = request(
        words,
        ("IMAGE",),
        pretrained,
        held_out,
        weights,
        device,
        data_root,
        own,
    )
    num, steps = 4 if num is None else num, model.default_steps("noise") if steps is None else steps
    images, origin, resized_from = images_of(model, source, held_out, resize)
    unknown = mask_of(mask, model.event_shape, resized_from).to(images.device)
    generator = inpaint_stream(seed, images.device)
    known = images.repeat_interleave(num, 0)
    clamped = Clamped(model.potential, known, unknown)
    if start == "noise" and model.levels is not None:
        x0 = model.starts_beside(known, unknown, generator)
    else:
        x0 = model.starts(len(known), start, generator)
    ready, asked_sampler = prepare(model, fields, clamped, clamped.take(x0), warm_up, generator)
    asked = {
        "use": "inpaint",
        "mask": mask,
        "unknown_pixels": int(unknown.sum()),
        "chains_per_image": num,
    }
    asked |= {"start": start} | ({"paste_back": True} if paste_back else {})
    folder = out or home(model, pretrained, "inpainted")
    answer = restoration(model, asked | asked_sampler | origin, steps, seed, folder)
    filled = fill(
        ready.sampler,
        potential_for(ready.sampler, model.potential),
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
    one = first_finite(filled.draws)
    pictures = Restored(one, "a draw", origin["images"], paste_back, unknown, file_of_mask(mask))
    report_restoration(
        answer, ready, filled, columns, scores, json_, drawing, "PSNR under the mask", pictures
    )


def denoise(
    *words: Annotated[
        str,
        Parameter(
            name="RUN IMAGE",
            allow_leading_hyphen=True,
            help=(
                "A run, a picture or a folder of them, and flags of the sampler as for stanley"
                " sample."
            ),
        ),
    ],
    noise: Annotated[
        Real,
        Parameter(
            help=(
                "Standard deviation of the noise, for pixels in [-1, 1]: 0.2 is 25.6 of 256 grey"
                " levels."
            )
        ),
    ],
    clean: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help=(
                "The pictures are clean: add the noise and judge the result. Always so with"
                " --held-out."
            ),
        ),
    ] = False,
    flow: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Go down to a mode of the posterior instead of sampling it.",
        ),
    ] = False,
    held_out: HeldOut = None,
    num: PerImage = None,
    steps: Steps = None,
    warm_up: WarmUp = 500,
    resize: Resize = False,
    paste_back: PasteBack = False,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    seed: Seed = 0,
    weights: WeightsOfRun = None,
    out: Out = None,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    network: OwnNetworkName = None,
    data: OwnDataName = None,
    trust: Trust = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Denoise pictures: chains on the posterior U(x) + |y - x|²/(2σ²), from y, or its gradient
    flow.

    Writes the draws (images, chains, C, H, W), their mean, a picture of all, a PNG of the mean for
    every input, and for clean pictures PSNR and SSIM before and after. A run that knows noise
    levels adds E[x | y] by one gradient. --sampler KIND and its fields choose the sampler, as in
    stanley sample.
    """  # fmt: skip
    import torch

    from stanley.samplers import GradientDescent
    from stanley.samplers.run import potential_for
    from stanley.uses import Noisy, posterior_mean, restoration_scores
    from stanley.uses import denoise as clean_up
    from stanley.uses.denoising import denoise_stream

    require(
        not flow or num in (None, 1),
        f"--flow draws nothing: its {num} chains would be one; leave out --num",
    )
    drawing = drawing_of(format_, dpi, size)
    require_files(paste_back, held_out)
    own = OwnFlags(network, data, trust=trust)
    model, (source,), fields = request(
        words,
        ("IMAGE",),
        pretrained,
        held_out,
        weights,
        device,
        data_root,
        own,
    )
    num, steps = (
        (1 if flow else 4) if num is None else num,
        model.default_steps("noise") if steps is None else steps,
    )
    images, origin, _ = images_of(model, source, held_out, resize)
    clean = clean or held_out is not None
    generator = denoise_stream(seed, images.device)
    y = (
        images + noise * torch.randn(images.shape, generator=generator, device=images.device)
        if clean
        else images
    )
    observed = y.repeat_interleave(num, 0)
    posterior = Noisy(model.potential, observed, noise)
    below = None if flow else model.starts_below(observed, noise, generator)
    x0 = observed if below is None else below
    ready, asked_sampler = prepare(model, fields, posterior, x0, warm_up, generator)
    if flow:
        from dataclasses import replace

        ready = replace(
            ready, sampler=GradientDescent(float(ready.sampler.step_size)), x=posterior.observed
        )
    asked = {
        "use": "denoise",
        "noise": noise,
        "noise_added": clean,
        "flow": flow,
        "chains_per_image": num,
    } | ({"paste_back": True} if paste_back else {})
    folder = out or home(model, pretrained, "denoised")
    answer = restoration(model, asked | asked_sampler | origin, steps, seed, folder)
    restored = clean_up(
        ready.sampler,
        potential_for(ready.sampler, model.potential),
        y,
        noise,
        ready.x,
        steps,
        generator=generator,
        progress=sys.stderr.isatty(),
    )
    levels, at_once = model.levels, {}
    if levels is not None and levels.sigma_min <= noise <= levels.sigma_max:
        potential = model.config.potential(levels.at(noise))
        at_once = {"one_gradient": posterior_mean(potential, y, noise)}
    scores = None
    if clean:
        estimates = {"noisy": y, "mean": restored.mean} | (
            {} if flow else {"draw": restored.draws[:, 0]}
        )
        scores = restoration_scores(estimates | at_once, images)
    columns = {"noisy": y} | (
        {"mode": restored.mean} if flow else {"mean": restored.mean} | drawn(restored.draws)
    )
    columns |= at_once
    columns |= {"truth": images} if clean else {}
    best = "the mode" if flow else "the mean of the draws"
    pictures = Restored(restored.mean, best, origin["images"], paste_back)
    report_restoration(answer, ready, restored, columns, scores, json_, drawing, "PSNR", pictures)
