"""Who is let in: token, host, origin, size; and no file outside the folder."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from stanley.cli.values import parse_fields
from stanley.errors import StanleyError
from stanley.studio import application
from stanley.studio.safety import LARGEST

from .conftest import ADDRESS, SOCKETS, TOKEN

PATHS = ["/", "/playground", "/static/studio.css", "/static/plotly.min.js", "/nothing"]


@pytest.fixture
def stranger(folder):
    """Knows the address and no token."""
    with TestClient(application(folder, TOKEN, read=parse_fields), base_url=ADDRESS) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_told_without_the_token(stranger: TestClient, path: str):
    assert stranger.get(path).status_code == 403
    assert stranger.get(path, params={"token": TOKEN[:-1]}).status_code == 403
    assert stranger.get(path, cookies={"stanley-studio-8765": "wrong"}).status_code == 403


def test_a_person_without_the_token_is_asked_for_it(stranger: TestClient):
    answer = stranger.get("/", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 403
    assert '<input id="token" name="token"' in answer.text
    assert "form-action 'self'" in answer.headers["content-security-policy"]
    assert stranger.get("/").text.startswith("refused: ")  # a script is told in a line


def test_the_name_that_is_refused_is_text(stranger: TestClient):
    headers = {"accept": "text/html", "host": "<b>evil</b>"}
    answer = stranger.get("/", headers=headers)
    assert answer.status_code == 403
    assert "&lt;b&gt;evil" in answer.text
    assert "<b>" not in answer.text
    assert 'name="token"' not in answer.text  # a token would go to whoever has that name


def test_the_token_leaves_the_address_and_becomes_a_cookie_that_no_script_reads(
    stranger: TestClient,
):
    first = stranger.get(f"/playground?a=b%26c&token={TOKEN}", follow_redirects=False)
    assert first.status_code == 303
    assert first.headers["location"] == "/playground?a=b%26c"
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert stranger.get("/playground").status_code == 200


@pytest.mark.parametrize("path", PATHS[:4])
def test_every_answer_tells_the_browser_what_it_may_not_do(client: TestClient, path: str):
    headers = client.get(path).headers
    assert "script-src 'self';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8765", ""])
def test_a_name_that_points_to_this_machine_is_refused(client: TestClient, host: str):
    """A page of another site whose name was made to lead here sends that name."""
    assert client.get("/", headers={"host": host, "origin": f"http://{host}"}).status_code == 403


def test_any_name_is_taken_where_other_machines_are_let_in(folder):
    with TestClient(
        application(folder, TOKEN, read=parse_fields, hosts=None), base_url="http://box:80"
    ) as client:
        assert client.get("/", params={"token": TOKEN}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9999", "null", "file://", ""]
)
def test_a_page_of_another_site_is_refused(client: TestClient, origin: str):
    assert client.post("/api/start", json={}, headers={"origin": origin}).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(f"{SOCKETS}/ws/run", headers={"origin": origin}),
    ):
        pass


def test_a_socket_is_opened_with_token_and_origin_alone(client: TestClient, stranger: TestClient):
    with client.websocket_connect(f"{SOCKETS}/ws/run?name=x") as socket:
        socket.send_json({"do": "stop"})
        assert socket.receive_json() == {"done": True}
    with (
        pytest.raises(WebSocketDisconnect),
        stranger.websocket_connect(f"{SOCKETS}/ws/run?name=x", headers={"origin": ADDRESS}),
    ):
        pass


def test_a_change_without_an_origin_is_refused(client: TestClient):
    del client.headers["origin"]
    assert client.get("/").status_code == 200
    assert client.post("/api/start", json={}).status_code == 403


def test_what_is_too_large_is_not_read(client: TestClient):
    assert client.post("/api/start", content=bytes(LARGEST + 1)).status_code == 413


@pytest.mark.parametrize("name", ["", ".", "..", "../secret.txt", "/etc", "a/../../b", "a\0b"])
def test_no_name_leads_out_of_the_folder(client: TestClient, name: str):
    with pytest.raises(StanleyError):
        client.app.state.studio.inside(name)  # type: ignore[attr-defined]


def test_no_link_leads_out_of_the_folder(client: TestClient, folder):
    (folder / "link").symlink_to(folder.parent)
    (folder / "inner").mkdir()
    (folder / "short").symlink_to(folder / "inner")
    studio = client.app.state.studio  # type: ignore[attr-defined]
    assert studio.inside("short") == folder / "inner"
    with pytest.raises(StanleyError, match="not inside"):
        studio.inside("link/secret.txt")


def test_static_files_are_those_of_the_package_alone(client: TestClient):
    assert client.get("/static/..%2fapp.py").status_code == 404
    assert client.get("/static/../app.py").status_code == 404


@pytest.mark.parametrize(("name", "page"), [("rings", "run"), ("both", "comparison")])
def test_a_run_or_a_comparison_is_opened_in_the_folder_around_it(
    trained: Path, compared: Path, tmp_path: Path, serve: Any, name: str, page: str
) -> None:
    """As `make demo` says it: `stanley studio runs/demo`."""
    shutil.copytree(trained, tmp_path / "shown")
    shutil.copytree(compared / "both", tmp_path / "shown" / "both")
    server = serve(tmp_path / "shown" / name)
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(server.address) as answer:
        assert answer.status == 200
        assert answer.url == server.at(f"/{page}?name={name}")
    with opener.open(server.at("/api/runs")) as answer:
        assert {e["name"] for e in json.load(answer)["entries"]} >= {"rings", "both"}
