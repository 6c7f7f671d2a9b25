"""The server from start to stop: its thread, its loop, its port, and which door answers what."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from aiohttp import web

from ambient.errors import SinkError
from ambient.ports import StreamControl
from ambient.server.admission import Admission
from ambient.server.control import ControlDoor
from ambient.server.gate import Gate
from ambient.server.hls import HlsDoor
from ambient.server.http_audio import HttpAudioDoor
from ambient.server.monitors import MonitorDoor
from ambient.server.page import Diagram, PageDoor
from ambient.server.streams import Streams, title_of
from ambient.server.tokens import Rights, Tokens
from ambient.server.websocket import WebSocketDoor
from ambient.sinks.conversation import scene_message
from ambient.sinks.hub import Hub
from ambient.sinks.icecast import IcecastPush, PushTarget
from ambient.sinks.protocol import MAX_MESSAGE_BYTES, build
from ambient.sinks.steering import Limits

__all__ = ["Server"]

log = logging.getLogger("ambient.server")

STATE_SECONDS = 0.2
"""Eager listeners get the stream's state so often, the others every fifth time."""
MOST_LISTENERS = 5000
AT_ONCE = 8
"""Connections that are taken in at once, before sound has its turn again."""
WAITING = 1024
"""Those that wait in the system until then."""
REQUEST_SECONDS = 10.0
"""A connection that has not made a whole request by then is dropped."""


class Server:
    """Serves streams, each a control and the hub that its blocks go to.

    ``origins`` are further origins, such as ``https://example.org``, whose pages may connect and under whose host
    names the server may be reached. ``tokens`` say who may listen and steer; None: everybody. ``pushes``: where
    streams go beside. ``start`` and ``stop`` are called from the thread that owns the server.

    Raises SinkError where a stream that is not served is to be pushed.
    """

    def __init__(
        self,
        streams: Sequence[tuple[StreamControl, Hub]],
        host: str = "127.0.0.1",
        port: int = 8765,
        diagram: Diagram | None = None,
        origins: Sequence[str] = (),
        tokens: Tokens | None = None,
        most_listeners: int = MOST_LISTENERS,
        pushes: Sequence[PushTarget] = (),
    ) -> None:
        self._streams = Streams(streams, most_listeners)
        self._host, self._port = host, port
        self._tokens = tokens or Tokens()
        admission = Admission(host, origins, self._tokens, time.monotonic)
        self._gate = Gate(admission, self._streams)
        limits = Limits(time.monotonic)
        self._talks = WebSocketDoor(self._streams, limits)
        self._monitors = MonitorDoor(self._streams)
        self.pushes = [self._pushed(target) for target in pushes]
        self._doors = (
            self._talks,
            HttpAudioDoor(self._streams),
            HlsDoor(self._streams),
            PageDoor(self._streams, diagram),
            ControlDoor(self._streams, limits, admission),
            self._monitors,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ending: asyncio.Event | None = None
        self._draining = False
        self._silent: dict[int, asyncio.TimerHandle] = {}

    @property
    def port(self) -> int:
        """The port that is listened on; differs from the one asked for where that was 0."""
        return self._port

    @property
    def url(self) -> str:
        """Address of the listening page on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    @property
    def exposure(self) -> str:
        """Who can reach the server and what they may do there, in words."""
        if self._host in ("127.0.0.1", "::1", "localhost"):
            return "this machine only; --host 0.0.0.0 opens it to the network"
        anybody = {
            Rights.NONE: "nobody may listen without a token",
            Rights.LISTEN: "anybody there may listen; steering needs a token",
            Rights.CONTROL: "ANYBODY there may listen and steer; see AMBIENT_CONTROL_TOKEN in docs/serving.md",
        }
        return f"open to the network; {anybody[self._tokens.anonymous]}"

    def start(self) -> None:
        """Listens. Raises SinkError where the port cannot be had."""
        started: list[OSError | None] = []
        up = threading.Event()

        def report(error: OSError | None) -> None:
            started.append(error)
            up.set()

        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(report)), name="ambient-server", daemon=True
        )
        self._thread.start()
        up.wait()
        if started[0] is not None:
            self._thread.join()
            self._thread = None
            raise SinkError(self._no_port(started[0])) from started[0]

    def drain(self) -> None:
        """Takes nobody in any more, and tells those who are here that the server stops soon. Sound goes on."""
        if self._thread is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it ended by itself
                self._loop.call_soon_threadsafe(self._drain)

    def stop(self) -> None:
        """Says goodbye to everybody and closes, within 2 s. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._ending is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: it ended by itself
            self._loop.call_soon_threadsafe(self._ending.set)
        thread.join(2.0)

    def _no_port(self, error: OSError) -> str:
        place = f"port {self._port} of {self._host}"
        if error.errno == errno.EADDRINUSE:
            return f"{place} is in use: stop the other program, or choose another port with --port"
        if error.errno == errno.EACCES:
            return f"{place} is not allowed for this user: choose one above 1023 with --port"
        return f"{place} cannot be listened on: {error.strerror or error}"

    # ---- the loop

    async def _run(self, report: Callable[[OSError | None], None]) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        runner = web.AppRunner(self._application(), access_log=None, handle_signals=False, shutdown_timeout=0.2)
        try:
            await runner.setup()
            listening = await loop.create_server(
                lambda: self._connection(runner), self._host or None, self._port, backlog=AT_ONCE, reuse_address=True
            )
            for sock in listening.sockets:
                with sock.dup() as same:
                    same.listen(WAITING)  # asyncio would take in as many at once as may wait
        except OSError as error:
            await runner.cleanup()
            report(error)
            return
        self._port = listening.sockets[0].getsockname()[1]
        for control, hub in self._streams.values():
            hub.on_event = self._teller(hub)
            hub.attach(loop)
            log.debug("stream %s at %s", control.name, self.url)
        report(None)
        tasks = [asyncio.create_task(work) for work in (self._tell(), *(push.run() for push in self.pushes))]
        await self._ending.wait()
        for task in tasks:
            task.cancel()
        listening.close()
        self._drain()
        for _, hub in self._streams.values():
            hub.detach()
        await self._talks.close()
        for _, hub in self._streams.values():
            hub.end()
        await runner.cleanup()

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            self._gate.drain()
            self._talks.drain()
            self._monitors.drain()

    def _pushed(self, target: PushTarget) -> IcecastPush:
        """Raises SinkError where the stream is not served."""
        name = target.stream or next(iter(self._streams), "")
        if name not in self._streams:
            raise SinkError(f"no stream is called {name!r} to be pushed; there are {', '.join(self._streams)}")
        control, hub = self._streams[name]
        return IcecastPush(target, hub, lambda: title_of(control))

    def _connection(self, runner: web.AppRunner) -> asyncio.Protocol:
        assert runner.server is not None
        handler = runner.server()

        def drop() -> None:
            del self._silent[id(handler)]
            if handler.transport is not None:
                cast(asyncio.WriteTransport, handler.transport).abort()

        self._silent[id(handler)] = asyncio.get_running_loop().call_later(REQUEST_SECONDS, drop)
        return handler

    def _teller(self, hub: Hub) -> Callable[..., None]:
        return lambda event: hub.tell(scene_message(event))

    async def _tell(self) -> None:
        """Sends the streams' states around, and their scenes where they changed; looks after silent listeners."""
        tick = 0
        scenes = {name: control.describe() for name, (control, _) in self._streams.items()}
        while True:
            await asyncio.sleep(STATE_SECONDS)
            tick += 1
            for name, (control, hub) in self._streams.items():
                if tick % 5 == 0:
                    hub.pump()
                if scenes[name] != (scene := control.describe()):
                    scenes[name] = scene
                    hub.tell(build("scene", scene))
                if hub.connected:
                    hub.tell(build("state", control.status()), eager=None if tick % 5 == 0 else True)

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._heard, self._gate.middleware()], client_max_size=MAX_MESSAGE_BYTES)
        app.on_response_prepare.append(self._gate.on_prepare)
        for door in self._doors:
            app.add_routes(door.routes())
        return app

    @web.middleware
    async def _heard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Any:
        """A whole request has come: its connection is not dropped for silence."""
        if (waiting := self._silent.pop(id(request.protocol), None)) is not None:
            waiting.cancel()
        try:
            return await handler(request)
        except ConnectionResetError:
            return web.Response(status=499)  # the client has hung up: nobody reads this, and it is no fault of ours
