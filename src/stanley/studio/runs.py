"""The list of what is in the folder."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stanley.studio.studio import Studio


def routes(studio: Studio) -> list[BaseRoute]:
    async def runs(request: Request) -> Response:
        return studio.page("runs.html")

    return [Route("/", runs)]
