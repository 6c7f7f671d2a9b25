"""The listening page's files, and the diagram that it shows."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable

from aiohttp import web

from ambient.server.streams import Streams

__all__ = ["Diagram", "PageDoor"]

Diagram = Callable[[str, str | None], str]
"""Draws a stream's states as SVG: (stream, current state) → text."""

FOLDER = pathlib.Path(__file__).parent.with_name("page")
POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


class PageDoor:
    """Serves the page."""

    def __init__(self, streams: Streams, diagram: Diagram | None) -> None:
        self._streams = streams
        self._diagram = diagram

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/", self._page),
            web.get("/{name:[a-z]+\\.(?:js|css|svg)}", self._page),
            web.get("/diagram/{stream}.svg", self._draw),
        ]

    async def _page(self, request: web.Request) -> web.StreamResponse:
        path = FOLDER / request.match_info.get("name", "index.html")
        if not path.is_file():
            raise web.HTTPNotFound(text="no such page")
        response = web.FileResponse(path)
        response.headers.update({"Cache-Control": "no-cache", "Content-Security-Policy": POLICY})
        return response

    async def _draw(self, request: web.Request) -> web.StreamResponse:
        control, _ = self._streams.of(request)
        state = request.query.get("state")
        if self._diagram is None or (state is not None and state not in control.describe()["states"]):
            raise web.HTTPNotFound(text="no diagram")
        drawing = await asyncio.to_thread(self._diagram, control.name, state)  # anew: the scene may have changed
        return web.Response(text=drawing, content_type="image/svg+xml", headers={"Cache-Control": "no-cache"})
