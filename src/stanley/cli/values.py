"""How a value is written, in a flag and in a file alike: one grammar, small enough to be known by
heart.

12, -3, 0.5, .5, 1e-3   numbers: decimal digits, no leading zeros, no underscores, no 0x, no 1:30
true, false             yes and no; null (or ~, or nothing) for none
[1, 2], {a: 1}          lists and parts
anything else           a word

YAML reads more than that as numbers, differently in every version: 010 is 8, 1:30 is 90, 2026-01-01
is a day. Here they are words, and a field that wants a number refuses a word. Also refused: a name
that is given twice, a tag (!!int), a file that is larger, deeper or, with its aliases written out,
longer than a configuration can be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from stanley.errors import StanleyError, require

LARGEST = 1 << 20  # bytes of a configuration
MOST_VALUES = 10_000  # in it, aliases written out
DEEPEST = 20

INTEGER = r"[-+]?(?:0|[1-9][0-9]{0,24})"
NUMBER = re.compile(
    rf"{INTEGER}(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{{1,4}})?|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]{{1,4}})?"
)
WHOLE = re.compile(INTEGER)
BOOLEANS = {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
NULL = ("", "~", "null", "Null", "NULL")


def number(text: str) -> int | float | None:
    """The number that is written, None where it is no number."""
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else None


def whole_number(text: str) -> int | None:
    """100, or 1e3 where that is an integer."""
    value = number(text)
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 2**63 else None
    return value


class Loader(yaml.SafeLoader):
    """YAML with the grammar above for what stands without quotes, and with nothing that is there
    twice.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012, yaml's own way
    yaml_constructors: dict[str, Any] = {}  # noqa: RUF012

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            require_small(node)
        return node


def plain_scalar(loader: Loader, node: yaml.ScalarNode) -> Any:
    """A word without quotes may be a number, a truth value or null; one with quotes is a word."""
    text = node.value
    if node.style is not None:
        return text
    if text in NULL:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    value = number(text)
    return text if value is None else value


def sequence(loader: Loader, node: yaml.SequenceNode) -> list[Any]:
    return [loader.construct_object(part, deep=True) for part in node.value]


def mapping(loader: Loader, node: yaml.MappingNode) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        require(
            isinstance(key, str),
            f"a field is named by a list or part{at(key_node)}; names are words",
        )
        require(key not in values, f"{key!r} is given twice{at(key_node)}; give it once")
        values[key] = loader.construct_object(value_node, deep=True)
    return values


def refuse_tag(loader: Loader, node: yaml.Node) -> Any:
    raise StanleyError(f"{node.tag!r} is a tag{at(node)}; write the value without it")


Loader.add_constructor("tag:yaml.org,2002:str", plain_scalar)
Loader.add_constructor("tag:yaml.org,2002:seq", sequence)
Loader.add_constructor("tag:yaml.org,2002:map", mapping)
Loader.add_constructor(None, refuse_tag)  # type: ignore[arg-type]  # None stands for every other tag


def at(node: yaml.Node) -> str:
    return f" in line {node.start_mark.line + 1}"


def require_small(root: yaml.Node) -> None:
    """Neither deeper nor longer than a configuration, counted as if aliases were written out."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        require(
            depth <= DEEPEST, f"it is nested over {DEEPEST} levels deep; an alias may hold itself"
        )
        if id(node) not in sizes:
            parts: list[yaml.Node] = []
            if isinstance(node, yaml.MappingNode):
                parts = [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                parts = node.value
            sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in parts)
        return sizes[id(node)]

    require(
        size(root, 0) <= MOST_VALUES,
        f"it holds over {MOST_VALUES:,} values, with its aliases written out",
    )


def load(text: str) -> Any:
    """The value of a YAML text; raises StanleyError with the reason in one line."""
    require(
        len(text) <= LARGEST, f"it has over {LARGEST:,} characters; a configuration is far smaller"
    )
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise StanleyError(" ".join(str(error).split())) from None
    except RecursionError:
        raise StanleyError("it is nested too deeply") from None
    except ValueError as error:
        raise error if isinstance(error, StanleyError) else StanleyError(str(error)) from None


def parse_fields(tokens: Sequence[str]) -> dict[str, Any]:
    """`--a.b-c value` and `--a.b-c=value` to {"a.b_c": value}."""
    flags: dict[str, Any] = {}
    rest = list(tokens)
    while rest:
        name = rest.pop(0)
        require(
            name.startswith("--"), f"unexpected argument {name!r}; a field is given as --name value"
        )
        name, given, value = name[2:].partition("=")
        if not given:
            require(rest, f"--{name} needs a value, for example --{name} 1")
            value = rest.pop(0)
        field = name.replace("-", "_")
        require(field not in flags, f"--{name} is given twice; give it once")
        try:
            flags[field] = load(value)
        except StanleyError as error:
            raise StanleyError(
                f"--{name} is {value!r}, which is not a number, word, list or null ({error})"
            ) from error
    return flags
