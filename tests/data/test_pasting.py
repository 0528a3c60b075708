"""Restored pixels in their place in the whole picture, and every other pixel as it was, bit for
bit.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from stanley.data.pasting import paste_back
from stanley.data.pictures import central_part, read_mask, read_pictures
from stanley.errors import StanleyError
from tests.seeds import RNG

SHAPE = (3, 8, 10)
SIZES = {"same": (10, 8), "wide": (37, 20), "high": (23, 51), "smaller": (7, 5), "odd": (11, 9)}


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def a_picture(path, size, mode="RGB"):
    x = noise(size[1], size[0]) if mode == "L" else noise(size[1], size[0], 3)
    Image.fromarray(x).save(path)
    return x


@pytest.fixture(params=list(SIZES))
def size(request):
    return SIZES[request.param]


def inside(size):
    """Rows and columns of the pixels that lie wholly in the central part."""
    left, top, right, bottom = central_part(size, SHAPE[2], SHAPE[1])
    rows = slice(math.ceil(top), math.floor(bottom))
    return rows, slice(math.ceil(left), math.floor(right))


def test_one_colour_is_pasted_as_it_is_and_nothing_else_changes(tmp_path, size):
    """Averages and bicubic weights sum to 1, so that one colour stays that colour."""
    x, colour = a_picture(tmp_path / "a.png", size), noise(3)
    restored = np.broadcast_to(colour[:, None, None], SHAPE).copy()
    unknown = RNG.random(SHAPE[1:]) < 0.4
    unknown[3, 3], unknown[4, 4] = True, False
    found = paste_back(tmp_path / "a.png", restored, unknown).pixels
    changed = (found != x).any(-1)
    rows, columns = inside(size)
    assert (found[changed] == colour).all()
    outside = np.ones(changed.shape, bool)
    outside[rows, columns] = False
    assert not changed[outside].any()
    # all of the part: every pixel has the colour, and no pixel outside it
    whole = paste_back(tmp_path / "a.png", restored).pixels
    assert (whole[rows, columns] == colour).all()
    assert (whole[outside] == x[outside]).all()


def test_the_mask_is_the_nearest_pixel_as_in_reading_a_mask(tmp_path, size):
    """A mask of the file's size that is read for the model, pasted by the model's pixels, covers
    what it covered wherever a model's pixel is a block of the file's.
    """
    a_picture(tmp_path / "a.png", size)
    Image.fromarray(np.zeros((size[1], size[0]), np.uint8)).save(tmp_path / "black.png")
    unknown = RNG.random(SHAPE[1:]) < 0.5
    white = np.full((1, *SHAPE[1:]), 255, np.uint8)
    found = paste_back(tmp_path / "black.png", white, unknown).pixels > 127
    rows, columns = inside(size)
    left, top, right, _ = central_part(size, SHAPE[2], SHAPE[1])
    scale = (right - left) / SHAPE[2]
    for i in range(size[1]):
        for j in range(size[0]):
            seen = rows.start <= i < rows.stop and columns.start <= j < columns.stop
            v, u = int((i + 0.5 - top) / scale), int((j + 0.5 - left) / scale)
            assert found[i, j] == (seen and unknown[v, u])


def test_a_mask_of_the_files_size_says_it_pixel_by_pixel(tmp_path, size):
    x = a_picture(tmp_path / "a.png", size)
    unknown = RNG.random((size[1], size[0])) < 0.3
    Image.fromarray(unknown.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    small = read_mask(tmp_path / "mask.png", SHAPE, frozenset([size])).numpy()
    restored = 255 - read_pictures(tmp_path / "a.png", SHAPE, resize=True).images[0].numpy()
    found = paste_back(tmp_path / "a.png", restored, small, tmp_path / "mask.png")
    assert not (found.pixels != x)[~unknown].any()
    rows, columns = inside(size)
    assert found.unseen == unknown.sum() - unknown[rows, columns].sum()
    if size == (10, 8):  # nothing is resized: the restored pixels themselves
        expected = np.where(unknown[..., None], restored.transpose(1, 2, 0), x)
        np.testing.assert_array_equal(found.pixels, expected)
    # negative control: without the mask all of the part is another
    assert (paste_back(tmp_path / "a.png", restored).pixels != x)[~unknown].any()


@pytest.mark.parametrize(
    ("mode", "channels", "kind"),
    [("L", 1, "L"), ("L", 3, "RGB"), ("RGB", 1, "RGB"), ("RGB", 3, "RGB")],
)
def test_grey_and_colour(tmp_path, mode, channels, kind):
    x = a_picture(tmp_path / "a.png", (10, 8), mode)
    restored = noise(channels, 8, 10)
    unknown = np.zeros((8, 10), bool)
    unknown[2:4] = True
    found = paste_back(tmp_path / "a.png", restored, unknown).pixels
    assert found.shape == ((8, 10) if kind == "L" else (8, 10, 3))
    of_file = x if kind == "L" or mode == "RGB" else np.repeat(x[..., None], 3, 2)
    np.testing.assert_array_equal(found[~unknown], of_file[~unknown])
    part = restored.transpose(1, 2, 0)[unknown]  # of a grey model all three colours are the same
    np.testing.assert_array_equal(found[unknown].reshape(len(part), -1) - part, 0)


def test_the_picture_is_turned_as_its_file_says(tmp_path):
    x = noise(12, 10, 3)
    turned = Image.fromarray(x)
    turned.getexif()[274] = 6  # a quarter to the right
    turned.save(tmp_path / "a.png", exif=turned.getexif())
    restored, unknown = noise(3, 10, 12), np.zeros((10, 12), bool)
    unknown[0, 0] = True
    found = paste_back(tmp_path / "a.png", restored, unknown).pixels
    upright = np.rot90(x, -1)
    np.testing.assert_array_equal(found[~unknown], upright[~unknown])
    np.testing.assert_array_equal(found[0, 0], restored[:, 0, 0])


def test_a_picture_that_is_gone_is_one_line(tmp_path):
    with pytest.raises(StanleyError, match=r"a\.png cannot be read any more"):
        paste_back(tmp_path / "a.png", noise(*SHAPE))
