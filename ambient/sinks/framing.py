"""How sound and texts look on the wire: WebSocket frames, chunks of HTTP, server-sent events; made once for all."""

from __future__ import annotations

import functools
import operator
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from ambient.sinks.encoders import Packet
from ambient.sinks.protocol import HEADER_BYTES, SEQ_AT, Codec, Flags, pack_header

__all__ = ["Sound", "chunk", "joined", "server_sent_event", "websocket_frame", "websocket_text"]

_SEQ = struct.Struct("<I")


def websocket_frame(data: bytes, opcode: int) -> bytes:
    """An unmasked WebSocket frame (RFC 6455), as servers send them. ``opcode``: 1 text, 2 binary."""
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data


@functools.lru_cache(maxsize=8)  # what is told is told to everybody
def websocket_text(text: str) -> bytes:
    """A text frame."""
    return websocket_frame(text.encode(), 1)


def server_sent_event(text: str) -> bytes:
    """A JSON text as an event (HTML standard, 9.2), of the default type."""
    return b"data: %b\n\n" % text.encode()


def chunk(data: bytes) -> bytes:
    """A chunk of an HTTP/1.1 body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class Sound:
    """A packet on its way to listeners. Its bytes on the wire are made for the first of them and shared by the rest."""

    packet: Packet
    flags: Flags = Flags.NONE
    _around: dict[int, tuple[bytes, bytes]] = field(default_factory=dict, repr=False, compare=False)
    """What stands before and after a frame's ``seq``, by codec and epoch: one entry, in all but tests."""

    @functools.cached_property
    def past(self) -> Sound:
        """The same for those who came after it."""
        return Sound(self.packet, self.flags | Flags.BURST)

    @functools.cached_property
    def chunk(self) -> bytes:
        """As a chunk of an HTTP/1.1 body."""
        return chunk(self.packet.payload)

    def frame(self, codec: Codec, epoch: int, seq: int) -> bytes:
        """As a binary WebSocket frame. Between the listeners of a stream only ``seq`` differs."""
        around = self._around.get(epoch << 8 | codec)
        if around is None:
            header = pack_header(codec, self.flags, 0, self.packet.start_frame, self.packet.frames, epoch)
            whole = websocket_frame(header + self.packet.payload, 2)
            at = len(whole) - len(self.packet.payload) - HEADER_BYTES + SEQ_AT
            around = self._around[epoch << 8 | codec] = whole[:at], whole[at + _SEQ.size :]
        return around[0] + _SEQ.pack(seq & 0xFFFF_FFFF) + around[1]


def joined(sounds: Sequence[Sound]) -> Sound:
    """Packets that follow each other as one, for formats that are a stream of bytes. At least one."""
    if len(sounds) == 1:
        return sounds[0]
    packets = [sound.packet for sound in sounds]
    payload = b"".join(packet.payload for packet in packets)
    whole = Packet(packets[0].start_frame, sum(packet.frames for packet in packets), payload)
    return Sound(whole, functools.reduce(operator.or_, (sound.flags for sound in sounds)))
