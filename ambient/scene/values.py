"""Single values of a scene: durations, clock times, texts, names, and numbers that a parameter may drive."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

__all__ = [
    "STRICT",
    "ClockTime",
    "Duration",
    "DurationPair",
    "Name",
    "Number",
    "NumberPair",
    "Pair",
    "Setting",
    "Text",
    "duration",
    "ordered",
    "ordered_angles",
    "ordered_numbers",
    "pair_of",
]

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])$")


def duration(value: Any) -> float:
    """Seconds of a text such as ``90s``. Raises ValueError without a unit."""
    if isinstance(value, str) and (found := _DURATION.match(value.strip())):
        return float(found[1]) * _UNITS[found[2]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a duration needs a unit; write {value:g}s, or {value:g}m for minutes")
    raise ValueError(f"{value!r} is no duration; write a number and ms, s, m or h, such as 90s")


def clock_minutes(value: Any) -> float:
    """Minutes of a clock time such as ``"22:30"``. Raises ValueError."""
    if isinstance(value, str) and (found := _CLOCK.match(value.strip())):
        return int(found[1]) * 60 + int(found[2])
    raise ValueError(f'{value!r} is no clock time; write "HH:MM", such as "22:30"')


def _ordered_durations(pair: list[float]) -> list[float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the range runs backwards; write [{_told(pair[1])}, {_told(pair[0])}]")
    return pair


def _told(seconds: float) -> str:
    """A duration as people write it."""
    unit = next((u for u in ("h", "m", "s") if seconds >= _UNITS[u] and seconds % _UNITS[u] == 0), None)
    return f"{seconds / _UNITS[unit]:g}{unit}" if unit else f"{seconds:g}s"


Duration = Annotated[float, BeforeValidator(duration)]


def _printable(value: str) -> str:
    """A text without characters that steer terminals or end strings early."""
    if value and not value.strip():
        raise ValueError("the text is empty")
    for character in value:
        if not character.isprintable() and character not in "\n\t":
            raise ValueError(f"the character U+{ord(character):04X} cannot be read aloud or shown; leave it out")
    return value


def _name(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError(f"{value!r} is no name; write letters, digits, spaces and _")
    return value


Text = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_printable)]
Setting = Annotated[str, Field(max_length=2000), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_name)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
DurationPair = Annotated[list[Duration], Field(min_length=2, max_length=2), AfterValidator(_ordered_durations)]
ClockTime = Annotated[float, BeforeValidator(clock_minutes)]


def ordered(pair: list[float]) -> list[float]:
    """The pair, if its first is not the greater. Raises ValueError."""
    if pair[0] > pair[1]:
        raise ValueError(f"the range runs backwards; write [{pair[1]:g}, {pair[0]:g}]")
    return pair


STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
"""Of every part of a scene: no unknown keys, no changes."""


class Number(BaseModel):
    """A number, or one that a parameter drives along a curve, linear between points and held outside."""

    model_config = STRICT

    value: float | None = None
    by: Name | None = None
    curve: list[Pair] | None = None

    @model_validator(mode="after")
    def _points(self) -> Number:
        if self.by is None:
            if self.curve is not None or self.value is None:
                raise ValueError("a curve needs a parameter that drives it; add `by: NAME`")
            return self
        if self.value is not None:
            raise ValueError("a number is given or driven, not both; drop `value`")
        points = self.curve or []
        if len(points) < 2:
            raise ValueError("a curve needs two points or more, such as [[0, 0], [1, 1]]")
        for before, after in itertools.pairwise(points):
            if after[0] <= before[0]:
                raise ValueError(f"curve points must rise from left to right; {after[0]:g} follows {before[0]:g}")
        return self

    def at(self, params: Mapping[str, float]) -> float:
        """The number now."""
        if self.by is None:
            return self.value or 0.0
        x = params[self.by]
        x0, y0 = None, 0.0
        for x1, y1 in self.curve or ():
            if x <= x1:
                return y1 if x0 is None else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
            x0, y0 = x1, y1
        return y0

    def span(self) -> tuple[float, float]:
        """Lowest and highest it can be."""
        if self.by is None:
            return (self.value or 0.0,) * 2
        heights = [p[1] for p in self.curve or []]
        return min(heights), max(heights)


NumberPair = Annotated[list[Number], Field(min_length=2, max_length=2)]


def pair_of(low: float, high: float) -> list[Number]:
    """Fixed ends, as a pair of numbers."""
    return [Number(value=low), Number(value=high)]


def ordered_numbers(pair: list[Number]) -> list[Number]:
    """The pair, if fixed ends rise; curves may cross. Raises ValueError."""
    if pair[0].by is None and pair[1].by is None:  # curves may cross: then the lower one is the low end
        ordered([pair[0].at({}), pair[1].at({})])
    return pair


def ordered_angles(pair: list[Number]) -> list[Number]:
    """The pair; a range that crosses straight behind is written on beyond 180. Raises ValueError."""
    low, high = pair
    if low.by is None and high.by is None and 0 < low.at({}) <= 180 and high.at({}) < 0:
        wrapped = f"[{low.at({}):g}, {high.at({}) + 360:g}]"
        raise ValueError(f"the range runs backwards; write {wrapped} for the way round behind")
    return ordered_numbers(pair)


_BOUNDS = {
    "intensity": (0.0, 1.0, ""),
    "width": (0.0, 1.0, ""),
    "level": (-80.0, 24.0, " dB"),
    "gain": (-80.0, 24.0, " dB"),
    "rate": (0.0, 600.0, " per minute"),
    "distance": (0.1, 10_000.0, " m"),
    "azimuth": (-360.0, 360.0, " degrees"),
}
"""Least, most and unit, by the name of the field."""


def bounded(numbers: Number | list[Number] | None, info: ValidationInfo) -> Number | list[Number] | None:
    """The number or pair, if it can never leave the bounds of its field. Raises ValueError."""
    if numbers is None:
        return None
    name = str(info.field_name)
    least, most, unit = _BOUNDS[name]
    spans = [number.span() for number in (numbers if isinstance(numbers, list) else [numbers])]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    if low < least or high > most:
        given = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise ValueError(f"{name} goes from {least:g} to {most:g}{unit}, not {given}; write a number between them")
    return numbers
