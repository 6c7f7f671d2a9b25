"""The seam between kept and new latents: steps go, fluctuation stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ambient.generate.seam import RELEASE_FRAMES, ease_seam, share_at_seam


def steady(kept: int, new: int, step: float, seed: int = 0, spread: float = 0.2) -> np.ndarray:
    z = np.random.default_rng(seed).standard_normal((8, kept + new)).astype(np.float32) * spread
    z[:, kept:] += step
    return z


def test_a_step_of_colour_becomes_a_slow_return() -> None:
    z = steady(20, 100, 2.0)
    eased = ease_seam(z, 20)
    at_once = eased[:, 20:30].mean() - eased[:, 10:20].mean()
    assert abs(at_once) < 0.25  # it was 2
    np.testing.assert_array_equal(eased[:, :20], z[:, :20])
    np.testing.assert_array_equal(eased[:, 20 + RELEASE_FRAMES :], z[:, 20 + RELEASE_FRAMES :])
    means = eased.mean(0)
    assert np.abs(np.diff(means)).max() < 0.5  # no new step anywhere


def test_what_fluctuates_by_itself_is_left_alone() -> None:
    random = np.random.default_rng(1)
    changed = 0.0
    for seed in range(50):
        z = steady(20, 80, 0.0, seed, spread=1.0)
        changed += float(np.abs(ease_seam(z, 20) - z).mean())
    assert changed / 50 < 0.05
    chirps = np.zeros((8, 100), np.float32)
    for at in random.integers(0, 98, 12):
        chirps[:, at : at + 2] = 4.0
    assert np.abs(ease_seam(chirps, 20) - chirps).max() < 1.0


@given(st.integers(0, 60), st.integers(0, 60), st.floats(-5, 5), st.integers(0, 1000))
def test_kept_frames_never_change_and_steps_never_grow(kept: int, new: int, step: float, seed: int) -> None:
    z = steady(kept, new, step, seed)
    eased = ease_seam(z, kept)
    assert eased.shape == z.shape and np.isfinite(eased).all()
    np.testing.assert_array_equal(eased[:, :kept], z[:, :kept])
    if kept >= 14 and new >= 14:
        before = np.abs(z[:, kept : kept + 4].mean(1) - z[:, kept - 14 : kept].mean(1)).mean()
        after = np.abs(eased[:, kept : kept + 4].mean(1) - eased[:, kept - 14 : kept].mean(1)).mean()
        assert after <= before + 0.2


@given(st.integers(0, 1000), st.floats(-0.5, 1.5))
def test_a_move_begins_at_the_seam_with_what_leaves_the_smallest_step(seed: int, jumped: float) -> None:
    random = np.random.default_rng(seed)
    move, spread = random.standard_normal(8).astype(np.float32), random.uniform(0.5, 2, 8).astype(np.float32)
    z = np.repeat(random.standard_normal((8, 1)), 90, 1).astype(np.float32)
    z[:, 20:] += jumped * move[:, None]  # the model's own jump, some of it in the direction of the move
    z[:, 20:] += 0.3 * random.standard_normal((8, 1)).astype(np.float32)
    tail = z[:, :20].astype(np.float16)

    def step(share: float) -> float:
        left = z[:, 20:34].mean(1) - share * move - tail.astype(np.float32).mean(1)
        return float(np.square(left / spread).sum())

    share = share_at_seam(z, move, spread, tail)
    assert 0 <= share <= 1
    assert step(share) <= min(step(other) for other in np.linspace(0, 1, 21)) + 1e-3


def test_without_a_move_or_anything_new_all_is_as_it_was() -> None:
    z = steady(20, 100, 1.0)
    nothing = np.zeros(8, np.float32)
    assert share_at_seam(z, nothing, np.ones(8, np.float32), z[:, :20].astype(np.float16)) == 1.0
    assert share_at_seam(z[:, :20], np.ones(8, np.float32), np.ones(8, np.float32), z[:, :20].astype(np.float16)) == 1.0
