"""The application: the pages of a studio, behind its checks."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stanley.errors import StanleyError, in_one_line, require
from stanley.studio import comparison, playground, run, runs
from stanley.studio.computing import Worker
from stanley.studio.listing import Listing
from stanley.studio.processes import Reader, Trainings
from stanley.studio.safety import Guard
from stanley.studio.stage import Stage
from stanley.studio.studio import LOOPBACK, Studio

STATIC = Path(__file__).parent / "static"


def application(
    folder: Path,
    token: str,
    *,
    read: Reader,
    hosts: tuple[str, ...] | None = LOOPBACK,
    data: Path | None = None,
    target: Stage | None = None,
) -> Starlette:
    """The studio of a folder, as an ASGI application.

    read     reads the fields of a training, ("--name=value", …), as the command line does
    data     a folder besides `folder` in which data of trainings may lie
    others   see `Studio`
    """
    folder, data = folder.resolve(), None if data is None else data.resolve()
    trainings = Trainings(folder, data, read)
    studio = Studio(folder, token, hosts, trainings, Worker(), Listing(folder), target)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        studio.worker.close()
        await asyncio.to_thread(studio.trainings.close)

    async def charts(request: Request) -> Response:
        return FileResponse(plotly_file(), headers={"Cache-Control": "max-age=86400"})

    async def said(request: Request, error: Exception) -> Response:
        """An error as one line: JSON for the scripts of the page, a page for a person."""
        status = 500
        if isinstance(error, HTTPException):
            status, line = error.status_code, f"{request.url.path}: {error.detail.lower()}"
        elif isinstance(error, StanleyError):
            status, line = 400, str(error)
        else:
            line = in_one_line(error)
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": line}, status)
        return studio.page("error.html", status, line=line)

    app = Starlette(
        routes=[
            *runs.routes(studio),
            *run.routes(studio),
            *comparison.routes(studio),
            *playground.routes(studio),
            Route("/static/plotly.min.js", charts),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, studio=studio)],
        exception_handlers={StanleyError: said, HTTPException: said, Exception: said},
        lifespan=lifespan,
    )
    app.state.studio = studio
    return app


def plotly_file() -> Path:
    """The charts in JavaScript that the package plotly brings along; plotly is not imported."""
    found = importlib.util.find_spec("plotly")
    require(found is not None, "there is no plotly; pip install 'stanley[studio]'")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "package_data" / "plotly.min.js"
