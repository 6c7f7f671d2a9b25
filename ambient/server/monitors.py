"""For those who watch over a server: health, readiness, metrics, Icecast's status."""

from __future__ import annotations

import datetime

from aiohttp import web

from ambient.server.http_audio import HTTP_FORMATS
from ambient.server.streams import Streams, answer
from ambient.sinks.encoders import KILOBITS
from ambient.telemetry import Mount, StreamReport, icecast_status, metrics

__all__ = ["MonitorDoor"]

MOUNTS = [
    Mount(ending, encoder, media_type, KILOBITS.get(encoder)) for ending, (encoder, media_type) in HTTP_FORMATS.items()
]
READY_SECONDS = 2.0
"""Sound older than that is no stream."""


class MonitorDoor:
    """Answers monitors and radio tools."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._draining = False
        self._since = datetime.datetime.now(datetime.UTC)

    def drain(self) -> None:
        """The server stops soon: it is not ready for anybody any more."""
        self._draining = True

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/healthz", self._health),
            web.get("/readyz", self._ready),
            web.get("/metrics", self._metrics),
            web.get("/status-json.xsl", self._radio_status),
        ]

    def _reports(self) -> list[StreamReport]:
        return [
            StreamReport(
                name,
                control.status(),
                hub.listeners,
                hub.dropped_frames,
                hub.encoder_restarts,
                hub.listeners_of,
                hub.most_listeners,
            )
            for name, (control, hub) in self._streams.items()
        ]

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=metrics(self._reports()).encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _radio_status(self, request: web.Request) -> web.StreamResponse:
        base = f"{request.scheme}://{request.host}"
        return answer(icecast_status(self._reports(), base, MOUNTS, self._since))

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.StreamResponse:
        """200 when every stream gives sound or rests until somebody listens, with its seconds ahead; 503 before."""
        rows = {}
        for name, (control, hub) in self._streams.items():
            age = hub.seconds_since_sound
            status = control.status()
            ready = bool(status.get("resting")) or (age is not None and age < READY_SECONDS)
            rows[name] = {"ready": ready, "seconds_ahead": status.get("seconds_ahead")}
        ready = bool(rows) and not self._draining and all(row["ready"] for row in rows.values())
        return answer({"ready": ready, "streams": rows}, status=200 if ready else 503)
