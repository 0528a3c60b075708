"""The playground: a density, samplers side by side, chains that move."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stanley.studio.studio import Studio


def routes(studio: Studio) -> list[BaseRoute]:
    async def playground(request: Request) -> Response:
        return studio.page("playground.html")

    return [Route("/playground", playground)]
