"""A user's pictures as images of one shape: one file, or a folder in which some files may be damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stanley.data.folder import SUFFIXES
from stanley.data.images import UNREADABLE, eight_bits
from stanley.errors import StanleyError, require

GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes without colour


@dataclass(frozen=True)
class Pictures:
    """uint8 images (N, C, H, W), the files they are from, and why each other file was left out."""

    images: Tensor
    files: tuple[Path, ...]
    skipped: tuple[str, ...]


def read_pictures(path: Path, shape: tuple[int, ...], *, resize: bool = False) -> Pictures:
    """A picture, or every picture directly in a folder, in the order of their names, as images of `shape` (C, H, W).

    Without `resize` a picture must have H×W pixels, and colours where C = 3 and none where C = 1. With `resize` the
    largest central part of the same proportions is averaged down, or enlarged bicubically, and colours become luma or
    grey becomes RGB. EXIF orientation is applied and transparency laid on white, as for training data.

    In a folder a damaged file is skipped and named; a readable one of another size or mode is an error, since it says
    that the folder is not what the model expects. Raises StanleyError where nothing is left.
    """
    require(len(shape) == 3, f"the model knows points of shape {shape}, not images: pictures are for image models")
    require(path.exists(), f"{path}: no such file or folder; give a picture, or a folder of them")
    files = [path] if path.is_file() else pictures_in(path)
    images, used, skipped = [], [], []
    damaged = (*UNREADABLE, too_large())
    for file in files:
        try:
            images.append(read_picture(file, shape, resize))
            used.append(file)
        except Unfit as error:
            raise StanleyError(str(error)) from None
        except damaged as error:
            skipped.append(f"{file.name}: {what_is_wrong(error)}")
    if not images:
        more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        raise StanleyError(
            f"{path}: none of {len(files)} pictures can be read: {'; '.join(skipped[:3])}{more}; replace them"
        )
    return Pictures(torch.from_numpy(np.stack(images)), tuple(used), tuple(skipped))


def what_is_wrong(error: Exception) -> str:
    """Pillow's reason, without the path that it repeats."""
    told = " ".join(str(error).split()) or type(error).__name__
    return "not a picture, or damaged" if "cannot identify" in told else told


def pictures_in(folder: Path) -> list[Path]:
    files = sorted(
        f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in SUFFIXES and not f.name.startswith(".")
    )
    require(files, f"{folder} holds no picture; looked for {' '.join(SUFFIXES)} directly in it")
    return files


def too_large() -> type[Exception]:
    from PIL import Image

    return Image.DecompressionBombError


class Unfit(ValueError):
    """A whole picture, of another size or mode than asked for."""


def read_picture(file: Path, shape: tuple[int, ...], resize: bool) -> np.ndarray:  # uint8 (C, H, W)
    from PIL import Image, ImageOps

    channels, height, width = shape
    with Image.open(file) as opened:
        turned = ImageOps.exif_transpose(opened)
        grey = turned.mode in GREY
        image = eight_bits(turned, "L" if channels == 1 else "RGB")
    if not resize:
        if grey != (channels == 1):
            raise Unfit(
                f"{file} is {'grey' if grey else 'in colour'} (mode {turned.mode}), the model knows "
                f"{'grey' if channels == 1 else 'colour'} images; --resize converts it"
            )
        if image.size != (width, height):
            raise Unfit(
                f"{file} has {image.width}×{image.height} pixels, the model knows {width}×{height}; --resize fits it"
            )
    elif image.size != (width, height):
        part = min(image.width / width, image.height / height)
        w, h = part * width, part * height
        left, top = (image.width - w) / 2, (image.height - h) / 2
        kind = Image.Resampling.BOX if part >= 1 else Image.Resampling.BICUBIC
        image = image.resize((width, height), kind, box=(left, top, left + w, top + h))
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def read_mask(file: Path, shape: tuple[int, ...]) -> Tensor:
    """A picture as a mask (H, W): unknown where it is lighter than mid-grey."""
    from PIL import Image

    require(
        file.is_file(),
        f"--mask {file}: no such file; give a picture, four numbers left,top,width,height, or left-half, right-half, "
        "top-half, bottom-half",
    )
    height, width = shape[-2:]
    try:
        with Image.open(file) as opened:
            luma = np.asarray(eight_bits(opened, "L"))
    except (*UNREADABLE, too_large()) as error:
        raise StanleyError(f"--mask {file} cannot be read as a picture: {' '.join(str(error).split())}") from error
    require(
        luma.shape == (height, width),
        f"--mask {file} has {luma.shape[1]}×{luma.shape[0]} pixels, the images have {width}×{height}; make it that "
        "size, white where a pixel is unknown",
    )
    return torch.from_numpy(luma > 127)
