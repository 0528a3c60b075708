"""Fields of a configuration by their names, such as sampler.step_size, and what they change."""

from __future__ import annotations

from typing import Any

from stanley.config import OWN
from stanley.errors import require
from stanley.own_code import is_named
from stanley.samplers.named import step_is_time


def override(config: dict[str, Any], path: str, value: Any) -> None:
    """Set `a.b.c` in place.

    Naming another `kind` of a part starts that part anew, but for a step size or learning rate,
    which carry over; not between a variance and a time step, which are not the same number.
    A field that a sampler made of another does not have is the other's: sampler.step_size works for
    all samplers. A word given for a part that has a kind names its kind, and a kind `adjusted-x` is
    x in `adjusted`.
    """
    *parents, last = path.split(".")
    at = config
    for name in parents:
        at = inner(at, name)
        if not isinstance(at.get(name), dict):
            at[name] = {}
        at = at[name]
    at = inner(at, last)
    part = "kind" in as_dict(at.get(last)) and not isinstance(value, str)
    require(
        not part,
        f"{path} is {value!r}, but must be one of its kinds, a word; its fields are {path}.NAME",
    )
    a_part = last in WRAPPED.values() or "kind" in as_dict(at.get(last))
    if is_named(value) and a_part:
        return name_own(at, last, value)
    if isinstance(value, str) and a_part:
        return override(config, f"{path}.kind", value)
    if last == "kind" and isinstance(value, str) and value.startswith("adjusted-"):
        override(config, path, "adjusted")
        return override(
            config, ".".join((*parents, "proposal", "kind")), value.removeprefix("adjusted-")
        )
    if last == "kind" and parents and at.get("kind") != value:
        carried = {
            name: inner(at, name)[name] for name in ("step_size", "lr") if name in inner(at, name)
        }
        if step_is_time(inner(at, "step_size").get("kind")) != step_is_time(value):
            carried.pop("step_size", None)
        parts = parts_of(at, str(value))
        at.clear()
        at.update({WRAPPED[str(value)]: carried} if str(value) in WRAPPED else carried | parts)
    at[last] = value
    return None


def name_own(at: dict[str, Any], part: str, name: str) -> None:
    """Put what stands for the user's own code `module:Name` in the place of a part; of what was
    there a step size carries over."""
    before = inner(as_dict(at[part]), "step_size")
    carried = {"step_size": before["step_size"]} if "step_size" in before else {}
    time_step = step_is_time(before.get("kind"))
    at[part] = {"kind": "by-name", "name": name, "arguments": {} if time_step else carried}


def parts_of(old: dict[str, Any], kind: str) -> dict[str, Any]:
    """An objective made of others takes over the one before it, and gives its own back."""
    if kind in MADE_OF:
        return {
            name: dict(old) if old.get("kind") == name else {"kind": name} for name in MADE_OF[kind]
        }
    return as_dict(old.get(kind)) if kind in MADE_OF.get(str(old.get("kind")), ()) else {}


def as_dict(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}


#: An objective -> the objectives that it is made of, each in a field of that name.
MADE_OF = {"warm-start": ("denoising", "contrastive")}
#: The field in which a sampler of this kind holds the one that it is made of, and its other fields.
WRAPPED = {"adjusted": "proposal", "replica-exchange": "sampler"}
BESIDES = ("kind", "temperatures", "power")
#: The fields of what stands for the user's own code.
OWN_FIELDS = (
    "kind",
    "name",
    "class",
    "arguments",
    "checksum",
    "adjusted",
    "levels",
    "like",
    "standardise",
)


def inner(part: dict[str, Any], name: str) -> dict[str, Any]:
    """The part itself, or the sampler it is made of where only that can have such a field; of what
    stands for the user's own code its arguments."""
    if part.get("kind") in OWN and name not in OWN_FIELDS:
        return part.setdefault("arguments", {})
    wrapped = WRAPPED.get(str(part.get("kind")))
    if wrapped is None or wrapped not in part or name in (wrapped, *BESIDES):
        return part
    return inner(part[wrapped], name)


def apply(config: dict[str, Any], changes: dict[str, Any]) -> None:
    """Override every `a.b.c` of `changes`: kinds first, from the outside in,
    because a new kind starts a part anew.
    """
    parts = [name for name, part in config.items() if "kind" in as_dict(part)]
    names_kind = {
        p for p in changes if p.split(".")[-1] in ("kind", *WRAPPED.values()) or p in parts
    }
    for path in sorted(changes, key=lambda p: (p not in names_kind, p.count("."))):
        override(config, path, changes[path])
