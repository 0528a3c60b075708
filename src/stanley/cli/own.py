"""The user's own parts, by their names on the command line.

What a run or a model names is not imported for that: only what the flags of this command name, or,
with --trust, what the run names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stanley.cli.flags import NOTHING, OwnFlags
from stanley.cli.output import say
from stanley.cli.values import parse_fields
from stanley.config import OWN
from stanley.errors import StanleyError
from stanley.own_code import checksum, is_named
from stanley.runs.directory import RunDirectory
from stanley.runs.origin import is_signed, without_paths
from stanley.training.by_name import ARGUMENT, PARTS, innermost_record, made_of
from stanley.training.fields import as_dict


def parts_of(
    run: Path,
    flags: OwnFlags = NOTHING,
    data_root: str | None = None,
    *,
    needs_data: bool = False,
) -> dict[str, Any]:
    """The arguments energy, data and sampler of `load`, for a run or a packed model; its data, with
    --trust, only where `needs_data` says that the command reads them.

    Each is what a flag names, called with the arguments that the run has kept, or, with --trust,
    what the run names. Warns where a file is not the one the run was trained with. `data_root` is
    where the file is now that the user's own data come from.
    """
    config = configuration_of(run)
    parts: dict[str, Any] = {}
    for part in PARTS if config else ():
        record = innermost_record(config.get(part)) or {}
        name = getattr(flags, part)
        needed = needs_data or part != "data"
        if name is None and flags.trust and needed and record.get("kind") == "by-name":
            name = str(record.get("name"))
        if name is None:
            continue
        arguments = dict(as_dict(record.get("arguments")))
        if part == "data":
            if not is_signed(run, record):
                arguments = as_dict(without_paths(record).get("arguments"))
            arguments = moved(arguments, data_root)
        parts[ARGUMENT[part]] = made_of(part, name, arguments)
        before, now = record.get("checksum"), checksum(name)
        if before is not None and before != now:
            say(
                f"warning: {part} {name} has changed since the run was trained (SHA-256 {before}… "
                f"then, {now}… now): its numbers are those of another program"
            )
    return parts


def flags_in_words(config: dict[str, Any]) -> str:
    """` --network mine.py:MyNet`, what a command on the run has to say besides."""
    records = ((part, innermost_record(config.get(part)) or {}) for part in PARTS)
    return "".join(f" --{p} {r['name']}" for p, r in records if r.get("kind") == "by-name")


def configuration_of(run: Path) -> dict[str, Any]:
    """The configuration of a run or of a packed model; an empty one where it cannot be read, which
    is then for whoever loads it to say."""
    from stanley.models.packed import is_packed, read_packed

    try:
        if is_packed(run):
            return as_dict(read_packed(run).meta.get("config"))
        return as_dict(RunDirectory(run).read_config())
    except StanleyError:
        return {}


def moved(arguments: dict[str, Any], data_root: str | None) -> dict[str, Any]:
    """With --data.path, or --data.root, in the place of the argument of that name."""
    if data_root is None:
        return {name: value for name, value in arguments.items() if value is not None}
    name = next((n for n in ("path", "root") if n in arguments), "path")
    return arguments | {name: data_root}


def sampler_named(run: Path, fields: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The name that --sampler gives of the user's own sampler that a run was trained with, and the
    flags that remain. On a run with one of the library it is another sampler, and stays."""
    record = innermost_record(configuration_of(run).get("sampler")) or {}
    name = parse_fields(fields).get("sampler")
    if record.get("kind") not in OWN or not is_named(name):
        return None, tuple(fields)
    rest, words = [], list(fields)
    while words:
        word = words.pop(0)
        if word == "--sampler":
            words.pop(0)
        elif not word.startswith("--sampler="):
            rest.append(word)
    return str(name), tuple(rest)
