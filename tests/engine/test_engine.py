"""The engine: the same night twice, faults that nobody hears, changes that are heard in time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from ambient.engine import Engine, Options, RealClock, render
from ambient.engine.core import status_layers
from ambient.errors import BackendError
from ambient.messages import BLOCK_FRAMES, RATE, Audio, Clip, ClipFailure, SceneEvent, frames
from ambient.scene import Scene, parse_scene
from ambient.testing import FakeBackend, ListSink, ManualClock, ScriptedGenerator

TWO_STATES = """
scene: 1
seed: 3
params:
  wind: {start: 0.4}
events:
  gust: {set: {wind: 1}, hold: 5s}
  crack: {fire: thunder}
layers:
  leaves: {prompt: leaves, intensity: {by: wind, curve: [[0, 0.2], [1, 1]]}}
  rain: {prompt: rain, mute: true}
  thunder: {prompt: [thunder, lightning], mute: true, scatter: {every: [5s, 9s], distance: 343}}
states:
  dry:
    setting: dry
    transitions: [{to: wet, after: 20s, over: 6s}]
  wet:
    setting: wet
    layers: {rain: {mute: false}}
    transitions: [{to: dry, after: 30s, over: 6s}]
"""
SCENE = parse_scene(TWO_STATES)
STILL = parse_scene("scene: 1\nstates: {forest: quiet beech forest}\n")


def play(engine: Engine, seconds: float) -> tuple[Audio, list[SceneEvent]]:
    audio, events = [], []
    for _ in range(round(seconds * RATE / BLOCK_FRAMES)):
        block = engine.step()
        audio.append(block.audio)
        events += block.events
    return np.concatenate(audio), events


def offline(scene: Scene = SCENE, generator: ScriptedGenerator | None = None, **options: object) -> Engine:
    return Engine(scene, generator or ScriptedGenerator(), Options(live=False, **options))  # type: ignore[arg-type]


def live(scene: Scene = STILL, generator: ScriptedGenerator | None = None) -> Engine:
    engine = Engine(scene, generator or ScriptedGenerator(), Options(live=True))
    for _ in range(2000):
        engine.prime()
        if engine.primed:
            return engine
    raise AssertionError("the first clips never come")


def levels_db(audio: Audio, seconds: float = 0.1) -> np.ndarray:
    n = frames(seconds)
    cut = audio[: len(audio) // n * n].reshape(-1, n, 2)
    return np.asarray(20 * np.log10(np.sqrt(np.mean(cut**2, axis=(1, 2))) + 1e-9))


# ---- offline


def test_rendering_twice_gives_the_same_samples_whatever_the_generators_pace() -> None:
    quick, _ = play(offline(), 40)
    slow, _ = play(offline(generator=ScriptedGenerator(delay_polls=37, generation_seconds=0.9)), 40)
    np.testing.assert_array_equal(quick, slow)
    other, _ = play(offline(seed=4), 40)
    assert not np.array_equal(quick, other)


def test_there_is_sound_from_the_first_moment_and_never_a_hole() -> None:
    audio, events = play(offline(), 60)
    levels = levels_db(audio)
    assert levels[1:].min() > -50
    assert any(e.kind == "transition" for e in events)
    assert np.abs(np.diff(audio, axis=0)).max() < 0.7
    assert np.isfinite(audio).all()


def test_render_writes_exactly_as_many_frames_as_asked_for() -> None:
    for seconds in (0.5, 1.0, 7.123):
        sink = ListSink()
        render(offline(), sink, frames(seconds))
        assert len(sink.audio) == frames(seconds)
        assert [b.start_frame for b in sink.blocks] == sorted(b.start_frame for b in sink.blocks)


def test_render_fires_events_at_their_frame_and_takes_the_limiters_delay_out() -> None:
    sink = ListSink()
    events = render(offline(STILL), sink, frames(2))
    delayed, _ = play(offline(STILL), 2.1)
    engine = offline(STILL)
    np.testing.assert_array_equal(sink.audio, delayed[engine.latency_frames :][: frames(2)])
    fired = render(offline(), ListSink(), frames(6), fire=[(frames(3), "crack")])
    assert [e.frame for e in fired if e.kind == "event"] == [frames(3)]
    assert not events


def test_joins_are_reported_where_clips_meet_on_one_lattice() -> None:
    engine = offline()
    play(engine, 60)
    joins = engine.joins()
    assert len(joins["leaves"]) >= 6
    assert all(0 <= j < 60 * RATE for j in joins["leaves"])
    assert joins["leaves"] == sorted(joins["leaves"])
    per = engine.generator.info.frames_per_latent
    assert len({j % per for j in joins["leaves"]}) <= 3  # regular, hurried and repaired overlaps


def test_solo_makes_and_plays_one_layer_only() -> None:
    generator = ScriptedGenerator()
    play(offline(generator=generator, solo="leaves"), 20)
    assert {r.key.layer for r in generator.submitted} == {"leaves"}


def test_regular_clips_are_as_long_as_was_measured_to_be_best() -> None:
    generator = ScriptedGenerator()
    play(offline(STILL, generator, clip_seconds=4.8), 30)
    lengths = {r.latent_frames * generator.info.frames_per_latent for r in generator.submitted}
    assert max(lengths) == frames(4.8)


@pytest.mark.parametrize(("mute", "left"), [("b", {"a", "c"}), ("geo", {"b", "c"}), ("signal", {"a", "b"})])
def test_layers_families_and_roles_can_be_left_out(mute: str, left: set[str]) -> None:
    text = """scene: 1
layers:
  a: {prompt: one, family: geo, role: keynote}
  b: {prompt: two, family: bio}
  c: {prompt: three, role: signal, scatter: {every: 1s}}
states: {s: {}}"""
    generator = ScriptedGenerator()
    engine = offline(parse_scene(text), generator, mute=frozenset([mute]))
    play(engine, 10)
    assert {r.key.layer for r in generator.submitted} == left == {n for n, level in engine.levels.items() if level > 0}
    told = [(row["family"], row["role"]) for row in status_layers(engine)]
    assert told == [("geo", "keynote"), ("bio", None), (None, "signal")]


def test_muted_layers_cost_nothing() -> None:
    generator = ScriptedGenerator()
    play(offline(generator=generator), 10)
    assert "rain" not in {r.key.layer for r in generator.submitted}


def test_a_layer_that_comes_back_goes_on_where_it_stopped() -> None:
    generator = ScriptedGenerator()
    engine = offline(generator=generator)
    play(engine, 100)
    rain = [r for r in generator.submitted if r.key.layer == "rain"]
    assert sum(r.tail is None for r in rain) == 1
    assert len(rain) > 4


def test_offline_a_model_that_always_fails_is_an_error() -> None:
    generator = ScriptedGenerator(fault=lambda clip: ScriptedGenerator.failure(clip.request))
    with pytest.raises(BackendError, match="cannot be generated: made to fail"):
        play(offline(generator=generator), 5)


def test_offline_a_model_whose_clips_must_not_be_heard_is_an_error() -> None:
    generator = ScriptedGenerator(fault=lambda clip: dataclasses.replace(clip, audio=clip.audio + np.float32(0.6)))
    with pytest.raises(BackendError, match=r"cannot be generated: .* constant offset"):
        play(offline(generator=generator), 5)


# ---- live: whatever happens, sound goes on


class Once:
    """Spoils every so many-th clip, after the first two."""

    def __init__(self, every: int, spoil: Callable[[Clip], Clip | ClipFailure | None]) -> None:
        self.every, self.spoil, self.seen = every, spoil, 0

    def __call__(self, clip: Clip) -> Clip | ClipFailure | None:
        self.seen += 1
        return self.spoil(clip) if self.seen > 2 and self.seen % self.every == 0 else clip


def with_audio(change: Callable[[Audio], Audio]) -> Callable[[Clip], Clip]:
    return lambda clip: dataclasses.replace(clip, audio=change(clip.audio).astype(np.float32))


SPOILED: dict[str, Callable[[Clip], Clip | ClipFailure | None]] = {
    "not a number": with_audio(lambda a: np.where(np.arange(len(a))[:, None] == 99, np.nan, a)),
    "silent": with_audio(lambda a: a * 0),
    "constant offset": with_audio(lambda a: a + 0.5),
    "clipping": with_audio(lambda a: np.clip(a * 100, -1, 1)),
    "too short": with_audio(lambda a: a[:100]),
    "wrong channels": with_audio(lambda a: a[:, :1]),
    "much too loud": with_audio(lambda a: a * 6),
    "worker died": lambda clip: ScriptedGenerator.failure(clip.request, "worker_died"),
    "out of memory": lambda clip: ScriptedGenerator.failure(clip.request, "out_of_memory"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_bad_clips_are_never_heard_and_leave_no_hole(name: str) -> None:
    generator = ScriptedGenerator(fault=Once(2, SPOILED[name]))
    engine = live(generator=generator)
    audio, _ = play(engine, 60)
    assert np.isfinite(audio).all()
    levels = levels_db(audio)[10:]
    assert levels.min() > -40 and np.ptp(levels) < 6
    assert engine.fault_count > 0 and engine.counts.underruns == 0


def test_a_generator_that_stops_for_ever_is_replaced_by_own_material() -> None:
    generator = ScriptedGenerator()
    engine = live(generator=generator)
    play(engine, 10)
    generator.fault = lambda clip: None
    audio, _ = play(engine, 90)
    assert levels_db(audio).min() > -40
    assert engine.counts.underruns == 0 and engine.counts.fallback_blocks > 50 * 30
    heard = audio[60 * RATE :].mean(1)
    spectrum = np.abs(np.fft.rfft(heard, 2 * len(heard))) ** 2
    similar = np.fft.irfft(spectrum)[: len(heard) // 2]
    assert similar[RATE:].max() / similar[0] < 0.6  # it does not loop


def test_late_clips_go_on_from_their_tail() -> None:
    # every clip takes 8 s of listening: slower than real time at first, until the ladder has stepped down
    generator = ScriptedGenerator(delay_polls=400, generation_seconds=8.0)
    engine = Engine(STILL, generator, Options(live=True))
    while not engine.primed:
        engine.prime()
    audio, _ = play(engine, 120)
    assert levels_db(audio)[1:].min() > -45
    assert engine.counts.underruns == 0
    assert engine.ladder.rung.level > 0
    requests = generator.submitted
    assert sum(r.tail is None for r in requests) == 1
    assert min(r.steps for r in requests) == engine.generator.info.min_steps


def test_a_generator_that_recovers_is_taken_back_to_full_quality() -> None:
    generator = ScriptedGenerator(delay_polls=400, generation_seconds=8.0)
    engine = live(generator=generator)
    play(engine, 30)
    assert engine.ladder.rung.level > 0
    generator.delay_polls, generator.generation_seconds = 2, 0.05
    play(engine, 240)
    assert engine.ladder.rung.level == 0


def test_a_changed_scene_is_heard_within_a_second() -> None:
    generator = ScriptedGenerator(delay_polls=5, generation_seconds=0.1)
    engine = live(SCENE, generator)
    play(engine, 12)
    done = len(generator.submitted)
    engine.go("wet", over_seconds=0.5)
    at, bed, heard = engine.frame, engine.beds["leaves"], None
    for _ in range(100):
        engine.step()
        mix = bed.plan.mix_at(bed.head)
        if heard is None and mix is not None and "wet" in str(mix):
            heard = engine.frame - at
    assert heard is not None and heard <= RATE
    wet = [r for r in generator.submitted[done:] if r.key.layer == "leaves"]
    assert "wet" in str(wet[0].prompt) and wet[0].tail is not None


def test_a_change_does_not_wait_for_what_is_being_made_for_the_scene_as_it_was() -> None:
    generator = ScriptedGenerator(delay_polls=5, generation_seconds=0.1)
    engine = live(SCENE, generator)
    play(engine, 12)
    generator.delay_polls = 100_000  # the next batch takes for ever ...
    done = len(generator.submitted)
    while len(generator.submitted) == done:
        engine.step()
    generator.delay_polls = 5  # ... unless it is given up
    done = len(generator.submitted)
    engine.go("wet", over_seconds=0.2)
    play(engine, 0.4)
    hurried = generator.submitted[done:]
    assert hurried and "wet" in str(hurried[0].prompt)
    assert hurried[0].steps == generator.info.min_steps  # time presses
    play(engine, 1.0)
    assert "wet" in str(engine.beds["leaves"].plan.mix_at(engine.beds["leaves"].head))
    assert engine.counts.failures == 0 and engine.counts.underruns == 0
    # where time does not press, the full number of steps again
    play(engine, 12)
    assert generator.submitted[-1].steps == generator.info.steps


def test_a_parameter_that_moves_a_gain_is_heard_within_a_tenth_of_a_second() -> None:
    scene = parse_scene(TWO_STATES.replace("leaves, intensity", "leaves, level: 0, intensity"))
    engine = live(scene)
    play(engine, 8)
    engine.set_param("wind", 0.0)
    quiet, _ = play(engine, 2)
    engine.set_param("wind", 1.0)
    loud, _ = play(engine, 0.3)
    before, after = levels_db(quiet, 0.02)[-20:].mean(), levels_db(loud, 0.02)
    reached = np.flatnonzero(after > before + 10)
    assert len(reached) and reached[0] * 0.02 <= 0.1


def test_a_fired_single_event_sounds_after_the_way_of_its_sound() -> None:
    engine = offline()
    play(engine, 25)  # beds come first: by now one clip is ready
    engine.fire("crack")
    _, events = play(engine, 3)
    shot = next(e for e in events if e.kind == "oneshot")
    assert shot.name == "thunder"
    assert shot.frame - frames(25) <= BLOCK_FRAMES
    assert shot.detail["heard_frame"] == shot.frame + RATE  # 343 m away


def test_replacing_the_scene_keeps_the_sound_of_layers_that_stay() -> None:
    engine = live(SCENE)
    play(engine, 10)
    bed = engine.beds["leaves"]
    engine.replace_scene(
        parse_scene(TWO_STATES.replace("rain: {prompt: rain", "hail: {prompt: hail").replace("{rain:", "{hail:"))
    )
    audio, _ = play(engine, 10)
    assert engine.beds["leaves"] is bed and set(engine.beds) == {"leaves", "hail"}
    assert levels_db(audio).min() > -50


@pytest.mark.parametrize("wait", [1, 7, 23])
def test_a_layer_that_a_new_version_brings_ran_out_of_nothing_before_its_first_clip_came(wait: int) -> None:
    engine = live(SCENE, ScriptedGenerator(delay_polls=wait))
    play(engine, 5)
    engine.replace_scene(parse_scene(TWO_STATES.replace("layers:\n", "layers:\n  brook: a brook\n", 1)))
    audio, _ = play(engine, 8)
    assert engine.beds["brook"].sounded and levels_db(audio).min() > -50
    assert engine.counts.underruns == 0


def test_a_new_version_of_the_scene_goes_on_in_the_same_state_with_the_same_parameters() -> None:
    engine = live(SCENE)
    engine.go("wet", over_seconds=8.0)
    engine.set_param("wind", 0.9)
    play(engine, 4)
    before, made = engine.machine.look(), len(engine.generator.submitted)  # type: ignore[attr-defined]
    leaves = engine.beds["leaves"].plan.track
    engine.replace_scene(parse_scene(TWO_STATES.replace("lightning]", "lightning, a far rumble]")))
    after = engine.moment
    assert (after.state, after.previous) == ("wet", "dry") and after.blend == pytest.approx(before.blend, abs=0.01)
    assert after.params == before.params
    audio, _ = play(engine, 3)
    assert levels_db(audio).min() > -50 and engine.beds["leaves"].plan.track is leaves
    # nothing about the leaves has changed, so nothing is painted anew in a hurry
    asked = [r for r in engine.generator.submitted[made:] if r.key.layer == "leaves"]  # type: ignore[attr-defined]
    assert all(r.deadline_frame > engine.frame for r in asked)


def test_a_state_that_is_gone_leads_to_the_first_and_the_sound_goes_on() -> None:
    engine = live(SCENE)
    engine.go("wet", over_seconds=1.0)
    play(engine, 8)
    engine.replace_scene(parse_scene("scene: 1\nlayers: {leaves: leaves}\nstates: {calm: {}, still: {}}\n"))
    audio, _ = play(engine, 6)
    assert engine.moment.state == "calm" and levels_db(audio).min() > -50


# ---- clocks


def test_the_real_clock_leaves_gaps_out_and_never_goes_back() -> None:
    now = [100.0]
    clock = RealClock(monotonic=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
    clock.wait_until(RATE)
    assert now[0] == pytest.approx(101.0, abs=0.03)
    at = clock.now_frame()
    now[0] += 3600.0  # the machine slept for an hour
    assert clock.now_frame() - at < RATE
    assert clock.gaps == 1
    now[0] -= 5.0  # a broken monotonic clock
    assert clock.now_frame() >= at


def test_the_real_clock_follows_a_sound_cards_crystal() -> None:
    now = [0.0]
    clock = RealClock(monotonic=lambda: now[0])
    clock.trim(500)
    for _ in range(1000):
        now[0] += 0.1
        clock.now_frame()
    assert clock.now_frame() == pytest.approx(100 * RATE * 1.0005, abs=5)


def test_a_manual_clock_jumps_and_never_goes_back() -> None:
    clock = ManualClock()
    clock.wait_until(500)
    clock.wait_until(100)
    assert clock.now_frame() == 500


def test_the_fake_backend_keeps_the_promise_of_noise_by_position() -> None:
    # what the engine tests rest on: overlapping decodes of the same latents agree
    engine = offline(STILL)
    play(engine, 30)
    assert engine.counts.joins >= 3
    assert FakeBackend().info.frames_per_latent == engine.generator.info.frames_per_latent


# ---- sounds asked for in free text


def test_a_sound_that_is_asked_for_is_heard_once_where_it_was_placed() -> None:
    engine = live()
    play(engine, 1)
    engine.ask("thunder echoing in a canyon", distance_m=343, azimuth_deg=-30)
    _, events = play(engine, 12)
    shots = [e for e in events if e.kind == "oneshot"]
    assert len(shots) == 1 and shots[0].detail["heard_frame"] - shots[0].frame == pytest.approx(RATE, rel=0.01)
    assert (shots[0].detail["distance_m"], shots[0].detail["azimuth_deg"]) == (343, -30)
    made = [r for r in engine.generator.submitted if r.one_shot]  # type: ignore[attr-defined]
    assert [str(r.prompt) for r in made] == ["thunder echoing in a canyon"]
    assert not engine.shots and [row["name"] for row in status_layers(engine)] == ["forest"]  # nothing stays


def test_the_same_text_again_is_another_sound() -> None:
    engine = live()
    for _ in range(2):
        engine.ask("an owl")
        play(engine, 8)
    seeds = [r.seed for r in engine.generator.submitted if r.one_shot]  # type: ignore[attr-defined]
    assert len(seeds) == len(set(seeds)) == 2


def test_what_cannot_be_made_of_a_text_is_given_up_and_told() -> None:
    def refuse(clip: Clip) -> Clip | ClipFailure:
        return ScriptedGenerator.failure(clip.request) if clip.request.one_shot else clip

    engine = live(generator=ScriptedGenerator(fault=refuse))
    engine.ask("silence")
    audio, events = play(engine, 20)
    assert not [e for e in events if e.kind == "oneshot"] and not engine.shots
    assert "“silence” 1: no sound could be made of it" in engine.faults
    assert levels_db(audio).min() > -60


def test_too_many_texts_at_once_the_oldest_gives_way() -> None:
    engine = live()
    for i in range(9):
        engine.ask(f"sound {i}")
    _, events = play(engine, 30)
    assert {e.detail["layer"] for e in events if e.kind == "oneshot"} >= {f"“sound {i}” {i + 1}" for i in range(5, 9)}
    assert not engine.shots


def test_a_scene_that_is_replaced_keeps_what_was_asked_for() -> None:
    engine = live()
    engine.ask("an owl")
    engine.step()
    engine.replace_scene(parse_scene("scene: 1\nstates: {forest: another forest}\n"))
    _, events = play(engine, 8)
    assert [e.kind for e in events].count("oneshot") == 1
