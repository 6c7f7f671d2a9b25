"""What a scene is: the validated, immutable form of a scene file.

Shorthands were expanded before (:mod:`ambient.scene.expand`), so every field has one shape here.
"""

from __future__ import annotations

import itertools
from datetime import date
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, field_validator

from ambient.errors import Problem
from ambient.scene.values import (
    STRICT,
    ClockTime,
    Duration,
    DurationPair,
    Name,
    Number,
    NumberPair,
    Pair,
    Setting,
    Text,
    bounded,
    ordered,
    ordered_angles,
    ordered_numbers,
    pair_of,
)

__all__ = [
    "Clock",
    "Event",
    "Layer",
    "LayerOverride",
    "Param",
    "Place",
    "Rung",
    "Scatter",
    "ScatterOverride",
    "Scene",
    "State",
    "Transition",
    "Wander",
]


class Part(BaseModel):
    """Base of all parts."""

    model_config = STRICT


class Wander(Part):
    """Slow bounded noise around a parameter's value."""

    depth: float = Field(ge=0)
    period: Duration = 300.0

    @field_validator("period")
    @classmethod
    def _slow(cls, value: float) -> float:
        if value < 1:
            raise ValueError("a period must be at least 1s")
        return value


class Param(Part):
    """A quantity that drives layers and conditions."""

    source: str | None = Field(default=None, alias="from")
    range: Pair = [0.0, 1.0]
    start: float | None = None
    smooth: DurationPair = [0.0, 0.0]
    wander: Wander | None = None
    stale: Duration | None = None

    _range = field_validator("range")(ordered)

    @property
    def initial(self) -> float:
        """Where it starts: `start`, else the point of its range that is nearest to 0."""
        return self.start if self.start is not None else min(max(0.0, self.range[0]), self.range[1])


class Event(Part):
    """Something that may be fired from outside."""

    set: dict[str, float] = {}
    hold: Duration | None = None
    fire: Name | None = None


class Rung(Part):
    """One text of a prompt, at its intensity on a ladder; None for a plain text or a variant."""

    at: float | None = Field(default=None, ge=0, le=1)
    text: Text


class _ScatterFields(Part):
    every: DurationPair | None = None
    rate: Number | None = None
    most: int = Field(default=4, ge=1, le=32)
    distance: NumberPair = pair_of(10.0, 10.0)
    azimuth: NumberPair = pair_of(-90.0, 90.0)
    gain: NumberPair = pair_of(0.0, 0.0)
    bank: int = Field(default=4, ge=1, le=32)

    _ranges = field_validator("distance", "gain")(ordered_numbers)
    _angles = field_validator("azimuth")(ordered_angles)
    _bounds = field_validator("rate", "distance", "azimuth", "gain")(bounded)

    @field_validator("every")
    @classmethod
    def _slow(cls, every: list[float] | None) -> list[float] | None:
        if every is not None and every[0] < 0.1:
            raise ValueError("an interval must be at least 100ms")
        return every


class Scatter(_ScatterFields):
    """Single events instead of a bed."""


class ScatterOverride(_ScatterFields):
    """What a state changes about the single events of a layer."""

    def over(self, scatter: Scatter) -> Scatter:
        """The layer's scatter with what is given here in its place; one clock replaces the other."""
        changes = {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None}
        if "every" in changes or "rate" in changes:
            changes = {"every": None, "rate": None, **changes}
        return scatter.model_copy(update=changes)


class _LayerFields(Part):
    prompt: list[Rung] | None = None
    intensity: Number | None = None
    level: Number | None = None
    mute: bool | None = None
    width: Number | None = None
    like: str | None = None
    steps: int | None = Field(default=None, ge=1, le=200)
    guidance: float | None = Field(default=None, ge=0, le=30)
    family: Literal["geo", "bio", "anthro"] | None = None
    role: Literal["keynote", "signal", "soundmark"] | None = None

    _bounds = field_validator("intensity", "level", "width")(bounded)

    @field_validator("prompt")
    @classmethod
    def _ladder(cls, rungs: list[Rung] | None) -> list[Rung] | None:
        if rungs is None:
            return None
        if not rungs:
            raise ValueError("a prompt needs a text")
        places = [r.at for r in rungs if r.at is not None]
        if places and len(places) != len(rungs):
            raise ValueError("either every text of a prompt has `at`, or none has")
        for before, after in itertools.pairwise(places):
            if after <= before:
                raise ValueError(f"ladder steps must rise; {after:g} follows {before:g}")
        return rungs

    def numbers(self) -> list[Number]:
        """All numbers that a parameter may drive."""
        scatter: _ScatterFields | None = getattr(self, "scatter", None)
        found = [self.intensity, self.level, self.width]
        if scatter is not None:
            found += [scatter.rate, *scatter.distance, *scatter.azimuth, *scatter.gain]
        return [number for number in found if number is not None]


class Layer(_LayerFields):
    """One sound of the environment."""

    prompt: list[Rung]
    scatter: Scatter | None = None
    model: str | None = None


class LayerOverride(_LayerFields):
    """What a state changes about a layer."""

    scatter: ScatterOverride | None = None


class Transition(Part):
    """One way out of a state. All given keys must hold."""

    to: Name
    when: str | None = None
    hold: Duration | None = Field(default=None, alias="for")
    after: DurationPair | None = None
    at: ClockTime | None = None
    event: Name | None = None
    chance: float | None = Field(default=None, ge=0, le=1)
    over: Duration = 45.0
    through: Name | None = None

    def why(self) -> str:
        """The trigger in words, as the scene file has it."""
        parts = []
        if self.event is not None:
            parts.append(f"event {self.event}")
        if self.when is not None:
            parts.append(self.when + (f" for {self.hold:g} s" if self.hold else ""))
        if self.after is not None:
            low, high = self.after
            parts.append(f"after {low:g} s" if low == high else f"after {low:g} to {high:g} s")
        if self.at is not None:
            parts.append(f"at {int(self.at) // 60:02d}:{int(self.at) % 60:02d}")
        if self.chance is not None:
            parts.append(f"chance {self.chance:g}")
        return ", ".join(parts)


class State(Part):
    """A phase of the environment."""

    setting: Setting = ""
    layers: dict[Name, LayerOverride] = {}
    stay: Duration | None = None
    warm: bool = False
    transitions: list[Transition] = []


class Place(Part):
    """Where on Earth the scene is."""

    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    tz: str = "UTC"

    @field_validator("tz")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception:
            raise ValueError(f"{value!r} is no time zone; write one such as Europe/Amsterdam") from None
        return value


class Clock(Part):
    """Scene time."""

    date: str | None = None
    start: ClockTime | None = None
    speed: float = Field(default=1.0, ge=0, le=100_000)

    @field_validator("date")
    @classmethod
    def _in_calendar(cls, value: str | None) -> str | None:
        try:
            year = 2000 if value is None else date.fromisoformat(value).year
        except ValueError:
            raise ValueError(f"{value!r} is no date; write one such as 2025-06-21") from None
        if not 1900 <= year < 2200:
            raise ValueError("a year from 1900 to 2199 is needed")
        return value


class Scene(Part):
    """A whole scene. ``warnings`` is what the loader found that still runs, ``text`` what it read."""

    scene: Literal[1]
    seed: int = Field(default=0, ge=0, lt=2**63)
    loudness: float = Field(default=-24.0, ge=-60, le=-5)
    setting: Setting = ""
    avoid: Setting = ""
    start: str | None = None
    model: str | None = None
    steps: int | None = Field(default=None, ge=1, le=200)
    guidance: float | None = Field(default=None, ge=0, le=30)
    place: Place | None = None
    clock: Clock = Clock()
    params: dict[Name, Param] = {}
    events: dict[Name, Event] = {}
    layers: dict[Name, Layer] = {}
    states: dict[Name, State] = Field(min_length=1)
    transitions: list[Transition] = []
    name: str = Field(default="", exclude=True)
    warnings: tuple[Problem, ...] = Field(default=(), exclude=True)
    text: str = Field(default="", exclude=True, repr=False)
    folder: str = Field(default="", exclude=True)
    """Where the scene file lies: recordings are looked for from there."""

    @field_validator("scene", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, bool):  # which Python takes for 1
            raise ValueError("scene format true is not known; begin the file with `scene: 1`")
        return value

    @property
    def first(self) -> str:
        """The state it starts in."""
        return self.start or next(iter(self.states))

    def staying(self, state: str) -> Scene:
        """The scene as if it began in a state and never left it by itself."""
        states = {n: s.model_copy(update={"transitions": []}) for n, s in self.states.items()}
        return self.model_copy(update={"start": state, "states": states, "transitions": []})
