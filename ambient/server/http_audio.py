"""Sound over plain HTTP, as radios send it."""

from __future__ import annotations

import logging

from aiohttp import web

from ambient.errors import SinkError
from ambient.server.connection import body_of, listening
from ambient.server.streams import Streams, title_of
from ambient.sinks.icy import INTERVAL, IcyBody
from ambient.telemetry import playlist

__all__ = ["HTTP_FORMATS", "HttpAudioDoor"]

log = logging.getLogger("ambient.server")

HTTP_FORMATS = {
    "mp3": ("mp3", "audio/mpeg"),
    "opus": ("ogg", "audio/ogg; codecs=opus"),
    "aac": ("aac", "audio/aac"),
    "flac": ("flac", "audio/flac"),
    "wav": ("wav", "audio/wav"),
}
"""By ending: the encoder, and the media type."""
TITLED = ("mp3", "aac")
"""Encoders whose players know ICY metadata."""
BURST_FRAMES = 96_000


class HttpAudioDoor:
    """Streams sound as the body of an answer without end."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.get("/listen/{stream}.{format:[a-z0-9]+}", self._listen)]

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        control, hub = self._streams.of(request)
        if request.match_info["format"] == "m3u":
            text = playlist(control.name, f"{request.scheme}://{request.host}")
            return web.Response(text=text, content_type="audio/x-mpegurl")
        known = HTTP_FORMATS.get(request.match_info["format"])
        if known is None:
            raise web.HTTPNotFound(text=f"no such format; there are {', '.join(HTTP_FORMATS)}")
        encoder, media_type = known
        response = web.StreamResponse(headers={"Content-Type": media_type, "Cache-Control": "no-store"})
        response.headers["icy-name"] = control.name
        body = body_of(request)
        if encoder in TITLED and request.headers.get("Icy-MetaData") == "1":
            response.headers["icy-metaint"] = str(INTERVAL)
            titled, wrap = IcyBody(lambda: title_of(control)), body
            body = lambda data: wrap(titled(data))  # noqa: E731
        response.force_close()
        if request.method == "HEAD":
            return response
        await response.prepare(request)
        try:
            async with listening(request, hub, None, body) as listener:
                listener.push_bytes(hub.header(encoder))
                hub.join(listener, encoder, BURST_FRAMES, together=True)
                await listener.ended
        except SinkError as error:
            log.error("stream %s: %s", control.name, error)
        return response
