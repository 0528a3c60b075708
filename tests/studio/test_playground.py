"""The playground's socket: what a page asks for, what it is told, and what it cannot do."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from stanley.cli.values import parse_fields
from stanley.samplers import Adjusted, Langevin, Stanley, run_chains
from stanley.studio import application
from stanley.studio.playground import IN_FLIGHT, MOST_OPEN, plain
from stanley.studio.playing import EDGE, HEADER, OUTSIDE
from stanley.studio.stage import of_density

from ..seeds import fresh_seed
from .conftest import ADDRESS, SOCKETS, TOKEN

PLACE = f"{SOCKETS}/playground/socket"
SAMPLERS = (Langevin(0.02), Adjusted(Stanley(0.05, 2.0)))


def wishes(**changes: Any) -> dict[str, Any]:
    samplers = [plain(sampler) for sampler in SAMPLERS]
    return {
        "density": "banana",
        "samplers": samplers,
        "chains": 64,
        "width": 1.0,
        "seed": 3,
    } | changes


def told(socket: Any, kind: str) -> Any:
    """The next message that says this; frames and others before it are passed over, but for an
    error that was not asked for, after which nothing would come.
    """
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"])
        said = json.loads(message.get("text") or "{}")
        if kind in said:
            return said[kind]
        assert "error" not in said, said["error"]


def frame(socket: Any) -> bytes:
    while (content := socket.receive().get("bytes")) is None:
        pass
    return content


def positions(content: bytes, panel: int) -> np.ndarray:
    """The whole numbers (2, B) of a panel."""
    _, _, chains, _ = HEADER.unpack_from(content)
    size = 5 * chains + -5 * chains % 4
    return np.frombuffer(content, "<u2", 2 * chains, HEADER.size + panel * size).reshape(2, chains)


def begun(socket: Any, **changes: Any) -> Any:
    socket.send_json({"do": "watch", "play": wishes(**changes)})
    return told(socket, "scene")


def test_a_page_sees_the_chains_of_run_chains(client: TestClient):
    """After five steps a chain lies within half a unit of the frame of where `run_chains` has it;
    those of another seed do not: the control."""
    seed = fresh_seed() % 2**31
    with client.websocket_connect(PLACE) as socket:
        hello = told(socket, "hello")
        assert {"langevin", "stanley", "adjusted"} <= set(hello["samplers"])
        scene = begun(socket, seed=seed)
        left, right, bottom, top = scene["window"]
        start = frame(socket)
        first = [positions(start, panel) for panel in range(2)]
        for _ in range(5):
            socket.send_json({"do": "step"})
        last = frame(socket)
        while HEADER.unpack_from(last)[1] < 5:
            last = frame(socket)
    stage = of_density("banana")
    x0 = stage.noise(64, 1.0, seed)
    corner, size = np.array([[left], [bottom]]), np.array([[right - left], [top - bottom]])

    def units(x: Any) -> np.ndarray:
        return EDGE * (x.T.numpy() - corner) / size

    for panel, sampler in enumerate(SAMPLERS):
        shown = positions(last, panel).astype(float)
        inside = (shown != OUTSIDE).all(0)
        there = units(run_chains(sampler, stage.potential, x0, 5, seed=seed).x)
        assert np.abs(shown - there)[:, inside].max() <= 0.5 + 1e-6
        elsewhere = units(run_chains(sampler, stage.potential, x0, 5, seed=seed + 1).x)
        assert np.abs(shown - elsewhere)[:, inside].max() > 100
        assert (shown != first[panel]).any()


def test_a_page_that_does_not_draw_gets_no_more_frames(client: TestClient):
    with client.websocket_connect(PLACE) as socket:
        begun(socket)
        frame(socket)
        socket.send_json({"do": "run"})
        seen = [struct.unpack_from("<I", frame(socket))[0] for _ in range(IN_FLIGHT - 1)]
        assert seen == list(range(2, IN_FLIGHT + 1))
        socket.send_json({"do": "pause"})
        waiting = told(socket, "numbers")["step"]
        socket.send_json({"do": "pause"})
        assert told(socket, "numbers")["step"] == waiting  # it stood still all the while
        socket.send_json({"do": "drawn", "frame": IN_FLIGHT})
        socket.send_json({"do": "run"})
        assert struct.unpack_from("<I", frame(socket))[0] == IN_FLIGHT + 1


@pytest.mark.parametrize(
    ("message", "line", "panel"),
    [
        ("no JSON", "a message must be a JSON object", None),
        ("[" * 10_000, "a message must be a JSON object", None),
        ("x" * 30_000, "characters, but may have at most 20,000", None),
        ({"do": "dance"}, "do is 'dance', but must be watch, run", None),
        ({"do": "run"}, "nothing is watched yet", None),
        ({"do": "speed", "steps": 0, "frames": 1}, "steps is 0, but must be a whole number", None),
        ({"do": "speed", "steps": 1, "frames": True}, "frames is True, but must be", None),
        ({"do": "watch"}, "play is missing", None),
        ({"do": "watch", "play": wishes(density="banan")}, "did you mean 'banana'", None),
        ({"do": "watch", "play": wishes(density="../up")}, "is not inside", None),
        ({"do": "watch", "play": wishes(density="os:getcwd")}, "imported only where you", None),
        ({"do": "watch", "play": wishes(chains=10**9)}, "chains is 1,000,000,000", None),
        ({"do": "watch", "play": wishes(samplers=[])}, "must be 1 to 4", None),
        (
            {"do": "watch", "play": wishes(samplers=[{"kind": "langevin", "step_size": -1}])},
            "step_size is -1",
            0,
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:30],
)
def test_what_cannot_be_done_is_one_line_and_the_page_goes_on(
    client: TestClient, message: Any, line: str, panel: int | None
):
    with client.websocket_connect(PLACE) as socket:
        told(socket, "hello")
        socket.send_text(message if isinstance(message, str) else json.dumps(message))
        said = socket.receive_json()
        assert line in said["error"]
        assert "\n" not in said["error"]
        assert said["panel"] == panel
        assert begun(socket)["density"] == "banana"


def test_only_so_many_at_once_and_a_page_that_goes_makes_room(client: TestClient):
    sockets = [client.websocket_connect(PLACE) for _ in range(MOST_OPEN)]
    opened = [socket.__enter__() for socket in sockets]
    for socket in opened:
        told(socket, "hello")
    with client.websocket_connect(PLACE) as one_more:
        assert "playgrounds are open already" in told(one_more, "error")
    sockets.pop().__exit__(None, None, None)
    for _ in range(100):  # the server learns of it a moment later
        with client.websocket_connect(PLACE) as again:
            said = again.receive_json()
        if "hello" in said:
            break
    assert "hello" in said
    for socket in sockets:
        socket.__exit__(None, None, None)


def test_a_page_of_another_site_and_one_without_the_token_are_refused(folder: Path):
    with TestClient(application(folder, TOKEN, read=parse_fields), base_url=ADDRESS) as client:
        for headers in ({"origin": ADDRESS}, {"origin": "http://elsewhere.example"}):
            with (
                pytest.raises(WebSocketDisconnect),
                client.websocket_connect(PLACE, headers=headers),
            ):
                pass
        assert client.get("/playground").status_code == 403


def test_a_run_of_the_folder_and_a_density_that_was_named_are_on_offer(trained: Path, folder: Path):
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    stage = of_density("funnel")
    own = application(folder, TOKEN, read=parse_fields, target=stage)
    with TestClient(own, base_url=ADDRESS) as client:
        client.headers["origin"] = ADDRESS
        client.get("/", params={"token": TOKEN})
        with client.websocket_connect(PLACE) as socket:
            offered = {one["name"]: one["group"] for one in told(socket, "hello")["densities"]}
            assert offered["rings"] == "densities of the library"
            assert offered["./rings"] == offered["./table"] == "runs of this folder"
            assert [name for name, group in offered.items() if group == "your own"] == ["funnel"]
            plane, run = begun(socket, density="rings"), begun(socket, density="./rings")
            assert plane["shades"] != run["shades"]  # not each other
            assert begun(socket, density="./table")["all_names"][1] == "a<b>"
            socket.send_json({"do": "watch", "play": wishes(density="./pictures")})
            assert "a run on images" in told(socket, "error")
