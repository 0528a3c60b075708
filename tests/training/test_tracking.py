"""What a tracker is told is what the run directory holds, and nothing is lost where one fails."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stanley.cli import main
from stanley.config import to_dict
from stanley.data import MNIST, Array
from stanley.data.base import Dataset
from stanley.errors import StanleyError
from stanley.networks import ConvNet, LevelMLP
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers import Langevin
from stanley.training import tracking
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.objectives import Denoising
from stanley.training.tracking import TensorBoard, counted, grid_of
from tests import seeds
from tests.conftest import without_time

needs_tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="the extra tensorboard is not installed"
)
needs_wandb = pytest.mark.skipif(
    find_spec("wandb") is None, reason="the extra wandb is not installed"
)


def events(run: RunDirectory) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    every = {"scalars": 0, "images": 0, "histograms": 0}
    found = EventAccumulator(str(run.path / "tensorboard"), size_guidance=every)
    found.Reload()
    return found


def scalars(run: RunDirectory, name: str) -> dict[int, float]:
    """step -> value; a step that is there twice is an error."""
    told = events(run).Scalars(name)
    assert len({event.step for event in told}) == len(told)
    return {event.step: event.value for event in told}


def as_recorded(run: RunDirectory, name: str) -> dict[int, float]:
    """TensorBoard keeps float32."""
    records = run.records()
    return {r["step"]: float(np.float32(r[name])) for r in records if r[name] is not None}


@needs_tensorboard
def test_tensorboard_has_the_records_the_configuration_and_samples(
    small: TrainConfig, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", [50, 1e6] + [3, 1e5] * seeds.RNG.standard_normal((200, 2)))
    config = replace(small, data=Array(path=str(tmp_path / "x.npy")))
    run = train(config, tmp_path / "run", device="cpu", track="tensorboard")
    for name in ("gap", "acceptance", "energy_pos", "learning_rate"):
        assert scalars(run, f"train/{name}") == as_recorded(run, name)
    assert set(scalars(run, "train/seconds")) == set(range(1, 25))
    found = events(run)
    text = found.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text) == to_dict(config)
    due = [6, 12, 18, 24]
    assert [e.step for e in found.Images("samples")] == due
    for k, centre in enumerate((50, 1e6)):
        told = found.Histograms(f"samples/x[{k}]")
        assert [e.step for e in told] == due
        mean = told[-1].histogram_value.sum / told[-1].histogram_value.num
        assert mean == pytest.approx(centre, rel=1)  # in the units of the data, not about 0


@needs_tensorboard
def test_a_tracked_run_is_the_same_run(small: TrainConfig, tmp_path: Path) -> None:
    plain = train(small, tmp_path / "plain", device="cpu")
    told = train(small, tmp_path / "told", device="cpu", track=["tensorboard"])
    assert without_time(plain.records()) == without_time(told.records())
    last = [checkpoint.newest(run.checkpoints) for run in (plain, told)]
    assert all(torch.equal(last[0].tensors[n], last[1].tensors[n]) for n in last[0].tensors)


@needs_tensorboard
def test_a_resumed_run_goes_on_in_the_same_place(small: TrainConfig, tmp_path: Path) -> None:
    """Also where it goes back: what was told of later steps counts no more."""
    run = train(replace(small, steps=18), tmp_path / "run", device="cpu", track="tensorboard")
    checkpoint.saved(run.checkpoints)[-1].unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that steps changed
        run = train(small, run.path, device="cpu", track="tensorboard")
    assert [e["step"] for e in run.events() if e["kind"] == "resumed"] == [12]
    assert scalars(run, "train/gap") == as_recorded(run, "gap")
    assert len(scalars(run, "train/gap")) == 24


@needs_tensorboard
def test_a_rollback_is_told(tmp_path: Path) -> None:
    """Steps that training goes back over are told again, and count once."""
    board = TensorBoard(tmp_path, 0)
    for step in range(1, 6):
        board.numbers(step, {"train/gap": step})
    board.went_back(3)
    for step in range(4, 8):
        board.numbers(step, {"train/gap": 10 * step})
    board.close()
    found = scalars(SimpleNamespace(path=tmp_path), "train/gap")
    assert found == {1: 1, 2: 2, 3: 3, 4: 40, 5: 50, 6: 60, 7: 70}


@needs_tensorboard
def test_a_tracker_that_fails_is_warned_of_once_and_training_goes_on(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(small, tmp_path / "plain", device="cpu")
    told: list[int] = []

    def numbers(self: TensorBoard, step: int, values: dict[str, float]) -> None:
        told.append(step)
        if step == 7:
            raise OSError("no space left on device")

    monkeypatch.setattr(TensorBoard, "numbers", numbers)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = train(small, tmp_path / "run", device="cpu", track="tensorboard")
    assert told == list(range(1, 8))
    said = [str(w.message) for w in warned if "told no more" in str(w.message)]
    assert len(said) == 1
    assert "no space left on device" in said[0]
    assert without_time(run.records()) == without_time(plain.records())


def test_a_tracker_that_is_missing_or_unknown_is_refused_before_anything_is_made(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    for name in ("tensorboard", "wandb"):
        with pytest.raises(StanleyError, match=rf"pip install 'stanley\[{name}\]'"):
            train(small, tmp_path / "run", device="cpu", track=name)
    with pytest.raises(StanleyError, match="'mlflow', but must be tensorboard or wandb"):
        train(small, tmp_path / "run", device="cpu", track="mlflow")
    monkeypatch.setattr(tracking, "find_spec", lambda name: ModuleSpec(name, None, origin="x"))
    with pytest.raises(StanleyError, match="twice"):
        train(small, tmp_path / "run", device="cpu", track="wandb,wandb")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(tracking, "find_spec", lambda name: ModuleSpec(name, None))  # a folder
    with pytest.raises(StanleyError, match="not installed"):
        train(small, tmp_path / "run", device="cpu", track="wandb")


class Double(ModuleType):
    """As much of wandb's documented interface as is used."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None, origin="a double")
        self.begun: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.ended = 0

    def init(self, **words: Any) -> Double:
        self.begun.append(words)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        assert name == "step" or step_metric == "step"

    @property
    def config(self) -> SimpleNamespace:
        return SimpleNamespace(update=lambda values, allow_val_change: self.settings.update(values))

    def log(self, values: dict[str, Any]) -> None:
        self.told.append(values)

    def finish(self) -> None:
        self.ended += 1

    Histogram = staticmethod(lambda values: ("histogram", len(values)))
    Image = staticmethod(lambda pixels: ("image", pixels.shape))


def test_wandb_is_told_the_same(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a double of its interface: one id for a run and its resumption."""
    double = Double()
    monkeypatch.setitem(sys.modules, "wandb", double)
    run = train(replace(small, steps=12), tmp_path / "run", device="cpu", track="wandb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(small, run.path, device="cpu", track="wandb")
    first, second = double.begun
    assert first == second
    assert first["id"] == (run.path / "wandb" / "stanley-id").read_text().strip()
    assert (first["resume"], first["project"], first["name"]) == ("allow", "stanley", "run")
    assert double.settings["network.width"] == small.network.width
    gaps = {told["step"]: told["train/gap"] for told in double.told if "train/gap" in told}
    assert gaps == {record["step"]: record["gap"] for record in run.records()}
    pictures = [told["step"] for told in double.told if "samples" in told]
    assert pictures == [6, 12, 18, 24]
    assert double.ended == 2


def test_wandb_that_cannot_start_is_one_line(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(Double):
        def init(self, **words: Any) -> Double:
            raise RuntimeError("no key\nconfigured")

    monkeypatch.setitem(sys.modules, "wandb", Closed())
    with pytest.raises(StanleyError, match=r"cannot start: RuntimeError: no key configured; log"):
        train(small, tmp_path / "run", device="cpu", track="wandb")
    assert RunDirectory(tmp_path / "run").records() == []


@needs_wandb
def test_wandb_offline(small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = train(small, tmp_path / "run", device="cpu", track="wandb")
    name = (run.path / "wandb" / "stanley-id").read_text().strip()
    assert list((run.path / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert len(run.records()) == 24


@needs_tensorboard
def test_scores_are_added_by_evaluate(small: TrainConfig, tmp_path: Path, capsys) -> None:
    config = replace(small, reference_std=4.0)  # so that the KL is known
    run = train(config, tmp_path / "run", device="cpu", track="tensorboard")
    words = ("evaluate", run.path, "--num", 32, "--steps", 5, "--track", "tensorboard")
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--json"])
    assert not ended.value.code
    scores = json.loads(capsys.readouterr().out)
    for name, value in (
        ("kl", scores["kl"]),
        ("fresh/mmd2/value", scores["fresh"]["mmd2"]["value"]),
    ):
        assert scalars(run, f"scores/{name}") == {24: pytest.approx(value, rel=1e-6)}
    assert len(scalars(run, "train/gap")) == 24  # what training told is still there


def test_pictures_show_what_is_there() -> None:
    """A grid of images in rows of eight; the plane with y upwards, dark where points are."""
    x = torch.linspace(-1, 1, 10).view(10, 1, 1, 1).expand(10, 1, 3, 5)
    sheet = grid_of(x)
    assert sheet.shape == (6, 40, 3)
    assert (sheet[0, 0], sheet[5, 0].tolist()) == (pytest.approx(0), [sheet[3, 0, 0]] * 3)
    assert sheet[4, 30].tolist() == [255] * 3  # no image there
    assert (np.diff(sheet[0, ::5, 0].astype(int)) > 0).all()
    corner = torch.tensor([[0.0, 1.0]]).repeat(50, 1)
    cloud = torch.cat([corner, torch.tensor([[1.0, 0.0]]).repeat(2, 1)])
    shade = counted(cloud)[:, :, 0]
    assert shade.min() == 0
    row, column = np.argwhere(shade == 0)[0]
    assert row < tracking.CELLS / 2
    assert column < tracking.CELLS / 2


class Spy:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.pictures: list[tuple[int, ...]] = []
        self.histograms: list[str] = []

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self.pictures.append(pixels.shape)

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        assert np.isfinite(values).all()
        self.histograms.append(name)

    def configuration(self, values: dict[str, Any]) -> None: ...

    def numbers(self, step: int, values: dict[str, float]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_samples_that_cannot_be_drawn_stop_nothing(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(tracking, "samples_of", fails)
    monkeypatch.setattr(tracking.Tracking, "of", lambda *_: tracking.Tracking({"spy": Spy()}))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = train(replace(small, steps=12), tmp_path / "run", device="cpu")
    assert len(run.records()) == 12
    assert [str(w.message) for w in warned if "no samples" in str(w.message)] == [
        "no samples are tracked: RuntimeError: out of memory"
    ]


@pytest.mark.parametrize("kind", ["images", "ladder", "noise"])
def test_samples_of_runs_of_every_kind(
    small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Images of the bank; without a bank from the ladder, or from noise; training goes on as if
    nothing had been drawn."""
    config = small
    if kind == "images":
        pixels = torch.randint(256, (40, 1, 28, 28), generator=seeds.fresh(), dtype=torch.uint8)
        monkeypatch.setattr(MNIST, "load", lambda self: Dataset(pixels[:30], pixels[30:]))
        chains = replace(small.objective, adapt=None)
        config = replace(
            small,
            data=MNIST(),
            network=ConvNet(width=2),
            sampler=Langevin(1e-4),
            temperature=5e-5,
            objective=chains,
            steps=2,
            save_every=1,
        )
    elif kind == "ladder":
        config = replace(small, network=LevelMLP(width=8), objective=Denoising(), steps=2)
    else:
        config = replace(small, objective=replace(small.objective, start="noise"), steps=2)
    plain = train(config, tmp_path / "plain", device="cpu")
    spy = Spy()
    monkeypatch.setattr(tracking.Tracking, "of", lambda *_: tracking.Tracking({"spy": spy}))
    told = train(config, tmp_path / "told", device="cpu")
    assert without_time(plain.records()) == without_time(told.records())
    if kind == "images":
        assert spy.pictures == [(8 * 28, 8 * 28, 3)] * 2
    else:
        assert spy.pictures == [(tracking.CELLS, tracking.CELLS, 3)]
        assert spy.histograms == ["samples/x[0]", "samples/x[1]"]
