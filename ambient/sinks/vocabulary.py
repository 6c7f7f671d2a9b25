"""What the messages of the stream protocol hold: the one source of docs/protocol.md, OpenAPI and their tests.

Types are JSON Schema (draft 2020-12), so that programs can check messages with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CLIENT_MESSAGES", "ERRORS", "SERVER_MESSAGES", "Field", "Kind", "object_schema"]

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SETTINGS: Schema = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
CODECS: Schema = {"type": "array", "items": TEXT}
OBJECT: Schema = {"type": "object"}
FRAME_MS: Schema = {"enum": [20, 60, 100]}
BUFFER_MS: Schema = {"type": "number", "minimum": 0, "maximum": 60000}


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a message's payload."""

    name: str
    schema: Schema
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of message."""

    name: str
    about: str
    fields: tuple[Field, ...] = ()
    open: bool = False
    """Whether members beside the listed ones may come."""


RESUME = (
    Field("epoch", COUNT, "of the frame that was heard last", True),
    Field("sample_index", COUNT, "the sample that is wanted next", True),
)


def object_schema(fields: Sequence[Field], closed: bool = False) -> dict[str, Any]:
    """The JSON Schema of an object with these fields."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {f.name: {**f.schema, "description": f.about} for f in fields},
        "required": [f.name for f in fields if f.required],
    }
    return {**schema, "additionalProperties": False} if closed else schema


FORMAT_CHOICE = (
    Field("codecs", CODECS, "in order of preference; none: watch and steer without sound"),
    Field("buffer_ms", BUFFER_MS, "so much of the past is sent at once, at most 2000 ms; default 1000"),
    Field("frame_ms", FRAME_MS, "sound in a binary frame; default 20. Longer frames cost less and lag more"),
)
FORMAT = (
    Field("codec", {"type": ["string", "null"]}, "null: no sound", True),
    Field("rate", COUNT, "samples a second", True),
    Field("frame_samples", COUNT, "samples a channel in a binary frame", True),
    Field("codec_header", TEXT, "base64; OpusHead, or FLAC's marker and STREAMINFO; empty for PCM", True),
)

CLIENT_MESSAGES = (
    Kind(
        "hello",
        "First, within 5 s, and once.",
        (
            Field("protocol", {"const": 1}, "default 1"),
            Field("client_id", TEXT, "a name for the client, at most 64 characters"),
            Field("role", {"enum": ["listener", "controller"]}, "default listener; a controller may steer"),
            *FORMAT_CHOICE,
            Field("rates", {"type": "array", "items": NUMBER}, "must hold 48000 if given"),
            Field("channels", {"const": 2}, "default 2"),
            Field("resume", object_schema(RESUME), "goes on after a lost connection, where the sound is still kept"),
        ),
    ),
    Kind("time", "Asks for the server's clocks.", (Field("client_us", NUMBER, "sent back as it is"),)),
    Kind("format", "Another codec or frame length from now on; no codecs: no sound.", FORMAT_CHOICE),
    Kind(
        "params",
        "Sets parameters, or gives them back to the scene. Also without the wrapping: the payload itself is names and "
        "numbers.",
        (Field("params", SETTINGS, "name to number; null: as the scene has it by itself"),),
        open=True,
    ),
    Kind(
        "fire",
        "Fires an event of the scene, or has a single sound made from free text and placed once.",
        (
            Field("event", NAME, "an event of the scene"),
            Field("text", NAME, "instead of an event: what is to be heard, such as “thunder echoing in a canyon”"),
            Field(
                "distance_m", {"type": "number", "minimum": 1, "maximum": 2000}, "with text; default: drawn, 8 to 30"
            ),
            Field("azimuth_deg", {"type": "number", "minimum": -180, "maximum": 180}, "with text; 0 ahead, 90 right"),
        ),
    ),
    Kind(
        "state",
        "Starts a transition.",
        (
            Field("state", NAME, "a state of the scene", True),
            Field("over_seconds", {"type": "number", "minimum": 0, "maximum": 3600}, "default 45"),
        ),
    ),
    Kind("scene", "Asks what the scene holds: answered by a scene message."),
    Kind(
        "stats",
        "How the client does, for the server's metrics; totals since it connected.",
        (
            Field("underruns", COUNT, "times that its buffer ran empty"),
            Field("buffered_ms", {"type": "number", "minimum": 0}, "sound in its buffer"),
        ),
        open=True,
    ),
    Kind("ping", "Answered by pong.", (Field("id", {}, "sent back as it is"),)),
    Kind("goodbye", "The client leaves: the server closes with 1001."),
)

SERVER_MESSAGES = (
    Kind(
        "hello",
        "Answers hello, before any sound.",
        (
            Field("protocol", {"const": 1}, "version", True),
            Field("session", TEXT, "names this connection", True),
            Field(
                "role", {"enum": ["listener", "controller"]}, "as granted: without a token for control, listener", True
            ),
            Field("epoch", COUNT, "names this run of the stream: sample_index is comparable within it", True),
            *FORMAT,
            Field("channels", {"const": 2}, "channels", True),
            Field("burst_ms", COUNT, "sound from before the connection that follows at once", True),
            Field("resumed", {"type": "boolean"}, "whether sound goes on at the sample asked for", True),
            Field("server_time_us", COUNT, "the server's clock, which has no relation to the time of day", True),
        ),
    ),
    Kind(
        "time",
        "Answers time. With the client's time of arrival these are the four stamps of NTP.",
        (
            Field("client_us", {}, "as received", True),
            Field("received_us", COUNT, "server's clock when the question came", True),
            Field("sent_us", COUNT, "server's clock when this left", True),
            Field("epoch", COUNT, "of sample_index", True),
            Field("sample_index", {"type": ["integer", "null"]}, "the sample that is newest at sent_us", True),
        ),
    ),
    Kind("format", "Answers format; the frames after it are in this format.", FORMAT),
    Kind("state", "The stream's status, once a second; to controllers five times.", open=True),
    Kind("scene", "What the scene holds; also when it was changed.", open=True),
    Kind(
        "transition",
        "A change of state begins.",
        (
            Field("from", {"type": ["string", "null"]}, "state", True),
            Field("to", TEXT, "state", True),
            Field("over_seconds", NUMBER, "length of the blend", True),
            Field("at_sample", COUNT, "where it begins", True),
            Field("why", TEXT, "what led to it"),
        ),
        open=True,
    ),
    Kind(
        "event",
        "Something happens in the scene. Further members by kind: a oneshot has layer, distance_m, azimuth_deg.",
        (
            Field("kind", {"enum": ["event", "oneshot", "param", "reload", "fault"]}, "what it is", True),
            Field("name", TEXT, "name of the event, layer or parameter", True),
            Field("at_sample", COUNT, "where it happens: the flash", True),
            Field("heard_at_sample", COUNT, "where its sound arrives: the thunder", True),
        ),
        open=True,
    ),
    Kind("pong", "Answers ping.", (Field("id", {}, "as received", True),)),
    Kind(
        "error",
        "Something asked for was not done; the connection stays.",
        (
            Field("code", TEXT, "see below", True),
            Field("message", TEXT, "for people", True),
            Field("retryable", {"type": "boolean"}, "whether the same may work later", True),
        ),
    ),
    Kind(
        "draining",
        "The server stops soon: connect again after so long, elsewhere if possible.",
        (Field("retry_after_ms", COUNT, "milliseconds", True),),
    ),
)

ERRORS = {
    "role": "steering needs role controller (over HTTP: a token for control)",
    "unknown": "the scene has no such event, state or parameter",
    "rate": "too many requests; try again later",
}
"""Codes of ``error`` messages, and of the control API's refusals."""
