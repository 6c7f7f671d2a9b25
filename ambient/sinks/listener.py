"""One listener's connection: a bounded queue in front of a transport, and nobody waits for it.

Everything here runs on the server's event loop. Packets are shared between listeners; a queue holds references.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import enum
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from ambient.messages import RATE
from ambient.sinks.framing import Sound, chunk, websocket_frame, websocket_text
from ambient.sinks.protocol import Codec, Flags
from ambient.sinks.reading import Reading

__all__ = ["Ended", "Listener", "Receiver", "cut_off"]

QUEUE_FRAMES = 2 * RATE
QUEUE_BYTES = 448 * 1024
TRANSPORT_BYTES = 64 * 1024
"""The transport is fed no more while it holds so much."""
STALL_SECONDS = 5.0
LOOK_SECONDS = 1.5
"""Between two looks at a peer: with a pump a second, every other time."""
PING_SECONDS = 3.0
"""A WebSocket client that said nothing for so long is asked."""
ANSWER_SECONDS = 3.5
"""One that has not answered by then does not read."""
BEHIND_FRAMES = 10 * RATE
"""Sound that may be dropped without once catching up: more, and the line is too slow for this format."""
PING = websocket_frame(b"", 9)


class Ended(enum.Enum):
    """Why a listener's queue was closed."""

    GONE = "gone"
    STALLED = "stalled"
    TOO_SLOW = "too slow"


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

    def push_all(self, sounds: Sequence[Sound]) -> None:
        """Takes several packets at once."""
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


def cut_off(transport: asyncio.WriteTransport) -> None:
    """Ends a connection whose peer does not read. What waits in the kernel is given up too: closed as usual, it would
    be kept for the peer for minutes."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Listener:
    """Feeds one transport. Oldest whole packets are dropped when it falls behind; no progress for 5 s aborts it, and
    after 10 s of dropped sound without once catching up it is ended.

    ``text`` is how text is wrapped: None where none is sent. A WebSocket takes :func:`websocket_text`, and packets
    behind a header; HTTP the bare packets or events, wrapped by ``body``: in chunks unless the client speaks HTTP/1.0.
    ``reading`` knows more of the peer than the transport does.
    """

    # With thousands of them, what a packet costs is memory that is not in the processor's cache: the less, the better.
    __slots__ = (
        "_arrived",
        "_asked_at",
        "_behind_frames",
        "_body",
        "_chunks",
        "_epoch",
        "_flows",
        "_gap",
        "_looked_at",
        "_now",
        "_progress_at",
        "_queue",
        "_queued_bytes",
        "_queued_frames",
        "_reading",
        "_seq",
        "_transport",
        "_websocket",
        "_wrap",
        "_written",
        "codec",
        "dropped_frames",
        "eager",
        "ended",
    )

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        now: Callable[[], float],
        text: Callable[[str], bytes] | None,
        epoch: int = 0,
        body: Callable[[bytes], bytes] = chunk,
        reading: Reading | None = None,
    ) -> None:
        self._transport = transport
        self._now = now
        self._epoch = epoch
        self._queue: collections.deque[Sound | bytes] = collections.deque()
        self._queued_bytes = 0
        self._queued_frames = 0
        self._written = 0
        self._arrived = 0
        self._progress_at = self._looked_at = now()
        self._reading = reading
        self._asked_at: float | None = None
        self._seq = 0
        self._gap = False
        self._behind_frames = 0
        self._body = body
        self._wrap = text
        self._websocket = text is websocket_text
        self._chunks = body is chunk and not self._websocket
        self._flows = True
        """Whether nothing waits here and nothing is to be declared: then a packet goes straight to the transport."""
        self.codec: Codec | None = None
        self.eager = False
        """Whether it wants to know of the stream's state several times a second."""
        self.dropped_frames = 0
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def push(self, sound: Sound) -> None:
        """Queues a packet, dropping the oldest where there is no room, and feeds the transport."""
        # This runs for every packet and listener. Nearly always there is nothing to do but to write.
        transport = self._transport
        if self._flows and not transport.get_write_buffer_size() and not transport.is_closing():
            data = sound.chunk if self._chunks else self._framed(sound)
            transport.write(data)
            self._written += len(data)
        else:
            self.push_all((sound,))

    def push_all(self, sounds: Sequence[Sound]) -> None:
        """Queues several packets and feeds the transport with them at once."""
        if self.ended.done():
            return
        for sound in sounds:
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
        self._look()

    def push_text(self, text: str) -> None:
        """Queues a text, in order with the sound, where texts are taken."""
        if self._wrap is None or self.ended.done():
            return
        data = self._wrap(text) if self._websocket else self._body(self._wrap(text))
        if self._flows and not self._buffered() and not self._transport.is_closing():
            self._transport.write(data)
            self._written += len(data)
            return
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
        if now - self._progress_at > STALL_SECONDS or self._stuck(now):
            self.end(Ended.STALLED)
            cut_off(self._transport)
            return
        while self._queue and buffered < TRANSPORT_BYTES:
            parts = [self._take()]
            held = buffered + len(parts[0])
            while self._queue and held < TRANSPORT_BYTES:
                parts.append(self._take())
                held += len(parts[-1])
            data = b"".join(parts)
            self._transport.write(data)
            self._written += len(data)
            buffered = self._buffered()
        self._look()

    def end(self, why: Ended) -> None:
        """Forgets what is queued; nothing is sent any more. The transport stays as it is. Idempotent."""
        if not self.ended.done():
            self._flows = False
            self._queue.clear()
            self._queued_bytes = self._queued_frames = 0
            self.ended.set_result(why)

    def _buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def _stuck(self, now: float) -> bool:
        """Whether the peer's kernel takes sound for nobody."""
        if self._reading is None or now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        self._reading.look()
        return self._reading.stuck_seconds > STALL_SECONDS or (self._websocket and not self._answers(now))

    def _answers(self, now: float) -> bool:
        """Whether the peer still says something, if asked: never behind sound that waits, for lines are slow."""
        silent = self._reading.silent_seconds if self._reading is not None else 0.0
        if self._asked_at is not None and silent < now - self._asked_at + PING_SECONDS:
            self._asked_at = None  # it has answered: it had been silent for longer when it was asked
        if silent <= PING_SECONDS or self._buffered():
            self._asked_at = None
        elif self._asked_at is None:
            self._asked_at = now
            self._transport.write(PING)
            self._written += len(PING)
        return self._asked_at is None or now - self._asked_at <= ANSWER_SECONDS

    def _take(self) -> bytes:
        item = self._queue.popleft()
        if isinstance(item, bytes):
            self._queued_bytes -= len(item)
            return item
        packet = item.packet
        self._queued_bytes -= len(packet.payload)
        self._queued_frames -= packet.frames
        return self._framed(item)

    def _framed(self, sound: Sound) -> bytes:
        if self._chunks:
            return sound.chunk
        if not self._websocket:
            return self._body(sound.packet.payload)
        assert self.codec is not None
        if self._gap:
            sound = Sound(sound.packet, sound.flags | Flags.DISCONTINUITY)
            self._gap = False
        seq, self._seq = self._seq, self._seq + 1
        return sound.frame(self.codec, self._epoch, seq)

    def _look(self) -> None:
        self._flows = not (self._queue or self._gap or self.ended.done())

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
