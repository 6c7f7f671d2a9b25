"""The schema that editors use: it takes every scene that the loader takes, knows every key, and refuses wrong ones."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from ambient.scene import bundled_scenes, find_scene, model, scene_schema
from ambient.scene.source import read_source

SCHEMA = scene_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def plain(text: str) -> Any:
    """A scene's plain data, as YAML 1.2 has it."""
    return read_source("scene.yaml", text.encode()).data


def test_it_is_a_draft_7_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("name", bundled_scenes())
def test_every_bundled_scene_is_valid(name: str) -> None:
    VALIDATOR.validate(plain(find_scene(name).read_text("utf-8")))


@pytest.mark.parametrize(
    "layer", ["{like: rain.wav}", "{prompt: rain, like: rain.wav}", "{prompt: rain, model: ./mine, steps: 4}"]
)
def test_layers_may_be_like_recordings_and_come_from_models_of_their_own(layer: str) -> None:
    VALIDATOR.validate(plain(f"scene: 1\nlayers: {{a: {layer}}}\nstates: {{day: {{}}}}"))


def _parts(schema: Any) -> list[dict[str, Any]]:
    """The object forms within a schema's alternatives."""
    if "properties" in schema:
        return [schema]
    return [part for one in schema.get("anyOf", []) for part in _parts(one)]


@pytest.mark.parametrize(
    ("definition", "part"),
    [
        ("number", model.Number),
        ("scatter", model.Scatter),
        ("layer", model.Layer),
        ("override", model.LayerOverride),
        ("param", model.Param),
        ("event", model.Event),
        ("transition", model.Transition),
        ("state", model.State),
        (None, model.Scene),
    ],
)
def test_keys_are_those_of_the_model_and_each_is_described(definition: str | None, part: type[model.Part]) -> None:
    (schema,) = _parts(SCHEMA if definition is None else SCHEMA["definitions"][definition])
    keys = {field.alias or name for name, field in part.model_fields.items() if not field.exclude}
    assert set(schema["properties"]) == keys - {"value"}  # `value` is what a plain number becomes
    assert schema["additionalProperties"] is False and schema["description"]


@pytest.mark.parametrize(
    "scene",
    [
        "states: {a: rain}",
        "scene: 2\nstates: {a: rain}",
        "scene: 1",
        "scene: 1\nstates: {}",
        "scene: 1\nstatez: {}\nstates: {a: rain}",
        "scene: 1\nstates: {a: {stay: 90}}",
        "scene: 1\nstates: {a: {transitions: [{after: 5m}]}}",
        "scene: 1\nlayers: {a: {mute: true}}\nstates: {a: x}",
        "scene: 1\nlayers: {a: {prompt: x, intensity: {by: wind}}}\nstates: {a: x}",
        "scene: 1\nlayers: {a: {prompt: x, role: hero}}\nstates: {a: x}",
        "scene: 1\nlayers: {a: x}\nstates: {s: {layers: {a: {model: other}}}}",
    ],
)
def test_wrong_scenes_are_refused(scene: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(plain(scene))
