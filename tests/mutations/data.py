"""Breakages of the readers of data."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "data/standardisation.py",
        "data/test_data_array.py",
        ("a variance in the place of a deviation", ".mean(0).sqrt() * size", ".mean(0) * size"),
        ("undone in float32", "mean + std * z.to(mean.dtype)", "mean.float() + std.float() * z"),
        ("log scale of the means", "self.std.double().log()", "self.mean.double().log()"),
    ),
    *breakages(
        "data/base.py",
        "models/test_standardised.py",
        ("a density without its log scale", "+ found.log_scale", ""),
        ("standardised by the data of today", "other.standardise(own.undo(rows))", "rows"),
    ),
    *breakages(
        "data/table.py",
        "data/test_data_table.py",
        ("text above text is a name", "all(text) or second is None", "any(text)"),
        ("short rows are read", "len(cells) == width,", "True,"),
        ("an index is data", "not (unnamed and counts)", "True"),
        ("numbers are never names", "not doubtful,", "True,"),
    ),
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
