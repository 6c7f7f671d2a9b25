"""How soon a stream that rests, because nobody listens, is heard again: the real engine, without a model."""

from __future__ import annotations

import time
from typing import Any

from ambient.engine.core import Engine
from ambient.engine.live import LiveStream
from ambient.engine.options import Options
from ambient.scene import find_scene, load_scene
from ambient.server import Server
from ambient.sinks.hub import Hub
from ambient.testing import ScriptedGenerator
from benches.crowd import Crowd, percentiles

__all__ = ["rest"]

TIMES = 8
REST_AFTER_SECONDS = 1.0


def rest() -> dict[str, Any]:
    """From connecting to a stream that rests until its sound goes on: the first frame or page after the past, which
    comes at once."""
    hub = Hub("forest")
    engine = Engine(load_scene(find_scene("forest")), ScriptedGenerator(), Options())
    stream = LiveStream("forest", engine, [hub], heard=lambda: hub.connected > 0, idle_seconds=REST_AFTER_SECONDS)
    server = Server([(stream, hub)], port=0)
    server.start()
    stream.start()
    back: dict[str, list[float]] = {"websocket": [], "http": []}
    try:
        for i in range(TIMES):
            kind, path = (("ws", "/ws/v1/forest"), ("http", "/listen/forest.opus"))[i % 2]
            end = time.monotonic() + 30
            while not stream.status().get("resting"):
                if time.monotonic() > end:
                    raise SystemExit("bench: the stream does not come to rest")
                time.sleep(0.05)
            time.sleep(0.5)
            crowd = Crowd(server.port)
            began = time.monotonic()
            one = crowd.connect(kind, "opus", path)
            crowd.until(lambda: one.first_at is not None, 5)  # noqa: B023
            past = one.seq
            crowd.until(lambda: one.seq > past, 5)  # noqa: B023
            back["websocket" if kind == "ws" else "http"].append(1000 * (time.monotonic() - began))
            crowd.leave_all()
        counts = stream.status()["counts"]
    finally:
        stream.stop()
        server.stop()
    return {
        **{f"{kind}_ms": percentiles(values) for kind, values in back.items()},
        "underruns": counts["underruns"],
        "limits": {"ms": 300, "underruns": 0},
    }
