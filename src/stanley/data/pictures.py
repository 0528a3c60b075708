"""A user's pictures as images of one shape: one file, or a folder in which some files may be
damaged.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stanley.data.folder import SUFFIXES
from stanley.data.images import UNREADABLE, eight_bits
from stanley.errors import StanleyError, require

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 50_000_000  # of a picture that was sent
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes without colour


@dataclass(frozen=True)
class Pictures:
    """uint8 images (N, C, H, W), the files they are from, and why each other file was left out."""

    images: Tensor
    files: tuple[Path, ...]
    skipped: tuple[str, ...]
    # (width, height) that the files have, EXIF orientation applied
    sizes: frozenset[tuple[int, int]]
    unfit: int  # of the skipped ones, those that resizing would fit


def read_pictures(path: Path, shape: tuple[int, ...], *, resize: bool = False) -> Pictures:
    """A picture, or every picture directly in a folder, in the order of their names, as images of
    `shape` (C, H, W).

    Without `resize` a picture must have H×W pixels, and colours where C = 3 and none where C = 1.
    With `resize` the largest central part of the same proportions is averaged down, or enlarged
    bicubically, and colours become luma or grey becomes RGB. EXIF orientation is applied and
    transparency laid on white, as for training data.

    In a folder a file that is damaged, or of another size or mode, is skipped and named with the
    reason. Raises StanleyError where nothing is left, or where the one picture cannot be used.
    """
    require(
        len(shape) == 3,
        f"the model knows points of shape {shape}, not images: pictures are for image models",
    )
    require(path.exists(), f"{path}: no such file or folder; give a picture, or a folder of them")
    files = [path] if path.is_file() else pictures_in(path)
    images, used, skipped, sizes, unfit = [], [], [], set(), 0
    damaged = (*UNREADABLE, too_large())
    for file in files:
        try:
            with warnings.catch_warnings(record=True) as oddities:  # Pillow's, which name no file
                warnings.simplefilter("always")
                image, size = read_picture(file, shape, resize)
        except Unfit as error:
            if path.is_file():
                raise StanleyError(f"{file} {error}; --resize fits it to the model") from None
            skipped.append(f"{file.name} {error}")
            unfit += 1
        except damaged as error:
            skipped.append(f"{file.name}: {what_is_wrong(error)}")
        else:
            images.append(image)
            used.append(file)
            sizes.add(size)
            if oddities:
                warnings.warn(
                    f"{file.name}: {' '.join(str(oddities[0].message).split())}", stacklevel=2
                )
    if not images:
        more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        cure = "replace them" if not unfit else "--resize fits sizes and colours to the model"
        raise StanleyError(
            f"{path}: none of {len(files)} pictures can be used: {'; '.join(skipped[:3])}{more};"
            f" {cure}"
        )
    return Pictures(
        torch.from_numpy(np.stack(images)), tuple(used), tuple(skipped), frozenset(sizes), unfit
    )


def read_sent_picture(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """A picture that was sent, fitted to `shape` as `read_pictures` does with `resize`: uint8
    (C, H, W). Raises StanleyError for what is no picture, and for more than `MOST_PIXELS`.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities of a file that nobody here can mend
            with Image.open(io.BytesIO(content)) as opened:
                width, height = opened.size
            require(
                width * height <= MOST_PIXELS,
                f"the picture has {width}×{height} pixels, at most {MOST_PIXELS:,} are read; make "
                "it smaller",
            )
            return read_picture(io.BytesIO(content), shape, resize=True)[0]
    except StanleyError:
        raise
    except (*UNREADABLE, too_large()) as error:
        raise StanleyError(
            f"the picture cannot be read: {what_is_wrong(error)}; send a PNG or a JPEG"
        ) from error


def what_is_wrong(error: Exception) -> str:
    """Pillow's reason, without the path that it repeats."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or damaged"
    reason = getattr(error, "strerror", None) or str(error)
    return " ".join(reason.split()) or type(error).__name__


def pictures_in(folder: Path) -> list[Path]:
    files = sorted(
        f
        for f in folder.iterdir()
        if f.is_file() and f.suffix.lower() in SUFFIXES and not f.name.startswith(".")
    )
    require(files, f"{folder} holds no picture; looked for {' '.join(SUFFIXES)} directly in it")
    return files


def too_large() -> type[Exception]:
    from PIL import Image

    return Image.DecompressionBombError


class Unfit(ValueError):
    """A whole picture, of another size or mode than asked for."""


def read_picture(
    file: Path | io.BytesIO, shape: tuple[int, ...], resize: bool
) -> tuple[np.ndarray, tuple[int, int]]:
    """uint8 (C, H, W), and the width and height that the file has."""
    from PIL import Image

    channels, height, width = shape
    with Image.open(file) as opened:
        mode, colours = opened.mode, eight_bits(opened, "RGB")
    grey = is_grey(mode, colours)
    image = colours.convert("L") if channels == 1 else colours
    size = image.size
    if not resize:
        if grey != (channels == 1):
            known = "grey" if channels == 1 else "colour"
            raise Unfit(
                f"is {'grey' if grey else 'in colour'} (mode {mode}), the model knows {known}"
                " images"
            )
        if size != (width, height):
            raise Unfit(
                f"has {image.width}×{image.height} pixels, the model knows {width}×{height}"
            )
    elif size != (width, height):
        kind = (
            Image.Resampling.BOX
            if min(size[0] / width, size[1] / height) >= 1
            else Image.Resampling.BICUBIC
        )
        image = image.resize((width, height), kind, box=central_part(size, width, height))
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1), size


def is_grey(mode: str, colours: Image.Image) -> bool:
    """By its mode, with a palette by the colours that are seen."""
    if mode not in ("P", "PA"):
        return mode in GREY
    red, green, blue = np.moveaxis(np.asarray(colours), -1, 0)
    return bool((red == green).all() and (green == blue).all())


def central_part(
    size: tuple[int, int], width: int, height: int
) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the largest part of the proportions width :
    height in the middle.
    """
    part = min(size[0] / width, size[1] / height)
    w, h = part * width, part * height
    left, top = (size[0] - w) / 2, (size[1] - h) / 2
    return left, top, left + w, top + h


def read_mask(
    file: Path, shape: tuple[int, ...], sizes: Collection[tuple[int, int]] = ()
) -> Tensor:
    """A picture as a mask (H, W): unknown where it is lighter than mid-grey.

    It has the images' size, or that of the pictures they were resized from, one for all (`sizes`,
    empty where none was resized): then it is cut like them, and each pixel is the nearest one of
    the file, so that it stays 0 or 1.
    """
    from PIL import Image

    require(
        file.is_file(),
        f"--mask {file}: no such file; give a picture, four numbers left,top,width,height, or"
        " left-half, right-half, top-half, bottom-half",
    )
    height, width = shape[-2:]
    try:
        with Image.open(file) as opened:
            mask = eight_bits(opened, "L")
    except (*UNREADABLE, too_large()) as error:
        raise StanleyError(
            f"--mask {file} cannot be read as a picture: {' '.join(str(error).split())}"
        ) from error
    if mask.size != (width, height):
        from_one = (
            [f", resized from {w}×{h}; make it one of these sizes" for w, h in sizes]
            if len(sizes) == 1
            else []
        )
        require(
            set(sizes) == {mask.size},
            f"--mask {file} has {mask.width}×{mask.height} pixels, the images have {width}×{height}"
            f"{from_one[0] if from_one else '; make it that size'}, white where a pixel is unknown",
        )
        mask = mask.resize(
            (width, height), Image.Resampling.NEAREST, box=central_part(mask.size, width, height)
        )
    return torch.from_numpy(np.asarray(mask) > 127)
