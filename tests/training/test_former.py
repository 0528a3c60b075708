"""Configurations of before the objective was a part: runs, models and files are read as before."""

from __future__ import annotations

import json
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import stanley
from stanley.cli.config_file import read_config_file
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError
from stanley.models.packed import CARD, read_packed
from stanley.models.packing import PRETRAINED, SHIPPED, pack
from stanley.models.trained import load
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers import RobbinsMonro
from stanley.training.augment import Augment
from stanley.training.config import TrainConfig
from stanley.training.former import NOW_IN_OBJECTIVE, up_to_date
from stanley.training.loop import train
from stanley.training.objectives.contrastive import Contrastive, Growth
from stanley.training.recipes import RECIPES
from stanley.training.resolve import resolve
from tests.conftest import changed, without_time


def of_before(values: dict[str, Any]) -> dict[str, Any]:
    """The plain values as they were written when the objective's fields stood beside the others."""
    rest = {name: value for name, value in values.items() if name != "objective"}
    objective = {name: value for name, value in values["objective"].items() if name != "kind"}
    return rest | objective


def make_former(run: RunDirectory) -> None:
    """Rewrite a run's configuration, and that in each of its checkpoints, in the form of before."""
    run.config_file.write_text(json.dumps(of_before(json.loads(run.config_file.read_text()))))
    for path in checkpoint.saved(run.checkpoints):
        saved = checkpoint.load(path)
        meta = saved.meta | {"config": of_before(saved.meta["config"])}
        checkpoint.save(checkpoint.Checkpoint(saved.tensors, meta), run.checkpoints, keep=9)


def test_all_fields_that_moved_are_known() -> None:
    assert set(NOW_IN_OBJECTIVE) == {f.name for f in fields(Contrastive)} - {"kind"}
    assert not set(NOW_IN_OBJECTIVE) & {f.name for f in fields(TrainConfig)}


#: Other objectives are younger than the form of today.
CONTRASTIVE = [name for name, config in RECIPES.items() if config.objective.kind == "contrastive"]


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_the_values_of_before_are_the_same_configuration(name: str) -> None:
    config = RECIPES[name]
    assert from_dict(TrainConfig, up_to_date(of_before(to_dict(config)))) == config
    with pytest.raises(StanleyError, match="unknown field"):  # negative control
        from_dict(TrainConfig, of_before(to_dict(config)))


def test_parts_inside_the_objective_too(small: TrainConfig) -> None:
    pieces: dict[str, Any] = {"growth": Growth(9), "augment": Augment(shift=1)}
    config = changed(small, **pieces, adapt=RobbinsMonro(0.5, rate=0.1))
    assert from_dict(TrainConfig, up_to_date(of_before(to_dict(config)))) == config


def test_values_of_today_stay_as_they_are(small: TrainConfig) -> None:
    values = to_dict(small)
    assert up_to_date(values) is values
    assert up_to_date({"steps": 3}) == {"steps": 3}  # of a file: the recipe has the rest


@pytest.mark.parametrize("now", ["objective", "objective.restart"])
def test_a_mixture_is_refused(now: str) -> None:
    with pytest.raises(StanleyError, match=r"has chain_steps beside objective.*chain_steps") as e:
        up_to_date({"chain_steps": 3, now: 0.1})
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "steps: 7\nchain_steps: 4\nadapt: {rate: 0.1}\n"),
        ("a.yaml", "steps: 7\nchain_steps: 4\nadapt.rate: 0.1\n"),
        ("a.toml", "steps = 7\nchain_steps = 4\n[adapt]\nrate = 0.1\n"),
        ("a.yaml", "steps: 7\nobjective: {chain_steps: 4, adapt: {rate: 0.1}}\n"),
    ],
)
def test_files_of_users(tmp_path: Path, name: str, text: str) -> None:
    """Either form replaces fields of the recipe, and flags win over both."""
    (tmp_path / name).write_text(text)
    config = resolve("rings", read_config_file(tmp_path / name), {"objective.restart": 0.5})
    rings = RECIPES["rings"]
    objective = replace(rings.objective, chain_steps=4, adapt=RobbinsMonro(rate=0.1), restart=0.5)
    assert config == replace(rings, steps=7, objective=objective)
    with pytest.raises(StanleyError, match="never rejects"):  # what was asked for is kept
        resolve("rings", read_config_file(tmp_path / name), {"sampler.kind": "langevin"})


def test_a_run_of_before_resumes_as_if_unbroken(small: TrainConfig, tmp_path: Path) -> None:
    unbroken, run = train(small, tmp_path / "a", device="cpu"), train(small, tmp_path / "b")
    checkpoint.saved(run.checkpoints)[-1].unlink()
    make_former(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(small, tmp_path / "b", device="cpu")
    assert {event["kind"] for event in run.events()} == {"resumed"}
    assert without_time(run.records()) == without_time(unbroken.records())
    assert run.read_config() == to_dict(small)


def test_what_differs_is_told_by_its_new_name(small: TrainConfig, tmp_path: Path) -> None:
    run = train(small, tmp_path / "run", device="cpu")
    make_former(run)
    with pytest.raises(StanleyError, match=r"\(objective\.restart: 0\.1 → 0\.2\)"):
        train(changed(small, restart=0.2), run.path, device="cpu")
    with pytest.warns(UserWarning, match=r"changed objective\.gap_limit: 1000\.0 → 900\.0"):
        train(changed(small, gap_limit=900.0), run.path, device="cpu")


def test_a_run_of_before_is_loaded_and_packed(small: TrainConfig, tmp_path: Path) -> None:
    run = train(small, tmp_path / "run", device="cpu")
    pack(run, tmp_path / "today")
    make_former(run)
    assert load(run, device="cpu").config.objective == small.objective
    folder = pack(run, tmp_path / "packed")
    assert read_packed(folder).meta["config"] == read_packed(tmp_path / "today").meta["config"]
    assert "from the bank, 3 steps each" in (folder / CARD).read_text()


def test_the_same_model_packed_before_is_the_same_answer(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(small, tmp_path / "run", device="cpu")
    make_former(run)
    with monkeypatch.context() as before:
        before.setattr("stanley.models.packing.of_a_run", lambda values: values)
        before.setattr("stanley.models.packing.card", lambda *_: "a card")
        folder = pack(run, tmp_path / "packed")
    assert "objective" not in read_packed(folder).meta["config"]
    assert load(folder, device="cpu").config.objective == small.objective
    pack(run, folder)
    assert not list(folder.glob("*former*"))


@pytest.mark.parametrize("name", [name for name in PRETRAINED if name.endswith("-contrastive")])
def test_models_that_come_with_the_library(name: str) -> None:
    """They were packed before, and load unchanged."""
    packed = read_packed(SHIPPED / name).meta["config"]
    config = stanley.pretrained(name).config
    assert "objective" not in packed
    assert packed["chain_steps"] == config.objective.chain_steps
    assert {k: v for k, v in of_before(to_dict(config)).items() if k != "data"} == {
        k: v for k, v in packed.items() if k != "data"
    }
