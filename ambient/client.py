"""A client of the stream protocol, on the ``websockets`` library::

    async with connect("ws://127.0.0.1:8765/ws/v1/forest", role="controller") as stream:
        await stream.fire("thunder")
        async for item in stream.items():
            match item:
                case Frame():
                    play(stream.decode(item))
                case Event(name="thunder", heard_at_sample=at):
                    flash_when_heard(at)

A connection that breaks is made again, and goes on with the very sample where it stopped if the server still has it.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as _connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from ambient.errors import ProtocolError
from ambient.messages import CHANNELS, RATE, Audio
from ambient.sinks.decoders import Decoder, decode
from ambient.sinks.protocol import (
    SERVER_TYPES,
    SUBPROTOCOL,
    VERSION,
    Close,
    Codec,
    Flags,
    Frame,
    Message,
    build,
    parse,
    unpack_frame,
)
from ambient.sinks.timesync import TimeSync

__all__ = ["Codec", "Event", "Flags", "Frame", "Item", "Refusal", "Status", "Stream", "Transition", "connect", "decode"]

log = logging.getLogger("ambient.client")

QUEUED_FRAMES = 256
"""Frames that may wait to be read, 5 s: a full queue also holds back the server's goodbye."""
BROKEN = 1006
"""The code of a connection that ended without one (RFC 6455, 7.1.5)."""
PASSING = (BROKEN, Close.SHUTDOWN, 1011, 1012, 1013, Close.NO_HELLO, Close.TOO_MANY, Close.DRAINING, Close.TOO_SLOW)
"""Why a connection may end and be worth making again; whoever is told anything else would be told it again."""
LONGEST_PAUSE = 8.0
SYNC_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Status:
    """The stream's status, once a second, five times to a controller: state, parameters, layers, counts …"""

    state: str
    params: Mapping[str, float]
    detail: Mapping[str, Any] = field(repr=False)
    """All of it, as ``GET /api/v1/streams/NAME`` tells it."""


@dataclass(frozen=True, slots=True)
class Transition:
    """The scene goes over into another state."""

    origin: str | None
    to: str
    at_sample: int
    over_seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened: ``kind`` is event, oneshot (a single sound), param, reload or fault."""

    kind: str
    name: str
    at_sample: int
    heard_at_sample: int
    """When its sound arrives: later than it happens where it is far away."""
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server did not do what it was asked for."""

    code: str
    message: str
    retryable: bool


Item = Frame | Status | Transition | Event | Refusal


def retry_seconds(attempt: int) -> float:
    """How long to wait before that attempt, from 0: longer and longer, and never all clients at once."""
    return float(min(LONGEST_PAUSE, 0.4 * 1.7**attempt) * random.uniform(0.6, 1.4))


def connect(
    url: str,
    codecs: Sequence[Codec] = (Codec.S16LE,),
    role: str = "listener",
    buffer_ms: int = 1000,
    on_message: Callable[[Message], None] | None = None,
    *,
    frame_ms: int = 20,
    token: str | None = None,
    reconnect: bool = True,
    retry: Callable[[int], float] = retry_seconds,
) -> Stream:
    """A stream to iterate over, to be opened by ``async with``. ``url`` is that of its WebSocket.

    ``codecs`` in order of preference, none for who only watches and steers; ``role`` is listener or controller;
    ``buffer_ms`` of the past come at once; frames hold ``frame_ms`` (20, 60 or 100) of sound; ``on_message`` gets every
    text frame; ``token`` opens a server that asks for one; ``retry`` tells seconds before the n-th attempt.
    """
    hello = {
        "protocol": VERSION,
        "client_id": "ambient-python",
        "role": role,
        "codecs": [c.label for c in codecs],
        "rates": [RATE],
        "channels": CHANNELS,
        "buffer_ms": buffer_ms,
        "frame_ms": frame_ms,
    }
    return Stream(url, hello, on_message, token, retry if reconnect else None)


class Stream:
    """A connection, open within ``async with``. Iterating gives frames of sound, ``items`` whatever comes.

    With ``reconnect``, what breaks is made again for as long as it takes; the first connection, and what a new one
    would not change, raises ProtocolError with its close code. Without, iterating ends when the server stops, and a
    broken connection raises. No frame comes twice; the first one after missing ones carries ``Flags.DISCONTINUITY``.
    """

    def __init__(
        self,
        url: str,
        hello: Mapping[str, Any],
        on_message: Callable[[Message], None] | None,
        token: str | None,
        retry: Callable[[int], float] | None,
    ) -> None:
        self._url, self._hello, self._on_message, self._retry = url, hello, on_message, retry
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection: ClientConnection | None = None
        self._attempt = 0
        self._wait_at_least = 0.0
        self._epoch: int | None = None
        self._expected = 0
        self._decoder: Decoder | None = None
        self._asked_time_at = 0.0
        self.hello: Mapping[str, Any] = {}
        """The server's answer to hello: codec, epoch, the role that was granted …"""
        self.state: Mapping[str, Any] = {}
        """The stream's latest status."""
        self.reconnects = 0
        self.time = TimeSync()
        """Between the server's clock, the stream's samples and ``time.monotonic()`` here, in microseconds."""

    async def __aenter__(self) -> Self:
        """Connects. Raises ProtocolError where the server refuses, OSError where there is none."""
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection. Idempotent."""
        self._retry = None
        if self._connection is not None:
            await self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        while True:
            item = await self._next()
            if isinstance(item, Frame):
                return item

    async def items(self) -> AsyncIterator[Item]:
        """Frames, and between them, where they belong, what the scene does and what the server answers."""
        while True:
            try:
                item = await self._next()
            except StopAsyncIteration:
                return
            if item is not None:
                yield item

    def decode(self, frame: Frame) -> Audio:
        """The sound of a frame of this stream, shape ``(n, 2)``. Raises ProtocolError for what is none.

        Opus keeps a state and wants all frames in order. Its sound comes 6.5 ms late: the first piece after the
        beginning or a discontinuity is so much shorter, and those after it begin so much before their ``sample_index``.
        """
        if self._decoder is None or frame.codec is not self._decoder.codec or frame.flags & Flags.DISCONTINUITY:
            self._decoder = Decoder(frame.codec, base64.b64decode(self.hello.get("codec_header") or ""))
        return self._decoder.decode(frame)

    # ---- steering (role controller)

    async def set_params(self, **values: float | None) -> None:
        """Sets parameters of the scene; None gives one back to it. Raises ProtocolError while there is no connection,
        as all of these."""
        await self._send("params", {"params": values})

    async def fire(self, event: str) -> None:
        """Fires a named event."""
        await self._send("fire", {"event": event})

    async def ask(self, text: str, distance_m: float | None = None, azimuth_deg: float | None = None) -> None:
        """Has a single sound made from free text, such as "thunder echoing in a canyon"; 0° is ahead, 90° right."""
        place = {"distance_m": distance_m, "azimuth_deg": azimuth_deg}
        await self._send("fire", {"text": text, **{k: v for k, v in place.items() if v is not None}})

    async def go(self, state: str, over_seconds: float | None = None) -> None:
        """Starts a transition to a state."""
        await self._send("state", {"state": state, **({} if over_seconds is None else {"over_seconds": over_seconds})})

    async def set_codecs(self, codecs: Sequence[Codec], buffer_ms: int = 1000) -> None:
        """Goes over to another codec, or to none to hear no more for now."""
        form = {"codecs": [c.label for c in codecs], "buffer_ms": buffer_ms, "frame_ms": self._hello["frame_ms"]}
        self._hello, self._epoch = {**self._hello, **form}, None
        await self._send("format", form)

    # ---- the connection

    async def _open(self) -> None:
        try:
            self._connection = await _connect(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers=self._headers,
                compression=None,
                max_size=2**20,
                max_queue=QUEUED_FRAMES,
                close_timeout=2.0,
            )
        except InvalidURI as error:
            raise ProtocolError(Close.POLICY, f"{self._url} is no address of a stream: {error}") from error
        except InvalidStatus as error:
            raise _refused(self._url, error) from error
        except InvalidHandshake as error:
            raise ProtocolError(BROKEN, f"{self._url}: {error}") from error
        resume = {} if self._epoch is None else {"resume": {"epoch": self._epoch, "sample_index": self._expected}}
        await self._send("hello", {**self._hello, **resume})
        await self._ask_time()

    async def _next(self) -> Item | None:
        """What comes next; None for what is only heeded here."""
        if self._connection is None:
            raise RuntimeError("use the stream in 'async with'")
        try:
            data = await self._connection.recv()
        except ConnectionClosed as closed:
            error = _mapped(closed)
            if self._retry is None and error.close_code in (1000, Close.SHUTDOWN):
                raise StopAsyncIteration from None
            if self._retry is None or error.close_code not in PASSING:
                raise error from closed
            await self._open_again(error)
            return None
        return self._sound(data) if isinstance(data, bytes) else await self._text(data)

    async def _open_again(self, why: Exception) -> None:
        while self._retry is not None:
            pause = max(self._retry(self._attempt), self._wait_at_least)
            self._attempt, self._wait_at_least = self._attempt + 1, 0.0
            log.info("%s; connecting again in %.1f s", why, pause)
            await asyncio.sleep(pause)
            try:
                await self._open()
            except ProtocolError as error:
                if error.close_code not in PASSING:
                    raise
                why = error
            except OSError as error:
                why = error
            else:
                self.reconnects += 1
                return

    def _sound(self, data: bytes) -> Frame | None:
        frame = unpack_frame(data)
        self._attempt = 0  # hello alone is no success: a server that drops everybody at once is left in peace
        if frame.epoch == self._epoch:
            unheard = _unheard(frame, self._expected)
            if unheard is None:
                return None
            frame = unheard
        missing = self._epoch is not None and (frame.epoch, frame.sample_index) != (self._epoch, self._expected)
        self._epoch, self._expected = frame.epoch, frame.sample_index + frame.frames
        return dataclasses.replace(frame, flags=frame.flags | Flags.DISCONTINUITY) if missing else frame

    async def _text(self, data: str) -> Item | None:
        message = parse(data, SERVER_TYPES)
        if self._on_message is not None:
            self._on_message(message)
        if time.monotonic() - self._asked_time_at > SYNC_SECONDS:
            await self._ask_time()
        payload = message.payload
        match message.type:
            case "hello" | "format":
                self.hello = {**self.hello, **payload}
                if not payload.get("codec"):
                    self._attempt = 0  # who only watches gets no frames
            case "time":
                self.time.take(payload, _now_us())
            case "draining":
                wait = float(payload.get("retry_after_ms") or 0) / 1000
                self._wait_at_least = wait * random.uniform(1.0, 1.5)
            case "state":
                self.state = payload
                return Status(str(payload.get("state")), payload.get("params", {}), payload)
            case "transition":
                return Transition(
                    payload.get("from"),
                    str(payload.get("to")),
                    int(payload.get("at_sample", 0)),
                    float(payload.get("over_seconds") or 0),
                    str(payload.get("why", "")),
                )
            case "event":
                at = int(payload.get("at_sample", 0))
                kind, name = str(payload.get("kind")), str(payload.get("name"))
                return Event(kind, name, at, int(payload.get("heard_at_sample", at)), payload)
            case "error":
                retryable = bool(payload.get("retryable"))
                return Refusal(str(payload.get("code")), str(payload.get("message")), retryable)
        return None

    async def _ask_time(self) -> None:
        self._asked_time_at = time.monotonic()
        await self._send("time", {"client_us": _now_us()})

    async def _send(self, kind: str, payload: Mapping[str, Any]) -> None:
        if self._connection is None:
            raise RuntimeError("use the stream in 'async with'")
        try:
            await self._connection.send(build(kind, payload))
        except ConnectionClosed as closed:
            raise _mapped(closed) from closed


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _mapped(closed: ConnectionClosed) -> ProtocolError:
    if closed.rcvd is None:
        return ProtocolError(BROKEN, "the connection broke")
    return ProtocolError(closed.rcvd.code, closed.rcvd.reason or f"closed with code {closed.rcvd.code}")


def _refused(url: str, error: InvalidStatus) -> ProtocolError:
    status = error.response.status_code
    code = (
        Close.AUTH if status == 401 else Close.TOO_MANY if status == 429 else BROKEN if status >= 500 else Close.POLICY
    )
    why = {401: "it wants another token", 403: "it may not be reached from here", 404: "there is no stream"}
    return ProtocolError(code, f"{url}: {why.get(status, 'refused')} (HTTP {status})")


def _unheard(frame: Frame, expected: int) -> Frame | None:
    """The part of a frame from ``expected`` on; an Opus packet cannot be cut and comes whole."""
    heard = expected - frame.sample_index
    if heard <= 0:
        return frame
    if heard >= frame.frames:
        return None
    if frame.codec not in (Codec.S16LE, Codec.F32LE):
        return frame
    payload = frame.payload[heard * len(frame.payload) // frame.frames :]
    return dataclasses.replace(frame, sample_index=expected, frames=frame.frames - heard, payload=payload)
