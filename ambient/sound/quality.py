"""What must not be heard, and what keeps a layer from drifting."""

from __future__ import annotations

import numpy as np

from ambient.messages import RATE, Audio, FailureKind

__all__ = ["LayerAnchor", "inspect_clip"]

SILENCE_DB = -75.0
NOMINAL_DB = -26.0


def inspect_clip(audio: Audio, expected_frames: int) -> tuple[FailureKind, str] | None:
    """What is wrong with a generated clip, as a kind and a sentence; None for a good one."""
    if audio.ndim != 2 or audio.shape[1] != 2 or audio.dtype != np.float32:
        return "rate", f"it has shape {audio.shape} of {audio.dtype}, not float32 (frames, 2)"
    if len(audio) != expected_frames:
        return "length", f"it has {len(audio)} frames, {expected_frames} were asked for"
    if not np.isfinite(audio).all():
        return "nan", f"{int((~np.isfinite(audio)).sum())} of its samples are not numbers"
    rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    if rms < 10 ** (SILENCE_DB / 20):
        return "silent", f"it is silent ({20 * np.log10(rms + 1e-12):.0f} dBFS)"
    offset = float(np.abs(audio.mean(0)).max())
    if offset > 0.02 and offset > 0.3 * rms:
        return "dc", f"it has a constant offset of {offset:.2f}"
    if rms > 0.5:
        return "clipping", f"it is far too loud ({20 * np.log10(rms):.0f} dBFS)"
    # Beyond full scale is no fault in floating point, the limiter sees to it; flat tops are.
    peak = float(np.abs(audio).max())
    flat = float(np.mean(np.abs(audio) >= 0.9999 * peak))
    if flat > 0.001:
        return "clipping", f"{100 * flat:.1f} % of its samples are cut off at {peak:.2f}"
    return None


class LayerAnchor:
    """Holds a layer's level to its own running reference, so that small errors do not add up clip on clip.

    A clip begins with the gain that the clip before it ended with, because the two must agree sample for sample in
    their overlap; behind the join the gain moves to the clip's own within two seconds. It stays within ±3 dB. The
    reference follows the layer slowly and leans towards the nominal level.

    What comes from a model whose level is anybody's guess is first brought near the nominal one, by one gain for the
    layer's whole life, so that layers of several models can be mixed.
    """

    MOST_DB = 3.0
    MOST_TRIM_DB = 20.0
    RAMP_FRAMES = 2 * RATE
    FOLLOW = 0.05
    LEAN = 0.1

    def __init__(self, levelled: bool = True) -> None:
        """``levelled``: whether clips come at the nominal level by themselves."""
        self._reference_db: float | None = None
        self._gain_db = 0.0
        self._trim_db: float | None = 0.0 if levelled else None

    def correct(self, audio: Audio, join_offset: int) -> Audio:
        """The clip with its gain; ``join_offset`` is the frame within it where it takes over. Changes nothing."""
        after = self._wish(audio)
        t = np.clip((np.arange(len(audio)) - join_offset) / self.RAMP_FRAMES, 0.0, 1.0)
        gains = self._trim(audio) + self._gain_db + (after - self._gain_db) * t
        out: Audio = audio * np.power(10.0, gains / 20).astype(np.float32)[:, None]
        return out

    def learn(self, audio: Audio) -> None:
        """The clip, as the model made it, was taken into the timeline."""
        self._trim_db = self._trim(audio)
        level = self._level(audio) + self._trim_db
        self._gain_db = self._wish(audio)
        if self._reference_db is None:
            self._reference_db = level
        self._reference_db += self.FOLLOW * (level - self._reference_db)
        self._reference_db += self.LEAN * (NOMINAL_DB - self._reference_db)

    def _wish(self, audio: Audio) -> float:
        if self._reference_db is None:
            return self._gain_db
        surplus = self._reference_db - self._level(audio) - self._trim(audio)
        return float(np.clip(surplus, -self.MOST_DB, self.MOST_DB))

    def _trim(self, audio: Audio) -> float:
        """Decibels that the layer's clips are changed by: the first one says."""
        if self._trim_db is not None:
            return self._trim_db
        return float(np.clip(NOMINAL_DB - self._level(audio), -self.MOST_TRIM_DB, self.MOST_TRIM_DB))

    @staticmethod
    def _level(audio: Audio) -> float:
        return 20 * float(np.log10(np.sqrt(np.mean(np.square(audio, dtype=np.float64))) + 1e-9))
