"""The configuration: a YAML or TOML file of fields, and the flags of the same names. Nothing is
trained here.
"""

from __future__ import annotations

import json
from unittest import mock

import yaml
from hypothesis import given
from hypothesis import strategies as st

from stanley.config import flatten, from_dict, to_dict
from stanley.errors import StanleyError
from stanley.training.config import TrainConfig
from stanley.training.recipes import RECIPES, recipe

from .damage import altered, damaged, fuzzed, scalars, words
from .sandbox import attempt

FULL = to_dict(recipe("rings"))
FIELDS = sorted(
    {*flatten(FULL), *FULL, "sampler.proposal.step_size"}.union(
        *(flatten(to_dict(recipe(name))) for name in ("cifar10", "cifar10-contrastive", "array"))
    )
)
TEXT = yaml.safe_dump(FULL, sort_keys=False).encode()
names = st.sampled_from(FIELDS) | words


def not_trained(config: TrainConfig, *_: object, **__: object) -> None:
    """In the place of training: what arrives is a whole configuration, and writing it down loses
    nothing.
    """
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config
    raise StanleyError("not trained")


def resolved(*arguments: str, file: tuple[str, bytes] | None = None) -> None:
    with mock.patch("stanley.training.loop.steps", not_trained):
        attempt(
            ["train", *arguments, "--out", "new"],
            changed=None if file is None else {file[0]: file[1]},
        )


def nested(fields: list[tuple[str, str]]) -> str:
    """`a.b: value` for each, as YAML in two styles: a line a path, or a block for each part."""
    lines = []
    for name, value in fields:
        *outer, last = name.split(".") if name.strip(".") else [name]
        lines += [f"{'  ' * k}{part}:" for k, part in enumerate(outer)]
        lines.append(f"{'  ' * len(outer)}{last}: {value}")
    return "\n".join(lines) + "\n"


def toml(fields: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in fields) + "\n"


def bomb(levels: int, width: int) -> str:
    """Aliases of aliases: a few lines that are `width` to the power `levels` values when they are
    written out.
    """
    names = [*FULL, *(f"more{k}" for k in range(levels))]
    lines = [f"{names[0]}: &a0 [1, 1]"]
    lines += [f"{names[k]}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]" for k in range(1, levels)]
    return "\n".join(lines) + "\n"


@fuzzed(60)
@given(damaged(TEXT), st.sampled_from((".yaml", ".toml", ".yml")))
def test_a_damaged_file(content: bytes, suffix: str) -> None:
    resolved("rings", "--config", f"c{suffix}", file=(f"c{suffix}", content))


@fuzzed(120)
@given(st.lists(st.tuples(names, words), min_size=1, max_size=3), st.sampled_from((nested, toml)))
def test_fields_of_a_file(fields: list[tuple[str, str]], write: object) -> None:
    suffix = ".yaml" if write is nested else ".toml"
    text = write(fields).encode("utf-8", "surrogatepass")  # type: ignore[operator]
    resolved("rings", "--config", f"c{suffix}", file=(f"c{suffix}", text))


@fuzzed(80)
@given(altered(FULL), st.booleans())
def test_an_altered_tree(tree: object, as_json: bool) -> None:
    text = json.dumps(tree) if as_json else yaml.dump(tree)
    resolved("rings", "--config", "c.yaml", file=("c.yaml", text.encode()))


@fuzzed(150)
@given(
    st.lists(
        st.tuples(st.sampled_from(FIELDS) | words, words | scalars.map(str)), min_size=1, max_size=3
    ),
    st.booleans(),
    st.sampled_from(sorted(RECIPES)),
)
def test_fields_as_flags(fields: list[tuple[str, str]], equals: bool, name: str) -> None:
    flags = []
    for field, value in fields:
        flag = f"--{field.replace('_', '-')}"
        flags += [f"{flag}={value}"] if equals else [flag, value]
    resolved(name, *flags)


@fuzzed(12)
@given(st.integers(2, 25), st.integers(2, 12))
def test_aliases_of_aliases(levels: int, width: int) -> None:
    resolved("rings", "--config", "c.yaml", file=("c.yaml", bomb(levels, width).encode()))


@fuzzed(12)
@given(
    st.sampled_from(("[", "{a: ", "- ", "{", "(", "a: [", '"')),
    st.sampled_from((5, 100, 1000, 100_000)),
)
def test_nesting(piece: str, depth: int) -> None:
    for name in ("c.yaml", "c.toml"):
        resolved("rings", "--config", name, file=(name, (piece * depth).encode()))


@fuzzed(40)
@given(words, words)
def test_names_of_recipes_and_files(name: str, file: str) -> None:
    resolved(name)
    resolved("rings", "--config", file)
