"""A live stream: plays by itself, obeys from any thread, survives its sinks and its generator, ends softly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from ambient.engine import Engine, LiveStream, Options, RealClock
from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, RATE, Block
from ambient.scene import parse_scene
from ambient.testing import ListSink, ManualClock, ScriptedGenerator

SCENE = parse_scene(
    """
scene: 1
params: {wind: {start: 0.4}, cloud: {from: weather.cloud, start: 0.2}}
events: {gust: {set: {wind: 1}}}
layers: {leaves: {prompt: leaves, intensity: {by: wind, curve: [[0, 0.2], [1, 1]]}}}
states:
  calm: {transitions: [{to: wild, event: gust, over: 1s}]}
  wild: {transitions: [{to: calm, after: 1h}]}
"""
)


def stream(*sinks: object, generator: ScriptedGenerator | None = None, **options: object) -> LiveStream:
    engine = Engine(SCENE, generator or ScriptedGenerator(), Options(live=True))
    return LiveStream("calm", engine, sinks, ManualClock(), **options)  # type: ignore[arg-type]


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


class Breaking(ListSink):
    """A sink that fails after so many blocks."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def write(self, block: Block) -> None:
        """Keeps the block, or fails."""
        if len(self.blocks) >= self.after:
            raise SinkError("the cable was pulled")
        super().write(block)


def test_blocks_follow_each_other_without_a_hole_and_end_softly() -> None:
    sink = ListSink()
    live = stream(sink)
    assert not live.status()["playing"]
    live.start()
    until(lambda: len(sink.blocks) > 500)
    live.stop()
    live.stop()
    starts = [b.start_frame for b in sink.blocks]
    assert starts == list(range(0, len(starts) * BLOCK_FRAMES, BLOCK_FRAMES))
    assert sink.closed and not sink.blocks[-1].audio.any()
    tail = np.sqrt(np.mean(sink.audio[-RATE // 2 - BLOCK_FRAMES : -BLOCK_FRAMES].reshape(10, -1) ** 2, axis=1))
    assert tail[-1] < 0.2 * tail[0]


def test_a_sink_that_fails_is_dropped_and_the_others_play_on() -> None:
    broken, whole = Breaking(after=50), ListSink()
    live = stream(broken, whole)
    live.start()
    until(lambda: len(whole.blocks) > 300)
    assert broken.closed and len(broken.blocks) == 50
    until(lambda: "the cable was pulled" in live.status()["faults"])
    live.stop()


def test_controls_act_from_any_thread_and_refuse_unknown_names() -> None:
    sink, events = ListSink(), []
    live = stream(sink, on_event=events.append)
    live.start()
    until(lambda: live.playing)
    others = [threading.Thread(target=live.set_param, args=("wind", v)) for v in (0.1, 0.7, 0.9)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    until(lambda: live.status()["params"]["wind"] in (0.1, 0.7, 0.9))
    live.fire("gust")
    until(lambda: live.status()["state"] == "wild")
    live.go("calm")
    until(lambda: live.status()["state"] == "calm")
    for source, value in (("weather.cloud", 0.75), ("weather.cloud", float("nan")), ("weather.nobody", 1.0)):
        live.feed(source, value)
    until(lambda: live.status()["params"]["cloud"] == 0.75)
    assert [e.detail["to"] for e in events if e.kind == "transition"] == ["wild", "calm"]
    for call, message in (
        (lambda: live.set_param("wnd", 1), "did you mean 'wind'"),
        (lambda: live.set_param("wind", float("nan")), "finite number"),
        (lambda: live.fire("gusts"), "did you mean 'gust'"),
        (lambda: live.go("wilder"), "did you mean 'wild'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    live.stop()


def test_status_and_description_are_what_doors_are_promised() -> None:
    live = stream(ListSink())
    live.start()
    until(lambda: live.status()["counts"]["clips"] > 2)
    status, description = live.status(), live.describe()
    live.stop()
    assert {"stream", "frame", "state", "previous", "blend", "params", "layers", "seconds_ahead", "speed"} <= set(
        status
    )
    assert {"degrade_level", "model_ready", "loudness_lufs", "counts", "faults"} <= set(status)
    assert set(status["layers"][0]) >= {"name", "prompt", "gain", "muted", "level_db", "seconds_ahead", "why"}
    assert set(description) >= {"scene", "states", "start", "transitions", "params", "events", "layers"}


def test_a_stream_whose_generator_goes_silent_still_starts_and_ends() -> None:
    generator = ScriptedGenerator(fault=lambda clip: None)
    live = stream(ListSink(), generator=generator)
    live.start()
    until(lambda: live.playing)  # after its patience, on a clock that jumps
    live.stop()
    assert generator.closed


def test_the_engine_is_paced_by_the_clock_with_a_short_lead() -> None:
    now = [0.0]
    lock = threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            now[0] += seconds

    sink = ListSink()
    engine = Engine(SCENE, ScriptedGenerator(), Options(live=True))
    clock = RealClock(monotonic=lambda: now[0], sleep=sleep)
    live = LiveStream("calm", engine, [sink], clock)
    live.start()
    until(lambda: live.playing)
    began = now[0]
    until(lambda: len(sink.blocks) > 200)
    live.stop()
    played = len(sink.blocks) * BLOCK_FRAMES / RATE - 0.5  # what the fade-out adds is not paced
    assert now[0] - began == pytest.approx(played - 0.06, abs=0.3)


def test_a_stream_that_nobody_hears_rests_and_is_back_with_the_next_block() -> None:
    sink, generator, listening = ListSink(), ScriptedGenerator(), threading.Event()
    engine = Engine(SCENE, generator, Options(live=True))
    clock = ManualClock()
    live = LiveStream("calm", engine, [sink], clock, heard=listening.is_set, idle_seconds=3.0)
    live.start()
    try:
        until(lambda: live.status()["resting"])
        heard, asked, frame = len(sink.blocks), len(generator.submitted), engine.frame
        assert 3.0 <= frame / RATE < 3.5
        live.set_param("wind", 1.0)
        before = clock.now_frame()
        until(lambda: clock.now_frame() > before + 60 * RATE)
        assert len(sink.blocks) == heard and len(generator.submitted) == asked  # no sound, no work
        listening.set()
        until(lambda: len(sink.blocks) > heard + 50)
    finally:
        live.stop()
    first = sink.blocks[heard]
    assert first.discontinuity and first.start_frame - frame >= 60 * RATE  # the scene's time went on
    assert (first.start_frame - frame) % 3840 == 0
    after = np.concatenate([b.audio for b in sink.blocks[heard + 5 : heard + 50]])
    assert np.sqrt(np.mean(after**2)) > 0.01  # sound at once, from what was ready
    starts = [b.start_frame for b in sink.blocks[heard:]]
    assert starts == list(range(starts[0], starts[0] + len(starts) * BLOCK_FRAMES, BLOCK_FRAMES))
    assert engine.machine.params()["wind"] == 1.0 and engine.counts.underruns == 0
