"""Whether a peer reads, told by what its TCP says of itself.

A peer's kernel takes sound for a program that does not read: 128 KiB and more, which is ten seconds of Opus. With each
acknowledgement it offers as much less as it keeps. So where the count of acknowledged bytes goes on, and the end of the
window (RFC 9293, 3.8.6) hardly does, nobody reads. Small packets may hide that, which is what pings are for.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Peer", "Reading", "peer_of"]

_INFO = struct.Struct("<52xIIxxxx56xQ100xI")
"""Of Linux's ``tcp_info``: last_data_recv, last_ack_recv, bytes_acked, snd_wnd (since 5.4)."""
FRESH_SECONDS = 1.5
"""A peer that has acknowledged nothing for so long may be out of reach, which is another matter."""
CREEP = 0.6
"""The window of a peer that does not read ends later too, as its kernel packs what it keeps: by up to a half of what it
takes, measured with segments of 1 to 30 KB (most with 2 KB). That of one that reads ends later by all of it."""


class Peer(NamedTuple):
    """What a peer's TCP has said so far."""

    acknowledged: int
    """Bytes that it has, since the connection began."""
    room: int
    """Bytes that it would take beyond them."""
    acknowledged_seconds: float
    """Since its last acknowledgement."""
    silent_seconds: float
    """Since it sent anything."""


def peer_of(sock: Any) -> Peer | None:
    """The other side of a TCP socket; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:
        return None
    if len(info) < _INFO.size:
        return None
    data_ms, ack_ms, acknowledged, room = _INFO.unpack(info)
    return Peer(acknowledged, room, ack_ms / 1000, data_ms / 1000)


class Reading:
    """Watches one peer. ``peer`` tells of it, ``now`` gives seconds."""

    def __init__(self, peer: Callable[[], Peer | None], now: Callable[[], float]) -> None:
        self._peer, self._now = peer, now
        self._end = self._acknowledged = 0
        self._since = now()
        self.stuck_seconds = 0.0
        """How long the peer took bytes and read none; 0 where it reads, or gets nothing, or is out of reach."""
        self.silent_seconds = 0.0
        """How long the peer has said nothing."""

    def look(self) -> None:
        """Looks again. To be called every second or two."""
        peer = self._peer()
        if peer is None:
            return
        end = peer.acknowledged + peer.room
        if end - self._end >= CREEP * (peer.acknowledged - self._acknowledged):
            self._end, self._acknowledged, self._since = end, peer.acknowledged, self._now()
        fresh = peer.acknowledged_seconds < FRESH_SECONDS
        self.stuck_seconds = self._now() - self._since if fresh else 0.0
        self.silent_seconds = peer.silent_seconds
