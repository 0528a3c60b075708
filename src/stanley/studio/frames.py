"""Arrays on their way to a page: one binary message with a line of JSON before them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from torch import Tensor

KINDS = {"uint8": "u1", "float32": "<f4", "int32": "<i4"}


def packed(message: dict[str, Any], **arrays: np.ndarray | Tensor) -> bytes:
    """The length of a JSON text as 4 bytes, the text, then each array from a multiple of 4 on.

    The text is the message with "arrays": name, type and shape of each; types are uint8, float32
    and int32, and others become float32.
    """
    plain = {name: as_array(array) for name, array in arrays.items()}
    about = [{"name": n, "type": str(a.dtype), "shape": list(a.shape)} for n, a in plain.items()]
    text = json.dumps({**message, "arrays": about}).encode()
    text += b" " * (-len(text) % 4)
    parts = [len(text).to_bytes(4, "little"), text]
    for array in plain.values():
        content = array.astype(KINDS[str(array.dtype)]).tobytes()
        parts += [content, bytes(-len(content) % 4)]
    return b"".join(parts)


def as_array(array: np.ndarray | Tensor) -> np.ndarray:
    plain = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
    return plain if str(plain.dtype) in KINDS else plain.astype(np.float32)
