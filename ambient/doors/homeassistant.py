"""What Home Assistant is told of a stream by MQTT discovery: a device with sliders, buttons, a choice and a text field.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ambient import __version__
from ambient.doors.hand import slug

__all__ = ["PREFIX", "discovery", "node_of", "step_of"]

PREFIX = "homeassistant"
LONGEST_TEXT = 200


def node_of(base: str, stream: str) -> str:
    """How a stream's device is called in topics and ids."""
    return slug(f"{base}_{stream}").replace(".", "_")


def step_of(param: Mapping[str, Any]) -> float:
    """How finely a parameter is set and told."""
    return max((float(param["high"]) - float(param["low"])) / 200, 0.001)


def discovery(base: str, stream: str, scene: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Discovery topic → its document, for one stream.

    ``base`` is the root of the topics, ``scene`` what ``StreamControl.describe`` tells.
    """
    node = node_of(base, stream)
    root = f"{base}/{slug(stream)}"
    device = {
        "identifiers": [node],
        "name": stream.replace("_", " ").capitalize(),
        "manufacturer": "Ambient",
        "model": "soundscape",
        "sw_version": __version__,
    }
    common = {
        "availability_topic": f"{base}/status",
        "device": device,
        "origin": {"name": "Ambient", "sw_version": __version__},
    }
    entities: dict[str, dict[str, Any]] = {}

    def add(component: str, key: str, name: str, document: Mapping[str, Any]) -> None:
        key = slug(key).replace(".", "_")
        while f"{PREFIX}/{component}/{node}/{key}/config" in entities:
            key += "_"
        unique = {"name": name, "unique_id": f"{node}_{key}"}
        entities[f"{PREFIX}/{component}/{node}/{key}/config"] = {**unique, **document, **common}

    for param in scene["params"]:
        low, high = float(param["low"]), float(param["high"])
        topic = f"{root}/params/{slug(param['name'])}"
        add(
            "number",
            f"param_{param['name']}",
            _words(param["name"]),
            {
                "state_topic": topic,
                "command_topic": f"{topic}/set",
                "min": low,
                "max": high,
                "step": step_of(param),
                "mode": "slider",
                "icon": "mdi:tune-variant",
            },
        )
    for event in scene["events"]:
        document = {"command_topic": f"{root}/fire", "payload_press": event, "icon": "mdi:creation"}
        add("button", f"event_{event}", _words(event), document)
    state = {"state_topic": f"{root}/state", "command_topic": f"{root}/state/set", "options": list(scene["states"])}
    add("select", "state", "State", {**state, "icon": "mdi:map-marker-path"})
    text = {"command_topic": f"{root}/ask", "max": LONGEST_TEXT, "icon": "mdi:message-text"}
    add("text", "ask", "Sound in words", {**text, "state_topic": f"{root}/asked"})
    ahead = {"state_topic": f"{root}/seconds_ahead", "unit_of_measurement": "s", "device_class": "duration"}
    add(
        "sensor",
        "seconds_ahead",
        "Ready ahead",
        {**ahead, "state_class": "measurement", "entity_category": "diagnostic"},
    )
    return entities


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", " ").capitalize()
