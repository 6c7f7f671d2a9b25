"""A layer's own recent material, re-joined where it is most alike: what plays when the next clip is late.

The idea is that of video textures (Schödl et al. 2000): jump only between moments whose surroundings match, at
random among the good ones. What was heard last comes back last, so that no loop can be heard.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from ambient.messages import CHANNELS, RATE, Audio
from ambient.sound.timeline import Timeline

__all__ = ["Remix"]

CELL_FRAMES = 3840
"""Features are taken every 80 ms."""
FADE_CELLS = 6
"""About half a second: the crossfade, and the stretch by which moments are compared, since it is what overlaps."""
MATERIAL_FRAMES = 40 * RATE
SHORTEST, LONGEST = 3 * RATE, 8 * RATE
CANDIDATES = 5
APART_CELLS = 6
"""Candidates closer together than this are one."""
EDGES_HZ = np.array([0, 100, 200, 400, 800, 1600, 3200, 6400, 12800])


class Remix:
    """Extends a timeline from sound that clips brought. The same seed and past give the same sound."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._splices = -1
        self._material: Audio = np.zeros((0, CHANNELS), np.float32)
        self._features = np.zeros((0, len(EDGES_HZ) + 1))
        self._centre, self._scale = np.zeros(1), np.ones(1)
        self._left = np.zeros(0, np.int64)
        """Cells from each one to the end of its unbroken stretch."""
        self._heard = np.zeros(0, np.int64)
        """When each cell was last heard, counted in cells of output."""
        self._now = 0
        self._went_on = -1
        """The cell behind the last stretch that was played."""

    def extend(self, timeline: Timeline, until_frame: int) -> None:
        """Appends re-joined stretches until the timeline reaches ``until_frame``; needs some sound to begin with."""
        if timeline.end_frame < until_frame and timeline.splices != self._splices:
            self._gather(timeline)
        while timeline.end_frame < until_frame and len(self._material):
            start, length = self._choose(timeline)
            fade = max(1, min(FADE_CELLS * CELL_FRAMES, length // 3))
            timeline.append(self._material[start : start + length], fade)

    def _gather(self, timeline: Timeline) -> None:
        """Takes stock of the layer's own sound. It is kept, for the timeline forgets while the remix plays on."""
        self._splices = timeline.splices
        stretches = timeline.own(MATERIAL_FRAMES)
        whole = [s[len(s) % CELL_FRAMES :] for s in stretches if len(s) >= 2 * FADE_CELLS * CELL_FRAMES]
        self._material = np.concatenate(whole or stretches or [timeline.recent(MATERIAL_FRAMES)])
        lengths = [len(s) // CELL_FRAMES for s in whole]
        self._left = np.concatenate([np.arange(n, 0, -1) for n in lengths] or [np.zeros(0, np.int64)])
        cells = len(self._left)
        self._heard = np.arange(cells) - cells
        self._now, self._went_on = 0, cells
        if cells:
            raw = _features(self._material)
            self._centre, self._scale = raw.mean(0), raw.std(0) + 0.1
            self._features = (raw - self._centre) / self._scale

    def _choose(self, timeline: Timeline) -> tuple[int, int]:
        """Start and length, in frames of the material, of the stretch that goes on best from the timeline's end."""
        cells, frames = len(self._left), len(self._material)
        if cells < 4 * FADE_CELLS:
            # less than 2 s of sound: all there is to do is to turn it over
            start = int(self._random.integers(0, max(1, frames // 4)))
            return start, max(1, min(frames - start, frames * 3 // 4))
        shortest = max(2 * FADE_CELLS, min(SHORTEST // CELL_FRAMES, cells // 5))
        longest = max(shortest, min(LONGEST // CELL_FRAMES, cells // 3))
        starts = np.flatnonzero(self._left >= min(shortest, int(self._left.max())))
        reach = min(shortest, int(self._left[starts].min()))
        heard = self._heard[starts[:, None] + np.arange(reach)]
        rested = heard.max(1) < self._now  # nothing of the stretch that played last
        if rested.any():
            starts, heard = starts[rested], heard[rested]
        age = heard.mean(1)
        starts = starts[age <= np.quantile(age, 0.5)]
        if len(apart := starts[np.abs(starts - self._went_on) > RATE // CELL_FRAMES]):
            starts = apart  # going on where the last stretch stopped would play the past over in order
        ending = timeline.recent(FADE_CELLS * CELL_FRAMES)
        now = (_features(ending) - self._centre) / self._scale
        windows = self._features[starts[:, None] + np.arange(len(now))]
        distances = np.square(windows - now).mean((1, 2))
        pick = self._one_of_the_best(starts, distances)
        most = int(min(longest, self._left[pick]))
        # it stops before it runs into what was heard lately
        fresh = self._heard[pick : pick + most] < min(self._now, int(np.quantile(self._heard, 0.6)) + 1)
        if not fresh.all():
            most = min(most, max(reach, int(np.argmin(fresh))))
        length = int(self._random.integers(min(reach, most), most + 1))
        self._now += length - FADE_CELLS
        self._heard[pick : pick + length] = self._now
        self._went_on = pick + length
        return pick * CELL_FRAMES, length * CELL_FRAMES

    def _one_of_the_best(self, starts: npt.NDArray[np.int64], distances: npt.NDArray[np.float64]) -> int:
        best: list[int] = []
        for i in np.argsort(distances, kind="stable"):
            if all(abs(int(starts[i]) - other) >= APART_CELLS for other in best):
                best.append(int(starts[i]))
                if len(best) == CANDIDATES:
                    break
        return best[int(self._random.integers(len(best)))]


def _features(audio: Audio) -> npt.NDArray[np.float64]:
    """Log octave powers and width of every whole cell, ``(cells, 10)``."""
    cells = audio[: len(audio) // CELL_FRAMES * CELL_FRAMES].reshape(-1, CELL_FRAMES, 2)
    mid = (cells[:, :, 0] + cells[:, :, 1]) * np.float32(0.5)
    side = cells[:, :, 0] - mid
    spectrum = fft.rfft(mid * np.hanning(CELL_FRAMES).astype(np.float32), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    starts = np.searchsorted(np.fft.rfftfreq(CELL_FRAMES, 1 / RATE), EDGES_HZ)
    bands = np.log(np.add.reduceat(power, starts, axis=1) + 1e-9)
    width = np.log(np.einsum("ij,ij->i", side, side) + 1e-6) - np.log(np.einsum("ij,ij->i", mid, mid) + 1e-6)
    return np.column_stack([bands, width]).astype(np.float64)
