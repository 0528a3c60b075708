"""Breakages of the readers of data."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "data/base.py",
        "data/test_data_mnist.py",
        ("every class but one", "rows[labels == label]", "rows[labels != label]"),
    ),
    *breakages(
        "data/pictures.py",
        "cli/test_images.py",
        (
            "masks are not cut",
            "Image.Resampling.NEAREST, box=central_part(mask.size, width, height)",
            "0",
        ),
        ("palettes are coloured", '("P", "PA")', "()"),
        (
            "a palette's greens do not count",
            "(red == green).all() and (green == blue).all()",
            "(red == blue).all()",
        ),
        (
            "what does not fit stops the folder",
            "            if path.is_file():\n",
            "            if True:\n",
        ),
    ),
)
