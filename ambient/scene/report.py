"""A scene as tables: what it is made of, where its transitions lead, and what would happen in a day."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ambient.messages import RATE, frames
from ambient.scene.machine import Machine
from ambient.scene.model import Scene

__all__ = ["Inputs", "TransitionRow", "describe", "simulate", "transition_table"]


class TransitionRow(NamedTuple):
    """One transition as the machine takes it."""

    origin: str
    """``*`` from anywhere."""
    to: str
    why: str
    over_seconds: float


def transition_table(scene: Scene) -> list[TransitionRow]:
    """All transitions, in the order in which they are checked."""

    def rows() -> Iterator[TransitionRow]:
        for name, state in scene.states.items():
            for t in state.transitions:
                yield TransitionRow(name, t.to, t.why(), t.over)
        for t in scene.transitions:
            yield TransitionRow("*", t.to, t.why(), t.over)

    return list(rows())


def describe(scene: Scene) -> dict[str, Any]:
    """What does not change while the scene stays, JSON-ready (see ``StreamControl.describe``)."""
    return {
        "scene": scene.name,
        "setting": scene.setting,
        "states": list(scene.states),
        "start": scene.first,
        "transitions": [{"from": r.origin, "to": r.to, "why": r.why} for r in transition_table(scene)],
        "params": [
            {
                "name": name,
                "low": p.range[0],
                "high": p.range[1],
                "start": p.initial,
                "source": p.source,
            }
            for name, p in scene.params.items()
        ],
        "events": list(scene.events),
        "layers": list(scene.layers),
    }


Inputs = Callable[[datetime], Mapping[str, float]]
"""Scene time → what inputs say then, such as ``{"weather.wind": 0.4}``."""


def simulate(scene: Scene, hours: float, seed: int | None = None, inputs: Inputs | None = None) -> dict[str, Any]:
    """The timeline without sound, JSON-ready: ``transitions`` (rows of at_seconds, from, to, why), and the share of
    time spent in each state (``states``) and with each layer audible (``layers``)."""
    machine = Machine(scene, seed=seed)
    end = frames(hours * 3600)
    rows: list[dict[str, Any]] = []
    states = dict.fromkeys(scene.states, 0)
    layers = dict.fromkeys(scene.layers, 0)
    looks = 0
    for second, frame in enumerate(range(0, end, RATE)):
        for event in machine.advance(frame):
            if event.kind == "transition":
                row = {"at_seconds": round(event.frame / RATE, 3)}
                rows.append(row | {k: event.detail[k] for k in ("from", "to", "why")})
        for source, value in inputs(machine.scene_time(frame)).items() if inputs else ():
            machine.feed(source, value)
        states[machine.state] += 1
        if second % 10 == 0:
            looks += 1
            for layer in machine.look().layers:
                layers[layer.name] += not layer.muted and layer.gain > 1e-4
    seconds = max(1, sum(states.values()))
    return {
        "hours": hours,
        "seed": machine.seed,
        "transitions": rows,
        "states": {k: round(v / seconds, 4) for k, v in states.items()},
        "layers": {k: round(v / max(1, looks), 4) for k, v in layers.items()},
    }
