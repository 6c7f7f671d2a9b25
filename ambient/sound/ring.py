"""A ring buffer between one writer and one reader, such as the engine and a sound card's callback."""

from __future__ import annotations

import numpy as np

from ambient.messages import CHANNELS, Audio

__all__ = ["RingBuffer"]

EDGE_FRAMES = 96
"""2 ms: the fade around an underrun."""


class RingBuffer:
    """Reads always fill, writes are all or nothing.

    One thread writes and one reads, without locks: each moves only its own counter, after the samples are in place.
    An underrun is counted, and faded out and in so that it does not click.
    """

    def __init__(self, capacity_frames: int) -> None:
        if capacity_frames < 1:
            raise ValueError("a ring buffer needs room for a frame")
        self._store: Audio = np.zeros((capacity_frames, CHANNELS), np.float32)
        self._written = 0
        self._taken = 0
        self._last = np.zeros(CHANNELS, np.float32)
        self._starved = True
        self.underruns = 0
        """Reads that found too little, not counting those before the first sound."""

    @property
    def capacity(self) -> int:
        """Frames that fit in."""
        return len(self._store)

    @property
    def fill(self) -> int:
        """Frames that wait to be read."""
        return self._written - self._taken

    def write(self, block: Audio) -> bool:
        """Takes the whole block, or nothing where there is too little room."""
        n, size = len(block), len(self._store)
        if n > size - self.fill:
            return False
        at = self._written % size
        first = min(n, size - at)
        self._store[at : at + first] = block[:first]
        self._store[: n - first] = block[first:]
        self._written += n
        return True

    def read(self, n: int) -> tuple[Audio, int]:
        """``n`` frames, and how many of them are missing (silent)."""
        have, size = min(n, self.fill), len(self._store)
        out = np.zeros((n, CHANNELS), np.float32)
        at = self._taken % size
        first = min(have, size - at)
        out[:first] = self._store[at : at + first]
        out[first:have] = self._store[: have - first]
        if have and self._starved:
            edge = min(EDGE_FRAMES, have)
            out[:edge] *= np.linspace(0, 1, edge, dtype=np.float32)[:, None]
        if have:
            self._last = out[have - 1].copy()
        if have < n:
            if not self._starved:
                self.underruns += 1
                edge = min(EDGE_FRAMES, n - have)
                out[have : have + edge] = self._last * np.linspace(1, 0, edge, dtype=np.float32)[:, None]
            self._starved = True
        elif n:
            self._starved = False
        self._taken += have
        return out, n - have
