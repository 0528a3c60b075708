"""stanley interpolate: a path between two pictures."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from stanley.cli.figures import Dpi, Format, Size, drawing_of
from stanley.cli.flags import (
    Device,
    Json,
    Out,
    OwnFlags,
    OwnNetworkName,
    Pretrained,
    Real,
    Resize,
    Trust,
    WeightsOfRun,
    Whole,
)
from stanley.cli.images.answer import Answer, made_from
from stanley.cli.images.request import home, images_of, refuse_flags, request
from stanley.errors import require


def interpolate(
    *words: Annotated[
        str,
        Parameter(
            name="RUN A B",
            allow_leading_hyphen=True,
            help="A run, and the two pictures at the ends of the path.",
        ),
    ],
    points: Annotated[
        Whole, Parameter(help="Number of images on the path, both ends included.")
    ] = 9,
    steps: Annotated[Whole, Parameter(help="Number of relaxation steps.")] = 200,
    step_size: Annotated[
        Real | None,
        Parameter(help="Step size h of x - (h/2)∇U. [default: that of the run's sampler]"),
    ] = None,
    resize: Resize = False,
    pretrained: Pretrained = None,
    weights: WeightsOfRun = None,
    out: Out = None,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
    network: OwnNetworkName = None,
    trust: Trust = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """A path of images between two, relaxed into the valleys of U by the string method; no latents,
    no noise.

    Writes the path as an array, a picture of it above the straight line it started from, and U
    along both.
    """
    import torch

    from stanley.cli.sample_files import write_array
    from stanley.data import to_bytes
    from stanley.plots import energy_path, picture_table
    from stanley.types import in_float32
    from stanley.uses import string

    drawing = drawing_of(format_, dpi, size)
    refuse_flags(
        words,
        "interpolate",
        "goes between two picture files, without a sampler, by steps of --step-size",
    )
    own = OwnFlags(network, trust=trust)
    model, (a, b), _ = request(
        words,
        ("A.png", "B.png"),
        pretrained,
        None,
        weights,
        device,
        own=own,
    )
    require(
        a is not None and b is not None and a.is_file() and b.is_file(),
        f"{a} and {b}: give two picture files",
    )
    (x_a, from_a, _), (x_b, from_b, _) = (images_of(model, end, None, resize) for end in (a, b))
    h = float(model.sampler.step_size) if step_size is None else step_size
    found = string(in_float32(model.potential), x_a[0], x_b[0], points, steps, h)
    ends = {"from": from_a["images"][0], "to": from_b["images"][0]}
    sums = {"from_sha256": from_a["sha256"], "to_sha256": from_b["sha256"]}
    asked = (
        made_from(model)
        | {"use": "interpolate", "points": points, "steps": steps, "step_size": h}
        | ends
        | sums
    )
    folder = out or home(model, pretrained, "interpolated")
    name = f"interpolate-{a.stem}-{b.stem}" if a and b else "interpolate"
    answer = Answer(folder, name, asked)
    answer.make_room()
    share = torch.linspace(0, 1, points, device=x_a.device).view(-1, 1, 1, 1)
    rows = torch.stack([found.points, torch.lerp(x_a, x_b, share)])
    table = picture_table(
        to_bytes(rows).cpu().numpy(), [f"{s:.2f}" for s in share.flatten()], ("relaxed", "straight")
    )
    figures = {name: table, f"{name}-energy": energy_path(found.energy, found.straight)}
    files = [write_array(found.points, folder, name), *drawing.write(figures, folder)]
    result = {
        "energy": found.energy.tolist(),
        "energy_straight": found.straight.tolist(),
        "barrier": found.barrier,
        "barrier_straight": found.straight_barrier,
        "moved_last": found.moved,
    }
    lines = [
        (
            f"{points} images, {steps} steps of size {h:.3g}; the last moved a pixel by"
            f" {found.moved:.2g} on average"
        ),
        (
            f"barrier (max U less the higher end) {found.barrier:.4g}, on the straight line"
            f" {found.straight_barrier:.4g}"
        ),
    ]
    answer.report(result, files, lines, json_)
