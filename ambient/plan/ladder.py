"""The degrade ladder: what to give up, in which order, so that the sound never stops.

Fewer denoising steps → longer clips (less of each is overlap) → fewer live layers, the quiet ones first, which
go on with their own recent material. Re-joined material and the final fade belong to the engine, which falls
back to them for any layer whose sound runs out, whatever the rung.
"""

from __future__ import annotations

from dataclasses import dataclass

from ambient.messages import RATE, ModelInfo

__all__ = ["Ladder", "Rung"]


@dataclass(frozen=True, slots=True)
class Rung:
    """What one level of the ladder allows."""

    level: int
    steps: int
    long_clips: bool
    resting_layers: int
    """How many of the quietest layers make do with their own recent material."""


class Ladder:
    """Steps down at once when the load demands it, and up after a calm while (hysteresis)."""

    DOWN_LOAD = 0.9
    """Share of the worker's time above which deadlines will be missed."""
    UP_LOAD = 0.65
    """Share that the next better rung must stay below."""
    CALM_FRAMES = 10 * RATE
    SETTLE_FRAMES = 2 * RATE
    """Time that a rung is given to show its effect."""

    def __init__(self, info: ModelInfo, most_layers: int = 8, steps: int | None = None) -> None:
        full = steps or info.steps
        fewest = min(full, info.min_steps)
        middle = (full + fewest + 1) // 2
        counts = list(dict.fromkeys([full, middle, fewest]))
        rungs = [(s, False, 0) for s in counts] + [(fewest, True, 0)]
        rungs += [(fewest, True, n) for n in range(1, most_layers)]
        self._rungs = [Rung(level, *rung) for level, rung in enumerate(rungs)]
        self._level = 0
        self._changed_frame = -(10**12)
        self._calm_since: int | None = None

    @property
    def rung(self) -> Rung:
        """The present rung."""
        return self._rungs[self._level]

    @property
    def above(self) -> Rung:
        """The next better rung, or the present one at the top."""
        return self._rungs[max(0, self._level - 1)]

    def update(self, now_frame: int, load: float, load_above: float, late: bool) -> bool:
        """Takes in the measured load at this rung and at the one above; returns whether the rung changed.

        ``load`` is generation time over playing time of all live layers; ``late`` tells that a layer ran out.
        """
        settled = now_frame - self._changed_frame >= self.SETTLE_FRAMES
        if (load > self.DOWN_LOAD or late) and settled and self._level < len(self._rungs) - 1:
            self._move(1, now_frame)
            return True
        if self._level == 0 or late or load_above >= self.UP_LOAD:
            self._calm_since = None
            return False
        if self._calm_since is None:
            self._calm_since = now_frame
        if now_frame - self._calm_since >= self.CALM_FRAMES:
            self._move(-1, now_frame)
            return True
        return False

    def _move(self, by: int, now_frame: int) -> None:
        self._level += by
        self._changed_frame = now_frame
        self._calm_since = None
