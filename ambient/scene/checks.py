"""What a scene means: names that lead nowhere, states without a way in or out, conditions that never hold."""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterable

from ambient.scene.conditions import Condition, ConditionError, parse_condition
from ambient.scene.model import Layer, LayerOverride, Scene, Transition
from ambient.scene.source import Path, Source
from ambient.scene.values import Number

__all__ = ["SOURCES", "check_meaning"]

WEATHER = ("weather.rain", "weather.wind", "weather.cloud", "weather.temperature")
SOURCES = ("sun.elevation", "time.hour", *WEATHER)
"""What a parameter may come from, beside ``mqtt:TOPIC`` and ``osc:/ADDRESS``."""
_DOORS = re.compile(r"mqtt:[^#+\0]+(#[^#+\0]+)?|osc:/[^\s#*,?\[\]{}]+")


def check_meaning(scene: Scene, source: Source) -> None:
    """Adds every problem of meaning to the source's list."""
    _params(scene, source)
    _events(scene, source)
    for name, layer in scene.layers.items():
        _numbers(layer, ("layers", name), scene, source)
        if layer.scatter is not None and any(r.at is not None for r in layer.prompt):
            source.error(("layers", name, "prompt"), "a scatter layer has variants, not a ladder", "drop `at`")
    if scene.start is not None and scene.start not in scene.states:
        _unknown(source, ("start",), "state", scene.start, scene.states)
    conditions: dict[Path, Condition] = {}
    for path, transition in _transitions(scene):
        _transition(transition, path, scene, source, conditions)
    for name, state in scene.states.items():
        for layer_name, override in state.layers.items():
            where: Path = ("states", name, "layers", layer_name)
            if layer_name not in scene.layers:
                _unknown(source, where, "layer", layer_name, scene.layers, key=True)
            _numbers(override, where, scene, source)
            if override.scatter is not None and scene.layers.get(layer_name) is not None:
                if scene.layers[layer_name].scatter is None:
                    source.error((*where, "scatter"), "a bed layer cannot become one of single events in a state")
    if "previous" in scene.states:
        source.error(("states", "previous"), "`previous` means the state that was left last", "rename it", key=True)
    _ways(scene, source)
    _flapping(scene, source, conditions)
    if not any(problem.severity == "error" for problem in source.problems):  # a wrong name leaves the right one idle
        _idle(scene, source, conditions.values())


def _params(scene: Scene, source: Source) -> None:
    for name, param in scene.params.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            source.error(
                ("params", name), f"{name!r} cannot stand in a condition", "use letters, digits and _", key=True
            )
        origin = param.source
        if origin is None:
            if param.stale is not None:
                source.warning(("params", name, "stale"), "`stale` is the age of an input", "give `from` too")
            continue
        path: Path = ("params", name, "from")
        if origin not in SOURCES and not _DOORS.fullmatch(origin):
            near = difflib.get_close_matches(origin, SOURCES, 1)
            forms = "mqtt:TOPIC, mqtt:TOPIC#KEY or osc:/ADDRESS, without wildcards"
            advice = f"did you mean {near[0]!r}?" if near else f"{', '.join(SOURCES)}, {forms}"
            source.error(path, f"{origin!r} is no input", forms if origin.startswith(("mqtt:", "osc:")) else advice)
        elif origin.startswith("sun.") and scene.place is None:
            source.error(path, "the sun needs a place", "add `place: {lat: 52.1, lon: 5.7, tz: Europe/Amsterdam}`")
        elif origin.startswith(("sun.", "time.")) and (param.wander is not None or param.stale is not None):
            key = "wander" if param.wander is not None else "stale"
            source.warning(("params", name, key), f"{origin} always speaks: `{key}` does nothing", "drop it")


def _events(scene: Scene, source: Source) -> None:
    for name, event in scene.events.items():
        for param, value in event.set.items():
            path: Path = ("events", name, "set", param)
            if param not in scene.params:
                _unknown(source, path, "parameter", param, scene.params, key=True)
            elif not scene.params[param].range[0] <= value <= scene.params[param].range[1]:
                low, high = scene.params[param].range
                source.error(path, f"{value:g} lies outside the range of {param}", f"it goes from {low:g} to {high:g}")
        if event.hold is not None and not event.set:
            source.error(("events", name, "hold"), "`hold` says how long what is set stays", "give `set` too")
        if event.fire is not None:
            _one_shot(scene, source, ("events", name, "fire"), event.fire)


def _one_shot(scene: Scene, source: Source, path: Path, layer: str) -> None:
    if layer not in scene.layers:
        _unknown(source, path, "layer", layer, scene.layers)
    elif scene.layers[layer].scatter is None:
        source.error(path, f"layer {layer!r} is a bed, not one of single events", "give it `scatter`, or name another")


def _numbers(layer: LayerOverride | object, path: Path, scene: Scene, source: Source) -> None:
    for name in ("intensity", "level", "width"):
        number = getattr(layer, name, None)
        if isinstance(number, Number):
            _number(number, (*path, name), scene, source)
            low, high = number.span()
            if name in ("intensity", "width") and (low < 0 or high > 1):
                source.error((*path, name), f"{name} goes from 0 to 1, not {low:g} to {high:g}")
            if name == "level" and (low < -80 or high > 24):
                source.error((*path, name), "a level is in dB, from -80 to 24")
    scatter = getattr(layer, "scatter", None)
    for name in ("distance", "azimuth", "gain"):
        for end in getattr(scatter, name, ()):
            _number(end, (*path, "scatter", name), scene, source)
    if scatter is not None and scatter.rate is not None:
        _number(scatter.rate, (*path, "scatter", "rate"), scene, source)
        low, high = scatter.rate.span()
        if low < 0 or high > 600:
            source.error((*path, "scatter", "rate"), "a rate goes from 0 to 600 per minute")


def _number(number: Number, path: Path, scene: Scene, source: Source) -> None:
    if number.by is not None and number.by not in scene.params:
        _unknown(source, (*path, "by"), "parameter", number.by, scene.params)


def _transitions(scene: Scene) -> Iterable[tuple[Path, Transition]]:
    for name, state in scene.states.items():
        for i, transition in enumerate(state.transitions):
            yield ("states", name, "transitions", i), transition
    for i, transition in enumerate(scene.transitions):
        yield ("transitions", i), transition


def _transition(t: Transition, path: Path, scene: Scene, source: Source, conditions: dict[Path, Condition]) -> None:
    if t.to not in scene.states and t.to != "previous":
        _unknown(source, (*path, "to"), "state", t.to, [*scene.states, "previous"])
    if t.event is not None and t.event not in scene.events:
        _unknown(source, (*path, "event"), "event", t.event, scene.events)
    if t.through is not None:
        _one_shot(scene, source, (*path, "through"), t.through)
    if t.when is None:
        return
    where: Path = (*path, "when")
    try:
        condition = parse_condition(t.when)
    except ConditionError as error:
        source.error(where, error.message, error.advice, offset=error.offset)
        return
    missing = [n for n in condition.names if n not in scene.params]
    for name in missing:
        near = difflib.get_close_matches(name, list(scene.params), 1, 0.6)
        advice = f"did you mean {near[0]!r}?" if near else _listed("parameters", scene.params)
        source.error(where, f"unknown parameter {name!r}", advice, offset=condition.names[name])
    if not missing:
        conditions[path] = condition
        can, fails = condition.possible({n: (p.range[0], p.range[1]) for n, p in scene.params.items()})
        ranges = ", ".join(f"{n} {scene.params[n].range[0]:g} to {scene.params[n].range[1]:g}" for n in condition.names)
        if not can:
            source.error(where, f"{t.when!r} can never hold", f"the ranges are: {ranges}")
        elif not fails:
            source.warning(where, f"{t.when!r} always holds", f"the ranges are: {ranges}")


def _ways(scene: Scene, source: Source) -> None:
    """States that cannot be reached, and states that cannot be left."""
    anywhere = {t.to for t in scene.transitions}
    reached, waiting = set(), [scene.first if scene.first in scene.states else next(iter(scene.states))]
    while waiting:
        here = waiting.pop()
        if here in reached or here not in scene.states:
            continue
        reached.add(here)
        waiting += [t.to for t in scene.states[here].transitions] + list(anywhere)
    for name, state in scene.states.items():
        if name not in reached:
            source.warning(("states", name), f"no transition leads to state {name!r}", "add one, or drop it", key=True)
        leaving = [t for t in (*state.transitions, *scene.transitions) if t.to != name]
        if len(scene.states) > 1 and not leaving:
            source.warning(("states", name), f"state {name!r} is never left", "give it `transitions`", key=True)


def _flapping(scene: Scene, source: Source, conditions: dict[Path, Condition]) -> None:
    """Two states that hand over to each other at the very same threshold."""
    found: dict[tuple[str, str], tuple[Path, tuple[str, str, float]]] = {}
    for path, condition in conditions.items():
        if path[0] == "states" and condition.threshold is not None:
            transition = scene.states[str(path[1])].transitions[int(path[3])]
            if transition.hold is None and transition.after is None:
                found[str(path[1]), transition.to] = path, condition.threshold
    for (here, there), (path, (name, sign, number)) in found.items():
        back = found.get((there, here))
        if back is not None and here < there and back[1][0] == name and back[1][1] != sign:
            other = back[1][2]
            gap = number - other if sign == ">" else other - number
            if gap <= 0:
                low, high = sorted((number, other))
                place = f"is {low:g}" if low == high else f"is between {low:g} and {high:g}"
                source.warning(
                    (*path, "when"),
                    f"{here!r} and {there!r} hand over to each other where {name} {place}",
                    f"leave a gap: {name} > high one way, {name} < low the other",
                )


def _idle(scene: Scene, source: Source, conditions: Iterable[Condition]) -> None:
    """Parameters that nothing reads, events that do nothing, layers that are never heard."""
    read = {name for condition in conditions for name in condition.names}
    parts: list[Layer | LayerOverride] = [*scene.layers.values()]
    parts += [override for state in scene.states.values() for override in state.layers.values()]
    read |= {number.by for part in parts for number in part.numbers() if number.by is not None}
    for name in scene.params:
        if name not in read:
            advice = f"such as `intensity: {{by: {name}, curve: [[0, 0], [1, 1]]}}`"
            source.warning(("params", name), f"nothing reads parameter {name!r}", advice, key=True)
    ways = [transition for _, transition in _transitions(scene)]
    for name, event in scene.events.items():
        if not event.set and event.fire is None and all(t.event != name for t in ways):
            advice = "give it `set` or `fire`, or let a transition wait for it"
            source.warning(("events", name), f"event {name!r} does nothing", advice, key=True)
    fired = {event.fire for event in scene.events.values()} | {t.through for t in ways}
    for name, layer in scene.layers.items():
        mutes = [s.layers[name].mute if name in s.layers else None for s in scene.states.values()]
        if name not in fired and all(layer.mute if mute is None else mute for mute in mutes):
            source.warning(
                ("layers", name), f"layer {name!r} is never heard", "let a state say `mute: false`", key=True
            )


def _unknown(source: Source, path: Path, kind: str, name: str, names: Iterable[str], *, key: bool = False) -> None:
    names = list(names)
    near = difflib.get_close_matches(name, names, 1, 0.6)
    advice = f"did you mean {near[0]!r}?" if near else _listed(f"{kind}s", names)
    source.error(path, f"unknown {kind} {name!r}", advice, key=key)


def _listed(kind: str, names: Iterable[str]) -> str:
    return f"{kind}: {', '.join(names)}" if names else f"the scene has no {kind}"
