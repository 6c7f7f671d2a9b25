"""The pace of the sample clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from ambient.messages import RATE

__all__ = ["RealClock"]


class RealClock:
    """Real time, trimmed to a sound card's crystal where there is one.

    A jump of more than ``GAP_SECONDS`` (the machine slept, the program was stopped) is left out: the sound goes on
    where it was. The wall clock is never read.
    """

    GAP_SECONDS = 0.5
    NAP_SECONDS = 0.02

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._read_at = monotonic()
        self._frame = 0.0
        self._rate = float(RATE)
        self.gaps = 0

    def trim(self, parts_per_million: float) -> None:
        """Lets the clock run faster (positive) or slower by that much, at most ±2000, to follow a device."""
        self._rate = RATE * (1 + max(-2000.0, min(2000.0, parts_per_million)) * 1e-6)

    def now_frame(self) -> int:
        """Frame that is being heard now."""
        now = self._monotonic()
        passed, self._read_at = now - self._read_at, now
        if passed > self.GAP_SECONDS:
            self.gaps += 1
            passed = 0.0
        self._frame += max(0.0, passed) * self._rate
        return int(self._frame)

    def wait_until(self, frame: int) -> None:
        """Sleeps, in naps that let a stop of the program be noticed, until ``now_frame() >= frame``."""
        while (missing := frame - self.now_frame()) > 0:
            self._sleep(min(self.NAP_SECONDS, missing / self._rate))
