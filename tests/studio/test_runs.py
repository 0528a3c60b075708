"""The list of runs, and trainings that are started, stopped, killed and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import stanley
from stanley.config import to_dict
from stanley.data import MNIST
from stanley.files import is_locked, lock
from stanley.runs.directory import RunDirectory
from stanley.studio.listing import Listing, recipe_in_words, run_entry
from stanley.studio.safety import LARGEST

from ..seeds import RNG

#: A training of rings that takes no time.
QUICK = "batch=8 data.num=60 network.width=8 objective.chain-steps=1 objective.bank-size=16"
ODD = "<img src=x onerror=alert(1)>"


def entries(client: TestClient) -> dict[str, dict[str, Any]]:
    answer = client.get("/api/runs")
    assert answer.status_code == 200, answer.text
    return {entry["name"]: entry for entry in answer.json()["entries"]}


def wait(until: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := until():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about")


def start(client: TestClient, **fields: Any) -> Any:
    return client.post("/api/start", json={"recipe": "rings", "name": "new"} | fields)


@pytest.fixture
def folder(trained: Path, folder: Path) -> Path:
    """The small runs, in a folder that a test may change."""
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return folder


def test_a_run_without_scores_is_told_by_what_was_seen_at_its_end(client: TestClient, folder: Path):
    """Not by what was seen before it went on; an evaluation says more, and takes its place."""
    events = folder / "rings" / "events.jsonl"
    events.write_text("")
    run = RunDirectory(folder / "rings")
    run.event(kind="judged", step=20, reason="KL 0.5 nats")
    assert entries(client)["rings"]["scores"] == []
    run.event(kind="judged", step=30, reason="KL 0.25 nats")
    assert entries(client)["rings"]["scores"] == ["KL 0.25 nats"]
    run.scores_file.write_text('{"step": 30, "kl": 0.125}')
    assert entries(client)["rings"]["scores"] == ["KL 0.125 nats"]


def test_what_a_training_found_at_its_end_is_kept_once(folder: Path):
    """By the command, also where it is asked for a second time."""
    words = ["train", "rings", "--steps", "3", "--out", "new", "--quiet"]
    words += [f"--{field}" for field in QUICK.split()]
    for _ in range(2):
        done = subprocess.run([sys.executable, "-m", "stanley", *words], cwd=folder, check=False)
        assert done.returncode == 0
    judged = [e for e in RunDirectory(folder / "new").events() if e["kind"] == "judged"]
    assert len(judged) == 1
    assert judged[0]["step"] == 3
    assert judged[0]["reason"]


def test_every_run_is_told_with_its_state(client: TestClient, folder: Path):
    found = entries(client)
    assert set(found) == {"rings", "pictures", "chains", "table"}
    rings = found["rings"]
    assert rings["status"] == "finished"
    assert (rings["step"], rings["steps"], rings["left"]) == (30, 30, 0)
    assert rings["checkpoints"] == [18, 24, 30]
    last = stanley.RunDirectory(folder / "rings").last_record()
    assert rings["gap"] == last["gap"]
    assert rings["recipe"].startswith("rings, ")
    assert found["table"]["sampler"] == "mala-with-jumps"


def test_a_recipe_is_known_by_its_fields():
    plain = stanley.config.to_dict(stanley.recipe("gmm"))
    assert recipe_in_words(plain) == "gmm"
    assert recipe_in_words(plain | {"steps": 7, "seed": 3}) == "gmm"
    assert recipe_in_words(plain | {"ema": 0.5}) == "gmm, 1 field changed"


def test_a_list_reads_only_what_changed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    listing, read = Listing(folder), []
    monkeypatch.setattr(
        "stanley.studio.listing.run_entry", lambda path: read.append(path.name) or run_entry(path)
    )
    listing.entries()
    assert len(read) == 4
    listing.entries()
    assert len(read) == 4
    with (folder / "rings" / "records.jsonl").open("a") as file:
        file.write('{"step": 31, "gap": 1.5}\n')
    found, whole = listing.entries()
    assert read[4:] == ["rings"]
    assert whole
    assert found[0]["name"] == "rings"  # the newest first
    assert (found[0]["step"], found[0]["gap"]) == (31, 1.5)


def test_states_are_those_of_the_files(client: TestClient, folder: Path):
    records = folder / "chains" / "records.jsonl"
    records.write_text("".join(records.read_text().splitlines(keepends=True)[:7]))
    assert entries(client)["chains"]["status"] == "interrupted"
    with (folder / "chains" / ".lock").open("w") as held:  # as one who trains holds it
        assert lock(held.fileno(), wait=False)
        assert is_locked(folder / "chains" / ".lock")
        running = entries(client)["chains"]
        assert running["status"] == "running"
        assert not running["stoppable"]  # no number in the lock says which process it is
        assert "Ctrl-C" in running["elsewhere"]
    assert not is_locked(folder / "chains" / ".lock")
    told = {"kind": "diverged", "step": 7, "reason": "|gap| is <b>9</b>"}
    (folder / "chains" / "events.jsonl").write_text(json.dumps(told) + "\n")
    diverged = entries(client)["chains"]
    assert (diverged["status"], diverged["why"]) == ("diverged", told["reason"])
    resumed = json.dumps(told) + '\n{"kind": "resumed", "step": 6}\n'
    (folder / "chains" / "events.jsonl").write_text(resumed)
    assert entries(client)["chains"]["status"] == "interrupted"


@pytest.mark.parametrize("name", ["config.json", "scores.json", "events.jsonl"])
@pytest.mark.parametrize("content", ["", "[1]", '{"steps": "many"}', "\x00\xff", "[" * 5000])
def test_a_damaged_run_is_told_and_harms_no_other(
    client: TestClient, folder: Path, name: str, content: str
):
    (folder / "rings" / name).write_text(content)
    found = entries(client)
    assert found["pictures"]["status"] == "finished"
    assert found["rings"]["status"] in ("unreadable", "finished")
    if found["rings"]["status"] == "unreadable":
        assert found["rings"]["error"]
    assert client.get("/").status_code == 200


def test_links_and_hidden_folders_are_not_looked_into(client: TestClient, folder: Path):
    outside = folder.parent / "outside"
    shutil.copytree(folder / "rings", outside)
    (folder / "link").symlink_to(outside)
    shutil.copytree(folder / "rings", folder / ".hidden")
    assert set(entries(client)) == {"rings", "pictures", "chains", "table"}


def test_a_name_is_text_and_never_html(client: TestClient, folder: Path):
    (folder / "rings").rename(folder / ODD)
    assert ODD in entries(client)
    for page in ("/run", "/comparison"):
        answer = client.get(page, params={"name": ODD})
        assert "<img" not in answer.text
    assert client.get("/run", params={"name": ODD}).status_code == 200


def test_a_training_is_started_stopped_and_resumed(client: TestClient, folder: Path):
    """It is stopped with a checkpoint, of the step that it was at, and goes on from there."""
    answer = start(client, steps="100000", seed="3", fields=QUICK)
    assert answer.json() == {"name": "new"}
    wait(lambda: entries(client).get("new", {}).get("step", 0) > 20)
    running = entries(client)["new"]
    assert (running["status"], running["stoppable"]) == ("running", True)
    assert running["left"] > 0
    config = stanley.RunDirectory(folder / "new").read_config()
    assert (config["seed"], config["batch"], config["network"]["width"]) == (3, 8, 8)
    assert "is training already" in client.post("/api/resume", json={"name": "new"}).json()["error"]
    assert client.post("/api/stop", json={"name": "new"}).status_code == 200
    wait(lambda: entries(client)["new"]["status"] == "interrupted")
    stopped = entries(client)["new"]
    assert stopped["checkpoint"] == stopped["step"]
    assert "error" not in stopped

    assert client.post("/api/resume", json={"name": "new"}).status_code == 200
    wait(lambda: entries(client)["new"]["step"] > stopped["step"])
    events = stanley.RunDirectory(folder / "new").events()
    assert [event["kind"] for event in events] == ["resumed"]
    assert events[0]["step"] == stopped["step"]


def test_a_training_that_is_killed_is_interrupted_and_goes_on(client: TestClient, folder: Path):
    start(client, steps="100000", fields=f"{QUICK} save_every=10")
    wait(lambda: entries(client).get("new", {}).get("step", 0) > 30)
    training = client.app.state.studio.trainings.by_name["new"]  # type: ignore[attr-defined]
    os.kill(training.process.pid, signal.SIGKILL)
    wait(lambda: entries(client)["new"]["status"] == "interrupted")
    killed = entries(client)["new"]
    assert "SIGKILL" in killed["error"]
    assert killed["checkpoint"] <= killed["step"]
    client.post("/api/resume", json={"name": "new"})
    wait(lambda: entries(client)["new"]["step"] > killed["step"])
    assert "error" not in entries(client)["new"]


def test_the_end_of_the_studio_stops_its_trainings_with_a_checkpoint(folder: Path):
    from .conftest import asking

    with asking(folder) as client:
        start(client, steps="100000", fields=QUICK)
        wait(lambda: entries(client).get("new", {}).get("step", 0) > 5)
    run = stanley.RunDirectory(folder / "new")
    assert not is_locked(folder / "new" / ".lock")
    assert run_entry(run.path)["checkpoint"] == run.last_step()


def test_a_run_that_is_deleted_does_no_harm(client: TestClient, folder: Path):
    start(client, steps="100000", fields=QUICK)
    wait(lambda: entries(client).get("new", {}).get("step", 0) > 5)
    shutil.rmtree(folder / "new")
    answer = client.get("/api/run", params={"name": "new"})
    assert answer.status_code == 400
    assert "no such run directory" in answer.json()["error"]
    assert client.get("/run", params={"name": "new"}).status_code == 400
    client.post("/api/stop", json={"name": "new"})
    wait(lambda: not client.app.state.studio.trainings.by_name["new"].running)  # type: ignore[attr-defined]
    assert entries(client)["rings"]["status"] == "finished"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"recipe": "ringz"}, "did you mean 'rings'?"),
        ({"recipe": "mine.py:recipe"}, "unknown recipe"),
        ({"name": ""}, "is no name"),
        ({"name": "../x"}, "not inside"),
        ({"name": "/etc/x"}, "not inside"),
        ({"name": "pictures"}, "is there already"),
        ({"steps": "0"}, "steps is 0"),
        ({"steps": "many"}, "steps"),
        ({"seed": "-1"}, "seed is -1"),
        ({"fields": "out=/tmp/x"}, "unknown field 'out'"),
        ({"fields": "trust=true"}, "unknown field 'trust'"),
        ({"fields": "config=x.yaml"}, "unknown field 'config'"),
        ({"fields": "batch"}, "is no field"),
        ({"fields": "'batch=3"}, "close it"),
        ({"fields": "batch=3 batch=4"}, "given twice"),
        ({"fields": "sampler.step-size=-1"}, "step_size"),
        ({"fields": "sampler.stepsize=1"}, "stepsize"),
        ({"fields": "network=mine.py:Net"}, "code of your own"),
        ({"fields": "data=os:system"}, "code of your own"),
        ({"fields": "sampler=mine.py:Mine"}, "code of your own"),
        ({"recipe": "array", "fields": "data.path=/etc/passwd"}, "not inside"),
        ({"recipe": "array", "fields": "data.path=../secret.txt"}, "not inside"),
        ({"recipe": "mnist", "fields": "data.root=/"}, "not inside"),
        ({"recipe": "mnist", "fields": "data.download=true"}, "the page downloads nothing"),
        ({"recipe": "cifar10", "fields": "--data.download=true"}, "the page downloads nothing"),
        ({"name": ["x"]}, "must be text"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_what_is_refused_is_told_in_one_line(
    client: TestClient, folder: Path, asked: dict[str, Any], said: str
):
    before = sorted(path.name for path in folder.rglob("*"))
    answer = start(client, **asked)
    assert answer.status_code == 400
    line = answer.json()["error"]
    assert said in line
    assert "\n" not in line
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert not client.app.state.studio.trainings.by_name  # type: ignore[attr-defined]


def test_data_inside_the_folder_are_trained_on_wherever_the_studio_was_started(
    client: TestClient, folder: Path
):
    start(client, recipe="array-contrastive", steps="4", fields="data.path=table.csv batch=8")
    wait(lambda: entries(client).get("new", {}).get("status") == "finished")
    path = stanley.RunDirectory(folder / "new").read_config()["data"]["path"]
    assert path == str(folder / "table.csv")


def test_outside_the_folder_a_training_writes_into_the_cache_alone(
    client: TestClient, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Negative control: pictures that do not fit into memory are written there."""
    monkeypatch.setenv("STANLEY_CACHE", str(tmp_path / "cache"))
    (folder / "squares").mkdir()
    for k in range(20):
        pixels = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "squares" / f"{k}.png")
    fields = "data.path=squares data.size=8 data.memory-limit-mb=0 batch=4 network.width=4"
    start(client, recipe="folder", steps="2", fields=f"{fields} precision=float32")
    told = wait(lambda: ended(entries(client).get("new", {})), 180)
    assert told["status"] == "finished", told
    assert {path.name for path in tmp_path.iterdir()} == {"shown", "secret.txt", "cache"}
    assert list((tmp_path / "cache").iterdir())


def ended(entry: dict[str, Any]) -> dict[str, Any] | None:
    return entry if entry.get("status") in ("finished", "failed") else None


def test_what_the_library_refuses_later_is_told_in_its_own_line(client: TestClient, folder: Path):
    start(client, recipe="array", fields="data.path=missing.csv")
    failed = wait(lambda: entries(client).get("new", {}).get("error"))
    assert "missing.csv" in failed
    assert entries(client)["new"]["status"] == "failed"


def test_a_run_of_a_stranger_does_not_decide_what_is_read(client: TestClient, folder: Path):
    """It would be read, and signed, by going on with it. Negative control: one's own goes on."""
    config = folder / "table" / "config.json"
    plain = json.loads(config.read_text())
    plain["data"]["path"] = str(folder.parent / "secret.txt")
    config.write_text(json.dumps(plain))
    answer = client.post("/api/resume", json={"name": "table", "steps": "14"})
    assert answer.status_code == 400
    assert "not inside" in answer.json()["error"]
    assert client.post("/api/resume", json={"name": "pictures", "steps": "14"}).status_code == 200
    wait(lambda: entries(client)["pictures"]["step"] == 14)


@pytest.mark.parametrize("download", [True, False])
def test_a_run_that_is_resumed_downloads_nothing(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch, download: bool
):
    """Negative control: without the field nothing is changed."""
    config = replace(stanley.recipe("mnist"), data=MNIST(download=download))
    stanley.RunDirectory(folder / "table").write_config(to_dict(config))
    launched: list[list[str]] = []
    trainings = client.app.state.studio.trainings  # type: ignore[attr-defined]
    monkeypatch.setattr(trainings, "launch", lambda name, words: launched.append(words))
    assert client.post("/api/resume", json={"name": "table"}).status_code == 200
    (words,) = launched
    assert ("--data.download=false" in words) is download


def test_what_does_not_train_is_not_stopped(client: TestClient, folder: Path):
    answer = client.post("/api/stop", json={"name": "rings"})
    assert answer.status_code == 400
    assert "is not training" in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"[", b"[1]", b"\xff", b"[" * 100_000])
def test_what_is_no_request_is_refused(client: TestClient, content: bytes):
    for path in ("/api/start", "/api/stop", "/api/resume"):
        answer = client.post(path, content=content)
        assert answer.status_code == 400
        assert "JSON" in answer.json()["error"]


def test_a_request_whose_length_is_not_told_is_cut_off(client: TestClient):
    part = bytes(1 << 20)
    parts = (part for _ in range(LARGEST // len(part) + 1))
    assert client.post("/api/start", content=parts).status_code == 413


def test_a_port_that_is_taken_and_a_folder_that_is_none_are_told_in_one_line(folder: Path, serve):
    server = serve(folder)
    port = server.address.partition("/?")[0].rpartition(":")[2]
    for words, said in (
        ([str(folder), "--port", port], f"cannot listen on 127.0.0.1 port {port}"),
        ([str(folder / "none")], "no such folder"),
        ([str(folder), "--port", "70000"], "--port is 70000"),
        ([str(folder), "--host", "no.such.host.invalid"], "cannot listen on"),
    ):
        command = [sys.executable, "-m", "stanley", "studio", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_without_the_extra_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    from stanley.cli import studio

    monkeypatch.setattr(studio.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(stanley.StanleyError, match=r"pip install 'stanley\[studio\]'"):
        studio.studio(Path())


def test_the_command_ends_on_ctrl_c_and_says_so(folder: Path, serve):
    server = serve(folder)
    assert server.address.startswith("http://127.0.0.1:")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
