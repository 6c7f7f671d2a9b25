"""A true-peak limiter with look-ahead.

Peaks are found on a four times oversampled signal (ITU-R BS.1770-4, annex 2, with a longer filter). The gain is the
running minimum over the look-ahead, averaged over the same length: it arrives before the peak does, without a corner.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter1d
from scipy.signal import firwin, lfilter

from ambient.messages import CHANNELS, RATE, Audio

__all__ = ["Limiter"]

TAPS = 32
"""Per phase of the oversampling filter."""
LOOK_AHEAD = 240
"""5 ms."""
RELEASE_DB_PER_FRAME = 250.0 / RATE
"""After a single peak: 12 dB are back within 50 ms, before an ear takes it for a hole."""
SLOW_RELEASE_DB_PER_FRAME = 30.0 / RATE
AVERAGE_FRAMES = RATE // 20
"""What is needed on average over so long is released slowly: steady limiting must not follow the waveform."""
MARGIN_DB = 0.2
"""For what lies between the oversampled points and what the moving gain itself adds."""


class Limiter:
    """Keeps the true peak at or below ``ceiling_db``; below it, samples pass unchanged but for the delay."""

    def __init__(self, ceiling_db: float = -1.0) -> None:
        self._ceiling_db = ceiling_db - MARGIN_DB
        phases = firwin(4 * TAPS + 1, 1 / 4, window=("kaiser", 7.0))[: 4 * TAPS] * 4
        self._phases = np.ascontiguousarray(phases.reshape(TAPS, 4)[::-1], dtype=np.float32)
        self._reach = TAPS // 2
        self._history: Audio = np.zeros((TAPS - 1, CHANNELS), np.float32)
        self._delay: Audio = np.zeros((self.latency_frames, CHANNELS), np.float32)
        self._needed = np.zeros(LOOK_AHEAD)
        self._minima = np.zeros(LOOK_AHEAD - 1)
        self._last = self._last_slow = self._average = 0.0

    @property
    def latency_frames(self) -> int:
        """Frames by which the output lags."""
        return LOOK_AHEAD + TAPS // 2 + 2

    def process(self, block: Audio) -> Audio:
        """The next ``n`` frames of output for ``n`` frames of input, ``(n, 2)``. Any block size, same samples."""
        n = len(block)
        if n == 0:
            return block.copy()
        joined = np.concatenate([self._delay, block])
        self._delay = joined[n:].copy()
        gain = self._gain(self._peaks(block))
        out: Audio = joined[:n] if gain is None else joined[:n] * gain[:, None]
        return out

    def _peaks(self, block: Audio) -> npt.NDArray[np.float32]:
        """Largest magnitude at and between samples, ``(n,)``; entry i belongs TAPS / 2 frames before input i."""
        n = len(block)
        joined = np.concatenate([self._history, block])
        self._history = joined[n:].copy()
        top = np.abs(joined[TAPS - 1 - self._reach : TAPS - 1 - self._reach + n]).max(1)
        if float(np.abs(joined).max()) > 10 ** (self._ceiling_db / 20) / 4:  # no overshoot reaches four times
            for channel in range(CHANNELS):
                windows = np.lib.stride_tricks.sliding_window_view(joined[:, channel], TAPS)
                top = np.maximum(top, np.abs(windows @ self._phases).max(1))
        return np.asarray(top, np.float32)

    def _gain(self, peaks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        """Gains for the delayed samples; None where all are 1."""
        n = len(peaks)
        needed = np.minimum(0.0, self._ceiling_db - 20 * np.log10(np.maximum(peaks, 1e-9), dtype=np.float64))
        if (
            not needed.any()
            and self._last == self._last_slow == self._average == 0.0
            and not self._needed.any()
            and not self._minima.any()
        ):
            return None
        keep = np.exp(-1.0 / AVERAGE_FRAMES)
        average, state = lfilter([1 - keep], [1, -keep], needed, zi=[keep * self._average])
        self._average = float(state[0]) / keep if abs(state[0]) > 1e-9 else 0.0
        fast, self._last = _released(needed, self._last, RELEASE_DB_PER_FRAME)
        slow, self._last_slow = _released(average, self._last_slow, SLOW_RELEASE_DB_PER_FRAME)
        held = np.minimum(fast, slow)
        joined = np.concatenate([self._needed, held])
        self._needed = joined[-LOOK_AHEAD:].copy()
        size = LOOK_AHEAD + 1
        low = minimum_filter1d(joined, size, mode="nearest")[size // 2 : size // 2 + n]
        minima = np.concatenate([self._minima, low])
        self._minima = minima[-(LOOK_AHEAD - 1) :].copy()
        windows = np.lib.stride_tricks.sliding_window_view(minima, LOOK_AHEAD)
        smooth = windows.mean(1)
        smooth[np.abs(smooth) < 1e-9] = 0.0
        return np.asarray(np.power(10.0, smooth / 20), np.float32)


def _released(needed: npt.NDArray[np.float64], last: float, per_frame: float) -> tuple[npt.NDArray[np.float64], float]:
    """Gains in dB, down at once and up linearly: the lowest of all past needs, each risen since."""
    ramp = np.arange(1, len(needed) + 1) * per_frame
    held = np.minimum(needed, np.minimum(last + ramp, ramp + np.minimum.accumulate(needed - ramp)))
    held = np.minimum(held, 0.0)
    return held, float(held[-1])
