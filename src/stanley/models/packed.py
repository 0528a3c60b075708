"""A trained energy as a small folder: what sampling needs, without what training needed. Read here,
made by packing.py.

model.safetensors   the layout of a checkpoint, marked `holds: model`: averaged weights, some chains
                    of the bank, the noise that fresh chains start from, the adapted step size, the
                    configuration without its paths
README.md           the card: data, recipe, metrics, limits
"""

from __future__ import annotations

import os
from pathlib import Path

from stanley.errors import require
from stanley.runs import checkpoint
from stanley.runs.checkpoint import Checkpoint

MODEL, CARD = "model.safetensors", "README.md"


def is_packed(folder: str | os.PathLike[str]) -> bool:
    return (Path(folder) / MODEL).is_file()


def read_packed(folder: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint that the folder holds, with numbers of half precision in float32."""
    path = Path(folder) / MODEL
    require(
        path.is_file(), f"{folder} holds no {MODEL}; make one with: stanley pack RUN --out {folder}"
    )
    saved = checkpoint.load(path)
    holds = saved.meta.get("holds", "training")
    require(
        holds == "model", f"{path} holds {holds!r}, not a packed model; make one with stanley pack"
    )
    tensors = {
        name: t.float() if t.is_floating_point() and t.itemsize < 4 else t
        for name, t in saved.tensors.items()
    }
    return Checkpoint(tensors, saved.meta, path)
