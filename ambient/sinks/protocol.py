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
from ambient.messages import BLOCK_FRAMES, CHANNELS, RATE

__all__ = [
    "CLIENT_TYPES",
    "HEADER_BYTES",
    "HELLO_SECONDS",
    "MAX_MESSAGE_BYTES",
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
    "pack_header",
    "parse",
    "read_buffer_ms",
    "read_codecs",
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

_HEADER = struct.Struct("<BBBBIQII")
HEADER_BYTES = _HEADER.size
_AUDIO = 0

CLIENT_TYPES = ("hello", "time", "format", "state", "params", "fire", "stats", "ping", "goodbye")
SERVER_TYPES = ("hello", "time", "format", "state", "transition", "event", "pong", "error", "draining", "goodbye")


class Codec(enum.IntEnum):
    """How the payload of a binary frame is encoded."""

    S16LE = 0
    F32LE = 1
    OPUS = 2
    FLAC = 3

    @property
    def label(self) -> str:
        """The name in messages."""
        return self.name.lower()


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
    if not _is_number(buffer_ms) or not 0 <= buffer_ms <= 60_000:
        raise ProtocolError(Close.BAD_MESSAGE, f"buffer_ms {buffer_ms!r} is not 0 to 60000")
    return int(buffer_ms)


def read_params(payload: Mapping[str, Any]) -> dict[str, float]:
    """The ``params`` message: name to finite number. Raises ProtocolError."""
    values = payload.get("params", payload)
    if not isinstance(values, dict) or not values:
        raise ProtocolError(Close.BAD_MESSAGE, "params is not an object of names and numbers")
    for name, value in values.items():
        if not _is_number(value):
            raise ProtocolError(Close.BAD_MESSAGE, f"parameter {name!r} needs a finite number, not {value!r}")
    return {str(n): float(v) for n, v in values.items()}


def read_name(payload: Mapping[str, Any], field: str) -> str:
    """A name such as the event of ``fire`` or the state of ``state``. Raises ProtocolError."""
    value = payload.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise ProtocolError(Close.BAD_MESSAGE, f"{field} is not a text of 1 to 200 characters")
    return value


def _is_number(value: Any) -> bool:
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

    def greeting(self, session: str, epoch: int, codec_header: str, burst_ms: int, now_us: int) -> str:
        """The server's hello; codec null where the client wants no sound yet."""
        return build(
            "hello",
            {
                "protocol": VERSION,
                "session": session,
                "epoch": epoch,
                "codec": None if self.codec is None else self.codec.label,
                "rate": RATE,
                "channels": CHANNELS,
                "frame_samples": BLOCK_FRAMES,
                "codec_header": codec_header,
                "burst_ms": burst_ms,
                "server_time_us": now_us,
            },
        )
