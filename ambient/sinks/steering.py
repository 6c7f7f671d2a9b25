"""What a client may do to a stream. The WebSocket and the HTTP API both steer through this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ambient.errors import ProtocolError, Refused
from ambient.ports import StreamControl
from ambient.sinks.allowance import Allowance, Allowances
from ambient.sinks.protocol import Close, is_number, read_name, read_params

__all__ = ["Limits", "Steering"]

ACTIONS = (50.0, 100.0)
"""Actions a second from one address, and at once: a hand on several sliders."""
TEXTS = (0.4, 4.0)
"""Sounds from free text, for a whole stream: each costs the model about half a second."""


class Limits:
    """The allowances of all who steer a server. ``now`` gives seconds that never go back."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._actions = Allowances(*ACTIONS, now)
        self._texts = Allowances(*TEXTS, now)

    def steering(self, control: StreamControl, address: str, allowed: bool) -> Steering:
        """A client's hand on a stream. ``allowed``: whether it may steer at all."""
        return Steering(control, allowed, self._actions.of(address), self._texts.of(control.name))


class Steering:
    """One client's hand on one stream."""

    def __init__(self, control: StreamControl, allowed: bool, actions: Allowance, texts: Allowance) -> None:
        self._control, self.allowed = control, allowed
        self._actions, self._texts = actions, texts

    def act(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Does what a ``params``, ``fire`` or ``state`` message asks for.

        Raises Refused where it cannot be done, ProtocolError where the payload is no such message.
        """
        if not self.allowed:
            raise Refused("role", f"{kind!r} is for role controller; this connection listens only")
        if not self._actions.take():
            raise Refused("rate", "too many requests", retry_after_seconds=self._actions.wait_seconds)
        try:
            match kind:
                case "params":
                    for name, value in read_params(payload).items():
                        self._control.set_param(name, value)
                case "fire" if "text" in payload:
                    self._ask(payload)
                case "fire":
                    self._control.fire(read_name(payload, "event"))
                case _:
                    self._control.go(read_name(payload, "state"), _within(payload, "over_seconds", 0.0, 3600.0))
        except ValueError as error:
            raise Refused("unknown", str(error)) from error

    def _ask(self, payload: Mapping[str, Any]) -> None:
        text = " ".join(read_name(payload, "text").split())
        if not text or not text.isprintable():
            raise ProtocolError(Close.BAD_MESSAGE, "text holds nothing, or characters that cannot be read")
        distance, azimuth = _within(payload, "distance_m", 1.0, 2000.0), _within(payload, "azimuth_deg", -180.0, 180.0)
        if not self._texts.take():
            why = "too many sounds were asked for by text"
            raise Refused("rate", why, retry_after_seconds=self._texts.wait_seconds)
        self._control.ask(text, distance, azimuth)


def _within(payload: Mapping[str, Any], field: str, low: float, high: float) -> float | None:
    value = payload.get(field)
    if value is None:
        return None
    if not is_number(value) or not low <= value <= high:
        raise ProtocolError(Close.BAD_MESSAGE, f"{field} {value!r} is not {low:g} to {high:g}")
    return float(value)
