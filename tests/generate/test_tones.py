"""Tones: what rings is found in a recording, sounds at its pitch, and belongs to the timeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from ambient.generate.bands import BANDS, HOP, RATE, analyse, band_centres, band_filters, band_widths
from ambient.generate.bundled import _load
from ambient.generate.catalogue import MODELS
from ambient.generate.codec import EDGE_LATENTS, FRAME, AmbienceCodec
from ambient.generate.tones import LINES, REST, position_phases, tone_lines

HOPS = 96
SAMPLES = HOPS * HOP


def sine(hz: float, level: float = 0.1) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(SAMPLES, dtype=torch.float64) / RATE).float() * level


def sounded(power: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """The tones alone, ``(samples,)``."""
    lines = tone_lines(power[None], offset[None], torch.from_numpy(position_phases(1, 0))[:1])
    assert lines is not None
    silence = torch.zeros(1, SAMPLES)
    return AmbienceCodec(latent_dim=4)._brought(silence, torch.zeros(1, HOPS, BANDS), lines)[0]


@given(st.floats(120, 15_000))
@settings(max_examples=25, deadline=None)
def test_a_sine_comes_back_as_one(hz: float) -> None:
    """Analysed into bands and sounded by the oscillators: its pitch to 3 Hz, its level to 1 dB, and nothing else."""
    x = sine(hz)
    power = analyse(x[None], band_filters())[0].T.exp()  # (BANDS, HOPS)
    centres = torch.from_numpy(band_centres()).float()
    offset = ((hz - centres[1:-1]) / centres.diff()[1:])[:, None].expand(BANDS, HOPS)
    y = sounded(power, offset)[10 * HOP : -10 * HOP].double().numpy()
    assert 20 * np.log10(y.std() / float(x.std())) == pytest.approx(0, abs=1.0)
    f, p = welch(y, RATE, "hann", 8192)
    assert abs(f[np.argmax(p)] - hz) < RATE / LINES + 3
    assert p[np.abs(f - hz) < 30].sum() > 0.99 * p.sum()


def test_widths_make_densities_powers() -> None:
    x = torch.randn(1, SAMPLES, generator=torch.Generator().manual_seed(0))
    bands = analyse(x, band_filters())[0].exp()
    assert float((bands * torch.from_numpy(band_widths())).sum(1).mean()) == pytest.approx(
        428, rel=0.05
    )  # bins up to 20 kHz


def test_nothing_rings_where_nothing_should() -> None:
    assert tone_lines(torch.zeros(2, BANDS, HOPS), torch.zeros(2, BANDS, HOPS), torch.zeros(2, LINES // 2 + 1)) is None


@given(st.integers(0, 2**40), st.integers(0, 10**6), st.integers(0, 2**63 - 1))
@settings(max_examples=30, deadline=None)
def test_oscillators_never_stop(first: int, later: int, seed: int) -> None:
    """The phases at a later sample are those at the first, turned on by what lies between."""
    a, b = position_phases(seed, first).astype(np.float64), position_phases(seed, first + later).astype(np.float64)
    turned = 2 * np.pi * (np.arange(LINES // 2 + 1) * (later % LINES) % LINES) / LINES
    assert np.abs(np.exp(1j * (a + turned)) - np.exp(1j * b)).max() < 1e-4


def test_goals_tell_a_sine_from_noise() -> None:
    from tools.training.tones import goals

    noise = torch.randn(SAMPLES, generator=torch.Generator().manual_seed(1)) * 0.001
    share, place = goals(torch.stack([sine(997) + noise, noise * 10])[None], band_filters())
    centres = band_centres()
    band = int(np.argmin(np.abs(centres[1:-1] - 997)))
    inside = slice(2, HOPS // REST - 2)
    assert float(share[0, 0, band, inside].min()) > 0.95
    hz = centres[band + 1] + place[0, 0, band, inside].numpy() * (centres[band + 2] - centres[band + 1])
    np.testing.assert_allclose(hz, 997, atol=2)
    assert float(share[0, 1, :, inside].mean()) < 0.1


@pytest.fixture(scope="module")
def codec() -> AmbienceCodec:
    return _load(AmbienceCodec, MODELS / "bundled" / "codec", "cpu")


@torch.inference_mode()
def test_a_bell_rings_and_rain_does_not(codec: AmbienceCodec) -> None:
    """A few partials that die away come back as lines; noise comes back as noise."""
    t = torch.arange(40 * FRAME) / RATE
    bell = sum(torch.sin(2 * torch.pi * f * t) * torch.exp(-t / d) for f, d in ((523, 3.0), (1046, 2.0), (1255, 1.5)))
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(2)) * 0.05
    for sound, rings in ((0.1 * bell + 0.01 * noise, True), (noise, False)):
        y = codec.decode(codec.encode(torch.stack([sound, sound])[None]).latents, [0], [1]).sample[0].mean(0).numpy()
        f, p = welch(y, RATE, "hann", 8192)
        near = p[(f > 470) & (f < 580)]
        assert (near.max() / near.mean() > 5) == rings  # noise of a band: about 2


@torch.inference_mode()
def test_a_ringing_tone_is_the_same_wherever_a_clip_begins(codec: AmbienceCodec) -> None:
    t = torch.arange(30 * FRAME) / RATE
    x = (0.1 * torch.sin(2 * torch.pi * 440 * t)).expand(1, 2, -1)
    z = codec.encode(x + torch.randn(x.shape, generator=torch.Generator().manual_seed(3)) * 0.001).latents
    one, two = (codec.decode(z[..., a:b], [(7 + a) * FRAME], [9]).sample for a, b in ((0, 20), (10, 30)))
    edge = EDGE_LATENTS * FRAME
    a, b = one[..., 10 * FRAME + edge : 20 * FRAME - edge], two[..., edge : 10 * FRAME - edge]
    assert float((a - b).abs().max()) < 1e-3 * float(a.abs().max())


@torch.inference_mode()
def test_a_tone_in_the_middle_stays_there(codec: AmbienceCodec) -> None:
    t = torch.arange(30 * FRAME) / RATE
    x = 0.1 * torch.sin(2 * torch.pi * 440 * t) + 0.001 * torch.randn(
        len(t), generator=torch.Generator().manual_seed(4)
    )
    y = codec.decode(codec.encode(x.expand(1, 2, -1)).latents, [0], [1]).sample[0]
    width = 20 * torch.log10((y[0] - y[1]).std() / (y[0] + y[1]).std())
    assert float(width) < -40
