"""Many listeners in one thread: raw sockets, one epoll, and no more parsing than it takes to notice what is missing."""

from __future__ import annotations

import array
import contextlib
import json
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Crowd", "Listener", "percentiles"]

RATE = 48_000
HEADER = struct.Struct("<BBBBIQI")
DISCONTINUITY, BURST = 1, 4
LOOK_SECONDS = 0.002
"""The crowd looks so often for what has come. Were it waiting for it, each packet would wake it, at the sender's cost:
no listener elsewhere costs a server that."""
PAGE_DELAY = 0.06
"""The first of the four 20 ms packets in an Ogg page waits so long for the last."""


def _hello(codec: str) -> bytes:
    """A hello in a masked frame, the mask being zero."""
    hello = {"type": "hello", "payload": {"codecs": [codec], "buffer_ms": 1000, "client_id": "bench"}}
    text = json.dumps(hello).encode()
    return (
        bytes((0x81, 0x80 | len(text))) + bytes(4) + text
        if len(text) < 126
        else (bytes((0x81, 0xFE)) + len(text).to_bytes(2, "big") + bytes(4) + text)
    )


class Listener:
    """One connection: what it asked for and what it got so far."""

    __slots__ = (
        "asked_at", "brief", "codec", "ended_at", "first_at", "head", "kind", "next", "reads", "rest", "seq", "sock",
        "status",
    )  # fmt: skip

    def __init__(
        self, sock: socket.socket, kind: str, codec: str, now: float, reads: bool = True, brief: bool = False
    ) -> None:
        self.sock, self.kind, self.codec, self.asked_at = sock, kind, codec, now
        self.reads = reads
        self.brief = brief
        """Whether it goes again as soon as it hears something."""
        self.first_at: float | None = None
        self.ended_at: float | None = None
        self.head = False
        """Whether the head of the answer has come."""
        self.status = 0
        self.rest = b""
        self.seq = -1
        self.next = -1


class Crowd:
    """Listeners of a server on this machine. ``began``: monotonic time of its sample 0, where it is known."""

    def __init__(self, port: int, began: float | None = None) -> None:
        self.port, self._began = port, began
        self._epoll = select.epoll()
        self._buffer = bytearray(1 << 18)
        self.here: dict[int, Listener] = {}
        self.gone: list[Listener] = []
        self.measuring = False
        self.frames = array.array("d")
        """Of each frame while measuring: when it arrived, less its place on the stream's clock."""
        self.pages = array.array("d")
        """The same of each Ogg page's last packet."""
        self.bytes = 0
        self.gaps = 0
        """Frames and pages before which something was missing."""

    # ---- coming and going

    def connect(self, kind: str, codec: str, path: str, reads: bool = True, brief: bool = False) -> Listener:
        """Begins to connect one more: ``kind`` is ws or http."""
        sock = socket.socket()
        sock.setblocking(False)
        one = Listener(sock, kind, codec, time.monotonic(), reads, brief)
        sock.connect_ex(("127.0.0.1", self.port))
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        if kind == "ws":
            request += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            request += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: soundscape.v1\r\n"
        one.rest = f"{request}\r\n".encode()
        self.here[sock.fileno()] = one
        self._epoll.register(sock.fileno(), select.EPOLLOUT)
        return one

    def fill(self, count: int, kind: str, codec: str, path: str, per_second: float, *others: Crowd) -> list[Listener]:
        """Connects so many, at that pace; other crowds listen meanwhile."""
        began, made = time.monotonic(), []
        while len(made) < count:
            self.listen(0.001, *others)
            due = int((time.monotonic() - began) * per_second)
            made += [self.connect(kind, codec, path) for _ in range(min(count, due) - len(made))]
        return made

    def leave(self, one: Listener) -> None:
        """That one hangs up."""
        with contextlib.suppress(KeyError):
            del self.here[one.sock.fileno()]
            self.gone.append(one)
        one.ended_at = one.ended_at or time.monotonic()
        one.sock.close()

    def leave_all(self) -> None:
        """Everybody hangs up."""
        for one in list(self.here.values()):
            self.leave(one)

    # ---- what comes in

    def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Takes in what comes until that is true; whether it came true in time."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                return False
            self.turn(0.01)
        return True

    def listen(self, seconds: float, *others: Crowd) -> None:
        """Takes in what comes for so long; for other crowds too."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.turn(min(left, 0.01))
            for other in others:
                other.turn(0.0)

    def turn(self, timeout: float) -> None:
        """Takes in what has come."""
        buffer, here = self._buffer, self.here
        view = memoryview(buffer)
        time.sleep(min(timeout, LOOK_SECONDS))
        for fd, event in self._epoll.poll(0, 4096):
            one = here.get(fd)
            if one is None:
                continue
            if event & select.EPOLLOUT:
                self._ask(one)
                continue
            if not one.reads:  # it never reads; only its end is of interest
                if event & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
                    self.leave(one)
                continue
            try:
                size = one.sock.recv_into(buffer)
            except BlockingIOError:
                continue
            except OSError:
                size = 0
            if not size:
                self.leave(one)
                continue
            self.bytes += size
            data = bytes(view[:size])
            self._take(one, one.rest + data if one.rest else data, time.monotonic())

    def _ask(self, one: Listener) -> None:
        if one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.leave(one)
            return
        one.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.sock.send(one.rest + (_hello(one.codec) if one.kind == "ws" and not one.reads else b""))
        one.rest = b""
        self._epoll.modify(one.sock.fileno(), select.EPOLLIN if one.reads else select.EPOLLRDHUP)

    def _take(self, one: Listener, data: bytes, now: float) -> None:
        if not one.head:
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                one.rest = data
                return
            one.head, one.rest, one.status = True, b"", int(head.split(b" ", 2)[1])
            if one.status == 101:
                one.sock.send(_hello(one.codec))
            data = rest
        if one.kind == "ws":
            self._frames(one, data, now)
        else:
            self._pages(one, data, now)

    def _heard(self, one: Listener, now: float) -> None:
        one.first_at = now
        if one.brief:
            self.leave(one)

    def _frames(self, one: Listener, data: bytes, now: float) -> None:
        """WebSocket frames: sound by its header, pings answered, texts passed over."""
        at, size = 0, len(data)
        while at + 2 <= size:
            kind, length = data[at], data[at + 1]
            start = at + 2
            if length == 126:
                start += 2
                length = int.from_bytes(data[at + 2 : start], "big")
            elif length == 127:
                start += 8
                length = int.from_bytes(data[at + 2 : start], "big")
            if start + length > size:
                break
            if kind == 0x82:
                _, _, _, flags, seq, index, frames = HEADER.unpack_from(data, start)
                if one.first_at is None:
                    self._heard(one, now)
                    if one.brief:
                        return
                elif flags & DISCONTINUITY or seq != one.seq + 1 or index != one.next:
                    self.gaps += 1
                one.seq, one.next = seq, index + frames
                if self.measuring and not flags & BURST:
                    self.frames.append(now - index / RATE)
            elif kind == 0x89:
                one.sock.send(bytes((0x8A, 0x80 | length)) + bytes(4) + data[start : start + length])
            elif kind == 0x88:
                one.status = int.from_bytes(data[start : start + 2], "big")
                self.leave(one)
                return
            at = start + length
        one.rest = data[at:]

    def _pages(self, one: Listener, data: bytes, now: float) -> None:
        """Ogg pages (RFC 3533) by their heads, wherever they are in the body."""
        at, size = 0, len(data)
        while (found := data.find(b"OggS", at)) >= 0 and found + 27 <= size:
            granule = int.from_bytes(data[found + 6 : found + 14], "little")
            number = int.from_bytes(data[found + 18 : found + 22], "little")
            at = found + 27
            if not granule:
                continue  # a header
            if one.first_at is None:
                self._heard(one, now)
            elif number != one.seq + 1:
                self.gaps += 1
            one.seq = number
            if self.measuring and not one.brief:
                self.pages.append(now - (granule - 960) / RATE)
        one.rest = data[max(at, size - 26) :]

    # ---- what it comes to

    def measure(self, seconds: float, *others: Crowd) -> list[dict[str, Any]]:
        """Listens for so long, other crowds at the same time; tells of each how late sound was and what was missing."""
        everybody = (self, *others)
        before = []
        for crowd in everybody:
            crowd.frames, crowd.pages = array.array("d"), array.array("d")
            crowd.bytes = crowd.gaps = 0
            crowd.measuring = True
            before.append((len(crowd.here), len(crowd.gone)))
        spent = time.process_time()
        self.listen(seconds, *others)
        spent = time.process_time() - spent
        for crowd in everybody:
            crowd.measuring = False
        return [
            {
                "listeners": count,
                "late_ms": crowd.late_ms(),
                "gaps": crowd.gaps,
                "lost_listeners": len(crowd.gone) - gone,
                "kbit_per_second_each": round(crowd.bytes * 8 / 1000 / seconds / max(1, count), 1),
                "generator_share_of_its_core": round(spent / seconds, 2),
            }
            for crowd, (count, gone) in zip(everybody, before, strict=True)
        ]

    def late_ms(self) -> dict[str, float]:
        """How late sound was, in ms.

        A frame of a WebSocket is due when its samples were handed to the server. Where Ogg's counting began is not
        told, so that the earliest page of all stands for punctuality; what counts is a page's oldest packet, which
        waited 60 ms for the youngest of its page.
        """
        if self.frames and self._began is not None:
            return percentiles([1000 * (at - self._began) for at in self.frames])
        earliest = min(self.pages, default=0.0)
        return percentiles([1000 * (at - earliest + PAGE_DELAY) for at in self.pages])


def percentiles(values: list[float], digits: int = 1) -> dict[str, float]:
    """Median, 99th percentile and greatest."""
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "median": round(ordered[len(ordered) // 2], digits),
        "p99": round(ordered[int(0.99 * (len(ordered) - 1))], digits),
        "most": round(ordered[-1], digits),
    }
