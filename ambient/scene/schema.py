"""The scene language as JSON Schema (draft 7), for editors: completes every key, shorthands included, and tells what
each is for. What a schema cannot say (names that must exist, conditions) is left to ``ambient check``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["scene_schema"]

Schema = dict[str, Any]

_DURATION: Schema = {
    "type": "string",
    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h)\s*$",
    "examples": ["500ms", "45s", "5m", "1.5h"],
}
_CLOCK: Schema = {"type": "string", "pattern": r"^\s*([01]?[0-9]|2[0-3]):[0-5][0-9]\s*$", "examples": ["22:30"]}
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 2000}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 64}
_PAIR: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}


def _told(schema: Schema, description: str, **more: Any) -> Schema:
    return schema | {"description": description} | more


def _ref(name: str, description: str) -> Schema:
    # draft 7 ignores what stands beside a $ref, so the description needs an allOf around it
    return {"allOf": [{"$ref": f"#/definitions/{name}"}], "description": description}


def _part(description: str, properties: dict[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    part: Schema = {"type": "object", "description": description, "additionalProperties": False}
    return part | {"properties": properties} | ({"required": list(required)} if required else {})


def _map(description: str, of: Schema) -> Schema:
    return {"type": ["object", "null"], "description": description, "additionalProperties": of}


def _layer_fields() -> dict[str, Schema]:
    return {
        "prompt": _ref("prompt", "What it sounds like: a text, a list of variants, or a ladder of {at, text}."),
        "intensity": _ref("number", "0 to 1: level (amplitude gain) and place on the ladder."),
        "level": _ref("number", "Decibels on top; in a state it replaces the layer's."),
        "mute": {"type": "boolean", "description": "Makes no sound by itself."},
        "width": _ref("number", "Stereo width, 0 to 1."),
        "like": _told(_TEXT, "An audio file to resemble, from the scene's folder; beside a prompt or instead of one."),
        "steps": {"type": "integer", "minimum": 1, "maximum": 200, "description": "Denoising steps."},
        "guidance": {"type": "number", "minimum": 0, "maximum": 30, "description": "Prompt strength."},
        "family": {"enum": ["geo", "bio", "anthro"], "description": "Krause: earth, living things, people."},
        "role": {
            "enum": ["keynote", "signal", "soundmark"],
            "description": "Schafer: background, foreground, landmark.",
        },
        "scatter": {"$ref": "#/definitions/scatter"},
    }


def _own_fields() -> dict[str, Schema]:
    """What a state cannot change about a layer."""
    return {"model": _told(_TEXT, "Model for this layer: a name, or a checkpoint folder, from the scene's folder.")}


def _either_pair(unit: str, number: bool = True) -> Schema:
    """One value, or a range of two."""
    one: Schema = {"$ref": "#/definitions/number"} if number else _DURATION
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 2, "maxItems": 2}], "description": unit}


def _definitions() -> dict[str, Schema]:
    return {
        "number": {
            "anyOf": [
                {"type": "number"},
                _part(
                    "Driven by a parameter along a curve: linear between points, held outside.",
                    {
                        "by": _told(_NAME, "The parameter."),
                        "curve": {
                            "type": "array",
                            "items": _PAIR,
                            "minItems": 2,
                            "description": "Points [in, out], rising from left to right.",
                        },
                    },
                    ("by", "curve"),
                ),
            ]
        },
        "prompt": {
            "anyOf": [
                _TEXT,
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "anyOf": [
                            _TEXT,
                            _part(
                                "A step of the ladder: neighbours are mixed as meanings.",
                                {"at": {"type": "number", "description": "Intensity."}, "text": _TEXT},
                                ("text",),
                            ),
                        ]
                    },
                },
            ]
        },
        "scatter": _part(
            "Single events instead of a bed. Give `every` or `rate`.",
            {
                "every": _either_pair("Interval, or a range of them.", number=False),
                "rate": _ref("number", "Events a minute, at random moments (Poisson)."),
                "most": {"type": "integer", "minimum": 1, "maximum": 32, "description": "At once. Default 4."},
                "distance": _either_pair("Metres: level, air absorption, delay."),
                "azimuth": _either_pair("Degrees, 0 ahead, positive right."),
                "gain": _either_pair("Decibels."),
                "bank": {"type": "integer", "minimum": 1, "maximum": 32, "description": "Clips kept ready. Default 4."},
            },
        ),
        "layer": {
            "anyOf": [
                _TEXT,
                {"type": "array", "minItems": 1},
                _part("One sound of the environment.", _layer_fields() | _own_fields())
                | {"anyOf": [{"required": ["prompt"]}, {"required": ["like"]}]},
            ]
        },
        "override": {
            "anyOf": [_TEXT, {"type": "null"}, _part("What the state changes about a layer.", _layer_fields())]
        },
        "param": {
            "anyOf": [
                _told(_TEXT, "A source, as `from`."),
                {"type": "null"},
                _part(
                    "A quantity that drives layers and conditions.",
                    {
                        "from": _told(
                            _TEXT,
                            "Its source.",
                            examples=["sun.elevation", "time.hour", "weather.rain", "mqtt:home/wind"],
                        ),
                        "range": _told(_PAIR, "Clamps, [0, 1] by default."),
                        "start": {"type": "number", "description": "Value at the beginning."},
                        "smooth": {
                            "anyOf": [_DURATION, {"type": "array", "items": _DURATION, "minItems": 2, "maxItems": 2}],
                            "description": "Time to rise and fall.",
                        },
                        "wander": {
                            "anyOf": [
                                {"type": "number", "minimum": 0},
                                _part(
                                    "Slow bounded noise.",
                                    {"depth": {"type": "number", "minimum": 0}, "period": _DURATION},
                                    ("depth",),
                                ),
                            ],
                            "description": "Slow bounded noise around the value, where no source speaks.",
                        },
                        "stale": _told(_DURATION, "Age at which a source counts as silent."),
                    },
                ),
            ]
        },
        "event": {
            "anyOf": [
                {"type": "null"},
                _part(
                    "Something that may be fired from outside.",
                    {
                        "set": {
                            "type": "object",
                            "additionalProperties": {"type": "number"},
                            "description": "Parameters.",
                        },
                        "hold": _told(_DURATION, "How long; by default until set again."),
                        "fire": _told(_NAME, "Plays one sound of this layer, even if it is muted."),
                    },
                ),
            ]
        },
        "transition": _part(
            "One way on. All given keys must hold; the first match wins.",
            {
                "to": _told(_NAME, "A state, or `previous`."),
                "when": _told(_TEXT, "A condition over parameters.", examples=["rain > 0.35 and wind < 0.7"]),
                "for": _told(_DURATION, "How long the condition must hold."),
                "after": _either_pair("Time in the state, or a range.", number=False),
                "at": _told(_CLOCK, "Scene time."),
                "event": _told(_NAME, "A fired event."),
                "chance": {"type": "number", "minimum": 0, "maximum": 1, "description": "Rolled when the rest holds."},
                "over": _told(_DURATION, "Length of the blend; 45s by default."),
                "through": _told(_NAME, "One sound of a scatter layer on the way."),
            },
            ("to",),
        ),
        "state": {
            "anyOf": [
                _told(_TEXT, "Its prompt, as one bed."),
                {"type": "null"},
                _part(
                    "A phase of the environment.",
                    {
                        "setting": {"type": "string", "description": "Joins the prompts."},
                        "layers": _map("What changes about layers.", {"$ref": "#/definitions/override"}),
                        "stay": _told(_DURATION, "Least time; by default the incoming blend's length."),
                        "warm": {"type": "boolean", "description": "Keep its layers ready, to be heard at once."},
                        "transitions": {"type": ["array", "null"], "items": {"$ref": "#/definitions/transition"}},
                    },
                ),
            ]
        },
    }


def scene_schema() -> Schema:
    """JSON Schema, draft 7, of a scene file as people write it."""
    scene = _part(
        "A scene of Ambient: an environment that evolves.",
        {
            "scene": {"const": 1, "description": "Format version."},
            "seed": {"type": "integer", "minimum": 0, "description": "Seed of every random choice."},
            "loudness": {"type": "number", "minimum": -60, "maximum": -5, "description": "LUFS; -24 by default."},
            "setting": {"type": "string", "description": "Joins every bed's prompt, before the state's."},
            "avoid": {"type": "string", "description": "What to keep away from."},
            "start": _told(_NAME, "First state; else the first listed."),
            "model": _told(_TEXT, "A model's name, or a checkpoint folder, from the scene's folder."),
            "steps": {"type": "integer", "minimum": 1, "maximum": 200, "description": "Denoising steps."},
            "guidance": {"type": "number", "minimum": 0, "maximum": 30, "description": "Prompt strength."},
            "place": _part(
                "Where on Earth: enables sun.elevation.",
                {
                    "lat": {"type": "number", "minimum": -90, "maximum": 90},
                    "lon": {"type": "number", "minimum": -180, "maximum": 180},
                    "tz": {"type": "string", "description": "Time zone.", "examples": ["Europe/Amsterdam"]},
                },
                ("lat", "lon"),
            ),
            "clock": _part(
                "Scene time. Live: now, where nothing is said; rendered: 21 June, noon.",
                {
                    "date": {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
                    "start": _CLOCK,
                    "speed": {"type": "number", "minimum": 0, "maximum": 100_000, "description": "1 is real time."},
                },
            ),
            "params": _map("Quantities that drive layers and conditions.", {"$ref": "#/definitions/param"}),
            "events": _map("Names that may be fired from outside.", {"$ref": "#/definitions/event"}),
            "layers": _map("The sounds.", {"$ref": "#/definitions/layer"}),
            "states": _map("The phases.", {"$ref": "#/definitions/state"}) | {"type": "object", "minProperties": 1},
            "transitions": {
                "type": ["array", "null"],
                "items": {"$ref": "#/definitions/transition"},
                "description": "Ways that may be taken from anywhere, looked at last.",
            },
        },
        ("scene", "states"),
    )
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Ambient scene"}
    return head | scene | {"definitions": _definitions()}
