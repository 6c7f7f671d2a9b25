"""OSC in, over UDP: faders, sensors, show control. Addresses, where STREAM may be a pattern such as ``*``::

    /STREAM/params/NAME  0.8
    /STREAM/fire/EVENT   1        (0 is a button's release; without a value it fires)
    /STREAM/ask          "thunder echoing in a canyon" [distance_m [azimuth_deg]]
    /STREAM/state/STATE  1
    /STREAM/state        "storm" [over_seconds]

and any address that a parameter names in ``from: osc:ADDRESS``, with a number.

OSC 1.0; bundles are obeyed at their time, if that is within ten seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import logging
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from ambient.doors.hand import FLUSH_SECONDS, Hand, slug
from ambient.doors.thread import DoorThread
from ambient.errors import AmbientError
from ambient.ports import StreamControl

__all__ = ["OscDoor"]

log = logging.getLogger("ambient.osc")

DEEPEST = 8
"""Bundles in bundles."""
RECEIVE_BYTES = 1 << 20
"""The kernel's buffer: what may come at once before datagrams are lost."""
LATEST_SECONDS = 10.0
"""A bundle that is dated further ahead comes from another clock."""


class OscDoor:
    """Listens on a UDP port. There are no passwords in OSC: whoever reaches the port may steer."""

    def __init__(
        self,
        streams: Mapping[str, StreamControl],
        host: str = "127.0.0.1",
        port: int = 9000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parse = _parser()
        self._streams, self._host, self._port = streams, host, port
        self._hand = Hand(streams, "osc", now)
        self._thread = DoorThread("osc", self._listen)
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; differs from the one asked for where that was 0."""
        return self._port

    def start(self) -> None:
        """Listens. Raises AmbientError where the port cannot be had."""
        try:
            family = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0][0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            self._socket.bind((self._host, self._port))
        except OSError as error:
            if self._socket is not None:
                self._socket.close()
            raise AmbientError(
                f"--osc: UDP port {self._port} of {self._host} cannot be had: {error.strerror}"
            ) from error
        self._port = self._socket.getsockname()[1]
        self._thread.start()
        log.info("OSC on UDP port %d of %s: whoever reaches it may steer", self._port, self._host)

    def stop(self) -> None:
        """Listens no more. Idempotent."""
        self._thread.stop()
        if self._socket is not None:
            self._socket.close()

    async def _listen(self) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self._take), sock=self._socket
        )
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                self._hand.flush()
        finally:
            transport.close()

    def _take(self, data: bytes) -> None:
        try:
            if not _is_walkable(data):
                raise ValueError
            messages = self._parse(data)
        except Exception:  # beside its own error the parser lets those of struct, decoding and recursion through
            self._hand.complain(f"a datagram of {len(data)} bytes is no OSC packet")
            return
        for timed in messages:
            wait = timed.time - time.time()
            if wait > LATEST_SECONDS:
                self._hand.complain(f"{timed.message.address} is dated {wait:.0f} s ahead: do the clocks agree?")
            elif wait > 0.005:
                asyncio.get_running_loop().call_later(wait, self._obey, timed.message.address, timed.message.params)
            else:
                self._obey(timed.message.address, timed.message.params)

    def _obey(self, address: str, values: list[Any]) -> None:
        if address in self._hand.sources("osc:"):
            if values and _is_number(values[0]):
                self._hand.feed(f"osc:{address}", float(values[0]))
            else:
                self._hand.complain(f"{address} {values}: a number is needed")
            return
        parts = address.split("/")[1:]
        streams = [name for name in self._streams if parts and fnmatch.fnmatchcase(slug(name), parts[0])]
        if not streams:
            self._hand.complain(f"{address}: no stream is called so; there are {', '.join(map(slug, self._streams))}")
            return
        for stream in streams:
            if not self._steer(stream, parts[1:], values):
                self._hand.complain(
                    f"{address} {values}: addresses are /STREAM/params/NAME, /STREAM/fire/EVENT, /STREAM/ask and "
                    "/STREAM/state"
                )

    def _steer(self, stream: str, parts: list[str], values: list[Any]) -> bool:
        first = values[0] if values else None
        match parts:
            case ["params", name] if first is None:
                self._hand.set_param(stream, name, None)
            case ["params", name] if _is_number(first):
                self._hand.set_param(stream, name, float(first))  # type: ignore[arg-type]
            case ["fire", event]:
                if first is None or first:
                    self._hand.fire(stream, event)
            case ["fire"] if isinstance(first, str):
                self._hand.fire(stream, first)
            case ["ask"] if isinstance(first, str):
                place = dict(zip(("distance_m", "azimuth_deg"), values[1:], strict=False))
                self._hand.ask(stream, {"text": first, **place})
            case ["state", state]:
                if first is None or first:
                    self._hand.go(stream, state)
            case ["state"] if isinstance(first, str):
                self._hand.go(stream, first, float(values[1]) if len(values) > 1 and _is_number(values[1]) else None)
            case _:
                return False
        return True


def _is_walkable(data: bytes, depth: int = 0) -> bool:
    """Whether a bundle's elements lie inside it one after the other: the parser would walk negative sizes for ever."""
    if not data.startswith(b"#bundle\0"):
        return True
    at = 16
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big", signed=True)
        if (
            not 0 < size <= len(data) - at - 4
            or depth == DEEPEST
            or not _is_walkable(data[at + 4 : at + 4 + size], depth + 1)
        ):
            return False
        at += 4 + size
    return at == len(data)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)  # True and False are a fader's ends


def _parser() -> Callable[[bytes], list[Any]]:
    try:
        from pythonosc.osc_packet import OscPacket
    except ImportError as error:
        raise AmbientError("--osc needs one more package: pip install 'ambient-engine[osc]'") from error
    return lambda data: list(OscPacket(data).messages)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closing
            self._take(data)
