"""Clocks: however messages are delayed, the error stays within half of the best round trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambient.messages import RATE
from ambient.sinks.timesync import TimeSync

delays = st.floats(10, 500_000)


def answer(asked: float, out: float, busy: float, offset: float, index: int | None = 0) -> dict[str, object]:
    received = asked + out + offset
    return {
        "client_us": asked,
        "received_us": received,
        "sent_us": received + busy,
        "epoch": 7,
        "sample_index": index,
    }


@given(st.lists(st.tuples(delays, delays, st.floats(0, 1000)), min_size=1, max_size=20), st.floats(-1e12, 1e12))
def test_the_offset_is_right_within_half_of_the_round_trip(trips, offset):
    sync, now = TimeSync(), 1e6
    for out, back, busy in trips:
        sync.take(answer(now, out, busy, offset), now + out + busy + back)
        now += 1e6
    assert sync.round_trip_us == pytest.approx(min(out + back for out, back, _ in trips[-8:]), abs=0.1)
    assert abs(sync.offset_us - offset) <= sync.round_trip_us / 2 + 0.1


def test_a_sample_has_its_moment_on_the_clients_clock():
    sync = TimeSync()
    assert sync.offset_us is None and sync.client_us_of(0, 7) is None
    sync.take(answer(asked=1000, out=50, busy=10, offset=5e6, index=48_000), 1110)
    assert sync.client_us_of(48_000 + RATE, 7) == pytest.approx(1060 + 1e6)
    assert sync.client_us_of(48_000, 8) is None  # another run of the stream
    sync.take(answer(asked=2000, out=50, busy=10, offset=5e6, index=None), 2110)
    assert sync.client_us_of(48_000, 7) == pytest.approx(1060)
