"""How often somebody may do something: a token bucket."""

from __future__ import annotations

import collections
from collections.abc import Callable, Hashable

__all__ = ["Allowance", "Allowances"]


class Allowance:
    """``burst`` at once, then ``per_second``. ``now`` gives seconds that never go back."""

    def __init__(self, per_second: float, burst: float, now: Callable[[], float]) -> None:
        self._per_second, self._burst, self._now = per_second, burst, now
        self._left, self._at = burst, now()

    def take(self) -> bool:
        """Whether it may be done once more, now."""
        now = self._now()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    @property
    def wait_seconds(self) -> float:
        """Until it may be done again; 0 where it may."""
        left = min(self._burst, self._left + (self._now() - self._at) * self._per_second)
        return max(0.0, (1.0 - left) / self._per_second)


class Allowances:
    """One allowance for everybody, by address or name; the least recently used are forgotten beyond ``most``."""

    def __init__(self, per_second: float, burst: float, now: Callable[[], float], most: int = 4096) -> None:
        self._per_second, self._burst, self._now, self._most = per_second, burst, now, most
        self._known: collections.OrderedDict[Hashable, Allowance] = collections.OrderedDict()

    def of(self, who: Hashable) -> Allowance:
        """That one's allowance."""
        found = self._known.get(who)
        if found is None:
            found = self._known[who] = Allowance(self._per_second, self._burst, self._now)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        self._known.move_to_end(who)
        return found
