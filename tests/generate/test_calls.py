"""Calls: what glides is found in a recording, glides when it is sounded, and belongs to the timeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.generate.bands import BANDS, HOP, RATE, STACK, WINDOW, analyse, band_centres, band_filters, band_widths
from ambient.generate.bundled import _load
from ambient.generate.calls import LED, MEETING, REACH, sung, voted
from ambient.generate.catalogue import MODELS
from ambient.generate.codec import EDGE_LATENTS, FRAME, AmbienceCodec
from ambient.generate.tones import REST, position_phases

HOPS = 96
SAMPLES = HOPS * HOP
CENTRES = band_centres()[1:-1]


def glide(low: float, high: float, samples: int = SAMPLES, level: float = 0.1) -> torch.Tensor:
    """From one pitch to another, evenly, float32 ``(samples,)``."""
    hz = np.linspace(low, high, samples)
    return torch.from_numpy(level * np.sin(2 * np.pi * np.cumsum(hz) / RATE)).float()


def places(hz: np.ndarray) -> torch.Tensor:
    """Where a tone that lies at ``hz`` in every hop lies from each band, ``(1, BANDS, hops)``."""
    at = np.interp(hz, CENTRES, np.arange(BANDS))
    return torch.from_numpy(at - np.arange(BANDS)[:, None]).float().clamp(-REACH, REACH)[None]


def energy_of(x: torch.Tensor, share_of_side: float = 0.0) -> torch.Tensor:
    mid = analyse(x[None], band_filters())[0].T.exp()
    return torch.stack([mid, share_of_side * mid])[None]


def pitch(x: torch.Tensor) -> np.ndarray:
    """Pitch in the middle of every hop, Hz, by the middle of the strongest line; and nothing at the ends."""
    frames = x.unfold(-1, WINDOW, HOP) * torch.hann_window(WINDOW)
    power = torch.fft.rfft(frames, n=8 * WINDOW).abs().square()
    bins = torch.arange(power.shape[1])
    near = (bins - power.argmax(1, keepdim=True)).abs() <= 32
    return ((power * near) @ bins.float() / (power * near).sum(1)).numpy() * RATE / 8 / WINDOW


def phases(seed: int = 1, first: int = 0) -> torch.Tensor:
    return torch.from_numpy(position_phases(seed, first))[None]


@given(st.floats(700, 9000), st.floats(-0.5, 0.5))
@settings(max_examples=25, deadline=None)
def test_a_glide_comes_back_as_one(low: float, octaves: float) -> None:
    """Analysed into bands and sung: its pitch to half a band, its level to 1 dB."""
    high = low * 2**octaves
    x = glide(low, high)
    y = sung(energy_of(x), places(np.linspace(low, high, HOPS)), phases())[0]
    inside = slice(10 * HOP, -10 * HOP)
    assert float(20 * torch.log10(y[0, inside].std() / x[inside].std())) == pytest.approx(0, abs=1.0)
    np.testing.assert_allclose(pitch(y[0, inside]), pitch(x[inside]), rtol=0.01, atol=15)
    assert not y[1].any()


@given(st.floats(700, 9000))
@settings(max_examples=15, deadline=None)
def test_a_held_tone_is_one_line(hz: float) -> None:
    """The pieces of a track fit together: nothing but a line, and no step anywhere."""
    x = glide(hz, hz)
    y = sung(energy_of(x), places(np.full(HOPS, hz)), phases())[0, 0, 10 * HOP : -10 * HOP].double().numpy()
    f, p = np.fft.rfftfreq(len(y), 1 / RATE), np.abs(np.fft.rfft(y * np.hanning(len(y)))) ** 2
    assert p[np.abs(f - hz) < 20].sum() > 0.999 * p.sum()


def test_tones_that_meet_and_part_do_not_click() -> None:
    """However votes move, and whatever comes and goes: bands far from all of it stay silent, to −56 dB in 30 cases."""

    def leaked(seed: int) -> float:
        rng = np.random.default_rng(seed)

        def wander(size: int, step: int) -> np.ndarray:  # values every ``step`` hops, and lines between them
            knots = rng.normal(size=(size, HOPS // step + 2))
            return np.stack([np.interp(np.arange(HOPS) / step, np.arange(len(row)), row) for row in knots])

        energy = np.zeros((1, 2, BANDS, HOPS), np.float32)
        energy[0, :, 44:60] = np.exp(2 * wander(16, 8)) * (wander(16, 16) > -0.5)
        y = sung(torch.from_numpy(energy), torch.from_numpy(3 * wander(BANDS, REST)[None]).float(), phases(seed))
        powers = analyse(y[0, :1], band_filters())[0].exp() * torch.from_numpy(band_widths())
        return float(10 * torch.log10(powers[:, : int(np.argmax(CENTRES > 1000))].sum() / powers.sum()))

    assert max(map(leaked, range(30))) < -56


def test_silence_is_silent() -> None:
    assert not sung(torch.zeros(2, 2, BANDS, HOPS), torch.zeros(2, BANDS, HOPS), phases().expand(2, -1, -1)).any()


def test_tones_of_a_stretch_do_not_sound_in_another() -> None:
    """Of a batch each item sounds as it does alone."""
    one, two = energy_of(glide(1000, 2000)), energy_of(glide(5000, 3000))
    where = places(np.linspace(1000, 2000, HOPS)), places(np.linspace(5000, 3000, HOPS))
    both = sung(torch.cat([one, two]), torch.cat(where), torch.cat([phases(1), phases(2)]))
    alone = [sung(e, p, phases(seed)) for e, p, seed in zip((one, two), where, (1, 2), strict=True)]
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-6, rtol=0)


def test_hops_in_which_nothing_calls_may_be_left_out() -> None:
    """Two calls far apart, given whole and given without the silence between them: the same sound."""
    hz = np.full(HOPS, 3000.0)
    energy = torch.zeros(1, 2, BANDS, HOPS)
    for a, b in ((8, 24), (60, 80)):
        energy[..., a:b] = energy_of(glide(3000, 3000))[..., a:b]
    at = torch.cat([torch.arange(4, 28), torch.arange(56, 84)])
    whole = sung(energy, places(hz), phases())
    few = sung(energy[..., at], places(hz)[..., at], phases(), at, HOPS)
    assert float(whole.abs().max()) > 0.05
    assert torch.equal(whole, few)


def test_a_call_as_strong_in_the_side_comes_from_one_side() -> None:
    hz = np.linspace(2000, 3000, HOPS)
    y = sung(energy_of(glide(2000, 3000), share_of_side=1.0), places(hz), phases())[0]
    left, right = (y[0] + y[1]).std(), (y[0] - y[1]).std()
    assert float(min(left, right)) < 1e-3 * float(max(left, right))


@given(st.integers(0, 2**32), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_a_call_is_the_same_wherever_a_clip_begins(seed: int, late: int) -> None:
    """A call that begins within two clips is the same in both, sample for sample."""
    x = torch.cat([torch.zeros(20 * HOP), glide(3000, 5000, 40 * HOP), torch.zeros(36 * HOP)])
    hz = np.interp(np.arange(HOPS), [20, 60], [3000, 5000])
    energy, where = energy_of(x), places(hz)
    late = min(late, 12)
    one = sung(energy, where, phases(seed, 7 * FRAME), starts=[7 * STACK])
    two = sung(energy[..., late:], where[..., late:], phases(seed, 7 * FRAME + late * HOP), starts=[7 * STACK + late])
    torch.testing.assert_close(one[..., (late + 1) * HOP :], two[..., HOP:], atol=1e-4, rtol=0)
    cut = sung(energy[..., :44], where[..., :44], phases(seed, 7 * FRAME), starts=[7 * STACK])
    torch.testing.assert_close(one[..., : 39 * HOP], cut[..., : 39 * HOP], atol=1e-4, rtol=0)


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(0, 200), st.integers(0, 60), st.floats(-0.2, 0.2))
@settings(max_examples=20, deadline=None)
def test_a_call_without_end_is_soon_the_same_in_both(
    seed: int, late: int, start: int, early: int, octaves: float
) -> None:
    """What sounds on and on, and had begun before either clip did, coincides as soon as both have met the timeline,
    wherever they end."""
    hops = 320
    hz = 3000 * 2 ** np.linspace(0, octaves, hops)
    mid = analyse(glide(3000, hz[-1], hops * HOP)[None], band_filters())[0].T.exp()
    energy, where = torch.stack([mid, 0 * mid])[None], places(hz)
    there = slice(late, hops - early)
    one = sung(energy, where, phases(seed, start * HOP), starts=[start])
    two = sung(energy[..., there], where[..., there], phases(seed, (start + late) * HOP), starts=[start + late])
    met, last = late + LED + MEETING, hops - early - 5  # what ends fades out
    torch.testing.assert_close(
        one[..., met * HOP : last * HOP], two[..., (met - late) * HOP : (last - late) * HOP], atol=2e-4, rtol=0
    )
    y = one[0, 0, 10 * HOP : -10 * HOP]
    assert float(y.unfold(0, HOP, HOP).std(1).std() / y.std()) < 0.05  # no step, no beat


def test_votes_gather_what_belongs_together() -> None:
    """All power goes to where bands say that their tone is, and none is lost."""
    energy = torch.rand(1, 2, BANDS, 5, generator=torch.Generator().manual_seed(3))
    place = (40.3 - torch.arange(BANDS).float())[None, :, None].expand(1, BANDS, 5)
    gathered, at = voted(energy, place)
    torch.testing.assert_close(gathered[:, :, 40], energy.sum(2))
    torch.testing.assert_close(at[:, 40], torch.full((1, 5), 40.3))


@given(st.floats(900, 8000), st.floats(-60e3, 60e3))
@settings(max_examples=15, deadline=None)
def test_goals_tell_a_glide_from_noise(middle: float, rate: float) -> None:
    """Of a short call in noise: that it calls, and where; of noise alone that nothing does."""
    from tools.training.tones import call_goals

    rate = rate * min(1.0, middle / 4000)
    length = SAMPLES // 8
    call = glide(middle - rate * length / RATE / 2, middle + rate * length / RATE / 2, length)
    x = torch.zeros(SAMPLES)
    x[(SAMPLES - length) // 2 :][:length] = call * torch.hann_window(length)
    noise = torch.randn(SAMPLES, generator=torch.Generator().manual_seed(1)) * 0.002
    rings = torch.zeros(1, 2, BANDS, HOPS // REST)
    share, place, matters = call_goals(torch.stack([x + noise, noise])[None], band_filters(), rings)
    step = HOPS // REST // 2
    band = int(np.argmin(np.abs(CENTRES - middle)))
    assert float(share[0, 0, band, step - 1 : step + 1].min()) > 0.7
    assert float(matters[0, band, step - 1 : step + 1].max()) > 0.5
    said = np.interp(band + place[0, band, step - 1 : step + 1].mean(), np.arange(BANDS), CENTRES)
    assert said == pytest.approx(middle, rel=0.06)
    assert float(share[0, 1].mean()) < 0.1


def test_goals_of_bands_near_a_tone_lead_to_it() -> None:
    from tools.training.tones import call_goals

    x = glide(3000, 4000)
    place = call_goals(torch.stack([x, 0 * x])[None], band_filters(), torch.zeros(1, 2, BANDS, HOPS // REST))[1]
    hz = np.linspace(3000, 4000, HOPS).reshape(-1, REST).mean(1)
    for step in (6, 12, 18):
        at = float(np.interp(hz[step], CENTRES, np.arange(BANDS)))
        for band in range(round(at) - 4, round(at) + 5):
            assert band + float(place[0, band, step]) == pytest.approx(at, abs=0.6)


def test_what_rings_does_not_call() -> None:
    from tools.training.tones import call_goals, goals

    x = glide(3000, 3000) + torch.randn(SAMPLES, generator=torch.Generator().manual_seed(4)) * 1e-4
    pair = torch.stack([x, 0 * x])[None]
    rings = goals(pair, band_filters())[0]
    band = int(np.argmin(np.abs(CENTRES - 3000)))
    assert float(call_goals(pair, band_filters(), rings)[0][0, 0, band, 4:-4].max()) < 0.2


@pytest.fixture(scope="module")
def codec() -> AmbienceCodec:
    return _load(AmbienceCodec, MODELS / "bundled" / "codec", "cpu")


def chirps(count: int, seed: int) -> torch.Tensor:
    """A bird: short whistles that glide, in faint noise, ``(2, count * 5 * FRAME)``."""
    rng = np.random.default_rng(seed)
    x = torch.randn(count * 5 * FRAME, generator=torch.Generator().manual_seed(seed)) * 0.0005
    for i in range(count):
        low = float(rng.uniform(2500, 5000))
        length = int(RATE * rng.uniform(0.1, 0.15))
        begin = i * 5 * FRAME + int(rng.integers(2 * FRAME, 3 * FRAME))
        x[begin : begin + length] += glide(low, low * float(rng.uniform(0.8, 1.25)), length) * torch.hann_window(length)
    return x.expand(2, -1)


@torch.inference_mode()
def test_a_whistle_is_no_breath(codec: AmbienceCodec) -> None:
    """Of a bird's whistles more than half of the power calls after the codec; of rain next to nothing does."""
    from tools.training.fidelity import calling

    bird = chirps(8, 5)
    noise = torch.randn(2, bird.shape[1], generator=torch.Generator().manual_seed(6)) * 0.05
    assert calling(bird.T.numpy())[0] > 0.8
    (of_bird, _), (of_noise, loud) = (
        calling(codec.decode(codec.encode(x[None]).latents, [0], [1]).sample[0].T.numpy()) for x in (bird, noise)
    )
    assert of_bird > 0.5
    assert of_noise * loud < 0.02


@torch.inference_mode()
def test_two_decodes_of_a_bird_coincide(codec: AmbienceCodec) -> None:
    """But for what is faint, and was going on where one of them begins."""
    z = codec.encode(chirps(8, 7)[None]).latents
    edge = EDGE_LATENTS * FRAME
    for seed in range(5):
        one, two = (codec.decode(z[..., a:b], [(7 + a) * FRAME], [seed]).sample for a, b in ((0, 30), (10, 40)))
        a, b = one[..., 10 * FRAME + edge : 30 * FRAME - edge], two[..., edge : 20 * FRAME - edge]
        off = (a - b).abs().unflatten(2, (-1, FRAME)).amax((0, 1, 3)) / a.abs().max()
        assert float(off[0]) < 0.02 and float(off[1:].max()) < 1e-3


def test_a_track_drawn_as_it_is_distributed_misses_least() -> None:
    """Calls that glide up as often as down: better to draw one of both than to say the mean, or always the same."""
    from ambient.generate.tones import ROWS, Rings
    from tools.training.tones import Lessons, missed

    count, steps, frames = 64, 24, 6
    draw = torch.Generator().manual_seed(8)
    ramp = torch.linspace(-3, 3, steps)

    def either() -> torch.Tensor:
        up = (torch.rand(count, 1, 1, generator=draw) < 0.5) * 2.0 - 1
        return (up * ramp).expand(count, BANDS, steps)

    quiet, all_of_it = torch.zeros(count, 2, BANDS, steps), torch.ones(count, BANDS, steps)
    given_now = Lessons(torch.zeros(count, 16, frames), quiet, quiet, quiet + 1, either(), all_of_it)

    def off(place: object) -> float:
        class Says:
            def __call__(self, bands: torch.Tensor, z: torch.Tensor, noise: torch.Tensor) -> Rings:
                assert noise.shape[2:] == (ROWS, steps)
                return Rings(quiet - 9, quiet, quiet + 9, place())  # type: ignore[operator]

        codec = AmbienceCodec(latent_dim=16)
        return float(missed(Says(), codec, given_now)[1])  # type: ignore[arg-type]

    drawn, mean, same = off(either), off(lambda: all_of_it * 0), off(lambda: ramp * all_of_it)
    assert drawn < 0.8 * mean and drawn < 0.8 * same
