"""Sounds made by rule, and the figures that judge a model: they must tell good from bad."""

from __future__ import annotations

import numpy as np
import pytest

from ambient.generate.bands import BANDS
from ambient.messages import RATE
from tools.training import joins, likeness, procedural


@pytest.mark.parametrize("name", sorted({f.split("-")[0] for f, _ in procedural.entries(1.0)}))
def test_procedural_sounds_are_sound_and_each_its_own(name: str) -> None:
    one, other = procedural.make(f"{name}-0"), procedural.make(f"{name}-1")
    assert one.shape == (round(procedural.SECONDS * RATE), 2) and one.dtype == np.float32
    assert np.isfinite(one).all() and 0.4 < np.abs(one).max() <= 0.5
    assert not np.allclose(one, other, atol=0.01)
    seconds = np.square(one[: int(procedural.SECONDS) * RATE]).mean(1).reshape(-1, 2 * RATE).mean(1)
    assert (seconds > 0).all()


def test_the_same_name_gives_the_same_sound() -> None:
    np.testing.assert_array_equal(procedural.make("drips-3"), procedural.make("drips-3"))


def texture(rng: np.random.Generator, colour: float, flutter: float) -> np.ndarray:
    slope = colour * np.linspace(-1, 1, BANDS)
    wave = flutter * rng.standard_normal((likeness.PIECE, 1, 1))
    return (slope + wave + 0.3 * rng.standard_normal((likeness.PIECE, 2, BANDS))).astype(np.float32)


def test_frechet_distance_grows_with_unlikeness() -> None:
    rng = np.random.default_rng(0)

    def points(colour: float, flutter: float, count: int = 120) -> np.ndarray:
        return np.stack(
            [likeness.statistics(texture(rng, colour + 0.1 * rng.standard_normal(), flutter)) for _ in range(count)]
        )

    space = likeness.Textures(np.concatenate([points(c, f, 30) for c in (0, 1, 2) for f in (0.1, 1.0)]))
    real = space(points(1, 0.5))
    same, brighter, other = (likeness.frechet(real, space(points(*x))) for x in ((1, 0.5), (1.3, 0.5), (2, 1.0)))
    assert likeness.frechet(real, real) == pytest.approx(0, abs=1e-3)
    assert same < brighter < other


def test_diversity_is_one_for_the_recordings_themselves_and_nothing_for_one_clip_again_and_again() -> None:
    rng = np.random.default_rng(1)
    real = [rng.standard_normal((20, 5)) for _ in range(3)]
    assert likeness.diversity(real, real) == pytest.approx(1)
    assert likeness.diversity([np.repeat(r[:1], 4, 0) for r in real], real) == 0


def test_a_classifier_finds_audible_joins_and_no_others() -> None:
    rng = np.random.default_rng(2)
    lattice, sounds, plain, planted = 3840, [], [], []
    for _ in range(20):
        sound = (0.05 * rng.standard_normal((20 * RATE, 2))).astype(np.float32)
        frames = [lattice * k for k in (60, 130, 200)]
        stepped = sound.copy()
        for i, frame in enumerate(frames):
            stepped[frame:] *= 2.0 if i % 2 else 0.5
        sounds.append((sound, stepped))
        plain.append(frames)
        planted.append(frames)
    heard = joins.auc([s for _, s in sounds], planted, lattice)
    unheard = joins.auc([s for s, _ in sounds], plain, lattice)
    assert heard["joins"] == 60 and heard["forest"] > 0.95
    assert unheard["logistic"] < 0.68 and unheard["forest"] < 0.68
