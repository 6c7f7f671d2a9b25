"""HLS over HTTP: the playlist, which starts the segments, and the segments."""

from __future__ import annotations

import asyncio
import logging
import time

from aiohttp import web

from ambient.errors import SinkError
from ambient.server.streams import Streams, refusal
from ambient.sinks.hls import SEGMENT_FRAMES, Segmenter

__all__ = ["HlsDoor"]

log = logging.getLogger("ambient.server")

FIRST_SEGMENT_SECONDS = 6.0
LOOK_SECONDS = 0.05
SEGMENT_CACHE_SECONDS = 60


class HlsDoor:
    """Serves every stream in segments; whoever asks first starts them."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._segmenters = {name: Segmenter(hub, time.monotonic) for name, (_, hub) in streams.items()}

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/hls/{stream}/live.m3u8", self._playlist),
            web.get("/hls/{stream}/{number:[0-9]{1,12}}.aac", self._segment),
        ]

    async def _playlist(self, request: web.Request) -> web.StreamResponse:
        segmenter = self._segmenters[self._streams.of(request).control.name]
        try:
            segmenter.touch()
        except SinkError as error:
            log.error("stream %s: %s", request.match_info["stream"], error)
            return refusal(503, "encoder", "the encoder cannot be had")
        waited = 0.0
        while not segmenter.ready:
            if waited >= FIRST_SEGMENT_SECONDS:
                return refusal(503, "not_ready", "there is no sound yet", {"Retry-After": "2"})
            await asyncio.sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS
        return web.Response(
            text=segmenter.playlist(),
            content_type="application/vnd.apple.mpegurl",
            headers={"Cache-Control": "no-cache"},
        )

    async def _segment(self, request: web.Request) -> web.StreamResponse:
        segmenter = self._segmenters[self._streams.of(request).control.name]
        data = segmenter.segment(int(request.match_info["number"]))
        if data is None:
            raise web.HTTPNotFound(text=f"this segment is gone, or not there yet; each is {SEGMENT_FRAMES} samples")
        segmenter.touch()
        kept = {"Cache-Control": f"max-age={SEGMENT_CACHE_SECONDS}"}
        return web.Response(body=data, content_type="audio/aac", headers=kept)
