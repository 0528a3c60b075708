"""The page of a comparison: its numbers are those of the record, its pictures those of the runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from stanley.comparing.record import read_record
from stanley.comparing.tables import rows_of
from stanley.comparing.task import ROW
from stanley.files import lock

from .conftest import SOCKETS
from .test_run import until_the_end


@pytest.fixture
def folder(compared: Path, folder: Path) -> Path:
    shutil.copytree(compared, folder, dirs_exist_ok=True)
    return folder


def changed(folder: Path, change: Any) -> None:
    path = folder / "both" / "comparison.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_comparison_is_one_row_without_its_runs(client: TestClient, folder: Path):
    (entry,) = client.get("/api/runs").json()["entries"]
    assert (entry["name"], entry["kind"], entry["status"]) == ("both", "comparison", "finished")
    assert sorted(entry["arms"]) == ["langevin", "mala"]
    changed(folder, lambda record: record.update(unfinished=True))
    (entry,) = client.get("/api/runs").json()["entries"]
    assert entry["status"] == "interrupted"


def unfinished(folder: Path) -> Path:
    """Make the comparison one that was ended in its last run, which this returns."""
    changed(folder, lambda record: record.update(unfinished=True, planned=4))
    record = json.loads((folder / "both" / "comparison.json").read_text())
    run = folder / "both" / record["arms"]["mala"]["runs"][-1]["folder"]
    (run / ROW).unlink()
    lines = (run / "records.jsonl").read_text().splitlines(keepends=True)
    (run / "records.jsonl").write_text("".join(lines[:4]))
    return run


def test_runs_of_a_comparison_at_work_are_shown(client: TestClient, folder: Path):
    """Negative control: of a finished one only those that were reported."""
    told = client.get("/api/comparison", params={"name": "both"}).json()
    assert "so_far" not in told
    run = unfinished(folder)
    name = run.relative_to(folder).as_posix()
    with (run / ".lock").open("a") as file:
        lock(file.fileno())
        told = client.get("/api/comparison", params={"name": "both"}).json()
        first, *others = told["so_far"]
        assert (first["name"], first["status"]) == (name, "running")
        assert (first["step"], first["steps"]) == (4, 6)
        assert (
            first["gap"] == json.loads((run / "records.jsonl").read_text().splitlines()[-1])["gap"]
        )
        assert {one["status"] for one in others} == {"finished"}
        assert len(others) == 3
        (entry,) = client.get("/api/runs").json()["entries"]
        for one in (entry, told["entry"]):
            assert (one["status"], one["done"], one["planned"]) == ("running", 3, 4)
    told = client.get("/api/comparison", params={"name": "both"}).json()
    assert (told["entry"]["status"], told["hidden"]) == ("interrupted", 0)


def test_the_number_of_runs_that_ended_grows(client: TestClient, folder: Path):
    """Rows lie far below the folder whose time is looked at."""
    run = unfinished(folder)
    assert client.get("/api/runs").json()["entries"][0]["done"] == 3
    (run / ROW).write_text("{}")
    assert client.get("/api/runs").json()["entries"][0]["done"] == 4


def test_dots_and_tables_are_those_of_the_record(client: TestClient, folder: Path):
    told = client.get("/api/comparison", params={"name": "both"}).json()
    record = read_record(folder / "both" / "comparison.json")
    (score,) = told["scores"]
    assert score["name"] == "record.loss"
    for arm, own in record["scores"]["record.loss"].items():
        assert score["arms"][arm]["values"] == own["values"]
        assert score["arms"][arm]["mean"] == own["mean"]
    assert list(score["rows"].values()) == [list(row) for row in rows_of(record, "record.loss")]
    seeds = told["runs"]["langevin"]
    assert [words for words, _ in seeds] == ["seed 0", "seed 1"]
    assert client.get("/run", params={"name": seeds[0][1]}).status_code == 200


def panels(client: TestClient) -> list[Any]:
    with client.websocket_connect(f"{SOCKETS}/ws/comparison?name=both") as socket:
        socket.send_json({"do": "panels"})
        return until_the_end(socket)


def test_what_arms_learned_is_shown_beside_the_data(client: TestClient, folder: Path):
    *shown, end = panels(client)
    assert end == {"done": True}
    assert shown[0][0]["title"] == "true density"
    assert {about["title"] for about, _ in shown[1:]} == {"langevin", "mala"}
    for _, arrays in shown:
        assert arrays["samples"].shape[1] == 2
        assert np.isfinite(arrays["density"]).all()


def test_runs_outside_the_folder_are_not_read(client: TestClient, folder: Path):
    """A record may name any folder; negative control: inside it is shown."""
    outside = folder.parent / "outside"
    (folder / "both" / "runs").rename(outside)

    def elsewhere(record: dict[str, Any]) -> None:
        for about in record["arms"].values():
            for run in about["runs"]:
                run["folder"] = str(outside / Path(run["folder"]).relative_to("runs"))

    changed(folder, elsewhere)
    first = panels(client)[0]
    assert isinstance(first, dict), "they were read"
    assert "are not inside" in first["error"]


def test_code_that_runs_name_is_not_imported(client: TestClient, folder: Path):
    for config in (folder / "both").glob("runs/*/*/*/config.json"):
        plain = json.loads(config.read_text())
        plain["network"] = {"kind": "by-name", "name": "mine.py:Net", "arguments": {}}
        config.write_text(json.dumps(plain))
    (folder / "mine.py").write_text("raise SystemExit('imported')")
    assert "code of your own" in panels(client)[0]["error"]


@pytest.mark.parametrize("content", ["", "[]", '{"asked": 3}', '{"asked": {"scores": ["kl"]}}'])
def test_a_damaged_record_is_told(client: TestClient, folder: Path, content: str):
    (folder / "both" / "comparison.json").write_text(content)
    (entry,) = client.get("/api/runs").json()["entries"]
    assert entry["status"] == "unreadable"
    answer = client.get("/api/comparison", params={"name": "both"})
    assert answer.status_code in (400, 500)
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("name", ["none", "../secret.txt", ""])
def test_what_is_no_comparison_is_told(client: TestClient, folder: Path, name: str):
    assert client.get("/comparison", params={"name": name}).status_code == 400
