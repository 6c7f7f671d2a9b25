"""The control API as an OpenAPI 3.1 document. What bodies hold comes from the stream protocol's vocabulary."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ambient import __version__
from ambient.sinks.vocabulary import CLIENT_MESSAGES, SERVER_MESSAGES, Kind, object_schema

__all__ = ["document"]

NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
NAMES = {"type": "array", "items": {"type": "string"}}
LAYER = {
    "type": "object",
    "required": ["name", "prompt", "gain", "muted", "level_db", "why"],
    "properties": {
        "name": {"type": "string"},
        "kind": {"enum": ["bed", "scatter"]},
        "prompt": {"type": "string", "description": "what it is meant to be now"},
        "heard": {"type": ["string", "null"], "description": "what is heard now: changes take some seconds"},
        "gain": {"type": "number"},
        "muted": {"type": "boolean"},
        "level_db": {"type": "number"},
        "seconds_ahead": {"type": ["number", "null"]},
        "why": NAMES,
    },
}
STATUS = {
    "type": "object",
    "required": ["stream", "playing", "state", "params", "layers"],
    "properties": {
        "stream": {"type": "string"},
        "playing": {"type": "boolean"},
        "resting": {"type": "boolean"},
        "state": {"type": ["string", "null"]},
        "previous": {"type": ["string", "null"]},
        "blend": {"type": "number", "minimum": 0, "maximum": 1},
        "params": NUMBERS,
        "held": {**NAMES, "description": "parameters that were set, by hand or by an event"},
        "layers": {"type": "array", "items": {"$ref": "#/components/schemas/Layer"}},
        "seconds_ahead": {"type": "number"},
        "speed": {"type": ["number", "null"]},
        "degrade_level": {"type": "integer"},
        "loudness_lufs": {"type": ["number", "null"]},
        "scene": {"$ref": "#/components/schemas/Scene"},
        "server": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
}
SCENE = {
    "type": "object",
    "required": ["scene", "states", "params", "events", "layers"],
    "properties": {
        "scene": {"type": "string"},
        "states": NAMES,
        "start": {"type": "string"},
        "transitions": {"type": "array", "items": {"type": "object"}},
        "params": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "low", "high"],
                "properties": {"name": {"type": "string"}, "low": {"type": "number"}, "high": {"type": "number"}},
            },
        },
        "events": NAMES,
        "layers": NAMES,
    },
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
STREAMS = {
    "type": "object",
    "required": ["streams"],
    "properties": {
        "streams": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "state", "listeners"],
                "properties": {
                    "name": {"type": "string"},
                    "state": {"type": ["string", "null"]},
                    "listeners": {"type": "integer"},
                },
            },
        }
    },
}
DONE = {"type": "object", "required": ["ok"], "properties": {"ok": {"const": True}}}
TICKET = {
    "type": "object",
    "required": ["ticket", "expires_in_seconds"],
    "properties": {"ticket": {"type": "string"}, "expires_in_seconds": {"type": "number"}},
}
EXPLAIN = {
    "type": "object",
    "required": ["state", "params", "layers"],
    "properties": {key: STATUS["properties"][key] for key in ("state", "params", "layers")},  # type: ignore[index]
}
COMPONENTS = {
    "Status": STATUS,
    "Scene": SCENE,
    "Layer": LAYER,
    "Streams": STREAMS,
    "Explanation": EXPLAIN,
    "Ticket": TICKET,
    "Done": DONE,
    "Error": ERROR,
}


def _kind(kinds: tuple[Kind, ...], name: str) -> Kind:
    return next(kind for kind in kinds if kind.name == name)


def _answer(about: str, schema: str, media_type: str = "application/json") -> dict[str, Any]:
    return {
        "description": about,
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _operation(name: str, summary: str, ok: Mapping[str, Any], *refusals: int, **more: Any) -> dict[str, Any]:
    texts = {400: "not possible", 401: "a token is needed", 403: "not allowed", 404: "no such stream", 429: "too often"}
    answers = {"200": ok, **{str(s): _answer(texts[s], "Error") for s in (*refusals, 401)}}
    return {"operationId": name, "summary": summary, "responses": answers, **more}


def _steering(name: str) -> dict[str, Any]:
    kind = _kind(CLIENT_MESSAGES, name)
    body = {"required": True, "content": {"application/json": {"schema": object_schema(kind.fields)}}}
    done = _answer("it is done with the next block of sound", "Done")
    return {"post": _operation(name, kind.about, done, 400, 403, 404, 429, requestBody=body)}


@functools.cache
def document() -> Mapping[str, Any]:
    """The whole document."""
    time_fields = [f for f in _kind(SERVER_MESSAGES, "time").fields if f.name != "client_us"]
    events = {
        "description": "the messages of the WebSocket protocol, as server-sent events",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    one = {"name": "stream", "in": "path", "required": True, "schema": {"type": "string"}}

    def get(name: str, summary: str, ok: Mapping[str, Any]) -> dict[str, Any]:
        return {"get": _operation(name, summary, ok, 404)}

    stream = {
        "": get("status", "All that is to be known of a stream now.", _answer("status", "Status")),
        "/scene": get("scene", "What does not change while the scene stays.", _answer("scene", "Scene")),
        "/explain": get("explain", "Why each layer sounds as it does.", _answer("explanation", "Explanation")),
        "/time": get("time", "The server's clock and the stream's place on it.", _answer("time", "Time")),
        "/events": get("events", "What happens, as it happens.", events),
        "/params": _steering("params"),
        "/fire": _steering("fire"),
        "/state": _steering("state"),
    }
    paths: dict[str, Any] = {
        "/api/v1/streams": {"get": _operation("streams", "The streams.", _answer("streams", "Streams"))},
        "/api/v1/tickets": {
            "post": _operation(
                "ticket", "A word for `?ticket=` that is good for a minute.", _answer("ticket", "Ticket")
            )
        },
        "/api/v1/openapi.json": {
            "get": {
                "operationId": "openapi",
                "summary": "This document.",
                "security": [],
                "responses": {"200": {"description": "OpenAPI", "content": {"application/json": {}}}},
            }
        },
    }
    for ending, item in stream.items():
        paths[f"/api/v1/streams/{{stream}}{ending}"] = {**item, "parameters": [one]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ambient",
            "version": __version__,
            "description": "Watch and steer streams of generated soundscapes. Sound is under /listen and /ws/v1.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {**COMPONENTS, "Time": object_schema(time_fields)},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "any user name; the token"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
        "security": [{}, {"token": []}, {"password": []}, {"ticket": []}],
    }
