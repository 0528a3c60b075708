"""Pixels land where they should, in the array, in the plain PNG and in the figure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from stanley.plots import image_grid, save, tile, write_grid_png
from stanley.plots.images import SPACE
from tests.seeds import RNG


def some(n, c, h, w):
    return RNG.integers(0, 256, (n, c, h, w), dtype=np.uint8)


def untile(picture: np.ndarray, shape: tuple[int, ...], columns: int, scale: int = 1) -> np.ndarray:
    """The images back, one pixel of each enlarged block."""
    n, c, h, w = shape
    out = np.empty(shape, np.uint8)
    for k in range(n):
        top, left = k // columns * (h * scale + SPACE), k % columns * (w * scale + SPACE)
        block = picture[top : top + h * scale : scale, left : left + w * scale : scale]
        out[k] = block.reshape(h, w, c).transpose(2, 0, 1)
    return out


@pytest.mark.parametrize("shape", [(7, 3, 4, 6), (7, 1, 4, 6), (1, 1, 1, 1)])
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("columns", [1, 3, 9])
def test_tiles_are_the_images(shape, scale, columns):
    x = some(*shape)
    picture = tile(torch.from_numpy(x), columns, scale)
    np.testing.assert_array_equal(untile(picture, shape, min(columns, shape[0]), scale), x)


def test_the_rest_is_white():
    picture = tile(np.zeros((5, 3, 4, 4), np.uint8), columns=3)
    assert picture.shape == (10, 16, 3)
    assert (picture == 0).sum() == 5 * 4 * 4 * 3
    assert (picture == 255).sum() == picture.size - 5 * 4 * 4 * 3


def test_negative_control_transposed_images_are_seen():
    x = some(6, 1, 5, 5)
    picture = tile(x.transpose(0, 1, 3, 2), columns=3)
    assert (untile(picture, x.shape, 3) != x).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_plain_png_is_exact(channels, tmp_path):
    x = some(10, channels, 8, 8)
    path = write_grid_png(x, tmp_path / "grid.png", columns=4, scale=2)
    with Image.open(path) as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        np.testing.assert_array_equal(untile(np.asarray(image), x.shape, 4, 2), x)


@pytest.mark.parametrize(("count", "side"), [(3, 32), (10, 28), (6, 8)])
@pytest.mark.parametrize("title", [None, "Samples"])
def test_the_figure_shows_each_pixel_as_a_whole_block(count, side, title, tmp_path):
    """Crisp: in the saved figure the grid stands exactly, somewhere, enlarged by a whole factor."""
    x = some(count, 3, side, side)
    path = save(image_grid(x, columns=3, title=title), tmp_path / "figure.png")
    expected = tile(x, 3, scale=round(52 / side))
    h, w = expected.shape[:2]
    with Image.open(path) as image:
        shown = np.asarray(image.convert("RGB"))
    assert any(
        np.array_equal(shown[top : top + h, left : left + w], expected)
        for top in range(shown.shape[0] - h + 1)
        for left in range(shown.shape[1] - w + 1)
        if (shown[top, left] == expected[0, 0]).all()
    )
