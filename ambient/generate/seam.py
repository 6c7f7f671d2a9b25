"""The seam between what a clip keeps and what it paints: as large a step as the sound itself makes.

A model that paints onwards tends to jump back to where it lies by itself, by a decibel or two of level and colour in
the very frame in which the new begins, and ears are good at steps. But no step at all would be as strange: wind and
surf rise and fall from half a second to the next. The latents of a linear codec are coordinates of log band powers, so
a step of the average latents *is* that step of colour. Another is put in its place, drawn like those that the sound
makes elsewhere: a random sum of the steps between neighbouring stretches of the clip itself, which has their size and
their colour. What is changed returns slowly.

Where a band is sparse (birds, drops), it differs from moment to moment anyway: there only a step that is larger than
natural, in all bands together, is replaced. Holding on to it would smear a chirp into a tone. What is steady in other
bands behind it (the night behind an owl) is mended all the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["natural_seam", "share_at_seam"]

SCALES = ((6, 44), (2, 8))
"""Latent frames of the stretches on either side that are compared, and those over which a change returns: steps between
halves of a second return over 3.5 s, those between sixths over 0.6 s."""
LEAST = 18
"""New frames from which there is enough to learn steps from."""
AROUND = 14
"""Latent frames on either side of a seam by which a move is begun: 1.1 s."""
DENSE, SPARSE = 2.5, 3.5
"""Usual steps, decibels, up to which a band is dense and from which it is sparse."""
USUAL, TOO_LARGE = 1.0, 2.0
"""In sparse bands a step of up to so many times the usual size stays; from so many on another takes its place."""

Latents = npt.NDArray[np.float32]


def natural_seam(latents: Latents, kept: int, to_bands: Latents, from_bands: Latents, seed: int) -> Latents:
    """Latents ``(channels, frames)`` whose frames from ``kept`` on begin with a step such as the sound itself makes.

    ``to_bands`` ``(channels, bands)``: how many decibels of each band a unit of each direction is; ``from_bands``
    ``(bands, channels)``: the way back. ``seed``: of the step that is drawn. The kept frames are not touched. Clips
    with fewer kept frames than a stretch has, or fewer than LEAST new ones, come back as they are.
    """
    new = latents.shape[1] - kept
    if kept < SCALES[0][0] or new < LEAST:
        return latents
    out = latents.copy()
    for side, release in SCALES:
        step = (out[:, kept : kept + side].mean(1) - out[:, kept - side : kept].mean(1)) @ to_bands
        steps, before = _steps(out[:, kept:], side).T @ to_bands, _steps(out[:, :kept], side).T @ to_bands
        usual = _power(steps)
        # half-way to a clip its details are not there yet, in what is kept they are
        largest = np.maximum(usual, _power(before))
        if not largest.any():
            continue
        size = np.sqrt(np.square(step).mean() / largest.mean())
        share = np.full(len(step), np.clip((size - USUAL) / (TOO_LARGE - USUAL), 0.0, 1.0))
        if side == SCALES[0][0]:
            share = np.maximum(share, np.clip((SPARSE - np.sqrt(largest)) / (SPARSE - DENSE), 0.0, 1.0))
        if not share.any():
            continue
        drawn = np.random.default_rng([seed, side]).standard_normal(len(steps)) @ steps
        drawn *= np.sqrt(largest / usual.clip(1e-12) / len(steps))
        change = (share * (step - drawn)) @ from_bands
        weight = 0.5 + 0.5 * np.cos(np.pi * np.minimum(1.0, np.arange(new) / min(release, new)))
        out[:, kept:] -= (change[:, None] * weight).astype(np.float32)
    return out


def _steps(latents: Latents, side: int) -> npt.NDArray[np.float64]:
    """Differences of the means of all neighbouring stretches of ``side`` frames, ``(channels, count)``, centred."""
    sums = np.cumsum(np.pad(latents, ((0, 0), (1, 0))), 1, dtype=np.float64)
    means = (sums[:, side:] - sums[:, :-side]) / side
    steps = means[:, side:] - means[:, :-side]
    return np.asarray(steps - (steps.mean(1, keepdims=True) if steps.shape[1] else 0))


def _power(steps: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Mean square of steps ``(count, bands)``, by band; 0 of none."""
    return np.asarray(np.square(steps, dtype=np.float64).sum(0) / max(1, len(steps)))


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
    before = tail[:, -AROUND:].astype(np.float64).mean(1)
    after = latents[:, kept : kept + AROUND].astype(np.float64)
    weighed = move.astype(np.float64) / np.square(spread, dtype=np.float64).clip(1e-12)
    scale = float(weighed @ move)
    if not after.shape[1] or scale <= 0:
        return 1.0
    return float(np.clip(weighed @ (after.mean(1) - before) / scale, 0.0, 1.0))
