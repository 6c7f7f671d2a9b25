"""Soft, heavy, far, near: read from the words, and heard."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ambient.generate.bands import BANDS, band_centres
from ambient.generate.bundled import BundledBackend
from ambient.generate.manner import MOST_DB, manner_of
from ambient.messages import RATE, Clip, ClipKey, ClipRequest, PromptMix, Tail

KEPT = 28
HIGH = band_centres()[1:-1] > 4000
LOW = band_centres()[1:-1] < 500


@pytest.mark.parametrize(
    ("text", "level", "brightness"),
    [
        ("soft rain", -1, -1), ("a gentle breeze", -1, -1), ("light rain", -1, -1), ("quiet rain", -1, -1),
        ("a piano softly playing", -1, -1), ("Softer rain", -1, -1), ("light summer drizzle", -1, -1),
        ("Heavy rain on a roof", 1, 1), ("raining hard", 1, 1), ("it rains very hard", 1, 1), ("strong wind", 1, 1),
        ("distant thunder", -1, -1), ("a dog far away", -1, -1), ("far-off bells", -1, -1), ("a far train", -1, -1),
        ("bells in the distance", -1, -1), ("distant rain and distant thunder", -1, -1),
        ("close thunder crack", 1, 1), ("a kitten close by", 1, 1), ("close to a waterfall", 1, 1),
        ("muffled music", -1, -1), ("a dull roar", -1, -1),
    ],
)  # fmt: skip
def test_words_of_manner(text: str, level: int, brightness: int) -> None:
    curve = manner_of(text)
    assert np.sign(curve[LOW].mean()) == level
    assert np.sign((curve[HIGH] - curve[LOW].mean()).mean()) == brightness


@pytest.mark.parametrize(
    "text",
    [
        "rain", "", "software", "loudspeakers", "first light, damp", "light of dawn", "street light humming",
        "light aircraft", "a quiet night", "quiet country road at night", "quiet library", "closed shutters",
        "doors open and close", "rain on a close night", "a hard floor", "the far side of the hill",
        "waves as far as the eye can see", "remote mountain stream", "a dull grey morning", "heavy fog",
        "a strong smell",
        "not too loud rain", "wind without any heavy gusts", "less heavy rain",  # denied
        "rain, in a tunnel, loud and close",  # surroundings
        "a campfire with distant owls", "heavy rain and distant thunder", "rain; distant thunder",  # of one sound only
    ],
)  # fmt: skip
def test_what_says_nothing_of_it(text: str) -> None:
    assert not manner_of(text).any()


WORDS = ["soft", "heavy", "distant", "close", "light", "far", "quiet", "muffled", "dull roar"]
PLAIN = ["rain", ",", "not", "and", "the", "in", "on", "away", ";"]


@given(st.lists(st.sampled_from([*WORDS, *PLAIN])))
def test_manners_are_bounded_and_said_once(words: list[str]) -> None:
    text = " ".join(words)
    curve = manner_of(text)
    assert curve.shape == (BANDS,) and curve.dtype == np.float32 and np.abs(curve).max() <= MOST_DB
    np.testing.assert_array_equal(curve, manner_of("  " + text.upper().replace(" ", "  ")))
    if set(words) <= set(PLAIN):
        assert not curve.any()


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


@pytest.mark.parametrize("ends", ["tail", "head", "both"])
def test_the_model_paints_plain_sounds_between_ends_that_stay(
    backend: BundledBackend, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy = Tail(clip(backend, PromptMix.of("heavy rain"), 1).latents[:, -KEPT:])
    asked = ClipRequest(ClipKey("bed", 2), 0, 96, 0, 2, 7, PromptMix.of("distant rain"), 4, 1.0)
    if ends != "head":
        asked = dataclasses.replace(asked, tail=heavy)
    if ends != "tail":
        asked = dataclasses.replace(asked, head=heavy)
    seen: list[ClipRequest] = []
    whole = backend._denoised
    monkeypatch.setattr(backend, "_denoised", lambda batch, steps: (seen.extend(batch), whole(batch, steps))[1])
    (made,) = backend.generate([asked])
    assert isinstance(made, Clip)
    far = (backend._manner(asked.prompt) + backend._bias(asked.prompt)).numpy()[:, None]
    painted = next(request for request in seen if request.seed == 2)
    for end, place in (("tail", slice(None, KEPT)), ("head", slice(-KEPT, None))):
        if ends in (end, "both"):
            np.testing.assert_array_equal(made.latents[:, place], heavy.latents)
            np.testing.assert_allclose(getattr(painted, end).latents, heavy.latents - far, atol=0.02)


def test_a_single_event_is_as_far_as_its_scene_says(backend: BundledBackend) -> None:
    def event(text: str) -> np.ndarray:
        key = ClipKey("events", 0)
        (made,) = backend.generate([ClipRequest(key, 0, 48, 0, 3, 7, PromptMix.of(text), 4, 1.0, one_shot=True)])
        assert isinstance(made, Clip)
        return made.latents.astype(np.float32)

    far, near = backend._manner(PromptMix.of("distant thunder")).norm(), backend._manner(PromptMix.of("thunder")).norm()
    assert float(far) > 0.5 > float(near)
    change = (event("distant thunder") - event("thunder")).mean(1) @ backend._manner(
        PromptMix.of("distant thunder")
    ).numpy()
    assert change < 0.3 * float(far) ** 2


def test_a_colour_moves_the_bands_as_it_says(backend: BundledBackend) -> None:
    codec = backend._codec
    still = torch.zeros(1, backend.info.latent_channels, 1)
    for text in ("soft rain", "heavy rain", "distant rain", "close rain", "muffled rain"):
        curve = manner_of(text)
        with torch.no_grad():
            moved = codec.envelope(still + codec.colour_step(curve)[None, :, None]) - codec.envelope(still)
        for found in 10 / np.log(10) * moved.mean((0, 2)).reshape(2, BANDS).numpy():  # of mid, of side
            np.testing.assert_allclose(found, curve, atol=2.5)
            assert np.sqrt(np.square(found - curve).mean()) < 1


def test_a_mix_is_as_far_away_as_its_shares(backend: BundledBackend) -> None:
    assert not backend._manner(PromptMix.of("rain")).any()
    half, whole = (backend._manner(PromptMix.of({"rain": 1 - w, "distant rain": w})) for w in (0.5, 1.0))
    torch.testing.assert_close(half, 0.5 * whole)
