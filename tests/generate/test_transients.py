"""Clicks: found where they are and nowhere else, as strong as they were, and the same wherever a clip begins."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ambient.generate.bands import BANDS, HOP, WINDOW, analyse
from ambient.generate.bundled import _load
from ambient.generate.catalogue import MODELS
from ambient.generate.codec import EDGE_LATENTS, FRAME, AmbienceCodec
from ambient.generate.detail import _across
from ambient.generate.transients import GRAINS, LOUDEST, _ranges, clicks_in, grained, struck

TO_BINS = AmbienceCodec(latent_dim=1, hidden=1).to_long


@pytest.fixture(scope="module")
def codec() -> AmbienceCodec:
    return _load(AmbienceCodec, MODELS / "bundled" / "codec", "cpu")


def hiss(frames: int, level: float = 0.01, seed: int = 0) -> Tensor:
    """White noise of mid and side, ``(2, samples)``."""
    noise = torch.randn(2, frames * FRAME, generator=torch.Generator().manual_seed(seed)) * level
    noise[1] *= 0.3
    return noise


def crackling(frames: int, times: list[int], level: float = 0.2) -> Tensor:
    """Left and right ``(1, 2, samples)``: hiss, and clicks of two milliseconds."""
    x = hiss(frames, 0.003)
    fall = torch.exp(-torch.arange(300) / 60)
    for k, at in enumerate(times):
        x[0, at : at + 300] += level * fall * torch.randn(300, generator=torch.Generator().manual_seed(k))
    return torch.stack([x[0] + x[1], x[0] - x[1]])[None]


@torch.inference_mode()
def envelope(codec: AmbienceCodec, x: Tensor) -> Tensor:
    """Log powers of mid as decoding has them, ``(1, BANDS, hops)``."""
    return codec.envelope(codec.encode(x).latents)[:, :BANDS]


@given(st.integers(0, 1000), st.floats(0.001, 0.2))
@settings(max_examples=20, deadline=None)
def test_steady_noise_has_no_clicks(codec: AmbienceCodec, seed: int, level: float) -> None:
    mid, side = hiss(40, level, seed)
    bands = envelope(codec, torch.stack([mid + side, mid - side])[None])
    assert len(clicks_in(bands).item) == 0


@given(st.lists(st.integers(3, 76), min_size=1, max_size=12, unique=True), st.integers(0, 479))
@settings(max_examples=30, deadline=None)
def test_every_click_is_found_where_it_is(codec: AmbienceCodec, places: list[int], shift: int) -> None:
    times = [p * 8 * HOP + shift for p in places]  # 40 ms apart at least
    bands = envelope(codec, crackling(40, times))
    found = clicks_in(bands)
    far = (found.hop[:, None] * HOP + HOP // 2 - torch.tensor(times) - 40).abs() / HOP
    nearest, which = far.min(0)
    assert float(nearest.max()) <= 1.5
    assert float(found.strength[which].mean(1).min()) > 0.8
    energy = bands[0, :, found.hop].exp().mean(0)
    others = energy[far.min(1).values > 2]  # a projection to few directions has echoes, 30 ms before and behind
    assert not len(others) or float(others.max()) < 0.2 * float(energy[which].max())


def test_a_click_is_as_strong_as_its_bump_and_leaves_the_rest() -> None:
    power = torch.full((1, 2, BANDS, 80), -14.0)
    power[:, :, :, 40] += 4.0
    power[:, :, :, 39:42:2] += 2.8
    noise = torch.randn(1, 2, 80 * HOP, generator=torch.Generator().manual_seed(1))
    rest, sound = struck(power, clicks_in(power[:, 0]), noise, TO_BINS)
    torch.testing.assert_close(rest, torch.full_like(rest, -14.0))
    energy = HOP * float((power.exp() - rest.exp())[0, 0, 40 // 2].sum())  # of each bin
    assert float(sound[0, 0].square().sum()) == pytest.approx(energy, rel=0.1)
    begins = (torch.nonzero(sound[0, 0].abs() > 0.1 * sound.abs().max())).min()
    assert abs(int(begins) - 40.5 * HOP) < HOP
    assert float(sound[0, 0, : int(begins) - 48].abs().max()) < 0.05 * float(sound.abs().max())


def test_where_nothing_clicks_nothing_changes() -> None:
    power = torch.linspace(-9, -2, 80).expand(2, 2, BANDS, 80)
    rest, sound = struck(power, clicks_in(power[:, 0]), torch.ones(2, 2, 80 * HOP), TO_BINS)
    assert torch.equal(rest, power) and not bool(sound.any())


def test_bumps_that_reach_into_each_other_are_not_counted_twice() -> None:
    power = torch.full((1, 2, BANDS, 80), -14.0)
    for at in (40, 43):
        power[:, :, :, at] += 4.0
    noise = torch.randn(1, 2, 80 * HOP, generator=torch.Generator().manual_seed(1))
    clicks = clicks_in(power[:, 0])
    assert clicks.hop.tolist() == [40, 43]
    rest, sound = struck(power, clicks, noise, TO_BINS)
    energy = HOP * float((power.exp() - rest.exp())[0, 0, 0].sum()) * (WINDOW // 2) * 2 / WINDOW
    assert float(sound[0, 0].square().sum()) == pytest.approx(energy, rel=0.25)  # they overlap


@given(st.floats(-8.0, 12.0), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_no_click_is_louder_than_in_recordings(level: float, seed: int) -> None:
    power = torch.full((1, 2, BANDS, 40), -12.0)
    power[..., 20] = level
    noise = torch.randn(1, 2, 40 * HOP, generator=torch.Generator().manual_seed(seed))
    mid, side = struck(power, clicks_in(power[:, 0]), noise, TO_BINS)[1][0]
    assert bool(torch.isfinite(mid).all()) and float((mid.abs() + side.abs()).max()) <= LOUDEST * 1.001


@torch.inference_mode()
def test_overlapping_decodes_click_alike(codec: AmbienceCodec) -> None:
    z = codec.encode(crackling(30, list(range(2000, 110_000, 3_333)))).latents
    one = codec.decode(z[..., :20], [40 * FRAME], [9]).sample
    two = codec.decode(z[..., 10:], [50 * FRAME], [9]).sample
    edge = EDGE_LATENTS * FRAME
    a, b = one[..., 10 * FRAME + edge : 20 * FRAME - edge], two[..., edge : 10 * FRAME - edge]
    assert float(a.abs().max()) > 20 * float(a.abs().median())  # there are clicks
    assert float((a - b).abs().max()) < 1e-4 * max(1.0, float(a.abs().max()))


@torch.inference_mode()
def test_clicks_come_back_at_their_time_and_as_peaked(codec: AmbienceCodec) -> None:
    times = list(range(9_600, 140_000, 9_600))
    x = crackling(40, times)
    y = codec.decode(codec.encode(x).latents, [0], [1]).sample
    for at in times:
        around = y[0, :, at - 960 : at + 1440].abs().sum(0)
        assert abs(int(around.argmax()) - 960) < 300  # 6 ms
    crest = [float(s.abs().max() / s.square().mean().sqrt()) for s in (x, y)]
    assert 0.5 < crest[1] / crest[0] < 2.5


def test_noise_bursts_where_bands_stand_out_and_nowhere_else() -> None:
    noise = torch.randn(2, 2, 80 * HOP, generator=torch.Generator().manual_seed(1))
    power = torch.full((2, 2, BANDS, 80), -14.0)
    first = GRAINS[1][0]
    power[1, :, first:, 40] += 3.0  # of the second item, above 5 kHz only
    power[1, :, first:, 39:42:2] += 1.8
    change = grained(noise, power) - noise
    assert not bool(change[0].any())
    where = change[1].square().sum(0)
    at = int((where.cumsum(0) < where.sum() / 2).sum())
    assert abs(at - 40.5 * HOP) < HOP / 2
    assert float(where[at - 48 : at + 48].sum() / where.sum()) > 0.9  # two milliseconds
    spectrum = torch.fft.rfft(change[1, 0, at - 256 : at + 256]).abs().square()
    assert float(spectrum[: 512 * 4_800 // 48_000].sum() / spectrum.sum()) < 0.01
    assert float(change[1].square().sum()) > HOP  # as much as the noise of 2.5 ms, of mid and side


@given(st.integers(0, 1000), st.floats(-20.0, 0.0))
@settings(max_examples=20, deadline=None)
def test_steady_noise_has_hardly_a_grain(codec: AmbienceCodec, seed: int, level: float) -> None:
    noise = torch.randn(1, 2, 400 * HOP, generator=torch.Generator().manual_seed(seed))
    power = analyse(noise, codec.filters).transpose(2, 3) + level
    power[..., :4], power[..., -4:] = power[..., 4:8], power[..., -8:-4]  # windows that reach beyond the ends
    assert float((grained(noise, power) - noise).square().mean() / noise.square().mean()) < 0.02
    assert torch.equal(grained(noise, torch.full_like(power, level)), noise)


@given(st.integers(0, 10_000), st.integers(1, 1800), st.floats(-1e-6, 1e-6))
@settings(max_examples=40, deadline=None)
def test_a_grain_sounds_the_same_wherever_a_clip_begins(seed: int, hops: int, rounding: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    power = torch.randn(1, 2, BANDS, 64, generator=draw) - 8
    power += 3 * torch.randn(1, 1, 1, 64, generator=draw)  # bands that stand out together, now and then
    noise = torch.randn(1, 2, 64 * HOP, generator=draw)
    earlier = torch.full((1, 2, BANDS, hops), -8.0)
    early = torch.zeros(1, 2, hops * HOP)
    one = grained(noise, power)
    two = grained(torch.cat([early, noise], 2), torch.cat([earlier, power * (1 + rounding)], 3))[..., hops * HOP :]
    inside = slice(8 * HOP, -8 * HOP)
    assert float((one - noise).abs().max()) > 1  # there are some
    torch.testing.assert_close(one[..., inside], two[..., inside], atol=2e-3 * float(one.abs().max()), rtol=0)


def test_what_is_kept_between_calls_serves_training_too() -> None:
    power = torch.full((1, 2, BANDS, 64), -8.0)
    power[..., 30] += 3
    for kept in (_ranges, _across):
        kept.cache_clear()
    with torch.inference_mode():
        heard, passed = grained(hiss(4)[None], power), _across(7)
    trained = grained(hiss(4)[None], power.requires_grad_())
    trained.square().sum().backward()
    assert power.grad is not None and power.grad[..., 30].abs().min() == 0 < power.grad[..., 30].abs().max()
    torch.testing.assert_close(trained.detach(), heard)
    (passed @ torch.ones(BANDS, 1, requires_grad=True)).sum().backward()
