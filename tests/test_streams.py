"""One rule for random streams: no two purposes share one, and nothing is seeded beside the rule."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import stanley.judging.evaluate
import stanley.models.trained
from stanley.data.base import held_out_order
from stanley.errors import StanleyError
from stanley.judging.evaluate import evaluate
from stanley.ranks import World
from stanley.samplers import Langevin
from stanley.streams import data_stream, global_stream, seed_of, stream
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.state import TrainState, chain_stream
from tests import seeds
from tests.conftest import changed

SOURCE = Path(__file__).parents[1] / "src" / "stanley"
MAKERS = ("stream", "seed_of", "global_stream")


def names_asked_for(code: str) -> list[str]:
    """What each call of a maker in a module is named after: the words of the name,
    as they stand.
    """
    calls = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    made = (node for node in calls if isinstance(node.func, ast.Name) and node.func.id in MAKERS)
    return [" ".join(ast.unparse(part) for part in node.args[1:2]) for node in made]


NAMES = [
    name
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name != "streams.py"
    for name in names_asked_for(path.read_text())
]


def test_every_purpose_has_a_name_of_its_own() -> None:
    assert len(NAMES) >= 15
    assert all(isinstance(ast.literal_eval(name), str) for name in NAMES), NAMES
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []


def test_negative_control_a_name_that_is_used_twice_is_seen() -> None:
    code = "stream(seed, 'chains', 3)\nif x:\n    y = stream(other, 'chains', device=place)"
    assert names_asked_for(code) == ["'chains'", "'chains'"]


def test_nothing_is_seeded_beside_the_rule() -> None:
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if "manual_seed" in path.read_text()
    }
    assert found == {"streams.py"}
    users = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if "data_stream(" in path.read_text()
    }
    assert users == {"streams.py", "data/base.py", "data/toy2d.py", "targets/posteriors.py"}


def test_names_and_seeds_make_distinct_streams() -> None:
    names = [(ast.literal_eval(name),) for name in NAMES]
    ranks = [
        ("chains of training", rank, size, step)
        for size in (1, 2, 4)
        for rank in range(size)
        for step in (0, 7)
    ]
    alike = [("a", "b"), ("a b",), ("a,b",), ("ab",), ("1",), (1,), (), ("",), ("a", 1), ("a", "1")]
    every = [(seed, *name) for seed in (0, 1, 2, 2**63 - 1) for name in (*names, *ranks, *alike)]
    first = [int(torch.randint(2**62, (), generator=stream(*each))) for each in every]  # type: ignore[arg-type]
    assert len({seed_of(*each) for each in every}) == len(set(first)) == len(every)  # type: ignore[arg-type]


def test_the_derivation_is_what_it_says_and_stays_so() -> None:
    """Another one would change every number that anybody has written down."""
    digest = hashlib.blake2b(b'[3, "chains of training", 0, 1, 0]', digest_size=8).digest()
    assert seed_of(3, "chains of training", 0, 1, 0) == int.from_bytes(digest, "big") // 2
    assert seed_of(0, "weights") == 3593040475183021931
    assert 0 <= seed_of(2**63 - 1, "weights") < 2**63


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_have_bounds(seed: int) -> None:
    with pytest.raises(StanleyError, match="seed is"):
        stream(seed, "weights")


def test_the_global_generator_is_put_back() -> None:
    before = torch.get_rng_state()
    with global_stream(0, "weights"):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(inside, torch.rand(3, generator=stream(0, "weights")))


def test_weights_data_and_chains_of_training_are_three_streams(small: TrainConfig) -> None:
    state = TrainState(small, small.data.load(), World())
    assert torch.equal(
        state.data_generator.get_state(), stream(small.seed, "order of the data").get_state()
    )
    first = chain_stream(small.seed, state.world)
    again = TrainState(replace(small, seed=small.seed + 1), small.data.load(), state.world)
    drawn = [
        torch.rand(4, generator=g) for g in (first, state.data_generator, again.data_generator)
    ]
    assert len({tuple(x.tolist()) for x in drawn}) == 3


def test_one_evaluation_asks_for_no_stream_twice(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh chains, the bank, permutations and subsets: all of one seed, none of one stream."""
    asked: list[tuple[object, ...]] = []

    def noted(seed: int, *name: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        asked.append((seed, *name))
        return stream(seed, *name, device=device)

    config = changed(small, sampler=Langevin(0.01), adapt=None, steps=2, save_every=2)
    run = train(config, tmp_path / "run", device="cpu")
    for module in (stanley.judging.evaluate, stanley.models.trained):
        monkeypatch.setattr(module, "stream", noted)
    evaluate(
        run, num=40, steps=2, seed=5, features=["pixels"], kid=True, extrapolate=True, device="cpu"
    )
    # two kinds of samples, each with chains, permutations and features
    assert len(asked) == len(set(asked)) == 6
    assert {each[0] for each in asked} == {5}


def test_data_are_split_as_they_always_were() -> None:
    """A run of an earlier version finds its own held-out rows, and none that it was trained on."""
    order, _ = held_out_order(50, 0.1, 7, "rows")
    assert torch.equal(order, torch.randperm(50, generator=torch.Generator().manual_seed(7)))
    assert torch.equal(data_stream(7).get_state(), torch.Generator().manual_seed(7).get_state())


def test_negative_control_a_split_by_the_rule_would_mix_them() -> None:
    old = torch.randperm(50, generator=data_stream(7))
    new = torch.randperm(50, generator=stream(7, "split"))
    assert set(new[-5:].tolist()) & set(old[:45].tolist())


def test_seeds_that_agree_in_their_last_32_bits_are_two() -> None:
    first, second = (torch.rand(3, generator=data_stream(s)) for s in (7, 7 + 2**32))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(7)))


def test_every_run_of_the_suite_draws_anew() -> None:
    """And every test in it; the same run and test once more draw the same."""

    def draws(suite: int, test: str) -> tuple[float, ...]:
        seeds.begin(suite, test)
        ours = float(torch.rand((), generator=seeds.stream()))
        other = float(torch.rand((), generator=seeds.stream(1)))
        return ours, other, float(torch.rand(())), float(seeds.RNG.random())

    runs = {(suite, test): draws(suite, test) for suite in (1, 2, 2 + 2**32) for test in "ab"}
    assert len({number for found in runs.values() for number in found}) == 6 * 4
    assert draws(2, "b") == runs[2, "b"]
