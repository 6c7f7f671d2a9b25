"""The control API over HTTP: what there is, and parameters, events and states."""

from __future__ import annotations

import math

from aiohttp import web

from ambient.errors import ProtocolError, Refused
from ambient.server.streams import Streams, answer, refusal
from ambient.sinks.protocol import read_object
from ambient.sinks.steering import Limits

__all__ = ["ControlDoor"]

STATUSES = {"role": 403, "unknown": 400, "rate": 429}
"""HTTP status of each refusal."""


class ControlDoor:
    """Answers under ``/api/v1``."""

    def __init__(self, streams: Streams, limits: Limits) -> None:
        self._streams, self._limits = streams, limits

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/api/v1/streams", self._list),
            web.get("/api/v1/streams/{stream}", self._tell_all),
            web.post("/api/v1/streams/{stream}/{kind:params|fire|state}", self._steer),
        ]

    async def _list(self, request: web.Request) -> web.StreamResponse:
        rows = [
            {"name": name, "state": control.status().get("state"), "listeners": hub.listeners}
            for name, (control, hub) in self._streams.items()
        ]
        return answer({"streams": rows})

    async def _tell_all(self, request: web.Request) -> web.StreamResponse:
        control, hub = self._streams.of(request)
        counts = {
            "listeners": hub.listeners,
            "dropped_frames": hub.dropped_frames,
            "encoder_restarts": hub.encoder_restarts,
        }
        return answer({**control.status(), "server": counts, "scene": control.describe()})

    async def _steer(self, request: web.Request) -> web.StreamResponse:
        control, _ = self._streams.of(request)
        steering = self._limits.steering(control, request.remote or "", allowed=True)
        try:
            steering.act(request.match_info["kind"], read_object(await request.text()))
        except Refused as error:
            wait = error.retry_after_seconds
            headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
            return refusal(STATUSES[error.code], error.code, str(error), headers)
        except (ProtocolError, ValueError) as error:  # UnicodeDecodeError is a ValueError
            return refusal(400, "bad_request", str(error))
        return answer({"ok": True})
