"""What a command on images was asked: which model, which pictures, which mask, which sampler."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stanley.cli.flags import NOTHING, OwnFlags
from stanley.cli.names import folder_for
from stanley.cli.output import say
from stanley.cli.values import whole_number
from stanley.errors import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from stanley.cli.flags import Weights
    from stanley.data.table import Table
    from stanley.models.trained import Trained
    from stanley.samplers.warm_up import Ready
    from stanley.types import Energy

NAMED = 10  # skipped files or rows that a warning names


def model_of(
    run: Path | None,
    pretrained: str | None,
    weights: Weights | None,
    device: str,
    own: OwnFlags = NOTHING,
    data_root: str | None = None,
    needs_data: bool = False,
) -> Trained:
    """A run's newest checkpoint, or a shipped model; one of the two. `own` names the code of the
    user's own that a run needs.
    """
    from stanley.cli.own import parts_of
    from stanley.models.trained import load

    require(
        run is None or pretrained is None,
        f"both a run ({run}) and --pretrained {pretrained} are given; give one",
    )
    if pretrained is not None:
        from stanley.models.packing import pretrained as shipped

        require(
            weights is None,
            f"--weights {weights} changes nothing here: only a run has averaged and raw weights",
        )
        return shipped(pretrained, device=device)
    require(run is not None, "give a run directory, or --pretrained NAME")
    assert run is not None
    parts = parts_of(run, own, data_root, needs_data=needs_data)
    return load(run, weights=weights or "average", device=device, **parts)


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Positional words, and the flags of the sampler, each with its value."""
    positional, fields, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            positional.append(word)
            continue
        fields.append(word)
        if "=" not in word and rest:
            fields.append(rest.pop(0))
    return positional, fields


def refuse_flags(words: Sequence[str], command: str, why: str) -> None:
    """The command runs no chain: flags of a sampler, and of other commands,
    would change nothing.
    """

    flags = split_words(words)[1]
    flag = flags[0].partition("=")[0] if flags else ""
    require(
        not flags,
        f"{command} has no {flag}: it {why}; leave it out (stanley {command} --help lists its"
        " flags)",
    )


def request(
    words: Sequence[str],
    names: tuple[str, ...],
    pretrained: str | None,
    held_out: int | None,
    weights: Weights | None,
    device: str,
    data_root: str | None = None,
    own: OwnFlags = NOTHING,
    needs_data: bool = False,
) -> tuple[Trained, list[Path | None], list[str]]:
    """The model, the paths that `names` stand for (None each where --held-out takes their place),
    sampler's flags.
    """
    from stanley.cli.own import sampler_named
    from stanley.models.trained import with_data_at

    given, fields = split_words(words)
    paths = [] if held_out is not None else list(names)
    wanted = [*([] if pretrained is not None else ["RUN"]), *paths]
    require(
        len(given) == len(wanted),
        f"{len(given)} names were given ({' '.join(given) or 'none'}), must be {len(wanted)}:"
        f" {' '.join(wanted)}",
    )
    run = None if pretrained is not None else Path(given.pop(0))
    if run is not None:
        sampler, rest = sampler_named(run, fields)
        own, fields = own._replace(sampler=sampler), list(rest)
    needs_data = needs_data or held_out is not None
    model = model_of(run, pretrained, weights, device, own, data_root, needs_data)
    model = with_data_at(model, None if model.data is not None else data_root)
    return model, [Path(word) for word in given] if given else [None] * len(names), fields


class Chosen(NamedTuple):
    """The images that a command is given."""

    images: Tensor  # points (N, *event) on the model's device
    origin: dict[str, Any]  # what to write down about where they come from
    resized_from: frozenset[tuple[int, int]]  # widths and heights, none without --resize


def images_of(model: Trained, source: Path | None, held_out: int | None, resize: bool) -> Chosen:
    from stanley.data import centre
    from stanley.data.pictures import read_pictures
    from stanley.models.trained import held_out_images

    require(
        model.is_image,
        f"the model knows points of shape {model.event_shape} of numbers, not images of bytes; in "
        "Python stanley.uses takes them as they are",
    )
    if held_out is not None:
        require(held_out >= 1, f"--held-out is {held_out}, must be at least 1")
        require(not resize, "--resize changes nothing for --held-out images; leave it out")
        x, names, skipped = (
            held_out_images(model, held_out),
            [f"held-out {k}" for k in range(held_out)],
            [],
        )
        sizes = frozenset()
        require(
            len(x) == held_out,
            f"--held-out is {held_out}, the data hold {len(x)} held-out images; ask for fewer",
        )
    else:
        assert source is not None
        found = read_pictures(source, model.event_shape, resize=resize)
        x = centre(found.images).to(model.device)
        names, skipped = [str(f) for f in found.files], list(found.skipped)
        sizes = found.sizes if resize else frozenset()
        if skipped:
            reasons = "; ".join(skipped[:NAMED])
            more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
            cure = "; --resize fits sizes and colours" if found.unfit else ""
            say(
                f"warning: skipped {len(skipped)} of {len(names) + len(skipped)} files: "
                f"{reasons}{more}{cure}"
            )
    digest = hashlib.sha256(x.cpu().numpy().tobytes()).hexdigest()[:16]
    return Chosen(x, {"images": names, "sha256": digest, "skipped": skipped}, sizes)


class Vectors(NamedTuple):
    """The rows that a command is given, as training would see them."""

    points: Tensor  # (N, d) on the model's device, standardised where training's were
    table: Table  # the rows that are scored, as they stand in the file
    origin: dict[str, Any]  # what to write down about where they come from


def vectors_of(model: Trained, source: Path) -> Vectors:
    """The rows of a .csv, .tsv, .npy or .npz file as points of the model; of points with several
    axes the array (N, *event), which the table holds in rows.

    Columns are found by their names where the run's data and the file have some; else the file has
    as many as the model, or those numbers that the run took of its own. Rows with a value that is
    missing or not finite are named and skipped.
    """
    import numpy as np
    import torch

    from stanley.data.table import Table, chosen_columns

    event, spec = model.event_shape, model.config.data
    require(source.is_file(), f"{source} is not a file; give a .csv, .npy or .npz file of vectors")
    table = table_of(model, source)
    rows = table.rows
    require(
        rows.ndim == 1 + len(event) and rows.shape[2:] == event[1:] and rows.dtype.kind in "fiu",
        f"{source} holds {rows.dtype} {rows.shape}, but must hold "
        f"{'vectors' if len(event) == 1 else 'points'} (N, {', '.join(map(str, event))}) as the "
        "model knows them",
    )
    chosen = getattr(spec, "chosen", None)
    if rows.shape[1] > event[0] and chosen is not None and table.columns is None:
        rows = rows[:, chosen_columns(source, None, rows.shape[1], chosen)]
    require(
        rows.shape[1:] == event,
        f"{source} has {rows.shape[1]} columns, the model knows {event[0]}"
        + ("" if model.columns is None else f": {', '.join(model.columns)}"),
    )
    rows = rows.reshape(len(rows), -1).astype(np.float64)
    good = np.isfinite(rows).all(1)
    skipped = [
        f"{table.row_name(int(k))}: a value is missing, NaN or infinite"
        for k in np.flatnonzero(~good)
    ]
    require(good.any(), f"{source} has no row without a value that is missing, NaN or infinite")
    if skipped:
        more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
        say(
            f"warning: skipped {len(skipped)} of {len(rows)} rows: "
            f"{'; '.join(skipped[:NAMED])}{more}"
        )
    lines = np.arange(len(rows)) if table.lines is None else np.asarray(table.lines)
    kept = Table(rows[good], model.columns or table.columns, lines[good].tolist())
    digest = hashlib.sha256(np.ascontiguousarray(kept.rows).tobytes()).hexdigest()[:16]
    x = torch.from_numpy(kept.rows).view(-1, *event)
    points = model.standardise(x).float().to(model.device)
    return Vectors(points, kept, {"rows": len(kept.rows), "sha256": digest, "skipped": skipped})


def table_of(model: Trained, source: Path) -> Table:
    """The numbers of the file, of the model's columns alone where both have names."""
    from stanley.data.array import read_array
    from stanley.data.table import first_cells, is_table

    spec = model.config.data
    if not is_table(source):
        key = getattr(spec, "key", None) if source.suffix.lower() == ".npz" else None
        return read_array(source, key)
    header: bool | None = getattr(spec, "header", None)
    if model.columns is None:
        return read_array(source, header=header)
    there = first_cells(source)
    missing = [name for name in model.columns if name not in there]
    if not missing:
        return read_array(source, header=True, columns=model.columns)
    table = read_array(source, header=header)
    require(
        table.columns is None,
        f"{source} has no column {missing[0]!r}, which the run was trained on; its columns:"
        f" {', '.join(there)}",
    )
    return table


def mask_of(text: str, shape: tuple[int, ...], resized_from: frozenset[tuple[int, int]]) -> Tensor:
    """A picture's path, `left,top,width,height`, or a half."""
    from stanley.data.pictures import read_mask
    from stanley.uses import box_mask, half_mask

    if (file := file_of_mask(text)) is not None:
        return read_mask(file, shape, resized_from)
    if "," not in text:
        return half_mask(text, (shape[-2], shape[-1]))
    left, top, width, height = (whole_number(part.strip()) or 0 for part in text.split(","))
    return box_mask(left, top, width, height, (shape[-2], shape[-1]))


def file_of_mask(text: str) -> Path | None:
    """The picture of a mask; None for a half or four numbers."""
    from stanley.uses.masks import HALVES

    corners = [whole_number(part.strip()) for part in text.split(",")]
    is_box = len(corners) == 4 and None not in corners
    return None if text in HALVES or is_box else Path(text)


def home(model: Trained, pretrained: str | None, what: str) -> Path:
    """Where answers go unless --out says: into the run; a shipped model is not written to."""
    return folder_for(what, pretrained or "", model.path if pretrained is None else None)


def prepare(
    model: Trained,
    fields: Sequence[str],
    potential: Energy,
    x0: Tensor,
    steps: int,
    generator: Generator,
    *,
    tune: bool = False,
) -> tuple[Ready, dict[str, Any]]:
    """The run's sampler, or what the flags make of it, and what was asked for; a warm-up only where
    its step size is to be found."""
    from stanley.cli.what_to_sample import sampler_of
    from stanley.cli.wording import sampler_as_json
    from stanley.samplers.run import potential_for
    from stanley.samplers.warm_up import warm_up

    sampler, unknown = sampler_of(model.sampler, fields)
    potential = potential_for(sampler, potential)
    tune = tune or unknown
    steps = steps if tune else 0
    asked = {"sampler": sampler_as_json(sampler), "tune": tune, "warm_up": steps}
    return warm_up(sampler, potential, x0, steps, generator=generator, tune=tune), asked
