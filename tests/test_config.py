"""Configurations: there and back, overrides, and errors that name the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stanley.cli.fields import parse_fields, read_config_file, resolve
from stanley.config import apply, differences, from_dict, to_dict
from stanley.errors import StanleyError
from stanley.recipes import ABOUT, RECIPES, recipe
from stanley.samplers import MALA, Adjusted, Langevin, Quantile, Stanley
from stanley.train import TrainConfig


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_a_round_trip(name: str) -> None:
    assert from_dict(TrainConfig, to_dict(recipe(name))) == recipe(name)
    assert ABOUT[name]


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("steps: 7\nbatch: 8\noptimizer: {lr: 0.5}\n")
    config = resolve("rings", read_config_file(file), {"steps": 9})
    assert (config.steps, config.batch, config.optimizer.lr) == (9, 8, 0.5)
    assert config.chain_steps == recipe("rings").chain_steps


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
        ({"sampler.threshold.quantile": 0.5, "sampler.kind": "stanley"}, Stanley(0.09, Quantile(0.5))),
        (
            {
                "sampler.kind": "adjusted",
                "sampler.proposal.kind": "stanley",
                "sampler.step_size": 0.2,
                "sampler.threshold": 1,
            },
            Adjusted(Stanley(0.2, 1.0)),
        ),
    ],
)
def test_sampler_flags(flags: dict[str, Any], sampler: object) -> None:
    base = TrainConfig(data=recipe("rings").data, network=recipe("rings").network, sampler=MALA(0.09))
    config = to_dict(base)
    apply(config, flags)
    assert from_dict(TrainConfig, config).sampler == sampler


def test_a_sampler_that_never_rejects_drops_the_recipe_s_adaptation_unless_it_was_asked_for() -> None:
    assert resolve("rings", {}, {"sampler.kind": "langevin"}).adapt is None
    with pytest.raises(StanleyError, match="never rejects"):
        resolve("rings", {}, {"sampler.kind": "langevin", "adapt.rate": 0.1})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"stpes": 3}, "unknown field 'stpes'.*did you mean 'steps'"),
        ({"data.raddi": [1]}, "unknown field 'data.raddi'.*did you mean 'radii'"),
        ({"sampler.kind": "malla"}, "sampler.kind is 'malla': did you mean 'mala'"),
        ({"network.kind": "convet"}, "network.kind is 'convet': did you mean 'convnet'"),
        ({"sampler.step_size": -1}, "step_size is -1"),
        ({"steps": "many"}, "steps is 'many', must be a valid integer"),
        ({"steps": 0}, "steps is 0"),
        ({"start": "nowhere"}, "start is 'nowhere', must be 'bank', 'data' or 'noise'"),
        ({"sampler.kind": "adjusted"}, "sampler.proposal.kind is missing"),
        ({"sampler.kind": "adjusted", "sampler.proposal.kind": "mala"}, "sampler.proposal.kind is 'mala'"),
        ({"sampler.kind": "stanley", "sampler.scope": "row"}, "sampler.scope is 'row'"),
        ({"sampler.kind": "stanley", "sampler.threshold.quantile": 2}, "quantile is 2"),
    ],
)
def test_errors_are_one_line_that_names_the_field(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(StanleyError, match=message) as error:
        resolve("rings", {}, flags)
    assert "\n" not in str(error.value)


def test_unknown_recipe() -> None:
    with pytest.raises(StanleyError, match="unknown recipe 'ring': did you mean 'rings'"):
        recipe("ring")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "steps: [1", "cannot be read"),
        ("a.yaml", "- 1\n- 2\n", "must hold fields"),
        ("a.toml", "steps = ", "cannot be read"),
        ("a.json", "{}", "give a .yaml or .toml file"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(StanleyError, match=message) as error:
        read_config_file(file)
    assert "\n" not in str(error.value)


def test_a_missing_file() -> None:
    with pytest.raises(StanleyError, match="No such file"):
        read_config_file(Path("not-there.yaml"))


def test_differences_are_leaves() -> None:
    a, b = to_dict(recipe("rings")), to_dict(recipe("rings"))
    assert differences(a, b) == {}
    b["network"]["width"] = 7
    assert differences(a, b) == {"network.width": (128, 7)}
