"""Linear analysis of sound into log band powers, and the bands themselves. Shared by codec and training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["BANDS", "HOP", "RATE", "STACK", "WINDOW", "analyse", "band_centres", "band_filters", "band_widths"]

RATE = 48_000
WINDOW = 1024
HOP = 240
"""5 ms."""
STACK = 16
"""Hops in one latent frame: 80 ms, 3,840 samples."""
BANDS = 96
FLOOR_DB = -100.0
"""Band powers are floored here, relative to full scale."""
_SPACING = 0.0405
"""Bands lie one FFT bin apart up to where this share of their frequency is more; then that share apart."""


def band_centres() -> npt.NDArray[np.float64]:
    """Centre frequencies in Hz, shape ``(BANDS + 2,)``, both outer edges included."""
    bin_hz = RATE / WINDOW
    centres = [bin_hz * 0.25]
    while len(centres) < BANDS + 2:
        centres.append(centres[-1] + max(bin_hz, centres[-1] * _SPACING))
    return np.asarray(np.minimum(centres, RATE / 2 - 1), np.float64)


def _triangles() -> npt.NDArray[np.float64]:
    """Triangles that add up to 1 in every bin between the outermost bands' centres, ``(WINDOW // 2 + 1, BANDS)``."""
    centres = band_centres()
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    low, middle, high = centres[:-2], centres[1:-1], centres[2:]
    rising = (bins[:, None] - low) / (middle - low)
    falling = (high - bins[:, None]) / (high - middle)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), np.float64)


def band_filters() -> torch.Tensor:
    """Triangular filters, each summing to 1, shape ``(WINDOW // 2 + 1, BANDS)``: band powers are mean densities."""
    filters = _triangles()
    return torch.from_numpy((filters / np.maximum(filters.sum(0), 1e-9)).astype(np.float32))


def band_widths() -> npt.NDArray[np.float32]:
    """Bins that each band stands for, shape ``(BANDS,)``: the sum of densities times widths is that over all bins."""
    return np.asarray(_triangles().sum(0), np.float32)


def analyse(mid_side: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Log band powers of mid and side.

    ``mid_side``: float32 ``(..., samples)`` with samples a multiple of HOP. Returns natural logarithms of mean power
    density, ``(..., samples // HOP, BANDS)``; hop ``i`` is centred on sample ``i * HOP + HOP // 2``.
    """
    lead = mid_side.shape[:-1]
    x = mid_side.reshape(-1, mid_side.shape[-1])
    left = WINDOW // 2 - HOP // 2
    x = torch.nn.functional.pad(x, (left, WINDOW - HOP - left))
    window = torch.hann_window(WINDOW, device=x.device)
    frames = x.unfold(-1, WINDOW, HOP) * window
    power = torch.fft.rfft(frames).abs().square() / window.square().sum()
    bands = power @ filters
    return torch.log(bands.clamp_min(10 ** (FLOOR_DB / 10))).reshape(*lead, -1, BANDS)
