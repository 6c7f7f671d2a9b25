"""The crossfade law by correlation, so that loudness neither dips nor bumps.

Two signals of equal power and correlation ρ, weighted a and b, add up to the power a² + b² + 2ρab. Equal-gain fades
(a + b = 1) keep it for ρ = 1, equal-power fades (a² + b² = 1) for ρ = 0; here it is kept for any ρ ≥ −0.5 (Fink,
Holters, Zölzer: "Signal-matched power-complementary cross-fading", DAFx 2016).

One correlation for all would be that of what is loudest: a chirp that meets another would raise the night behind it, in
which both agree, by up to 3 dB. Long fades therefore follow that of each octave, of mid and side apart.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy.fft

from ambient.messages import RATE, Audio

__all__ = ["correlation", "crossfade", "weights"]

LOWEST_RHO = -0.5
"""Below it the constant power would ask for more than +3 dB on each side, which transients would not forgive."""


LONG_FRAMES = RATE // 10
"""From here on a fade is split into octaves; less holds too few waves of the lowest to tell how they agree."""
LOWEST_HZ, BANDS = 125, 8
"""The lowest band ends at twice this, the highest begins at 16 kHz."""
MID_SIDE = np.array([[1, 1], [1, -1]], np.float32) / np.float32(np.sqrt(2))
"""Left and right to mid and side, and back."""
ALIKE, INAUDIBLE = 0.05, 1e-9
"""Correlations that differ by less do not need fades of their own; bands of so small a share of the power need none."""


def correlation(a: Audio, b: Audio) -> float:
    """Normalised correlation of two overlaps of equal shape, whatever it is, −1 … 1; 0 where either is silent."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    # sums instead of dot products, which BLAS hands to threads that take longer to wake up
    power = float(np.square(x).sum()) * float(np.square(y).sum())
    if power < 1e-18:
        return 0.0
    return float(np.clip((x * y).sum() / np.sqrt(power), -1.0, 1.0))


def weights(n: int, rho: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fade-out and fade-in for an overlap of ``n`` frames and correlation ``rho`` (below −0.5 counts as −0.5).

    Shape ``(n,)`` each; first frame nearly all old, last nearly all new; symmetric in time.
    """
    rho = min(1.0, max(LOWEST_RHO, rho))
    t = (np.arange(n) + 0.5) / max(n, 1)
    rise, fall = np.sin(0.5 * np.pi * t) ** 2, np.cos(0.5 * np.pi * t) ** 2
    # Any pair of fades in a fixed ratio can be scaled to constant power; smooth ends come from the sin² ratio.
    scale = 1.0 / np.sqrt(rise**2 + fall**2 + 2 * rho * rise * fall)
    return (fall * scale).astype(np.float32), (rise * scale).astype(np.float32)


def crossfade(old: Audio, new: Audio, rho: float | None = None) -> Audio:
    """Leads from ``old`` to ``new``, both ``(n, 2)``.

    ``rho`` is measured where it is not given; from :data:`LONG_FRAMES` on in each octave of mid and side by itself.
    """
    if rho is not None or len(old) < LONG_FRAMES:
        return _faded(old, new, correlation(old, new) if rho is None else rho)
    n, masks = len(old), _octaves(len(old))
    before, after = (scipy.fft.rfft(x @ MID_SIDE, axis=0) for x in (old, new))
    # correlations by Parseval's theorem; both ends of a spectrum count once, which is far below what is heard
    shared, *powers = (
        np.square(masks) @ x for x in ((before * after.conj()).real, np.abs(before) ** 2, np.abs(after) ** 2)
    )
    each = np.clip(shared / np.sqrt(powers[0] * powers[1]).clip(1e-12), -1, 1)  # (bands, mid and side)
    loud = powers[0] + powers[1] > INAUDIBLE * (powers[0] + powers[1]).sum()
    if not loud.any() or np.ptp(each[loud]) < ALIKE:
        return _faded(old, new, correlation(old, new))
    mixed = np.zeros((n, 2), np.float32)
    # The bands of either side add up to it, so what each leaves at the ends, where a transform wraps around, cancels.
    for mask, rhos in zip(masks, each, strict=True):
        fades = np.stack([np.stack(weights(n, r), 1) for r in rhos], 1)  # (n, 2, out and in)
        for x, fade in ((before, fades[..., 0]), (after, fades[..., 1])):
            mixed += scipy.fft.irfft(x * mask[:, None], n, 0) * fade
    return mixed @ MID_SIDE


def _faded(old: Audio, new: Audio, rho: float) -> Audio:
    out, into = weights(len(old), rho)
    mixed: Audio = old * out[:, None] + new * into[:, None]
    return mixed


@lru_cache(maxsize=4)
def _octaves(n: int) -> npt.NDArray[np.float32]:
    """Shares of bands in the bins of a transform of ``n`` frames, ``(bands, bins)``; they add up to 1."""
    octave = np.log2(np.fft.rfftfreq(n, 1 / RATE).clip(1) / LOWEST_HZ)
    rises = [0.5 - 0.5 * np.cos(np.pi * np.clip(octave - k + 0.5, 0, 1)) for k in range(1, BANDS)]
    edges = [np.ones_like(octave), *rises, np.zeros_like(octave)]
    return np.stack([lower - upper for lower, upper in pairwise(edges)]).astype(np.float32)
