"""What a scene's parts say of each other: names that lead nowhere, ways in and out, conditions that never hold.

Read from the plain data in full form, before it has to be valid: whatever else is wrong with a file, a wrong name is
reported along with it.
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

from ambient.scene.conditions import Condition, ConditionError, Span, parse_condition
from ambient.scene.source import Path, Source

__all__ = ["check_names"]

SOURCES = (
    "sun.elevation",
    "time.hour",
    "weather.rain",
    "weather.wind",
    "weather.cloud",
    "weather.temperature",
)
"""What a parameter may come from, beside ``mqtt:TOPIC`` and ``osc:/ADDRESS``."""
_DOORS = re.compile(r"mqtt:[^#+\0]+(#[^#+\0]+)?|osc:/[^\s#*,?\[\]{}]+")


def check_names(data: dict[str, Any], source: Source) -> dict[Path, Condition]:
    """Adds every problem with names to the source's list; gives the conditions that can be read, by path."""
    params, events, layers = (_named(data.get(key, {})) for key in ("params", "events", "layers"))
    states = _named(data.get("states"))
    for name, layer in layers.items():
        _layer(layer, ("layers", name), params, source)
        rungs = _mapping(layer).get("prompt")
        if _scattered(layer) and isinstance(rungs, list) and any("at" in _mapping(rung) for rung in rungs):
            source.error(("layers", name, "prompt"), "a scatter layer has variants, not a ladder", "drop `at`")
    start = data.get("start")
    if isinstance(start, str) and start not in states:
        _unknown(source, ("start",), "state", start, states)
    for name, state in states.items():
        for layer_name, override in _mapping(_mapping(state).get("layers")).items():
            where: Path = ("states", name, "layers", layer_name)
            if layer_name not in layers:
                _unknown(source, where, "layer", layer_name, layers, key=True)
            elif _scattered(override) and not _scattered(layers.get(layer_name, _ANY)):
                advice = "give the layer `scatter`, or the state a layer of its own"
                source.error((*where, "scatter"), "a bed layer cannot become one of single events in a state", advice)
            _layer(override, where, params, source)
    for name, param in params.items():
        _param(name, _mapping(param), data, source)
    for name, event in events.items():
        _event(("events", name), _mapping(event), params, layers, source)
    if "previous" in [*states]:
        source.error(("states", "previous"), "`previous` means the state that was left last", "rename it", key=True)
    for path, way in _ways(data):
        to, event = way.get("to"), way.get("event")
        if isinstance(to, str) and to not in states and to != "previous":
            _unknown(source, (*path, "to"), "state", to, [*states, "previous"])
        if isinstance(event, str) and event not in events:
            _unknown(source, (*path, "event"), "event", event, events)
        _one_shot((*path, "through"), way.get("through"), layers, source)
        if all(way.get(key) is None for key in ("when", "after", "at", "event")):
            source.error(path, "nothing triggers this transition", "give `when`, `after`, `at` or `event`")
        if way.get("for") is not None and way.get("when") is None:
            source.error(path, "`for` says how long a condition must hold", "give `when` too")
    _reached(data, states, source)
    return _conditions(data, params, source)


class _Unread(dict[str, Any]):
    """What a part holds that cannot be read: any name may be among it."""

    def __contains__(self, name: object) -> bool:
        return True


_ANY = {"scatter": "of any kind", "range": "from anywhere to anywhere"}
"""Stands for a layer or parameter of such a part."""


def _named(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else _Unread()


def _scattered(layer: Any) -> bool:
    """Whether a layer is one of single events."""
    return _mapping(layer).get("scatter") is not None


def _param(name: str, param: dict[str, Any], data: dict[str, Any], source: Source) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):
        source.error(("params", name), f"{name!r} cannot stand in a condition", "use letters, digits and _", key=True)
    start, span = param.get("start"), _range(param)
    if span is not None and _number(start) and not span[0] <= start <= span[1]:
        what = f"start {start:g} lies outside the range {span[0]:g} to {span[1]:g}"
        source.error(("params", name, "start"), what, "write a number within it, or widen `range`")
    origin, path = param.get("from"), ("params", name, "from")
    if not isinstance(origin, str):
        return
    if origin not in SOURCES and not _DOORS.fullmatch(origin):
        near = difflib.get_close_matches(origin, SOURCES, 1)
        forms = "mqtt:TOPIC, mqtt:TOPIC#KEY or osc:/ADDRESS, without wildcards"
        advice = f"did you mean {near[0]!r}?" if near else f"{', '.join(SOURCES)}, {forms}"
        source.error(path, f"{origin!r} is no input", forms if origin.startswith(("mqtt:", "osc:")) else advice)
    elif origin.startswith("sun.") and data.get("place") is None:
        source.error(path, "the sun needs a place", "add `place: {lat: 52.1, lon: 5.7, tz: Europe/Amsterdam}`")


def _event(path: Path, event: dict[str, Any], params: dict[str, Any], layers: dict[str, Any], source: Source) -> None:
    written = _mapping(event.get("set"))
    for param, value in written.items():
        span = _range(params.get(param, _ANY))
        if param not in params:
            _unknown(source, (*path, "set", param), "parameter", param, params, key=True)
        elif span is not None and _number(value) and not span[0] <= value <= span[1]:
            what = f"{value:g} lies outside the range of {param}"
            source.error((*path, "set", param), what, f"it goes from {span[0]:g} to {span[1]:g}")
    if event.get("hold") is not None and not event.get("set"):
        source.error((*path, "hold"), "`hold` says how long what is set stays", "give `set` too")
    _one_shot((*path, "fire"), event.get("fire"), layers, source)


def _one_shot(path: Path, layer: Any, layers: dict[str, Any], source: Source) -> None:
    """A place that names a layer of single events."""
    if not isinstance(layer, str):
        return
    if layer not in layers:
        _unknown(source, path, "layer", layer, layers)
    elif not _scattered(layers.get(layer, _ANY)):
        source.error(path, f"layer {layer!r} is a bed, not one of single events", "give it `scatter`, or name another")


def _layer(layer: Any, path: Path, params: dict[str, Any], source: Source) -> None:
    layer = _mapping(layer)
    scatter = _mapping(layer.get("scatter"))
    clocks = sum(scatter.get(key) is not None for key in ("every", "rate"))
    if clocks == 2 or (clocks == 0 and path[0] == "layers" and isinstance(layer.get("scatter"), dict)):
        advice = "give either `every` (an interval) or `rate` (per minute)"
        source.error((*path, "scatter"), "two clocks for one scatter" if clocks else "a scatter needs a clock", advice)
    found = [((*path, key), layer.get(key)) for key in ("intensity", "level", "width")]
    for key in ("distance", "azimuth", "gain", "rate"):
        ends = scatter.get(key)
        found += [((*path, "scatter", key), end) for end in (ends if isinstance(ends, list) else [ends])]
    for place, number in found:
        by = _mapping(number).get("by")
        if isinstance(by, str) and by not in params:
            _unknown(source, (*place, "by"), "parameter", by, params)


def _conditions(data: dict[str, Any], params: dict[str, Any], source: Source) -> dict[Path, Condition]:
    ranges = {name: _range(param) for name, param in params.items()}
    found: dict[Path, Condition] = {}
    for path, way in _ways(data):
        where, text = (*path, "when"), way.get("when")
        if not isinstance(text, str):
            continue
        try:
            condition = parse_condition(text)
        except ConditionError as error:
            source.error(where, error.message, error.advice, offset=error.offset)
            continue
        missing = [name for name in condition.names if name not in params]
        for name in missing:
            _unknown(source, where, "parameter", name, params, offset=condition.names[name])
        spans = {name: span for name in condition.names if (span := ranges.get(name)) is not None}
        if missing:
            continue
        found[path] = condition
        if len(spans) < len(condition.names):
            continue
        can, fails = condition.possible(spans)
        advice = f"the ranges are: {', '.join(f'{n} {low:g} to {high:g}' for n, (low, high) in spans.items())}"
        if not can:
            source.error(where, f"{text!r} can never hold", advice)
        elif not fails:
            source.warning(where, f"{text!r} always holds", advice)
    return found


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(param: Any) -> Span | None:
    """The range of a parameter; None where it is none."""
    pair = _mapping(param).get("range", [0, 1])
    if not isinstance(pair, list) or len(pair) != 2 or not all(map(_number, pair)) or pair[0] > pair[1]:
        return None
    return float(pair[0]), float(pair[1])


def _reached(data: dict[str, Any], states: dict[str, Any], source: Source) -> None:
    """States that cannot be reached, and states that cannot be left."""
    ways: dict[str, list[Any]] = {name: [] for name in states}
    anywhere: list[Any] = []
    for path, way in _ways(data):
        (ways[str(path[1])] if path[0] == "states" else anywhere).append(way.get("to"))
    every = [*anywhere, *(to for leading in ways.values() for to in leading)]
    if not states or any(not isinstance(to, str) or (to not in states and to != "previous") for to in every):
        return  # where a way leads nowhere, the state that it was to lead to is not to blame
    first = data.get("start")
    reached, waiting = set(), [first if isinstance(first, str) and first in states else next(iter(states))]
    while waiting:
        here = waiting.pop()
        if here not in reached and here in states:
            reached.add(here)
            waiting += ways[here] + anywhere
    for name in states:
        if name not in reached:
            source.warning(("states", name), f"no transition leads to state {name!r}", "add one, or drop it", key=True)
        if len(states) > 1 and all(to == name for to in (*ways[name], *anywhere)):
            source.warning(("states", name), f"state {name!r} is never left", "give it `transitions`", key=True)


def _ways(data: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The transitions with their paths."""
    places: list[tuple[Path, Any]] = [
        (("states", name, "transitions"), _mapping(state).get("transitions"))
        for name, state in _mapping(data.get("states")).items()
    ]
    for path, ways in [*places, (("transitions",), data.get("transitions"))]:
        for i, way in enumerate(ways if isinstance(ways, list) else []):
            if isinstance(way, dict):
                yield (*path, i), way


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _unknown(
    source: Source,
    path: Path,
    kind: str,
    name: str,
    names: Iterable[str],
    *,
    key: bool = False,
    offset: int | None = None,
) -> None:
    names = list(names)
    near = difflib.get_close_matches(name, names, 1, 0.6)
    listed = f"{kind}s: {', '.join(names)}" if names else f"the scene has no {kind}s"
    advice = f"did you mean {near[0]!r}?" if near else listed
    source.error(path, f"unknown {kind} {name!r}", advice, key=key, offset=offset)
