"""Recorded sessions: the same night again, to the sample, whatever time did to the first one."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ambient.engine import Engine, Options
from ambient.engine.journal import Recorder
from ambient.engine.replay import Replay
from ambient.errors import ReplayError
from ambient.messages import BLOCK_FRAMES, Audio, Clip, ClipFailure
from ambient.scene import Scene, parse_scene
from ambient.testing import FakeBackend, ScriptedGenerator

TEXT = """
scene: 1
seed: 5
params:
  wind: {start: 0.4, wander: {depth: 0.2, period: 20s}}
  wet: {start: 0, from: weather.rain}
events:
  gust: {set: {wind: 1}, hold: 3s}
  crack: {fire: thunder}
layers:
  leaves: {prompt: leaves, intensity: {by: wind, curve: [[0, 0.2], [1, 1]]}}
  rain: {prompt: rain, mute: true}
  thunder: {prompt: [thunder, lightning], mute: true, scatter: {every: [3s, 6s], distance: 343}}
states:
  dry: {setting: dry, transitions: [{to: wet, after: [5s, 9s], over: 3s}]}
  wet: {setting: wet, layers: {rain: {mute: false}}, transitions: [{to: dry, when: wet < 0.1, for: 4s}]}
"""
CHANGED = TEXT.replace("prompt: leaves", "prompt: dry grass").replace("layers:\n", "layers:\n  brook: a brook\n", 1)


def scene(text: str = TEXT) -> Scene:
    return parse_scene(text, "night.yaml")


class Uneven(ScriptedGenerator):
    """Takes another time for each clip, and fails at some."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        super().__init__(fault=self._sometimes)

    def submit(self, *given: object) -> None:
        self.delay_polls = int(self._random.choice([0, 3, 20, 90]))
        super().submit(*given)  # type: ignore[arg-type]

    def _sometimes(self, clip: Clip) -> Clip | ClipFailure:
        self.generation_seconds = float(self._random.uniform(0.01, 0.9))
        return self.failure(clip.request, "timeout") if self._random.random() < 0.15 else clip


Act = tuple[int, Callable[[Engine], None]]
ACTS: dict[str, Callable[[Engine], None]] = {
    "gust": lambda e: e.fire("gust"),
    "crack": lambda e: e.fire("crack"),
    "ask": lambda e: e.ask("an owl", distance_m=20.0),
    "calm": lambda e: e.set_param("wind", 0.05),
    "as it likes": lambda e: e.set_param("wind", None),
    "rain comes": lambda e: e.feed("weather.rain", 0.8),
    "go wet": lambda e: e.go("wet", 2.0),
    "go dry": lambda e: e.go("dry"),
    "another version": lambda e: e.replace_scene(scene(CHANGED)),
    "rest": lambda e: e.skip(777_777),
}


def session(log: pathlib.Path, acts: list[tuple[int, str]], seed: int, blocks: int = 700) -> tuple[Audio, Engine]:
    recorder = Recorder(log, "bundled")
    engine = Engine(scene(), recorder.generator(Uneven(seed)), Options(live=True))
    recorder.follow(engine)
    while not engine.primed:
        engine.prime()
    audio = []
    for i in range(blocks):
        for at, act in acts:
            if at == i:
                ACTS[act](engine)
        audio.append(engine.step().audio)
    recorder.close()
    return np.concatenate(audio), engine


def again(log: pathlib.Path) -> tuple[Audio, Engine]:
    replay = Replay(log)
    engine = replay.engine(ScriptedGenerator())
    blocks = [replay.step().audio for _ in range(replay.length_frames // BLOCK_FRAMES)]
    return np.concatenate(blocks), engine


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.tuples(st.integers(0, 699), st.sampled_from(sorted(ACTS))), max_size=7),
    st.integers(0, 2**32 - 1),
)
def test_a_replay_is_the_session_to_the_sample(tmp_path: pathlib.Path, acts: list[tuple[int, str]], seed: int) -> None:
    log = tmp_path / "night.jsonl"
    heard, engine = session(log, acts, seed)
    replayed, second = again(log)
    np.testing.assert_array_equal(heard, replayed)
    assert second.counts == engine.counts and list(second.faults) == list(engine.faults)


def test_the_log_tells_what_was_done_and_what_went_wrong(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "deep" / "night.jsonl"
    _, engine = session(log, [(100, "gust"), (300, "rain comes")], seed=1)
    head, *rows = map(json.loads, log.read_text().splitlines())
    assert head["scene"].items() >= {"name": "night", "text": TEXT, "recordings": [], "models": {}}.items()
    done = {r["do"]: r for r in rows}
    assert done["fire"]["at"] == 100 * BLOCK_FRAMES and done["fire"]["event"] == "gust"
    assert (done["feed"]["source"], done["feed"]["value"]) == ("weather.rain", 0.8)
    assert [r["text"] for r in rows if r["do"] == "fault"] == list(engine.faults) != []
    assert rows[-1]["do"] == "end" and rows[-1]["at"] == engine.frame


def test_a_log_that_was_cut_off_is_replayed_as_far_as_it_goes(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "night.jsonl"
    heard, _ = session(log, [(200, "crack")], seed=2)
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) * 2 // 3])
    replayed, _ = again(log)
    assert 0 < len(replayed) < len(heard)
    np.testing.assert_array_equal(heard[: len(replayed)], replayed)


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda lines: ["scene: 1"], "is no log|damaged"),
        (lambda lines: [], "is no log"),
        (lambda lines: [lines[0].replace('"log": 1', '"log": 99'), *lines[1:]], "is no log"),
        (lambda lines: [lines[0], *lines[1:3], "{]", *lines[3:]], ":4: the log is damaged"),
        (lambda lines: [lines[0], lines[-1], *lines[1:]], ":3: the log is damaged: time goes back"),
        (lambda lines: lines[:1], "ended before it sounded"),
        (lambda lines: [lines[0].replace("states:", "statues:"), *lines[1:]], "unknown key 'statues'"),
        (lambda lines: [lines[0].replace('"seed"', '"sheep"'), *lines[1:]], "lacks 'seed'"),
        (lambda lines: [lines[0].replace("seed: 5", "seed: 6"), *lines[1:]], "departs from the record"),
        (lambda lines: [x.replace('"gust"', '"ghost"') for x in lines], "ghost"),
        (lambda lines: [lines[0].replace(FakeBackend().info.fingerprint, "abc"), *lines[1:]], "other weights"),
    ],
)
def test_a_log_that_leads_nowhere_says_so(
    tmp_path: pathlib.Path, break_it: Callable[[list[str]], list[str]], told: str
) -> None:
    log = tmp_path / "night.jsonl"
    session(log, [(100, "gust")], seed=3, blocks=150)
    before = log.read_text().splitlines()
    lines = break_it(before)
    assert lines != before
    log.write_text("".join(f"{x}\n" for x in lines))
    with pytest.raises(Exception, match=told) as caught:
        again(log)
    assert type(caught.value).__name__ in ("ReplayError", "SceneError")


def test_a_full_disk_ends_the_record_and_not_the_sound(tmp_path: pathlib.Path) -> None:
    engine = Engine(scene(), ScriptedGenerator(), Options(live=True))
    recorder = Recorder(pathlib.Path("/dev/full"), "bundled")
    recorder.follow(engine)
    for _ in range(40):
        engine.step()
        recorder.note("fault", {"text": "x" * 4000})
    recorder.close()
    assert any("record in /dev/full ends here" in f for f in engine.faults)


def test_the_place_for_the_log_must_be_writable(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="cannot be recorded"):
        Recorder(tmp_path / "file" / "log", "bundled")
    with pytest.raises(ReplayError, match="cannot be read"):
        Replay(tmp_path / "missing.jsonl")
