"""What comes in by a door, slowed to what a scene can use: the hand of many small knobs on the streams."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ambient.errors import ProtocolError, Refused
from ambient.ports import StreamControl
from ambient.sinks.allowance import Allowance
from ambient.sinks.steering import Limits, Steering

__all__ = ["FLUSH_SECONDS", "Hand", "named", "slug"]

log = logging.getLogger("ambient.doors")

FLUSH_SECONDS = 0.04
"""How often parameters are handed on: a fader sends hundreds of values a second."""
COMPLAINTS = (0.1, 5.0)
"""Log lines a second about what is not understood, and at once."""


def slug(name: str) -> str:
    """A name as OSC addresses and MQTT topics can hold it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def named(given: str, names: Iterable[str]) -> str | None:
    """Which of the names a person means by ``given``, as it is or as a slug; None for none."""
    names = list(names)
    if given in names:
        return given
    return next((name for name in names if slug(name) == given), None)


class Hand:
    """One door's hand on all streams. Never raises for what comes from outside: it complains to the log, seldom.

    Of a parameter only the latest value counts, handed on by ``flush``; events, states and texts have the limits of
    everybody who steers. Use from one thread. ``now`` gives seconds that never go back.
    """

    def __init__(self, streams: Mapping[str, StreamControl], door: str, now: Callable[[], float]) -> None:
        self._streams, self._door = streams, door
        limits = Limits(now)
        self._steering: dict[str, Steering] = {
            name: limits.steering(control, door, True) for name, control in streams.items()
        }
        self._complaints = Allowance(*COMPLAINTS, now)
        self._waiting: dict[str, dict[str, float | None]] = {}
        self._inputs: dict[str, float] = {}

    def set_param(self, stream: str, name: str, value: float | None) -> None:
        """Takes a value, or None, which gives the parameter back; it is handed on with the next ``flush``."""
        control = self._streams[stream]
        known = named(name, (p["name"] for p in control.describe()["params"]))
        if known is None:
            self._refuse(f"{stream} has no parameter {name!r}")
        elif value is not None and not math.isfinite(value):
            self._refuse(f"parameter {name} of {stream} needs a finite number, not {value}")
        else:
            self._waiting.setdefault(stream, {})[known] = value

    def sources(self, kind: str) -> set[str]:
        """What the parameters of all streams are fed from, by this kind of door (``osc:``, ``mqtt:``), without it."""
        return {
            param["source"].removeprefix(kind)
            for control in self._streams.values()
            for param in control.describe()["params"]
            if str(param.get("source", "")).startswith(kind)
        }

    def feed(self, source: str, value: float) -> None:
        """Takes a value for all parameters that are ``from: source``; it is handed on with the next ``flush``."""
        if math.isfinite(value):
            self._inputs[source] = value
        else:
            self._refuse(f"{source} needs a finite number, not {value}")

    def fire(self, stream: str, event: str) -> None:
        """Fires an event, by its name or slug."""
        self._act(stream, "fire", {"event": named(event, self._streams[stream].describe()["events"]) or event})

    def ask(self, stream: str, payload: Mapping[str, Any]) -> None:
        """Has a sound made from free text: ``text``, and perhaps ``distance_m`` and ``azimuth_deg``."""
        self._act(stream, "fire", payload)

    def go(self, stream: str, state: str, over_seconds: float | None = None) -> None:
        """Asks for a state, by its name or slug."""
        known = named(state, self._streams[stream].describe()["states"]) or state
        self._act(stream, "state", {"state": known, "over_seconds": over_seconds})

    def flush(self) -> None:
        """Hands waiting parameters and inputs on; what is refused for now is tried again with the next one."""
        while self._inputs:
            source, value = self._inputs.popitem()
            for control in self._streams.values():
                control.feed(source, value)
        for stream, values in list(self._waiting.items()):
            try:
                self._steering[stream].act("params", {"params": values})
            except Refused as error:
                if error.code == "rate":
                    continue
                self._refuse(str(error))
            del self._waiting[stream]

    def complain(self, what: str) -> None:
        """Says in the log what was not understood, unless that was said often enough."""
        self._refuse(what)

    def _act(self, stream: str, kind: str, payload: Mapping[str, Any]) -> None:
        try:
            self._steering[stream].act(kind, payload)
        except (Refused, ProtocolError) as error:
            self._refuse(f"{stream}: {error}")

    def _refuse(self, why: str) -> None:
        if self._complaints.take():
            log.warning("%s: %s", self._door, why)
