"""Loudness as a stream (ITU-R BS.1770-4, EBU R 128), and the slow gain that brings a programme to its target."""

from __future__ import annotations

import collections

import numpy as np
from scipy.signal import sosfilt

from ambient.messages import CHANNELS, RATE, Audio

__all__ = ["LoudnessControl", "LoudnessMeter"]

# K-weighting at 48 kHz, BS.1770-4 tables 1 and 2: a shelf for the head, then a high-pass.
_K_WEIGHTING = np.array(
    [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
)
STEP_FRAMES = RATE // 10
"""Gating blocks of 400 ms overlap by three quarters: a new one every 100 ms."""
SUSTAINED_STEPS = 50
LOWEST_LUFS, HIGHEST_LUFS, BIN_LU = -70.0, 10.0, 0.1


def _lufs(power: float) -> float:
    return -0.691 + 10 * float(np.log10(power)) if power > 0 else -np.inf


class LoudnessMeter:
    """Momentary, short-term and integrated loudness of a stereo stream, in LUFS.

    Memory is bounded: the gated blocks are kept as a histogram of 0.1 LU. ``half_life_seconds`` lets old blocks
    fade from the integrated value; None keeps all, as the standard says. Block sizes make no difference.
    """

    def __init__(self, half_life_seconds: float | None = None) -> None:
        self._state = np.zeros((2, 2, CHANNELS))
        self._sum = 0.0
        self._count = 0
        self._steps: collections.deque[float] = collections.deque(maxlen=SUSTAINED_STEPS)
        bins = round((HIGHEST_LUFS - LOWEST_LUFS) / BIN_LU)
        self._weights = np.zeros(bins)
        self._powers = np.zeros(bins)
        self._keep = 1.0 if half_life_seconds is None else 0.5 ** (0.1 / half_life_seconds)

    def add(self, audio: Audio) -> None:
        """Takes in the next frames, ``(n, 2)``."""
        weighted, self._state = sosfilt(_K_WEIGHTING, audio, axis=0, zi=self._state)
        power = np.square(weighted).sum(1)
        at = 0
        while at < len(power):
            take = min(STEP_FRAMES - self._count, len(power) - at)
            self._sum += float(power[at : at + take].sum())
            self._count += take
            at += take
            if self._count == STEP_FRAMES:
                self._step(self._sum / STEP_FRAMES)
                self._sum, self._count = 0.0, 0

    @property
    def momentary(self) -> float:
        """Over the last 400 ms; −inf before that and in silence."""
        return _lufs(float(np.mean(list(self._steps)[-4:]))) if len(self._steps) >= 4 else -np.inf

    @property
    def short_term(self) -> float:
        """Over the last 3 s, or since the start."""
        return _lufs(float(np.mean(list(self._steps)[-30:]))) if self._steps else -np.inf

    @property
    def sustained(self) -> float:
        """What the last 5 s were never quieter than, by 100 ms steps; −inf before that."""
        return _lufs(min(self._steps)) if len(self._steps) == SUSTAINED_STEPS else -np.inf

    @property
    def integrated(self) -> float:
        """Over all, gated at −70 LUFS and 10 LU below the mean; −inf while nothing passed the gate."""
        total = self._weights.sum()
        if total <= 0:
            return -np.inf
        relative = _lufs(float(self._powers.sum() / total)) - 10.0
        first = max(0, int(np.ceil((relative - LOWEST_LUFS) / BIN_LU)))
        weight = self._weights[first:].sum()
        return _lufs(float(self._powers[first:].sum() / weight)) if weight > 0 else -np.inf

    @property
    def gated_seconds(self) -> float:
        """How much sound the integrated value rests on."""
        return float(self._weights.sum()) * 0.1

    def _step(self, power: float) -> None:
        self._steps.append(power)
        if len(self._steps) < 4:
            return
        block = float(np.mean(list(self._steps)[-4:]))
        level = _lufs(block)
        self._weights *= self._keep
        self._powers *= self._keep
        if level > LOWEST_LUFS:
            at = min(len(self._weights) - 1, int((level - LOWEST_LUFS) / BIN_LU))
            self._weights[at] += 1
            self._powers[at] += block


class LoudnessControl:
    """Brings a programme to its target by a gain that moves too slowly to be heard as such.

    It follows the integrated loudness of the last minutes (half-life 3 min), so that a thunderclap or a lull keeps
    its place in the programme. During the first seconds, when a wrong guess is large, it moves at up to 6 dB/s;
    later at up to 0.1 dB/s. What stays 5 LU above the target for 5 s is brought down at 2 dB/s: after a hushed
    night, a storm would otherwise lean on the limiter for minutes. And where the scene itself becomes as loud, for it
    is known how loud its layers are meant to be, that is not waited for: it is met at up to 12 dB/s as it comes.
    ``expected_lufs``, where it can be told, is where it begins. It stands still in silence, and stays within ±18 dB.
    """

    SETTLE_SECONDS = 6.0
    FAST_DB_PER_SECOND = 6.0
    SLOW_DB_PER_SECOND = 0.1
    DOWN_DB_PER_SECOND = 2.0
    MEETING_DB_PER_SECOND = 12.0
    SUSTAINED_LU = 5.0
    MOST_DB = 18.0

    def __init__(self, target_lufs: float = -24.0, expected_lufs: float | None = None) -> None:
        self.target_lufs = target_lufs
        """May be changed at any time; the gain follows slowly."""
        self._input = LoudnessMeter(half_life_seconds=180.0)
        self._output = LoudnessMeter(half_life_seconds=180.0)
        self._gain_db = 0.0
        if expected_lufs is not None:
            self._gain_db = float(np.clip(target_lufs - expected_lufs, -self.MOST_DB, self.MOST_DB))

    @property
    def gain_db(self) -> float:
        """The gain at the end of the last block."""
        return self._gain_db

    @property
    def momentary_lufs(self) -> float:
        """Momentary loudness of the output."""
        return self._output.momentary

    @property
    def integrated_lufs(self) -> float:
        """Loudness of the last minutes of output."""
        return self._output.integrated

    def process(self, block: Audio, expected_lufs: float | None = None) -> Audio:
        """The block with the gain applied, ``(n, 2)``. ``expected_lufs``: how loud it is meant to be by now, and to
        stay, before the gain; None where that cannot be told."""
        self._input.add(block)
        before = self._gain_db
        level = self._input.integrated
        if np.isfinite(level) and self._input.momentary > level - 20:
            young = self._input.gated_seconds < self.SETTLE_SECONDS
            most = (self.FAST_DB_PER_SECOND if young else self.SLOW_DB_PER_SECOND) * len(block) / RATE
            wish = float(np.clip(self.target_lufs - level, -self.MOST_DB, self.MOST_DB))
            most_lufs = self.target_lufs + self.SUSTAINED_LU - before
            known = -np.inf if expected_lufs is None else min(expected_lufs, self._input.momentary)
            for level, rate in ((self._input.sustained, self.DOWN_DB_PER_SECOND), (known, self.MEETING_DB_PER_SECOND)):
                if level > most_lufs:  # a storm that stays, not a clap of thunder
                    wish, most = before - (level - most_lufs), rate * len(block) / RATE
            self._gain_db += float(np.clip(wish - before, -most, most))
        ramp = np.linspace(before, self._gain_db, len(block) + 1)[1:]
        out: Audio = block * np.power(10.0, ramp / 20).astype(np.float32)[:, None]
        self._output.add(out)
        return out
