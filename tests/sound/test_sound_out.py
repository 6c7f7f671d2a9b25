"""Mixing, loudness, limiting, the ring buffer, space and clip inspection."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from ambient.messages import BLOCK_FRAMES, RATE, Audio
from ambient.sound import (
    LayerAnchor,
    LayerBlock,
    Limiter,
    LoudnessControl,
    LoudnessMeter,
    PlacedSound,
    RingBuffer,
    SpatialSound,
    Voices,
    delay_frames,
    inspect_clip,
    mix,
    place,
    trim_one_shot,
)


def noise(n: int, seed: int = 0, level: float = 0.1) -> Audio:
    return (np.random.default_rng(seed).standard_normal((n, 2)) * level).astype(np.float32)


def sine(seconds: float, hz: float, level: float) -> Audio:
    x = level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([x, x], 1).astype(np.float32)


def db(x: Audio) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(x, dtype=float))) + 1e-12))


# ---- mixer


def test_gain_ramps_meet_from_block_to_block() -> None:
    flat = np.ones((BLOCK_FRAMES, 2), np.float32)
    blocks = [mix([LayerBlock(flat, a, b)], BLOCK_FRAMES) for a, b in ((0, 0.5), (0.5, 0.5), (0.5, 0))]
    joined = np.concatenate(blocks)[:, 0]
    assert np.abs(np.diff(joined)).max() < 0.001
    assert joined[0] < 0.001 and joined[BLOCK_FRAMES] == 0.5 and joined[-1] == 0


def test_width_zero_is_mono_and_keeps_the_middle() -> None:
    x = noise(BLOCK_FRAMES)
    out = mix([LayerBlock(x, 1, 1, 0, 0)], BLOCK_FRAMES)
    np.testing.assert_allclose(out[:, 0], x.mean(1), atol=1e-6)
    np.testing.assert_array_equal(out[:, 0], out[:, 1])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3000)), max_size=4), st.integers(400, 3000))
def test_voices_sound_once_at_their_frame_in_any_block_size(starts: list[tuple[int, int]], block: int) -> None:
    length = 40_000
    voices, expected = Voices(), np.zeros((length, 2), np.float32)
    for i, (at, n) in enumerate(starts):
        sound, where = noise(n, i), (5.0 * (i + 1), 50.0 * i - 60, -3.0)
        voices.start(PlacedSound(SpatialSound(sound), *where), at, gain=0.5)
        whole = 0.5 * place(sound, *where)
        expected[at : at + len(whole)] += whole
    assert voices.sounding(0) == len(starts)
    out = np.concatenate([voices.render(at, block) for at in range(0, length, block)])[:length]
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert voices.sounding(length) == 0


# ---- loudness


def test_the_meter_reads_what_the_standard_says() -> None:
    meter = LoudnessMeter()
    meter.add(sine(5, 997, 10 ** (-20 / 20)))
    # a 997 Hz sine of -20 dBFS in both channels is -20 LUFS (BS.1770-4)
    assert meter.integrated == pytest.approx(-20.0, abs=0.1)
    assert meter.momentary == pytest.approx(-20.0, abs=0.1)
    assert meter.short_term == pytest.approx(-20.0, abs=0.1)


def test_gating_leaves_silence_and_quiet_parts_out() -> None:
    meter = LoudnessMeter()
    # EBU Tech 3341, case 3: -36, -23, -36 dBFS for 10, 60, 10 s reads -23 LUFS
    for seconds, level in ((10, -36), (60, -23), (10, -36)):
        meter.add(sine(seconds, 1000, 10 ** (level / 20)))
    meter.add(np.zeros((20 * RATE, 2), np.float32))
    assert meter.integrated == pytest.approx(-23.0, abs=0.1)


@settings(max_examples=10, deadline=None)
@given(st.integers(100, 20_000))
def test_metering_does_not_depend_on_block_sizes(block: int) -> None:
    x = noise(3 * RATE) * np.linspace(0.1, 1, 3 * RATE, dtype=np.float32)[:, None]
    one, two = LoudnessMeter(), LoudnessMeter()
    one.add(x)
    for at in range(0, len(x), block):
        two.add(x[at : at + block])
    assert two.integrated == pytest.approx(one.integrated, abs=1e-6)


@pytest.mark.ffmpeg
def test_the_meter_agrees_with_ffmpeg(tmp_path: Path) -> None:
    x = np.concatenate([noise(6 * RATE, 1, 0.02), noise(6 * RATE, 2, 0.1), noise(3 * RATE, 3, 0.001)])
    sf.write(tmp_path / "x.wav", x, RATE, subtype="FLOAT")
    command = ["ffmpeg", "-nostats", "-i", str(tmp_path / "x.wav"), "-af", "ebur128", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    integrated = float(said.split("Integrated loudness:")[1].split("I:")[1].split("LUFS")[0])
    meter = LoudnessMeter()
    meter.add(x)
    assert meter.integrated == pytest.approx(integrated, abs=0.15)


def test_the_programme_comes_to_its_target_and_thunder_keeps_its_place() -> None:
    control = LoudnessControl(-24.0)
    for i in range(20 * 50):
        control.process(noise(BLOCK_FRAMES, i, 0.01))
    assert control.momentary_lufs == pytest.approx(-24.0, abs=0.7)
    before = control.gain_db
    for i in range(3 * 50):
        control.process(noise(BLOCK_FRAMES, i, 0.1))
    assert before - control.gain_db < 0.5  # 20 dB louder for three seconds: the gain hardly moves
    held = control.gain_db
    for _ in range(50 * 20):
        control.process(np.zeros((BLOCK_FRAMES, 2), np.float32))
    assert control.gain_db == pytest.approx(held, abs=0.1)  # it stands still in silence


def test_a_storm_that_stays_is_brought_down_within_seconds() -> None:
    control = LoudnessControl(-24.0)
    for i in range(60 * 50):
        control.process(noise(BLOCK_FRAMES, i, 0.004))
    for i in range(20 * 50):
        control.process(noise(BLOCK_FRAMES, i, 0.1))
    assert control.momentary_lufs < -24 + 6


def test_a_storm_that_the_scene_brings_is_met_as_it_comes_and_thunder_is_not() -> None:
    def after_a_night(storm_seconds: float, foreseen: float | None) -> tuple[float, float, float]:
        """Loudest moment of what follows, at its end, and the gain's change."""
        control, heard = LoudnessControl(-24.0), []
        for i in range(60 * 50):
            control.process(noise(BLOCK_FRAMES, i, 0.01), -37.0)
        gain = control.gain_db
        count = round(storm_seconds * 50)
        for i in range(count):
            rising = min(1.0, i / 150)  # three seconds
            level = -37.0 if foreseen is None else -37.0 + rising * (foreseen + 37.0)
            control.process(noise(BLOCK_FRAMES, i, 0.01 * 8**rising), level)
            heard.append(control.momentary_lufs)
        return max(heard), heard[-1], control.gain_db - gain

    loudest, last, _ = after_a_night(10, None)
    assert loudest > -24 + 15  # nobody knew
    loudest, last, _ = after_a_night(10, -19.0)
    assert loudest < -24 + 9 and last > -24 + 2  # it is louder than the night, and does not burst out of it
    assert after_a_night(3, None)[2] == pytest.approx(0, abs=0.5)
    # a layer that is meant to be loud and does not sound yet takes nothing from the others
    control = LoudnessControl(-24.0)
    for i in range(60 * 50):
        control.process(noise(BLOCK_FRAMES, i, 0.004), -48.0)
    before = control.gain_db
    for i in range(5 * 50):
        control.process(noise(BLOCK_FRAMES, i, 0.004), -18.0)
    assert control.gain_db == pytest.approx(before, abs=0.5)


# ---- limiter


def true_peak_db(x: Audio) -> float:
    return float(20 * np.log10(np.abs(resample_poly(x.astype(float), 8, 1, axis=0)).max() + 1e-12))


HARD = {
    "loud noise": lambda: noise(RATE, 1, 1.0),
    "square wave": lambda: np.sign(sine(1, 441, 1.0)) * np.float32(2.0),
    "impulses": lambda: np.eye(1, 4800, 17, dtype=np.float32).repeat(10, 0).reshape(-1, 1).repeat(2, 1) * 5,
    "sine between samples": lambda: np.roll(sine(1, 11_999, 1.4), 1, 0),
    "one sided": lambda: noise(RATE, 4, 1.0) * np.array([1.0, 0.01], np.float32),
    "four times full scale": lambda: noise(RATE // 2, 7, 4.0),
    "random signs": lambda: np.sign(noise(RATE // 2, 8)) * np.float32(4.0),
    "tone at 18 kHz": lambda: sine(0.5, 18_000, 3.0),
    "signs that add up between samples": lambda: np.pad(
        np.sign(np.sinc(np.arange(-300, 300) + 0.5))[:, None].repeat(2, 1), ((900, 900), (0, 0))
    ).astype(np.float32),
    "quiet then loud": lambda: np.concatenate([noise(RATE // 2, 5, 0.01), noise(RATE // 2, 6, 2.0)]),
}


@pytest.mark.parametrize("name", HARD)
def test_the_true_peak_stays_below_the_ceiling(name: str) -> None:
    x = np.pad(HARD[name](), ((0, 2400), (0, 0)))  # to hear the end of what is delayed
    limiter = Limiter(-1.0)
    out = np.concatenate([limiter.process(x[i : i + BLOCK_FRAMES]) for i in range(0, len(x), BLOCK_FRAMES)])
    assert true_peak_db(x) > -1.0
    assert true_peak_db(out) <= -0.9


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=10))
def test_limiting_does_not_depend_on_block_sizes(blocks: list[int]) -> None:
    x = noise(12_000, 1, 0.5)
    whole = Limiter().process(x)
    limiter, parts, at = Limiter(), [], 0
    while at < len(x):
        for n in blocks:
            parts.append(limiter.process(x[at : at + n]))
            at += n
    np.testing.assert_allclose(np.concatenate(parts)[: len(x)], whole, atol=2e-6)


def test_a_single_peak_leaves_no_hole_behind_it() -> None:
    x = noise(RATE, 1, 0.05)
    x[RATE // 2] = 4.0
    limiter = Limiter()
    out = np.concatenate([limiter.process(x[i : i + 960]) for i in range(0, len(x), 960)])[limiter.latency_frames :]
    after = RATE // 2 + RATE // 12  # 83 ms later
    np.testing.assert_allclose(db(out[after : after + 4000]), db(x[after : after + 4000]), atol=0.5)


def test_steady_limiting_does_not_follow_the_waveform() -> None:
    x = sine(1, 60, 2.0)
    limiter = Limiter()
    out = np.concatenate([limiter.process(x[i : i + 960]) for i in range(0, len(x), 960)])[RATE // 2 :, 0]
    power = np.abs(np.fft.rfft(out * np.hanning(len(out)))) ** 2
    hz = np.fft.rfftfreq(len(out), 1 / RATE)
    assert power[hz > 90].sum() / power.sum() < 1e-3  # less than 3 % distortion


def test_below_the_ceiling_samples_pass_unchanged_but_for_the_delay() -> None:
    x = noise(RATE, 1, 0.05)
    limiter = Limiter()
    out = np.concatenate([limiter.process(x[i : i + 960]) for i in range(0, len(x), 960)])
    lag = limiter.latency_frames
    np.testing.assert_array_equal(out[lag:], x[:-lag])


# ---- ring buffer


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 90)), max_size=80))
def test_a_ring_gives_back_what_was_written_in_order(steps: list[tuple[bool, int]]) -> None:
    ring, written, got, starved = RingBuffer(100), 0, 0, True
    for write, n in steps:
        if write:
            codes = np.arange(written + 1, written + 1 + n, dtype=np.float32) + 1000
            fits = n <= 100 - ring.fill
            assert ring.write(np.stack([codes, codes], 1)) == fits
            written += n if fits else 0
        else:
            waiting = ring.fill
            out, missing = ring.read(n)
            assert len(out) == n and missing == max(0, n - waiting)
            have = n - missing
            # after an underrun the sound fades in, over all of so small a read
            if have and not starved:
                np.testing.assert_array_equal(out[:have, 0], np.arange(got + 1, got + 1 + have) + 1000)
            got += have
            starved = missing > 0 or (starved and n == 0)
    assert got + ring.fill == written


def test_an_underrun_is_counted_silent_and_faded() -> None:
    ring = RingBuffer(48_000)
    assert ring.read(100)[0].any() == np.False_ and ring.underruns == 0  # nothing was promised yet
    ring.write(np.ones((4800, 2), np.float32))
    first, _ = ring.read(4000)
    second, missing = ring.read(1600)
    assert missing == 800 and ring.underruns == 1
    joined = np.concatenate([first, second])[:, 0]
    assert np.abs(np.diff(joined)).max() < 0.02  # neither the start nor the stop clicks
    assert not joined[-500:].any()


# ---- space


def test_distance_makes_quieter_duller_and_later() -> None:
    x = noise(RATE // 2, 1)
    near, far = place(x, 10, 0, 0), place(x, 1000, 0, 0)
    assert 35 < db(near) - db(far) < 60

    def brightness(y: Audio) -> float:
        power = np.abs(np.fft.rfft(y.mean(1))) ** 2
        hz = np.fft.rfftfreq(len(y), 1 / RATE)
        return float(power[hz > 4000].sum() / power.sum())

    assert brightness(far) < 0.2 * brightness(near)
    assert delay_frames(343) == RATE


@pytest.mark.parametrize("azimuth", [-90.0, -20.0, 45.0, 90.0])
def test_the_lag_between_the_ears_is_that_of_a_head(azimuth: float) -> None:
    click = np.zeros((2000, 2), np.float32)
    click[500] = 1
    out = place(click, 1, azimuth, 0)[:2000]  # near: next to no diffuse tail
    fine = np.arange(0, 2000, 0.05)
    at = [fine[np.argmax(np.interp(fine, np.arange(2000), np.abs(out[:, ear])))] for ear in range(2)]
    angle = np.radians(abs(azimuth))
    woodworth = RATE * 0.0875 / 343 * (angle + np.sin(angle))
    assert at[1 if azimuth > 0 else 0] == pytest.approx(500, abs=0.6)  # the near ear is not delayed
    assert abs(at[0] - at[1]) == pytest.approx(woodworth, abs=1.0)


@pytest.mark.parametrize("azimuth", [30.0, 90.0, 150.0])
def test_right_is_louder_and_earlier_in_the_right_ear(azimuth: float) -> None:
    click = np.zeros((RATE // 10, 2), np.float32)
    click[100] = 1
    out = place(click, 10, azimuth, 0)
    mirrored = place(click, 10, -azimuth, 0)
    assert db(out[:, 1:]) > db(out[:, :1]) + 2
    assert np.argmax(np.abs(out[:, 1])) < np.argmax(np.abs(out[:, 0]))
    np.testing.assert_allclose(db(mirrored[:, :1]), db(out[:, 1:]), atol=0.5)


def test_behind_is_darker_than_ahead() -> None:
    x = noise(RATE // 2, 1)
    assert db(place(x, 10, 180, 0)) < db(place(x, 10, 0, 0)) - 1


def test_a_single_event_is_cut_out_and_levelled() -> None:
    clip = noise(5 * RATE, 1, 0.001)
    clip[2 * RATE : 2 * RATE + 24_000] += noise(24_000, 2, 0.02)
    event = trim_one_shot(clip)
    assert event is not None
    assert 0.5 * RATE < len(event) < 1.1 * RATE
    assert not event[0].any() and not event[-1].any()
    assert db(event[1000:20_000]) == pytest.approx(-20, abs=1)
    assert trim_one_shot(np.zeros((RATE, 2), np.float32)) is None


def test_a_crack_is_not_levelled_beyond_full_scale_and_scraps_give_nothing() -> None:
    clip = noise(2 * RATE, 1, 1e-4)
    clip[RATE : RATE + 240] += noise(240, 2, 0.2)
    event = trim_one_shot(clip)
    assert event is not None
    assert np.abs(event).max() == pytest.approx(10 ** (-3 / 20), abs=0.01)
    for n in (0, 100, 479, 2000):
        assert trim_one_shot(np.full((n, 2), 0.1, np.float32)) is None


# ---- clips


def spoiled(kind: str) -> Audio:
    x = noise(RATE)
    if kind == "nan":
        x[100, 0] = np.nan
    elif kind == "silent":
        x *= 1e-5
    elif kind == "dc":
        x += 0.3
    elif kind == "clipping":
        x = np.clip(x * 30, -1, 1)
    elif kind == "length":
        x = x[:-1]
    elif kind == "rate":
        x = x[:, :1]
    return x


@pytest.mark.parametrize("kind", ["nan", "silent", "dc", "clipping", "length", "rate"])
def test_bad_clips_are_named(kind: str) -> None:
    found = inspect_clip(spoiled(kind), RATE)
    assert found is not None and found[0] == kind


def test_good_clips_pass() -> None:
    assert inspect_clip(noise(RATE), RATE) is None


def test_the_anchor_stops_a_layer_from_drifting_and_never_jumps() -> None:
    anchor, levels, end_gain = LayerAnchor(), [], None
    for i in range(100):
        raw = noise(8 * RATE, i, 0.05 * 10 ** (0.03 * i / 20))  # drifts by 3 dB in a hundred clips
        fixed = anchor.correct(raw, RATE)
        gains = fixed[:, 0] / np.where(raw[:, 0] == 0, 1, raw[:, 0])
        assert np.abs(np.diff(20 * np.log10(gains[1:]))).max() < 1e-3
        if end_gain is not None:
            assert gains[1] == pytest.approx(end_gain, rel=1e-4)  # agrees with the clip before in their overlap
        end_gain = gains[-1]
        anchor.learn(raw)
        levels.append(db(fixed[4 * RATE :]))
    assert abs(np.mean(levels[90:]) - np.mean(levels[:10])) < 1.2
