"""What a command on images leaves: arrays, a picture, and a JSON file of how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stanley.cli.names import answer_files, file_name
from stanley.cli.output import show
from stanley.errors import require
from stanley.files import write_json
from stanley.overwriting import make_room

if TYPE_CHECKING:
    from torch import Tensor

    from stanley.cli.images.restored import Restored
    from stanley.models.trained import Trained
    from stanley.plots import Drawing
    from stanley.samplers import ChainInfo
    from stanley.samplers.warm_up import Ready

SHOWN = 8  # images in a picture


@dataclass(frozen=True)
class Answer:
    """Where the files of an answer go, FOLDER/NAME.*, and the request that they answer."""

    folder: Path
    name: str
    asked: dict[str, Any]

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def pictures(self) -> Path:
        """The folder with a picture of every input, where an answer has one."""
        return self.folder / self.name

    def make_room(self, *more: Path) -> None:
        """To be called before the first file is written; `more` is what it has besides its files of
        the usual names.
        """
        from stanley.files import make_folder

        make_folder(self.folder)
        make_room(self.record, self.asked, beside=[*answer_files(self.folder, self.name), *more])

    def report(
        self, result: dict[str, Any], files: list[Path], lines: list[str], as_json: bool
    ) -> None:
        """Write the record and say what was found and written."""
        from stanley.cli.wording import json_ready

        value = json_ready({"asked": self.asked} | result)
        write_json(self.record, value)
        files = [*files, self.record]
        show(
            value | {"files": [str(f) for f in files]},
            as_json,
            [*lines, *(f"wrote {f}" for f in files)],
        )


def made_from(model: Trained) -> dict[str, Any]:
    return {"run": str(model.path), "step": model.step, "weights": model.weights}


def sampler_numbers(ready: Ready, info: ChainInfo) -> dict[str, Any]:
    """The sampler that ran, and what its chains came to."""
    from stanley.cli.wording import sampler_as_json

    return {"sampler": sampler_as_json(ready.sampler)} | ready.numbers(info)


def drawn(draws: Tensor) -> dict[str, Tensor]:
    """At most four draws of each image, as columns."""
    return {f"draw {k + 1}": draws[:, k] for k in range(min(4, draws.shape[1]))}


def restoration(
    model: Trained, asked: dict[str, Any], steps: int, seed: int, folder: Path
) -> Answer:
    """The answer to an inpainting or a denoising, with a name that says of what."""
    use, images = asked["use"], asked["images"]
    noise = f"{'flow' if asked.get('flow') else 'noise'}-{asked.get('noise')}"
    how = Path(asked["mask"]).stem if use == "inpaint" else noise
    of = Path(images[0]).stem if len(images) == 1 else f"{len(images)}-images"
    name = file_name(f"{use}-{of}-{how}-seed{seed}")
    return Answer(folder, name, made_from(model) | asked | {"steps": steps, "seed": seed})


def report_restoration(
    answer: Answer,
    ready: Ready,
    restored: Any,
    columns: dict[str, Tensor],
    scores: dict[str, Any] | None,
    as_json: bool,
    drawing: Drawing,
    psnr: str,
    pictures: Restored,
) -> None:
    """Arrays, pictures, JSON and lines of an inpainting or a denoising; `psnr` names that score in
    the lines.
    """
    import torch

    from stanley.cli.sample_files import write_array
    from stanley.cli.wording import how_it_went
    from stanley.data import to_bytes
    from stanley.plots import picture_table

    folder, name = answer.folder, answer.name
    answer.make_room(answer.pictures)
    lost = int(restored.info.nonfinite.sum())
    table = torch.stack([x[:SHOWN] for x in columns.values()], 1).nan_to_num(0.0)
    figure = picture_table(to_bytes(table).cpu().numpy(), list(columns))
    files = [
        write_array(restored.draws, folder, name),
        write_array(restored.mean, folder, f"{name}-mean"),
        *drawing.write({name: figure}, folder),
    ]
    pasted, wrote = pictures.write(answer.pictures)
    lines = [how_it_went(ready, restored.info)]
    num = len(next(iter(columns.values())))
    if num > SHOWN:
        lines.append(f"the picture shows the first {SHOWN} of {num} images, the arrays all")
    for estimate, row in (scores or {}).items():
        parts = [
            f"{label} {value['mean']:.3f}{unit}"
            + ("" if value["sd"] is None else f" ± {value['sd']:.3f} (sd)")
            for label, value, unit in ((psnr, row["psnr"], " dB"), ("SSIM", row["ssim"], ""))
            if value is not None and value["mean"] is not None
        ]
        lines.append(f"{estimate:<14} {'   '.join(parts)}   n {row['psnr']['n']}")
    if lost:
        lines.append(
            f"{lost} of {len(restored.info.nonfinite)} chains are not finite (drawn as mid-grey);"
            " use a smaller --sampler.step-size, or an adjusted sampler"
        )
    result = sampler_numbers(ready, restored.info) | {"scores": scores}
    result |= {"pictures": [str(file) for file in pasted]}
    answer.report(result, files, [*lines, *wrote], as_json)
    require(
        lost < len(restored.info.nonfinite),
        f"none of the {lost} chains is finite, so nothing was restored; use a smaller"
        f" --sampler.step-size than {float(ready.sampler.step_size):.3g}, or --sampler mala",
    )
