"""The degrade ladder, the measured pace and the latent track."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambient.messages import RATE, Clip, ClipKey, ClipRequest, PromptMix
from ambient.plan import Ladder, LatentTrack, Pace
from ambient.testing import FakeBackend

INFO = FakeBackend().info


def test_rungs_give_up_steps_then_overlap_then_layers() -> None:
    ladder = Ladder(INFO)
    seen = [ladder.rung]
    for i in range(1, 8):
        assert ladder.update(i * 3 * RATE, 2.0, 2.0, late=False)
        seen.append(ladder.rung)
    assert [r.steps for r in seen[:4]] == [8, 6, 4, 4]
    assert [r.long_clips for r in seen[:4]] == [False, False, False, True]
    assert [r.resting_layers for r in seen[3:]] == [0, 1, 2, 3, 4]


def test_steps_down_at_once_and_up_only_after_a_calm_while() -> None:
    ladder = Ladder(INFO)
    assert ladder.update(0, 1.5, 1.5, late=False)
    assert not ladder.update(RATE, 1.5, 1.5, late=False)  # the rung is given time to show its effect
    now = 3 * RATE
    while not ladder.update(now, 0.3, 0.4, late=False):
        now += RATE // 10
        assert now < 20 * RATE
    assert now >= 12 * RATE
    assert ladder.rung.level == 0


def test_stays_where_the_better_rung_would_be_too_much() -> None:
    ladder = Ladder(INFO)
    ladder.update(0, 1.5, 1.5, late=False)
    assert not any(ladder.update(i * RATE, 0.6, 0.8, late=False) for i in range(3, 100))


def test_being_late_steps_down_whatever_the_load() -> None:
    assert Ladder(INFO).update(0, 0.1, 0.1, late=True)


def clip(seconds: float, latents: int = 100, steps: int = 8, cached: bool = False) -> Clip:
    request = ClipRequest(ClipKey("a", 0), 0, latents, 0, 1, 1, PromptMix.of("x"), steps, 2.0)
    return Clip(request, np.zeros((0, 2), np.float32), np.zeros((4, 0), np.float16), seconds, cached)


def test_pace_predicts_what_it_saw_and_believes_bad_news_sooner() -> None:
    pace = Pace()
    pace.observe(clip(0.0, cached=True))
    assert not pace.measured
    pace.observe(clip(0.8))
    assert pace.predict_seconds(100, 8) == pytest.approx(0.8)
    assert pace.predict_seconds(50, 8) == pytest.approx(0.4)
    assert 0.2 < pace.predict_seconds(50, 4) < 0.4  # the decoder's share does not halve
    pace.observe(clip(1.6))
    worse = pace.predict_seconds(100, 8)
    pace.observe(clip(0.4))
    assert worse == pytest.approx(1.2) and pace.predict_seconds(100, 8) > 1.0
    assert pace.speed(8, 0.08) == pytest.approx(8 / pace.predict_seconds(100, 8))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 40)), min_size=1, max_size=12))
def test_a_track_is_what_was_put_last(puts: list[tuple[int, int]]) -> None:
    track, model = LatentTrack(keep=64), {}
    for value, (back, length) in enumerate(puts, start=1):
        kept = min(back, track.end - track.start)
        start = track.end - kept
        latents = np.full((2, kept + length), value, np.float16)
        for p in range(start + kept, start + kept + length):
            model[p] = value
        track.put(start, kept, latents)
        assert track.end - track.start <= 64
        held = track.cut(track.start, track.end)[0]
        np.testing.assert_array_equal(held, [model[p] for p in range(track.start, track.end)])


def test_a_track_refuses_gaps_and_what_it_does_not_hold() -> None:
    track = LatentTrack()
    track.put(0, 0, np.zeros((2, 10), np.float16))
    with pytest.raises(ValueError, match="do not continue"):
        track.put(12, 0, np.zeros((2, 4), np.float16))
    with pytest.raises(ValueError, match="not held"):
        track.cut(5, 11)
