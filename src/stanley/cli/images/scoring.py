"""stanley ood: how far outside the training data pictures lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stanley.cli.flags import DataRoot, Device, Json, Pretrained, Resize, WeightsOfRun
from stanley.cli.images.answer import made_from, report
from stanley.cli.images.request import held_out_images, home, images_of, refuse_flags, request
from stanley.cli.overwriting import claim
from stanley.errors import StanleyError, require

if TYPE_CHECKING:
    from torch import Tensor


def ood(
    *words: Annotated[
        str, Parameter(name="RUN FOLDER", allow_leading_hyphen=True, help="A run, and a picture or a folder of them.")
    ],
    out: Annotated[
        Path | None, Parameter(help="CSV file; RUN/ood/FOLDER.csv, or ood/NAME/FOLDER.csv of --pretrained NAME.")
    ] = None,
    against: Annotated[
        str | None,
        Parameter(
            help="What counts as inside: held-out, or a folder. Adds AUROC, AUPR and FPR at 95 % of FOLDER against it."
        ),
    ] = None,
    resize: Resize = False,
    pretrained: Pretrained = None,
    data_root: DataRoot = None,
    weights: WeightsOfRun = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Score pictures by how far outside the training data they lie: a CSV of file, energy, gradient norm, percentile.

    The percentile is among (at most 2,000) held-out data of the run, where its data are at hand. Files that are
    damaged, or of another size or mode, are named and skipped. Higher is more outside.
    """  # fmt: skip
    import csv
    import io

    from stanley.cli.sample_files import make_folder
    from stanley.files import write_atomic
    from stanley.plots import energy_histograms, save
    from stanley.uses import percentile, score

    refuse_flags(words, "ood", "scores picture files and runs no chain")
    model, (source,), _ = request(words, ("FOLDER",), pretrained, None, weights, device, data_root)
    images, origin, _ = images_of(model, source, None, resize)
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
        others, other_origin, _ = images_of(model, Path(against), None, resize)
        inside = score(model.potential, others)
    if against is not None:
        assert inside is not None
        fewest = min(len(images), len(inside.energy))
        require(fewest >= 2, f"{fewest} picture on one side of --against {against}, AUROC needs 2 on each; add some")
    percent = None if reference is None else percentile(scores.energy, reference.energy)

    out = out or home(model, pretrained, "ood") / f"{source.stem if source else 'images'}.csv"
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

    n = None if reference is None else len(reference.energy)
    result: dict[str, Any] = {"skipped": origin["skipped"], "n_held_out": n, "no_held_out": why}
    lines = [f"{len(images)} scored, {len(origin['skipped'])} skipped"]
    lines.append(f"no percentiles: {why}" if why else f"percentiles among {n} held-out images")
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
