"""Any rate and channel count to the engine's 48 kHz stereo."""

from __future__ import annotations

import numpy as np
import soxr

from ambient.messages import RATE, Audio

__all__ = ["to_engine"]

WIDTH = 0.5
"""Side over mid of what was mono."""


def to_engine(audio: Audio, rate: int) -> Audio:
    """Float32 ``(n, 2)`` at 48 kHz from ``(m, 1)`` or ``(m, 2)`` at any rate.

    Mono gets a diffuse width: a velvet-noise side signal (Alary, Politis, Välimäki 2017). The mid stays untouched,
    so it folds back to the very same mono.
    """
    if rate != RATE:
        audio = np.asarray(soxr.resample(audio, rate, RATE, quality="HQ"), np.float32)
    if audio.shape[1] == 2:
        return audio
    mid = audio[:, 0]
    side = np.zeros_like(mid)
    random = np.random.Generator(np.random.PCG64(48_000))
    taps = 30
    for i in range(taps):
        at = int((i + random.random()) * 0.03 * RATE / taps) + 1
        sign = 1.0 if random.random() < 0.5 else -1.0
        if at < len(mid):
            side[at:] += np.float32(sign * np.exp(-3.0 * i / taps)) * mid[:-at]
    power = float(np.mean(side**2))
    if power > 0:
        side *= np.float32(WIDTH * np.sqrt(float(np.mean(mid**2)) / power))
    return np.stack([mid + side, mid - side], axis=1)
