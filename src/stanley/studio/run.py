"""The page of a run: its curves as they grow, what its energy holds, what can be done with it."""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from stanley.config import flatten
from stanley.data.pictures import read_sent_picture
from stanley.errors import StanleyError, require
from stanley.runs.directory import RunDirectory
from stanley.studio.computing import answer
from stanley.studio.looking import Loaded, computation
from stanley.studio.records import Followed
from stanley.studio.runs import named, with_trainings
from stanley.studio.studio import Studio
from stanley.training.former import of_a_run

RUNS = 8  # whose records are kept in memory
LARGEST_SIDE = 512  # of a picture that a model knows


def routes(studio: Studio) -> list[BaseRoute]:
    followed: OrderedDict[Path, Followed] = OrderedDict()
    reading = asyncio.Lock()
    loaded = Loaded()  # touched by the worker alone

    async def page(request: Request) -> Response:
        name, path = asked_for(studio, request)
        run = RunDirectory.existing(path)
        config = of_a_run(await run_in_threadpool(run.read_config))
        return studio.page("run.html", name=name, fields=list(flatten(config).items()))

    async def curves(request: Request) -> Response:
        name, path = asked_for(studio, request)
        RunDirectory.existing(path)
        async with reading:
            told = await run_in_threadpool(
                curves_of, followed, path, request.query_params.get("since")
            )
            entry = await run_in_threadpool(studio.listing.entry, path)
        entries = with_trainings(studio, [dict(entry)])
        told["run"] = next(one for one in entries if one["name"] == name)
        training = studio.trainings.by_name.get(name)
        told["said"] = [] if training is None else list(training.said)[-40:]
        return JSONResponse(told)

    async def picture(request: Request) -> Response:
        shape = shape_of(request.query_params.get("shape", ""))
        pixels = await run_in_threadpool(read_sent_picture, await request.body(), shape)
        return JSONResponse({"pixels": base64.b64encode(pixels.tobytes()).decode()})

    async def computing(socket: WebSocket) -> None:
        name = socket.query_params.get("name", "")

        def of(fields: dict[str, Any]) -> Any:
            path = named(studio, name)[1]
            return computation(loaded, path, fields)

        await answer(socket, studio.worker, of)

    return [
        Route("/run", page),
        Route("/api/run", curves),
        Route("/api/picture", picture, methods=["POST"]),
        WebSocketRoute("/ws/run", computing),
    ]


def asked_for(studio: Studio, request: Request) -> tuple[str, Path]:
    return named(studio, request.query_params.get("name", ""))


def curves_of(
    followed: OrderedDict[Path, Followed], path: Path, since: str | None
) -> dict[str, Any]:
    """The curves and events of a run; without the curves where they are still those of `since`."""
    run = RunDirectory(path)
    records = followed.setdefault(path, Followed(run.records_file))
    followed.move_to_end(path)
    while len(followed) > RUNS:
        followed.popitem(last=False)
    records.read()
    try:
        events, damaged = (
            [event_in_words(e) for e in run.events() if "step" in e and e["kind"] != "judged"],
            "",
        )
    except StanleyError as error:
        events, damaged = [], str(error)
    told: dict[str, Any] = {"version": records.version, "events": events, "damaged": damaged}
    return told if since == records.version else told | records.told()


def event_in_words(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("kind", "step", "reason") if name in event}


def shape_of(text: str) -> tuple[int, ...]:
    """`3,32,32`, the shape of the pictures that a model knows."""
    parts = text.split(",")
    shape = tuple(int(part) for part in parts if part.isdecimal() and len(part) < 5)
    good = len(parts) == len(shape) == 3 and shape[0] in (1, 3)
    require(
        good and all(1 <= side <= LARGEST_SIDE for side in shape[1:]),
        f"shape is {text!r}, must be channels, height and width, such as 3,32,32",
    )
    return shape
