"""What a command on images leaves: arrays, a picture, and a JSON file of how they were made, never over another's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stanley.cli.names import file_name
from stanley.cli.output import show
from stanley.cli.overwriting import claim
from stanley.errors import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from stanley.models.trained import Trained
    from stanley.samplers.warm_up import Ready

SHOWN = 8  # images in a picture


def made_from(model: Trained) -> dict[str, Any]:
    return {"run": str(model.path), "step": model.step, "weights": model.weights}


def sampler_asked(ready: Ready, fields: Sequence[str]) -> dict[str, Any]:
    from stanley.cli.wording import sampler_as_json

    return {"sampler": sampler_as_json(ready.sampler), "sampler_flags": list(fields)}


def drawn(draws: Tensor) -> dict[str, Tensor]:
    """At most four draws of each image, as columns."""
    return {f"draw {k + 1}": draws[:, k] for k in range(min(4, draws.shape[1]))}


def settle(
    model: Trained, ready: Ready, asked: dict[str, Any], steps: int, seed: int, folder: Path
) -> tuple[Path, str, dict[str, Any]]:
    """Folder, name and request of an answer whose files may be written."""
    asked = made_from(model) | asked | {"steps": steps, "seed": seed} | sampler_asked(ready, ())
    use = asked["use"]
    what = Path(asked["mask"]).stem if use == "inpaint" else f"{'flow' if asked['flow'] else 'noise'}-{asked['noise']}"
    first = Path(asked["images"][0]).stem if len(asked["images"]) == 1 else f"{len(asked['images'])}-images"
    name = file_name(f"{use}-{first}-{what}-seed{seed}")
    claim(folder, name, asked)
    return folder, name, asked


def finish(
    answer: tuple[Path, str, dict[str, Any]],
    ready: Ready,
    restored: Any,
    columns: dict[str, Tensor],
    scores: dict[str, Any] | None,
    as_json: bool,
    said: str,
) -> None:
    """Arrays, picture, JSON and lines of an inpainting or a denoising."""
    import torch

    from stanley.cli.sample_files import write_array
    from stanley.cli.wording import how_it_went
    from stanley.data import to_bytes
    from stanley.plots import picture_table, save

    folder, name, asked = answer
    lost = int(restored.info.nonfinite.sum())
    table = torch.stack([x[:SHOWN] for x in columns.values()], 1).nan_to_num(0.0)
    files = [
        write_array(restored.draws, folder, name),
        write_array(restored.mean, folder, f"{name}-mean"),
        save(picture_table(to_bytes(table).cpu().numpy(), list(columns)), folder / f"{name}.png"),
    ]
    lines = [how_it_went(ready, restored.info)]
    num = len(next(iter(columns.values())))
    if num > SHOWN:
        lines.append(f"the picture shows the first {SHOWN} of {num} images, the arrays all")
    for estimate, row in (scores or {}).items():
        parts = [
            f"{label} {value['mean']:.3f}{unit}" + ("" if value["sd"] is None else f" ± {value['sd']:.3f} (sd)")
            for label, value, unit in ((said, row["psnr"], " dB"), ("SSIM", row["ssim"], ""))
            if value is not None and value["mean"] is not None
        ]
        lines.append(f"{estimate:<14} {'   '.join(parts)}   n {row['psnr']['n']}")
    if lost:
        lines.append(
            f"{lost} of {len(restored.info.nonfinite)} chains are not finite (drawn as mid-grey); use a smaller "
            "--sampler.step-size, or an adjusted sampler"
        )
    report(folder, name, asked, ready.numbers(restored.info) | {"scores": scores}, files, lines, as_json)
    require(
        lost < len(restored.info.nonfinite),
        f"none of the {lost} chains is finite, so nothing was restored; use a smaller --sampler.step-size than "
        f"{float(ready.sampler.step_size):.3g}, or --sampler mala",
    )


def report(
    folder: Path,
    name: str,
    asked: dict[str, Any],
    result: dict[str, Any],
    files: list[Path],
    lines: list[str],
    as_json: bool,
) -> None:
    from stanley.cli.wording import json_ready
    from stanley.files import write_json

    value = json_ready({"asked": asked} | result)
    write_json(folder / f"{name}.json", value)
    files = [*files, folder / f"{name}.json"]
    show(value | {"files": [str(f) for f in files]}, as_json, [*lines, *(f"wrote {f}" for f in files)])
