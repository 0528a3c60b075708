"""The first page: what is in the folder, live, and trainings that are started, stopped, resumed."""

from __future__ import annotations

import asyncio
import shlex
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stanley.errors import StanleyError, require
from stanley.studio.elsewhere import why_not_stoppable
from stanley.studio.studio import Studio
from stanley.training.recipes import ABOUT, RECIPES


def routes(studio: Studio) -> list[BaseRoute]:
    reading = asyncio.Lock()  # two tabs do not read the folder twice at once

    async def page(request: Request) -> Response:
        steps = {name: recipe.steps for name, recipe in RECIPES.items()}
        return studio.page("runs.html", recipes=ABOUT, steps=steps)

    async def runs(request: Request) -> Response:
        async with reading:
            entries, whole = await run_in_threadpool(studio.listing.entries)
        return JSONResponse({"entries": with_trainings(studio, entries), "whole": whole})

    async def start(request: Request) -> Response:
        asked = await fields_of(request)
        name, path = named(studio, text(asked, "name"))
        fields = split(text(asked, "fields"))
        for field in ("steps", "seed"):
            if (value := text(asked, field)) != "":
                fields.insert(0, f"{field}={value}")
        recipe = text(asked, "recipe")
        await run_in_threadpool(studio.trainings.start, name, path, recipe, fields)
        return JSONResponse({"name": name})

    async def stop(request: Request) -> Response:
        asked = await fields_of(request)
        await run_in_threadpool(studio.trainings.stop, *named(studio, text(asked, "name")))
        return JSONResponse({})

    async def resume(request: Request) -> Response:
        asked = await fields_of(request)
        name, path = named(studio, text(asked, "name"))
        steps = text(asked, "steps")
        require(steps == "" or steps.isdecimal(), f"steps is {steps!r}, must be a whole number")
        more = int(steps) if steps else None
        await run_in_threadpool(studio.trainings.resume, name, path, more)
        return JSONResponse({})

    return [
        Route("/", page),
        Route("/api/runs", runs),
        Route("/api/start", start, methods=["POST"]),
        Route("/api/stop", stop, methods=["POST"]),
        Route("/api/resume", resume, methods=["POST"]),
    ]


def with_trainings(studio: Studio, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries, with what is known of the trainings that were started here."""
    by_name = {entry["name"]: entry for entry in entries}
    for name, training in studio.trainings.by_name.items():
        entry = by_name.get(name)
        if entry is None:
            if not training.running and training.error is None:
                continue  # it was removed since
            entry = {"name": name, "kind": "run", "changed": 0.0, "step": 0, "scores": []}
            entry["recipe"] = training.words[1]
            entry["status"] = "failed"
            entries.insert(0, entry)
        if training.running:
            entry["stoppable"] = True
            began = entry["status"] == "running"
            entry["status"] = (
                "stopping" if training.stopping else "running" if began else "starting"
            )
        elif (error := training.error) is not None:
            entry["error"] = error
            if not entry["step"] and not training.killed:
                entry["status"] = "failed"
    for entry in entries:
        if entry["status"] == "running" and entry["kind"] == "run" and "stoppable" not in entry:
            elsewhere(studio, entry)
    return entries


def elsewhere(studio: Studio, entry: dict[str, Any]) -> None:
    """What is known of a training that was not started here."""
    path = studio.folder / entry["name"]
    if studio.trainings.was_asked(entry["name"], path):
        entry["status"] = "stopping"
    else:
        why = why_not_stoppable(path)
        entry |= {"stoppable": not why, "elsewhere": why}


def named(studio: Studio, name: str) -> tuple[str, Any]:
    """A run's name, as the list shows it, and its path."""
    path = studio.inside(name.strip())
    return path.relative_to(studio.folder).as_posix(), path


async def fields_of(request: Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except (ValueError, RecursionError) as error:
        raise StanleyError("the request is no JSON") from error
    require(isinstance(asked, dict), "the request is no JSON object")
    return asked


def text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name, "")
    require(isinstance(value, str | int), f"{name} is {value!r}, must be text")
    return str(value).strip()


def split(fields: str) -> list[str]:
    """The KEY=VALUE of a line, with quotes as a shell has them."""
    try:
        return shlex.split(fields)
    except ValueError as error:
        raise StanleyError(f"the fields are {fields!r}: {str(error).lower()}; close it") from error
