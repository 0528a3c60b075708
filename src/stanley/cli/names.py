"""Names that answers get: where they go, and a folder's or file's name made of anything that was asked for."""

from __future__ import annotations

import re
from pathlib import Path


def folder_for(what: str, name: str, run: Path | None) -> Path:
    """RUN/WHAT for what is made of a run, WHAT/NAME for what is made of anything else."""
    return Path(what) / file_name(name) if run is None else run / what


def file_name(name: str) -> str:
    """The name as that of a file: what is no letter, digit, dot or underscore becomes a hyphen."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")
