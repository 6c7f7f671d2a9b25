"""What would run, but hardly as meant: parts that do nothing, states that flap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ambient.scene.conditions import Condition
from ambient.scene.model import Layer, LayerOverride, Scene, Transition
from ambient.scene.source import Path, Source

__all__ = ["check_use"]


def check_use(scene: Scene, source: Source, conditions: Mapping[Path, Condition]) -> None:
    """Adds warnings to the source's list; ``conditions`` are those that `check_names` read."""
    for name, param in scene.params.items():
        origin = param.source
        if origin is None and param.stale is not None:
            source.warning(("params", name, "stale"), "`stale` is the age of an input", "give `from` too")
        for key in ("wander", "stale"):
            if origin is not None and origin.startswith(("sun.", "time.")) and getattr(param, key) is not None:
                source.warning(("params", name, key), f"{origin} always speaks: `{key}` does nothing", "drop it")
    _flapping(scene, source, conditions)
    if not any(problem.severity == "error" for problem in source.problems):  # a wrong name leaves the right one idle
        _idle(scene, source, conditions.values())


def _transitions(scene: Scene) -> Iterable[tuple[Path, Transition]]:
    for name, state in scene.states.items():
        for i, transition in enumerate(state.transitions):
            yield ("states", name, "transitions", i), transition
    for i, transition in enumerate(scene.transitions):
        yield ("transitions", i), transition


def _flapping(scene: Scene, source: Source, conditions: Mapping[Path, Condition]) -> None:
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
