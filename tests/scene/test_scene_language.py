"""The language, word by word: each test would fail if a word of the reference meant something else."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.engine import Engine, Options
from ambient.messages import RATE, LayerMoment, ScatterMoment, SceneEvent, frames
from ambient.scene import Machine, Scene, parse_scene
from ambient.testing import ScriptedGenerator


def scene(body: str) -> Scene:
    return parse_scene("scene: 1\n" + body)


def run(machine: Machine, until: float) -> list[SceneEvent]:
    events, frame = [], machine.frame
    while frame <= frames(until):
        events += machine.advance(frame)
        frame += RATE
    return events


def moves(events: list[SceneEvent]) -> list[tuple[float, str]]:
    return [(e.frame / RATE, str(e.detail["to"])) for e in events if e.kind == "transition"]


def layer(machine: Machine, name: str = "x") -> LayerMoment:
    return machine.look().layer(name)


def scatter(machine: Machine, name: str = "x") -> ScatterMoment:
    found = layer(machine, name).scatter
    assert found is not None
    return found


# ---- top


def test_seed_is_behind_every_choice() -> None:
    text = """
layers: {x: [one, two, three, four]}
states:
  a: {transitions: [{to: b, after: [10s, 10m], over: 0s}, {to: c, after: [10s, 10m], chance: 0.5, over: 0s}]}
  b: {transitions: [{to: a, after: [10s, 10m], over: 0s}]}
  c: {transitions: [{to: a, after: [10s, 10m], over: 0s}]}
"""
    nights = {}
    for seed in (0, 1, 0):
        machine = Machine(scene(f"seed: {seed}" + text))
        found = moves(run(machine, 2 * 3600))
        assert nights.setdefault(seed, found) == found
    assert nights[0] != nights[1]
    assert moves(run(Machine(scene("seed: 0" + text), seed=1), 2 * 3600)) == nights[1]


def test_setting_of_the_scene_and_then_of_the_state_join_every_bed() -> None:
    text = "setting: by the sea\navoid: music\nlayers: {x: waves, y: {prompt: gull, scatter: {every: 5s}}}\n"
    machine = Machine(scene(text + "states: {a: {setting: at night}}"))
    assert str(layer(machine).prompt) == "waves, by the sea, at night" and layer(machine).prompt.avoid == "music"
    assert [str(v) for v in scatter(machine, "y").variants] == ["gull"]  # a setting would drown a single event


def test_start_names_the_first_state_and_else_it_is_the_first_listed() -> None:
    assert Machine(scene("states: {a: one, b: two}")).state == "a"
    assert Machine(scene("start: b\nstates: {a: one, b: two}")).state == "b"


def test_the_loudness_aimed_at_is_24_lufs_below_full_scale_unless_it_is_given() -> None:
    assert scene("states: {a: one}").loudness == -24

    def sustained(loudness: str) -> float:
        engine = Engine(scene(f"{loudness}states: {{a: one}}"), ScriptedGenerator(), Options(live=False))
        for _ in range(20 * 50):
            engine.step()
        assert engine.loudness_lufs is not None
        return engine.loudness_lufs

    assert sustained("") == pytest.approx(-24, abs=2)
    assert sustained("loudness: -34\n") == pytest.approx(-34, abs=2)


def test_steps_and_guidance_are_those_of_the_layer_and_else_of_the_scene() -> None:
    text = "steps: 6\nguidance: 3\nlayers: {x: one, y: {prompt: two, steps: 4, guidance: 5}}\nstates: {a: {}}"
    generator = ScriptedGenerator()
    engine = Engine(scene(text), generator, Options(live=False))
    for _ in range(100):
        engine.step()
    found = {(r.key.layer, r.steps, r.guidance) for r in generator.submitted}
    assert found == {("x", 6, 3.0), ("y", 4, 5.0)}


def test_durations_have_four_units() -> None:
    def stay(text: str) -> float | None:
        return scene(f"states: {{a: {{stay: {text}}}}}").states["a"].stay

    assert [stay(t) for t in ("1500ms", "1.5s", "2m", "1.5h", "90 s")] == [1.5, 1.5, 120, 5400, 90]


def test_the_clock_says_what_it_is_told_and_else_21_june_or_now() -> None:
    place = "place: {lat: 52.1, lon: 5.7, tz: Europe/Amsterdam}\n"
    plain = Machine(scene(place + "states: {a: one}"))
    assert plain.scene_time(0).isoformat() == "2025-06-21T12:00:00+02:00"
    assert plain.scene_time(60 * RATE).minute == 1
    told = place + 'clock: {date: 2026-01-15, start: "22:30", speed: 60}\nstates: {a: one}'
    machine = Machine(scene(told))
    assert machine.scene_time(0).isoformat() == "2026-01-15T22:30:00+01:00"
    assert machine.scene_time(60 * RATE).isoformat() == "2026-01-15T23:30:00+01:00"
    now = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert Machine(scene(place + "states: {a: one}"), live_start=now).scene_time(0) == now


# ---- parameters


def test_a_parameter_comes_from_any_kind_of_input_and_is_clamped_to_its_range() -> None:
    text = """params:
  w: weather.rain
  m: {from: "mqtt:house/door", range: [0, 2]}
  o: {from: "osc:/wind", range: [-1, 1], start: -1}
  free: {range: [3, 9]}
states: {a: one}"""
    machine = Machine(scene(text))
    assert machine.params() == {"w": 0, "m": 0, "o": -1, "free": 3}
    for source, value in (("weather.rain", 5), ("mqtt:house/door", 1.5), ("osc:/wind", -3), ("osc:/other", 1)):
        machine.feed(source, value)
    machine.set_param("free", 100)
    assert machine.params() == {"w": 1, "m": 1.5, "o": -1, "free": 9}


def test_the_hour_and_the_sun_are_inputs() -> None:
    text = """place: {lat: 52.1, lon: 5.7, tz: Europe/Amsterdam}
clock: {date: 2025-06-21, start: "13:40"}
params: {hour: {from: time.hour, range: [0, 24]}, sun: {from: sun.elevation, range: [-90, 90]}}
states: {a: one}"""
    found = Machine(scene(text)).params()
    assert found["hour"] == pytest.approx(13 + 40 / 60)
    assert found["sun"] == pytest.approx(61.3, abs=0.2)  # 90 − 52.1 + 23.4, at the sun's own noon


def test_when_an_input_falls_silent_start_and_wander_return() -> None:
    text = "params: {x: {from: weather.wind, start: 0.5, wander: {depth: 0.2, period: 60s}, stale: 10s}}\n"
    told, untold = Machine(scene(text + "states: {a: one}")), Machine(scene(text + "states: {a: one}"))
    told.feed("weather.wind", 1.0)
    run(told, 10)
    run(untold, 10)
    assert told.params()["x"] == 1.0 and untold.params()["x"] != 0.5
    run(told, 15)
    run(untold, 15)
    assert told.params() == untold.params()


def test_what_is_set_by_hand_neither_wanders_nor_grows_stale_and_lasts_until_the_input_speaks() -> None:
    text = "params: {x: {from: weather.wind, wander: {depth: 1}, stale: 5s}}\nstates: {a: one}"
    machine = Machine(scene(text))
    machine.set_param("x", 0.8)
    run(machine, 60)
    assert machine.params()["x"] == 0.8
    machine.feed("weather.wind", 0.3)
    assert machine.params()["x"] == 0.3


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 20), st.floats(0.1, 20), st.lists(st.floats(0.01, 1.7), min_size=1, max_size=20))
def test_a_hold_ends_at_its_own_moment_however_the_value_is_smoothed_or_asked_for(
    hold: float, tau: float, blocks: list[float]
) -> None:
    text = f"params: {{x: {{smooth: {tau:.3f}s}}}}\nevents: {{e: {{set: {{x: 1}}, hold: {hold:.3f}s}}}}\n"
    asked, plain = Machine(scene(text + "states: {a: one}")), Machine(scene(text + "states: {a: one}"))
    for machine in (asked, plain):
        machine.advance(RATE // 3)
        machine.fire("e")
    end, frame = RATE // 3 + frames(round(hold, 3)), RATE // 3
    for block in itertools.cycle(blocks):
        frame += frames(block)
        if frame > end + 3 * RATE:
            break
        asked.advance(frame)
        assert asked.params()["x"] == pytest.approx(plain.look(frame).params["x"], abs=1e-9)
    rising = [plain.look(f).params["x"] for f in (end - RATE // 50, end)]
    falling = [plain.look(f).params["x"] for f in (end, end + RATE // 50)]
    assert rising[0] <= rising[1] and falling[0] > falling[1]


# ---- events


def test_what_an_event_sets_stays_until_it_is_set_again() -> None:
    machine = Machine(scene("params: {x: weather.wind}\nevents: {e: {set: {x: 1}}}\nstates: {a: one}"))
    machine.fire("e")
    run(machine, 3600)
    machine.feed("weather.wind", 0.5)
    assert machine.params()["x"] == 1
    machine.set_param("x", 0.2)
    assert machine.params()["x"] == 0.2


# ---- layers


def test_variants_take_turns_from_visit_to_visit() -> None:
    text = """layers: {x: [one, two, three]}
states:
  a: {transitions: [{to: b, after: 10s, over: 0s}]}
  b: {transitions: [{to: a, after: 10s, over: 0s}]}"""
    machine, heard = Machine(scene(text)), []
    for second in range(0, 400, 10):
        machine.advance(frames(second + 1))
        heard.append(str(layer(machine).prompt))
    assert set(heard) == {"one", "two", "three"}


def test_level_is_in_decibels_and_that_of_a_state_replaces_the_layers() -> None:
    machine = Machine(scene("layers: {x: {prompt: x, level: -6}}\nstates: {a: {}, b: {layers: {x: {level: -20}}}}"))
    assert layer(machine).gain == pytest.approx(10 ** (-6 / 20))
    machine.go("b", 0)
    assert layer(machine).gain == pytest.approx(0.1)


def test_any_number_of_a_layer_may_follow_a_parameter_along_a_curve() -> None:
    text = """params: {p: {range: [0, 10]}}
layers:
  x:
    prompt: x
    intensity: {by: p, curve: [[2, 0.2], [4, 1], [8, 0.5]]}
    level: {by: p, curve: [[2, -20], [4, 0]]}
    width: {by: p, curve: [[2, 0.5], [4, 1]]}
    scatter:
      rate: {by: p, curve: [[2, 10], [4, 30]]}
      distance: {by: p, curve: [[2, 1000], [4, 10]]}
      azimuth: [-90, {by: p, curve: [[2, -80], [4, 90]]}]
      gain: [{by: p, curve: [[2, 0], [4, -12]]}, {by: p, curve: [[2, -6], [4, 0]]}]
states: {a: {}}"""
    machine = Machine(scene(text))
    found = []
    for value in (0, 2, 3, 4, 6, 10):
        machine.set_param("p", value)
        s = scatter(machine)
        level = {0: -20, 2: -20, 3: -10}.get(value, 0)
        found.append(round(layer(machine).gain / 10 ** (level / 20), 6))
        assert s.rate_per_minute == pytest.approx({0: 10, 2: 10, 3: 20}.get(value, 30))
        assert s.distance_m == pytest.approx({0: (1000, 1000), 2: (1000, 1000), 3: (505, 505)}.get(value, (10, 10)))
        assert s.azimuth_deg == pytest.approx({0: (-90, -80), 2: (-90, -80), 3: (-90, 5)}.get(value, (-90, 90)))
        assert s.gain_db == pytest.approx({0: (-6, 0), 2: (-6, 0), 3: (-6, -3)}.get(value, (-12, 0)))
        assert layer(machine).width == pytest.approx({0: 0.5, 2: 0.5, 3: 0.75}.get(value, 1))
    assert found == [0.2, 0.2, 0.6, 1, 0.75, 0.5]


def test_family_and_role_go_along_with_a_layer() -> None:
    found = layer(Machine(scene("layers: {x: {prompt: x, family: bio, role: soundmark}}\nstates: {a: {}}")))
    assert (found.family, found.role) == ("bio", "soundmark")


def test_a_state_changes_of_single_events_what_it_names_and_leaves_the_rest() -> None:
    text = """layers:
  x: {prompt: x, scatter: {every: [5s, 9s], most: 2, distance: [3, 7], azimuth: [10, 20], gain: -6, bank: 3}}
states:
  a: {}
  b: {layers: {x: {scatter: {distance: 40}}}}
  c: {layers: {x: {scatter: {rate: 12, most: 1}}}}"""
    machine = Machine(scene(text))
    plain = scatter(machine)
    machine.go("b", 0)
    far = scatter(machine)
    assert far.distance_m == (40, 40)
    assert (far.every_seconds, far.most, far.azimuth_deg, far.gain_db, far.bank) == ((5, 9), 2, (10, 20), (-6, -6), 3)
    machine.go("c", 0)
    dense = scatter(machine)
    assert (dense.every_seconds, dense.rate_per_minute, dense.most) == (None, 12, 1)
    assert (dense.distance_m, dense.bank) == (plain.distance_m, 3)


# ---- transitions


def test_all_given_keys_must_hold() -> None:
    text = """params: {x: }
events: {e: {}}
states:
  a: {transitions: [{to: b, when: x > 0.5, after: 20s}, {to: c, event: e, when: x > 0.5, after: 5s}]}
  b: {transitions: [{to: a, after: 1h}]}
  c: {transitions: [{to: a, after: 1h}]}"""
    machine = Machine(scene(text))
    machine.set_param("x", 1)
    assert moves(run(machine, 60)) == [(20, "b")]
    machine = Machine(scene(text))
    run(machine, 30)
    machine.fire("e")
    assert machine.state == "a"
    machine.set_param("x", 1)
    machine.fire("e")
    assert machine.state == "c"


def test_an_event_with_a_clock_time_needs_both() -> None:
    text = """clock: {start: "22:29"}
params: {x: }
events: {e: {}}
states:
  a: {transitions: [{to: b, event: e, at: "22:30", when: x < 0.5}]}
  b: {transitions: [{to: a, after: 1h}]}"""
    machine = Machine(scene(text))
    machine.advance(frames(30))
    machine.fire("e")
    assert machine.state == "a"
    machine.advance(frames(60.5))
    machine.fire("e")
    assert machine.state == "b"


def test_the_states_own_ways_come_first_in_their_order_and_those_from_anywhere_last() -> None:
    text = """events: {e: {}, f: {}}
states:
  a: {transitions: [{to: b, event: e}, {to: c, event: e}]}
  b: {transitions: [{to: c, after: 1h}]}
  c: {transitions: [{to: a, after: 1h}]}
transitions: [{to: c, event: e}, {to: c, event: f}]"""
    machine = Machine(scene(text))
    machine.fire("e")
    assert machine.state == "b"
    machine.fire("e")
    assert machine.state == "c"
    machine = Machine(scene(text))
    machine.fire("f")
    assert machine.state == "c"


def test_to_the_present_state_nothing_happens() -> None:
    text = "events: {e: {}}\nstates: {a: one, b: two}\ntransitions: [{to: b, event: e, over: 10s}]"
    machine = Machine(scene(text))
    machine.fire("e")
    machine.advance(frames(4))
    machine.fire("e")
    machine.go("b")
    assert machine.blend == pytest.approx(0.4) and machine.previous == "a"
    assert moves(machine.advance(frames(5))) == []


def test_after_is_drawn_anew_from_its_range_at_every_visit() -> None:
    text = """states:
  a: {transitions: [{to: b, after: [10s, 20s], over: 0s}]}
  b: {transitions: [{to: a, after: 5s, over: 0s}]}"""
    found = moves(run(Machine(scene(text)), 20_000))
    waits = [b[0] - a[0] for a, b in itertools.pairwise(found) if b[1] == "b"]
    assert min(waits) >= 10 and max(waits) <= 21 and len(set(waits)) > 5


def test_chance_is_rolled_once_each_time_the_rest_comes_to_hold() -> None:
    text = """params: {x: }
states:
  a: {transitions: [{to: b, when: x > 0.5, chance: 0.3, over: 0s}]}
  b: {transitions: [{to: a, when: x < 0.5, over: 0s}]}"""
    machine, second, won = Machine(scene(text)), 0, 0
    for _ in range(400):
        for value in (1.0, 0.0):
            machine.set_param("x", value)
            second += 20
            found = moves(run(machine, second))
            won += found[-1:] != [] and found[-1][1] == "b"
            assert all(at <= second - 18 for at, _ in found)  # never later than in the first second
    assert won == pytest.approx(0.3 * 400, rel=0.25)


def test_a_clock_time_that_comes_during_a_stay_counts_when_the_stay_ends() -> None:
    text = """clock: {start: "22:00", speed: 60}
states:
  a: {stay: 50s, transitions: [{to: b, at: "22:30", over: 1s}]}
  b: {transitions: [{to: c, at: "22:10", over: 1s}]}
  c: {transitions: [{to: a, after: 10h}]}"""
    # 22:30 comes after 30 s; 22:10 had gone by before b was entered, and is not until the next evening
    found = moves(run(Machine(scene(text)), 60 * 24 + 20))
    assert found == [(50, "b"), (60 * 24 + 10, "c")]


def test_a_clock_time_at_which_another_key_fails_is_gone_until_the_next_day() -> None:
    text = """clock: {start: "22:00", speed: 60}
params: {rain: }
states:
  a: {transitions: [{to: b, at: "22:30", when: rain > 0.5}]}
  b: {transitions: [{to: a, after: 10h}]}"""
    machine = Machine(scene(text))
    run(machine, 40)
    machine.set_param("rain", 1)
    assert moves(run(machine, 60 * 24 + 40)) == [(60 * 24 + 30, "b")]


def test_the_first_states_own_stay_holds_too() -> None:
    text = "states: {a: {stay: 1m, transitions: [{to: b, after: 5s}]}, b: {transitions: [{to: a, after: 1h}]}}"
    assert moves(run(Machine(scene(text)), 100)) == [(60, "b")]


def test_a_blend_takes_45_seconds_unless_it_says_otherwise() -> None:
    machine = Machine(scene("states: {a: {transitions: [{to: b, after: 1s}]}, b: {transitions: [{to: a, after: 1h}]}}"))
    run(machine, 1)
    assert machine.look(frames(1 + 22.5)).blend == pytest.approx(0.5)
    assert machine.look(frames(46)).blend == 1


def test_conditions_are_looked_at_once_a_second_and_read_what_is_smoothed() -> None:
    text = """params: {x: {smooth: 10s}}
states: {a: {transitions: [{to: b, when: x > 0.9, over: 0s}]}, b: {transitions: [{to: a, after: 1h}]}}"""
    machine = Machine(scene(text))
    machine.advance(frames(0.25))
    machine.set_param("x", 1)
    assert moves(run(machine, 30)) == [(8, "b")]  # 0.9 is passed 7.7 s after 0.25 s
