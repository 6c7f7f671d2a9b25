"""The control API over HTTP: all that the WebSocket protocol can say and tell beside the sound."""

from __future__ import annotations

import math
import time

from aiohttp import web

from ambient.errors import ProtocolError, Refused
from ambient.server.admission import Admission
from ambient.server.connection import body_of, listening
from ambient.server.gate import CHALLENGE, RIGHTS
from ambient.server.openapi import document
from ambient.server.streams import Streams, answer, refusal
from ambient.server.tokens import TICKET_SECONDS, Rights
from ambient.sinks.framing import server_sent_event
from ambient.sinks.protocol import read_object
from ambient.sinks.steering import Limits

__all__ = ["ControlDoor"]

STATUSES = {"role": 403, "unknown": 400, "rate": 429}
"""HTTP status of each refusal."""


class ControlDoor:
    """Answers under ``/api/v1``."""

    def __init__(self, streams: Streams, limits: Limits, admission: Admission) -> None:
        self._streams, self._limits, self._admission = streams, limits, admission

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        stream = "/api/v1/streams/{stream}"
        return [
            web.get("/api/v1/openapi.json", self._openapi),
            web.post("/api/v1/tickets", self._ticket),
            web.get("/api/v1/streams", self._list),
            web.get(stream, self._tell_all),
            web.get(f"{stream}/scene", self._scene),
            web.get(f"{stream}/explain", self._explain),
            web.get(f"{stream}/time", self._time),
            web.get(f"{stream}/events", self._events),
            web.post(f"{stream}/{{kind:params|fire|state}}", self._steer),
            web.get("/login", self._login),
        ]

    async def _openapi(self, request: web.Request) -> web.StreamResponse:
        return answer(document())

    async def _ticket(self, request: web.Request) -> web.StreamResponse:
        ticket = self._admission.tickets.issue(request[RIGHTS])
        return answer({"ticket": ticket, "expires_in_seconds": TICKET_SECONDS})

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

    async def _scene(self, request: web.Request) -> web.StreamResponse:
        return answer(self._streams.of(request).control.describe())

    async def _explain(self, request: web.Request) -> web.StreamResponse:
        status = self._streams.of(request).control.status()
        return answer({"state": status.get("state"), "params": status["params"], "layers": status["layers"]})

    async def _time(self, request: web.Request) -> web.StreamResponse:
        received = time.monotonic_ns() // 1000
        hub = self._streams.of(request).hub
        place = {"epoch": hub.epoch, "sample_index": hub.newest_frame}
        return answer({"received_us": received, "sent_us": time.monotonic_ns() // 1000, **place})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        hub = self._streams.of(request).hub
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        response.force_close()
        await response.prepare(request)
        async with listening(request, hub, server_sent_event, body_of(request)) as listener:
            hub.watch(listener)
            await listener.ended
        return response

    async def _steer(self, request: web.Request) -> web.StreamResponse:
        control, _ = self._streams.of(request)
        steering = self._limits.steering(control, request.remote or "", request[RIGHTS] >= Rights.CONTROL)
        try:
            steering.act(request.match_info["kind"], read_object(await request.text()))
        except Refused as error:
            wait = error.retry_after_seconds
            if error.code == "role" and "Authorization" not in request.headers and "ticket" not in request.query:
                return refusal(401, "token", "a token is needed to steer", CHALLENGE)
            return refusal(
                STATUSES[error.code],
                error.code,
                str(error),
                {} if wait is None else {"Retry-After": str(math.ceil(wait))},
            )
        except (ProtocolError, ValueError) as error:  # UnicodeDecodeError is a ValueError
            return refusal(400, "bad_request", str(error))
        return answer({"ok": True})

    async def _login(self, request: web.Request) -> web.StreamResponse:
        """Makes a browser ask for a token; from then on the page may steer."""
        if request[RIGHTS] < Rights.CONTROL:
            return refusal(401, "token", "a token is needed to steer", CHALLENGE)
        raise web.HTTPSeeOther("/")
