"""The fields of every sampler as plain values, from which a page makes its controls.

They are those of the classes: names, types and defaults as they are declared, and the comment on
the line of each. So a new sampler has its controls without a line of its own here or in the page,
and what may be entered is checked by the sampler itself.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stanley.field_help import fields_of
from stanley.own_code import OwnPart
from stanley.samplers import AnySampler, Quantile
from stanley.samplers.named import step_is_time

#: The step size that a sampler begins with in the page: a variance, or its root, a time.
FIRST_STEP, FIRST_TIME = 0.06, 0.25


@cache
def sampler_fields() -> dict[str, dict[str, Any]]:
    """Of each kind its `about`, the formula in the first paragraph of its docstring, and `fields`:

    name, about, default    as the class states them; no default: a value has to be given
    type    'number', 'integer', 'flag', 'choice', 'numbers' (a list), 'sampler', or 'threshold',
            which is a number or {"quantile": q}
    choices of 'choice' the words, of 'sampler' the kinds
    empty   whether the field may be left empty, which is null
    """
    found = {member.kind: described(member) for member in get_args(AnySampler)}
    for kind, told in found.items():
        for field in told["fields"]:
            if field["name"] == "step_size":
                field["default"] = FIRST_TIME if step_is_time(kind) else FIRST_STEP
    return found


def described(sampler: Any) -> dict[str, Any]:
    about = " ".join((sampler.__doc__ or "").strip().split("\n\n")[0].split()).rstrip(",:")
    module = sampler.__module__.removeprefix("stanley.").replace(".", "/") + ".py"
    told = {one.name: one.about for one in fields_of(module, sampler.__name__)}
    hints = get_type_hints(sampler)
    return {
        "about": about,
        "fields": [
            {"name": f.name, "about": told[f.name], **typed(hints[f.name]), **default_of(f)}
            for f in fields(sampler)
            if f.name != "kind"
        ],
    }


def typed(hint: Any) -> dict[str, Any]:
    """What a field of this type takes. Raises TypeError for a type that no control stands for."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    empty = {"empty": True} if type(None) in members else {}
    members = tuple(m for m in members if m is not type(None))
    kinds = [m.kind for m in members if hasattr(m, "kind") and not issubclass(m, OwnPart)]
    if kinds:
        return {"type": "sampler", "choices": kinds} | empty
    if Quantile in members:
        return {"type": "threshold"} | empty
    (one,) = members
    if get_origin(one) is Literal:
        return {"type": "choice", "choices": list(get_args(one))} | empty
    if get_origin(one) is tuple:
        return {"type": "numbers"} | empty
    plain = {bool: "flag", int: "integer", float: "number"}
    if one not in plain:
        raise TypeError(f"no control stands for {hint}")
    return {"type": plain[one]} | empty


def default_of(field: Field[Any]) -> dict[str, Any]:
    if field.default is MISSING:
        return {}
    value = field.default
    return {"default": asdict(value) if is_dataclass(value) else value}  # type: ignore[arg-type]
