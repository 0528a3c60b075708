"""Every flag of every command with what is no value, on a request that is good without it."""

from __future__ import annotations

import functools
import inspect
import math
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from stanley.cli import app
from stanley.cli.usage import WORDS

from .damage import fuzzed, words
from .sandbox import attempt, images, plane

#: What a request is made from -> command -> the request, which can be carried out.
REQUESTS = {
    "plane": {
        "train": "train rings --out new --steps 2 --data.num 40 --batch 8 --objective.bank-size 8",
        "evaluate": "evaluate run --num 4 --steps 1",
        "likelihood": "likelihood run --levels 2 --chains 2 --rows 4",
        "plot": "plot run",
        "report": "report run --out new.html",
        "recipes": "recipes",
        "targets": "targets",
        "pack": "pack run --out new",
        "push": "push packed me/model",
        "pull": "pull me/model --out new",
        "compare": "compare rings --samplers langevin,mala --no-tuning --seeds 1 --steps 2 "
        "--budget iterations --scores record.loss --data.num 40 --batch 8 "
        "--objective.bank-size 8 --network.width 4 --network.depth 1 --out new",
        "features train": "features train mnist --data.root . --out new.safetensors",
    },
    "images": {
        "sample": "sample run --num 2 --steps 1 --out new",
        "diagnose": "diagnose run --num 4 --steps 8 --warm-up 2 --rays 2 --out new",
        "inpaint": "inpaint run pictures/0.png --mask left-half --steps 1 --num 1 --out new",
        "denoise": "denoise run pictures/0.png --noise 0.5 --steps 1 --num 1 --out new",
        "interpolate": "interpolate run pictures/0.png pictures/1.png --steps 1 --out new",
        "compose": "compose run packed --steps 1 --num 2 --warm-up 1 --out new",
        "ood": "ood run pictures --out new/a.csv",
    },
}
GOOD = {
    name: (text.split(), base) for base, texts in REQUESTS.items() for name, text in texts.items()
}

#: Numbers above this would be carried out, and take the time or the memory that they ask for.
MOST = 50
#: A comparison makes so many runs, or so many at a time.
MOST_RUNS = 8
BASES = {"plane": plane, "images": images}


@functools.cache
def flags_of(command: str) -> tuple[str, ...]:
    """Every --name of the command, and of the fields that it takes besides."""
    function, _, _ = app.parse_args(
        [*command.split(), *needed(command)], exit_on_error=False, print_error=False
    )
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty:
            found.append(f"--{name.strip('_').replace('_', '-')}")
    found += [
        "--sampler",
        "--sampler.step-size",
        "--sampler.kind",
        "--sampler.threshold",
        "--data.root",
        "--data.path",
    ]
    return tuple(dict.fromkeys(found))


def needed(command: str) -> list[str]:
    return GOOD[command][0][len(command.split()) :]


def too_long(value: str, most: int = MOST) -> bool:
    """A number that is large and good: what it asks for would be done."""
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return False
    return math.isfinite(number) and number > most


def abroad(flag: str, value: str) -> bool:
    """A place outside the sandbox, where the user may write and this test may not."""
    outside = value.startswith(("/", "..", "~")) and not value.startswith("/dev/")
    return outside and flag in ("--out", "--data.root", "--data.path")


@fuzzed(350)
@given(st.data(), words, st.booleans(), st.booleans())
def test_a_flag_with_what_is_no_value(
    data: st.DataObject, value: str, equals: bool, as_json: bool
) -> None:
    command = data.draw(st.sampled_from(sorted(GOOD)))
    flag = data.draw(st.sampled_from(flags_of(command)))
    most = MOST_RUNS if command == "compare" else MOST
    assume(not too_long(value, most) and not abroad(flag, value))
    good, base = GOOD[command]
    given_ = [f"{flag}={value}"] if equals else [flag, value]
    asked = [*good, *given_, *(["--json"] if as_json else [])]
    attempt(
        asked, BASES[base](), may_change=("run/", "new", "cache", "runs", "samples", "diagnosis")
    )


@fuzzed(80)
@given(st.data(), st.lists(words, min_size=1, max_size=4))
def test_words_in_any_place(data: st.DataObject, extra: list[str]) -> None:
    """Positional words that nobody asked for, in front of and behind the flags, or in the place of
    a name.
    """
    command = data.draw(st.sampled_from(sorted(GOOD)))
    good, base = GOOD[command]
    at = data.draw(st.integers(len(command.split()), len(good)))
    drop = data.draw(st.integers(0, 2))
    asked = [*good[:at], *extra, *good[at + drop :]]
    assume(not any(too_long(word) for word in asked))
    assume(not any(abroad(flag, value) for flag, value in pairwise(asked)))
    assume("--out" in asked or "run" in asked)
    attempt(
        asked, BASES[base](), may_change=("run/", "new", "cache", "runs", "samples", "diagnosis")
    )


@fuzzed(30)
@given(st.lists(words, max_size=3))
def test_no_command(asked: list[str]) -> None:
    attempt(asked)


def test_every_command_is_tried() -> None:
    # the demo takes a minute, torch.export seconds, and the studio does not end by itself
    assert set(GOOD) | {"demo", "export", "studio"} == set(WORDS)
