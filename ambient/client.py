"""A thin client of the stream protocol, on the ``websockets`` library::

async with connect("ws://127.0.0.1:8765/ws/v1/forest") as stream:
    async for frame in stream:
        print(frame.sample_index, decode(frame).shape)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as _connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from ambient.errors import ProtocolError
from ambient.messages import CHANNELS, RATE, Audio
from ambient.sinks.protocol import (
    SERVER_TYPES,
    SUBPROTOCOL,
    VERSION,
    Close,
    Codec,
    Frame,
    Message,
    build,
    parse,
    unpack_frame,
)

__all__ = ["Stream", "connect", "decode"]

QUEUED_FRAMES = 256
"""Frames that may wait to be read, 5 s: a full queue also holds back the server's goodbye."""


def connect(
    url: str,
    codecs: Sequence[Codec] = (Codec.S16LE,),
    role: str = "listener",
    buffer_ms: int = 1000,
    on_message: Callable[[Message], None] | None = None,
) -> Stream:
    """A stream to iterate over: ``url`` is that of its WebSocket; ``on_message`` gets what is not sound."""
    return Stream(url, codecs, role, buffer_ms, on_message)


class Stream:
    """A connection, open within ``async with``. Iterating gives frames of sound until the server says goodbye.

    A connection that ends otherwise raises ProtocolError with its close code.
    """

    def __init__(
        self,
        url: str,
        codecs: Sequence[Codec],
        role: str,
        buffer_ms: int,
        on_message: Callable[[Message], None] | None,
    ) -> None:
        self._url, self._on_message = url, on_message
        self._hello = {
            "protocol": VERSION,
            "client_id": "ambient-python",
            "role": role,
            "codecs": [c.label for c in codecs],
            "rates": [RATE],
            "channels": CHANNELS,
            "buffer_ms": buffer_ms,
        }
        self._connection: ClientConnection | None = None
        self.hello: Mapping[str, Any] = {}
        """The server's answer to hello: codec, epoch, codec header …"""
        self.state: Mapping[str, Any] = {}
        """The stream's latest status."""

    async def __aenter__(self) -> Self:
        """Connects. Raises ProtocolError where the server refuses, OSError where there is none."""
        try:
            self._connection = await _connect(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                max_size=2**20,
                max_queue=QUEUED_FRAMES,
                close_timeout=2.0,
            )
        except InvalidHandshake as error:
            raise ProtocolError(Close.POLICY, f"{self._url}: {error}") from error
        await self._send("hello", self._hello)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        while True:
            try:
                data = await self._opened.recv()
            except ConnectionClosed as closed:
                error = _mapped(closed)
                if error.close_code in (1000, Close.SHUTDOWN):
                    raise StopAsyncIteration from None
                raise error from closed
            if isinstance(data, bytes):
                return unpack_frame(data)
            message = parse(data, SERVER_TYPES)
            if message.type == "hello":
                self.hello = message.payload
            elif message.type == "state":
                self.state = message.payload
            if self._on_message is not None:
                self._on_message(message)

    async def set_params(self, **values: float) -> None:
        """Sets parameters of the scene (role controller)."""
        await self._send("params", {"params": values})

    async def fire(self, event: str) -> None:
        """Fires a named event (role controller)."""
        await self._send("fire", {"event": event})

    async def go(self, state: str) -> None:
        """Asks for a state (role controller)."""
        await self._send("state", {"state": state})

    @property
    def _opened(self) -> ClientConnection:
        if self._connection is None:
            raise RuntimeError("use the stream in 'async with'")
        return self._connection

    async def _send(self, kind: str, payload: Mapping[str, Any]) -> None:
        try:
            await self._opened.send(build(kind, payload))
        except ConnectionClosed as closed:
            raise _mapped(closed) from closed


def _mapped(closed: ConnectionClosed) -> ProtocolError:
    if closed.rcvd is None:
        return ProtocolError(1006, "the connection broke")
    return ProtocolError(closed.rcvd.code, closed.rcvd.reason)


def decode(frame: Frame) -> Audio:
    """The sound of a PCM frame, shape ``(frames, 2)``. Raises ValueError for other codecs, which keep a state."""
    if frame.codec is Codec.F32LE:
        return np.frombuffer(frame.payload, "<f4").astype(np.float32).reshape(-1, CHANNELS)
    if frame.codec is Codec.S16LE:
        return (np.frombuffer(frame.payload, "<i2") / np.float32(32767)).astype(np.float32).reshape(-1, CHANNELS)
    raise ValueError(f"{frame.codec.label} needs a decoder that remembers")
