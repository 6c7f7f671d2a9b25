"""A jitter buffer: sound that comes unevenly from a network leaves evenly, in blocks."""

from __future__ import annotations

import numpy as np

from ambient.messages import BLOCK_FRAMES, CHANNELS, RATE, Audio, frames
from ambient.sound.crossfade import crossfade
from ambient.sound.ring import RingBuffer

__all__ = ["JitterBuffer"]

CAPACITY_FRAMES = frames(12.0)
LARGEST_TARGET_FRAMES = frames(4.0)
EXCESS_FRAMES = frames(3.0)
"""Sound above the target that is skipped at once: after a sleep, or a burst from a stalled network."""
SLACK_FRAMES = frames(0.12)
"""How far the fill may be from the target before two clocks are taken to differ."""
SMOOTHING_BLOCKS = 4 * RATE // BLOCK_FRAMES


class JitterBuffer:
    """One thread puts, another takes; neither waits.

    It begins to play at ``target_frames`` of sound. When it runs out it fades, waits for half as much again and
    plays on. The sender's clock and the player's are never quite the same: now and then a block is left out or played
    twice, crossfaded into its neighbour.
    """

    def __init__(self, target_frames: int = frames(0.5)) -> None:
        self._ring = RingBuffer(CAPACITY_FRAMES)
        self._target = target_frames
        self._playing = False
        self._average = float(target_frames)
        self._since_stretch = 0
        self._last: Audio | None = None
        self._next: Audio | None = None
        self.underruns = 0
        self.stretched = 0
        """Blocks left out or played twice."""
        self.skipped_frames = 0

    @property
    def fill(self) -> int:
        """Frames that wait."""
        return self._ring.fill + (0 if self._next is None else BLOCK_FRAMES)

    def put(self, audio: Audio) -> bool:
        """Takes sound of shape ``(n, 2)``; False, and nothing taken, where nobody has listened for 12 s."""
        return self._ring.write(audio)

    def take(self) -> Audio:
        """The next block, shape ``(BLOCK_FRAMES, 2)``: silence while there is too little to begin with."""
        if not self._playing:
            if self.fill < max(self._target, 2 * BLOCK_FRAMES):
                return np.zeros((BLOCK_FRAMES, CHANNELS), np.float32)
            self._playing, self._average, self._since_stretch = True, float(self._target), 0
        self._average += (self.fill - self._average) / SMOOTHING_BLOCKS
        self._since_stretch += 1
        if self.fill > self._target + EXCESS_FRAMES:
            return self._skip()
        if self._since_stretch > SMOOTHING_BLOCKS and self._last is not None:
            if self._average > self._target + SLACK_FRAMES:
                return self._stretch(self._left_out())
            if self._average < self._target - SLACK_FRAMES and self.fill >= 2 * BLOCK_FRAMES:
                return self._stretch(self._played_twice())
        return self._read()

    def _read(self) -> Audio:
        if self._next is not None:
            block, self._next = self._next, None
        else:
            block, missing = self._ring.read(BLOCK_FRAMES)
            if missing:
                self.underruns += 1
                self._playing = False
                self._target = min(LARGEST_TARGET_FRAMES, self._target * 3 // 2)
                self._last = None
                return block
        self._last = block
        return block

    def _stretch(self, block: Audio) -> Audio:
        self.stretched += 1
        self._since_stretch = 0
        return block

    def _left_out(self) -> Audio:
        return crossfade(self._read(), self._read())

    def _played_twice(self) -> Audio:
        """Begins as what is next and ends as what was last, so that what is next follows it as well."""
        last = self._last
        assert last is not None
        self._next = self._read()
        return crossfade(self._next, last)

    def _skip(self) -> Audio:
        before = self._read()
        surplus = self.fill - self._target
        self._ring.read(surplus)
        self.skipped_frames += surplus
        self._average = float(self._target)
        return crossfade(before, self._read())
