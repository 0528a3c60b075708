"""Where an answer goes, and whether its file may be written: it is new, or answers the same request as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stanley.errors import StanleyError, require


def claim(folder: Path, name: str, asked: dict[str, Any], also: Path | None = None) -> None:
    """Files of this name are not there, or answer the same request: nothing else is ever overwritten."""

    path = folder / f"{name}.json"
    if not path.exists():
        there = [p for p in (also, folder / f"{name}.npy") if p is not None and p.exists()]
        require(not there, f"{there[0] if there else ''} is there and not from this command; choose another --out")
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))["asked"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StanleyError(f"{path} is there and not from this command; choose another --out") from None
    new = json.loads(json.dumps(asked))
    refuse_other(path, old, new)


def claim_samples(path: Path, asked: dict[str, Any]) -> None:
    """Samples of this name are not there, or were made in the same way."""

    if path.exists():
        try:
            old = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise StanleyError(f"{path} is there and not from this command; choose another --out") from None
        new = json.loads(json.dumps(asked))
        refuse_other(path, {key: old.get(key) for key in new}, new)


def refuse_other(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    from stanley.config import flatten

    old, new = (flatten(named(request)) for request in (old, new))
    differs = next((key for key in {**new, **old} if old.get(key) != new.get(key)), None)
    if differs is not None:
        was, now = (str(v.get(differs))[:80] for v in (old, new))
        raise StanleyError(f"{path} holds another answer ({differs} {was}, now {now}); choose another --out")


def named(value: Any) -> Any:
    """Lists as dictionaries by position, so that the entry that differs can be named."""
    if isinstance(value, list):
        return {str(i): named(v) for i, v in enumerate(value)}
    return {key: named(v) for key, v in value.items()} if isinstance(value, dict) else value
