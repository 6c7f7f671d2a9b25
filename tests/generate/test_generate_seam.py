"""The seam between kept and new latents: steps go, fluctuation stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ambient.generate.seam import RELEASE_FRAMES, ease_seam


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
