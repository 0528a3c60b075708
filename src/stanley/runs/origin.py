"""Whether the paths in a run's configuration are the user's own.

A run may have been made by somebody else: then it must not decide which files of this machine are
read as its data, or where a cache is written. Training signs the part of the configuration that
names them, with a key of the user's that no other person knows; what is not signed is not followed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from stanley.data.download import cache_dir
from stanley.errors import StanleyError
from stanley.files import write_atomic
from stanley.reading import read_whole

NAME = ".origin"

#: Fields of the data that name a place.
PATHS = ("path", "root", "cache")


def sign(run: Path, data: dict[str, Any]) -> None:
    """Say that this user asked for these data; without a key nothing is said."""
    code = signature(data, make=True) if paths_of(data) else None
    if code is not None:
        write_atomic(run / NAME, f"{code}\n".encode())


def is_signed(run: Path, data: dict[str, Any]) -> bool:
    """Whether this user asked for these data, in this run or in the one that it is a copy of."""
    code = signature(data, make=False)
    try:
        there = read_whole(run / NAME, 1 << 10, "").decode("ascii", "replace").strip()
    except StanleyError:
        return False
    return code is not None and hmac.compare_digest(there.encode(), code.encode())


def paths_of(data: dict[str, Any]) -> dict[str, str]:
    """Also those that are arguments of a function of the user's own, from which the data come."""
    own = data.get("arguments")
    places = data | own if isinstance(own, dict) else data
    return {name: str(places[name]) for name in PATHS if places.get(name) is not None}


def without_paths(data: dict[str, Any]) -> dict[str, Any]:
    """The data as a stranger may name them: their kind and numbers, but no place, and no
    download.
    """
    nowhere: dict[str, Any] = {name: None for name in PATHS if name in data}
    own = data.get("arguments")
    if isinstance(own, dict):
        nowhere["arguments"] = {name: value for name, value in own.items() if name not in PATHS}
    return data | nowhere | ({"download": False} if "download" in data else {})


def signature(data: dict[str, Any], *, make: bool) -> str | None:
    key = own_key(make=make)
    if key is None:
        return None
    named = {"kind": data.get("kind")} | paths_of(data)
    return hmac.new(key, json.dumps(named, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def own_key(*, make: bool) -> bytes | None:
    """The user's key, made when it is first needed; None where it cannot be kept."""
    try:
        path = cache_dir() / "key"
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_hex(32).encode())
        key = path.read_bytes()
    except (OSError, StanleyError):
        return None
    return key if len(key) == 64 else None
