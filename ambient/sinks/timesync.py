"""A client's idea of the server's clock and of the stream's place on it, from ``time`` messages (RFC 5905, 8)."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any, NamedTuple

from ambient.messages import RATE

__all__ = ["TimeSync"]

KEPT = 8
"""The best of the latest answers is trusted: delays only add error, and clocks drift apart slowly."""


class _Answer(NamedTuple):
    round_trip_us: float
    offset_us: float
    sent_us: float
    epoch: int
    sample_index: int | None


class TimeSync:
    """Takes answers to ``time`` and converts between clocks. All times in microseconds."""

    def __init__(self) -> None:
        self._answers: collections.deque[_Answer] = collections.deque(maxlen=KEPT)

    def take(self, payload: Mapping[str, Any], arrived_us: float) -> None:
        """An answer, and the client's clock when it came. ``client_us`` must be the client's clock at the question."""
        asked, received, sent = (float(payload[k]) for k in ("client_us", "received_us", "sent_us"))
        offset = ((received - asked) + (sent - arrived_us)) / 2
        round_trip = (arrived_us - asked) - (sent - received)
        index = payload.get("sample_index")
        answer = _Answer(round_trip, offset, sent, int(payload.get("epoch", 0)), index)
        self._answers.append(answer)

    @property
    def offset_us(self) -> float | None:
        """What to add to the client's clock to get the server's; wrong by at most half of :attr:`round_trip_us`."""
        return self._best.offset_us if self._answers else None

    @property
    def round_trip_us(self) -> float | None:
        """Travelling time of the best answer, there and back."""
        return self._best.round_trip_us if self._answers else None

    def client_us_of(self, sample_index: int, epoch: int) -> float | None:
        """The client's clock when that sample was, or will be, the stream's newest; None where that is not known."""
        known = [a for a in self._answers if a.epoch == epoch and a.sample_index is not None]
        if not known:
            return None
        latest = known[-1]
        assert latest.sample_index is not None
        server_us = latest.sent_us + (sample_index - latest.sample_index) * 1e6 / RATE
        return server_us - self._best.offset_us

    @property
    def _best(self) -> _Answer:
        return min(self._answers, key=lambda a: a.round_trip_us)
