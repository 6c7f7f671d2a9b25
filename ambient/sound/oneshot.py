"""Cuts a single event out of a generated clip."""

from __future__ import annotations

import numpy as np

from ambient.messages import RATE, Audio

__all__ = ["trim_one_shot"]

CELL = RATE // 100
"""Levels are taken every 10 ms."""
LEVEL_DB = -20.0
"""Loudest 400 ms of every event, RMS."""
PEAK_DB = -3.0
"""No sample of an event lies higher: a twig's crack is short, and its mean would ask for far too much."""
BRIDGE_CELLS = 40
"""A dip of 0.4 s belongs to the event: thunder rolls, an owl hoots twice."""
RISE_FRAMES = RATE // 200
FALL_FRAMES = RATE // 4
SILENCE_DB = -70.0


def trim_one_shot(audio: Audio) -> Audio | None:
    """The clip's main event, ``(n, 2)``: trimmed, faded (5 ms in, 250 ms out) and levelled; None for silence
    and for clips under 50 ms.

    The event is the stretch around the loudest moment that stands out from the background, or lies within 30 dB of
    the peak where the background is quiet. A clip in which nothing stands out gives its loudest two seconds.
    """
    cells = len(audio) // CELL
    if cells < 5:
        return None
    power = np.square(audio[: cells * CELL]).reshape(cells, CELL, 2).mean((1, 2))
    level = 10 * np.log10(np.convolve(power, np.ones(5) / 5, "same") + 1e-12)
    peak = int(np.argmax(level))
    if level[peak] < SILENCE_DB:
        return None
    background = float(np.percentile(level, 20))
    if level[peak] - background < 8.0:
        first, last = max(0, peak - 100), min(cells, peak + 100)
    else:
        loud = level > max(level[peak] - 30.0, background + 5.0)
        first, last = _around(loud, peak)
    start = max(0, first * CELL - 2 * RISE_FRAMES)
    end = min(len(audio), last * CELL + FALL_FRAMES)
    event = audio[start:end].astype(np.float32, copy=True)
    rise, fall = min(RISE_FRAMES, len(event) // 4), min(FALL_FRAMES, len(event) // 2)
    event[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)[:, None]
    event[-fall:] *= (np.linspace(1, 0, fall, dtype=np.float32) ** 2)[:, None]
    window = min(40 * CELL, len(event))
    energy = np.concatenate([[0.0], np.cumsum(np.square(event, dtype=np.float64).mean(1))])
    loudest = float(np.max(energy[window:] - energy[:-window])) / window
    by_level = 10 ** (LEVEL_DB / 20) / np.sqrt(loudest + 1e-12)
    by_peak = 10 ** (PEAK_DB / 20) / (float(np.abs(event).max()) + 1e-9)
    event *= np.float32(min(by_level, by_peak))
    return event


def _around(loud: np.ndarray, peak: int) -> tuple[int, int]:
    """First and last + 1 loud cell around ``peak``, over gaps that are short enough."""
    places = np.flatnonzero(loud)
    at = int(np.searchsorted(places, peak))
    low = high = at
    while low > 0 and places[low] - places[low - 1] <= BRIDGE_CELLS:
        low -= 1
    while high < len(places) - 1 and places[high + 1] - places[high] <= BRIDGE_CELLS:
        high += 1
    return int(places[low]), int(places[high]) + 1
