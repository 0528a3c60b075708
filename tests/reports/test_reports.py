"""A page says what the files say, needs nothing else, and brings what does it again."""

from __future__ import annotations

import base64
import json
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from stanley.cli import main
from stanley.comparing import Comparison, compare
from stanley.config import from_dict, to_dict
from stanley.data import Moons
from stanley.errors import DivergenceError, StanleyError
from stanley.judging.evaluate import evaluate
from stanley.networks import MLP
from stanley.reports import page, report_comparison, report_run
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from tests.conftest import changed, without_time
from tests.seeds import fresh_seed


class Read(HTMLParser):
    """The tags, the addresses and the text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.files: dict[str, str] = {}
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.addresses += [found[name] or "" for name in ("src", "href") if name in found]
        if "download" in found:
            content = (found["href"] or "").partition("base64,")[2]
            self.files[found["download"] or ""] = base64.b64decode(content).decode()

    def handle_data(self, data: str) -> None:
        self.text += " ".join(data.split()) + "\n" if data.strip() else ""


def needs_nothing_else(read: Read) -> bool:
    local = all(address.startswith("data:") for address in read.addresses)
    return local and not {"script", "link", "iframe", "object"} & set(read.tags)


@pytest.fixture
def tiny(small: TrainConfig) -> TrainConfig:
    return changed(small, steps=4, save_every=2, network=MLP(width=8), seed=fresh_seed() % 2**31)


class TestOfARun:
    def test_says_what_training_warned_of(self, tiny: TrainConfig, tmp_path: Path) -> None:
        """Also that all steps were within the warm-up; negative control: a run without both."""
        run = train(tiny, tmp_path / "run")
        assert "of this column's variance" not in Read(report_run(run)).text
        assert "no more than its warm-up (5)" in Read(report_run(run)).text
        run.event(kind="warned", step=0, reason="a row has 93% of this column's variance")
        assert "At step 0: warned: a row has 93% of this column's var" in Read(report_run(run)).text
        other = train(changed(tiny, warmup=1), tmp_path / "other")
        assert "warm-up (" not in Read(report_run(other)).text

    def test_says_the_scores_and_the_configuration(self, tiny: TrainConfig, tmp_path: Path) -> None:
        run = train(tiny, tmp_path / "run")
        scores = evaluate(run, num=50, steps=5)
        read = Read(report_run(run))
        assert needs_nothing_else(read)
        assert f"n = {scores['fresh']['n']:,}" in read.text
        assert f"{scores['energy']['held_out']['mean']:.4g} ± " in read.text
        for name in ("objective.chain_steps", "sampler.step_size", "bank_size"):
            assert name in read.text
        assert "All 4 steps were made." in read.text
        assert read.tags.count("img") == 6
        assert (run.path / "index.html").stat().st_size < page.LARGEST

    def test_its_configuration_makes_the_same_run(
        self, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The command that it shows, with the file that it holds, bit for bit."""
        monkeypatch.chdir(tmp_path)
        config = changed(tiny, data=Moons(num=300), restart=0.2, adapt=None, clip_norm=0.3)
        run = train(config, "first", device="cpu")
        read = Read(report_run(run))
        (tmp_path / "run.yaml").write_text(read.files["run.yaml"])
        command = next(line for line in read.text.splitlines() if line.startswith("stanley train"))
        assert command == "stanley train moons --config run.yaml --out runs/again"
        with pytest.raises(SystemExit) as end:
            main([*command.split()[1:], "--quiet", "--device", "cpu"])
        assert not end.value.code
        again = RunDirectory("runs/again")
        assert again.read_config() == run.read_config()
        assert without_time(again.records()) == without_time(run.records())

    def test_without_scores_it_says_how_to_get_them(
        self, tiny: TrainConfig, tmp_path: Path
    ) -> None:
        run = train(tiny, tmp_path / "run")
        read = Read(report_run(run, said=["A sentence of its own."]))
        assert f"stanley evaluate {run.path}" in read.text
        assert "A sentence of its own." in read.text
        assert read.tags.count("img") == 1

    def test_warns_of_what_went_wrong_and_of_old_scores(
        self, tiny: TrainConfig, tmp_path: Path
    ) -> None:
        run = train(tiny, tmp_path / "run")
        evaluate(run, num=50, steps=5)
        assert "evaluate it again" not in Read(report_run(run)).text
        with pytest.warns(UserWarning, match="4 → 6"):
            train(replace(tiny, steps=6), run.path)
        assert "The scores are of step 4, and the run is at step 6" in Read(report_run(run)).text
        with pytest.raises(DivergenceError):
            train(changed(tiny, gap_limit=1e-9), tmp_path / "wrong")
        read = Read(report_run(RunDirectory(tmp_path / "wrong")))
        assert "It diverged at step 1 of 4." in read.text
        assert "above objective.gap_limit" in read.text

    @pytest.mark.parametrize(
        "scores", ['{"kl": 1.0}', '{"fresh": {"fd_pixels": {}}}', '{"energy": [1]}', '{"kl": "a"}']
    )
    def test_scores_of_another_shape_are_named(
        self, tiny: TrainConfig, tmp_path: Path, scores: str
    ) -> None:
        run = train(tiny, tmp_path / "run")
        run.scores_file.write_text(scores)
        with pytest.raises(StanleyError, match=r"scores\.json is damaged .* evaluate again"):
            report_run(run)

    def test_a_file_of_somebody_else_is_kept(self, tiny: TrainConfig, tmp_path: Path) -> None:
        run = train(tiny, tmp_path / "run")
        (run.path / "index.html").write_text("mine")
        with pytest.warns(UserWarning, match=r"kept .*index-former\.html"):
            report_run(run)
        report_run(run)  # its own page is written again without a word
        assert (run.path / "index-former.html").read_text() == "mine"
        assert len(list(run.path.glob("*.html"))) == 2

    def test_whatever_is_in_a_name_is_text(self, tiny: TrainConfig, tmp_path: Path) -> None:
        run = train(tiny, tmp_path / "<script>alert(1)<")
        read = Read(report_run(run))
        assert needs_nothing_else(read)
        assert "<script>alert(1)<" in read.text

    def test_a_page_that_is_too_large_is_drawn_with_fewer_dots_or_not_written(
        self, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = train(tiny, tmp_path / "run")
        file = report_run(run)
        whole = file.read_bytes()
        monkeypatch.setattr(page, "LARGEST", len(whole) - 1)
        assert "Figures are drawn at 110 dots per inch to fit." in Read(report_run(run)).text
        assert "dots per inch" not in whole.decode()
        monkeypatch.setattr(page, "LARGEST", 5_000)
        with pytest.raises(StanleyError, match="at most 5,000 are written"):
            report_run(run, tmp_path / "other.html")
        assert not (tmp_path / "other.html").exists()


class TestLeftByTraining:
    def test_at_its_end_and_where_it_diverges(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        words = ["train", "rings", "--steps", "40", "--quiet"]
        with pytest.raises(SystemExit):
            main([*words, "--out", "a"])
        assert "All 40 steps were made." in Read(tmp_path / "a" / "index.html").text
        assert "KL(data‖model)" in Read(tmp_path / "a" / "index.html").text
        limits = ["--objective.gap-limit", "1e-9", "--on-divergence", "stop"]
        with pytest.raises(SystemExit):
            main([*words, *limits, "--out", "b"])
        assert "It diverged at step 1 of 40." in Read(tmp_path / "b" / "index.html").text

    def test_at_an_interrupt(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of the step that Ctrl-C saved."""
        from stanley.cli import training

        def stopped(records: Iterable[Any], *_: Any, **__: Any) -> Iterator[Any]:
            for record in records:
                yield record
                if record["step"] == 7:
                    raise KeyboardInterrupt

        monkeypatch.setattr(training, "with_time_to_go", stopped)
        with pytest.raises(SystemExit) as end:
            main(["train", "rings", "--steps", "40", "--quiet", "--out", str(tmp_path / "a")])
        assert end.value.code == 130
        assert "It is at step 7 of 40" in Read(tmp_path / "a" / "index.html").text

    def test_takes_a_hundredth_of_the_time_at_most(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After one that took a fifth of a second none for twenty; the last is always there."""
        from stanley.cli import training

        written: list[int] = []

        def slowly(run: RunDirectory, said: Any = ()) -> None:
            written.append(run.last_step())
            time.sleep(0.2)

        monkeypatch.setattr(training, "PAGE_EVERY", -1.0)
        monkeypatch.setattr(training, "leave_page", slowly)
        words = ["--steps", "7", "--save-every", "2", "--network.width", "8", "--quiet"]
        with pytest.raises(SystemExit):
            main(["train", "rings", *words, "--out", str(tmp_path / "a")])
        assert written == [2, 7]

    def test_at_the_first_checkpoint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """And then once a minute."""
        from stanley.cli import training

        written: list[int] = []
        monkeypatch.setattr(
            training, "leave_page", lambda run, said=(): written.append(run.last_step())
        )
        words = ["--steps", "7", "--save-every", "2", "--network.width", "8", "--quiet"]
        with pytest.raises(SystemExit):
            main(["train", "rings", *words, "--out", str(tmp_path / "a")])
        assert written == [2, 7]

    def test_after_a_checkpoint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a minute has gone by since the last one; here at once."""
        from stanley.cli import training

        monkeypatch.setattr(training, "PAGE_EVERY", -1.0)
        written: list[int] = []
        monkeypatch.setattr(
            training, "leave_page", lambda run, said=(): written.append(run.last_step())
        )
        words = ["--steps", "5", "--save-every", "2", "--network.width", "8", "--quiet"]
        with pytest.raises(SystemExit):
            main(["train", "rings", *words, "--out", str(tmp_path / "a")])
        assert written == [2, 4, 5]
        monkeypatch.undo()
        with pytest.raises(SystemExit):  # an end came before the last one was written
            main(["train", "rings", *words, "--out", str(tmp_path / "a")])
        page = tmp_path / "a" / "index.html"
        assert "All 5 steps were made." in Read(page).text
        page.write_text(page.read_text() + "<!-- once more -->")
        with pytest.raises(SystemExit):  # which is not done for nothing
            main(["train", "rings", *words, "--out", str(tmp_path / "a")])
        assert page.read_text().endswith("<!-- once more -->")


def result_of(tiny: TrainConfig, folder: Path) -> dict[str, Any]:
    """Two arms, one of which always diverges."""
    asked = Comparison(
        recipe="rings",
        arms={
            "good <b>": {"sampler": "mala"},
            "bad": {"sampler": "langevin", "objective.gap_limit": 1e-9},
        },
        fields={"steps": 40, "on_divergence": "stop"},
        seeds=2,
        scores=["kl"],
    )
    return compare(asked, folder)


class TestOfAComparison:
    def test_says_every_verdict_and_failure_and_asks_again(
        self, tiny: TrainConfig, tmp_path: Path
    ) -> None:
        result = result_of(tiny, tmp_path / "c")
        read = Read(report_comparison(result, tmp_path / "c", tmp_path / "c" / "index.html"))
        assert needs_nothing_else(read)
        assert "good <b>" in read.text
        for arm in result["scores"]["kl"].values():
            assert arm["verdict"] in read.text
        assert read.text.count("above objective.gap_limit") == 2
        again = from_dict(Comparison, yaml.safe_load(read.files["experiment.yaml"]))
        assert to_dict(again) == result["asked"]

    def test_of_a_folder_or_of_its_record_alone(
        self, tiny: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = result_of(tiny, tmp_path / "c")
        (tmp_path / "alone.json").write_text(json.dumps(result))
        for what, written in (("c", "c/index.html"), ("alone.json", "alone.html")):
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                with pytest.raises(SystemExit) as end:
                    main(["report", str(tmp_path / what)])
            told = capsys.readouterr()
            assert not end.value.code
            assert f"wrote {tmp_path / written}" in told.out
            assert ("samples are not drawn" in told.err) == (what == "alone.json")
        pictures = [Read(tmp_path / f).tags.count("img") for f in ("c/index.html", "alone.html")]
        assert pictures == [2, 1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("nothing", "nothing is neither a run directory nor a comparison"),
        ("half", "half/comparison.json is of a comparison that is not finished"),
        ("run --out page.pdf", "--out page.pdf is no .html file"),
        ("other.json", "other.json is damaged"),
        ("shape.json", "shape.json is damaged"),
        ("empty", "empty is not a run directory, because it has no config.json"),
    ],
)
def test_refuses_in_one_line(
    words: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("half", "empty", "run"):
        (tmp_path / folder).mkdir()
    (tmp_path / "half" / "comparison.json").write_text('{"asked": {}, "unfinished": true}')
    (tmp_path / "other.json").write_text("[1, 2]")
    (tmp_path / "shape.json").write_text(
        '{"asked": {"scores": 3}, "arms": {}, "scores": [], "lost": 1}'
    )
    with pytest.raises(SystemExit) as end:
        main(["report", *words.split()])
    assert end.value.code == 2
    assert told in capsys.readouterr().err
