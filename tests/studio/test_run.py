"""The page of a run: its curves, what it computes, what it refuses."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

import stanley
from stanley.data import centre, to_bytes
from stanley.data.pictures import read_sent_picture
from stanley.errors import StanleyError
from stanley.models.trained import data_of
from stanley.samplers.run import potential_for
from stanley.streams import stream
from stanley.studio.frames import packed
from stanley.studio.looking import moving
from stanley.studio.records import BINS, Followed
from stanley.types import in_float32
from stanley.uses import denoise, inpaint, score
from stanley.uses.denoising import denoise_stream

from ..seeds import RNG
from .conftest import SOCKETS


@pytest.fixture
def folder(trained: Path, folder: Path) -> Path:
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return folder


def unpacked(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """As the scripts of the page read it."""
    length = int.from_bytes(message[:4], "little")
    about, at, arrays = json.loads(message[4 : 4 + length]), 4 + length, {}
    for one in about["arrays"]:
        assert at % 4 == 0
        kind = np.dtype(one["type"]).newbyteorder("<")
        size = math.prod(one["shape"])
        arrays[one["name"]] = np.frombuffer(message, kind, size, at).reshape(one["shape"])
        at += -(-size * kind.itemsize // 4) * 4
    assert at == len(message)
    return about, arrays


def asked(client: TestClient, name: str, **fields: Any) -> list[Any]:
    """All messages of one computation, of which the last is {"done": true} or {"error": line}."""
    with client.websocket_connect(f"{SOCKETS}/ws/run?name={name}") as socket:
        socket.send_json(fields)
        return until_the_end(socket)


def until_the_end(socket: Any) -> list[Any]:
    messages = []
    while True:
        message = socket.receive()
        if (content := message.get("bytes")) is not None:
            messages.append(unpacked(content))
            continue
        messages.append(json.loads(message["text"]))
        if messages[-1].keys() & {"done", "error"}:
            return messages


def test_arrays_come_over_as_they_are():
    arrays = {
        "a": RNG.integers(0, 256, (3, 5), dtype=np.uint8),
        "b": torch.randn(2, 3),
        "c": RNG.normal(size=(0, 4)),
        "d": RNG.integers(-9, 9, 7).astype(np.int32),
    }
    about, found = unpacked(packed({"kind": "γ"}, **arrays))
    assert about["kind"] == "γ"
    for name, array in arrays.items():
        expected = np.asarray(array)
        expected = expected.astype(np.float32) if expected.dtype == np.float64 else expected
        assert found[name].dtype == expected.dtype
        assert np.array_equal(found[name], expected)


# Curves ---------------------------------------------------------------------------------------


def test_curves_grow_by_what_is_new(tmp_path: Path):
    path = tmp_path / "records.jsonl"
    followed = Followed(path)
    followed.read()
    assert followed.told() == {"panels": [], "constant": []}
    gaps = RNG.normal(size=3000).tolist()
    lines = [json.dumps({"step": k + 1, "gap": g, "scale": 1.0}) for k, g in enumerate(gaps)]
    path.write_text("\n".join(lines[:100]) + "\n" + lines[100][:9])
    followed.read()
    assert list(followed.steps) == list(range(1, 101))  # not the one that is cut off
    first = followed.version
    followed.read()
    assert followed.version == first
    with path.open("a") as file:
        file.write(lines[100][9:] + "\n" + "\n".join(lines[101:]) + "\n")
    followed.read()
    assert list(followed.steps) == list(range(1, 3001))
    assert followed.version != first  # so that a page asks for no more than is new
    (panel,) = followed.told()["panels"]
    assert followed.told()["constant"] == ["mean scale γ 1"]
    line = panel["lines"][0]
    assert len(line["step"]) <= BINS + 2
    assert min(line["low"]) == pytest.approx(min(gaps), rel=1e-4)  # five digits
    assert max(line["high"]) == pytest.approx(max(gaps), rel=1e-4)


def test_a_rollback_is_followed(tmp_path: Path):
    """The file is another one then."""
    path = tmp_path / "records.jsonl"
    path.write_text("".join(f'{{"step": {k}, "gap": 1.0}}\n' for k in range(1, 50)))
    followed = Followed(path)
    followed.read()
    more = " " * path.stat().st_size  # and in the time since then it became longer
    content = f'{{"step": 1, "gap": 2.0}}{more}\n{{"step": 2, "gap": null}}\n'
    stanley.files.write_atomic(path, content.encode())
    followed.read()
    assert list(followed.steps) == [1, 2]
    assert followed.values["gap"][0] == 2.0
    assert math.isnan(followed.values["gap"][1])


@pytest.mark.parametrize("line", ['{"step": "x"}', "[]", "{", '{"gap": 1}', "\x00", "[" * 9999])
def test_a_line_that_is_no_record_is_left_out(tmp_path: Path, line: str):
    path = tmp_path / "records.jsonl"
    good = '{"step": %d, "gap": %s}\n'
    path.write_text(good % (1, 1) + line + "\n" + good % (2, '"x"') + good % (3, 1e300))
    followed = Followed(path)
    followed.read()
    assert list(followed.steps) == [1, 2, 3]
    assert np.isnan(followed.values["gap"]).tolist() == [False, True, True]


def test_warnings_and_other_fields_are_marked_where_they_came(client: TestClient, folder: Path):
    """Negative control: an event of before that had no step is no mark."""
    told: list[dict[str, Any]] = [
        {"kind": "warned", "step": 0, "reason": "a row is far from all others"},
        {"kind": "reconfigured", "step": 12, "reason": "resuming with changed steps: 12 → 30"},
    ]
    events = [*told, {"kind": "reconfigured", "changed": {"steps": [12, 30]}}]
    (folder / "rings" / "events.jsonl").write_text("".join(f"{json.dumps(e)}\n" for e in events))
    answer = client.get("/api/run", params={"name": "rings"}).json()
    assert answer["events"] == told
    assert answer["run"]["status"] == "finished"


def test_curves_and_events_are_those_of_the_run(client: TestClient, folder: Path):
    event = {"kind": "rollback", "step": 5, "reason": "<b>|gap|</b>", "more": [1]}
    (folder / "rings" / "events.jsonl").write_text(json.dumps(event) + "\n")
    answer = client.get("/api/run", params={"name": "rings"}).json()
    records = stanley.RunDirectory(folder / "rings").records()
    gap = answer["panels"][0]["lines"][0]
    assert gap["step"] == [r["step"] for r in records]
    assert gap["middle"] == pytest.approx([r["gap"] for r in records], rel=1e-4)
    assert answer["events"] == [{k: event[k] for k in ("kind", "step", "reason")}]
    assert answer["run"]["status"] == "finished"
    again = client.get("/api/run", params={"name": "rings", "since": answer["version"]}).json()
    assert "panels" not in again


# What it computes -----------------------------------------------------------------------------


def test_the_landscape_is_the_energy_of_the_checkpoint(client: TestClient, folder: Path):
    (about, arrays), end = asked(client, "rings", do="look", step=24)
    assert end == {"done": True}
    assert (about["step"], about["shape"], about["chains"]) == (24, [2], 40)
    model = stanley.load(folder / "rings", step=24)
    assert np.array_equal(arrays["bank"], model.bank.numpy())
    assert np.array_equal(arrays["data"], data_of(model).test[:2000].numpy())
    left, right, bottom, top = about["box"]
    n = arrays["landscape"].shape[0]
    row, column = RNG.integers(n, size=2)
    point = torch.tensor(
        [[left + (right - left) * column / (n - 1), bottom + (top - bottom) * row / (n - 1)]]
    )
    origin = torch.tensor([[left, bottom]])
    u = in_float32(model.potential)(torch.cat([point.float(), origin]))
    found = arrays["landscape"][row, column] - arrays["landscape"][0, 0]
    assert found == pytest.approx(float(u[0] - u[1]), abs=1e-4)  # of float32, |U| < 100
    assert arrays["landscape"].min() == 0


@pytest.mark.parametrize(
    ("name", "start"),
    [("rings", "noise"), ("rings", "bank"), ("chains", "noise"), ("pictures", "noise")],
)
def test_chains_that_are_shown_end_as_those_of_sample(client, folder: Path, name: str, start: str):
    """Draw for draw, though they are run in parts; another seed ends elsewhere."""
    model, seed = stanley.load(folder / name), int(RNG.integers(1000))
    *frames, end = asked(client, name, do="draw", chains=5, steps=7, start=start, seed=seed)
    assert end == {"done": True}
    x = model.sample(5, steps=7, start=start, seed=seed).x
    expected = to_bytes(x).numpy() if model.is_image else x.numpy()
    assert np.array_equal(frames[-1][1]["x"], expected)
    assert frames[-1][0]["share"] == 1
    assert "step 7 of 7" in frames[-1][0]["words"]
    other = model.sample(5, steps=7, start=start, seed=seed + 1).x
    assert not torch.equal(x, other)


def test_vectors_are_shown_in_the_units_of_the_data(client: TestClient, folder: Path):
    (about, arrays), _ = asked(client, "table", do="look")
    assert about["columns"] == ["length", "a<b>", "weight"]
    model = stanley.load(folder / "table")
    assert np.allclose(arrays["bank"], model.bank.numpy())
    *frames, _ = asked(client, "table", do="draw", chains=4, steps=3, seed=1)
    assert np.allclose(frames[-1][1]["x"], model.sample(4, steps=3, seed=1).x.numpy(), rtol=1e-6)


def test_chains_move_in_as_many_parts_as_are_shown(folder: Path):
    model = stanley.load(folder / "rings")
    frames = list(moving(model, 3, "noise", 1000, 0))
    assert 100 < len(frames) < 200
    assert [share for _, _, share in frames] == sorted(share for _, _, share in frames)


def picture(folder: Path, name: str) -> tuple[Any, torch.Tensor, str]:
    model = stanley.load(folder / name)
    rows = data_of(model).test[:1]
    return model, rows, base64.b64encode(rows.numpy().tobytes()).decode()


@pytest.mark.parametrize("name", ["chains", "pictures"])
def test_what_is_not_painted_stays_and_what_is_painted_is_drawn(client, folder: Path, name: str):
    _, rows, text = picture(folder, name)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:7] = 1
    painted = base64.b64encode(mask.tobytes()).decode()
    *told, mean, end = asked(
        client, name, do="inpaint", picture=text, mask=painted, num=3, steps=5, seed=2
    )
    assert end == {"done": True}
    draws, known = told[-1][1]["x"], rows.numpy()
    assert draws.shape == (3, 1, 8, 8)
    assert np.array_equal(
        draws[:, :, mask == 0], np.broadcast_to(known, draws.shape)[:, :, mask == 0]
    )
    assert not np.array_equal(draws[0, :, mask == 1], draws[1, :, mask == 1])
    assert mean[0]["kind"] == "mean"


def test_pixels_under_a_mask_are_those_of_inpaint(client: TestClient, folder: Path):
    model, rows, text = picture(folder, "chains")
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, :4] = True
    painted = base64.b64encode(mask.byte().numpy().tobytes()).decode()
    *told, _, _ = asked(
        client, "chains", do="inpaint", picture=text, mask=painted, num=2, steps=6, seed=9
    )
    generator, images = stream(9, "inpaint"), centre(rows)
    x0 = torch.where(mask, model.starts(2, "noise", generator), images)
    potential = potential_for(model.sampler, model.potential)
    filled = inpaint(model.sampler, potential, images, mask, x0, 6, generator=generator)
    assert np.array_equal(told[-1][1]["x"], to_bytes(filled.draws[0]).numpy())


@pytest.mark.parametrize("name", ["chains", "pictures"])
def test_noise_is_added_and_taken_away(client: TestClient, folder: Path, name: str):
    _, _, text = picture(folder, name)
    kinds = [
        message[0]["kind"]
        for message in asked(client, name, do="denoise", picture=text, noise=0.4, num=2, steps=4)[
            :-1
        ]
    ]
    assert kinds[0] == "noisy"
    assert set(kinds[1:-1]) == {"chains"}
    assert kinds[-1] == "mean"


@pytest.mark.parametrize("name", ["chains", "pictures"])
@pytest.mark.parametrize("given", ["noisy", "clean"])
def test_what_is_noisy_already_gets_no_more_noise(
    client: TestClient, folder: Path, name: str, given: str
):
    """Then the draws are those of `denoise` given the picture itself; negative control: of one that
    is clean they are not.
    """
    model, rows, text = picture(folder, name)
    asked_for = {"picture": text, "noise": 0.4, "given": given, "num": 2, "steps": 4, "seed": 3}
    kinds, values = zip(*asked(client, name, do="denoise", **asked_for)[:-1], strict=True)
    assert ("noisy" in [kind["kind"] for kind in kinds]) is (given == "clean")
    generator, y = denoise_stream(3, model.device), centre(rows)
    observed = y.repeat_interleave(2, 0)
    below = model.starts_below(observed, 0.4, generator)
    x0 = observed if below is None else below
    potential = potential_for(model.sampler, model.potential)
    restored = denoise(model.sampler, potential, y, 0.4, x0, 4, generator=generator)
    same = np.array_equal(values[-2]["x"], to_bytes(restored.draws[0]).numpy())
    assert same is (given == "noisy")


def test_a_picture_is_scored_among_held_out_ones(client: TestClient, folder: Path):
    model, rows, text = picture(folder, "pictures")
    (about, arrays), _ = asked(client, "pictures", do="score", picture=text)
    expected = score(in_float32(model.potential), centre(rows))
    assert about["energy"] == pytest.approx(float(expected.energy[0]), rel=1e-5)
    held_out = data_of(model).test
    assert about["n"] == len(held_out) == len(arrays["energies"])
    assert 0 <= about["percentile"] <= 100


def test_held_out_pictures_are_those_of_the_data(client: TestClient, folder: Path):
    (_, arrays), _ = asked(client, "pictures", do="held-out")
    rows = data_of(stanley.load(folder / "pictures")).test
    assert np.array_equal(arrays["images"], rows[: len(arrays["images"])].numpy())


BYTES = base64.b64encode(bytes(64)).decode()


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("rings", {"do": "fly"}, "do is 'fly'"),
        ("rings", {"do": "draw", "chains": 10**9}, "chains is 1000000000"),
        ("rings", {"do": "draw", "chains": "many"}, "chains is 'many'"),
        ("rings", {"do": "draw", "chains": True}, "chains is True"),
        ("rings", {"do": "draw", "steps": 0}, "steps is 0"),
        ("rings", {"do": "draw", "start": "here"}, "start is 'here'"),
        ("rings", {"do": "look", "step": 7}, "step is 7"),
        ("rings", {"do": "look", "step": "new"}, "no checkpoint's"),
        ("rings", {"do": "inpaint"}, "this is for images"),
        ("pictures", {"do": "draw", "chains": 65}, "chains is 65"),
        ("pictures", {"do": "draw", "start": "bank"}, "no bank"),
        ("chains", {"do": "inpaint", "picture": "!"}, "no base64"),
        ("chains", {"do": "inpaint", "picture": BYTES[:-4]}, "must have 64"),
        ("chains", {"do": "inpaint", "picture": BYTES, "mask": BYTES}, "nothing as unknown"),
        ("chains", {"do": "denoise", "picture": BYTES, "noise": 0}, "noise is 0"),
        ("chains", {"do": "denoise", "picture": BYTES, "noise": 0.02}, "step size is"),
        ("chains", {"do": "score", "picture": 3}, "no base64"),
        ("../secret.txt", {"do": "look"}, "not inside"),
        ("none", {"do": "look"}, "no such run"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_what_cannot_be_computed_is_told_and_the_next_request_is_answered(
    client: TestClient, folder: Path, name: str, fields: dict[str, Any], said: str
):
    with client.websocket_connect(f"{SOCKETS}/ws/run?name={name}") as socket:
        socket.send_json(fields)
        told = socket.receive_json()
        assert said in told["error"]
        assert "\n" not in told["error"]
        if name in ("rings", "chains"):
            socket.send_json({"do": "look"})
            assert unpacked(socket.receive_bytes())[0]["kind"] == "look"


def test_a_request_stops_the_one_before_and_so_does_the_end_of_the_page(client, folder: Path):
    long = {"do": "draw", "chains": 2000, "steps": 20_000}
    worker = client.app.state.studio.worker
    with client.websocket_connect(f"{SOCKETS}/ws/run?name=rings") as socket:
        socket.send_json(long)
        socket.receive_bytes()
        socket.send_json({"do": "look"})
        while unpacked(socket.receive_bytes())[0]["kind"] != "look":
            pass
        assert socket.receive_json() == {"done": True}
        socket.send_json(long)
        socket.receive_bytes()
        socket.send_json({"do": "stop"})
        while (message := socket.receive()).get("text") is None:
            pass
        assert json.loads(message["text"]) == {"done": True}
        socket.send_json(long)
        socket.receive_bytes()
    worker.thread.submit(int).result(timeout=30)  # the thread is free again


def test_two_pages_wait_for_each_other(client: TestClient, folder: Path):
    with (
        client.websocket_connect(f"{SOCKETS}/ws/run?name=rings") as one,
        client.websocket_connect(f"{SOCKETS}/ws/run?name=chains") as two,
    ):
        one.send_json({"do": "draw", "chains": 10, "steps": 50})
        two.send_json({"do": "draw", "chains": 2, "steps": 5})
        for socket in (one, two):
            messages = until_the_end(socket)
            assert messages[-1] == {"done": True}
            assert messages[-2][0]["share"] == 1


def test_words_that_are_no_request_end_the_connection_alone(client: TestClient, folder: Path):
    with client.websocket_connect(f"{SOCKETS}/ws/run?name=rings") as socket:
        socket.send_text("[1]")
        assert "JSON object" in socket.receive_json()["error"]
        socket.send_text("{")
        assert socket.receive()["type"] == "websocket.close"
    assert client.get("/api/runs").status_code == 200


def test_a_run_without_checkpoints_and_one_of_own_code_are_told(client: TestClient, folder: Path):
    shutil.rmtree(folder / "rings" / "checkpoints")
    assert "holds no checkpoint" in asked_error(client, "rings")
    config = folder / "table" / "config.json"
    plain = json.loads(config.read_text())
    plain["network"] = {"kind": "by-name", "name": "mine.py:Net", "arguments": {}}
    config.write_text(json.dumps(plain))
    assert client.get("/run", params={"name": "table"}).status_code == 200


def asked_error(client: TestClient, name: str) -> str:
    with client.websocket_connect(f"{SOCKETS}/ws/run?name={name}") as socket:
        socket.send_json({"do": "look"})
        return socket.receive_json()["error"]


# Pictures that are sent -----------------------------------------------------------------------


def as_png(size: tuple[int, int], mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, 200 if mode == "L" else (200, 10, 10)).save(content, "png")
    return content.getvalue()


def test_a_picture_is_fitted_to_the_model(client: TestClient):
    answer = client.post("/api/picture?shape=1,8,8", content=as_png((30, 20)))
    pixels = np.frombuffer(base64.b64decode(answer.json()["pixels"]), np.uint8)
    assert pixels.shape == (64,)
    assert len(set(pixels.tolist())) == 1
    with pytest.raises(StanleyError, match="at most"):
        read_sent_picture(as_png((8000, 8000), "L"), (1, 8, 8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        as_png((9, 9))[:33],
        b"<svg onload=alert(1)>",
    ],
    ids=["nothing", "head", "png", "cut", "svg"],
)
def test_what_is_no_picture_is_told_in_one_line(client: TestClient, content: bytes):
    answer = client.post("/api/picture?shape=3,8,8", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the picture cannot be read")


@pytest.mark.parametrize("shape", ["", "1,8", "2,8,8", "1,0,8", "1,8,9999", "1,8,x", "1,8,8,8"])
def test_a_shape_that_no_model_has_is_refused(client: TestClient, shape: str):
    answer = client.post(f"/api/picture?shape={shape}", content=as_png((9, 9)))
    assert answer.status_code == 400
