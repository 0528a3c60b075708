"""push and pull against a hub in a folder: nothing here needs a network or huggingface_hub."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from stanley.cli import main
from stanley.errors import StanleyError
from stanley.models.hub import pull, push
from stanley.models.packed import CARD, MODEL
from stanley.models.packing import pack
from stanley.models.trained import load
from stanley.training.config import TrainConfig
from stanley.training.loop import train


class HTTPError(Exception):
    """Of the client's HTTP library, whichever that is."""


class HfHubHTTPError(HTTPError):
    pass


class HFValidationError(ValueError):
    pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The names of huggingface_hub that are used, over a folder in the place of the hub."""
    server, cache = tmp_path / "server", tmp_path / "cache"

    class HfApi:
        def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
            if repo.count("/") != 1:
                raise HFValidationError(f"Repo id must be\nOWNER/NAME: {repo}")
            assert exist_ok
            (server / repo).mkdir(parents=True, exist_ok=True)
            (server / repo / "private").write_text(str(private))
            return f"https://hub/{repo}"

        def upload_folder(
            self, *, repo_id: str, folder_path: str, allow_patterns: list[str]
        ) -> None:
            for path in Path(folder_path).rglob("*"):
                if str(path.relative_to(folder_path)) in allow_patterns:
                    shutil.copy(path, server / repo_id)

    def hf_hub_download(repo: str, name: str, *, revision: str | None) -> str:
        if revision not in (None, "main") or not (server / repo / name).exists():
            raise HfHubHTTPError(f"404: no {name} in {repo} at {revision}")
        snapshot = cache / repo.replace("/", "--")
        snapshot.mkdir(parents=True, exist_ok=True)
        shutil.copy(server / repo / name, snapshot)
        return str(snapshot / name)

    module, errors = ModuleType("huggingface_hub"), ModuleType("huggingface_hub.errors")
    module.HfApi, module.hf_hub_download = HfApi, hf_hub_download  # type: ignore[attr-defined]
    errors.HfHubHTTPError, errors.HFValidationError = HfHubHTTPError, HFValidationError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return server


@pytest.fixture
def packed(small: TrainConfig, tmp_path: Path) -> Path:
    return pack(train(small, tmp_path / "run", device="cpu"), tmp_path / "packed")


def test_there_and_back(hub: Path, packed: Path, tmp_path: Path) -> None:
    (packed / "samples").mkdir()
    (packed / "samples" / "secret.npy").touch()
    assert push(packed, "me/rings") == "https://hub/me/rings"
    assert sorted(p.name for p in (hub / "me/rings").iterdir()) == [CARD, MODEL, "private"]
    folder = pull("me/rings", tmp_path / "here")
    for name in (MODEL, CARD):
        assert (folder / name).read_bytes() == (packed / name).read_bytes()
    assert load(folder, device="cpu").step == 24


def test_only_what_can_be_read_travels(hub: Path, packed: Path, tmp_path: Path) -> None:
    push(packed, "me/rings")
    whole = (packed / MODEL).read_bytes()
    (hub / "me/rings" / MODEL).write_bytes(whole[:-1])
    with pytest.raises(StanleyError, match="truncated or corrupt"):
        pull("me/rings", tmp_path / "here")
    assert not (tmp_path / "here").exists()
    (packed / MODEL).write_bytes(whole[:-1])
    with pytest.raises(StanleyError, match="truncated or corrupt"):
        push(packed, "me/other")
    assert not (hub / "me/other").exists()


def test_another_model_in_the_folder_is_kept(hub: Path, packed: Path, tmp_path: Path) -> None:
    push(packed, "me/rings")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "README.md").write_text("mine")
    with pytest.warns(UserWarning, match=r"not the model of me/rings\) as .*README-former.md$"):
        folder = pull("me/rings", tmp_path / "here")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pull("me/rings", folder)  # the same again
    assert (folder / "README-former.md").read_text() == "mine"
    assert (folder / MODEL).read_bytes() == (packed / MODEL).read_bytes()


def test_errors_are_one_line(
    hub: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(packed, "me/rings")
    for words, message in {
        ("push", str(packed), "a/b/c"): "cannot push",
        ("push", str(tmp_path), "a/b"): "holds no model.safetensors",
        (
            "pull",
            "me/nothing",
            "--out",
            str(tmp_path / "here"),
        ): "cannot pull me/nothing: 404: no model.safetensors",
        ("pull", "me/rings", "--revision", "v9", "--out", str(tmp_path / "here")): "at v9",
        ("pull", "me/rings", "--out", str(packed / MODEL)): "is no folder",
    }.items():
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1, told


def test_commands(
    hub: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["push", str(packed), "me/rings", "--private"],
        ["pull", "me/rings", "--out", str(tmp_path / "here"), "--revision", "main"],
    ):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert not end.value.code
    assert "https://hub/me/rings" in capsys.readouterr().out
    assert (hub / "me/rings/private").read_text() == "True"
    assert (tmp_path / "here" / MODEL).is_file()


def test_without_the_extra(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    with pytest.raises(StanleyError, match=r"pip install 'stanley\[hub\]'"):
        push(packed, "me/rings")
    with pytest.raises(StanleyError, match=r"pip install 'stanley\[hub\]'"):
        pull("me/rings", tmp_path / "here")
