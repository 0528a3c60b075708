"""Files that another program, or another person, may have written: read whole, or refused.

Every JSON file of a run, a model or an answer is read here. What it must hold is a type; pydantic
compares, and the error names the file, the field and its value.
"""

from __future__ import annotations

import functools
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stanley.errors import StanleyError

MEGABYTE = 1 << 20


def read_whole(path: Path, most: int, cure: str) -> bytes:
    """The content of a file of at most `most` bytes; a pipe, a device or a folder is no file.

    cure   what to do about a file that cannot be read, the end of the error
    """
    try:
        handle = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        )
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise StanleyError(f"{path} is no file; {cure}")
            if about.st_size > most:
                size = about.st_size / MEGABYTE
                raise StanleyError(f"{path} has {size:,.0f} MiB, over {most // MEGABYTE}; {cure}")
            return file.read(most + 1)
    except StanleyError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise StanleyError(f"{path} cannot be read: {why}; {cure}") from error


def read_json(path: Path, kind: Any, cure: str, most: int = 64 * MEGABYTE) -> Any:
    """The JSON value that a file holds, which must be of the type `kind`."""
    return checked(read_whole(path, most, cure), kind, str(path), cure)


def checked(content: bytes, kind: Any, where: str, cure: str) -> Any:
    """The JSON value of these bytes, which must be of the type `kind`; fields that it does not name
    are kept.
    """
    from pydantic import ValidationError

    try:
        adapter(kind).validate_json(content, strict=True)
        return json.loads(content)
    except ValidationError as error:
        raise StanleyError(f"{where} is damaged: {first(error.errors())}; {cure}") from None
    except (ValueError, RecursionError) as error:
        raise StanleyError(
            f"{where} is damaged: {' '.join(str(error).split())[:200]}; {cure}"
        ) from None


def checked_lines(lines: Iterable[str], kind: Any, where: str, cure: str) -> list[Any]:
    """The JSON value of each line, all of the type `kind`; an error names the line, from 1."""
    from pydantic import ValidationError

    lines = list(lines)
    values = values_together(lines)
    if values is None:
        values = values_one_by_one(lines, where, cure)
    try:
        adapter(list[kind]).validate_python(values, strict=True)
    except ValidationError as error:
        number, *inside = error.errors()[0]["loc"]
        why = first([error.errors()[0] | {"loc": inside}])
        raise StanleyError(f"{where} line {int(number) + 1} is damaged ({why}); {cure}") from None
    return values


def values_together(lines: list[str]) -> list[Any] | None:
    """The JSON value of each line, read as one array: the names in its objects are then in memory
    once, and not in each, which halves the memory of records. None where that is not possible.
    """
    try:
        values = json.loads(f"[{','.join(lines)}]")
    except (ValueError, RecursionError):
        return None
    return values if len(values) == len(lines) else None  # else a line is not one value


def values_one_by_one(lines: list[str], where: str, cure: str) -> list[Any]:
    """The same; raises StanleyError with the first line that is damaged."""
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            why = " ".join(str(error).split())[:200]
            raise StanleyError(f"{where} line {number} is damaged ({why}); {cure}") from None
    return values


def read_archive(path: Path, cure: str, most: int = 1024 * MEGABYTE) -> dict[str, Any]:
    """The arrays of a .npz file, of at most `most` bytes in memory; Python objects are never
    loaded.
    """
    import numpy as np

    content = io.BytesIO(read_whole(path, most, cure))
    try:
        with zipfile.ZipFile(content) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > most:
            raise StanleyError(f"{path} unpacks to {size / MEGABYTE:,.0f} MiB; {cure}")
        with np.load(content, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except StanleyError:
        raise
    except Exception as error:  # whatever the parsers of headers and archives trip over
        why = " ".join(str(error).split()) or type(error).__name__
        raise StanleyError(f"{path} is damaged: {why}; {cure}") from error


@functools.cache
def adapter(kind: Any) -> Any:
    """What compares values with a type; making one for a configuration takes 30 ms."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def first(errors: list[Any]) -> str:
    """The first thing that is wrong: `step is 'x', must be a valid integer`."""
    error = errors[0]
    name = ".".join(map(str, error["loc"])) or "it"
    if error["type"] == "missing":
        return f"{name} is missing"
    message = error["msg"].replace("Input should be", "must be")
    return f"{name} is {repr(error['input'])[:60]}, {message[:1].lower() + message[1:]}"
