"""The pages of results say what the records hold, and the records what their runs gave."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stanley.cli.config_file import read_config_file
from stanley.comparing import Comparison, statistics
from stanley.comparing.record import read_record
from stanley.comparing.statistics import verdicts
from stanley.comparing.task import more_is_better
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError
from tests.seeds import fresh_seed

ROOT = Path(__file__).parents[1]
RECORDS = sorted((ROOT / "experiments" / "records").glob("*.json"))


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", ROOT / "experiments" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["results"] = module  # where its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


results = loaded()


def record(seeds: int = 4, **more: Any) -> dict[str, Any]:
    """One of three arms that are tuned, of which the last one loses every seed."""
    rng = np.random.default_rng(fresh_seed())
    arms = {"Langevin": {"sampler": "langevin"}, "STANLEY": {}, "MALA | adapted": {}}
    asked = Comparison(
        "rings", arms, seeds=seeds, scores=["kl", "tv"], grid={"sampler.step_size": [0.01, 0.1]}
    )
    about: dict[str, Any] = {}
    for arm in arms:
        lost = arm.startswith("MALA")
        scores = [{"kl": None if lost else rng.random(), "tv": rng.random()} for _ in range(seeds)]
        failure = "diverged at step 7: |gap| is 99" if lost else None
        row = {"failure": failure, "along": [], "went_wrong": [("diverged", 7)] if lost else []}
        about[arm] = {
            "changes": arms[arm],
            "setting": {"sampler.step_size": 0.1},
            "setting_name": "step_size=0.1",
            "edges": ["sampler.step_size"],
            "share": {"steps": 10, "chain_steps": 2, "gradients": 600.0},
            "tuning": {
                f"step_size={h:g}": {
                    "score": None if lost else h,
                    "rows": [row | {"scores": {"kl": None if lost else h}}],
                }
                for h in (0.01, 0.1)
            },
            "runs": [
                row | {"seed": seed, "folder": "", "seconds": 1.5, "scores": scores[seed]}
                for seed in range(seeds)
            ],
        }
    found = {
        score: verdicts(
            {arm: {r["seed"]: r["scores"][score] for r in about[arm]["runs"]} for arm in arms},
            "Langevin",
            more_is_better(score),
        )
        for score in asked.scores
    }
    return {"asked": to_dict(asked), "arms": about, "scores": found, "lost": []} | more


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one record and no pages yet."""
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "images").mkdir()
    write(tmp_path, "a", record())
    return tmp_path


def write(root: Path, name: str, what: Any) -> None:
    folder = root / "experiments" / "records"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(what))


def page(root: Path, text: str) -> Path:
    file = root / "docs" / "results.md"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", results.pages(), ids=lambda p: p.stem)
def test_a_page_says_what_the_records_say(file: Path):
    """Else `make results` was forgotten, or a number was changed by hand."""
    assert file.read_text() == results.filled(file)


@pytest.mark.parametrize("file", results.pages(), ids=lambda p: p.stem)
def test_a_figure_is_drawn_of_the_record_as_it_is(file: Path):
    for figure, of in results.figures(file):
        with Image.open(figure) as image:
            assert image.info["Description"] == results.mark(of), f"make results draws {figure}"


@pytest.mark.parametrize("file", RECORDS, ids=lambda p: p.stem)
def test_a_record_says_what_its_runs_gave(file: Path, monkeypatch: pytest.MonkeyPatch):
    """Every statistic is computed again, but for intervals, which versions of scipy draw apart."""
    found = read_record(file)
    monkeypatch.setattr(statistics, "interval", lambda _: None)
    for score, arms in found["scores"].items():
        own = {
            arm: {run["seed"]: run["scores"].get(score) for run in found["arms"][arm]["runs"]}
            for arm in arms
        }
        baseline = next(
            arm for arm in arms if arms[arm]["verdict"] in ("the baseline", "") or len(arms) == 1
        )
        for arm, again in verdicts(own, baseline, more_is_better(score)).items():
            for name, value in again.items():
                if not name.endswith("interval"):
                    assert arms[arm][name] == (
                        pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
                    ), f"{arm}: {name} of {score}"


@pytest.mark.parametrize("file", RECORDS, ids=lambda p: p.stem)
def test_a_record_is_of_the_file_of_its_name(file: Path):
    """It may have more arms and scores, which are said to have been made otherwise."""
    asked = ROOT / "experiments" / f"{file.stem}.yaml"
    if asked.exists():
        wanted = from_dict(Comparison, read_config_file(asked))
        found = from_dict(Comparison, read_record(file)["asked"])
        assert [arm for arm in found.arms if arm in wanted.arms] == list(wanted.arms)
        for arm in wanted.arms:
            assert found.arms[arm] == wanted.arms[arm]
        assert found.arms == wanted.arms or "converted" in read_record(file)
        assert found.reported == wanted.reported
        assert found.recipe == wanted.recipe
        assert set(wanted.scores) <= set(found.scores)


def test_every_block_is_filled_with_what_it_asks_for(project: Path):
    file = page(
        project,
        "# R\n\nBefore.\n\n"
        "<!-- scores of experiments/records/a.json: kl, tv --><!-- end -->\n"
        "<!-- seeds of experiments/records/a.json: tv -->old<!-- end -->\n"
        "<!-- tuning of experiments/records/a.json -->\n<!-- end -->\n"
        "<!-- record of experiments/records/a.json -->\n<!-- end -->\n"
        "<!-- figure of experiments/records/a.json: images/a.png -->\n<!-- end -->\n"
        "<!-- overview: Langevin | best\n"
        "plane: tv of experiments/records/a.json\n"
        "again: tv of experiments/records/a.json: STANLEY | – -->\n<!-- end -->\n"
        "After.\n",
    )
    results.main(project)
    text, rows = file.read_text(), read_record(project / "experiments" / "records" / "a.json")
    assert text.startswith("# R\n\nBefore.\n\n<!-- scores of")
    assert text.endswith("<!-- end -->\nAfter.\n")
    assert "old" not in text
    for arm in ("Langevin", "STANLEY"):
        for score in ("kl", "tv"):
            own = rows["scores"][score][arm]
            assert f"{own['mean']:.3g} ± {own['sd']:.3g}" in text
        own = rows["scores"]["tv"][arm]
        each = " ".join(f"{value:.3g}" for value in own["values"].values())
        worst = max(own["values"].values())
        assert f"| {arm} | {each} | {own['median']:.3g} | {worst:.3g} | 0 |" in text
    assert "| MALA \\| adapted | step_size=0.1 (edge) | 0 | – |" in text  # it failed everywhere
    assert "| arm | step_size 0.01 | step_size 0.1 |" in text
    assert "| Langevin | 0.01 | **0.1** |" in text
    assert "| MALA \\| adapted | diverged at 7 | **diverged at 7** |" in text
    assert "* every arm: 10 iterations of 2 chain steps, 600 gradients, 1.5 to 1.5 s a run" in text
    assert (
        "* best at an end of the grid of sampler.step_size: Langevin; STANLEY; MALA | adapted"
        in text
    )
    assert "[experiments/records/a.json](../experiments/records/a.json)" in text
    own = rows["scores"]["tv"]
    assert (
        f"| plane, n = 4 | {own['Langevin']['mean']:.3g} ± {own['Langevin']['sd']:.3g} | " in text
    )
    assert min(arm["mean"] for arm in own.values()) == own[results.ordered(rows, "tv")[0]]["mean"]
    with Image.open(project / "docs" / "images" / "a.png") as image:
        assert image.info["Description"].startswith("a.json ")
    results.main(project)
    assert file.read_text() == text


def test_arms_of_other_budgets_stand_apart_and_every_tuning_seed_is_told(project: Path):
    own = record()
    arms = own["arms"]
    arms["STANLEY"]["share"]["chain_steps"] = 3
    arms["STANLEY"]["runs"][0]["seconds"] = 9.0
    arms["STANLEY"]["also"] = {"gamma": {"0": 0.25, "1": 0.75}, "accepted": {"0": 0.5}}
    arms["Langevin"]["also"] = {"accepted": {"0": 1.0}}
    values = [fresh_seed() % 1000 + 1 for _ in range(2)]
    rows = [{"failure": None, "scores": {"kl": value}} for value in values]
    arms["Langevin"]["tuning"]["step_size=0.1"]["rows"] = rows
    failed = {"failure": "diverged at step 3: |gap| is 9", "scores": {"kl": None}}
    arms["Langevin"]["tuning"]["step_size=0.01"]["rows"] = [rows[0], failed]
    write(project, "a", own)
    file = page(
        project,
        "<!-- record of experiments/records/a.json --><!-- end -->\n"
        "<!-- tuning of experiments/records/a.json --><!-- end -->\n"
        "<!-- also of experiments/records/a.json --><!-- end -->\n",
    )
    results.main(project)
    text = file.read_text()
    assert (
        "* Langevin; MALA | adapted: 10 iterations of 2 chain steps, 600 gradients, 1.5 to" in text
    )
    assert "* STANLEY: 10 iterations of 3 chain steps, 600 gradients, 1.5 to 9 s a run" in text
    assert f"| Langevin | {values[0]}, diverged at 3 | **{values[0]}, {values[1]}** |" in text
    assert "| arm | accepted | gamma |\n|---|---|---|\n| Langevin | 1 | – |" in text
    assert "| STANLEY | 0.5 | 0.5 ± 0.354 |" in text


def test_one_seed_of_each_arm_is_drawn_whatever_they_are(project: Path):
    """On a logarithmic axis, of which one point alone makes no limits."""
    one = record(seeds=1)
    for arm, value in (("Langevin", 6e-5), ("STANLEY", 0.04)):
        own = one["scores"]["kl"][arm]
        own |= {"values": {"0": value}, "mean": value, "median": value}
    write(project, "a", one)
    page(project, "<!-- figure of experiments/records/a.json: images/a.png --><!-- end -->")
    results.main(project)
    assert (project / "docs" / "images" / "a.png").stat().st_size > 1_000


def test_negative_control_a_changed_number_is_noticed(project: Path):
    file = page(project, "<!-- scores of experiments/records/a.json: kl --><!-- end -->")
    results.main(project)
    right = file.read_text()
    digits = list(re.finditer(r"0\.\d+", right))
    one = digits[fresh_seed() % len(digits)]
    last = str((int(one[0][-1]) + 1) % 10)
    file.write_text(f"{right[: one.end() - 1]}{last}{right[one.end() :]}")
    assert file.read_text() != results.filled(file, project) == right
    # and so is a record that is not the one of the figure
    page(project, "<!-- figure of experiments/records/a.json: images/a.png --><!-- end -->")
    results.main(project)
    write(project, "a", record())
    ((figure, of),) = results.figures(file, project)
    with Image.open(figure) as image:
        assert image.info["Description"] != results.mark(of)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- scores of experiments/records/b.json: kl --><!-- end -->", "b.json cannot be read"),
        ("\n<!-- scores of experiments/records/a.json: kl -->", "line 2: the block has no end"),
        ("<!-- tuning of a.json --><!-- tuning of a.json -->", "the block before it has no end"),
        ("<!-- end -->", "without a block"),
        ("<!-- socres of a.json --><!-- end -->", "did you mean 'scores'"),
        ("<!-- scores a.json --><!-- end -->", "write scores of"),
        (
            "<!-- scores of experiments/records/a.json: kll --><!-- end -->",
            "no score 'kll': did you mean 'kl'",
        ),
        ("<!-- scores of experiments/records/a.json --><!-- end -->", "name the scores"),
        ("<!-- seeds of experiments/records/a.json: kl, tv --><!-- end -->", "one score at a time"),
        ("<!-- scores of experiments/records/c.json: kl --><!-- end -->", "is damaged"),
        ("<!-- scores of experiments/records/d.json: kl --><!-- end -->", "not finished"),
        ("<!-- scores of experiments/records/e.json: kl --><!-- end -->", "has no tv of any arm"),
        ("<!-- tuning of experiments/records/f.json --><!-- end -->", "nothing was tuned"),
        ("<!-- also of experiments/records/f.json --><!-- end -->", "nothing is known beside"),
        ("<!-- overview: A | best\nx: kl of experiments/records/a.json --><!-- end -->", "arm 'A'"),
        (
            "<!-- overview: STANLEY | best\nx: kl of experiments/records/a.json: STANLEY -->"
            "<!-- end -->",
            "names 1 arms for 2 columns",
        ),
        ("<!-- overview: A | best\nexperiments/records/a.json --><!-- end -->", "says no record"),
        ("<!-- overview: A --><!-- end -->", "a line for each record"),
    ],
    ids=lambda text: text[:70] if text.startswith(("<", "\n")) else None,
)
def test_what_cannot_be_filled_is_one_line_and_writes_nothing(
    text: str, message: str, project: Path
):
    write(project, "c", {"asked": {"scores": ["kl"]}})
    write(project, "d", {"asked": {"scores": ["kl"]}, "unfinished": True})
    missing, untuned = record(), record()
    missing["scores"]["tv"] = {}
    write(project, "e", missing)
    for arm in untuned["arms"].values():
        arm["tuning"] = {}
    write(project, "f", untuned)
    good = "<!-- scores of experiments/records/a.json: kl --><!-- end -->"
    (project / "docs" / "results" / "a.md").write_text(good)
    file = page(project, text)
    with pytest.raises(StanleyError, match=re.escape(message)) as raised:
        results.main(project)
    assert str(raised.value).startswith("docs/results.md line ")
    assert "\n" not in str(raised.value)
    assert file.read_text() == text
    assert (project / "docs" / "results" / "a.md").read_text() == good
    shutil.rmtree(project / "docs")


def sampled(name: str, **arms: dict[str, Any]) -> dict[str, Any]:
    """A record of samplers: b² at the end, ESS and seconds per gradient of each seed."""
    found = record(seeds=3)
    for arm, also in arms.items():
        found["arms"][arm]["also"] = {
            key: {str(seed): value for seed, value in enumerate(values)}
            for key, values in also.items()
        }
    return found


def test_quantities_of_several_records_stand_side_by_side(project: Path):
    """An arm a row, with what each record says of it: reached, in part, not at all, diverged."""
    took = results.SECONDS
    one = sampled("one", **{"MALA | adapted": {"b² at the end": [7.0, 5.0, 90.0]}})
    two = sampled("two", Langevin={"ESS per gradient": [0.1, 0.2, 0.3], took: [2.0, 2.0, 2.0]})
    two["scores"]["kl"]["STANLEY"]["failed"], two["scores"]["kl"]["STANLEY"]["n"] = 1, 2
    write(project, "one", one)
    write(project, "two", two)
    lines = "one of experiments/records/one.json\ntwo of experiments/records/two.json\n"
    file = page(project, f"<!-- side by side: reached\n{lines}-->\n<!-- end -->\n")
    text = results.filled(file, project)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:1] == "|"}
    assert "2 of 3" in rows["STANLEY"]
    assert "× b² 7" in text
    assert text.count("diverged") == 1  # of the record that says nothing of its end
    mean_of = one["scores"]["kl"]["Langevin"]["mean"] / 1000
    assert results.number(mean_of) in rows["Langevin"]
    file = page(project, f"<!-- side by side: effective draws\n{lines}-->\n<!-- end -->\n")
    assert "| Langevin |  | 200 ± 100 |" in results.filled(file, project)
    with pytest.raises(StanleyError, match="'speed' is no quantity"):
        results.filled(
            page(project, f"<!-- side by side: speed\n{lines}-->\n<!-- end -->"), project
        )
    with pytest.raises(StanleyError, match="says no record"):
        results.filled(page(project, "<!-- side by side: reached\na b\n-->\n<!-- end -->"), project)


def test_draws_a_second_are_a_ratio_to_those_of_mala():
    also = {"ESS per gradient": {"0": 0.1, "1": 0.3}, results.SECONDS: {"0": 1.0, "1": 1.0}}
    fast = {"ESS per gradient": {"0": 0.8, "1": 0.8}, results.SECONDS: {"0": 0.5, "1": 0.5}}
    found = results.effective_draws_a_second(
        {"arms": {"MALA": {"also": also}, "HMC": {"also": fast}}}
    )
    assert {arm: float(value) for arm, value in found.items()} == {"MALA": 1.0, "HMC": 8.0}
