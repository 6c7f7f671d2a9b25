"""Parameters at work: where they come from, how they move, and what they are at a frame.

Between the moments at which something changes them, values are closed formulas of time. So a value at a frame does
not depend on the block size, a forecast costs nothing, and a day is simulated in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ambient.messages import RATE
from ambient.scene.memory import ParamMemory
from ambient.scene.model import Param

__all__ = ["ParamState"]


@dataclass(slots=True)
class _Override:
    value: float
    until_frame: int | None


class _Course(NamedTuple):
    """A glide towards one target."""

    value: float
    since: int
    target: float
    tau: float
    turn: int | None
    """The frame at which another one follows."""

    def at(self, frame: int) -> float:
        if not self.tau:
            return self.target
        return self.target + (self.value - self.target) * math.exp(-(frame - self.since) / RATE / self.tau)


class ParamState:
    """One parameter. Frames never go back, except that ``at`` may be asked about any frame from the last change on.

    ``sense`` gives the value of a source that is known at every frame (sun, clock); None for all others.
    """

    def __init__(self, spec: Param, seed: np.random.SeedSequence, sense: Callable[[int], float] | None) -> None:
        self._low, self._high = spec.range
        self._rise, self._fall = (s / 3 for s in spec.smooth)  # a one-pole has come 95 % of its way after 3 tau
        self._initial = spec.initial
        self._sense = sense
        self._stale_frames = None if spec.stale is None else round(spec.stale * RATE)
        self._base: float | None = None
        self._base_frame = 0
        self._fed = False
        self._input: tuple[float, int] | None = None
        """What its input said last, and when."""
        self._override: _Override | None = None
        self._waves: list[tuple[float, float, float]] = []
        if spec.wander is not None and sense is None:
            # a sum of three slow sines whose periods have no common multiple: bounded, smooth, never the same
            random = np.random.Generator(np.random.PCG64(seed))
            for share, ratio in ((0.5, 1.0), (0.3, 0.381966), (0.2, 0.2360679)):
                period = spec.wander.period * ratio * float(random.uniform(0.9, 1.1))
                self._waves.append(
                    (spec.wander.depth * share, 2 * math.pi / period, float(random.uniform(0, 2 * math.pi)))
                )
        self._anchor_frame = 0
        self._anchor_value = self.target(0)
        self._course: _Course | None = None
        """From the anchor on; None where something changed since it was found."""

    def target(self, frame: int) -> float:
        """What the value is on its way to, within the range."""
        override = self._override
        if override is not None and (override.until_frame is None or frame < override.until_frame):
            value = override.value
        elif self._sense is not None and self._base is None:
            value = self._sense(frame)
        elif self._base is not None and not self._is_stale(frame):
            value = self._base
        else:
            value = self._initial
            for depth, speed, phase in self._waves:
                value += depth * math.sin(speed * frame / RATE + phase)
        low, high = self._low, self._high
        return low if value < low else high if value > high else value

    def at(self, frame: int) -> float:
        """The smoothed value at a frame."""
        if not self._rise and not self._fall:
            return self.target(frame)
        course = self._course  # asked for fifty times a second, and mostly the same one
        if course is None:
            course = self._course = self._course_from(self._anchor_value, self._anchor_frame)
        while course.turn is not None and frame > course.turn:
            course = self._course_from(course.at(course.turn), course.turn)
        return course.at(frame)

    def _course_from(self, value: float, since: int) -> _Course:
        target = self.target(since)
        tau = self._rise if target > value else self._fall
        return _Course(value, since, target, tau, self._turn(since))

    def _turn(self, since: int) -> int | None:
        """The next frame at which a hold ends or an input becomes stale: there what it is on its way to changes, not
        when somebody looks next."""
        turn = None
        if self._override is not None and self._override.until_frame is not None:
            turn = self._override.until_frame if self._override.until_frame > since else None
        if self._fed and self._stale_frames is not None:
            stale = self._base_frame + self._stale_frames + 1
            turn = stale if stale > since and (turn is None or stale < turn) else turn
        return turn

    def settle(self, frame: int) -> None:
        """Takes the value at a frame as the new beginning; called once a second, and before every change."""
        if self._rise or self._fall:
            self._anchor_value, self._anchor_frame = self.at(frame), frame
        if self._override is not None and self._override.until_frame is not None:
            if frame >= self._override.until_frame:
                self._override = None
        self._course = None

    def set(self, value: float, frame: int, hold_seconds: float | None = None, *, override: bool = False) -> None:
        """Sets the value; with ``override``, for ``hold_seconds`` or until it is set again."""
        self.settle(frame)
        if override:
            until = None if hold_seconds is None else frame + round(hold_seconds * RATE)
            self._override = _Override(value, until)
        else:
            self._override = None
            self._base, self._base_frame, self._fed = value, frame, False
        self._course = None

    def release(self, frame: int) -> None:
        """Gives it back to where it comes from: its input, the sun, its wandering."""
        self.settle(frame)
        self._override, self._base = None, None
        if self._input is not None:
            (self._base, self._base_frame), self._fed = self._input, True
        self._course = None

    def held(self, frame: int) -> bool:
        """Whether it is what somebody, or an event, set it to."""
        override = self._override
        if override is not None and (override.until_frame is None or frame < override.until_frame):
            return True
        return self._base is not None and not self._fed

    def feed(self, value: float, frame: int) -> None:
        """A value from the parameter's input; it can grow stale."""
        self.settle(frame)
        self._base, self._base_frame, self._fed = value, frame, True
        self._input = (value, frame)
        self._course = None

    def memory(self, frame: int) -> ParamMemory | None:
        """What was set and still holds; None where nothing was. What an input said comes again by itself."""
        value = None if self._fed else self._base
        override, left = self._override, None
        if override is not None and override.until_frame is not None:
            left = (override.until_frame - frame) / RATE
            override = override if left > 0 else None
        if value is None and override is None:
            return None
        if override is None:
            return ParamMemory(value=value)
        return ParamMemory(value=value, override=override.value, left_seconds=left)

    def restore(self, memory: ParamMemory, frame: int) -> None:
        """Is as it was, at once."""
        if memory.value is not None:
            self.set(memory.value, frame)
        if memory.override is not None:
            self.set(memory.override, frame, memory.left_seconds, override=True)
        self._anchor_value, self._anchor_frame, self._course = self.target(frame), frame, None

    def take_over(self, before: ParamState, frame: int) -> None:
        """Goes on from a parameter of the same name in another version of the scene."""
        self._base, self._base_frame, self._fed = before._base, before._base_frame, before._fed
        self._input, self._override = before._input, before._override
        self._anchor_value = min(self._high, max(self._low, before.at(frame)))
        self._anchor_frame, self._course = frame, None

    def _is_stale(self, frame: int) -> bool:
        return self._fed and self._stale_frames is not None and frame - self._base_frame > self._stale_frames
