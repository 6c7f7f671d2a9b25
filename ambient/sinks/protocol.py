"""The stream protocol, version 1, without any I/O: both the server and the client speak through this file.

A connection carries JSON text frames, ``{"type": …, "payload": {…}}``, and binary frames: a 24-byte little-endian
header (24 keeps float arrays aligned) and one packet of sound.
"""

from __future__ import annotations

import enum
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ambient.errors import ProtocolError
from ambient.messages import CHANNELS, RATE
from ambient.sinks.vocabulary import CLIENT_MESSAGES, FRAME_MS, SERVER_MESSAGES

__all__ = [
    "CLIENT_TYPES",
    "CLOSE_REASONS",
    "HEADER_BYTES",
    "HEADER_FIELDS",
    "HELLO_SECONDS",
    "MAX_MESSAGE_BYTES",
    "SEQ_AT",
    "SERVER_TYPES",
    "SUBPROTOCOL",
    "VERSION",
    "Close",
    "Codec",
    "Flags",
    "Frame",
    "Hello",
    "Message",
    "Session",
    "build",
    "encoder_name",
    "is_number",
    "pack_header",
    "parse",
    "read_buffer_ms",
    "read_codecs",
    "read_frame_ms",
    "read_name",
    "read_object",
    "read_params",
    "unpack_frame",
]

VERSION = 1
SUBPROTOCOL = "soundscape.v1"
MAX_MESSAGE_BYTES = 64 * 1024
"""Longest text frame that the server reads."""
MAX_DEPTH = 8
"""Deepest nesting of a message."""
HELLO_SECONDS = 5.0
"""A client that has not said hello by then is closed."""

HEADER_FIELDS = (
    ("version", "u8", "B", "1"),
    ("type", "u8", "B", "0: sound"),
    ("codec", "u8", "B", "see codecs"),
    ("flags", "u8", "B", "see flags; bits that are not listed are ignored"),
    ("seq", "u32", "I", "frames sent on this connection so far, modulo 2³²: one more each time"),
    ("sample_index", "u64", "Q", "the stream's clock at the payload's first sample, before the encoder"),
    ("frames", "u32", "I", "samples a channel in the payload"),
    ("epoch", "u32", "I", "names one run of the stream; sample_index is comparable within it"),
)
"""Name, type, format character of :mod:`struct`, meaning."""
_HEADER = struct.Struct("<" + "".join(code for _, _, code, _ in HEADER_FIELDS))
HEADER_BYTES = _HEADER.size
SEQ_AT = struct.calcsize("<" + "".join(code for _, _, code, _ in HEADER_FIELDS[:4]))
"""Where ``seq`` is: all that differs between the listeners of a stream."""
_AUDIO = 0

CLIENT_TYPES = tuple(kind.name for kind in CLIENT_MESSAGES)
SERVER_TYPES = tuple(kind.name for kind in SERVER_MESSAGES)


class Codec(enum.IntEnum):
    """How the payload of a binary frame is encoded."""

    S16LE = 0
    """16-bit little-endian PCM, left and right in turn, dithered"""
    F32LE = 1
    """32-bit little-endian float PCM, left and right in turn, full scale ±1"""
    OPUS = 2
    """one raw Opus packet (RFC 6716); a decoder lags by the pre-skip that codec_header tells"""
    FLAC = 3
    """one FLAC frame (RFC 9639), 16 bits, of 4608 samples whatever frame_ms says"""

    @property
    def label(self) -> str:
        """The name in messages."""
        return self.name.lower()


def encoder_name(codec: Codec, frame_ms: int) -> str:
    """The encoder (of ``ambient.sinks.encoders.ENCODERS``) for a codec in frames of that length."""
    return codec.label if frame_ms == 20 or codec is Codec.FLAC else f"{codec.label}/{frame_ms}"


class Flags(enum.IntFlag):
    """What a listener should know about a binary frame."""

    NONE = 0
    DISCONTINUITY = 1
    """The frames before this one are missing: dropped for this listener, or a jump of the stream."""
    FALLBACK = 2
    """Some layer played re-joined own material."""
    BURST = 4
    """Sound from before the connection, so that playing can start at once."""


class Close(enum.IntEnum):
    """Why a connection ends."""

    SHUTDOWN = 1001
    POLICY = 1008
    TOO_BIG = 1009
    BAD_MESSAGE = 4400
    AUTH = 4401
    NO_STREAM = 4404
    NO_CODEC = 4406
    NO_HELLO = 4408
    TOO_MANY = 4429
    DRAINING = 4503
    TOO_SLOW = 4508


CLOSE_REASONS = {
    Close.SHUTDOWN: "goodbye, or the server is stopped",
    Close.POLICY: "more than 200 messages in a second",
    Close.TOO_BIG: "a message of more than 64 KiB",
    Close.BAD_MESSAGE: "a message that is not as this document says",
    Close.AUTH: "a token or ticket is needed, or the one given is not good",
    Close.NO_STREAM: "no such stream",
    Close.NO_CODEC: "none of the codecs, rates or channels asked for can be sent",
    Close.NO_HELLO: "no hello within 5 s, or something else before it",
    Close.TOO_MANY: "too many listeners, or too many wrong tokens from this address",
    Close.DRAINING: "the server is about to stop: connect again a little later",
    Close.TOO_SLOW: "10 s of sound were dropped without once catching up; what reads nothing for 5 s is cut off",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A binary frame: header fields and payload."""

    codec: Codec
    flags: Flags
    seq: int
    """Frames sent on this connection so far, modulo 2**32."""
    sample_index: int
    """Clock frame of the payload's first sample (of the encoder's input; an Opus decoder lags by its pre-skip)."""
    frames: int
    epoch: int
    """Names one run of the stream: ``sample_index`` is comparable within it."""
    payload: bytes


def pack_header(codec: Codec, flags: Flags, seq: int, sample_index: int, frames: int, epoch: int) -> bytes:
    """The 24 bytes before a payload; ``seq`` and ``epoch`` wrap at 2**32, ``sample_index`` at 2**64."""
    return _HEADER.pack(
        VERSION,
        _AUDIO,
        codec,
        flags,
        seq & 0xFFFF_FFFF,
        sample_index & 0xFFFF_FFFF_FFFF_FFFF,
        frames,
        epoch & 0xFFFF_FFFF,
    )


def unpack_frame(data: bytes) -> Frame:
    """A binary frame as received. Raises ProtocolError for what is none of this version."""
    if len(data) < HEADER_BYTES:
        raise ProtocolError(Close.BAD_MESSAGE, f"binary frame of {len(data)} bytes is shorter than its header")
    version, kind, codec, flags, seq, sample_index, frames, epoch = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ProtocolError(Close.BAD_MESSAGE, f"binary frame of version {version}, not {VERSION}")
    if kind != _AUDIO:
        raise ProtocolError(Close.BAD_MESSAGE, f"binary frame of unknown type {kind}")
    try:
        known = Codec(codec)
    except ValueError:
        raise ProtocolError(Close.BAD_MESSAGE, f"binary frame in unknown codec {codec}") from None
    payload = data[HEADER_BYTES:]
    width = {Codec.S16LE: 2, Codec.F32LE: 4}.get(known)
    if width is not None and len(payload) != frames * CHANNELS * width:
        raise ProtocolError(Close.BAD_MESSAGE, f"{len(payload)} bytes of {known.label} do not hold {frames} frames")
    return Frame(known, Flags(flags & 7), seq, sample_index, frames, epoch, payload)


# ---- text


@dataclass(frozen=True, slots=True)
class Message:
    """A text frame."""

    type: str
    payload: Mapping[str, Any]


def build(kind: str, payload: Mapping[str, Any] | None = None) -> str:
    """A text frame. Numbers that are not finite have no place in JSON and become null."""
    document = {"type": kind, "payload": _finite(payload or {})}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def parse(text: str, known: Sequence[str]) -> Message:
    """A text frame as received: one of the ``known`` types. Raises ProtocolError."""
    document = read_object(text)
    kind, payload = document.get("type"), document.get("payload", {})
    if not isinstance(kind, str) or not isinstance(payload, dict):
        raise ProtocolError(Close.BAD_MESSAGE, 'message is not {"type": text, "payload": object}')
    if kind not in known:
        raise ProtocolError(Close.BAD_MESSAGE, f"unknown message type {kind[:40]!r}; known: {', '.join(known)}")
    return Message(kind, payload)


def read_object(text: str) -> dict[str, Any]:
    """A JSON object of bounded length and depth, its numbers finite. Raises ProtocolError."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise ProtocolError(Close.TOO_BIG, f"message of {len(text)} characters; at most {MAX_MESSAGE_BYTES}")
    if _depth(text) > MAX_DEPTH:
        raise ProtocolError(Close.BAD_MESSAGE, f"message nested deeper than {MAX_DEPTH}")
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ProtocolError(Close.BAD_MESSAGE, "message is not JSON") from None
    if not isinstance(document, dict):
        raise ProtocolError(Close.BAD_MESSAGE, "message is not an object")
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _depth(text: str) -> int:
    """Deepest bracket nesting, brackets in strings counted too: an upper bound that costs no recursion."""
    deepest = depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


@dataclass(frozen=True, slots=True)
class Hello:
    """How a client introduces itself."""

    client_id: str = ""
    role: str = "listener"
    codecs: tuple[Codec, ...] = (Codec.S16LE,)
    """In the client's order of preference; none at all for a client that wants to watch and steer only."""
    buffer_ms: int = 1000
    """Sound that the client wants in its buffer: so much of the past is sent at once."""
    frame_ms: int = 20
    """Sound in a binary frame: 20, 60 or 100 ms."""
    resume_epoch: int | None = None
    resume_sample_index: int | None = None

    @staticmethod
    def read(payload: Mapping[str, Any]) -> Hello:
        """Validates a hello; codecs that this version does not know are passed over. Raises ProtocolError."""
        if payload.get("protocol", VERSION) != VERSION:
            raise ProtocolError(Close.BAD_MESSAGE, f"protocol {payload['protocol']!r}; this server speaks {VERSION}")
        role = payload.get("role", "listener")
        if role not in ("listener", "controller"):
            raise ProtocolError(Close.BAD_MESSAGE, f"role {role!r}; known: listener, controller")
        rates = payload.get("rates", [RATE])
        if not isinstance(rates, list) or (rates and RATE not in rates):
            raise ProtocolError(Close.NO_CODEC, f"rates {rates!r}; this server sends {RATE}")
        if payload.get("channels", CHANNELS) != CHANNELS:
            raise ProtocolError(Close.NO_CODEC, f"{payload['channels']!r} channels; this server sends {CHANNELS}")
        asked = payload.get("codecs", [Codec.S16LE.label])
        if not isinstance(asked, list):
            raise ProtocolError(Close.BAD_MESSAGE, "codecs is not a list")
        codecs = read_codecs(asked)
        if asked and not codecs:
            raise ProtocolError(Close.NO_CODEC, f"none of the codecs {asked!r} is known")
        resume = payload.get("resume") or {}
        epoch = resume.get("epoch") if isinstance(resume, dict) else None
        index = resume.get("sample_index") if isinstance(resume, dict) else None
        whole = type(epoch) is int and type(index) is int
        return Hello(
            client_id=str(payload.get("client_id", ""))[:64],
            role=role,
            codecs=codecs,
            buffer_ms=read_buffer_ms(payload),
            frame_ms=read_frame_ms(payload),
            resume_epoch=epoch if whole else None,
            resume_sample_index=index if whole else None,
        )


def read_codecs(names: Sequence[Any]) -> tuple[Codec, ...]:
    """The codecs of this version among names, in their order."""
    known = {c.label: c for c in Codec}
    return tuple(known[n] for n in names if isinstance(n, str) and n in known)


def read_buffer_ms(payload: Mapping[str, Any]) -> int:
    """Sound that a client wants at once, 0 to 60000 ms. Raises ProtocolError."""
    buffer_ms = payload.get("buffer_ms", 1000)
    if not is_number(buffer_ms) or not 0 <= buffer_ms <= 60_000:
        raise ProtocolError(Close.BAD_MESSAGE, f"buffer_ms {buffer_ms!r} is not 0 to 60000")
    return int(buffer_ms)


def read_frame_ms(payload: Mapping[str, Any]) -> int:
    """The length of binary frames that a client asks for. Raises ProtocolError."""
    frame_ms = payload.get("frame_ms", 20)
    if not is_number(frame_ms) or frame_ms not in FRAME_MS["enum"]:
        raise ProtocolError(Close.BAD_MESSAGE, f"frame_ms {frame_ms!r} is not one of {FRAME_MS['enum']}")
    return int(frame_ms)


def read_params(payload: Mapping[str, Any]) -> dict[str, float | None]:
    """The ``params`` message: name to finite number, or None. Raises ProtocolError."""
    values = payload.get("params", payload)
    if not isinstance(values, dict) or not values:
        raise ProtocolError(Close.BAD_MESSAGE, "params is not an object of names and numbers")
    for name, value in values.items():
        if value is not None and not is_number(value):
            raise ProtocolError(Close.BAD_MESSAGE, f"parameter {name!r} needs a finite number or null, not {value!r}")
    return {str(n): None if v is None else float(v) for n, v in values.items()}


def read_name(payload: Mapping[str, Any], field: str) -> str:
    """A name such as the event of ``fire`` or the state of ``state``. Raises ProtocolError."""
    value = payload.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise ProtocolError(Close.BAD_MESSAGE, f"{field} is not a text of 1 to 200 characters")
    return value


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a finite number (true and false are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Session:
    """The server's side of one connection: hello first and once, then anything but hello.

    Takes text, gives validated messages; what breaks the rules raises ProtocolError with the code to close with.
    """

    def __init__(self, available: Sequence[Codec]) -> None:
        self._available = tuple(available)
        self.hello: Hello | None = None
        self.codec: Codec | None = None

    def receive(self, text: str) -> Message:
        """One text frame. A hello sets :attr:`hello` and :attr:`codec`. Raises ProtocolError."""
        message = parse(text, CLIENT_TYPES)
        if self.hello is None:
            if message.type != "hello":
                raise ProtocolError(Close.NO_HELLO, f"{message.type!r} before hello")
            hello = Hello.read(message.payload)
            self.codec = self.choose(hello.codecs) if hello.codecs else None
            self.hello = hello
        elif message.type == "hello":
            raise ProtocolError(Close.BAD_MESSAGE, "a second hello")
        return message

    def choose(self, asked: Sequence[Codec]) -> Codec:
        """The first codec asked for that can be sent. Raises ProtocolError."""
        for codec in asked:
            if codec in self._available:
                return codec
        have = ", ".join(c.label for c in self._available)
        raise ProtocolError(Close.NO_CODEC, f"none of the codecs asked for can be sent; this server sends {have}")
