"""Eases the seam between what a clip keeps and what it paints.

A model that paints onwards still tends to change colour, level or width by a decibel or two in the very frame in
which the new begins, and ears are good at steps. The latents of a linear codec are coordinates of log band powers,
so a step of the average latents *is* that step of colour; it is taken back at the seam and given again slowly.

Only what is more than natural is taken back. Sparse sounds (birds, drops) differ from second to second anyway; there
the difference of two averages says nothing, and holding on to it would smear a chirp into a tone. In each latent
direction the step may therefore be as large as the standard deviation of such a difference within the sound itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["ease_seam", "share_at_seam"]

SIDE_FRAMES = 14
"""Latent frames on either side that are averaged: 1.1 s."""
RELEASE_FRAMES = 44
"""Over which the clip returns to its own colour: 3.5 s."""
CORRELATED = 2.5
"""Neighbouring latent frames are alike: so many of them count as one independent one."""


def ease_seam(latents: npt.NDArray[np.float32], kept: int) -> npt.NDArray[np.float32]:
    """Latents ``(channels, frames)`` whose frames from ``kept`` on begin in the colour of those before.

    The kept frames are not touched. Clips with fewer than four kept or new frames come back as they are.
    """
    frames = latents.shape[1]
    new = frames - kept
    if kept < 4 or new < 4:
        return latents
    before = latents[:, max(0, kept - SIDE_FRAMES) : kept].astype(np.float64)
    after = latents[:, kept : kept + SIDE_FRAMES].astype(np.float64)
    step = after.mean(1) - before.mean(1)
    independent = [max(1.5, x.shape[1] / CORRELATED) for x in (before, after)]
    natural = np.sqrt(before.var(1) / independent[0] + after.var(1) / independent[1])
    surplus = step - np.clip(step, -natural, natural)
    release = min(RELEASE_FRAMES, new)
    t = np.minimum(1.0, np.arange(new) / release)
    weight = 0.5 + 0.5 * np.cos(np.pi * t)
    out = latents.copy()
    out[:, kept:] -= (surplus[:, None] * weight).astype(np.float32)
    return out


def share_at_seam(
    latents: npt.NDArray[np.float32],
    move: npt.NDArray[np.float32],
    spread: npt.NDArray[np.float32],
    tail: npt.NDArray[np.float16],
) -> float:
    """How much of a move to begin with, 0 to 1: what leaves the smallest step at the seam, by weighted least squares.

    ``latents`` ``(channels, frames)``, whose first are in the place of ``tail`` ``(channels, kept)``; what follows them
    is to be moved by ``-move`` ``(channels,)``, in time. Each channel counts by its usual ``spread``.
    """
    kept = tail.shape[1]
    before = tail[:, -SIDE_FRAMES:].astype(np.float64).mean(1)
    after = latents[:, kept : kept + SIDE_FRAMES].astype(np.float64)
    weighed = move.astype(np.float64) / np.square(spread, dtype=np.float64).clip(1e-12)
    scale = float(weighed @ move)
    if not after.shape[1] or scale <= 0:
        return 1.0
    return float(np.clip(weighed @ (after.mean(1) - before) / scale, 0.0, 1.0))
