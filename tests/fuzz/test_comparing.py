"""A comparison: its file of fields, its folder, and the rows of its runs."""

from __future__ import annotations

import json
from unittest import mock

import yaml
from hypothesis import given
from hypothesis import strategies as st

from stanley.comparing import Comparison
from stanley.config import flatten, from_dict, to_dict
from stanley.errors import StanleyError

from .damage import altered, as_text, damaged, fuzzed, scalars, values, words
from .sandbox import attempt, compared
from .test_configuration import nested, toml

ARMS = {"Langevin": {"sampler": "langevin"}, "own": {"sampler": "stanley", "batch": 64}}
GRID = {"sampler.step_size": [0.01, 0.02], "sampler.threshold": [1.0, {"quantile": 0.5}]}
SEARCH = {"sampler.step_size": {"low": 0.01, "high": 1.0, "log": True}, "batch": [32, 64]}
FULL = [
    to_dict(Comparison("rings", ARMS, {"steps": 9}, grid=GRID, scores=["kl", "tv"], num=9)),
    to_dict(Comparison("rings", ARMS, search=SEARCH, trials=9, by="qmc", baseline="own")),
    to_dict(
        Comparison(
            target="banana",
            arms={
                "MALA": {"sampler": "mala"},
                "own": {"sampler": "hmc", "sampler.num_leapfrog": 3},
            },
            fields={"steps": 50, "chains": 8, "start_std": 1.5, "dtype": "float32"},
            grid={"sampler.step_size": [0.01, 0.02]},
            scores=["bias2", "rhat"],
        )
    ),
]
FIELDS = sorted({name for full in FULL for name in (*flatten(full), *full)})
TEXTS = [yaml.safe_dump(full, sort_keys=False).encode() for full in FULL]
AGAIN = ["compare", "new"]
ROWS = [
    f"new/runs/{arm}/step_size={h}/seed-10000/compared.json"
    for arm in ("langevin", "mala")
    for h in (0.02, 0.03)
]


def not_carried_out(comparison: Comparison, *_: object, **__: object) -> None:
    """In the place of the runs: what arrives is a whole question, writing it down loses nothing,
    and its arms can be looked at.
    """
    comparison.check()
    plain = json.loads(json.dumps(to_dict(comparison)))
    assert to_dict(from_dict(Comparison, plain)) == plain
    raise StanleyError("not carried out")


def asked(*arguments: str, file: tuple[str, bytes] | None = None) -> None:
    with mock.patch("stanley.comparing.carry_out.compare", not_carried_out):
        attempt(
            ["compare", *arguments, "--out", "new"],
            changed=None if file is None else {file[0]: file[1]},
        )


@fuzzed(60)
@given(st.sampled_from(TEXTS).flatmap(damaged), st.sampled_from((".yaml", ".toml", ".yml")))
def test_a_damaged_file(content: bytes, suffix: str) -> None:
    asked(f"c{suffix}", file=(f"c{suffix}", content))


@fuzzed(120)
@given(st.sampled_from(FULL).flatmap(altered), st.booleans())
def test_an_altered_question(tree: object, as_json: bool) -> None:
    text = json.dumps(tree) if as_json else yaml.dump(tree)
    asked("c.yaml", file=("c.yaml", text.encode("utf-8", "surrogatepass")))


@fuzzed(100)
@given(
    st.lists(st.tuples(st.sampled_from(FIELDS) | words, words), min_size=1, max_size=3),
    st.sampled_from((nested, toml)),
    st.booleans(),
)
def test_fields_of_a_file(fields: list[tuple[str, str]], write: object, good: bool) -> None:
    suffix = ".yaml" if write is nested else ".toml"
    whole = [("recipe", "rings"), ("arms.a.batch", "32"), ("arms.b.batch", "64")] if good else []
    text = write([*whole, *fields]).encode("utf-8", "surrogatepass")  # type: ignore[operator]
    asked(f"c{suffix}", file=(f"c{suffix}", text))


@fuzzed(80)
@given(
    st.sampled_from(("--grid", "--search", "--vary", "--samplers", "--scores", "--trials")),
    st.sampled_from(FIELDS) | words,
    words | scalars.map(str),
    words,
    st.sampled_from(("{0}={1}", "{0}={1}:{2}", "{0}={1}:{2}:log", "{0}={1},{2}", "{0},{1}", "{1}")),
)
def test_what_is_tuned_by_flags(flag: str, name: str, one: str, other: str, form: str) -> None:
    arms = [] if flag in ("--vary", "--samplers") else ["--samplers", "langevin,stanley"]
    trials = ["--trials", "4"] if flag == "--search" else []
    asked("rings", *arms, *trials, f"{flag}={form.format(name, one, other)}")


@fuzzed(40)
@given(st.data(), st.booleans())
def test_a_comparison_that_is_there(data: st.DataObject, shape: bool) -> None:
    """Its record is damaged; the runs are left as they are, and what is shown is of them."""
    name = "new/comparison.json"
    old = (compared() / name).read_bytes()
    content = as_text(data.draw(altered(json.loads(old)))) if shape else data.draw(damaged(old))
    with mock.patch("stanley.comparing.carry_out.compare", not_carried_out):
        attempt(AGAIN, compared(), {name: content}, may_change=("new/comparison",))
    attempt(["compare", name], compared(), {name: content}, may_change=("new/comparison",))


@fuzzed(40)
@given(st.data(), st.sampled_from(ROWS), st.sampled_from(("bytes", "shape", "other")))
def test_rows_of_runs(data: st.DataObject, name: str, how: str) -> None:
    """A row that is damaged is computed again, or refused."""
    old = (compared() / name).read_bytes()
    match how:
        case "bytes":
            content = data.draw(damaged(old))
        case "shape":
            content = as_text(data.draw(altered(json.loads(old))))
        case _:
            content = as_text(data.draw(values))
    attempt(AGAIN, compared(), {name: content}, may_change=("new/",))
