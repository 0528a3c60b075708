"""What a model made of a picture, put back into the whole picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stanley.data.images import UNREADABLE, eight_bits
from stanley.data.pictures import central_part, is_grey, too_large, what_is_wrong
from stanley.errors import StanleyError

if TYPE_CHECKING:
    from PIL import Image


class Pasted(NamedTuple):
    """A picture (height, width) or (height, width, 3), uint8, and the number of its unknown pixels
    that the model does not see, which are as they were.
    """

    pixels: np.ndarray
    unseen: int


def paste_back(
    file: Path, restored: np.ndarray, unknown: np.ndarray | None = None, mask: Path | None = None
) -> Pasted:
    """The picture in `file` at its own size, with the restored pixels in their place.

    restored   uint8 (C, H, W), of the picture's central part as `read_pictures` resized it
    unknown    bool (H, W), the restored pixels that are pasted; None pastes all of them
    mask       the picture that `unknown` is from, white where a pixel is unknown: where it is as
               large as `file`, it says so pixel by pixel

    The part is resized bicubically where it grows, by averages where it shrinks. All other pixels
    are those of the file, bit for bit, as 8-bit grey or RGB values, with EXIF orientation applied
    and transparency laid on white. What a model of grey pictures restores is grey in a picture in
    colour too. Not true: that the part reaches to its last fraction of a pixel: a pixel of the file
    that it covers in part stays the file's. Raises StanleyError for a file that cannot be read any
    more.
    """
    from PIL import Image

    mode, colours = opened(file)
    channels, height, width = restored.shape
    kind = "L" if channels == 1 and is_grey(mode, colours) else "RGB"
    left, top, right, bottom = central_part(colours.size, width, height)
    x0, y0, x1, y1 = math.ceil(left), math.ceil(top), math.floor(right), math.floor(bottom)
    scale = (right - left) / width
    part = Image.fromarray(restored[0] if channels == 1 else restored.transpose(1, 2, 0))
    resized = part.resize(
        (x1 - x0, y1 - y0),
        Image.Resampling.BICUBIC if scale >= 1 else Image.Resampling.BOX,
        box=((x0 - left) / scale, (y0 - top) / scale, (x1 - left) / scale, (y1 - top) / scale),
    )
    pixels, inside = np.array(colours.convert(kind)), np.asarray(resized.convert(kind))
    whole = None if mask is None else np.asarray(opened(mask)[1].convert("L")) > 127
    if whole is not None and whole.shape == pixels.shape[:2]:
        here, unseen = whole[y0:y1, x0:x1], int(whole.sum() - whole[y0:y1, x0:x1].sum())
    elif unknown is not None:
        rows = nearest(y0, y1, top, scale, height)
        columns = nearest(x0, x1, left, scale, width)
        here, unseen = unknown[np.ix_(rows, columns)], 0
    else:
        here, unseen = np.ones(inside.shape[:2], bool), 0
    pixels[y0:y1, x0:x1][here] = inside[here]
    return Pasted(pixels, unseen)


def nearest(first: int, last: int, start: float, scale: float, n: int) -> np.ndarray:
    """The pixel of the part, 0 to n - 1, in which the centre of each pixel of the file lies."""
    return np.clip(((np.arange(first, last) + 0.5 - start) / scale).astype(int), 0, n - 1)


def opened(file: Path) -> tuple[str, Image.Image]:
    """The mode of a file, and its picture in RGB as `read_pictures` sees it."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return picture.mode, eight_bits(picture, "RGB")
    except (*UNREADABLE, too_large()) as error:
        raise StanleyError(f"{file} cannot be read any more: {what_is_wrong(error)}") from error
