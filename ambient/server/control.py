"""The control API over HTTP: what there is, and parameters, events and states."""

from __future__ import annotations

from aiohttp import web

from ambient.errors import ProtocolError
from ambient.server.streams import Streams, answer, refusal
from ambient.sinks.protocol import read_name, read_object, read_params

__all__ = ["ControlDoor"]


class ControlDoor:
    """Answers under ``/api/v1``."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/api/v1/streams", self._list),
            web.get("/api/v1/streams/{stream}", self._tell_all),
            web.post("/api/v1/streams/{stream}/{door:params|fire|state}", self._steer),
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
        door = request.match_info["door"]
        try:
            payload = read_object(await request.text())
            if door == "params":
                for name, value in read_params(payload).items():
                    control.set_param(name, value)
            elif door == "fire":
                control.fire(read_name(payload, "event"))
            else:
                control.go(read_name(payload, "state"))
        except (ProtocolError, ValueError) as error:  # UnicodeDecodeError is a ValueError
            return refusal(400, "bad_request", str(error))
        return answer({"ok": True})
