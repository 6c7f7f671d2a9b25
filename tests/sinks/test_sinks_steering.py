"""What clients may do to a stream, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambient.errors import ProtocolError, Refused
from ambient.sinks.allowance import Allowance, Allowances
from ambient.sinks.steering import ACTIONS, TEXTS, Limits
from ambient.testing import FakeStream


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 3), max_size=200), st.floats(0.1, 50), st.floats(1, 20))
def test_never_more_than_the_burst_and_the_rate(pauses, per_second, burst):
    clock = Clock()
    allowance, taken = Allowance(per_second, burst, clock), 0
    for pause in pauses:
        clock.now += pause
        wait = allowance.wait_seconds
        if allowance.take():
            taken += 1
            assert wait == 0
        else:
            assert wait > 0
    assert taken <= burst + clock.now * per_second + 1e-6


def test_after_the_wait_it_may_be_done():
    clock = Clock()
    allowance = Allowance(0.5, 1, clock)
    assert allowance.take() and not allowance.take()
    clock.now += allowance.wait_seconds + 1e-9
    assert allowance.take()


def test_everybody_has_an_allowance_and_the_list_is_bounded():
    book = Allowances(1, 1, Clock(), most=2)
    assert book.of("a").take() and not book.of("a").take()
    assert book.of("b").take()
    book.of("a")
    book.of("c")  # b was used least recently
    assert not book.of("a").take() and book.of("b").take()


def test_actions_reach_the_stream():
    control = FakeStream()
    hand = Limits(Clock()).steering(control, "10.0.0.1", allowed=True)
    hand.act("params", {"wind": 0.9})
    hand.act("fire", {"event": "owl"})
    hand.act("fire", {"text": "  thunder  in\ta canyon ", "distance_m": 300, "azimuth_deg": -20})
    hand.act("state", {"state": "rain", "over_seconds": 3})
    assert (control.params["wind"], control.fired, control.state) == (0.9, ["owl"], "rain")
    assert control.asked == [("thunder in a canyon", 300, -20)]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("params", {}),
        ("fire", {}),
        ("fire", {"text": ""}),
        ("fire", {"text": " \t "}),
        ("fire", {"text": "a\x00b"}),
        ("fire", {"text": "x" * 201}),
        ("fire", {"text": "owl", "distance_m": 0}),
        ("fire", {"text": "owl", "azimuth_deg": "left"}),
        ("state", {"state": "rain", "over_seconds": -1}),
        ("state", {"state": "rain", "over_seconds": True}),
    ],
)
def test_what_is_no_such_message_changes_nothing(kind, payload):
    control = FakeStream()
    with pytest.raises(ProtocolError):
        Limits(Clock()).steering(control, "a", allowed=True).act(kind, payload)
    assert not control.asked and not control.fired and control.state == "calm"


def test_refusals_say_why_and_when_to_try_again():
    clock, control = Clock(), FakeStream()
    limits = Limits(clock)
    with pytest.raises(Refused) as caught:
        limits.steering(control, "a", allowed=False).act("fire", {"event": "owl"})
    assert (caught.value.code, caught.value.retry_after_seconds) == ("role", None)
    hand = limits.steering(control, "a", allowed=True)
    with pytest.raises(Refused, match="did you mean 'thunder'") as caught:
        hand.act("fire", {"event": "thunderr"})
    assert caught.value.code == "unknown"
    for i in range(int(TEXTS[1])):
        hand.act("fire", {"text": f"owl {i}"})
    with pytest.raises(Refused) as caught:  # from another address: the model is the same
        limits.steering(control, "b", allowed=True).act("fire", {"text": "owl"})
    assert caught.value.code == "rate" and 0 < caught.value.retry_after_seconds <= 1 / TEXTS[0]
    with pytest.raises(Refused) as caught:
        for _ in range(int(ACTIONS[1]) + 1):
            hand.act("params", {"wind": 0.5})
    assert caught.value.code == "rate"
    limits.steering(control, "b", allowed=True).act("params", {"wind": 0.1})  # others are not concerned
