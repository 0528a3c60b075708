"""A picture file for every picture that was restored."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stanley.cli.names import file_name
from stanley.errors import require

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Restored(NamedTuple):
    """One picture for each input, and where it is pasted.

    images    (N, C, H, W), points of the model
    of_what   what each is, in words: a draw, the mean, …
    names     the files they are from, or what stands for them
    paste     whether each is put back into its file
    unknown   (H, W) bool, the pixels that were restored; None for all
    mask      the picture of the mask, where it is one
    """

    images: Tensor
    of_what: str
    names: list[str]
    paste: bool
    unknown: Tensor | None = None
    mask: Path | None = None

    def write(self, folder: Path) -> tuple[list[Path], list[str]]:
        """FOLDER/NAME.png for each that is finite; the files, and what there is to say of them."""
        from stanley.data import to_bytes
        from stanley.data.pasting import paste_back
        from stanley.files import make_folder, write_atomic

        make_folder(folder)
        finite = self.images.flatten(1).isfinite().all(1).tolist()
        pixels = to_bytes(self.images.nan_to_num(0.0)).cpu().numpy()
        unknown = None if self.unknown is None else self.unknown.cpu().numpy()
        files, unseen = [], 0
        for path, name, image, good in zip(
            file_names(folder, self.names), self.names, pixels, finite, strict=True
        ):
            if not good:
                continue
            if self.paste:
                found = paste_back(Path(name), image, unknown, self.mask)
                unseen += found.unseen
                content = png(found.pixels)
            else:
                content = png(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
            write_atomic(path, content)
            files.append(path)
        lost = len(finite) - len(files)
        more = [f"{lost} of {len(finite)} pictures are not finite, and not written"] if lost else []
        if unseen:
            more.append(
                f"{unseen:,} unknown pixels lie outside the central part of the pictures that the "
                "model sees, and are as they were"
            )
        what = f"{self.of_what}{', in the original' if self.paste else ''}"
        where = files[0] if len(files) == 1 else folder
        number = "" if len(files) == 1 else f"{len(files)} pictures "
        return files, [*more, *([f"wrote {number}{where} ({what})"] if files else [])]


def first_finite(draws: Tensor) -> Tensor:
    """One draw of each image, (N, n, *event) to (N, *event): the first finite one, if any."""
    good = draws.flatten(2).isfinite().all(2)  # (N, n)
    first = good.int().argmax(1)
    return draws[range(len(draws)), first]


def require_files(paste: bool, held_out: int | None) -> None:
    require(
        not paste or held_out is None,
        "--paste-back puts pictures back into their files, and --held-out takes images of the "
        "run's data; name a picture or a folder, or leave it out",
    )


def file_names(folder: Path, names: list[str]) -> list[Path]:
    """FOLDER/STEM.png of each name, with the whole name where two have one stem."""
    stems = [file_name(Path(name).stem) for name in names]
    found: dict[str, Path] = {}
    for name, stem in zip(names, stems, strict=True):
        short = stem if stems.count(stem) == 1 else file_name(Path(name).name)
        k = 1
        while (chosen := short if k == 1 else f"{short}-{k}") in found:
            k += 1
        found[chosen] = folder / f"{chosen}.png"
    return list(found.values())


def png(pixels: np.ndarray) -> bytes:
    """uint8 (height, width) or (height, width, 3) as a file."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()
