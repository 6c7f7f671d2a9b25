"""A sound whose end meets its beginning."""

from __future__ import annotations

import numpy as np

from ambient.messages import RATE, Audio, Block
from ambient.ports import Sink
from ambient.sound import crossfade

__all__ = ["FADE_FRAMES", "FROM_FRAMES", "OVERLAP_FRAMES", "LoopSink"]

FROM_FRAMES = round(0.16 * RATE)
"""Where the crossfade begins after the beginning: there a clip's first sounds have faded in."""
FADE_FRAMES = round(1.12 * RATE)
OVERLAP_FRAMES = FROM_FRAMES + FADE_FRAMES
"""How much longer than the loop the sound must be."""


class LoopSink:
    """Takes ``length_frames + OVERLAP_FRAMES`` of a sound and gives ``length_frames`` of it, as a loop, to a sink.

    After ``length_frames`` the beginning has to come again, or nearly so: there the sound is crossfaded into its own
    beginning. What the sink gets starts after that crossfade and ends with it, so that nothing need be held back but
    the overlap.
    """

    def __init__(self, inner: Sink, length_frames: int) -> None:
        """Raises ValueError for a loop that is shorter than its overlap."""
        if length_frames < OVERLAP_FRAMES:
            raise ValueError(f"a loop has at least {OVERLAP_FRAMES / RATE:g} s, not {length_frames / RATE:g}")
        self._inner = inner
        self._length = length_frames
        self._done = 0
        self._opening: list[Audio] = []
        self._ending: list[Audio] = []

    def write(self, block: Block) -> None:
        """Takes the next block. Raises SinkError."""
        audio = block.audio
        marks = (OVERLAP_FRAMES, self._length, self._length + OVERLAP_FRAMES)
        for number, end in enumerate(marks):
            part, audio = audio[: max(0, end - self._done)], audio[max(0, end - self._done) :]
            self._done += len(part)
            if not len(part):
                continue
            if number == 0:
                self._opening.append(part)
            elif number == 1:
                self._inner.write(Block(self._done - len(part), part))
            else:
                self._ending.append(part)
                if self._done == end:
                    self._inner.write(Block(self._length, self._meet()))

    def close(self) -> None:
        """Passed on."""
        self._inner.close()

    def _meet(self) -> Audio:
        opening, ending = np.concatenate(self._opening), np.concatenate(self._ending)
        return np.concatenate([ending[:FROM_FRAMES], crossfade(ending[FROM_FRAMES:], opening[FROM_FRAMES:])])
