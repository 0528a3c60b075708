"""How an input goes wrong: bytes, numbers and words, trees of JSON, and headers whose checksum is
right again.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.fuzz.sandbox import SCALE, SEED

#: Words and numbers that some parser, somewhere, has taken for what they are not.
NASTY = (
    *(
        "",
        " ",
        "null",
        "~",
        "true",
        "no",
        "NaN",
        ".nan",
        "nan",
        "inf",
        "-inf",
        ".inf",
        "1e999",
        "-1e999",
        "1e-999",
    ),
    *(
        "-1",
        "0",
        "-0",
        "1",
        "2",
        "3.5",
        "1e3",
        "1_000",
        "0x10",
        "0x_",
        "0o7",
        "010",
        "1:30",
        "0b1",
        "٣",
        "½",
        "１",
    ),
    *(
        "2026-13-45",
        "2026-01-01",
        "!!int x",
        "!!python/name:os.system",
        "!!binary x",
        "&a *a",
        "*a",
        "[",
        "{",
        "[]",
    ),
    *(
        "{}",
        "[1, 2]",
        "{a: 1}",
        "[[[[[[[[[[[[[[1]]]]]]]]]]]]]]",
        "'",
        '"',
        "- 1",
        "a: b",
        "---",
        "...",
        "%",
        "@x",
    ),
    *(
        "9" * 30,
        "-" + "9" * 400,
        "9" * 5000,
        "1" + "0" * 308 + ".0",
        "x" * 300,
        "/" * 40,
        "../../..",
        "~",
        "~x/y",
    ),
    *(
        "\x1b[31mred",
        "a\nb",
        "a\rb",
        "a\tb",
        "\u202eabc",
        "\ud800",
        "=1+1",
        "+1",
        "@SUM(1)",
        "-1+1",
        "é",
        "日本",
    ),
    *(
        "/dev/null",
        "/dev/full",
        "/",
        ".",
        "-",
        "--",
        "--x",
        "con",
        "a" * 255,
        "a/b",
        "a:b",
        "os:system",
        "torch:nn",
    ),
    *(
        "mala",
        "stanley",
        "adjusted",
        "adjusted-stanley",
        "replica-exchange",
        "quantile",
        "bank",
        "auto",
        "cuda:99",
    ),
)

words = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=12), st.integers().map(str), st.floats().map(str)
)

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**9, -(10**9), 2**63, 2**64, 10**30, 10**400]),
    st.floats(),
    st.sampled_from(NASTY),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)

PIECES = (
    b"\x00",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00" * 16,
    b"\n",
    b"{",
    b"}",
    b'"',
    b"\xc3",
)


def chosen(examples: int, **more: Any) -> settings:
    """That many inputs in `make test`, more in `make fuzz`; the same ones from the same seed."""
    return settings(
        max_examples=max(1, round(examples * SCALE)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
        **more,
    )


def fuzzed(examples: int) -> Any:
    """A test of that many inputs, from the seed of the suite."""
    return lambda test: hypothesis.seed(SEED)(chosen(examples)(test))


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """The bytes after one to `most` accidents: a bit, a cut, a piece lost, doubled, moved, or of
    something else.
    """
    broken = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(broken) - 1)))
        length = draw(st.sampled_from((1, 2, 4, 8, 64, 512)))
        match draw(
            st.sampled_from(("bit", "cut", "lose", "double", "piece", "number", "swap", "append"))
        ):
            case "bit" if broken:
                broken[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del broken[at:]
            case "lose":
                del broken[at : at + length]
            case "double":
                broken[at:at] = broken[at : at + length]
            case "piece":
                piece = draw(st.sampled_from(PIECES))
                broken[at : at + len(piece)] = piece
            case "number":
                packed = struct.pack(
                    draw(st.sampled_from(("<I", ">I"))), draw(st.integers(0, 2**32 - 1))
                )
                broken[at : at + 4] = packed
            case "swap":
                other = draw(st.integers(0, max(0, len(broken) - 1)))
                a, b = bytes(broken[at : at + length]), bytes(broken[other : other + length])
                broken[at : at + len(a)] = b
            case _:
                broken += draw(st.binary(max_size=32))
    return bytes(broken)


@st.composite
def altered(draw: st.DrawFn, value: Any, most: int = 2) -> Any:
    """A tree of JSON in which one to `most` places hold something else, are gone, or are new."""
    tree = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, most))):
        parts: list[tuple[Any, Any]] = [(None, None)]

        def walk(part: Any, parts: list[tuple[Any, Any]] = parts) -> None:
            keys = (
                part.keys()
                if isinstance(part, dict)
                else range(len(part))
                if isinstance(part, list)
                else ()
            )
            for key in keys:
                parts.append((part, key))
                walk(part[key])

        walk(tree)
        holder, key = draw(st.sampled_from(parts))
        if holder is None:
            if draw(st.integers(0, 9)) == 0:
                tree = draw(values)
            continue
        match draw(st.sampled_from(("change", "change", "remove", "add", "kind"))):
            case "change":
                holder[key] = draw(values)
            case "remove":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=5) | st.sampled_from(NASTY))] = draw(values)
            case _:
                old = holder[key]
                holder[key] = [old] if draw(st.booleans()) else {"value": old}
    return tree


def as_text(tree: Any) -> bytes:
    """JSON as Python writes it, NaN and infinities included."""
    return json.dumps(tree, ensure_ascii=True).encode()
