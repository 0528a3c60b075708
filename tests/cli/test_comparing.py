"""stanley compare: what words and flags ask for, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from stanley.cli import app
from stanley.cli.comparing import folder_of
from stanley.cli.config_file import read_config_file
from stanley.cli.question import asked, parsed_grid
from stanley.cli.values import load
from stanley.comparing import Comparison
from stanley.comparing.tables import terminal_lines
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError
from tests.test_results import record

ROOT = Path(__file__).parents[2]
GIVEN = dict.fromkeys(
    (
        "target",
        "shape",
        "log_density",
        "samplers",
        "vary",
        "seeds",
        "first_seed",
        "steps",
        "budget",
        "seconds",
        "grid",
        "search",
        "trials",
        "by",
        "tuning_seeds",
    )
)


def of(path: str = "rings", *, tuning: bool = True, fields: Any = None, **given: Any) -> Comparison:
    return asked(path, GIVEN | given, fields or {}, tuning)


@pytest.mark.parametrize(
    "file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_experiment_can_be_carried_out(file: Path):
    from_dict(Comparison, read_config_file(file)).check()


def test_the_file_in_the_documentation_can_be_carried_out():
    page = (ROOT / "docs" / "comparing.md").read_text()
    question, search, density = (
        load(dedent(block)) for block in re.findall(r"```yaml\n(.*?)```", page, re.S)
    )
    from_dict(Comparison, question).check()
    del question["grid"]
    from_dict(Comparison, question | search).check()
    from_dict(Comparison, density).check()


def test_samplers_are_arms_tuned_around_the_recipes_step_size():
    comparison = of(samplers="langevin,stanley,hmc", steps=100, fields={"batch": 64})
    assert comparison.arms == {n: {"sampler": n} for n in ("langevin", "stanley", "hmc")}
    assert comparison.fields == {"batch": 64, "steps": 100}
    assert comparison.grid["sampler.step_size"] == [0.0225, 0.045, 0.09, 0.18, 0.36]
    assert len(comparison.settings("stanley")) == 10
    assert len(comparison.settings("langevin")) == 5
    comparison.check()
    assert not of(samplers="langevin,mala", tuning=False).grid
    assert "sampler.threshold" not in of(samplers="langevin,mala").grid


def test_trials_search_the_range_of_the_usual_grid():
    comparison = of(samplers="langevin,stanley", trials=8)
    assert not comparison.grid
    assert comparison.search == {
        "sampler.step_size": {"low": 0.0225, "high": 0.36, "log": True},
        "sampler.threshold": [{"quantile": 0.5}, {"quantile": 0.9}],
    }
    assert (comparison.trials, comparison.by) == (8, "tpe")
    comparison.check()


def test_a_search_takes_the_place_of_the_grid_of_a_file_and_the_other_way_round(tmp_path: Path):
    file = str(ROOT / "experiments" / "demo.yaml")
    words = ("sampler.step-size=1e-3:1:log", "batch=32:64", "sampler.threshold=1,3")
    found = of(file, search=words, trials=9, by="qmc")
    assert not found.grid
    assert (found.trials, found.by) == (9, "qmc")
    assert found.search == {
        "sampler.step_size": {"low": 1e-3, "high": 1.0, "log": True},
        "batch": {"low": 32.0, "high": 64.0, "log": False},
        "sampler.threshold": [1, 3],
    }
    ask = tmp_path / "ask.yaml"
    ask.write_text(yaml.safe_dump(to_dict(found)))
    assert of(str(ask)) == found
    assert of(str(ask), trials=12).trials == 12
    back = of(str(ask), grid=("sampler.step_size=1,2",))
    assert (back.search, back.trials, back.by) == ({}, None, "tpe")
    assert not of(str(ask), tuning=False).tuned_fields


def test_samplers_on_a_density_are_arms_tuned_around_the_step_of_mala():
    comparison = asked(
        None, GIVEN | {"target": "banana", "samplers": "mala,hmc", "steps": 300}, {}, True
    )
    assert comparison.target == "banana"
    assert comparison.recipe is None
    assert comparison.arms == {"mala": {"sampler": "mala"}, "hmc": {"sampler": "hmc"}}
    assert comparison.fields == {"steps": 300}
    assert comparison.tuning_seeds == 3
    assert len(comparison.settings("mala")) == 5
    assert len(comparison.settings("hmc")) == 10
    comparison.check()
    own = {"target": "mine.py:U", "shape": [2], "log_density": True, "samplers": "mala"}
    comparison = asked(None, GIVEN | own, {"chains": 9}, False)
    assert comparison.fields == {"chains": 9, "shape": [2], "log_density": True}


def test_a_file_of_one_density_is_asked_of_another():
    file = str(ROOT / "experiments" / "samplers.yaml")
    comparison = of(file, target="quartic", seeds=2)
    assert comparison.target == "quartic"
    assert comparison.arms == from_dict(Comparison, read_config_file(Path(file))).arms
    assert folder_of(file, "quartic") == Path("comparisons/samplers-quartic")
    assert folder_of(None, "mine.py:U") == Path("comparisons/U")
    assert folder_of(None, "runs/rings") == Path("comparisons/rings")


def test_values_of_a_field_are_arms():
    comparison = of(vary="optimizer.lr=1e-3,4e-3", seeds=2)
    assert comparison.arms == {
        "lr=0.001": {"optimizer.lr": 0.001},
        "lr=0.004": {"optimizer.lr": 0.004},
    }
    assert not comparison.grid
    comparison.check()


def test_flags_change_a_file():
    file = str(ROOT / "experiments" / "demo.yaml")
    comparison = of(file, seeds=2, steps=50, fields={"batch": 32})
    assert comparison.seeds == 2
    assert comparison.fields["steps"] == 50
    assert comparison.fields["batch"] == 32
    assert comparison.grid == from_dict(Comparison, read_config_file(Path(file))).grid
    assert not of(file, tuning=False).grid


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "nothing to compare"),
        ("rings", "name the arms with --samplers"),
        ("rings --samplers langevin,langevin", "twice"),
        ("rings --samplers langevin --vary batch=1,2", "name the arms"),
        ("rings --samplers langevin,mala --grid batch", "names no values"),
        ("rings --samplers langevin,mala --grid batch=1 --grid batch=2", "given twice"),
        ("rings --samplers langevin,lange", "langevin"),
        ("ringz --samplers langevin,mala", "rings"),
        ("rings --target banana --samplers langevin,mala", "both the recipe rings and --target"),
        ("rings --shape 2 --samplers langevin,mala", "--shape is of a density"),
        ("experiments/demo.yaml --target banana", "--target is of a density"),
        ("--target bananna --samplers langevin,mala", "banana"),
        ("--target banana", "banana is one density; name the arms"),
        ("--target banana --samplers langevin,lange", "langevin"),
        ("--target banana --samplers langevin,mala --batch 3", "one of training"),
        ("--target banana --samplers langevin,mala --scores kl", "none of chains on a density"),
        ("--target banana --shape 3 --samplers langevin,mala", "has a shape of its own"),
        ("--target banana --samplers langevin,hmc --steps 10", "--steps"),
        ("rings --samplers langevin,mala --budget seconds", "give seconds"),
        ("rings --samplers langevin,mala --bacth 3", "batch"),
        ("experiments/demo.yaml --samplers mala", "has its own"),
        ("runs/none runs/nowhere", "no such run directory"),
        ("runs/none runs/nowhere --seeds 3", "yet to be made"),
        ("runs/none runs/nowhere --extend", "--extend is for runs that are yet to be made"),
        ("runs/none runs/nowhere --workers 2", "--workers is for runs"),
        ("rings --samplers langevin,mala --format gif", "format is 'gif'"),
        ("rings --samplers langevin,mala --search batch=1:2", "trials is None"),
        ("rings --samplers langevin,mala --search batch=1:b --trials 3", "is no range"),
        ("rings --samplers langevin,mala --search batch=1:2:lag --trials 3", "is no range"),
        ("rings --samplers langevin,mala --grid batch=1,2 --trials 3", "tried as a whole"),
        ("rings --samplers langevin,mala --no-tuning --trials 3", "--trials is of the tuning"),
        ("rings --vary batch=32,64 --trials 3", "trials is 3 and search is empty"),
        ("experiments/demo.yaml --trials 3", "trials is 3 and search is empty"),
        ("runs/none runs/nowhere --by qmc", "--by is for runs"),
        ("none.json", "none.json cannot be read"),
        ("none.json --seeds 3", "--seeds is for runs that are yet to be made, and none.json is a"),
        ("none.json --baseline mala", "--baseline is for"),
        ("none.json --batch 3", "--batch is for"),
        ("benchmarks/nuts.json", "is damaged"),
    ],
    ids=lambda word: word,
)
def test_what_cannot_be_compared_is_one_line(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    with pytest.raises(StanleyError, match=message):
        app(
            ["compare", *words.split(), *(["--out", str(tmp_path / "c")] if words else [])],
            exit_on_error=False,
            print_error=False,
        )
    assert not list(tmp_path.iterdir())


def test_a_record_is_shown_and_drawn_without_its_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    found = record(converted="from what another program found")
    (tmp_path / "rings.json").write_text(json.dumps(found))
    file = str(tmp_path / "rings.json")
    app(["compare", file], exit_on_error=False, result_action="return_value")
    lines = capsys.readouterr().out.splitlines()
    assert lines == terminal_lines(found)
    assert lines[-1] == "converted: from what another program found"
    words = ["compare", file, "--out", str(tmp_path / "out")]
    with pytest.warns(UserWarning, match="samples are not drawn"):
        app(words, exit_on_error=False, result_action="return_value")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *("comparison.md", "comparison.tex", "comparison.csv", "comparison.png")
    }
    assert capsys.readouterr().out.splitlines()[:-2] == lines


@pytest.mark.parametrize("flag", ["--format pdf", "--dpi 90"])
def test_a_figure_that_is_not_written_has_no_format(flag: str):
    with pytest.raises(StanleyError, match=f"{flag.split()[0]} is of the figures.*--out"):
        app(
            ["compare", "runs/none", "runs/nowhere", *flag.split()],
            exit_on_error=False,
            print_error=False,
        )


def test_a_grid_is_written_as_values_are():
    found = parsed_grid(
        (
            "sampler.step-size=1e-3,0.5",
            "sampler.threshold=[{quantile: 0.5}]",
        )
    )
    assert found == {
        "sampler.step_size": [0.001, 0.5],
        "sampler.threshold": [[{"quantile": 0.5}]],
    }


def test_a_density_of_ones_own_is_imported_where_it_is_named_or_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def U(x):\n    return (x * x).sum(-1) / 2\n")
    question = "arms: {a: {sampler: mala}, b: {sampler: hmc}}\nseeds: 1\nscores: [rhat]\n"
    Path("ask.yaml").write_text(
        f"target: mine.py:U\nfields: {{shape: 2, steps: 50, chains: 4}}\n{question}"
    )
    with pytest.raises(StanleyError, match=r"target names code, mine.py:U.*--trust"):
        app(["compare", "ask.yaml"], exit_on_error=False, print_error=False)
    checked: list[Comparison] = []
    monkeypatch.setattr(
        "stanley.comparing.carry_out.compare", lambda c, *_, **__: checked.append(c)
    )
    for words in (["ask.yaml", "--trust"], ["ask.yaml", "--target", "mine.py:U"]):
        with pytest.raises(TypeError):  # of the answer that there is not
            app(["compare", *words], exit_on_error=False, print_error=False)
    assert [c.target for c in checked] == ["mine.py:U"] * 2


def test_code_that_a_file_names_is_imported_only_when_it_is_named_or_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("import pathlib; pathlib.Path('imported').touch()\ndef Net(): ...\n")
    Path("ask.yaml").write_text(
        "recipe: rings\narms: {a: {}, b: {network: 'evil.py:Net'}}\nseeds: 1\n"
    )
    with pytest.raises(StanleyError, match=r"arms.b.network names code, evil.py:Net.*--trust"):
        app(["compare", "ask.yaml"], exit_on_error=False, print_error=False)
    assert not Path("imported").exists()
    with pytest.raises(StanleyError, match="made a NoneType"):
        app(["compare", "ask.yaml", "--trust"], exit_on_error=False, print_error=False)
    assert Path("imported").exists()


@pytest.mark.parametrize("file", ["config.json", "compared.json"])
def test_one_run_by_itself_is_no_recipe(tmp_path: Path, file: str):
    (tmp_path / file).write_text("{}")
    with pytest.raises(StanleyError, match="one run that is there already; give others"):
        of(str(tmp_path))
