"""From a question to its answer: runs, rows, resumes, workers that die, tables and figures."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stanley.comparing import Comparison, carry_out, compare, trained
from stanley.comparing.given import compare_runs
from stanley.comparing.record import read_record
from stanley.comparing.tables import (
    csv_text,
    escaped,
    latex,
    markdown,
    scores_table,
    terminal_lines,
    write_tables,
)
from stanley.comparing.task import RECORD, ROW
from stanley.comparing.workers import LocalWorkers, workers_on
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError, require
from stanley.judging.evaluate import exact_kl
from stanley.plots import Drawing
from stanley.plots.comparison import comparison as figure_of
from stanley.plots.comparison import write_figures
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.recipes import recipe
from tests.comparing.here import Here
from tests.seeds import fresh_seed

#: Rings so small that a run takes less than a second; with a reference Z is finite from the start.
TINY = {
    "steps": 12,
    "batch": 16,
    "network.width": 16,
    "network.depth": 2,
    "objective.bank_size": 32,
    "objective.chain_steps": 3,
    "reference_std": 3.0,
}
ARMS = {"Langevin": {"sampler": "langevin"}, "MALA": {"sampler": "mala"}}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch):
    from contextlib import nullcontext

    monkeypatch.setattr(carry_out, "workers_on", lambda *_: nullcontext(Here()))


def asked(**fields: Any) -> Comparison:
    seed = fresh_seed() % 1_000
    usual: dict[str, Any] = {"recipe": "rings", "arms": ARMS, "fields": TINY, "seeds": 2}
    return Comparison(
        **(usual | {"first_seed": seed, "scores": ["record.loss"], "along": 2} | fields)
    )


def values(result: dict[str, Any], score: str = "record.loss") -> dict[str, Any]:
    return {arm: found["values"] for arm, found in result["scores"][score].items()}


def failures(result: dict[str, Any]) -> list[str]:
    return [r["failure"] for a in result["arms"].values() for r in a["runs"] if r["failure"]]


def test_the_answer_says_what_was_asked_tuned_spent_and_found(here: None, tmp_path: Path):
    comparison = asked(
        grid={"sampler.step_size": [0.02, 0.05]}, scores=["kl", "gradients"], seeds=1
    )
    result = compare(comparison, tmp_path / "c")
    assert json.loads((tmp_path / "c" / "comparison.json").read_text()) == json.loads(
        json.dumps(result)
    )
    assert from_dict(Comparison, result["asked"]) == comparison
    assert not failures(result)
    for arm, about in result["arms"].items():
        assert set(about["tuning"]) == {"step_size=0.02", "step_size=0.05"}
        tried = {name: trial["score"] for name, trial in about["tuning"].items()}
        assert about["setting_name"] == min(tried, key=lambda name: tried[name])
        assert about["edges"] == ["sampler.step_size"]  # of two values each is an end
        share = {"steps": 12, "chain_steps": 3, "gradients": 12 * 16 * 4, "chains": None}
        assert about["share"] == share
        assert [run["seed"] for run in about["runs"]] == list(comparison.reported)
        for run in about["runs"]:
            assert [step for step, _ in run["along"]] == [6, 12]
            assert run["along"][-1][1] == run["scores"]["kl"]
            config = RunDirectory(tmp_path / "c" / run["folder"]).read_config()
            assert config["seed"] == run["seed"]
            assert config["sampler"]["kind"] == ARMS[arm]["sampler"]


def test_an_arm_may_begin_from_another_recipe_and_lack_a_score(here: None, tmp_path: Path):
    """Objectives side by side: flow matching is no density, and denoising has no bank."""
    small = {"network.width": 16, "network.depth": 1, "network.fourier": 2}
    arms = {
        "chains": {"reference_std": 3.0},
        "denoising": {"recipe": "rings-warm-start", "objective": "denoising", **small},
        "flow": {"recipe": "rings-warm-start", "objective": "flow-matching"}
        | {"network.damped": False, **small},
    }
    fields = {"steps": 4, "batch": 16}
    scores = ["kl", "fresh.mmd2", "bank.mmd2"]
    comparison = asked(
        arms=arms, fields=fields, scores=scores, seeds=1, num=64, budget="iterations"
    )
    result = compare(comparison, tmp_path / "c")
    assert not failures(result)
    assert list(result["scores"]["kl"]) == ["chains", "denoising"]
    assert list(result["scores"]["fresh.mmd2"]) == list(arms)
    assert list(result["scores"]["bank.mmd2"]) == ["chains"]
    run = RunDirectory(tmp_path / "c" / result["arms"]["denoising"]["runs"][0]["folder"])
    assert run.read_config()["network"]["kind"] == "level-mlp"
    assert run.read_config()["seed"] == comparison.first_seed
    assert read_record(tmp_path / "c" / carry_out.RECORD)["arms"].keys() == arms.keys()
    assert "flow" not in scores_table(result, ["kl", "bank.mmd2"])
    assert "| denoising | 1 |" in scores_table(result, ["kl", "bank.mmd2"])
    assert "| – |" in scores_table(result, ["fresh.mmd2", "kl"])
    out = tmp_path / "c"
    files = [*write_tables(result, out), *write_figures(result, out, Drawing(dpi=60))]
    assert all(file.stat().st_size for file in files)
    less = asked(
        arms={name: arms[name] for name in ("denoising", "flow")},
        fields=fields,
        scores=["fresh.mmd2", "bank.mmd2"],
        seeds=1,
        num=64,
        budget="iterations",
    )
    with pytest.raises(StanleyError, match=r"no arm can have the score bank.mmd2; leave it out"):
        compare(less, tmp_path / "d")


def test_a_run_of_a_comparison_is_the_run_that_train_makes(here: None, tmp_path: Path):
    comparison = asked(seeds=1, stacks=False)
    result = compare(comparison, tmp_path / "c")
    run = result["arms"]["MALA"]["runs"][0]
    config = from_dict(TrainConfig, RunDirectory(tmp_path / "c" / run["folder"]).read_config())
    again = train(config, tmp_path / "alone", device="cpu")
    assert again.records()[-1]["loss"] == run["scores"]["record.loss"]


def test_what_is_there_is_used_again_and_more_seeds_are_added(here: None, tmp_path: Path):
    comparison = asked()
    first = compare(comparison, tmp_path / "c")
    rows = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob(ROW)}
    more = asked(first_seed=comparison.first_seed, seeds=3)
    second = compare(more, tmp_path / "c")
    assert {p: p.stat().st_mtime_ns for p in rows} == rows
    for arm in ARMS:
        shared = {k: v for k, v in values(second)[arm].items() if k in values(first)[arm]}
        assert shared == values(first)[arm]
        assert len(values(second)[arm]) == 3


@pytest.mark.parametrize(
    "grid", [{}, {"sampler.step_size": [0.02, 0.05]}], ids=["as given", "grid"]
)
def test_as_many_runs_are_planned_as_there_are_in_the_end(
    here: None, tmp_path: Path, grid: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch
):
    noted = []
    original = carry_out.note_request
    monkeypatch.setattr(
        carry_out,
        "note_request",
        lambda folder, comparison: (
            original(folder, comparison),
            noted.append(json.loads((folder / RECORD).read_text())),
        ),
    )
    compare(asked(grid=grid), tmp_path / "c")
    assert [record["planned"] for record in noted] == [len(list((tmp_path / "c").rglob(ROW)))]
    assert noted[0]["unfinished"]


@pytest.mark.parametrize("stacks", [False, True], ids=["alone", "side by side"])
def test_stopped_and_gone_on_with_it_gives_the_same_bits(
    here: None, tmp_path: Path, stacks: bool, monkeypatch: pytest.MonkeyPatch
):
    comparison = asked(stacks=stacks)
    whole = compare(comparison, tmp_path / "whole")
    original, calls = trained.scored, []

    def stopped(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(trained, "scored", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(comparison, tmp_path / "parts")
    assert values(compare(comparison, tmp_path / "parts")) == values(whole)
    # a control: another seed gives other bits
    other = asked(first_seed=comparison.first_seed + 500, stacks=stacks)
    assert values(compare(other, tmp_path / "other")) != values(whole)


def test_a_run_that_diverges_is_a_result(here: None, tmp_path: Path):
    fields = TINY | {"objective.gap_limit": 1e-9, "on_divergence": "stop"}
    arms = {"calm": {"objective.gap_limit": 1e3}, "wild": {"sampler": "langevin"}}
    result = compare(asked(fields=fields, arms=arms, along=1), tmp_path / "c")
    wild = result["arms"]["wild"]["runs"]
    assert all("diverged" in run["failure"] for run in wild)
    assert result["scores"]["record.loss"]["wild"]["failed"] == 2
    assert result["scores"]["record.loss"]["calm"]["failed"] == 0
    assert "failed on all 2 seeds" in "\n".join(terminal_lines(result))
    assert figure_of(result) is not None
    assert "2 of 2" in markdown(result)
    assert not result["lost"]


def test_an_end_of_the_grid_is_extended_for_all_arms(here: None, tmp_path: Path):
    comparison = asked(seeds=1, grid={"sampler.step_size": [0.02, 0.05]})
    result = compare(comparison, tmp_path / "c", extend=True)
    grid = result["asked"]["grid"]["sampler.step_size"]
    assert 2 < len(grid) <= 2 + carry_out.EXTENSIONS
    tried = {arm: set(about["tuning"]) for arm, about in result["arms"].items()}
    assert tried["Langevin"] == tried["MALA"]
    assert len(tried["MALA"]) == len(grid)


def test_other_questions_are_refused_in_a_folder_that_has_one(here: None, tmp_path: Path):
    comparison = asked(seeds=1)
    compare(comparison, tmp_path / "c")
    other = asked(seeds=1, fields=TINY | {"batch": 32}, first_seed=comparison.first_seed)
    with pytest.raises(StanleyError, match=r"fields.batch is 16, now 32"):
        compare(other, tmp_path / "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "notes.txt").write_text("mine")
    with pytest.raises(StanleyError, match="holds other files"):
        compare(comparison, tmp_path / "d")


def test_a_row_of_another_setting_is_not_taken_for_this_one(here: None, tmp_path: Path):
    comparison = asked(seeds=1)
    compare(comparison, tmp_path / "c")
    other = ARMS | {"MALA": {"sampler": "mala", "optimizer.lr": 1e-4}}
    with pytest.raises(StanleyError, match=r"another configuration.*optimizer.lr"):
        compare(asked(seeds=1, arms=other, first_seed=comparison.first_seed), tmp_path / "c")


def test_local_workers_give_the_bits_of_one_process(here: None, tmp_path: Path, monkeypatch: Any):
    comparison = asked()
    serial = compare(comparison, tmp_path / "serial")
    monkeypatch.undo()
    assert values(compare(comparison, tmp_path / "two", workers=2)) == values(serial)


def test_a_worker_that_dies_takes_one_task_which_is_tried_again(tmp_path: Path):
    with workers_on("local", 2, tmp_path) as pool:
        assert isinstance(pool, LocalWorkers)
        dies, lives = pool.submit(os._exit, 1), pool.submit(abs, -3)
        assert lives.result() == 3
        while not dies.done():
            time.sleep(0.01)
        with pytest.raises(Exception, match="terminated abruptly"):
            dies.result()
        assert pool.submit(abs, -4).result() == 4
        assert pool.submit(abs, -5).result() == 5


def test_a_task_whose_process_dies_twice_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Deadly(Here):
        def submit(self, function: Any, argument: Any) -> Future[Any]:
            future: Future[Any] = Future()
            if argument[0]["config"]["sampler"]["kind"] == "mala":
                future.set_exception(RuntimeError("a process in the pool was terminated abruptly"))
                return future
            return super().submit(function, argument)

    from contextlib import nullcontext

    monkeypatch.setattr(carry_out, "workers_on", lambda *_: nullcontext(Deadly()))
    result = compare(asked(), tmp_path / "c")
    assert len(result["lost"]) == 2
    assert all("died twice" in line for line in result["lost"])
    assert len(result["scores"]["record.loss"]["Langevin"]["values"]) == 2
    assert result["scores"]["record.loss"]["MALA"]["values"] == {}
    assert "lost: " in "\n".join(terminal_lines(result))
    monkeypatch.setattr(carry_out, "workers_on", lambda *_: nullcontext(Here()))
    healed = compare(from_dict(Comparison, result["asked"]), tmp_path / "c")
    assert not healed["lost"]
    assert len(healed["scores"]["record.loss"]["MALA"]["values"]) == 2


def test_killed_with_9_it_goes_on_to_the_same_bits(here: None, tmp_path: Path):
    """The workers of a comparison that was killed leave with it, and give up their locks."""
    comparison = asked(fields=TINY | {"steps": 400})
    whole = compare(comparison, tmp_path / "whole")
    plain = json.dumps(to_dict(comparison))
    code = (
        "import json, sys; from stanley.comparing import Comparison, compare;"
        f"compare(Comparison(**json.loads({plain!r})), {str(tmp_path / 'killed')!r}, workers=2)"
    )
    file = tmp_path / "go.py"
    file.write_text(f"if __name__ == '__main__':\n    {code}\n")
    process = subprocess.Popen([sys.executable, file], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob("records.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2.0)  # they look every half second
    assert values(compare(comparison, tmp_path / "killed")) == values(whole)


def test_runs_that_are_there_are_grouped_by_what_they_are(tmp_path: Path):
    seed = fresh_seed() % 1_000
    tiny = from_dict(TrainConfig, to_dict(asked(seeds=1).config("MALA")))
    paths = []

    for rate in (1e-3, 4e-3):
        for s in (seed, seed + 1):
            config = replace(tiny, seed=s, optimizer=replace(tiny.optimizer, lr=rate))
            paths.append(tmp_path / f"{rate}-{s}")
            train(config, paths[-1], device="cpu")
    result = compare_runs(paths, scores=["record.loss"])
    assert list(result["arms"]) == ["lr=0.001", "lr=0.004"]
    assert [r["seed"] for r in result["arms"]["lr=0.001"]["runs"]] == [seed, seed + 1]
    last = RunDirectory(paths[2]).records()[-1]
    assert values(result)["lr=0.004"][str(seed)] == last["loss"]
    exact = compare_runs([paths[0], paths[2]], scores=["kl"])
    assert values(exact, "kl")["lr=0.001"][str(seed)] == exact_kl(paths[0])
    with pytest.raises(StanleyError, match="same configuration and seed"):
        compare_runs([*paths, paths[0]], scores=["record.loss"])
    train(replace(tiny, data=recipe("gmm").data), tmp_path / "gmm", device="cpu")
    with pytest.raises(StanleyError, match=r"other data.*data.kind is 'gmm'"):
        compare_runs([paths[0], tmp_path / "gmm"], scores=["record.loss"])
    with pytest.raises(StanleyError, match="not among those"):
        compare_runs(paths[:2], scores=["fresh.fd"])


def test_tables_and_figures_are_written(here: None, tmp_path: Path):
    out = tmp_path / "c"
    arms = {"a & b_c": {"sampler": "langevin"}, "MALA $x": {"sampler": "mala"}}
    result = compare(asked(arms=arms, scores=["record.loss", "seconds"]), out)
    files = write_figures(result, out, Drawing(("png", "pdf", "svg"), 80))
    names = {f"{name}.{ext}" for name in ("comparison", "samples") for ext in ("png", "pdf", "svg")}
    assert {file.name for file in files} == names
    for file in files:
        assert file.read_bytes()[:5] in (b"\x89PNG\r", b"%PDF-", b"<?xml")
    with Image.open(out / "samples.png") as image:
        assert image.width > 500
    rows = list(csv.DictReader(csv_text(result).splitlines()))
    assert [row["arm"] for row in rows] == ["a & b_c"] * 2 + ["MALA $x"] * 2
    assert float(rows[0]["record.loss"]) == next(iter(values(result)["a & b_c"].values()))
    assert r"a \& b\_c" in latex(result)
    assert escaped("x^2\\") == r"x\textasciicircum{}2\textbackslash{}"
    assert markdown(result).count("\n| ") == 2 * 3


OWN = """
import torch


class Bowl(torch.nn.Module):
    def __init__(self, width=4, event_shape=(2,)):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(2, width), torch.nn.SiLU(), torch.nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.net(x).squeeze(-1) + x.square().sum(1) / 8


def points():
    return torch.randn(300, 2, generator=torch.Generator().manual_seed(3))
"""


def test_arms_are_networks_and_data_of_ones_own(here: None, tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    small = {k: v for k, v in TINY.items() if not k.startswith("network")}
    network = {"network": f"{file}:Bowl"}
    arms = {"narrow": network | {"network.width": 3}, "wide": network | {"network.width": 9}}
    comparison = asked(
        recipe="array-contrastive", arms=arms, fields=small | {"data": f"{file}:points"}, scores=[]
    )
    result = compare(comparison, tmp_path / "c")
    assert result["asked"]["scores"] == ["nll_held_out", "fresh.mmd2"]
    assert not failures(result)
    assert result["scores"]["nll_held_out"]["wide"]["n"] == 2
    assert write_figures(result, tmp_path / "c", Drawing(dpi=60))[1].name == "samples.png"
    with pytest.raises(StanleyError, match="takes no argument 'depth'"):
        asked(
            recipe="array-contrastive",
            arms={"a": network, "b": network | {"network.depth": 3}},
            fields={"data": f"{file}:points"},
        ).check()


def test_a_run_whose_mass_is_not_known_is_a_failure_with_the_reason(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of own points in the plane the held-out NLL decides, and it takes log Z."""
    from stanley.judging import evaluate

    rows = np.random.default_rng(fresh_seed()).normal(size=(60, 2))
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",")
    monkeypatch.setattr(evaluate, "log_z", lambda *_, **__: require(False, "log Z did not settle"))
    fields = TINY | {"data.path": str(tmp_path / "t.csv")}
    fields = {k: v for k, v in fields.items() if not k.startswith("data.num")}
    arms = {"a": {"sampler": "langevin"}, "b": {"sampler": "mala"}}
    comparison = asked(recipe="array-contrastive", arms=arms, fields=fields, scores=[])
    result = compare(comparison, tmp_path / "c")
    assert result["asked"]["scores"][0] == "nll_held_out"
    assert all("log Z did not settle" in why for why in failures(result))
    assert len(failures(result)) == sum(len(arm["runs"]) for arm in result["arms"].values())


def test_a_process_that_dies_once_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from contextlib import nullcontext

    class Shaky(Here):
        def __init__(self) -> None:
            self.seen: set[str] = set()

        def submit(self, function: Any, argument: Any) -> Future[Any]:
            folder = argument[0]["folder"]
            if folder in self.seen:
                return super().submit(function, argument)
            self.seen.add(folder)
            future: Future[Any] = Future()
            future.set_exception(RuntimeError("a process in the pool was terminated abruptly"))
            return future

    monkeypatch.setattr(carry_out, "workers_on", lambda *_: nullcontext(Shaky()))
    result = compare(asked(stacks=False, seeds=1), tmp_path / "c")
    assert not result["lost"]
    assert all(len(found) == 1 for found in values(result).values())
