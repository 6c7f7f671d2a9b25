"""Parameters at work: where they come from, how they move, and what they are at a frame.

Between the moments at which something changes them, values are closed formulas of time. So a value at a frame does
not depend on the block size, a forecast costs nothing, and a day is simulated in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ambient.messages import RATE
from ambient.scene.memory import ParamMemory
from ambient.scene.model import Param

__all__ = ["ParamState"]


@dataclass(slots=True)
class _Override:
    value: float
    until_frame: int | None


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
        return min(self._high, max(self._low, value))

    def at(self, frame: int) -> float:
        """The smoothed value at a frame."""
        if not self._rise and not self._fall:
            return self.target(frame)
        value, since = self._anchor_value, self._anchor_frame
        if self._override is None and not self._fed:  # nothing that could end on the way
            return self._glide(value, since, frame)
        for turn in self._turns(frame):  # what it is on its way to changes there, not when somebody looks next
            value, since = self._glide(value, since, turn), turn
        return self._glide(value, since, frame)

    def _turns(self, frame: int) -> list[int]:
        """Frames since the last beginning at which a hold ends or an input becomes stale, in order."""
        turns = []
        if self._override is not None and self._override.until_frame is not None:
            turns.append(self._override.until_frame)
        if self._fed and self._stale_frames is not None:
            turns.append(self._base_frame + self._stale_frames + 1)
        return sorted(t for t in turns if self._anchor_frame < t < frame)

    def _glide(self, value: float, since: int, frame: int) -> float:
        target = self.target(since)
        tau = self._rise if target > value else self._fall
        return target + (value - target) * math.exp(-(frame - since) / RATE / tau) if tau else target

    def settle(self, frame: int) -> None:
        """Takes the value at a frame as the new beginning; called once a second, and before every change."""
        if self._rise or self._fall:
            self._anchor_value, self._anchor_frame = self.at(frame), frame
        if self._override is not None and self._override.until_frame is not None:
            if frame >= self._override.until_frame:
                self._override = None

    def set(self, value: float, frame: int, hold_seconds: float | None = None, *, override: bool = False) -> None:
        """Sets the value; with ``override``, for ``hold_seconds`` or until it is set again."""
        self.settle(frame)
        if override:
            until = None if hold_seconds is None else frame + round(hold_seconds * RATE)
            self._override = _Override(value, until)
        else:
            self._override = None
            self._base, self._base_frame, self._fed = value, frame, False

    def feed(self, value: float, frame: int) -> None:
        """A value from the parameter's input; it can grow stale."""
        self.settle(frame)
        self._base, self._base_frame, self._fed = value, frame, True

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
        self._anchor_value, self._anchor_frame = self.target(frame), frame

    def take_over(self, before: ParamState, frame: int) -> None:
        """Goes on from a parameter of the same name in another version of the scene."""
        self._base, self._base_frame, self._fed = before._base, before._base_frame, before._fed
        self._override = before._override
        self._anchor_value = min(self._high, max(self._low, before.at(frame)))
        self._anchor_frame = frame

    def _is_stale(self, frame: int) -> bool:
        return self._fed and self._stale_frames is not None and frame - self._base_frame > self._stale_frames
