"""Sound of any rate, channel count and level, made fit for the engine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambient.generate.fit import WIDTH, event_gain, fit, level_seam, widened
from ambient.messages import RATE, Audio


def noise(n: int, channels: int = 1, seed: int = 0, level: float = 0.1) -> Audio:
    return (np.random.default_rng(seed).standard_normal((n, channels)) * level).astype(np.float32)


@given(seed=st.integers(0, 2**63 - 1), n=st.integers(1, 5000))
def test_mono_gets_width_and_folds_back_to_the_same_mono(seed: int, n: int) -> None:
    mono = noise(n)
    wide = widened(mono, seed)
    assert wide.shape == (n, 2) and wide.dtype == np.float32
    np.testing.assert_allclose(wide.mean(1), mono[:, 0], atol=1e-6)


def test_the_width_is_diffuse_of_one_size_and_each_layers_own() -> None:
    mono = noise(RATE)
    wide, other = widened(mono, 1), widened(mono, 2)
    side = (wide[:, 0] - wide[:, 1]) / 2
    assert np.std(side) / np.std(mono) == pytest.approx(WIDTH, rel=0.1)
    assert abs(np.corrcoef(side, mono[:, 0])[0, 1]) < 0.1
    assert abs(np.corrcoef(side, other[:, 0] - other[:, 1])[0, 1]) < 0.5
    balance = np.std(wide[:, 0]) / np.std(wide[:, 1])
    assert 0.8 < balance < 1.25


def test_two_stretches_of_one_sound_get_the_same_width() -> None:
    mono = noise(RATE)
    whole, part = widened(mono, 5), widened(mono[10_000:], 5)
    np.testing.assert_allclose(whole[10_000 + 1440 :], part[1440:], atol=1e-6)


@pytest.mark.parametrize(("hop", "per"), [(640, 1920), (2048, 2229), (4096, 4458), (3840, 3840)])
def test_every_latent_frame_is_a_whole_number_of_frames(hop: int, per: int) -> None:
    for latents in (1, 7, 64):
        assert fit(noise(latents * hop, 2), hop, per, 0).shape == (latents * per, 2)
        assert fit(noise(latents * hop, 1), hop, per, 0).shape == (latents * per, 2)


def test_clips_of_one_sound_meet_sample_for_sample_after_resampling() -> None:
    hop, per = 2048, 2229
    sound = noise(64 * hop, 2)
    whole, part = fit(sound, hop, per, 0), fit(sound[32 * hop :], hop, per, 0)
    np.testing.assert_allclose(whole[34 * per : 62 * per], part[2 * per : 30 * per], atol=1e-4)


def test_a_tone_keeps_its_pitch() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(64 * 2048) / 44_100).astype(np.float32)[:, None].repeat(2, 1)
    made = fit(tone, 2048, 2229, 0)[:, 0]
    peak = np.argmax(np.abs(np.fft.rfft(made * np.hanning(len(made))))) * RATE / len(made)
    assert peak == pytest.approx(1000, abs=0.5)


@pytest.mark.parametrize("louder_db", [-6.0, 4.0, 8.0])
def test_a_new_part_begins_at_the_level_of_what_was_kept_and_ends_at_its_own(louder_db: float) -> None:
    kept, new = 2 * RATE, 8 * RATE
    clip = noise(kept + new, 2)
    clip[kept:] *= np.float32(10 ** (louder_db / 20))
    made = level_seam(clip, kept)
    np.testing.assert_array_equal(made[:kept], clip[:kept])
    np.testing.assert_array_equal(made[-2 * RATE :], clip[-2 * RATE :])
    step = 20 * np.log10(made[kept : kept + RATE // 2].std() / made[kept - RATE // 2 : kept].std())
    assert abs(step) < 1.0


def test_what_rises_and_falls_by_itself_is_left_alone() -> None:
    rng = np.random.default_rng(3)
    waves = np.repeat(10 ** (rng.uniform(-20, 0, 100) / 20), 4800).astype(np.float32)[:, None]
    clip = noise(len(waves), 2) * waves
    change = 20 * np.log10(level_seam(clip, 2 * RATE).std() / clip.std())
    assert abs(change) < 0.5
    for kept in (0, 100):
        np.testing.assert_array_equal(level_seam(clip, kept), clip)


@given(level=st.floats(1e-4, 4.0))
def test_single_events_come_at_one_level_under_full_scale(level: float) -> None:
    event = noise(RATE, 2, level=level) * np.exp(-np.arange(RATE) / 5000)[:, None].astype(np.float32)
    made = event * event_gain(event)
    assert np.abs(made).max() < 1.0
    assert event_gain(event[:10]) > 0
