"""Names that answers get: where they go, and a folder's or file's name made of anything that was
asked for.
"""

from __future__ import annotations

import re
from pathlib import Path

LONGEST = 150  # bytes, of the 255 that a file system allows: endings are added


def folder_for(what: str, name: str, run: Path | None) -> Path:
    """RUN/WHAT for what is made of a run, WHAT/NAME for what is made of anything else."""
    return Path(what) / file_name(name) if run is None else run / what


def file_name(name: str) -> str:
    """The name as that of a file: what is no letter, digit, dot or underscore becomes a hyphen; not
    too long.
    """
    short = re.sub(r"[^\w.-]+", "-", name).strip("-.").encode()[:LONGEST].decode("utf-8", "ignore")
    return short or "unnamed"


def answer_files(folder: Path, name: str) -> list[Path]:
    """The files of an answer of this name that are there, but for its record: arrays, pictures,
    tables.
    """
    parts = re.compile(
        re.escape(name) + r"(-mean|-energy|-every-\d+|-draws)?\.(npy|npz|png|pdf|svg|csv)",
        re.IGNORECASE,
    )
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in there if parts.fullmatch(file.name))
