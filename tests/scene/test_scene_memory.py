"""What survives a restart: the scene goes on as if nothing had happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scene_machine import moves, run

from ambient.messages import RATE, frames
from ambient.scene import Machine, Memory, parse_scene

TEXT = """
scene: 1
params:
  wind: {start: 0.4, smooth: 4s}
  wet: {start: 0, from: weather.rain}
events: {gust: {set: {wind: 1}, hold: 50s}, calm: {set: {wind: 0}}}
layers: {leaves: leaves}
states:
  day: {transitions: [{to: dusk, after: [40s, 90s], over: 5s}]}
  dusk: {stay: 30s, transitions: [{to: night, after: [20s, 60s], over: 5s}, {to: day, when: wind > 0.9, for: 3s}]}
  night: {transitions: [{to: day, after: [30s, 80s], chance: 0.5, over: 5s}]}
"""
SCENE = parse_scene(TEXT)


def again(machine: Machine, text: str = TEXT) -> Machine:
    """Another machine, by way of a file."""
    other = Machine(parse_scene(text))
    other.restore(Memory.model_validate_json(machine.memory().model_dump_json(exclude_none=True)))
    return other


@settings(max_examples=60)
@given(
    st.integers(1, 600), st.lists(st.tuples(st.integers(0, 500), st.sampled_from(["gust", "calm", "wind"])), max_size=4)
)
def test_the_scene_goes_on_in_its_state_with_its_parameters(seconds, acts):
    machine = Machine(SCENE)
    for at, act in sorted(acts):
        if at < seconds:
            run(machine, at)
            machine.set_param("wind", 0.7) if act == "wind" else machine.fire(act)
    run(machine, seconds)
    other = again(machine)
    assert (other.state, other.frame) == (machine.state, 0)
    assert other.memory().stayed_seconds == pytest.approx(machine.memory().stayed_seconds)
    later = frames(100)
    machine._params["wind"].settle(machine.frame)
    assert other._params["wind"].target(later) == machine._params["wind"].target(machine.frame + later)


def test_timers_end_when_they_would_have():
    machine = Machine(SCENE)
    assert not moves(run(machine, 30))
    other = again(machine)
    now = machine.frame / RATE
    (first, to), *_ = moves(run(machine, 300))
    (then, there), *_ = moves(run(other, 300))
    assert (there, then) == (to, pytest.approx(first - now, abs=1.0))


def test_what_the_weather_said_is_asked_anew_and_what_was_set_is_kept():
    machine = Machine(SCENE)
    machine.feed("weather.rain", 0.8)
    machine.set_param("wind", 0.1)
    run(machine, 30)
    memory = machine.memory()
    assert set(memory.params) == {"wind"}
    assert again(machine).params()["wind"] == pytest.approx(0.1)
    machine.set_param("wind", None)
    assert not machine.memory().params


def test_an_event_holds_only_as_long_as_it_had_left():
    machine = Machine(SCENE)
    run(machine, 10)
    machine.fire("gust")
    run(machine, 30)
    other = again(machine)
    run(other, 29)
    assert other.params()["wind"] == pytest.approx(1.0, abs=0.01)
    run(other, 60)
    assert other.params()["wind"] == pytest.approx(0.4, abs=0.01)


def test_a_state_or_a_parameter_that_is_gone_is_let_go():
    machine = Machine(SCENE)
    machine.go("night", 0)
    machine.set_param("wind", 0.2)
    run(machine, 5)
    other = again(machine, "scene: 1\nlayers: {sea: surf}\nstates: {beach: {}}\n")
    assert other.state == "beach" and other.params() == {}


def test_a_clock_of_its_own_goes_on_and_the_time_of_day_does_not():
    own = "scene: 1\nclock: {start: '20:00', speed: 60}\nlayers: {sea: surf}\nstates: {beach: {}}\n"
    machine = Machine(parse_scene(own))
    run(machine, 600)
    time = machine.scene_time(machine.frame)
    assert again(machine, own).scene_time(0) == time
    assert again(machine, own).scene_time(RATE) == time + timedelta(minutes=1)
    plain = parse_scene("scene: 1\nlayers: {sea: surf}\nstates: {beach: {}}\n")
    then, now = datetime(2026, 1, 1, 8, tzinfo=UTC), datetime(2026, 1, 2, 15, tzinfo=UTC)
    machine, other = Machine(plain, live_start=then), Machine(plain, live_start=now)
    other.restore(machine.memory())
    assert other.scene_time(0) == now
