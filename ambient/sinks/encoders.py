"""Stateful encoders with one interface: blocks of sound in, packets out.

All of them take float32 of shape ``(frames, 2)`` at 48 kHz in any block size and never skip a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, CHANNELS, RATE, Audio

__all__ = [
    "ENCODERS",
    "KILOBITS",
    "AacEncoder",
    "Encoder",
    "F32Encoder",
    "FlacEncoder",
    "Gathered",
    "Mp3Encoder",
    "OggOpusEncoder",
    "OpusEncoder",
    "Packet",
    "S16Encoder",
    "WavEncoder",
]

OPUS_BITS_PER_SECOND = 128_000
MP3_BITS_PER_SECOND = 192_000
AAC_BITS_PER_SECOND = 160_000
MP3_FRAME = 1152
PAGE_FRAMES = 4 * BLOCK_FRAMES


@dataclass(frozen=True, slots=True)
class Packet:
    """Encoded sound that a receiver can decode from here on."""

    start_frame: int
    """Clock frame of the first sample that went in."""
    frames: int
    payload: bytes

    @property
    def end_frame(self) -> int:
        """Clock frame after the last sample that went in."""
        return self.start_frame + self.frames


class Encoder(Protocol):
    """Turns one stream of sound into packets. Not thread-safe."""

    @property
    def header(self) -> bytes:
        """What a receiver needs before the first packet; empty where nothing."""
        ...

    @property
    def packet_frames(self) -> int:
        """Frames in a packet, where they are all alike and blocks of 20 ms go in."""
        ...

    def encode(self, audio: Audio) -> list[Packet]:
        """The packets that the next frames complete. Raises SinkError when the encoder fails."""
        ...

    def flush(self) -> list[Packet]:
        """The last packets; the encoder is spent."""
        ...


class S16Encoder:
    """16-bit little-endian PCM with triangular dither of ±1 LSB (Lipshitz et al., JAES 40(5), 1992)."""

    header = b""
    packet_frames = BLOCK_FRAMES

    def __init__(self, start_frame: int = 0) -> None:
        self._next = start_frame
        # The seed says where the stream was joined: the same join gives the same bytes.
        self._random = np.random.default_rng(start_frame)

    def encode(self, audio: Audio) -> list[Packet]:
        """One packet for every call that holds frames."""
        if not len(audio):
            return []
        noise = self._random.random((2, *audio.shape), np.float32)
        scaled = audio * np.float32(32767.0) + (noise[0] - noise[1])
        data = np.clip(np.rint(scaled), -32768, 32767).astype("<i2").tobytes()
        packet = Packet(self._next, len(audio), data)
        self._next += len(audio)
        return [packet]

    def flush(self) -> list[Packet]:
        """Nothing is held back."""
        return []


class F32Encoder:
    """32-bit little-endian float PCM: the samples as they are."""

    header = b""
    packet_frames = BLOCK_FRAMES

    def __init__(self, start_frame: int = 0) -> None:
        self._next = start_frame

    def encode(self, audio: Audio) -> list[Packet]:
        """One packet for every call that holds frames."""
        if not len(audio):
            return []
        packet = Packet(self._next, len(audio), audio.astype("<f4").tobytes())
        self._next += len(audio)
        return [packet]

    def flush(self) -> list[Packet]:
        """Nothing is held back."""
        return []


class Gathered:
    """PCM in longer packets: feeds an encoder pieces of one length."""

    def __init__(self, encoder: Encoder, packet_frames: int) -> None:
        self._encoder = encoder
        self._size = packet_frames
        self._held: Audio = np.zeros((0, CHANNELS), np.float32)

    @property
    def header(self) -> bytes:
        """That of the encoder."""
        return self._encoder.header

    @property
    def packet_frames(self) -> int:
        """The length of the pieces."""
        return self._size

    def encode(self, audio: Audio) -> list[Packet]:
        """The packets of all pieces that are whole now."""
        held = np.concatenate([self._held, audio])
        whole = len(held) // self._size * self._size
        self._held = held[whole:]
        return [p for at in range(0, whole, self._size) for p in self._encoder.encode(held[at : at + self._size])]

    def flush(self) -> list[Packet]:
        """A last, shorter packet."""
        return [*self._encoder.encode(self._held), *self._encoder.flush()]


class WavEncoder(S16Encoder):
    """A WAV file without an end: its sizes say the most that they can."""

    header = (
        struct.pack("<4sI4s", b"RIFF", 0xFFFF_FFFF, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, CHANNELS, RATE, RATE * CHANNELS * 2, CHANNELS * 2, 16)
        + struct.pack("<4sI", b"data", 0xFFFF_FFFF)
    )


class _AvEncoder:
    """An encoder of FFmpeg's with frames of a fixed size."""

    def __init__(self, codec: str, sample_format: str, bits_per_second: int, options: dict[str, str], start: int):
        import av

        self._av = av
        self._planar = sample_format.endswith("p")
        self._format = sample_format
        self._held: Audio = np.zeros((0, CHANNELS), np.float32)
        self._fed = 0
        self._given = start
        try:
            self._context = self._open(codec, bits_per_second, options)
        except (av.FFmpegError, ValueError) as error:
            raise SinkError(f"the encoder {codec} cannot be opened: {error}") from error
        self._size = int(self._context.frame_size)

    def _open(self, codec: str, bits_per_second: int, options: dict[str, str]) -> Any:
        context: Any = self._av.CodecContext.create(codec, "w")
        context.sample_rate, context.layout, context.format = RATE, "stereo", self._format
        context.options = options
        if bits_per_second:
            context.bit_rate = bits_per_second
        context.open()
        return context

    @property
    def header(self) -> bytes:
        return bytes(self._context.extradata or b"")

    @property
    def packet_frames(self) -> int:
        return self._size

    def encode(self, audio: Audio) -> list[Packet]:
        held = np.concatenate([self._held, audio]) if len(self._held) else audio
        whole = len(held) // self._size * self._size
        self._held = held[whole:].copy()
        packets: list[Packet] = []
        for at in range(0, whole, self._size):
            packets += self._packets(self._frame(held[at : at + self._size]))
        return packets

    def flush(self) -> list[Packet]:
        packets = self._packets(self._frame(self._held)) if len(self._held) else []
        self._held = self._held[:0]
        return packets + self._packets(None)

    def _frame(self, audio: Audio) -> Any:
        rows = audio.T if self._planar else audio.reshape(1, -1)
        frame = self._av.AudioFrame.from_ndarray(
            np.ascontiguousarray(rows, np.int16 if self._format == "s16" else np.float32),
            format=self._format,
            layout="stereo",
        )
        frame.sample_rate, frame.pts = RATE, self._fed
        self._fed += len(audio)
        return frame

    def _packets(self, frame: Any) -> list[Packet]:
        packets = []
        try:
            for packet in self._context.encode(frame):
                packets += [self._packet(*wrapped) for wrapped in self._wrap(packet)]
        except self._av.FFmpegError as error:
            raise SinkError(f"the encoder {self._context.name} failed: {error}") from error
        return packets

    def _packet(self, frames: int, data: bytes) -> Packet:
        packet = Packet(self._given, frames, data)
        self._given += frames
        return packet

    def _wrap(self, packet: Any) -> list[tuple[int, bytes]]:
        return [(self._size, bytes(packet))]


class OpusEncoder(_AvEncoder):
    """Raw Opus packets (RFC 6716) of 20, 60 or 100 ms; ``header`` is the OpusHead (RFC 7845) with the pre-skip."""

    def __init__(
        self, start_frame: int = 0, bits_per_second: int = OPUS_BITS_PER_SECOND, packet_frames: int = BLOCK_FRAMES
    ) -> None:
        options = {"frame_duration": str(1000 * packet_frames // RATE), "application": "audio", "vbr": "on"}
        super().__init__("libopus", "flt", bits_per_second, options, start_frame)
        assert self._size == packet_frames


class Mp3Encoder(_AvEncoder):
    """MPEG-1 layer III frames of 24 ms without a bit reservoir, so that a listener may join at any of them."""

    def __init__(self, start_frame: int = 0, bits_per_second: int = MP3_BITS_PER_SECOND) -> None:
        super().__init__("libmp3lame", "fltp", bits_per_second, {"reservoir": "0"}, start_frame)

    @property
    def header(self) -> bytes:
        """None: every frame stands for itself."""
        return b""


class AacEncoder(_AvEncoder):
    """AAC-LC in ADTS frames (ISO/IEC 13818-7) of 21.3 ms: a listener may join at any of them."""

    def __init__(self, start_frame: int = 0, bits_per_second: int = AAC_BITS_PER_SECOND) -> None:
        super().__init__("aac", "fltp", bits_per_second, {}, start_frame)

    @property
    def header(self) -> bytes:
        """None: every frame stands for itself."""
        return b""

    def _wrap(self, packet: Any) -> list[tuple[int, bytes]]:
        data = bytes(packet)
        length = len(data) + 7
        # sync word, MPEG-4, no checksum; low complexity, 48 kHz (index 3), two channels; length; a full buffer
        head = 0xFFF1 << 40 | 1 << 38 | 3 << 34 | CHANNELS << 30 | length << 13 | 0x7FF << 2
        return [(self._size, head.to_bytes(7, "big") + data)]


class FlacEncoder(_AvEncoder):
    """FLAC (RFC 9639), 16 bits, in its native stream; each frame stands for itself behind the ``header``."""

    def __init__(self, start_frame: int = 0) -> None:
        super().__init__("flac", "s16", 0, {"compression_level": "5"}, start_frame)

    @property
    def header(self) -> bytes:
        """Marker and STREAMINFO, which leaves length and checksum open."""
        info = bytes(self._context.extradata)
        return b"fLaC" + bytes([0x80]) + len(info).to_bytes(3, "big") + info

    def _frame(self, audio: Audio) -> Any:
        return super()._frame(np.round(np.clip(audio, -1, 1) * 32767))

    def _wrap(self, packet: Any) -> list[tuple[int, bytes]]:
        # the last packet brings no sound, but what STREAMINFO would say of a file
        return [(int(packet.duration), bytes(packet))] if packet.size else []


class OggOpusEncoder(_AvEncoder):
    """Opus in Ogg (RFC 7845), one logical stream for ever, in pages of 80 ms.

    A listener who joins late gets ``header`` and then the pages as they come, as from any radio.
    """

    def __init__(self, start_frame: int = 0, bits_per_second: int = OPUS_BITS_PER_SECOND) -> None:
        self._waiting: list[Audio] = []
        self._waiting_frames = 0
        self._pages: list[bytes] = []
        self._granule = 0
        options = {"frame_duration": "20", "application": "audio", "vbr": "on"}
        super().__init__("libopus", "flt", bits_per_second, options, start_frame)
        self._header = b"".join(self._pages)
        self._pages.clear()

    @property
    def header(self) -> bytes:
        """The two header pages."""
        return self._header

    def encode(self, audio: Audio) -> list[Packet]:
        """The pages that the next frames complete. A page is encoded at once: woken for every block, the encoder costs
        nearly twice as much."""
        self._waiting.append(audio)
        self._waiting_frames += len(audio)
        return self._encode_waiting() if self._waiting_frames >= PAGE_FRAMES else []

    def _encode_waiting(self) -> list[Packet]:
        audio = np.concatenate(self._waiting) if self._waiting else self._held[:0]
        self._waiting, self._waiting_frames = [], 0
        return super().encode(audio)

    def flush(self) -> list[Packet]:
        """The last page, which ends the stream."""
        packets = self._encode_waiting() + super().flush()
        self._container.close()
        return packets + [self._packet(*page) for page in self._taken()]

    def _open(self, codec: str, bits_per_second: int, options: dict[str, str]) -> Any:
        pages = {"page_duration": str(1_000_000 * PAGE_FRAMES // RATE), "flush_packets": "1"}
        self._container: Any = self._av.open(_Writer(self._pages.append), "w", format="ogg", options=pages)
        stream: Any = self._container.add_stream(codec, rate=RATE, layout="stereo", options=options)
        stream.bit_rate, stream.codec_context.format = bits_per_second, self._format
        self._container.start_encoding()
        return stream.codec_context

    def _wrap(self, packet: Any) -> list[tuple[int, bytes]]:
        packet.stream = self._container.streams[0]
        self._container.mux(packet)
        return self._taken()

    def _taken(self) -> list[tuple[int, bytes]]:
        """The pages written since, each with its length in frames, which is how far its granule position went on."""
        taken = []
        for page in self._pages:
            granule = int.from_bytes(page[6:14], "little")
            taken.append((granule - self._granule, page))
            self._granule = granule
        self._pages.clear()
        return taken


class _Writer:
    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        self._write(bytes(data))
        return len(data)


ENCODERS: dict[str, Callable[[int], Encoder]] = {
    "s16le": S16Encoder,
    "f32le": F32Encoder,
    "opus": OpusEncoder,
    "mp3": Mp3Encoder,
    "ogg": OggOpusEncoder,
    "wav": WavEncoder,
    "aac": AacEncoder,
    "flac": FlacEncoder,
}
"""By name: makes an encoder whose first frame is the given clock frame. ``NAME/60``: in packets of 60 ms."""


KILOBITS = {
    "mp3": MP3_BITS_PER_SECOND // 1000,
    "ogg": OPUS_BITS_PER_SECOND // 1000,
    "aac": AAC_BITS_PER_SECOND // 1000,
    "wav": RATE * CHANNELS * 16 // 1000,
}
"""A second, of formats that HTTP streams come in, where the sound has no say in it."""


def _add_lengths(milliseconds: int) -> None:
    size = milliseconds * RATE // 1000
    ENCODERS[f"s16le/{milliseconds}"] = lambda start: Gathered(S16Encoder(start), size)
    ENCODERS[f"f32le/{milliseconds}"] = lambda start: Gathered(F32Encoder(start), size)
    ENCODERS[f"opus/{milliseconds}"] = lambda start: OpusEncoder(start, packet_frames=size)


for _length in (60, 100):
    _add_lengths(_length)
