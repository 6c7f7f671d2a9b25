"""Single sounds that somebody asked for in free text: each is a scatter layer of its own until it has been heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ambient.engine.shots import Shots
from ambient.messages import LayerMoment, Moment, PromptMix, ScatterMoment

__all__ = ["Asked"]

MOST = 4
"""Sounds that may wait or be heard at once; the oldest gives way."""
NEAR_M = (8.0, 30.0)
AROUND_DEG = (-70.0, 70.0)
ATTEMPTS = 3


class Asked:
    """The layers of what was asked for. Their players are the engine's, like those of the scene's layers."""

    def __init__(self) -> None:
        self._layers: dict[str, LayerMoment] = {}
        self._count = 0

    def add(self, text: str, distance_m: float | None, azimuth_deg: float | None) -> LayerMoment:
        """A new layer whose sound falls when it is fired: never by itself."""
        self._count += 1
        name = f"“{text}” {self._count}"  # the count gives every asking a seed of its own
        prompt = PromptMix.of(text)
        scatter = ScatterMoment(
            every_seconds=None,
            rate_per_minute=0.0,
            most=1,
            distance_m=NEAR_M if distance_m is None else (distance_m, distance_m),
            azimuth_deg=AROUND_DEG if azimuth_deg is None else (azimuth_deg, azimuth_deg),
            gain_db=(0.0, 0.0),
            bank=1,
            variants=(prompt,),
        )
        layer = LayerMoment(name, prompt, 1.0, muted=True, warm=False, width=1.0, scatter=scatter, why=("asked for",))
        self._layers[name] = layer
        return layer

    def join(self, moment: Moment) -> Moment:
        """The moment with these layers in it."""
        return replace(moment, layers=(*moment.layers, *self._layers.values())) if self._layers else moment

    def settle(self, players: Mapping[str, Shots], frame: int) -> dict[str, str]:
        """Forgets layers that are over: name → what went wrong, or nothing where the sound was heard."""
        over: dict[str, str] = {}
        for name in self._layers:
            if players[name].over(frame):
                over[name] = ""
            elif players[name].bank.attempts >= ATTEMPTS:
                over[name] = "no sound could be made of it"
        for name in list(self._layers)[: max(0, len(self._layers) - len(over) - MOST)]:
            over.setdefault(name, "it gave way to newer ones")
        for name in over:
            del self._layers[name]
        return over
