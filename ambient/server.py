"""The server: the listening page, sound over WebSocket and HTTP, and a door to parameters and events.

Its asyncio loop runs in a thread of its own. Playout is not on this loop: a slow server delays nobody's sound.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import pathlib
import socket
import threading
import urllib.parse
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from aiohttp import WSMsgType, web

from ambient.errors import ProtocolError, SinkError
from ambient.ports import StreamControl
from ambient.sinks.conversation import Conversation, scene_message
from ambient.sinks.hub import Hub
from ambient.sinks.listener import TRANSPORT_BYTES, Ended, Listener
from ambient.sinks.protocol import (
    HELLO_SECONDS,
    MAX_MESSAGE_BYTES,
    SUBPROTOCOL,
    Close,
    build,
    read_name,
    read_object,
    read_params,
)
from ambient.telemetry import StreamReport, icecast_status, metrics, playlist

__all__ = ["Diagram", "Server"]

log = logging.getLogger("ambient.server")

Diagram = Callable[[str, str | None], str]
"""Draws a stream's states as SVG: (stream, current state) → text."""

PAGE = pathlib.Path(__file__).with_name("page")
HTTP_FORMATS = {
    "mp3": ("mp3", "audio/mpeg"),
    "opus": ("ogg", "audio/ogg; codecs=opus"),
    "aac": ("aac", "audio/aac"),
    "flac": ("flac", "audio/flac"),
    "wav": ("wav", "audio/wav"),
}
"""By ending: the encoder, and the media type."""
HTTP_BURST_FRAMES = 96_000
SOCKET_BYTES = 128 * 1024
"""Kernel's send buffer: what a client that does not read can hold on to, beside its queue."""
STATE_SECONDS = 0.2
"""Eager listeners get the stream's state so often, the others every fifth time."""
CLOSE_SECONDS = 1.0
REQUEST_SECONDS = 10.0
"""A connection that has not made a whole request by then is dropped."""
READY_SECONDS = 2.0
"""Sound older than that is no stream."""
POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


class Server:
    """Serves streams, each a control and the hub that its blocks go to.

    ``origins`` are further origins, such as ``https://example.org``, whose pages may connect and under whose host
    names the server may be reached. ``start`` and ``stop`` are called from the thread that owns the server.
    """

    def __init__(
        self,
        streams: Sequence[tuple[StreamControl, Hub]],
        host: str = "127.0.0.1",
        port: int = 8765,
        diagram: Diagram | None = None,
        origins: Sequence[str] = (),
    ) -> None:
        self._streams = {control.name: (control, hub) for control, hub in streams}
        self._host, self._port = host, port
        self._diagram = diagram
        self._origins = frozenset(o.rstrip("/").lower() for o in origins)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ending: asyncio.Event | None = None
        self._sockets: weakref.WeakKeyDictionary[web.WebSocketResponse, asyncio.BaseTransport | None]
        self._sockets = weakref.WeakKeyDictionary()
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
                lambda: self._connection(runner), self._host or None, self._port, backlog=1024, reuse_address=True
            )
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
        telling = asyncio.create_task(self._tell())
        await self._ending.wait()
        telling.cancel()
        listening.close()
        for _, hub in self._streams.values():
            hub.detach()
            hub.tell(build("draining", {"retry_after_ms": 2000}))
        await asyncio.gather(*(self._close(ws, Close.SHUTDOWN, "the server is stopped") for ws in set(self._sockets)))
        for _, hub in self._streams.values():
            hub.end()
        await runner.cleanup()

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
        """Sends the streams' states around, and looks after listeners while no sound comes."""
        tick = 0
        while True:
            await asyncio.sleep(STATE_SECONDS)
            tick += 1
            for control, hub in self._streams.values():
                hub.pump()
                if hub.connected:
                    hub.tell(build("state", control.status()), eager=None if tick % 5 == 0 else True)

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()], client_max_size=MAX_MESSAGE_BYTES)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/{name:[a-z]+\\.(?:js|css|svg)}", self._page),
                web.get("/ws/v1/{stream}", self._websocket),
                web.get("/listen/{stream}.{format:[a-z0-9]+}", self._listen),
                web.get("/diagram/{stream}.svg", self._draw),
                web.get("/api/v1/streams", self._list),
                web.get("/api/v1/streams/{stream}", self._tell_all),
                web.post("/api/v1/streams/{stream}/{door:params|fire|state}", self._steer),
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/status-json.xsl", self._radio_status),
            ]
        )
        return app

    # ---- who may come in

    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
            if (waiting := self._silent.pop(id(request.protocol), None)) is not None:
                waiting.cancel()
            if not self._welcome(request):
                return _refusal(403, "origin", "pages of other sites may not connect to this server")
            try:
                return await handler(request)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return _refusal(error.status, "http", error.text or error.reason)

        return guard

    def _welcome(self, request: web.Request) -> bool:
        """Same origin or on the list; and reached under a name that no stranger's DNS can point here."""
        hosts = {urllib.parse.urlsplit(o).hostname for o in self._origins}
        address = urllib.parse.urlsplit(f"//{request.host}")
        name = (address.hostname or "").lower()
        known = {"localhost", self._host.lower(), socket.gethostname().lower(), *hosts}
        if name not in known and not name.endswith((".localhost", ".local")) and not _is_address(name):
            return False
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        return origin.lower() in self._origins or urllib.parse.urlsplit(origin).netloc.lower() == request.host.lower()

    def _stream(self, request: web.Request) -> tuple[StreamControl, Hub]:
        name = request.match_info["stream"]
        if name not in self._streams:
            raise web.HTTPNotFound(text=f"no stream is called {name!r}; there are {', '.join(self._streams)}")
        return self._streams[name]

    # ---- sound

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            heartbeat=20.0,
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            timeout=CLOSE_SECONDS,
        )
        await ws.prepare(request)
        self._sockets[ws] = request.transport
        found = self._streams.get(request.match_info["stream"])
        if found is None:
            await self._close(ws, Close.NO_STREAM, f"no such stream; there are {', '.join(self._streams)}")
            return ws
        control, hub = found
        async with _listener(request, hub, text=True) as listener:
            try:
                await self._converse(ws, Conversation(control, hub, listener))
                await self._close(ws, Close.SHUTDOWN, "goodbye")
            except ProtocolError as error:
                await self._close(ws, error.close_code, str(error))
            except SinkError as error:
                log.error("stream %s: %s", control.name, error)
                await self._close(ws, Close.NO_CODEC, "the encoder cannot be had")
        return ws

    async def _converse(self, ws: web.WebSocketResponse, conversation: Conversation) -> None:
        """Passes on what the client says, until the connection ends. Raises ProtocolError, SinkError."""
        patience: float | None = HELLO_SECONDS
        while not conversation.finished:
            try:
                message = await ws.receive(timeout=patience)
            except TimeoutError:
                raise ProtocolError(Close.NO_HELLO, f"no hello within {HELLO_SECONDS:g} s") from None
            if message.type == WSMsgType.TEXT:
                conversation.receive(message.data)
            elif message.type == WSMsgType.BINARY:
                raise ProtocolError(Close.BAD_MESSAGE, "clients send text frames only")
            else:
                return
            patience = None

    async def _close(self, ws: web.WebSocketResponse, code: int, why: str) -> None:
        """Closes with that code; a peer that does not read its close is cut off."""
        try:
            await asyncio.wait_for(ws.close(code=code, message=why.encode()[:120]), CLOSE_SECONDS)
        except (TimeoutError, ConnectionError, RuntimeError):
            transport = self._sockets.get(ws)
            if transport is not None:
                cast(asyncio.WriteTransport, transport).abort()

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        control, hub = self._stream(request)
        if request.match_info["format"] == "m3u":
            text = playlist(control.name, f"{request.scheme}://{request.host}")
            return web.Response(text=text, content_type="audio/x-mpegurl")
        known = HTTP_FORMATS.get(request.match_info["format"])
        if known is None:
            raise web.HTTPNotFound(text=f"no such format; there are {', '.join(HTTP_FORMATS)}")
        encoder, media_type = known
        response = web.StreamResponse(headers={"Content-Type": media_type, "Cache-Control": "no-store"})
        response.headers["icy-name"] = control.name
        response.force_close()
        if request.method == "HEAD":
            return response
        await response.prepare(request)
        try:
            async with _listener(request, hub, text=False, chunked=request.version >= (1, 1)) as listener:
                listener.push_bytes(hub.header(encoder))
                hub.join(listener, encoder, HTTP_BURST_FRAMES)
                await listener.ended
        except SinkError as error:
            log.error("stream %s: %s", control.name, error)
        return response

    # ---- page and control

    async def _page(self, request: web.Request) -> web.StreamResponse:
        path = PAGE / request.match_info.get("name", "index.html")
        if not path.is_file():
            raise web.HTTPNotFound(text="no such page")
        response = web.FileResponse(path)
        response.headers.update({"Cache-Control": "no-cache", "Content-Security-Policy": POLICY})
        return response

    async def _draw(self, request: web.Request) -> web.StreamResponse:
        control, _ = self._stream(request)
        state = request.query.get("state")
        if self._diagram is None or (state is not None and state not in control.describe()["states"]):
            raise web.HTTPNotFound(text="no diagram")
        drawing = await asyncio.to_thread(self._diagram, control.name, state)  # anew: the scene may have changed
        return web.Response(text=drawing, content_type="image/svg+xml", headers={"Cache-Control": "no-cache"})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        rows = [
            {"name": name, "state": control.status().get("state"), "listeners": hub.listeners}
            for name, (control, hub) in self._streams.items()
        ]
        return _json({"streams": rows})

    async def _tell_all(self, request: web.Request) -> web.StreamResponse:
        control, hub = self._stream(request)
        counts = {
            "listeners": hub.listeners,
            "dropped_frames": hub.dropped_frames,
            "encoder_restarts": hub.encoder_restarts,
        }
        return _json({**control.status(), "server": counts, "scene": control.describe()})

    async def _steer(self, request: web.Request) -> web.StreamResponse:
        control, _ = self._stream(request)
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
            return _refusal(400, "bad_request", str(error))
        return _json({"ok": True})

    def _reports(self) -> list[StreamReport]:
        return [
            StreamReport(name, control.status(), hub.listeners, hub.dropped_frames, hub.encoder_restarts)
            for name, (control, hub) in self._streams.items()
        ]

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=metrics(self._reports()).encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _radio_status(self, request: web.Request) -> web.StreamResponse:
        types = {ending: media_type for ending, (_, media_type) in HTTP_FORMATS.items()}
        return _json(icecast_status(self._reports(), f"{request.scheme}://{request.host}", types))

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
        ready = bool(rows) and all(row["ready"] for row in rows.values())
        return _json({"ready": ready, "streams": rows}, status=200 if ready else 503)


@contextlib.asynccontextmanager
async def _listener(request: web.Request, hub: Hub, text: bool, chunked: bool = True) -> AsyncIterator[Listener]:
    transport = cast(asyncio.WriteTransport, request.transport)
    if transport is None:
        raise ConnectionResetError("the client is gone")
    transport.set_write_buffer_limits(high=TRANSPORT_BYTES)
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    loop = asyncio.get_running_loop()
    listener = Listener(transport, loop.time, text, epoch=hub.epoch, chunked=chunked)
    try:
        yield listener
    finally:
        listener.end(Ended.GONE)
        hub.leave(listener)


def _json(document: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.json_response(document, status=status, headers={"Cache-Control": "no-store"})


def _refusal(status: int, code: str, message: str) -> web.Response:
    return _json({"error": {"code": code, "message": message}}, status)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
