"""Pictures to uint8 squares: area averaging of arrays, and decoding of image files of any mode and
size.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stanley.batches import in_chunks
from stanley.errors import StanleyError
from stanley.progress import terminal

if TYPE_CHECKING:
    from PIL import Image

# What Pillow's decoders raise on damaged files: beside OSError, whatever their parsers trip over.
UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, OverflowError)
UNREADABLE += (struct.error, zlib.error)

ORIENTATION, BITS, PHOTOMETRIC, WHITE_IS_ZERO = 274, 258, 262, 0  # of EXIF and TIFF


def area_downsample(images: Tensor, size: int) -> Tensor:
    """Average over areas: x'_ij = Σ_hw A_ih x_hw A_jw, A_ih = |[i, i+1)·H/size ∩ [h, h+1)|·size/H.

    uint8 (N, C, H, H) -> uint8 (N, C, size, size), rounded. Keeps the mean up to that rounding.
    """
    height = images.shape[-1]
    if size == height:
        return images
    edges = torch.arange(size + 1, dtype=torch.float64) * height / size
    cells = torch.arange(height, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
    a = (overlap.clamp(min=0) * size / height).float()  # (size, H)
    return in_chunks(lambda part: (a @ part.float() @ a.T).round().to(torch.uint8), images, 4096)


def read_square(path: Path, size: int, channels: int) -> np.ndarray:
    """The image's central square, averaged down to uint8 (channels, size, size).

    EXIF orientation is applied, transparency laid on white, 16 bits scaled to 8 by v/257, and
    colours taken to RGB (3 channels) or luma (1).
    """
    from PIL import Image

    with Image.open(path) as opened:
        image = eight_bits(opened, "L" if channels == 1 else "RGB")
    width, height = image.size
    side = min(width, height)
    if side < size:
        raise ValueError(f"is {width}×{height}, smaller than data.size {size}")
    left, top = (width - side) / 2, (height - side) / 2
    square = image.resize(
        (size, size), Image.Resampling.BOX, box=(left, top, left + side, top + side)
    )
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)


def eight_bits(opened: Image.Image, mode: str) -> Image.Image:
    """The picture upright, on white where it is clear, with 8 bits a channel, as 'L' or 'RGB'.

    `opened` comes straight from `Image.open`: what the file says of its bits is lost in a copy.
    """
    from PIL import Image, ImageOps

    if opened.mode == "F":
        raise ValueError("has floating-point pixels, whose scale is unknown")
    clear = clear_colour(opened)  # before the pixels are read: Pillow forgets their bits then
    image = opened
    if opened.mode.startswith("I"):  # 16 bits of grey: "I;16", "I;16B", or "I" from older Pillow
        grey = np.asarray(opened).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(f"has pixels in {grey.min()}..{grey.max()}, beyond 16 bits")
        tags = getattr(opened, "tag_v2", {})  # of a TIFF
        # 12 bits come as they are
        grey = grey * 65535 // (2 ** min(tags.get(BITS, (16,))[0], 16) - 1)
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow inverts 8 bits only
            grey = 65535 - grey
        if clear is not None:
            grey[grey == clear] = 65535
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    elif "A" in opened.mode.upper().replace("LAB", "") or clear is not None:
        opened.load()
        if clear is not None:
            opened.info["transparency"] = clear
        pixels = opened.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels)
    turn = opened.getexif().get(ORIENTATION)
    if turn is not None and image is not opened:
        image.getexif()[ORIENTATION] = turn
    return ImageOps.exif_transpose(image).convert(mode)


def clear_colour(opened: Image.Image) -> Any:
    """What the file says is clear, in the numbers that its pixels are decoded to; None where
    nothing is.

    A PNG says it in its own bits, Pillow hands that on as it is, but stretches 2 and 4 bits to 8
    and cuts 16 bits of a colour to their upper 8 (colours that differ below these cannot be told
    apart then).
    """
    clear, tiles = opened.info.get("transparency"), getattr(opened, "tile", [])
    raw = tiles[0].args if tiles else ""
    raw = raw if isinstance(raw, str) else raw[0] if raw else ""
    # of a palette: an opacity for each of its colours
    if clear is None or isinstance(clear, bytes):
        return clear
    if raw in ("L;2", "L;4"):
        return clear * 255 // (2 ** int(raw[2]) - 1)
    return tuple(part >> 8 for part in clear) if raw == "RGB;16B" else clear


def read_squares(paths: Sequence[Path], out: np.ndarray, source: str) -> dict[int, str]:
    """out[i] = the square of paths[i], for uint8 `out` of shape (N, channels, size, size).

    Returns why each picture that cannot be used cannot, by its place in `paths`; its row of `out`
    is not filled.
    """
    from PIL import Image
    from rich.progress import track

    _, channels, size, _ = out.shape

    def attempt(i: int) -> str | None:
        try:
            out[i] = read_square(paths[i], size, channels)
        except (*UNREADABLE, Image.DecompressionBombError) as error:
            return f"{paths[i]} {' '.join(str(error).split()) or type(error).__name__}"
        return None

    quiet: dict[str, Any] = {"console": terminal(), "disable": not sys.stderr.isatty()}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        tried = track(
            pool.map(attempt, range(len(paths))), f"reading {source}", len(paths), **quiet
        )
        return {i: reason for i, reason in enumerate(tried) if reason is not None}


def refuse(bad: dict[int, str], total: int) -> None:
    """One error that names the first five pictures that cannot be used."""
    raise StanleyError(
        f"{len(bad)} of {total} images cannot be used: {named(bad)}; "
        "remove or replace them, or lower data.size if they are too small"
    )


def named(bad: dict[int, str]) -> str:
    reasons = sorted(bad.values())
    return "; ".join(reasons[:5]) + (f"; and {len(bad) - 5} more" if len(bad) > 5 else "")
