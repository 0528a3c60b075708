"""One rule for an answer that is there when another is written: it is kept under another name, and
that is said.

An answer is a JSON file, its record, whose "asked" is the request, and the files beside it. The
same request again replaces its own answer. Any other that is there is renamed, all its files alike:
NAME-former.EXT, then NAME-former-2.EXT, … So the plain name is that of the newest answer, and
nothing is lost.

The request is noted in the record before any other file is written; the record is completed last.
What a killed command left is therefore known for its own by the same command, which replaces it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stanley.config import differences, flatten
from stanley.errors import StanleyError
from stanley.files import write_json

SHOWN = 80  # characters of a value that a warning shows


def make_room(record: Path, asked: dict[str, Any], beside: Iterable[Path] = ()) -> None:
    """Note the request in `record`, after the answer to another one that is there got another name.

    beside   the other files of an answer of this name, whether they are there or not
    """
    asked = json.loads(json.dumps(asked))
    there = json_object(record)
    if there.get("asked") == asked:
        return
    keep_former((record, *beside), difference(there.get("asked"), asked))
    write_json(record, {"asked": asked, "unfinished": True})


def write_answer(path: Path, value: dict[str, Any]) -> None:
    """Write an answer that is a record alone; its "asked" says to what it is the answer."""
    make_room(path, value["asked"])
    write_json(path, value)


def keep_former(files: Iterable[Path], why: str) -> None:
    """Rename the files that are there, the first one first, and warn of it;
    `why` says what is different now.
    """
    there = [file for file in files if file.exists()]
    if not there:
        return
    number = 1
    while any(former(file, number).exists() for file in there):
        number += 1
    kept = [former(file, number) for file in there]
    try:
        for file, other in zip(there, kept, strict=True):
            file.rename(other)
    except OSError as error:
        raise StanleyError(
            f"cannot rename {error.filename}: {error.strerror or error}; choose another --out"
        ) from error
    others = f", and {', '.join(file.name for file in kept[1:])}" if kept[1:] else ""
    warnings.warn(f"kept the former answer ({why}) as {kept[0]}{others}", stacklevel=3)


def former(file: Path, number: int) -> Path:
    stem, suffix = (file.name, "") if file.is_dir() else (file.stem, file.suffix)
    return file.with_name(f"{stem}-former{'' if number == 1 else f'-{number}'}{suffix}")


def difference(before: Any, now: dict[str, Any]) -> str:
    """The first field in which two requests differ, in words: `steps 5, now 6`."""
    if not isinstance(before, dict):
        return "to a request that is not written down"
    changed = differences(by_position(before), by_position(now))
    name = next(
        (name for name in flatten(by_position(now)) if name in changed), next(iter(changed), "")
    )
    if not name:  # a field that is empty on one side
        return "to another request"
    old, new = (str(value)[:SHOWN] for value in changed[name])
    return f"{name} {old}, now {new}"


def by_position(value: Any) -> Any:
    """Lists as dictionaries by position, so that the entry that differs can be named."""
    if isinstance(value, list):
        return {str(position): by_position(part) for position, part in enumerate(value)}
    if isinstance(value, dict):
        return {key: by_position(part) for key, part in value.items()}
    return value


def json_object(path: Path) -> dict[str, Any]:
    """Empty where the file is not there or holds no JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
