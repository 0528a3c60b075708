"""Configurations as plain data: to a dictionary and back, and what changed between two.

The classes are frozen dataclasses that check themselves; pydantic converts and names the wrong
field.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from stanley.errors import StanleyError, did_you_mean, require
from stanley.reading import adapter

T = TypeVar("T")


def kind_of(part: object) -> str:
    """The kind of a part of the configuration; of one of the user's own its class."""
    kind = getattr(part, "kind", None)
    return type(part).__name__ if kind is None else getattr(part, "called", kind)


def to_dict(config: object) -> dict[str, Any]:
    """The configuration as JSON-ready values, each part with its `kind`;
    JSON has no infinite numbers. A field `class_` is written `class`.
    """
    assert is_dataclass(config)
    assert not isinstance(config, type)
    values = _plain(asdict(config))
    for path, value in leaves(values):
        finite = not isinstance(value, float) or math.isfinite(value)
        require(finite, f"{'.'.join(path)} is {value}, but must be a finite number")
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {written(key): _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def written(name: str) -> str:
    """`class` for the field `class_`: a word of Python cannot name a field, and may in a file."""
    word = name.removesuffix("_")
    return word if keyword.iskeyword(word) else name


def read_back(values: Any) -> Any:
    """Plain values with the names of fields in place of those that are written."""
    if isinstance(values, dict):
        return {
            f"{key}_" if keyword.iskeyword(str(key)) else key: read_back(value)
            for key, value in values.items()
        }
    return values


def from_dict(kind: type[T], values: dict[str, Any]) -> T:
    """The typed configuration, or a StanleyError that names the field, its value,
    and what is possible.
    """
    from pydantic import ValidationError

    try:
        config = adapter(kind).validate_python(read_back(values))
    except ValidationError as error:
        raise StanleyError(explain(error.errors())) from None
    known = to_dict(config)
    for path, value in leaves(values):
        refuse_unknown(known, path, value)
    require_kinds(known, values)
    return config


def explain(errors: list[Any]) -> str:
    """One line for the first thing that is wrong.

    A part of the configuration is one of several classes, told apart by `kind`; pydantic reports
    what each of them would object to. Only the objections of the class that was named matter, or
    that no class has that name.
    """
    others = {
        e["loc"][:-1] for e in errors if e["loc"][-1:] == ("kind",) and e["type"] == "literal_error"
    }
    ours = [e for e in errors if not any(e["loc"][: len(other)] == other for other in others)]
    if not ours:
        # with several kinds pydantic puts the class behind the name of the part
        named = {o: o[:-1] if str(o[-1])[:1].isupper() else o for o in others}
        part = max(
            (named[o] for o in others if not any(o[:n] in others for n in range(len(o)))), key=len
        )
        members = [e for e in errors if named.get(e["loc"][:-1]) == part and e["loc"][-1] == "kind"]
        known = [e["ctx"]["expected"].strip("'") for e in members]
        known = [name for name in known if name not in OWN]
        return (
            f"{field_name((*part, 'kind'))} is {members[0]['input']!r}:"
            f" {did_you_mean(str(members[0]['input']), known)}"
        )
    causes = [e for e in ours if isinstance(e.get("ctx", {}).get("error"), StanleyError)]
    if causes:
        message, names = str(causes[0]["ctx"]["error"]), field_name(causes[0]["loc"]).split(".")
        return as_named_at(".".join(names[:2]), message) if names[1:2] in MADE_OF else message
    first = ours[0]
    if first["type"] == "missing":
        return f"{field_name(first['loc'])} is missing and has no default; give it a value"
    message = first["msg"].replace("Input should be", "but must be")
    return f"{field_name(first['loc'])} is {first['input']!r}, {message[:1].lower() + message[1:]}"


#: Objectives inside an objective, each in a field of its name.
MADE_OF = (["contrastive"], ["denoising"])


def as_named_at(place: str, message: str) -> str:
    """An objective says `objective.x` of its field x. Where it is the part of another one, at
    `place`, the field is called objective.contrastive.x, as its flag is.
    """
    return re.sub(r"\bobjective\.(?=[a-z])", f"{place}.", message)


def field_name(location: tuple[Any, ...]) -> str:
    """`a.b.c` without the class and type names that pydantic puts between."""
    return ".".join(
        written(str(part))
        for part in location
        if not str(part)[:1].isupper() and part not in ("float", "int", "str")
    )


MAX_DEPTH = 10

#: Kinds that stand for a part of the user's own: nobody asks for them by this word.
OWN = ("given", "by-name")


def leaves(
    values: dict[str, Any], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    where = ".".join(prefix) or "the configuration"
    require(
        len(prefix) < MAX_DEPTH,
        f"{where} is nested over {MAX_DEPTH} levels deep; an alias may hold itself",
    )
    for key, value in values.items():
        require(
            isinstance(key, str),
            f"{where} has a field named {key!r}, which is no word; names are words",
        )
        if isinstance(value, dict) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def refuse_unknown(known: Any, path: tuple[str, ...], value: Any) -> None:
    at = known
    for depth, name in enumerate(path):
        if not isinstance(at, dict) or name not in at:
            options = at if isinstance(at, dict) else {}
            field = ".".join(path[: depth + 1])
            raise StanleyError(
                f"unknown field {field!r} (value {value!r}): {meant(name, options, path[:depth])}"
            )
        at = at[name]
    number = (
        isinstance(value, bool | str) and isinstance(at, int | float) and not isinstance(at, bool)
    )
    require(
        not number,
        f"{'.'.join(path)} is {value!r}, but must be a number, written like 12, 0.5 or 1e-3",
    )


def meant(name: str, options: dict[str, Any], above: tuple[str, ...]) -> str:
    """What may have been meant by a name that is none of `options`, those of the part `above`: a
    field that a part inside it has, or a name that is close.
    """
    inside = {part: fields for part, fields in options.items() if isinstance(fields, dict)}
    theirs = {field for fields in inside.values() for field in fields}
    if name not in theirs:
        near = get_close_matches(name, theirs, n=1)
        if not near or get_close_matches(name, options, n=1):
            return did_you_mean(name, options)
        name = near[0]
    found = [".".join((*above, part, name)) for part, fields in inside.items() if name in fields]
    return f"did you mean {' or '.join(map(repr, found))}?"


def require_kinds(known: dict[str, Any], values: dict[str, Any], prefix: str = "") -> None:
    """Each part that could be of several kinds says which it is:
    nothing is guessed from the fields that are there.
    """
    for name, part in values.items():
        if isinstance(part, dict) and isinstance(known[name], dict):
            if "kind" in known[name] and "kind" not in part:
                raise StanleyError(
                    f"{prefix}{name}.kind is missing; say which kind of {name} it is, then its"
                    " fields"
                )
            require_kinds(known[name], part, f"{prefix}{name}.")


def flatten(nested: dict[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    return {".".join(path): value for path, value in leaves(nested)}


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """field -> (old, new) for every leaf that differs."""
    a, b = flatten(old), flatten(new)
    return {
        name: (a.get(name), b.get(name)) for name in sorted(a | b) if a.get(name) != b.get(name)
    }
