"""The state machine: the same night in any blocks, stays and holds kept, blends that begin where the sound is."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree
from datetime import UTC, datetime, timedelta

import astral
import astral.sun
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.messages import RATE, SceneEvent, frames
from ambient.scene import Machine, Scene, draw_states, find_scene, load_scene, parse_scene
from ambient.scene.sun import sun_elevation

FOREST = load_scene(find_scene("forest"))


def scene(states: str, more: str = "") -> Scene:
    return parse_scene(f"scene: 1\n{more}\nstates:\n{states}")


def run(machine: Machine, until: float, step: float = 1.0) -> list[SceneEvent]:
    events, frame, end = [], machine.frame, frames(until)
    while frame <= end:
        events += machine.advance(frame)
        frame += frames(step)
    return events


def moves(events: list[SceneEvent]) -> list[tuple[float, str]]:
    return [(e.frame / RATE, e.detail["to"]) for e in events if e.kind == "transition"]


# ---- time


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 3 * RATE), min_size=1, max_size=30), st.integers(0, 5))
def test_the_same_night_in_any_block_size(blocks: list[int], seed: int) -> None:
    one, two = Machine(FOREST, seed=seed), Machine(FOREST, seed=seed)
    end, frame, found = 600 * RATE, 0, []
    while frame < end:
        for n in blocks:
            frame = min(end, frame + n)
            found += one.advance(frame)
    expected = run(two, 600, 0.5)
    assert [(e.kind, e.name, e.frame) for e in found] == [(e.kind, e.name, e.frame) for e in expected]
    assert one.params() == pytest.approx(two.params(), abs=1e-9)
    mine, theirs = one.look(), two.look()
    assert [(a.name, a.prompt, a.muted) for a in mine.layers] == [(b.name, b.prompt, b.muted) for b in theirs.layers]


def test_time_does_not_go_back() -> None:
    machine = Machine(FOREST)
    machine.advance(RATE)
    with pytest.raises(ValueError, match="does not go back"):
        machine.advance(0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.sampled_from(["feed", "gust", 0.0, 0.3, 1.0])),
        max_size=6,
        unique_by=lambda a: a[0],
    ),
    st.integers(300, 400),
)
def test_what_is_given_back_is_as_if_nobody_had_set_it(acts: list[tuple[int, float | str]], at: int) -> None:
    text = (
        "params:\n  w: {start: 0.4, wander: {depth: 0.3, period: 2m}, smooth: 5s}\n"
        "  r: {from: weather.rain, start: 0.1, stale: 2m, smooth: 5s}\n"
        "  s: {from: sun.elevation, range: [-90, 90], smooth: 5s}\n"
        "place: {lat: 60, lon: 10, tz: Europe/Oslo}\nevents: {gust: {set: {w: 1.0, r: 1.0, s: 1.0}}}"
    )
    held, free = Machine(scene("  a: {}", text)), Machine(scene("  a: {}", text))
    for second, act in sorted(acts, key=lambda a: a[0]):
        for machine in (held, free):
            run(machine, second)
            if act == "feed":
                machine.feed("weather.rain", second / 300)
        if act == "gust":
            held.fire("gust")
        elif act != "feed":
            for name in "wrs":
                held.set_param(name, float(act))
    assert not free.held()
    last = [act for _, act in sorted(acts, key=lambda a: a[0])]
    if [act for act in last if act != "feed"]:
        assert set(held.held()) >= {"w", "s"}  # what an input says anew takes a value that was set by hand back
    run(held, at), run(free, at)
    for name in "wrs":
        held.set_param(name, None)
    assert not held.held()
    run(held, at + 60), run(free, at + 60)
    assert held.params() == pytest.approx(free.params(), abs=1e-4)


# ---- transitions


def test_a_condition_must_hold_for_its_time() -> None:
    machine = Machine(
        scene(
            "  a: {transitions: [{to: b, when: x > 0.5, for: 10s}]}\n  b: {transitions: [{to: a, after: 1h}]}",
            "params: {x: }",
        )
    )
    run(machine, 5)
    machine.set_param("x", 1.0)
    run(machine, 12)
    machine.set_param("x", 0.0)
    run(machine, 20)
    assert machine.state == "a"
    machine.set_param("x", 1.0)
    assert moves(run(machine, 60)) == [(31.0, "b")]


def test_after_stay_over_and_chance() -> None:
    text = "  a: {transitions: [{to: b, after: 10s, over: 30s}]}\n  b: {transitions: [{to: a, after: 5s, over: 8s}]}"
    # b stays at least as long as the way into it takes
    assert moves(run(Machine(scene(text)), 100)) == [(10.0, "b"), (40.0, "a"), (50.0, "b"), (80.0, "a"), (90.0, "b")]
    dice = scene(
        "  a: {transitions: [{to: b, after: 10s, chance: 0.25, over: 0s}]}\n"
        "  b: {transitions: [{to: a, after: 1s, over: 0s}]}"
    )
    found = moves(run(Machine(dice), 20_000))
    waits = [b[0] - a[0] for a, b in itertools.pairwise(found) if b[1] == "b"]
    assert sum(waits) / len(waits) == pytest.approx(40, rel=0.2)  # a geometric number of tries, ten seconds each


def test_clock_times_are_passed_once_a_day() -> None:
    machine = Machine(
        scene(
            '  a: {transitions: [{to: b, at: "22:30", over: 1s}]}\n'
            '  b: {transitions: [{to: a, at: "06:00", over: 1s}]}',
            'clock: {start: "20:00", speed: 60}',
        )
    )
    hours = [(20 + at / 60) % 24 for at, _ in moves(run(machine, 48 * 60))]
    assert hours == pytest.approx([22.5, 6, 22.5, 6], abs=0.02)


def test_previous_leads_back_and_events_interrupt_a_stay_at_their_frame() -> None:
    machine = Machine(
        scene(
            "  a: {transitions: [{to: b, after: 5s}]}\n  b: {stay: 1h, transitions: [{to: a, after: 2h}]}\n"
            "  alarm: {transitions: [{to: previous, event: over, over: 2s}]}",
            "events: {alarm: {}, over: {}}\ntransitions: [{to: alarm, event: alarm, over: 3s}]",
        )
    )
    run(machine, 20)
    machine.advance(frames(20.5))
    machine.fire("alarm")
    machine.advance(frames(30.02))
    assert machine.state == "alarm"
    machine.fire("over")
    assert moves(machine.advance(frames(31))) == [(30.02, "b")]


def test_a_new_transition_begins_from_what_sounds_now() -> None:
    text = "layers: {x: {prompt: x, mute: true}}"
    machine = Machine(scene("  a: {}\n  b: {layers: {x: {mute: false}}}\n  c: {}", text))
    machine.go("b", 10)
    machine.advance(frames(4))
    before = machine.look().layer("x").gain
    assert before == pytest.approx(0.4)
    machine.go("c", 10)
    assert machine.look().layer("x").gain == pytest.approx(before)
    machine.advance(frames(9))
    assert machine.look().layer("x").gain == pytest.approx(0.2)
    machine.advance(frames(14))
    assert machine.look().layer("x").muted


def test_through_fires_a_single_sound() -> None:
    more = "layers: {horn: {prompt: horn, scatter: {every: 5m}}}"
    machine = Machine(
        scene("  a: {transitions: [{to: b, after: 3s, through: horn}]}\n  b: {transitions: [{to: a, after: 9m}]}", more)
    )
    events = run(machine, 5)
    assert [(e.kind, e.detail.get("layer")) for e in events] == [("transition", None), ("event", "horn")]


# ---- parameters


def test_smoothing_rises_and_falls_in_its_own_times() -> None:
    machine = Machine(scene("  a: {}", "params: {x: {start: 0, smooth: [1s, 10s]}}"))
    machine.advance(0)
    machine.set_param("x", 1)
    machine.advance(frames(1))
    assert machine.params()["x"] == pytest.approx(0.95, abs=0.01)
    machine.advance(frames(5))
    machine.set_param("x", 0)
    machine.advance(frames(10))
    assert machine.params()["x"] == pytest.approx(0.22, abs=0.02)


def test_events_override_for_their_hold() -> None:
    machine = Machine(scene("  a: {}", "params: {x: {start: 0.3}}\nevents: {e: {set: {x: 1}, hold: 5s}}"))
    machine.advance(0)
    machine.fire("e")
    machine.advance(frames(4.9))
    assert machine.params()["x"] == 1
    machine.advance(frames(6))
    assert machine.params()["x"] == pytest.approx(0.3)


def test_wandering_is_slow_bounded_and_another_for_every_seed() -> None:
    text = "params: {x: {start: 0.5, wander: {depth: 0.3, period: 60s}}}"
    values = {}
    for seed in (1, 2):
        machine = Machine(scene("  a: {}", text), seed=seed)
        values[seed] = []
        for second in range(1200):
            machine.advance(second * RATE)
            values[seed].append(machine.params()["x"])
    for found in values.values():
        assert 0.2 <= min(found) < 0.35 and 0.65 < max(found) <= 0.8
        assert max(abs(b - a) for a, b in itertools.pairwise(found)) < 0.15
    assert values[1] != values[2]


def test_stale_inputs_give_way_to_start_and_wander() -> None:
    machine = Machine(scene("  a: {}", "params: {x: {from: weather.wind, start: 0.4, stale: 10s}}"))
    machine.advance(0)
    machine.feed("weather.wind", 0.9)
    machine.advance(frames(9))
    assert machine.params()["x"] == pytest.approx(0.9)
    machine.advance(frames(11))
    assert machine.params()["x"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("call", "name", "near"),
    [("set_param", "wnid", "wind"), ("fire", "lightnin", "lightning"), ("go", "strom", "storm")],
)
def test_unknown_names_are_refused_with_the_nearest(call: str, name: str, near: str) -> None:
    machine = Machine(FOREST)
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        getattr(machine, call)(*([name, 1.0] if call == "set_param" else [name]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_from_people_and_ignored_from_inputs(value: float) -> None:
    machine, untouched = Machine(FOREST), Machine(FOREST)
    with pytest.raises(ValueError, match="finite"):
        machine.set_param("wind", value)
    with pytest.raises(ValueError, match="blend"):
        machine.go("day", value)
    machine.feed("weather.wind", value)
    assert (machine.params(), machine.state) == (untouched.params(), untouched.state)


def test_seeds_differ_in_every_bit() -> None:
    values = {Machine(FOREST, seed=s).params()["wind"] for s in (1, 1 + (1 << 32), 1 + (1 << 62))}
    assert len(values) == 3


def test_the_calendar_never_ends() -> None:
    machine = Machine(scene("  a: {}", "params: {h: {from: time.hour, range: [0, 24]}}\nclock: {speed: 100000}"))
    assert 0 <= machine.look(100 * 366 * 86_400 * RATE).params["h"] < 24


# ---- layers


def test_a_ladder_mixes_its_neighbours_by_intensity() -> None:
    more = """params: {w: {start: 0.25}}
layers:
  x:
    intensity: {by: w, curve: [[0, 0], [1, 1]]}
    prompt: [{at: 0, text: low}, {at: 0.5, text: middle}, {at: 1, text: high}]"""
    machine = Machine(scene("  a: {setting: here}", more + "\nsetting: everywhere\navoid: noise"))
    found = machine.look().layer("x")
    assert dict(found.prompt.parts) == pytest.approx({"low, everywhere, here": 0.5, "middle, everywhere, here": 0.5})
    assert found.prompt.avoid == "noise" and found.gain == pytest.approx(0.25)
    machine.set_param("w", 1)
    assert dict(machine.look().layer("x").prompt.parts) == {"high, everywhere, here": 1.0}


def test_a_blend_mixes_prompts_and_a_layer_of_one_state_only_speaks_its_own() -> None:
    machine = Machine(
        scene(
            "  a: {setting: dry}\n  b: {setting: wet, layers: {y: {mute: false}}}",
            "layers: {x: x, y: {prompt: y, mute: true}}",
        )
    )
    machine.go("b", 10)
    machine.advance(frames(2.5))
    moment = machine.look()
    assert moment.blend == pytest.approx(0.25) and moment.previous == "a"
    assert dict(moment.layer("x").prompt.parts) == pytest.approx({"x, dry": 0.75, "x, wet": 0.25})
    assert moment.layer("x").gain == pytest.approx(1)
    assert dict(moment.layer("y").prompt.parts) == {"y, wet": 1.0}
    assert moment.layer("y").gain == pytest.approx(0.25)


def test_clips_kept_ready_are_those_of_the_warm_state_that_will_want_them() -> None:
    more = "layers: {x: {prompt: x, mute: true}, y: {prompt: y, mute: true}, z: z}"
    machine = Machine(
        scene(
            "  a: {setting: calm}\n"
            "  b: {setting: wild, warm: true, layers: {x: {mute: false}, z: {mute: true}}}\n"
            "  c: {layers: {y: {mute: false}}}",
            more,
        )
    )
    x, y, _ = machine.look().layers
    assert x.muted and x.warm and dict(x.prompt.parts) == {"x, wild": 1.0}
    assert y.muted and not y.warm
    machine.go("b", 0)
    assert [(m.muted, m.warm) for m in machine.look().layers] == [(False, True), (True, False), (True, False)]


def test_looking_ahead_changes_nothing_and_sees_the_blend_and_the_sun() -> None:
    one, two = Machine(FOREST), Machine(FOREST)
    one.go("day", 60)
    two.go("day", 60)
    ahead = one.look(frames(30))
    assert ahead.blend == pytest.approx(0.5)
    assert ahead.params["sun"] > one.look().params["sun"]
    one.look(frames(3600))
    run(one, 100)
    run(two, 100)
    assert one.look() == two.look()


def test_every_layer_can_say_why() -> None:
    machine = Machine(FOREST)
    machine.go("storm", 10)
    machine.advance(frames(5))
    why = machine.look().layer("chorus").why
    assert any("night 50 %" in w and "storm 50 %" in w for w in why)
    assert any(w.startswith("intensity 0.00 by sun = -1") for w in why)


# ---- sun, picture


@settings(max_examples=150, deadline=None)
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)),
    st.floats(-89, 89),
    st.floats(-179, 179),
)
def test_the_sun_agrees_with_astral(when: datetime, latitude: float, longitude: float) -> None:
    when = when.replace(tzinfo=UTC)
    theirs = astral.sun.elevation(astral.Observer(latitude, longitude), when, with_refraction=False)
    assert sun_elevation(when, latitude, longitude) == pytest.approx(theirs, abs=0.05)


def test_the_sun_moves_without_steps() -> None:
    machine = Machine(FOREST)
    values = [machine.look(frames(s)).params["sun"] for s in range(0, 3600, 7)]
    steps = [b - a for a, b in itertools.pairwise(values)]
    assert max(map(abs, steps)) < 1.0
    assert machine.scene_time(frames(3600)) - machine.scene_time(0) == timedelta(hours=24)


def test_the_diagram_shows_every_state_and_way_of_the_table() -> None:
    picture = draw_states(FOREST, "rain")
    root = xml.etree.ElementTree.fromstring(picture)
    space = {"s": "http://www.w3.org/2000/svg"}
    assert [g.get("data-state") for g in root.iterfind(".//s:g[@data-state]", space)] == list(FOREST.states)
    told = [t.text or "" for t in root.iterfind(".//s:title", space)]
    assert len(told) == len({(s, t.to) for s, state in FOREST.states.items() for t in state.transitions}) + 1
    assert any(re.match(r"rain → storm: wind > 0.7 and rain > 0.5", t) for t in told)
    assert any(t.startswith("from anywhere → storm: event storm_spell") for t in told)
    assert picture.count('font-weight="600"') == 1
    hostile = parse_scene('scene: 1\nstates: {"<script>&\\"": x}\n')
    xml.etree.ElementTree.fromstring(draw_states(hostile))
