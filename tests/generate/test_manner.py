"""Soft, heavy, far, near: read from the words, and heard."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ambient.generate.bands import BANDS, band_centres
from ambient.generate.bundled import BundledBackend
from ambient.generate.manner import manner_of
from ambient.messages import RATE, Clip, ClipKey, ClipRequest, PromptMix, Tail

KEPT = 28
HIGH = band_centres()[1:-1] > 4000
LOW = band_centres()[1:-1] < 500


@pytest.mark.parametrize(
    ("text", "level", "brightness"),
    [
        ("soft rain", -1, -1), ("a gentle breeze", -1, -1), ("light rain", -1, -1), ("quiet rain", -1, -1),
        ("Heavy rain on a roof", 1, 1), ("raining hard", 1, 1), ("strong wind", 1, 1),
        ("distant thunder", -1, -1), ("a dog far away", -1, -1), ("a far train", -1, -1),
        ("bells in the distance", -1, -1),
        ("close thunder crack", 1, 1), ("a kitten close by", 1, 1), ("muffled music", -1, -1),
        ("rain", 0, 0), ("", 0, 0), ("first light, damp", 0, 0), ("a quiet night", 0, 0), ("light of dawn", 0, 0),
        ("closed shutters", 0, 0), ("a hard floor", 0, 0), ("the far side of the hill", 0, 0), ("software", 0, 0),
        ("rain, not loud", 0, 0), ("wind without heavy gusts", 0, 0),
    ],
)  # fmt: skip
def test_words_of_manner(text: str, level: int, brightness: int) -> None:
    curve = manner_of(text)
    assert np.sign(curve[LOW].mean()) == level
    assert np.sign((curve[HIGH] - curve[LOW].mean()).mean()) == brightness


PLAIN = ["rain", ",", "not", "the", "in", "on", "away"]


@given(st.lists(st.sampled_from(["soft", "heavy", "distant", "close", "light", "far", "quiet", *PLAIN])))
def test_manners_are_bounded_and_said_once(words: list[str]) -> None:
    text = " ".join(words)
    curve = manner_of(text)
    assert curve.shape == (BANDS,) and np.isfinite(curve).all() and np.abs(curve).max() < 35
    np.testing.assert_array_equal(curve, manner_of("  " + text.upper().replace(" ", "  ")))
    if set(words) <= set(PLAIN):
        assert not curve.any()


def test_surroundings_say_half() -> None:
    np.testing.assert_allclose(manner_of("rain, in a tunnel, loud"), 0.5 * manner_of("loud rain"), rtol=1e-6)


@pytest.fixture(scope="module")
def backend() -> BundledBackend:
    return BundledBackend(threads=1)


def clip(backend: BundledBackend, prompt: PromptMix, seed: int, tail: Tail | None = None, start: int = 0) -> Clip:
    key = ClipKey("bed", seed)
    settled = tail is not None
    (made,) = backend.generate([ClipRequest(key, start, 96, 0, seed, 7, prompt, 4, 1.0, tail=tail, settled=settled)])
    assert isinstance(made, Clip)
    return made


def level(made: Clip) -> float:
    return float(10 * np.log10(np.square(made.audio).mean()))


def highs(made: Clip) -> float:
    """What lies above 4 kHz over what lies below 500 Hz, decibels."""
    power = np.abs(np.fft.rfft(made.audio.mean(1))) ** 2
    hz = np.fft.rfftfreq(len(made.audio), 1 / RATE)
    return float(10 * np.log10(power[hz > 4000].sum() / power[hz < 500].sum()))


@pytest.mark.parametrize("sound", ["rain", "waves", "traffic", "wind in the trees"])
def test_soft_and_heavy_far_and_near_are_heard(backend: BundledBackend, sound: str) -> None:
    made = {
        manner: [clip(backend, PromptMix.of(f"{manner} {sound}"), seed) for seed in range(2)]
        for manner in ("soft", "heavy", "distant", "close")
    }
    loud = {k: np.mean([level(x) for x in v]) for k, v in made.items()}
    bright = {k: np.mean([highs(x) for x in v]) for k, v in made.items()}
    assert loud["heavy"] > loud["soft"] + 3 and loud["close"] > loud["distant"] + 3
    assert bright["close"] > bright["distant"] + 6


def test_on_the_way_from_soft_to_heavy_it_grows(backend: BundledBackend) -> None:
    levels = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        mix = PromptMix.of({"soft rain on leaves": 1 - share, "heavy rain on leaves": share})
        levels.append(np.mean([level(clip(backend, mix, seed)) for seed in range(3)]))
    assert all(np.diff(levels) > 0) and levels[-1] > levels[0] + 4


def test_a_chain_stays_as_far_away_as_it_is(backend: BundledBackend) -> None:
    chain = [clip(backend, PromptMix.of("distant rain"), 0)]
    for i in range(1, 8):
        tail = Tail(chain[-1].latents[:, -KEPT:])
        chain.append(clip(backend, PromptMix.of("distant rain"), i, tail, i * (96 - KEPT) * 3840))
        np.testing.assert_array_equal(chain[-1].latents[:, :KEPT], tail.latents)
    levels, colours = [level(x) for x in chain], [highs(x) for x in chain]
    assert np.ptp(levels) < 2.5 and np.ptp(colours) < 5


def test_a_colour_is_heard_as_it_was_asked_for(backend: BundledBackend) -> None:
    codec = backend._codec
    z = torch.from_numpy(clip(backend, PromptMix.of("rain"), 3).latents.astype(np.float32))[None]
    for text in ("soft rain", "distant rain", "muffled rain"):
        curve = manner_of(text)
        with torch.no_grad():
            moved = codec.envelope(z + codec.colour_step(curve)[None, :, None]) - codec.envelope(z)
        found = 10 / np.log(10) * moved.mean((0, 2)).reshape(2, BANDS)
        np.testing.assert_allclose(found[0], curve, atol=3)
        assert float((found[0] - torch.from_numpy(curve)).square().mean().sqrt()) < 1


def test_a_mix_is_as_far_away_as_its_shares(backend: BundledBackend) -> None:
    assert not backend._manner(PromptMix.of("rain")).any()
    half, whole = (backend._manner(PromptMix.of({"rain": 1 - w, "distant rain": w})) for w in (0.5, 1.0))
    torch.testing.assert_close(half, 0.5 * whole)
