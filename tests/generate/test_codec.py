"""The codec: what it keeps, and that its noise belongs to the timeline."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ambient.errors import BackendError
from ambient.generate.bands import BANDS, HOP, STACK, analyse
from ambient.generate.bundled import WEIGHTS, _load
from ambient.generate.catalogue import MODELS
from ambient.generate.codec import (
    EDGE_LATENTS,
    FRAME,
    SPAN,
    AmbienceCodec,
    _highest,
    position_detail,
    position_noise,
    steadied,
)
from ambient.generate.detail import DRAWN

CHANCE = json.loads((MODELS / "bundled" / "codec" / "config.json").read_text())["chance"]


@pytest.fixture(scope="module")
def codec() -> AmbienceCodec:
    return _load(AmbienceCodec, MODELS / "bundled" / "codec", "cpu")


def noise(frames: int, side: float = 0.5, seed: int = 0) -> torch.Tensor:
    """White noise at about -26 dBFS, ``(1, 2, samples)``."""
    mid, other = torch.randn(2, frames * FRAME, generator=torch.Generator().manual_seed(seed)) * 0.045
    return torch.stack([mid + side * other, mid - side * other])[None]


def level(x: torch.Tensor) -> float:
    return float(10 * torch.log10(x.square().mean()))


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**9), st.integers(0, 5), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_noise_depends_on_seed_and_position_only(seed: int, first: int, skip: int, count: int) -> None:
    whole, part = position_noise(seed, first, skip + count), position_noise(seed, first + skip, count)
    np.testing.assert_array_equal(whole[:, skip * FRAME :], part)
    assert not np.array_equal(position_noise(seed ^ 1, first + skip, count), part)


def test_noise_is_white_and_normal() -> None:
    x = position_noise(7, 0, 200)
    assert abs(x.mean()) < 0.005 and x.std() == pytest.approx(1, abs=0.005)
    assert (x**4).mean() == pytest.approx(3, abs=0.1) and 4 < np.abs(x).max() < 5
    assert abs(np.corrcoef(x)[0, 1]) < 0.01  # mid and side know nothing of each other
    for by in (1, 2, 4, FRAME):
        assert abs((x[:, by:] * x[:, :-by]).mean()) < 0.01


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**9), st.integers(0, 5), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_what_draws_the_bands_depends_on_seed_and_position_only(seed: int, first: int, skip: int, count: int) -> None:
    whole, part = position_detail(seed, first, skip + count), position_detail(seed, first + skip, count)
    assert part.shape == (count * STACK, DRAWN)
    np.testing.assert_array_equal(whole[skip * STACK :], part)
    assert not np.array_equal(position_detail(seed ^ 1, first + skip, count), part)


@given(st.integers(0, 10_000), st.floats(0.2, 2.0), st.integers(5, 30))
@settings(max_examples=12, deadline=None)
@torch.inference_mode()
def test_sound_is_brought_to_the_powers_that_it_should_have(seed: int, depth: float, slow: int) -> None:
    """Where bands move as slowly as frames overlap: each time less is missing, and after three times little is."""
    codec, hops = AmbienceCodec(latent_dim=4), 6 * STACK
    draw = torch.Generator().manual_seed(seed)
    moves = torch.randn(2, hops + slow - 1, BANDS, generator=draw).unfold(1, slow, 1).mean(3) * slow**0.5
    goal = depth * moves - 8
    sound, off = torch.randn(2, hops * HOP, generator=draw), []
    for _ in range(3):
        sound = codec._brought(sound, goal)
        has = analyse(sound, codec.filters)
        off.append(float((has - goal)[:, 4:-4].abs().mean()))
    assert off[2] < off[1] < off[0]
    assert off[2] < 0.3 + 0.4 * depth and off[2] < 0.9 * off[0]


@given(st.integers(0, 10_000), st.floats(0.5, 3.0))
@settings(max_examples=10, deadline=None)
@torch.inference_mode()
def test_latents_like_no_recording_make_no_bang(codec: AmbienceCodec, seed: int, wild: float) -> None:
    """No more than 15 dB above what such bands should sound like, however far from recordings the latents lie."""
    z = codec.encode(noise(12)).latents
    z = z + wild * torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)) * z.std()
    sound = codec.decode(z, [0], [seed]).sample
    loudest = codec.log_peaks(z).max() + 2 * np.log(2) + 1  # of left and right, and of what is between bands
    assert 10 * float(sound.square().unfold(2, HOP, HOP).mean(3).max().log10()) < 4.343 * float(loudest) + 15


@torch.inference_mode()
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 20), st.booleans())
def test_the_highest_nearby_is_what_pooling_finds(rows: int, columns: int, reach: int, across: bool) -> None:
    x = torch.randn(2, 1, rows, columns, generator=torch.Generator().manual_seed(rows))
    size = (2 * reach + 1, 1) if across else (1, 2 * reach + 1)
    found = _highest(x, reach, 2 if across else 3)
    beyond = torch.nn.functional.pad(x, (0, 0, reach, reach) if across else (reach, reach), value=-torch.inf)
    assert torch.equal(found, torch.nn.functional.max_pool2d(beyond, size, 1))


def test_silence_is_not_raised_to_noise(codec: AmbienceCodec) -> None:
    silence = torch.full((1, 2, 20 * FRAME), 1e-7)
    assert level(codec.decode(codec.encode(silence).latents, [0], [1]).sample) < -75


@torch.inference_mode()
def test_a_hastened_codec_sounds_alike_and_its_decodes_coincide(codec: AmbienceCodec) -> None:
    """In bfloat16, which is what plays where processors have it: noise, a bell that rings, and clicks."""
    quick = _load(AmbienceCodec, MODELS / "bundled" / "codec", "cpu")
    quick.hastened(torch.bfloat16)
    x = noise(30)
    t = torch.arange(x.shape[-1]) / 48_000
    x[..., : 15 * FRAME] += 0.1 * torch.sin(2 * torch.pi * 1255 * t[: 15 * FRAME]) * torch.exp(-t[: 15 * FRAME])
    x[..., :: 3 * FRAME + 77] += 1.0
    z = codec.encode(x).latents
    one, other = (c.decode(z, [0], [9]).sample for c in (quick, codec))
    bands = [analyse(s[0].mean(0), codec.filters) for s in (one, other)]
    assert float((bands[0] - bands[1]).abs().mean()) < 0.3
    later = quick.decode(z[..., 10:], [10 * FRAME], [9]).sample
    edge, second = EDGE_LATENTS * FRAME, 13 * FRAME  # until then what calls where a clip begins may differ
    off = (later - one[..., 10 * FRAME :]).abs() / one.abs().max()
    assert float(off[..., second:-edge].max()) < 1e-3 and float(off[..., edge:second].max()) < 0.05


@torch.inference_mode()
def test_overlapping_decodes_coincide_inside(codec: AmbienceCodec) -> None:
    z = codec.encode(noise(30)).latents
    one = codec.decode(z[..., :20], [40 * FRAME], [9]).sample
    two = codec.decode(z[..., 10:], [50 * FRAME], [9]).sample
    edge = EDGE_LATENTS * FRAME
    a, b = one[..., 10 * FRAME + edge : 20 * FRAME - edge], two[..., edge : 10 * FRAME - edge]
    assert float((a - b).abs().max()) < 1e-4
    other = codec.decode(z[..., 10:], [50 * FRAME], [10]).sample[..., edge : 10 * FRAME - edge]
    assert float((a - other).abs().max()) > 0.01


@torch.inference_mode()
def test_level_and_spectrum_survive(codec: AmbienceCodec) -> None:
    x = noise(40)
    y = codec.decode(codec.encode(x).latents, [0], [1]).sample
    assert y.shape == x.shape
    inside = slice(2 * FRAME, -2 * FRAME)
    assert abs(level(y[..., inside]) - level(x[..., inside])) < 2.0
    slope = torch.linspace(0, -60, x.shape[-1] // 2 + 1)
    dark = torch.fft.irfft(torch.fft.rfft(x) * 10 ** (slope / 20), n=x.shape[-1])
    again = codec.decode(codec.encode(dark).latents, [0], [1]).sample
    spectra = [torch.fft.rfft(s[0].mean(0)).abs().square() for s in (dark, again)]
    hz = torch.linspace(0, 24_000, len(spectra[0]))
    centroids = [float((s * hz).sum() / s.sum()) for s in spectra]
    assert centroids[1] == pytest.approx(centroids[0], rel=0.25)


@torch.inference_mode()
@pytest.mark.parametrize("side", [0.1, 0.7])
def test_width_survives(codec: AmbienceCodec, side: float) -> None:
    x = noise(40, side)
    y = codec.decode(codec.encode(x).latents, [0], [1]).sample
    width = [level(s[:, 0] - s[:, 1]) - level(s[:, 0] + s[:, 1]) for s in (x, y)]
    assert abs(width[1] - width[0]) < 3.0


@torch.inference_mode()
def test_an_event_loses_the_hiss_that_it_was_recorded_in_and_nothing_else(codec: AmbienceCodec) -> None:
    t = np.arange(100 * FRAME) / 48_000
    call = torch.from_numpy(np.exp(-(((t - 4) / 0.5) ** 2)) * np.sin(2 * np.pi * 640 * t)).float() * 0.4
    boom = torch.from_numpy(np.exp(-(((t - 4) / 0.5) ** 2))).float() * noise(100, seed=3)[0]
    hissing = codec.encode(call + 0.02 * noise(100)).latents
    z = torch.cat([hissing, codec.encode(boom[None] * 4).latents])
    before, after = (codec.envelope(x)[:, :BANDS] for x in (z, codec.cleared(z)))
    event = slice(40 * STACK, 60 * STACK)
    sunk = (before - after) * 4.343  # decibels
    loudest = before[0].argmax()
    assert float(sunk[0, 40:].mean() - sunk[0].flatten()[loudest]) > 20  # hiss, from 2 kHz, beside the call
    assert after[0].argmax() // 100 == loudest // 100  # in its band
    assert float(sunk[1, :, event].abs().max()) < 1.0  # what is loud in all bands is the event
    spectrum = torch.fft.rfft(noise(100)) / torch.fft.rfftfreq(100 * FRAME, 1 / 48_000).clamp_min(60) * 1e3
    steady = codec.encode(torch.fft.irfft(spectrum)).latents  # brown: 45 dB lower at 10 kHz than at 60 Hz
    torch.testing.assert_close(codec.cleared(steady), steady)  # what is as loud all the time is meant


def test_clicks_stay_clicks(codec: AmbienceCodec) -> None:
    """Rain must not become surf: isolated clicks come back far more peaked than noise of the same power."""
    x = noise(40) * 0.02
    at = torch.randint(0, x.shape[-1], (60,), generator=torch.Generator().manual_seed(3))
    for k in at:
        x[..., k : k + 48] += torch.randn(48) * 0.4
    y = codec.decode(codec.encode(x).latents, [0], [1]).sample[0].mean(0)
    short = y[: len(y) // 96 * 96].reshape(-1, 96).square().mean(1)
    assert float(short.max() / short.mean()) > 15  # noise: below 2
    assert float(short.median() / short.mean()) < 0.3  # noise: near 1


def flicker(codec: AmbienceCodec, x: torch.Tensor) -> float:
    """How much the power of a band varies from latent frame to latent frame, mean variance of its logarithm."""
    bands = analyse(x[0].mean(0), codec.filters).exp()
    return float(bands[: len(bands) // 16 * 16].reshape(-1, 16, bands.shape[1]).mean(1)[3:-3].log().var(0).mean())


@torch.inference_mode()
def test_steady_noise_does_not_flicker_twice(codec: AmbienceCodec) -> None:
    """What analysis sees of noise varies by chance, which synthesis draws again: together twice as much."""
    x = noise(100)
    z = codec.encode(x).latents
    assert flicker(codec, codec.decode(z, [0], [1]).sample) < 1.25 * flicker(codec, x)
    codec.register_to_config(chance=[])
    try:
        assert float(codec.encode(x).latents.var(2).sum()) > 2 * float(z.var(2).sum())
    finally:
        codec.register_to_config(chance=CHANCE)


def test_a_model_with_the_decoder_of_before_says_what_to_do(tmp_path: pathlib.Path) -> None:
    weights = load_file(MODELS / "bundled" / "codec" / WEIGHTS)
    save_file({k.replace("detail.", "refiner."): v for k, v in weights.items()}, tmp_path / WEIGHTS)
    (tmp_path / "config.json").write_text('{"hidden": 160, "refined": true}')
    with pytest.raises(BackendError, match=r"earlier version.*tools/train codec"):
        _load(AmbienceCodec, tmp_path, "cpu")


@given(st.integers(0, 10_000), st.integers(1, 80), st.floats(0, 2))
@settings(max_examples=40, deadline=None)
def test_chance_is_taken_out_and_nothing_else(seed: int, frames: int, chance: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, 3, frames, generator=generator) * torch.tensor([0.3, 1.0, 10.0])[:, None]
    out = steadied(z, torch.full((3,), chance))
    assert out.shape == z.shape and bool(torch.isfinite(out).all())
    assert torch.equal(out[1], steadied(z[1], torch.full((3,), chance)))  # clips do not know of each other
    torch.testing.assert_close(steadied(z, torch.zeros(3)), z)
    if frames > SPAN:
        middle = z.mean(2, keepdim=True)
        assert float((out - middle).square().sum()) <= float((z - middle).square().sum()) * 1.05  # moves no more
        torch.testing.assert_close(out[:, 2], z[:, 2], atol=1.0, rtol=0.0)  # what moves much stays


def test_what_is_all_chance_stands_still_and_events_stay() -> None:
    z = torch.randn(1, 1, 400, generator=torch.Generator().manual_seed(1))
    assert float(steadied(z, torch.ones(1)).var()) < 0.25
    z[..., 200] += 20.0
    assert float(steadied(z, torch.ones(1))[0, 0, 200]) > 15.0
