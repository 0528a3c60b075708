"""stanley ood: how far outside the training data pictures or vectors lie."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stanley.cli.figures import Dpi, Format, Size, drawing_of
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
from stanley.cli.images.request import home, images_of, refuse_flags, request, vectors_of
from stanley.cli.printable import cell
from stanley.config import kind_of
from stanley.errors import StanleyError, require

if TYPE_CHECKING:
    from torch import Tensor

    from stanley.data.table import Table
    from stanley.models.trained import Trained
    from stanley.uses import Outside

SCORES = ("energy", "gradient_norm", "percentile")
HELD_OUT = 2000  # points of the run, at most, among which percentiles are


def ood(
    *words: Annotated[
        str,
        Parameter(
            name="RUN FOLDER",
            allow_leading_hyphen=True,
            help="A run, and a picture or a folder of them; for vectors a .csv, .npy or .npz file.",
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
                "Also tell FOLDER from these: held-out, or another folder or file. Adds AUROC,"
                " AUPR and FPR at 95 %."
            )
        ),
    ] = None,
    format_: Format = None,
    dpi: Dpi = None,
    size: Size = None,
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
    """Score pictures or vectors by how far outside the training data they lie: a CSV of file or
    row, energy, gradient norm, percentile, of an energy that knows noise levels its profile, and a
    vector's values.

    The percentile is that of the energy among (at most 2,000) held-out data of the run, where its
    data are at hand. The profile says how unlike theirs the energies at ten noise levels are
    together, and rarity is its percentile; it mostly finds more of what is outside. Files that are
    damaged, or of another size or mode, and rows with missing values are named and skipped. Higher
    is more outside. Energies are in the units of the data, gradients of vectors that training
    standardised are per standard deviation of a column.
    """  # fmt: skip
    from stanley.files import make_folder, write_atomic
    from stanley.plots import energy_histograms
    from stanley.types import in_float32
    from stanley.uses import outside
    from stanley.uses.scoring import FEWEST, LEVELS

    drawing = drawing_of(format_, dpi, size)
    refuse_flags(words, "ood", "scores files and runs no chain")
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
    model = model.standardised
    points, table, origin = points_of(model, source, resize)
    held_out, why, inside, inside_origin = None, None, None, None
    try:
        held_out = held_out_points(model)
    except StanleyError as error:
        require(against != "held-out", f"--against held-out: {error}")
        missing = getattr(model.config.data, "root", "") is None
        why = (
            f"the model's {kind_of(model.config.data)} data are not at hand; pass --data.root DIR"
            if missing
            else str(error)
        )
    if against == "held-out":
        inside = held_out
    elif against is not None:
        inside, _, inside_origin = points_of(model, Path(against), resize)
    levels = model.potentials_down(LEVELS) if held_out is not None else []
    found = outside(in_float32(model.potential), points, held_out, inside, levels)
    found = in_units_of_data(found, model.log_scale)

    answer = Answer(
        out.parent, out.stem, made_from(model) | {"use": "ood", "against": against} | origin
    )
    answer.make_room()
    content = rows_of_pictures(origin["images"], found) if table is None else rows_of(table, found)
    write_atomic(out, content.encode("utf-8", "replace"))
    groups = {"held-out": found.held_out, source.name: found.scores}
    if inside_origin is not None:
        groups = {
            "held-out": found.held_out,
            Path(str(against)).name: found.inside,
            source.name: found.scores,
        }
    energies = {name: scores.energy.cpu() for name, scores in groups.items() if scores is not None}
    figure = energy_histograms(energies, label="U = E/T")
    files = [out, *drawing.write({out.stem: figure}, out.parent)]

    n = None if held_out is None else len(held_out)
    result: dict[str, Any] = {"skipped": origin["skipped"], "n_held_out": n, "no_held_out": why}
    result |= {"against": inside_origin} if inside_origin is not None else {}
    result |= {score: asdict(numbers) for score, numbers in found.detection.items()}
    lines = [f"{len(points)} scored, {len(origin['skipped'])} skipped"]
    held = "images" if model.is_image else "rows"
    lines.append(f"no percentiles: {why}" if why else f"percentiles among {n} held-out {held}")
    if held_out is not None and levels and found.profile is None:
        few = f"{n} held-out {held}, {FEWEST * LEVELS} are needed"
        lines.append(f"no profile of noise levels: there are {few}")
    if found.detection:
        lines.append(f"outside: {source.name}, inside: {against}; high scores mean outside")
    for score, numbers in found.detection.items():
        lines.append(
            f"{score:<10} " + "   ".join(f"{k} {v:.4g}" for k, v in asdict(numbers).items())
        )
    answer.report(result, files, lines, json_)


def points_of(
    model: Trained, source: Path, resize: bool
) -> tuple[Tensor, Table | None, dict[str, Any]]:
    """Pictures, or the rows of a table, as points of the model; the rows; where they come from."""
    if model.is_image:
        images, origin, _ = images_of(model, source, None, resize)
        return images, None, origin
    require(not resize, "--resize is for pictures, and the run knows vectors; leave it out")
    points, table, origin = vectors_of(model, source)
    return points, table, origin


def held_out_points(model: Trained) -> Tensor:
    """The first held-out data of the run, as training would see them."""
    from stanley.models.trained import data_of, held_out_images

    if model.is_image:
        return held_out_images(model, HELD_OUT)
    return data_of(model).test[:HELD_OUT].float().to(model.device)


def in_units_of_data(found: Outside, log_scale: float) -> Outside:
    """U of standardised points as that of the data; ranks and gradients stay as they are."""
    held_out, inside = (
        None if part is None else replace(part, energy=part.energy + log_scale)
        for part in (found.held_out, found.inside)
    )
    scores = replace(found.scores, energy=found.scores.energy + log_scale)
    return replace(found, scores=scores, held_out=held_out, inside=inside)


def rows_of_pictures(names: list[str], found: Outside) -> str:
    """The CSV: a row for each picture."""
    return csv_of(
        [
            ["file", *columns_of(found)],
            *([cell(n), *row] for n, row in zip(names, of_each(found), strict=True)),
        ]
    )


def rows_of(table: Table, found: Outside) -> str:
    """The CSV: a row for each vector, its line or its number from 0 in the file, its scores, and
    its values.
    """
    names = table.columns or tuple(f"x[{k}]" for k in range(table.rows.shape[1]))
    assert table.lines is not None
    head = ["row", *columns_of(found), *map(cell, names)]
    each = zip(table.lines, of_each(found), table.rows.tolist(), strict=True)
    return csv_of([head, *([str(n), *row, *map(repr, values)] for n, row, values in each)])


def columns_of(found: Outside) -> tuple[str, ...]:
    return SCORES if found.profile is None else (*SCORES, "profile", "rarity")


def of_each(found: Outside) -> Iterator[list[str]]:
    """The scores of each point, as they are written."""
    for k in range(len(found.scores.energy)):
        rank = "" if found.percentile is None else f"{float(found.percentile[k]):.2f}"
        energy, slope = (float(score[k]) for score in (found.scores.energy, found.scores.grad_norm))
        row = [f"{energy:.7g}", f"{slope:.7g}", rank]
        if found.profile is not None and found.rarity is not None:
            row += [f"{float(found.profile[k]):.7g}", f"{float(found.rarity[k]):.2f}"]
        yield row


def csv_of(rows: Iterable[list[str]]) -> str:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue()
