"""One listener's connection: a bounded queue in front of a transport, and nobody waits for it.

Everything here runs on the server's event loop. Packets are shared between listeners; a queue holds references.
"""

from __future__ import annotations

import asyncio
import collections
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ambient.messages import RATE
from ambient.sinks.encoders import Packet
from ambient.sinks.protocol import Codec, Flags, pack_header

__all__ = ["Ended", "Listener", "Receiver", "Sound", "chunk", "server_sent_event", "websocket_frame", "websocket_text"]

QUEUE_FRAMES = 2 * RATE
QUEUE_BYTES = 512 * 1024
TRANSPORT_BYTES = 64 * 1024
"""The transport is fed no more while it holds so much."""
STALL_SECONDS = 5.0
BEHIND_FRAMES = 10 * RATE
"""Sound that may be dropped without once catching up: more, and the line is too slow for this format."""


class Ended(enum.Enum):
    """Why a listener's queue was closed."""

    GONE = "gone"
    STALLED = "stalled"
    TOO_SLOW = "too slow"


@dataclass(frozen=True, slots=True)
class Sound:
    """A packet on its way to listeners."""

    packet: Packet
    flags: Flags = Flags.NONE


def websocket_frame(data: bytes, opcode: int) -> bytes:
    """An unmasked WebSocket frame (RFC 6455), as servers send them. ``opcode``: 1 text, 2 binary."""
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data


def websocket_text(text: str) -> bytes:
    """A text frame."""
    return websocket_frame(text.encode(), 1)


def server_sent_event(text: str) -> bytes:
    """A JSON text as an event (HTML standard, 9.2), of the default type."""
    return b"data: %b\n\n" % text.encode()


def chunk(data: bytes) -> bytes:
    """A chunk of an HTTP/1.1 body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Receiver(Protocol):
    """What the hub hands sound and texts to: a listener's connection, or what cuts segments. Nothing here waits."""

    @property
    def eager(self) -> bool:
        """Whether it wants to know of the stream's state several times a second."""
        ...

    @property
    def dropped_frames(self) -> int:
        """Frames that did not get through so far."""
        ...

    def push(self, sound: Sound) -> None:
        """Takes a packet."""
        ...

    def push_text(self, text: str) -> None:
        """Takes a text, in order with the sound."""
        ...

    def pump(self) -> None:
        """Looks after itself while no sound comes."""
        ...

    def end(self, why: Ended) -> None:
        """Nothing comes any more. Idempotent."""
        ...


class Listener:
    """Feeds one transport. Oldest whole packets are dropped when it falls behind; no progress for 5 s aborts it, and
    after 10 s of dropped sound without once catching up it is ended.

    ``text`` is how text is wrapped: None where none is sent. A WebSocket takes :func:`websocket_text`, and packets
    behind a header; HTTP the bare packets or events, wrapped by ``body``: in chunks unless the client speaks HTTP/1.0.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        now: Callable[[], float],
        text: Callable[[str], bytes] | None,
        epoch: int = 0,
        body: Callable[[bytes], bytes] = chunk,
    ) -> None:
        self._transport = transport
        self._now = now
        self._epoch = epoch
        self._queue: collections.deque[Sound | bytes] = collections.deque()
        self._queued_bytes = 0
        self._queued_frames = 0
        self._written = 0
        self._arrived = 0
        self._progress_at = now()
        self._seq = 0
        self._gap = False
        self._behind_frames = 0
        self._body = body
        self._wrap = text
        self._websocket = text is websocket_text
        self.codec: Codec | None = None
        self.eager = False
        """Whether it wants to know of the stream's state several times a second."""
        self.dropped_frames = 0
        self.sent_packets = 0
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def push(self, sound: Sound) -> None:
        """Queues a packet, dropping the oldest where there is no room, and feeds the transport."""
        if self.ended.done():
            return
        self._queue.append(sound)
        self._queued_bytes += len(sound.packet.payload)
        self._queued_frames += sound.packet.frames
        self.pump()
        while self._queued_frames > QUEUE_FRAMES or self._queued_bytes > QUEUE_BYTES - self._buffered():
            if not self._drop_oldest():
                break
        if not self._queue:
            self._behind_frames = 0
        elif self._behind_frames > BEHIND_FRAMES:
            self.end(Ended.TOO_SLOW)

    def push_text(self, text: str) -> None:
        """Queues a text, in order with the sound, where texts are taken."""
        if self._wrap is None or self.ended.done():
            return
        data = self._wrap(text) if self._websocket else self._body(self._wrap(text))
        self._queue.append(data)
        self._queued_bytes += len(data)
        self.pump()

    def push_bytes(self, data: bytes) -> None:
        """Queues body bytes of HTTP that are never dropped: the header of the format."""
        if not data:
            return  # an empty chunk would end the body
        body = self._body(data)
        self._queue.append(body)
        self._queued_bytes += len(body)
        self.pump()

    def switch(self, codec: Codec | None) -> None:
        """Goes over to another codec; queued packets of the former are dropped."""
        kept = [item for item in self._queue if isinstance(item, bytes)]
        self._queue.clear()
        self._queue.extend(kept)
        self._queued_bytes, self._queued_frames = sum(map(len, kept)), 0
        self.codec = codec

    def pump(self) -> None:
        """Moves what the transport takes, and looks whether it still gets anywhere."""
        if self.ended.done():
            return
        if self._transport.is_closing():
            self.end(Ended.GONE)
            return
        now, buffered = self._now(), self._buffered()
        if self._written - buffered > self._arrived or not buffered:
            self._arrived, self._progress_at = self._written - buffered, now
        elif now - self._progress_at > STALL_SECONDS:
            self.end(Ended.STALLED)
            self._transport.abort()
            return
        while self._queue and buffered < TRANSPORT_BYTES:
            data = self._take()
            self._transport.write(data)
            self._written += len(data)
            buffered = self._buffered()

    def end(self, why: Ended) -> None:
        """Forgets what is queued; nothing is sent any more. The transport stays as it is. Idempotent."""
        if not self.ended.done():
            self._queue.clear()
            self._queued_bytes = self._queued_frames = 0
            self.ended.set_result(why)

    def _buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def _take(self) -> bytes:
        item = self._queue.popleft()
        if isinstance(item, bytes):
            self._queued_bytes -= len(item)
            return item
        packet = item.packet
        self._queued_bytes -= len(packet.payload)
        self._queued_frames -= packet.frames
        self.sent_packets += 1
        if not self._websocket:
            return self._body(packet.payload)
        assert self.codec is not None
        flags = item.flags | (Flags.DISCONTINUITY if self._gap else Flags.NONE)
        header = pack_header(self.codec, flags, self._seq, packet.start_frame, packet.frames, self._epoch)
        self._seq += 1
        self._gap = False
        return websocket_frame(header + packet.payload, 2)

    def _drop_oldest(self) -> bool:
        for at, item in enumerate(self._queue):
            if isinstance(item, Sound):
                del self._queue[at]
                self._queued_bytes -= len(item.packet.payload)
                self._queued_frames -= item.packet.frames
                self.dropped_frames += item.packet.frames
                self._behind_frames += item.packet.frames
                self._gap = True
                return True
        return False
