"""A bed layer's sound by frame: what was heard, what is ready, and the joins between clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from ambient.messages import CHANNELS, RATE, Audio
from ambient.sound.crossfade import correlation, crossfade

__all__ = ["Join", "Timeline"]

SIDE_FRAMES = RATE * 2 // 5
"""Stretch on either side of a join that is compared: 400 ms."""
AFTER_FRAMES = RATE // 4
"""From the fade's end to the stretch behind it: the fade lies where both clips still agree, what is new comes later."""
EDGES_HZ = (0, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)
FAIL_SCORE = 2.5
STEPS_KEPT = 120
"""Steps of the sound by itself that are remembered: those of 6 s behind each of the last four joins. Measured with 120
clips of surf, none of them repaired: by what the new clip does in its first seconds alone, 27 % of all moments that are
no joins stood out; by these and their spread 5 % do, and 2 % of its joins."""

SHORTEST_FADE = RATE // 1000
"""An overlap of less than 1 ms cannot be crossfaded without a click; then the old sound ends by itself."""
ENDING_FRAMES = RATE // 200
"""How sound ends where nothing overlaps it: a fade of 5 ms."""


@dataclass(frozen=True, slots=True)
class Join:
    """How one clip leads into the next. Frames are those of the timeline."""

    middle_frame: int
    fade_frames: int
    correlation: float
    level_step_db: float
    """Level behind the join less that before it."""
    spectral_step_db: float
    """Mean absolute change of octave-band levels."""
    score: float
    """The steps in standard deviations of steps that the sound makes by itself; about 1 is unremarkable."""

    @property
    def failed(self) -> bool:
        """Whether the join stands out."""
        return self.score > FAIL_SCORE


class Timeline:
    """Holds the recent past and the ready future of one layer.

    Frames are integers on the layer's own clock. Storage is one growing array whose front is cut in large steps, so
    reading and splicing cost what is read and written.
    """

    def __init__(self, history_frames: int = 60 * RATE) -> None:
        self._history = history_frames
        self._start = 0
        self._store: Audio = np.zeros((0, CHANNELS), np.float32)
        self._length = 0
        self._splices = 0
        self._foreign: list[tuple[int, int]] = []
        """Stretches that no clip brought: appended sound and gaps."""
        self._steps: deque[tuple[float, float]] = deque(maxlen=STEPS_KEPT)
        """What clips did by themselves, behind their joins."""
        self._tried: tuple[Audio, int, int, list[tuple[float, float]]] | None = None
        """The clip looked at last, the ends of its fade, and what it does by itself."""

    @property
    def splices(self) -> int:
        """How many clips have been taken in: tells whether there is new sound of the layer's own."""
        return self._splices

    @property
    def start_frame(self) -> int:
        """First frame held."""
        return self._start

    @property
    def end_frame(self) -> int:
        """First frame without sound."""
        return self._start + self._length

    def try_join(self, audio: Audio, start_frame: int, join_frame: int, fade_frames: int) -> Join:
        """The join that :meth:`splice` would make. Changes nothing."""
        begin, end = self._fade(audio, start_frame, join_frame, fade_frames)
        return self._join(audio, start_frame, begin, end)

    def splice(self, audio: Audio, start_frame: int, join_frame: int, fade_frames: int) -> Join:
        """Leads over to ``audio``, whose first frame lies at ``start_frame``, by a crossfade around ``join_frame``.

        What follows in the timeline is replaced. Where the old sound ends inside the fade, the fade is shorter;
        where there is none, the old sound ends within 5 ms and the new one fades in, behind silence if need be. A
        join before everything that is held replaces all. Raises ValueError if the join lies outside the new sound.
        """
        begin, end = self._fade(audio, start_frame, join_frame, fade_frames)
        if not self._length or begin < self._start:
            self._start, self._length = begin, 0
        join = self._join(audio, start_frame, begin, end)
        self._steps.extend(self._steps_behind(audio, start_frame, begin, end))
        self._tried = None
        new = audio[begin - start_frame : end - start_frame]
        old, missing = self.read(begin, end - begin)
        mixed = crossfade(np.zeros_like(new), new, 1.0) if missing else crossfade(old, new)
        gap = begin - self.end_frame
        if self.end_frame < end:
            self._end_softly(min(begin, self.end_frame))
        self._splices += 1
        self._foreign = [(a, min(b, begin)) for a, b in self._foreign if a < begin]
        if gap > 0:
            self._foreign.append((self.end_frame, begin))
            self._append(np.zeros((gap, CHANNELS), np.float32))
        self._length = begin - self._start
        self._append(mixed)
        self._append(audio[end - start_frame :])
        return join

    def append(self, audio: Audio, fade_frames: int) -> None:
        """Goes on with unrelated sound after a crossfade of the last ``fade_frames``."""
        fade = min(fade_frames, self._length, len(audio))
        begin = self.end_frame - fade
        mixed = crossfade(self.read(begin, fade)[0], audio[:fade])
        self._foreign.append((begin, begin + len(audio)))
        self._length -= fade
        self._append(mixed)
        self._append(audio[fade:])

    def read(self, start_frame: int, n: int) -> tuple[Audio, int]:
        """``n`` frames from ``start_frame``, zeros where there is no sound; and how many of those there were."""
        low, high = max(start_frame, self._start), min(start_frame + n, self.end_frame)
        if low == start_frame and high == start_frame + n:
            return self._store[low - self._start : high - self._start].copy(), 0
        out = np.zeros((n, CHANNELS), np.float32)
        if high > low:
            out[low - start_frame : high - start_frame] = self._store[low - self._start : high - self._start]
        return out, n - max(0, high - low)

    def recent(self, n: int) -> Audio:
        """The last ``n`` frames, or what there is."""
        have = min(n, self._length)
        return self._store[self._length - have : self._length].copy()

    def own(self, n: int) -> list[Audio]:
        """The stretches that clips brought among the last ``n`` frames, oldest first: no gaps, nothing appended."""
        stretches, at = [], max(self._start, self.end_frame - n)
        for low, high in [*self._foreign, (self.end_frame, self.end_frame)]:
            if low > at:
                stretches.append(self.read(at, low - at)[0])
            at = max(at, high)
        return stretches

    def changes(self) -> None:
        """What comes next is another sound: what the old one did by itself tells nothing of it."""
        self._steps.clear()

    def forget_before(self, frame: int) -> None:
        """The past up to the history's length before ``frame`` may go; cut only when it is worth it."""
        surplus = frame - self._history - self._start
        if surplus > self._history // 2:
            self._store = self._store[surplus : self._length].copy()
            self._length -= surplus
            self._start += surplus
            self._foreign = [(a, b) for a, b in self._foreign if b > self._start]

    def _fade(self, audio: Audio, start_frame: int, join_frame: int, fade_frames: int) -> tuple[int, int]:
        begin, end = join_frame - fade_frames // 2, join_frame + (fade_frames + 1) // 2
        begin, end = max(begin, start_frame), min(end, start_frame + len(audio))
        if end <= begin:
            raise ValueError(f"a join at {join_frame} lies outside sound at {start_frame}…{start_frame + len(audio)}")
        if self._length and begin + SHORTEST_FADE <= self.end_frame < end:
            end = self.end_frame
        return begin, end

    def _end_softly(self, frame: int) -> None:
        """Fades out what leads up to ``frame``."""
        last = frame - self._start
        fade = min(ENDING_FRAMES, last)
        self._store[last - fade : last] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]

    def _steps_behind(self, audio: Audio, start_frame: int, begin: int, end: int) -> list[tuple[float, float]]:
        at = (begin - start_frame, end - start_frame)
        if self._tried is None or self._tried[0] is not audio or self._tried[1:3] != at:
            self._tried = (audio, *at, _steps(audio[at[1] :], end - begin))
        return self._tried[3]

    def _join(self, audio: Audio, start_frame: int, begin: int, end: int) -> Join:
        old, missing = self.read(begin, end - begin)
        rho = 0.0 if missing else correlation(old, audio[begin - start_frame : end - start_frame])
        before, lacking = self.read(begin - SIDE_FRAMES, SIDE_FRAMES)
        later = end - start_frame + AFTER_FRAMES
        after = audio[later : later + SIDE_FRAMES]
        level = spectral = score = 0.0
        if not missing and not lacking and len(after) == SIDE_FRAMES:
            level, spectral = _step(_bands_db(before), _bands_db(after))
            steps = self._steps_behind(audio, start_frame, begin, end)
            score = _score(level, spectral, [*self._steps, *steps]) if len(steps) >= 3 else 0.0
        return Join((begin + end) // 2, end - begin, rho, level, spectral, score)

    def _append(self, audio: Audio) -> None:
        need = self._length + len(audio)
        if need > len(self._store):
            grown = np.zeros((max(need, len(self._store) * 3 // 2), CHANNELS), np.float32)
            grown[: self._length] = self._store[: self._length]
            self._store = grown
        self._store[self._length : need] = audio
        self._length = need


_WINDOW = np.hanning(SIDE_FRAMES).astype(np.float32)
_EDGES = np.searchsorted(np.fft.rfftfreq(SIDE_FRAMES, 1 / RATE), EDGES_HZ)


def _bands_db(audio: Audio) -> npt.NDArray[np.float64]:
    """Octave-band levels of stretches ``(..., SIDE_FRAMES, 2)``, in dB, ``(..., bands)``."""
    spectrum = scipy.fft.rfft((audio[..., 0] + audio[..., 1]) * (0.5 * _WINDOW))
    sums = np.add.reduceat(spectrum.real**2 + spectrum.imag**2, _EDGES, -1)
    return np.asarray(10 * np.log10(sums.astype(np.float64) + 1e-9))


def _step(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Change of the level, and the mean absolute one of octave bands, in dB."""
    level = 10 * np.log10((10 ** (after / 10)).sum() / (10 ** (before / 10)).sum())
    return float(level), float(np.mean(np.abs(after - before)))


def _steps(clip: Audio, fade_frames: int) -> list[tuple[float, float]]:
    """The steps that a clip makes by itself, between stretches as far apart as those on either side of a join."""
    hop = SIDE_FRAMES // 2
    apart = max(1, (SIDE_FRAMES + fade_frames + AFTER_FRAMES) // hop)
    clip = clip[: (STEPS_KEPT // 4 + apart) * hop + SIDE_FRAMES]
    stretches = [_bands_db(clip[i : i + SIDE_FRAMES]) for i in range(0, len(clip) - SIDE_FRAMES + 1, hop)]
    return [_step(a, b) for a, b in zip(stretches, stretches[apart:], strict=False)]


def _score(level: float, spectral: float, others: Sequence[tuple[float, float]]) -> float:
    """How far a step stands out among others, in their standard deviations."""
    levels, spectra = np.array(others).T
    # 1.5 dB and 2 dB are changes that ambience makes all the time; less than that never stands out.
    usual_level = max(1.5, float(np.sqrt(np.mean(levels**2))))
    usual = max(2.0, float(spectra.mean()))
    spread = max(0.3 * usual, float(spectra.std()))
    return max(abs(level) / usual_level, (spectral - usual) / spread)
