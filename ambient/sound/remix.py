"""A layer's own recent material, re-joined where it is most alike: what plays when the next clip is late.

The idea is that of video textures (Schödl et al. 2000): jump only between moments whose surroundings match, at
random among the good ones, so that no loop can be heard.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ambient.messages import RATE, Audio
from ambient.sound.timeline import Timeline

__all__ = ["Remix"]

CELL_FRAMES = 3840
"""Features are taken every 80 ms."""
CONTEXT_CELLS = 5
FADE_FRAMES = round(0.5 * RATE)
SHORTEST, LONGEST = 2 * RATE, 7 * RATE
CANDIDATES = 6
EDGES_HZ = np.array([0, 100, 200, 400, 800, 1600, 3200, 6400, 12800])


class Remix:
    """Extends a timeline from its own past. The same seed and past give the same sound."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._used: list[int] = []

    def extend(self, timeline: Timeline, until_frame: int) -> None:
        """Appends re-joined stretches until the timeline reaches ``until_frame``; needs some sound to begin with."""
        while timeline.end_frame < until_frame and timeline.end_frame > timeline.start_frame:
            history = timeline.recent(40 * RATE)
            start, length = self._choose(history)
            fade = min(FADE_FRAMES, len(history) // 3, length // 3)
            timeline.append(history[start : start + length], max(1, fade))

    def _choose(self, history: Audio) -> tuple[int, int]:
        """Start and length of the stretch in ``history`` that goes on best from its end."""
        cells = len(history) // CELL_FRAMES
        if cells < 4 * CONTEXT_CELLS:
            # less than 1.6 s of sound: all there is to do is to turn it over
            start = int(self._random.integers(0, max(1, len(history) // 4)))
            return start, max(1, min(len(history) - start, len(history) * 3 // 4))
        features = self._features(history[: cells * CELL_FRAMES])
        now = features[-CONTEXT_CELLS:]
        shortest = min(SHORTEST // CELL_FRAMES, cells // 2)
        last = cells - shortest - CONTEXT_CELLS
        # a candidate's own beginning is faded over the present end, so the two are compared
        distances = np.array([np.mean((features[i : i + CONTEXT_CELLS] - now) ** 2) for i in range(last + 1)])
        for used in self._used[-6:]:
            if 0 <= used <= last:
                low, high = max(0, used - 6), min(last + 1, used + 7)
                distances[low:high] += 1e3
        order = np.argsort(distances, kind="stable")[:CANDIDATES]
        pick = int(order[int(self._random.integers(len(order)))])
        most = min(LONGEST // CELL_FRAMES, cells - pick)
        length = int(self._random.integers(min(shortest, most), most + 1)) * CELL_FRAMES
        # positions move as the history grows by what is appended (and slides once it is full)
        grown = min(len(history) + length, 40 * RATE) - len(history)
        self._used = [u - (length - grown) // CELL_FRAMES for u in [*self._used, pick]][-6:]
        jitter = int(self._random.integers(0, CELL_FRAMES // 2))
        start = min(pick * CELL_FRAMES + jitter, len(history) - length)
        return max(0, start), length

    @staticmethod
    def _features(history: Audio) -> npt.NDArray[np.float64]:
        """Log octave powers and width of every cell, scaled to unit variance, ``(cells, 10)``."""
        cells = history.reshape(-1, CELL_FRAMES, 2)
        mid, side = cells.mean(2), (cells[:, :, 0] - cells[:, :, 1]) / 2
        power = np.abs(np.fft.rfft(mid * np.hanning(CELL_FRAMES), axis=1)) ** 2
        starts = np.searchsorted(np.fft.rfftfreq(CELL_FRAMES, 1 / RATE), EDGES_HZ)
        bands = np.log(np.add.reduceat(power, starts, axis=1) + 1e-9)
        width = np.log((side**2).mean(1) + 1e-9) - np.log((mid**2).mean(1) + 1e-9)
        features = np.column_stack([bands, width])
        return np.asarray((features - features.mean(0)) / (features.std(0) + 1e-3))
