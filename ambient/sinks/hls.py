"""HTTP Live Streaming (RFC 8216): AAC in segments of one length in samples, and the playlist that lists the latest.

Packed audio (3.4): each segment is a run of ADTS frames behind an ID3 tag that tells its time.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ambient.messages import RATE
from ambient.sinks.framing import Sound
from ambient.sinks.hub import Hub
from ambient.sinks.listener import Ended
from ambient.sinks.protocol import Flags

__all__ = ["SEGMENT_FRAMES", "Segmenter"]

PACKET_FRAMES = 1024
SEGMENT_FRAMES = 47 * PACKET_FRAMES
"""1.003 s: a whole number of AAC frames, always the same. Short, because players want three before they begin."""
FIRST = 3
"""Segments that the first playlist lists at least: browsers give up on a shorter one."""
LISTED = 8
KEPT = 12
"""Segments that are kept after they have left the list, for players that are behind (6.2.2)."""
IDLE_SECONDS = 20.0
BURST_FRAMES = 2 * RATE


@dataclass(frozen=True, slots=True)
class _Segment:
    number: int
    data: bytes
    breaks: bool
    """Whether samples are missing before it."""


class Segmenter:
    """Cuts one stream's AAC. A receiver of the hub from the first request until none came for 20 s.

    ``now`` gives seconds. Everything here runs on the server's event loop.
    """

    eager = False

    def __init__(self, hub: Hub, now: Callable[[], float]) -> None:
        self._hub, self._now = hub, now
        self._segments: collections.deque[_Segment] = collections.deque(maxlen=LISTED + KEPT)
        self._parts: list[bytes] = []
        self._frames = 0
        self._start_frame = 0
        self._number = 0
        self._breaks = False
        self._gone_breaks = 0
        self._asked_at = 0.0
        self._running = False
        self.dropped_frames = 0

    def touch(self) -> None:
        """Somebody asks: begins to cut, if it has not. Raises SinkError where the encoder cannot be had."""
        self._asked_at = self._now()
        if not self._running:
            self._running = True
            self._restart()
            self._hub.join(self, "aac", BURST_FRAMES)

    @property
    def ready(self) -> bool:
        """Whether there are enough segments for a player to begin."""
        return self._running and len(self._segments) >= FIRST

    def playlist(self) -> str:
        """The latest segments."""
        listed = list(self._segments)[-LISTED:]
        gone = self._gone_breaks + sum(s.breaks for s in list(self._segments)[: -len(listed)])
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            f"#EXT-X-TARGETDURATION:{round(SEGMENT_FRAMES / RATE)}",
            f"#EXT-X-MEDIA-SEQUENCE:{listed[0].number if listed else self._number}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{gone}",
        ]
        for segment in listed:
            lines += ["#EXT-X-DISCONTINUITY"] * segment.breaks
            lines += [f"#EXTINF:{SEGMENT_FRAMES / RATE:.5f},", f"{segment.number}.aac"]
        return "\n".join(lines) + "\n"

    def segment(self, number: int) -> bytes | None:
        """The bytes of a segment; None where it is not kept any more, or not there yet."""
        return next((s.data for s in self._segments if s.number == number), None)

    # ---- a receiver of the hub

    def push(self, sound: Sound) -> None:
        """Takes an ADTS frame."""
        packet = sound.packet
        if sound.flags & Flags.DISCONTINUITY and (self._parts or self._segments):
            self._restart()
        if not self._parts:
            self._start_frame = packet.start_frame
        self._parts.append(packet.payload)
        self._frames += packet.frames
        if self._frames >= SEGMENT_FRAMES:
            self._keep(_Segment(self._number, _timestamp(self._start_frame) + b"".join(self._parts), self._breaks))
            self._number += 1
            self._parts, self._frames, self._breaks = [], 0, False

    def push_all(self, sounds: Sequence[Sound]) -> None:
        """Takes several ADTS frames."""
        for sound in sounds:
            self.push(sound)

    def push_text(self, text: str) -> None:
        """Nothing: players read the playlist."""

    def pump(self) -> None:
        """Stops where nobody has asked for a while."""
        if self._running and self._now() - self._asked_at > IDLE_SECONDS:
            self._hub.leave(self)
            self.end(Ended.GONE)

    def end(self, why: Ended) -> None:
        """Forgets everything but the count. Idempotent."""
        self._running = False
        self._gone_breaks += sum(s.breaks for s in self._segments)
        self._segments.clear()
        self._restart()

    def _restart(self) -> None:
        """What follows does not continue what was there: a part of a segment is of no use any more."""
        self._parts, self._frames = [], 0
        self._breaks = self._number > 0

    def _keep(self, segment: _Segment) -> None:
        if len(self._segments) == self._segments.maxlen:
            self._gone_breaks += self._segments[0].breaks
        self._segments.append(segment)


def _timestamp(frame: int) -> bytes:
    """An ID3 tag with the segment's time on a 90 kHz clock of 33 bits (RFC 8216, 3.4)."""
    body = b"com.apple.streaming.transportStreamTimestamp\0" + (frame * 90_000 // RATE % (1 << 33)).to_bytes(8, "big")
    private = b"PRIV" + _synchsafe(len(body)) + b"\0\0" + body
    return b"ID3\x04\x00\x00" + _synchsafe(len(private)) + private


def _synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
