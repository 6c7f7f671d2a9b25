"""Crossfades, timelines and remixing: nothing is lost, doubled, clicked or looped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt

from ambient.messages import RATE, Audio
from ambient.sound import Remix, Timeline, correlation, crossfade, weights


def noise(n: int, seed: int = 0, level: float = 0.1) -> Audio:
    return (np.random.default_rng(seed).standard_normal((n, 2)) * level).astype(np.float32)


@given(st.floats(-0.5, 1), st.integers(1, 5000))
def test_fades_keep_the_power_of_signals_so_correlated(rho: float, n: int) -> None:
    out, into = weights(n, rho)
    power = out.astype(float) ** 2 + into.astype(float) ** 2 + 2 * rho * out.astype(float) * into
    np.testing.assert_allclose(power, 1.0, atol=1e-5)
    if rho >= 0:  # below, both must rise above 1 on the way
        assert (np.diff(into) >= -1e-6).all() and (np.diff(out) <= 1e-6).all()
    np.testing.assert_allclose(into, out[::-1], atol=1e-6)


def test_the_law_follows_what_is_measured() -> None:
    a, b = noise(RATE, 1), noise(RATE, 2)
    assert abs(correlation(a, b)) < 0.02
    assert correlation(a, a) == pytest.approx(1.0)
    mixed = (0.6 * a + 0.8 * b).astype(np.float32)
    against = (-0.3 * a + np.sqrt(1 - 0.09) * b).astype(np.float32)
    for other, wanted in ((a, 1.0), (b, 0.0), (mixed, 0.6), (against, -0.3)):
        assert correlation(a, other) == pytest.approx(wanted, abs=0.02)
        faded = crossfade(a, other)
        levels = np.sqrt(np.mean(faded.reshape(10, -1, 2) ** 2, axis=(1, 2)))
        np.testing.assert_allclose(levels, 0.1, rtol=0.03)  # no dip, no bump


def test_crossfading_a_sound_with_itself_changes_nothing() -> None:
    a = noise(9600, 3)
    np.testing.assert_allclose(crossfade(a, a), a, atol=1e-7)


def test_each_octave_fades_by_its_own_correlation() -> None:
    """A loud high tone that turns its phase neither lifts nor dents the hum below it, in which both agree."""
    n = RATE * 3 // 10
    t = np.arange(n) / RATE
    random, low = np.random.default_rng(5), butter(8, 700, output="sos", fs=RATE)
    hum = sosfiltfilt(low, noise(n, 4), 0)
    for _ in range(5):
        whistles = [
            0.1 * np.sin(2 * np.pi * 5000 * t + phase)[:, None].repeat(2, 1) for phase in random.uniform(0, 2, 2)
        ]
        faded = crossfade(*[(hum + w).astype(np.float32) for w in whistles])
        kept = sosfiltfilt(low, faded, 0)[2000:-2000]
        np.testing.assert_allclose(kept, sosfiltfilt(low, hum, 0)[2000:-2000], atol=0.01 * np.std(hum))
        levels = np.sqrt(np.mean((faded - hum).reshape(9, -1, 2) ** 2, axis=(1, 2)))
        np.testing.assert_allclose(levels, 0.1 / np.sqrt(2), rtol=0.05)


def test_mid_and_side_fade_each_by_its_own_correlation() -> None:
    """Where both agree in the middle and not at the sides, neither grows nor shrinks, and so does not the width."""
    n = RATE * 3 // 10
    sides = [noise(n, seed)[:, :1] for seed in (6, 7)]
    mid = noise(n, 8)[:, :1]
    one, other = (np.concatenate([mid + side, mid - side], 1) for side in sides)
    faded = crossfade(one, other)
    np.testing.assert_allclose(faded.sum(1) / 2, mid[:, 0], atol=0.02 * np.std(mid))
    levels = np.std((faded[:, 0] - faded[:, 1]).reshape(6, -1) / 2, axis=1)
    np.testing.assert_allclose(levels, 0.1, rtol=0.06)


def index_coded(start: int, n: int) -> Audio:
    """Sound whose samples tell where they belong; exact in float32 up to 2^24."""
    codes = np.arange(start, start + n, dtype=np.float32)
    return np.stack([codes, codes], axis=1)


@settings(max_examples=60, deadline=None)
@given(
    clips=st.lists(st.tuples(st.integers(200, 3000), st.integers(60, 150), st.integers(2, 40)), min_size=1, max_size=8),
    blocks=st.lists(st.integers(1, 700), min_size=1, max_size=20),
)
def test_clips_that_agree_in_their_overlap_join_into_one_and_read_the_same_in_any_blocks(
    clips: list[tuple[int, int, int]], blocks: list[int]
) -> None:
    timeline, end = Timeline(), 0
    for length, overlap, fade in clips:
        start = max(0, end - overlap)
        join = start + overlap // 2 if end else 0
        timeline.splice(index_coded(start, overlap + length), start, join, fade if end else 1)
        end = start + overlap + length
    assert timeline.end_frame == end
    whole, missing = timeline.read(0, end)
    assert missing == 0
    np.testing.assert_allclose(whole[1:, 0], np.arange(1, end), rtol=1e-6)
    at, parts = 0, []
    while at < end:
        for n in blocks:
            parts.append(timeline.read(at, n)[0])
            at += n
    np.testing.assert_array_equal(np.concatenate(parts)[:end], whole)


def test_a_splice_replaces_the_future_from_the_join_on() -> None:
    timeline = Timeline()
    timeline.splice(np.full((10_000, 2), 1.0, np.float32), 0, 10, 20)
    timeline.splice(np.full((3_000, 2), 3.0, np.float32), 4_000, 4_500, 200)
    assert timeline.end_frame == 7_000
    audio, _ = timeline.read(0, 7_000)
    assert (audio[100:4_399] == 1.0).all() and (audio[4_601:] == 3.0).all()


def test_reading_past_the_end_is_silent_and_counted() -> None:
    timeline = Timeline()
    timeline.splice(noise(1000), 500, 510, 20)
    audio, missing = timeline.read(0, 2000)
    assert missing == 1000 and not audio[:500].any() and not audio[1500:].any()


def test_old_sound_that_ends_within_the_fade_shortens_it_and_leaves_no_hole() -> None:
    timeline = Timeline()
    timeline.splice(np.ones((1000, 2), np.float32), 0, 1, 2)
    timeline.splice(np.ones((1000, 2), np.float32), 900, 1000, 200)
    audio, missing = timeline.read(10, 1880)
    assert missing == 0
    np.testing.assert_allclose(audio, 1.0, atol=1e-5)


@given(st.integers(0, 6000), st.integers(0, 400), st.integers(2, 500))
def test_no_splice_clicks_wherever_it_lies(start: int, into: int, fade: int) -> None:
    """Before what is held, inside it, at its very end or behind it: a flat sound never steps."""
    timeline = Timeline()
    timeline.splice(np.ones((2000, 2), np.float32), 2000, 2100, 200)
    # a crossfade that starts later than the sound it leads to begins is as long as it is asked to be
    join = timeline.splice(np.ones((1000, 2), np.float32), start, start + max(into, 100), max(fade, 100))
    sound, missing = timeline.read(timeline.start_frame, timeline.end_frame - timeline.start_frame)
    assert missing == 0 and timeline.end_frame == start + 1000
    assert np.abs(np.diff(sound[:, 0])).max() < 0.05
    # The law keeps power: fades of signals with correlation rho add up to at most sqrt(2 / (1 + rho)). Where the fade
    # falls into the old sound's own rise, rho is a hair below 1. A join to nothing (told as 0) fades by rho = 1.
    most = np.sqrt(2 / (1 + (join.correlation or 1.0)))
    assert sound.min() >= 0 and sound.max() <= most + 1e-5


def test_own_sound_is_what_clips_brought() -> None:
    timeline = Timeline()
    timeline.splice(noise(3000, 1), 0, 10, 20)
    timeline.append(noise(2000, 2), 500)  # lies from 2500 to 4500
    assert [len(s) for s in timeline.own(10_000)] == [2500]
    timeline.splice(noise(2000, 3), 3900, 4000, 200)  # until 5900
    assert [len(s) for s in timeline.own(10_000)] == [2500, 2000]
    timeline.splice(noise(1000, 4), 6900, 7000, 200)  # behind a gap
    assert [len(s) for s in timeline.own(10_000)] == [2500, 2000, 1000]
    assert sum(len(s) for s in timeline.own(1500)) == 1000
    np.testing.assert_array_equal(timeline.own(10_000)[0], timeline.read(0, 2500)[0])
    assert timeline.splices == 3


def test_forgetting_keeps_history_and_frees_the_rest() -> None:
    timeline = Timeline(history_frames=RATE)
    end = 0
    for i in range(60):
        timeline.splice(noise(RATE + 100, i), max(0, end - 100), max(0, end - 50) or 5, 10)
        end = timeline.end_frame
        timeline.forget_before(end - RATE // 2)
        assert timeline.end_frame - timeline.start_frame <= 3 * RATE
    assert timeline.read(end - RATE // 2 - RATE, RATE)[1] == 0
    with pytest.raises(ValueError, match="lies outside"):
        timeline.splice(noise(100), 0, 5000, 10)


def test_a_join_that_jumps_in_level_fails_and_a_smooth_one_does_not() -> None:
    timeline = Timeline()
    clip = noise(6 * RATE, 1)
    timeline.splice(clip, 0, 100, 200)
    smooth, loud = noise(6 * RATE, 2), noise(6 * RATE, 3, level=0.6)
    place = (4 * RATE, 5 * RATE, RATE // 4)
    good = timeline.try_join(smooth, *place)
    bad = timeline.try_join(loud, *place)
    assert not good.failed and abs(good.level_step_db) < 1
    assert bad.failed and bad.level_step_db == pytest.approx(15.6, abs=1)
    dull = smooth.copy()
    dull[1:] = 0.1 * dull[1:] + 0.9 * np.cumsum(dull, 0)[:-1] * 0.05
    assert timeline.try_join(dull, *place).score > good.score + 1
    assert timeline.end_frame == 6 * RATE  # trying changes nothing


def test_a_sound_that_swells_by_itself_is_not_taken_for_badly_joined() -> None:
    """Surf rises and falls by ten decibels within a second: where clips agree, hardly any join stands out; a clip that
    is louder than any swell does all the same."""
    long, overlap, random = 6 * RATE, 3 * RATE // 2, np.random.default_rng(3)
    clips = 40
    swell = np.convolve(random.standard_normal((clips + 2) * 60), np.exp(-np.arange(40) / 10), "valid")
    swell = 8 * (swell - swell.mean()) / swell.std()
    seconds = np.arange(len(swell)) / 10
    total = clips * (long - overlap) + overlap
    decibels = np.interp(np.arange(total) / RATE, seconds, swell)
    sound = noise(total, 5, 0.02) * (10 ** (decibels / 20))[:, None].astype(np.float32)
    timeline, failed = Timeline(), 0
    for start in range(0, total - long + 1, long - overlap):
        join = timeline.splice(sound[start : start + long], start, start + RATE, RATE // 4)
        failed += join.failed
    assert failed <= 4
    place = (timeline.end_frame - overlap, timeline.end_frame - RATE, RATE // 4)
    assert timeline.try_join(noise(long, 6, 3.0), *place).failed  # 50 dB louder than its middle


def test_the_steadier_a_sound_the_smaller_a_step_stands_out() -> None:
    """Of a sound that stands still, colour may not change by 5 dB, whatever was there before it changed."""
    dull = sosfiltfilt(butter(2, 3000, output="sos", fs=RATE), noise(6 * RATE, 3), 0).astype(np.float32)
    place, scores = (4 * RATE, 5 * RATE, RATE // 4), []
    for restless in (False, True):
        timeline = Timeline()
        if restless:
            timeline.splice(rain(30) * 10 ** np.sin(np.arange(30 * RATE) / RATE)[:, None].astype(np.float32), 0, 10, 20)
            timeline.changes()
        end = timeline.end_frame
        timeline.splice(noise(6 * RATE, 1), max(0, end - RATE), max(end, 100), 200)
        at = [timeline.end_frame - 6 * RATE + p for p in place[:2]]
        for part in (0.0, 0.3, 0.5):
            clip = (part * dull * 3 + (1 - part) * noise(6 * RATE, 2)).astype(np.float32)
            scores.append(timeline.try_join(clip, *at, place[2]).score)
    assert scores[0] < 1 < scores[1] < scores[2] and scores[2] > 2.5
    assert scores[:3] == pytest.approx(scores[3:], abs=0.3)


def rain(seconds: float, seed: int = 0) -> Audio:
    random = np.random.default_rng(seed)
    base = noise(round(seconds * RATE), seed, 0.05)
    for at in random.integers(0, len(base) - 4800, round(seconds * 6)):
        base[at : at + 2400] += noise(2400, int(at), 0.3) * np.exp(-np.arange(2400) / 300)[:, None].astype(np.float32)
    return base


def test_a_remix_goes_on_steadily_from_its_own_material() -> None:
    timeline = Timeline()
    timeline.splice(rain(12), 0, 10, 20)
    Remix(5).extend(timeline, 60 * RATE)
    audio, missing = timeline.read(0, 60 * RATE)
    assert missing == 0
    levels = 20 * np.log10(np.sqrt(np.mean(audio.reshape(60, -1, 2) ** 2, axis=(1, 2))))
    assert np.ptp(levels[1:]) < 4
    # nothing that is louder than the material, no click
    assert np.abs(audio[12 * RATE :]).max() <= 1.42 * np.abs(audio[: 12 * RATE]).max()


def sources(sound: Audio, material: Audio) -> np.ndarray:
    """Where in the material each frame comes from, by the very bits of its samples; −1 inside crossfades."""
    codes = np.ascontiguousarray(material).view(np.int64)[:, 0]
    order = np.argsort(codes)
    wanted = np.ascontiguousarray(sound).view(np.int64)[:, 0]
    found = order[np.minimum(np.searchsorted(codes[order], wanted), len(codes) - 1)]
    return np.where(codes[found] == wanted, found, -1)


@pytest.mark.parametrize(("seconds", "rest_seconds", "most"), [(40, 6, 0.01), (12, 3, 0.05)])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_remix_neither_loops_nor_comes_back_to_what_was_just_heard(
    seconds: int, rest_seconds: int, most: float, seed: int
) -> None:
    material, timeline, remix = rain(seconds), Timeline(), Remix(seed)
    timeline.splice(material, 0, 10, 20)
    total = seconds + 100
    parts = [timeline.read(0, seconds * RATE)[0]]
    for second in range(seconds, total):  # as a stream does: a second at a time, and what is past is forgotten
        remix.extend(timeline, (second + 1) * RATE)
        parts.append(timeline.read(second * RATE, RATE)[0])
        timeline.forget_before(second * RATE)
    came_from = sources(np.concatenate(parts)[:: RATE // 100], material)
    played = came_from[seconds * 100 :]
    known = played >= 0
    assert known.mean() > 0.7
    cells = np.where(came_from >= 0, came_from // 4800, -np.arange(1, len(came_from) + 1))
    again = [
        np.isin(cells[i], cells[max(0, i - rest_seconds * 100) : i - 30]) for i in np.flatnonzero(known) + seconds * 100
    ]
    assert np.mean(again) <= most
    # a loop of any length would bring the same source back again and again after the same time
    for lag in range(100, 5000):
        pairs = known[lag:] & known[:-lag]
        assert np.mean(np.abs(played[lag:] - played[:-lag])[pairs] < 960) < 0.3
    assert len(np.unique(played[known] // 4800)) > 0.8 * seconds * 10


def test_a_remix_is_the_same_for_the_same_seed_and_works_with_little() -> None:
    made = []
    for seed in (1, 1, 2):
        timeline = Timeline()
        timeline.splice(rain(8), 0, 10, 20)
        Remix(seed).extend(timeline, 20 * RATE)
        made.append(timeline.read(0, 20 * RATE)[0])
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    short = Timeline()
    short.splice(noise(RATE // 2), 0, 10, 20)
    Remix(1).extend(short, 5 * RATE)
    assert short.read(0, 5 * RATE)[1] == 0
