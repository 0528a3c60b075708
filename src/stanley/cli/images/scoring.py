"""stanley ood: how far outside the training data pictures lie."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stanley.cli.flags import (
    DataRoot,
    Device,
    Json,
    OwnDataName,
    OwnFlags,
    OwnNetworkName,
    Pretrained,
    Resize,
    Trust,
    WeightsOfRun,
)
from stanley.cli.images.answer import Answer, made_from
from stanley.cli.images.request import home, images_of, refuse_flags, request
from stanley.cli.printable import cell
from stanley.errors import StanleyError, require

if TYPE_CHECKING:
    from stanley.uses import Outside

HELD_OUT = 2000  # images of the run, at most, among which percentiles are


def ood(
    *words: Annotated[
        str,
        Parameter(
            name="RUN FOLDER",
            allow_leading_hyphen=True,
            help="A run, and a picture or a folder of them.",
        ),
    ],
    out: Annotated[
        Path | None,
        Parameter(help="CSV file to write. [default: RUN/ood/FOLDER.csv, or ood/NAME/FOLDER.csv]"),
    ] = None,
    against: Annotated[
        str | None,
        Parameter(
            help=(
                "Also tell FOLDER from these pictures: held-out, or another folder. Adds AUROC,"
                " AUPR and FPR at 95 %."
            )
        ),
    ] = None,
    resize: Resize = False,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    weights: WeightsOfRun = None,
    network: OwnNetworkName = None,
    data: OwnDataName = None,
    trust: Trust = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Score pictures by how far outside the training data they lie: a CSV of file, energy, gradient
    norm, percentile.

    The percentile is among (at most 2,000) held-out data of the run, where its data are at hand.
    Files that are damaged, or of another size or mode, are named and skipped. Higher is more
    outside.
    """  # fmt: skip
    from stanley.cli.sample_files import make_folder
    from stanley.files import write_atomic
    from stanley.models.trained import held_out_images
    from stanley.plots import energy_histograms, save
    from stanley.types import in_float32
    from stanley.uses import outside

    refuse_flags(words, "ood", "scores picture files and runs no chain")
    own = OwnFlags(network, data, trust=trust)
    model, (source,), _ = request(
        words,
        ("FOLDER",),
        pretrained,
        None,
        weights,
        device,
        data_root,
        own,
    )
    assert source is not None
    out = out or home(model, pretrained, "ood") / f"{source.stem}.csv"
    require(out.suffix.lower() == ".csv", f"--out is {out}, must be a .csv file")
    make_folder(out.parent)
    images, origin, _ = images_of(model, source, None, resize)
    held_out, why, inside, inside_origin = None, None, None, None
    try:
        held_out = held_out_images(model, HELD_OUT)
    except StanleyError as error:
        require(against != "held-out", f"--against held-out: {error}")
        spec = model.config.data
        missing = getattr(spec, "root", "") is None
        why = (
            f"the model's {spec.kind} data are not at hand; pass --data.root DIR"
            if missing
            else str(error)
        )
    if against == "held-out":
        inside = held_out
    elif against is not None:
        inside, inside_origin, _ = images_of(model, Path(against), None, resize)
    found = outside(in_float32(model.potential), images, held_out, inside)

    answer = Answer(
        out.parent, out.stem, made_from(model) | {"use": "ood", "against": against} | origin
    )
    answer.make_room()
    write_atomic(out, table_of(origin["images"], found).encode())
    groups = {"held-out": found.held_out, source.name: found.scores}
    if inside_origin is not None:
        groups = {
            "held-out": found.held_out,
            Path(str(against)).name: found.inside,
            source.name: found.scores,
        }
    energies = {name: scores.energy.cpu() for name, scores in groups.items() if scores is not None}
    files = [out, save(energy_histograms(energies, label="U = E/T"), out.with_suffix(".png"))]

    n = None if held_out is None else len(held_out)
    result: dict[str, Any] = {"skipped": origin["skipped"], "n_held_out": n, "no_held_out": why}
    result |= {"against": inside_origin} if inside_origin is not None else {}
    result |= {score: asdict(numbers) for score, numbers in found.detection.items()}
    lines = [f"{len(images)} scored, {len(origin['skipped'])} skipped"]
    lines.append(f"no percentiles: {why}" if why else f"percentiles among {n} held-out images")
    if found.detection:
        lines.append(f"outside: {source.name}, inside: {against}; high scores mean outside")
    for score, numbers in found.detection.items():
        lines.append(
            f"{score:<10} " + "   ".join(f"{k} {v:.4g}" for k, v in asdict(numbers).items())
        )
    answer.report(result, files, lines, json_)


def table_of(names: list[str], found: Outside) -> str:
    """The CSV: a row for each picture."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "energy", "gradient_norm", "percentile"])
    for k, name in enumerate(names):
        rank = "" if found.percentile is None else f"{float(found.percentile[k]):.2f}"
        energy, slope = (float(score[k]) for score in (found.scores.energy, found.scores.grad_norm))
        writer.writerow([cell(name), f"{energy:.7g}", f"{slope:.7g}", rank])
    return table.getvalue()
