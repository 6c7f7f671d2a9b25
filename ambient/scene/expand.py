"""Shorthands to the one shape that the model has, with the positions of what they stand for."""

from __future__ import annotations

from typing import Any

from ambient.scene.source import Source

__all__ = ["ALONE", "expand"]

ALONE = "(the recording alone)"
"""Stands for the prompt of a layer that is only `like` a recording."""

_NUMBERS = ("intensity", "level", "width")
_CYCLE_AFTER = ["5m", "10m"]
_RANGES = {"sun.elevation": [-90, 90], "time.hour": [0, 24]}
"""What these inputs say; all others go from 0 to 1 where no range is given."""


def expand(source: Source) -> dict[str, Any] | None:
    """A copy of the data in full form; None where it is no mapping. Wrong shapes are left for the model to refuse."""
    data = source.data
    if not isinstance(data, dict):
        source.error((), "a scene is a mapping", "begin with `scene: 1`")
        return None
    out = dict(data)
    for name in ("params", "events", "layers", "states"):
        if out.get(name) is None:
            out.pop(name, None)
    layers = dict(out["layers"]) if isinstance(out.get("layers"), dict) else {}
    states = dict(out["states"]) if isinstance(out.get("states"), dict) else {}
    if isinstance(out.get("params"), dict):
        out["params"] = {k: _param(v) for k, v in out["params"].items()}
    if isinstance(out.get("events"), dict):
        out["events"] = {k: {} if v is None else v for k, v in out["events"].items()}
    for name, layer in layers.items():
        if isinstance(layer, str | list):
            source.moved["layers", name, "prompt"] = ("layers", name)
            layer = {"prompt": layer}
        layers[name] = _layer(layer)
        if isinstance(layers[name], dict) and "like" in layers[name] and "prompt" not in layers[name]:
            layers[name]["prompt"] = [{"text": ALONE}]
    beds: list[tuple[str, str]] = []
    for name, state in states.items():
        if isinstance(state, str):
            # a state that is a text is one bed layer named after it, heard in that state alone
            beds.append((name, state))
            states[name] = {"layers": {name: {"mute": False}}}
            source.moved["layers", name] = source.moved["layers", name, "prompt"] = ("states", name)
        elif state is None:
            states[name] = {}
        elif isinstance(state, dict):
            states[name] = _state(state)
    for name, prompt in beds:
        if name in layers:
            source.error(("states", name), f"a layer is called {name!r} already", "rename the layer or the state")
            continue
        layers[name] = _layer({"prompt": prompt, "mute": True})
    if layers:
        out["layers"] = layers
    if "states" in out and isinstance(out["states"], dict):
        out["states"] = states
    if isinstance(out.get("transitions"), list):
        out["transitions"] = [_transition(t) for t in out["transitions"]]
    named = isinstance(out.get("transitions"), list) and bool(out["transitions"])
    named = named or any(isinstance(s, dict) and s.get("transitions") for s in states.values())
    if not named and len(states) > 1:
        order = list(states)
        for here, there in zip(order, [*order[1:], order[0]], strict=True):
            if isinstance(states[here], dict):
                states[here] = {**states[here], "transitions": [{"to": there, "after": _CYCLE_AFTER}]}
    return out


def _param(value: Any) -> Any:
    if value is None:
        return {}
    if isinstance(value, str):
        value = {"from": value}
    if not isinstance(value, dict):
        return value
    out = dict(value)
    source = out.get("from")
    if "range" not in out and isinstance(source, str) and source in _RANGES:
        out["range"] = _RANGES[source]
    if "smooth" in out and not isinstance(out["smooth"], list):
        out["smooth"] = [out["smooth"]] * 2
    if "wander" in out and isinstance(out["wander"], int | float) and not isinstance(out["wander"], bool):
        out["wander"] = {"depth": out["wander"]}
    return out


def _number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"value": value}
    return value


def _pair(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value, value]


def _layer(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    out = {k: v for k, v in value.items() if v is not None}
    for name in _NUMBERS:
        if name in out:
            out[name] = _number(out[name])
    if "prompt" in out:
        prompts = out["prompt"] if isinstance(out["prompt"], list) else [out["prompt"]]
        out["prompt"] = [{"text": p} if isinstance(p, str) else p for p in prompts]
    if isinstance(out.get("scatter"), dict):
        scatter = dict(out["scatter"])
        if "every" in scatter:
            scatter["every"] = _pair(scatter["every"])
        for name in ("distance", "azimuth", "gain"):
            if name in scatter:
                pair = _pair(scatter[name])
                scatter[name] = [_number(end) for end in pair] if isinstance(pair, list) else pair
        if "rate" in scatter:
            scatter["rate"] = _number(scatter["rate"])
        out["scatter"] = scatter
    return out


def _state(value: dict[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in value.items() if v is not None}
    if isinstance(out.get("layers"), dict):
        out["layers"] = {
            k: _layer({"prompt": v} if isinstance(v, str) else {} if v is None else v) for k, v in out["layers"].items()
        }
    if isinstance(out.get("transitions"), list):
        out["transitions"] = [_transition(t) for t in out["transitions"]]
    return out


def _transition(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    out = dict(value)
    if "after" in out:
        out["after"] = _pair(out["after"])
    return out
