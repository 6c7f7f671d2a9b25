"""The seam between kept and new latents: a step of the size that the sound itself makes, no larger, no smaller."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ambient.generate.seam import LEAST, SCALES, natural_seam, share_at_seam


def steady(kept: int, new: int, step: float, seed: int = 0, spread: float = 0.2) -> np.ndarray:
    z = np.random.default_rng(seed).standard_normal((8, kept + new)).astype(np.float32) * spread
    z[:, kept:] += step
    return z


EYE = np.eye(8, dtype=np.float32)
ROOT = np.float32(8**0.5)
"""A unit of each direction is a decibel in all bands together, rms."""
RELEASE = max(release for _, release in SCALES)


def step(z: np.ndarray, kept: int, side: int = 4) -> np.ndarray:
    return np.asarray(z[:, kept : kept + side].mean(1) - z[:, kept - side : kept].mean(1))


def test_a_jump_becomes_a_step_like_all_others() -> None:
    """Over many seams the steps have the size that they have elsewhere, and no direction."""
    found, elsewhere = [], []
    for seed in range(200):
        z = steady(28, 100, 1.0, seed)
        mended = natural_seam(z, 28, ROOT * EYE, EYE / ROOT, seed)
        np.testing.assert_array_equal(mended[:, :28], z[:, :28])
        np.testing.assert_array_equal(mended[:, 28 + RELEASE :], z[:, 28 + RELEASE :])
        found.append(step(mended, 28))
        elsewhere.append(step(z, 100))
    size, usual = np.std(found), np.std(elsewhere)
    assert 0.7 * usual < size < 1.4 * usual
    assert abs(np.mean(found)) < 0.25 * usual  # the jump was seven times as large


def test_a_step_keeps_the_colour_of_the_sounds_own() -> None:
    """A sound that only ever moves in one direction does so at its seams too."""
    random = np.random.default_rng(2)
    along, across = [], []
    for seed in range(60):
        z = np.zeros((8, 128), np.float32)
        z[0] = random.standard_normal(128)
        z[1, 28:] += 2.0
        mended = natural_seam(z, 28, ROOT * EYE, EYE / ROOT, seed)
        along.append(step(mended, 28)[0])
        across.append(np.abs(step(mended, 28)[1:]).max())
    assert np.std(along) > 0.3
    assert max(across) < 0.1 * np.std(along)  # what the release itself adds to the steps


def test_what_is_sparse_is_left_alone() -> None:
    changed = 0.0
    for seed in range(50):
        z = steady(28, 100, 0.0, seed, spread=1.0)
        changed += float(np.abs(natural_seam(z, 28, 4 * ROOT * EYE, EYE / (4 * ROOT), seed) - z).mean())
    assert changed / 50 < 0.05
    chirps, random = np.zeros((8, 128), np.float32), np.random.default_rng(1)
    for at in random.integers(0, 126, 12):
        chirps[:, at : at + 2] = 4.0
    chirps[:, 26:32] = 0.0
    np.testing.assert_array_equal(natural_seam(chirps, 28, 2 * ROOT * EYE, EYE / (2 * ROOT), 3), chirps)


def test_the_quiet_behind_a_call_is_mended_and_the_call_is_not() -> None:
    """Bands are dense or sparse each for itself: an owl hides no jump of the night behind it."""
    left, called = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        z = steady(28, 100, 0.0, seed)
        z[1:, 28:] += 0.3  # a decibel or so
        z[0] = 20.0 * (random.random(128) < 0.3)
        z[0, 20:36] = 0.0
        mended = natural_seam(z, 28, ROOT * EYE, EYE / ROOT, seed)
        left.append(step(mended, 28)[1:])
        called.append(np.abs(mended[0] - z[0]).max())
    assert np.abs(np.mean(left)) < 0.05 and np.std(left) < 0.3
    assert np.mean(called) < 0.1  # of 20


@given(st.integers(0, 60), st.integers(0, 60), st.floats(-5, 5), st.integers(0, 1000))
def test_kept_frames_never_change_and_jumps_never_grow(kept: int, new: int, jump: float, seed: int) -> None:
    z = steady(kept, new, jump, seed)
    mended = natural_seam(z, kept, ROOT * EYE, EYE / ROOT, seed)
    assert mended.shape == z.shape and np.isfinite(mended).all()
    np.testing.assert_array_equal(mended[:, :kept], z[:, :kept])
    np.testing.assert_array_equal(mended, natural_seam(z, kept, ROOT * EYE, EYE / ROOT, seed))
    if kept < 4 or new < LEAST:
        np.testing.assert_array_equal(mended, z)
    else:
        assert np.abs(step(mended, kept)).mean() <= np.abs(step(z, kept)).mean() + 0.5


@given(st.integers(0, 1000), st.floats(-0.5, 1.5))
def test_a_move_begins_at_the_seam_with_what_leaves_the_smallest_step(seed: int, jumped: float) -> None:
    random = np.random.default_rng(seed)
    move, spread = random.standard_normal(8).astype(np.float32), random.uniform(0.5, 2, 8).astype(np.float32)
    z = np.repeat(random.standard_normal((8, 1)), 90, 1).astype(np.float32)
    z[:, 20:] += jumped * move[:, None]  # the model's own jump, some of it in the direction of the move
    z[:, 20:] += 0.3 * random.standard_normal((8, 1)).astype(np.float32)
    tail = z[:, :20].astype(np.float16)

    def left(share: float) -> float:
        rest = z[:, 20:34].mean(1) - share * move - tail.astype(np.float32).mean(1)
        return float(np.square(rest / spread).sum())

    share = share_at_seam(z, move, spread, tail)
    assert 0 <= share <= 1
    assert left(share) <= min(left(other) for other in np.linspace(0, 1, 21)) + 1e-3


def test_without_a_move_or_anything_new_all_is_as_it_was() -> None:
    z = steady(20, 100, 1.0)
    nothing = np.zeros(8, np.float32)
    assert share_at_seam(z, nothing, np.ones(8, np.float32), z[:, :20].astype(np.float16)) == 1.0
    assert share_at_seam(z[:, :20], np.ones(8, np.float32), np.ones(8, np.float32), z[:, :20].astype(np.float16)) == 1.0
