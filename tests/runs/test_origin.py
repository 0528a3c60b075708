"""A run or a model from elsewhere does not decide what is read, written or downloaded here."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stanley.data import MNIST, Array
from stanley.errors import StanleyError
from stanley.judging.evaluate import evaluate
from stanley.models.packing import serialised
from stanley.models.trained import data_of, load, with_data_at
from stanley.runs import checkpoint, origin
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.loop import train


@pytest.fixture
def own(tmp_path: Path, small: TrainConfig, monkeypatch) -> Path:
    """A run of this user's on a file of this user's."""
    monkeypatch.setenv("STANLEY_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    np.save(tmp_path / "mine.npy", rng.normal(size=(80, 2)))
    config = replace(small, data=Array(path=str(tmp_path / "mine.npy")), steps=2)
    return train(config, tmp_path / "run", device="cpu").path


def test_ones_own_run_finds_its_data_also_as_a_copy(own: Path) -> None:
    assert len(data_of(load(own)).train) == 72
    shutil.copytree(own, own.parent / "copy")
    assert len(data_of(load(own.parent / "copy")).train) == 72
    assert oct((own.parent / "cache/key").stat().st_mode)[-3:] == "600"


def test_a_run_of_somebody_else_says_nothing_about_files(own: Path, monkeypatch) -> None:
    """Another key, no key, no signature, or another path than the signed one."""
    monkeypatch.setenv("STANLEY_CACHE", str(own.parent / "theirs"))
    for _ in range(2):
        model = load(own)
        assert model.config.data.path is None  # type: ignore[union-attr]
        with pytest.raises(
            StanleyError, match=r"comes from elsewhere, so that its data .*mine.npy"
        ):
            data_of(model)
        with pytest.raises(StanleyError, match="comes from elsewhere"):
            evaluate(own, num=4, steps=1)
        origin.own_key(make=True)
    moved = with_data_at(model, str(own.parent / "mine.npy"))
    assert len(data_of(moved).train) == 72


@pytest.mark.parametrize("change", ["path", "signature", "unsigned"])
def test_what_is_not_signed_is_not_followed(own: Path, change: str) -> None:
    if change == "path":
        config = json.loads((own / "config.json").read_text())
        config["data"]["path"] = "/etc/passwd"
        (own / "config.json").write_text(json.dumps(config))
    elif change == "signature":
        (own / origin.NAME).write_text("0" * 64)
    else:
        (own / origin.NAME).unlink()
    assert load(own).config.data.path is None  # type: ignore[union-attr]


def test_a_key_that_cannot_be_kept_is_no_error(own: Path, small: TrainConfig, monkeypatch) -> None:
    monkeypatch.setenv("STANLEY_CACHE", "/dev/null/cache")
    config = replace(small, data=Array(path=str(own.parent / "mine.npy")), steps=1)
    run = train(config, own.parent / "other", device="cpu")
    assert not (run.path / origin.NAME).exists()


def test_nothing_is_downloaded_but_in_training(
    tmp_path: Path, small: TrainConfig, monkeypatch
) -> None:
    """A packed model that says `download` and names folders: all of it is dropped."""

    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr("stanley.data.download.fetch", fetched)
    monkeypatch.setenv("STANLEY_CACHE", str(tmp_path / "cache"))
    run = RunDirectory(train(replace(small, steps=1), tmp_path / "run", device="cpu").path)
    saved = checkpoint.newest(run.checkpoints)
    assert saved is not None
    data = {"kind": "mnist", "root": "/foreign", "download": True}
    meta = saved.meta | {"holds": "model", "config": saved.meta["config"] | {"data": data}}
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/model.safetensors").write_bytes(serialised(saved.tensors, meta))
    model = load(tmp_path / "packed")
    assert model.config.data == MNIST(root=None, download=False)
    assert model.elsewhere == "/foreign"
    with pytest.raises(StanleyError, match="comes from elsewhere"):
        data_of(model)


@pytest.mark.parametrize("size", [600, 65_536])
@pytest.mark.parametrize("network", ["mlp", "convnet", "resnet"])
def test_a_small_file_that_says_it_is_large_fills_no_memory(
    tmp_path: Path, small: TrainConfig, network: str, size: int
) -> None:
    """Shapes are compared before anything is filled: nothing is allocated for the network."""
    run = train(replace(small, steps=1), tmp_path / "run", device="cpu")
    saved = checkpoint.newest(run.checkpoints)
    assert saved is not None
    shape = [2] if network == "mlp" else [1, 8, 8]
    points = {n: saved.tensors[n].new_zeros(*([1] if n[0] == "b" else []), *shape)
              for n in ("noise.mean", "noise.std", "bank.positions")}  # fmt: skip
    config = saved.meta["config"] | {"network": {"kind": network, "width": size}}
    meta = saved.meta | {"holds": "model", "event_shape": shape, "config": config}
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/model.safetensors").write_bytes(serialised(saved.tensors | points, meta))
    with pytest.raises(StanleyError, match="do not fit the configured network"):
        load(tmp_path / "packed")


@pytest.mark.parametrize(("field", "value"), [("depth", 10**6), ("width", 10**9), ("depth", 1001)])
def test_no_network_is_larger_than_one_can_be(field: str, value: int) -> None:
    from stanley.networks import MLP

    with pytest.raises(
        StanleyError, match=f"network.{field} is {value}, but must be at least 1 and at most"
    ):
        MLP(**{field: value})
