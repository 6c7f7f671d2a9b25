"""The crossfade law by correlation, so that loudness neither dips nor bumps.

Two signals of equal power and correlation ρ, weighted a and b, add up to the power a² + b² + 2ρab. Equal-gain fades
(a + b = 1) keep it for ρ = 1, equal-power fades (a² + b² = 1) for ρ = 0; here it is kept for any ρ ≥ −0.5 (Fink,
Holters, Zölzer: "Signal-matched power-complementary cross-fading", DAFx 2016).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ambient.messages import Audio

__all__ = ["correlation", "crossfade", "weights"]

LOWEST_RHO = -0.5
"""Below it the constant power would ask for more than +3 dB on each side, which transients would not forgive."""


def correlation(a: Audio, b: Audio) -> float:
    """Normalised correlation of two overlaps of equal shape, −1 … 1; 0 where either is silent."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    power = float(np.dot(x, x)) * float(np.dot(y, y))
    if power < 1e-18:
        return 0.0
    return float(np.clip(np.dot(x, y) / np.sqrt(power), -1.0, 1.0))


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
    """Leads from ``old`` to ``new``, both ``(n, 2)``; ``rho`` is measured where it is not given."""
    if rho is None:
        rho = correlation(old, new)
    out, into = weights(len(old), rho)
    mixed: Audio = old * out[:, None] + new * into[:, None]
    return mixed
