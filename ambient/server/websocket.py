"""Sound and control over WebSocket: the transport of the stream protocol's server side."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import cast

from aiohttp import WSMsgType, web

from ambient.errors import ProtocolError, SinkError
from ambient.server.connection import listening
from ambient.server.gate import BAD_TOKEN, RETRY_AFTER_SECONDS, RIGHTS
from ambient.server.streams import Streams
from ambient.server.tokens import Rights
from ambient.sinks.conversation import Conversation
from ambient.sinks.framing import websocket_text
from ambient.sinks.listener import Ended, cut_off
from ambient.sinks.protocol import HELLO_SECONDS, MAX_MESSAGE_BYTES, SUBPROTOCOL, Close, build
from ambient.sinks.steering import Limits

__all__ = ["WebSocketDoor"]

log = logging.getLogger("ambient.server")

CLOSE_SECONDS = 1.0


class WebSocketDoor:
    """Holds the conversations."""

    def __init__(self, streams: Streams, limits: Limits) -> None:
        self._streams, self._limits = streams, limits
        self._draining = False
        self._sockets: weakref.WeakKeyDictionary[web.WebSocketResponse, asyncio.BaseTransport | None]
        self._sockets = weakref.WeakKeyDictionary()
        self._closing: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.get("/ws/v1/{stream}", self._websocket)]

    def drain(self) -> None:
        """Takes nobody in any more, and tells those who are here."""
        self._draining = True
        for _, hub in self._streams.values():
            hub.tell(build("draining", {"retry_after_ms": RETRY_AFTER_SECONDS * 1000}))

    async def close(self) -> None:
        """Ends all conversations: the server is stopped."""
        await asyncio.gather(*(self._close(ws, Close.SHUTDOWN, "the server is stopped") for ws in set(self._sockets)))

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
        if (refused := self._refusal(request)) is not None:
            await self._close(ws, *refused)
            return ws
        found = self._streams.get(request.match_info["stream"])
        if found is None:
            await self._close(ws, Close.NO_STREAM, f"no such stream; there are {', '.join(self._streams)}")
            return ws
        control, hub = found
        steering = self._limits.steering(control, request.remote or "", request[RIGHTS] >= Rights.CONTROL)
        async with listening(request, hub, websocket_text) as listener:
            listener.ended.add_done_callback(self._cutter(ws))
            try:
                await self._converse(ws, Conversation(control, hub, listener, steering))
                await self._close(ws, Close.SHUTDOWN, "goodbye")
            except ProtocolError as error:
                await self._close(ws, error.close_code, str(error))
            except SinkError as error:
                log.error("stream %s: %s", control.name, error)
                await self._close(ws, Close.NO_CODEC, "the encoder cannot be had")
        return ws

    def _refusal(self, request: web.Request) -> tuple[Close, str] | None:
        """Why somebody is not let in, if so."""
        if request[RIGHTS] < Rights.LISTEN:
            bad = request.get(BAD_TOKEN)
            if bad is not None and bad.retry_after_seconds:
                return Close.TOO_MANY, "too many wrong tokens from this address"
            return Close.AUTH, "a token is needed to listen" if bad is None else "this token is not good"
        if self._draining:
            return Close.DRAINING, "the server stops soon"
        if self._streams.full:
            self._streams.refused("full")
            return Close.TOO_MANY, "there are as many listeners as this server takes"
        return None

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

    def _cutter(self, ws: web.WebSocketResponse) -> Callable[[asyncio.Future[Ended]], None]:
        def cut(ended: asyncio.Future[Ended]) -> None:
            if not ended.cancelled() and ended.result() is Ended.TOO_SLOW:
                why = "this line is too slow for the codec: ask for a smaller one"
                closing = asyncio.get_running_loop().create_task(self._close(ws, Close.TOO_SLOW, why))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

        return cut

    async def _close(self, ws: web.WebSocketResponse, code: int, why: str) -> None:
        """Closes with that code; a peer that does not read its close is cut off."""
        try:
            await asyncio.wait_for(ws.close(code=code, message=why.encode()[:120]), CLOSE_SECONDS)
        except (TimeoutError, ConnectionError, RuntimeError):
            transport = self._sockets.get(ws)
            if transport is not None:
                cut_off(cast(asyncio.WriteTransport, transport))
