"""Every request passes here first: where it comes from, what its sender may do, and how refusals look."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ambient.server.admission import Admission, BadToken
from ambient.server.streams import Streams, refusal
from ambient.server.tokens import Rights

__all__ = ["BAD_TOKEN", "CHALLENGE", "RETRY_AFTER_SECONDS", "RIGHTS", "Gate"]

RIGHTS = web.RequestKey("RIGHTS", Rights)
"""What the sender of a request may do: NONE where its token is not good."""
BAD_TOKEN = web.RequestKey("BAD_TOKEN", BadToken)
"""What is wrong with a request's token, if anything is."""
OPEN = ("/healthz", "/readyz", "/api/v1/openapi.json")
"""What tells nothing of the streams."""
CHALLENGE = {"WWW-Authenticate": 'Basic realm="Ambient", charset="UTF-8"'}
"""Browsers ask for the token then, and send it with everything that the page asks for."""
RETRY_AFTER_SECONDS = 2
"""When those who are sent away may look whether the server is back."""


class Gate:
    """Lets requests in."""

    def __init__(self, admission: Admission, streams: Streams) -> None:
        self._admission, self._streams = admission, streams
        self._draining = False

    def drain(self) -> None:
        """Nobody begins to listen any more."""
        self._draining = True

    def middleware(self) -> Any:
        """What aiohttp calls around every handler."""

        @web.middleware
        async def gate(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
            if not self._admission.welcome(request):
                self._streams.refused("origin")
                return refusal(403, "origin", "pages of other sites may not connect to this server")
            if request.method == "OPTIONS" and "Origin" in request.headers:
                return web.Response(status=204)  # on_prepare says what the page may do
            try:
                refused = self._judge(request)
                return refused if refused is not None else await handler(request)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return refusal(error.status, "http", error.text or error.reason)

        return gate

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Lets pages on the list of origins read answers (CORS)."""
        origin = request.headers.get("Origin")
        if origin is not None and self._admission.listed(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST"
                response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
                response.headers["Access-Control-Max-Age"] = "600"

    def _judge(self, request: web.Request) -> web.Response | None:
        """Notes what the sender may do; the answer for those who may not even listen."""
        websocket = request.path.startswith("/ws/")  # these are let in to be told why: browsers hide other answers
        try:
            request[RIGHTS] = self._admission.rights(request)
        except BadToken as error:
            self._streams.refused("token")
            request[RIGHTS], request[BAD_TOKEN] = Rights.NONE, error
            if websocket or request.path in OPEN:
                return None
            if error.retry_after_seconds:
                wait = {"Retry-After": str(math.ceil(error.retry_after_seconds))}
                return refusal(429, "rate", "too many wrong tokens from this address", wait)
            return refusal(401, "token", "this token is not good", CHALLENGE)
        if request[RIGHTS] < Rights.LISTEN and not websocket and request.path not in OPEN:
            return refusal(401, "token", "a token is needed to listen", CHALLENGE)
        if request.path.startswith(("/listen/", "/hls/")):
            later = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            if self._draining:
                return refusal(503, "draining", "the server stops soon", later)
            if self._streams.full:
                self._streams.refused("full")
                return refusal(503, "full", "there are as many listeners as this server takes", later)
        return None
