"""Configurations: there and back, overrides, and errors that name the field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stanley.cli.config_file import read_config_file
from stanley.cli.values import parse_fields
from stanley.config import differences, from_dict, to_dict
from stanley.errors import StanleyError
from stanley.samplers import (
    HMC,
    MALA,
    Adjusted,
    Barker,
    Langevin,
    Quantile,
    ReplicaExchange,
    Stanley,
    Underdamped,
)
from stanley.training.config import TrainConfig
from stanley.training.fields import apply
from stanley.training.recipes import ABOUT, RECIPES, recipe
from stanley.training.resolve import resolve


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_a_round_trip(name: str) -> None:
    assert from_dict(TrainConfig, to_dict(recipe(name))) == recipe(name)
    assert ABOUT[name]


def test_a_type_is_prepared_for_comparing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison reads a configuration for every setting of its grid, a thousand times as fast
    as pydantic takes in a type.
    """
    values = to_dict(recipe("rings"))
    from_dict(TrainConfig, values)

    def again(*_: Any) -> None:
        raise AssertionError("taken in again")

    monkeypatch.setattr("pydantic.TypeAdapter", again)
    assert from_dict(TrainConfig, values) == recipe("rings")


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("steps: 7\nbatch: 8\noptimizer: {lr: 0.5}\n")
    config = resolve("rings", read_config_file(file), {"steps": 9})
    assert (config.steps, config.batch, config.optimizer.lr) == (9, 8, 0.5)
    assert config.objective == recipe("rings").objective


def test_toml_is_read_as_yaml_is(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("steps = 7\n[sampler]\nkind = 'stanley'\nthreshold = {quantile = 0.8}\n")
    config = resolve("rings", read_config_file(file), {})
    assert config.steps == 7
    assert config.sampler == Stanley(recipe("rings").sampler.step_size, Quantile(0.8))  # type: ignore[union-attr]


def test_tokens_are_read_as_values() -> None:
    tokens = ["--a.b-c", "3", "--d=[1, 2]", "--e", "null", "--f", "-1", "--g=x=y"]
    assert parse_fields(tokens) == {"a.b_c": 3, "d": [1, 2], "e": None, "f": -1, "g": "x=y"}


@pytest.mark.parametrize(
    ("flags", "sampler"),
    [
        ({"sampler.step_size": 0.5}, MALA(0.5)),
        ({"sampler.kind": "langevin"}, Langevin(0.09)),
        ({"sampler.threshold": 2.0, "sampler.kind": "stanley"}, Stanley(0.09, 2.0)),
        (
            {"sampler.threshold.quantile": 0.5, "sampler.kind": "stanley"},
            Stanley(0.09, Quantile(0.5)),
        ),
        (
            {
                "sampler.kind": "adjusted",
                "sampler.proposal.kind": "stanley",
                "sampler.step_size": 0.2,
                "sampler.threshold": 1,
            },
            Adjusted(Stanley(0.2, 1.0)),
        ),
        (
            {"sampler.kind": "replica-exchange", "sampler.sampler.kind": "mala"},
            ReplicaExchange(MALA(0.09)),
        ),
        (
            {
                "sampler.kind": "replica-exchange",
                "sampler.sampler.kind": "adjusted",
                "sampler.sampler.proposal.kind": "stanley",
                "sampler.step_size": 0.2,  # through both
                "sampler.threshold": 1,
                "sampler.temperatures": [1, 3],
                "sampler.power": 0.5,
            },
            ReplicaExchange(Adjusted(Stanley(0.2, 1.0)), (1.0, 3.0), 0.5),
        ),
        (
            {
                "sampler.kind": "replica-exchange",
                "sampler.sampler.kind": "underdamped",
                "sampler.sampler.step_size": 1,
            },
            ReplicaExchange(Underdamped(1.0)),
        ),
    ],
)
def test_sampler_flags(flags: dict[str, Any], sampler: object) -> None:
    base = TrainConfig(
        data=recipe("rings").data, network=recipe("rings").network, sampler=MALA(0.09)
    )
    config = to_dict(base)
    apply(config, flags)
    assert from_dict(TrainConfig, config).sampler == sampler


def test_the_step_size_outlives_what_it_was_wrapped_in() -> None:
    config = to_dict(recipe("rings"))
    config["sampler"] = to_dict(ReplicaExchange(Adjusted(Stanley(0.3)), (1.0, 2.0)))
    apply(config, {"sampler.kind": "barker"})
    assert from_dict(TrainConfig, config).sampler == Barker(0.3)


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ({"sampler.kind": "hmc", "sampler.step_size": 0.3}, True),
        ({"sampler.kind": "replica-exchange", "sampler.sampler.kind": "mala"}, True),
        ({"sampler.kind": "replica-exchange", "sampler.sampler.kind": "langevin"}, False),
        ({"sampler.kind": "underdamped", "sampler.step_size": 0.3}, False),
    ],
)
def test_what_acceptance_drives_stays_where_something_is_rejected(
    flags: dict[str, Any], kept: bool
) -> None:
    assert recipe("rings").objective.adapt is not None
    assert (resolve("rings", {}, flags).objective.adapt is not None) == kept


def test_a_sampler_that_never_rejects_drops_the_recipe_s_adaptation_unless_it_was_asked_for() -> (
    None
):
    assert resolve("rings", {}, {"sampler.kind": "langevin"}).objective.adapt is None
    with pytest.raises(StanleyError, match="never rejects"):
        resolve("rings", {}, {"sampler.kind": "langevin", "objective.adapt.rate": 0.1})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"stpes": 3}, "unknown field 'stpes'.*did you mean 'steps'"),
        ({"data.raddi": [1]}, "unknown field 'data.raddi'.*did you mean 'radii'"),
        ({"sampler.kind": "malla"}, "sampler.kind is 'malla': did you mean 'mala'"),
        ({"network.kind": "convet"}, "network.kind is 'convet': did you mean 'convnet'"),
        ({"sampler.step_size": -1}, "step_size is -1"),
        ({"steps": "many"}, "steps is 'many', but must be a valid integer"),
        ({"steps": 0}, "steps is 0"),
        (
            {"chain_steps": 5},
            r"unknown field 'chain_steps' \(value 5\): did you mean 'objective.chain_steps'",
        ),
        ({"chain_stpes": 5}, "unknown field 'chain_stpes'.*did you mean 'objective.chain_steps'"),
        ({"adapt.rate": 0.1}, "unknown field 'adapt'.*did you mean 'objective.adapt'"),
        ({"lr": 1}, "unknown field 'lr'.*did you mean 'optimizer.lr'"),
        ({"depth": 1}, "unknown field 'depth'.*did you mean 'network.depth'"),
        ({"kind": 1}, "unknown field 'kind'.*did you mean 'data.kind' or 'network.kind'"),
        ({"objective.chian_steps": 3}, "unknown field 'objective.chian_steps'.*'chain_steps'"),
        (
            {"objective.kind": "contrast"},
            "objective.kind is 'contrast': did you mean 'contrastive'",
        ),
        ({"objective": "x"}, "objective.kind is 'x'"),
        ({"objective": 5}, "objective is 5, but must be one of its kinds"),
        (
            {"objective.start": "nowhere"},
            "objective.start is 'nowhere', but must be 'bank', 'data' or 'noise'",
        ),
        ({"sampler.kind": "adjusted"}, "sampler.proposal.kind is missing"),
        (
            {"sampler.kind": "adjusted", "sampler.proposal.kind": "mala"},
            "sampler.proposal.kind is 'mala'",
        ),
        ({"sampler.kind": "replica-exchange"}, "sampler.sampler.kind is missing"),
        (
            {"sampler.kind": "replica-exchange", "sampler.sampler.kind": "replica-exchange"},
            "sampler.sampler.kind is 'replica-exchange'",
        ),
        (
            {
                "sampler.kind": "replica-exchange",
                "sampler.sampler.kind": "mala",
                "sampler.temperatures": [2, 1],
            },
            "temperatures are",
        ),
        ({"sampler.kind": "stanley", "sampler.scope": "row"}, "sampler.scope is 'row'"),
        ({"sampler.kind": "stanley", "sampler.threshold.quantile": 2}, "quantile is 2"),
    ],
)
def test_errors_are_one_line_that_names_the_field(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(StanleyError, match=message) as error:
        resolve("rings", {}, flags)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["objective", "objective.kind"])
def test_the_objective_is_named_like_other_parts(name: str) -> None:
    assert resolve("rings", {}, {name: "contrastive"}) == recipe("rings")
    config = resolve("rings", {}, {name: "contrastive", "objective.chain_steps": 5})
    assert config.objective == replace(recipe("rings").objective, chain_steps=5)


def test_unknown_recipe() -> None:
    with pytest.raises(StanleyError, match="unknown recipe 'ring': did you mean 'rings'"):
        recipe("ring")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "steps: [1", "cannot be read"),
        ("a.yaml", "- 1\n- 2\n", "must hold fields"),
        ("a.toml", "steps = ", "cannot be read"),
        ("a.txt", "{}", "give a .yaml or .toml file"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(StanleyError, match=message) as error:
        read_config_file(file)
    assert "\n" not in str(error.value)


def test_every_recipe_is_read_from_the_json_of_its_runs(tmp_path: Path) -> None:
    """Over any recipe of the same data, which is how a run is gone on with that nobody named."""
    file = tmp_path / "config.json"
    for config in RECIPES.values():
        file.write_text(json.dumps(to_dict(config), indent=2))
        first = next(name for name, other in RECIPES.items() if other.data.kind == config.data.kind)
        assert resolve(first, read_config_file(file), {}) == config


def test_a_missing_file() -> None:
    with pytest.raises(StanleyError, match="No such file"):
        read_config_file(Path("not-there.yaml"))


def test_differences_are_leaves() -> None:
    a, b = to_dict(recipe("rings")), to_dict(recipe("rings"))
    assert differences(a, b) == {}
    b["network"]["width"] = 7
    assert differences(a, b) == {"network.width": (recipe("rings").network.width, 7)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("objective.gap_limit", "inf"),
        ("temperature", "inf"),
        ("objective.energy_l2", "Infinity"),
        ("optimizer.lr", "inf"),
    ],
)
def test_infinite_numbers_are_refused_because_json_has_none(field: str, value: str) -> None:
    with pytest.raises(StanleyError, match=f"{field} is inf, but must be a finite number"):
        resolve("rings", {}, parse_fields([f"--{field}", value]))


@pytest.mark.parametrize("word", ["yes", "on", "true"])
def test_a_word_that_yaml_takes_for_true_is_no_number(word: str) -> None:
    with pytest.raises(
        StanleyError, match=r"keep is (True|'(yes|on)'), but must be a (number|valid integer)"
    ):
        resolve("rings", {}, parse_fields(["--keep", word]))
    assert resolve("cifar10", {}, parse_fields(["--data.flip", word])).data.flip is True  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [[1], {"a": 1}, 5, None])
def test_a_kind_that_is_no_word(kind: Any) -> None:
    with pytest.raises(StanleyError, match=r"kind"):
        resolve("rings", {}, {"sampler.kind": kind})


def test_a_field_given_twice() -> None:
    with pytest.raises(StanleyError, match=r"network\.width is given twice"):
        parse_fields(["--network.width", "4", "--network.width=8"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1: 2\n", "unknown field '1'"),
        (b"network:\n  null: 2\n", "unknown field 'network.null'"),
        (b"network: &a\n  b: *a\n", "nested over"),
        (b"start: \xe9\n", "not UTF-8"),
    ],
)
def test_odd_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(StanleyError, match=message) as error:
        resolve("rings", read_config_file(tmp_path / "a.yaml"), {})
    assert "\n" not in str(error.value)


def test_a_time_step_is_not_taken_for_a_variance():
    """HMC's ε is the square root of the h of the same move: the new sampler must be given its
    own.
    """
    config = to_dict(recipe("rings"))
    apply(config, {"sampler.kind": "hmc"})
    with pytest.raises(StanleyError, match="step_size is missing"):
        from_dict(TrainConfig, config)
    apply(config, {"sampler.step_size": 0.3})
    assert from_dict(TrainConfig, config).sampler == HMC(0.3)
    apply(config, {"sampler.kind": "barker"})
    assert "step_size" not in config["sampler"]
