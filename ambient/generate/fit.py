"""Makes what any model gives fit for the engine: its rate, two channels, an even level, events of one loudness."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soxr

from ambient.messages import Audio

__all__ = ["WIDTH", "event_gain", "fit", "level_seam", "widened"]

WIDTH = 0.5
"""Side over mid of what was mono, for sounds without pitch."""
_SPREAD_FRAMES = 1440
"""30 ms: longer, and the side would be heard as an echo."""
_TAPS = 30
_WINDOW_FRAMES = 4800
"""100 ms."""
_EVENT_FRAMES = 3840
"""80 ms, five of them at a time."""
_SIDE_WINDOWS = 10
_CORRELATED = 2.0
"""Neighbouring windows are alike: so many of them count as one independent one."""
_MOST_DB = 9.0
_RELEASE_FRAMES = 168_000
"""3.5 s."""


def fit(audio: Audio, hop: int, frames_per_latent: int, seed: int) -> Audio:
    """Float32 ``(latents · frames_per_latent, 2)`` at the engine's rate from ``(latents · hop, 1 or 2)``.

    The ratio of the rates is taken as ``frames_per_latent / hop``, so that a latent frame is a whole number of
    frames and clips meet sample for sample. ``seed`` is the layer's: mono layers get a width each of its own.
    """
    latents = len(audio) // hop
    made = audio[: latents * hop]
    if hop != frames_per_latent:
        made = np.asarray(soxr.resample(made, hop, frames_per_latent, quality="HQ"), np.float32)
    wanted = latents * frames_per_latent
    made = np.pad(made, ((0, max(0, wanted - len(made))), (0, 0)))[:wanted]
    return np.ascontiguousarray(made if made.shape[1] == 2 else widened(made, seed), np.float32)


@lru_cache(maxsize=64)
def _velvet(seed: int) -> tuple[tuple[int, float], ...]:
    """Delays in frames and gains of a sparse decaying noise of unit energy."""
    random = np.random.Generator(np.random.PCG64(seed))
    grid = _SPREAD_FRAMES / _TAPS
    delays = [int((i + random.random()) * grid) + 1 for i in range(_TAPS)]
    gains = np.where(random.random(_TAPS) < 0.5, 1.0, -1.0) * np.exp(-3.0 * np.arange(_TAPS) / _TAPS)
    gains /= np.sqrt(np.square(gains).sum())
    return tuple(zip(delays, map(float, gains), strict=True))


def widened(mono: Audio, seed: int) -> Audio:
    """Float32 ``(n, 2)`` from ``(n, 1)``, with a diffuse side signal by velvet noise (Alary, Politis, Välimäki 2017).

    The mid stays untouched, so it folds back to the very same mono. The filter is fixed and linear: two stretches
    of one sound get the same width, sample for sample, once 30 ms have passed.
    """
    mid = mono[:, 0]
    side = np.zeros_like(mid)
    for delay, gain in _velvet(seed):
        side[delay:] += np.float32(WIDTH * gain) * mid[: max(0, len(mid) - delay)]
    return np.stack([mid + side, mid - side], axis=1)


def level_seam(audio: Audio, kept_frames: int) -> Audio:
    """A clip whose new part begins at the level of the part it kept; ``audio`` at the engine's rate ``(n, 2)``.

    What a model paints onwards may come out louder than what it was given (AudioLDM's does). What is more than the
    sound's own ups and downs is taken back at the seam and given again slowly, all of it before the clip ends: its
    last latents are what the next clip continues, as they are.
    """
    before, after = _levels_db(audio[:kept_frames][-_SIDE_WINDOWS * _WINDOW_FRAMES :]), _levels_db(audio[kept_frames:])
    after = after[:_SIDE_WINDOWS]
    if len(before) < 3 or len(after) < 3:
        return audio
    step = float(after.mean() - before.mean())
    natural = np.sqrt(sum(x.var() / max(1.5, len(x) / _CORRELATED) for x in (before, after)))
    surplus = float(np.clip(step - np.clip(step, -natural, natural), -_MOST_DB, _MOST_DB))
    new = len(audio) - kept_frames
    t = np.minimum(1.0, np.arange(new) / min(_RELEASE_FRAMES, max(1, new // 2)))
    gain = np.power(10.0, -surplus / 20 * (0.5 + 0.5 * np.cos(np.pi * t))).astype(np.float32)
    out = audio.copy()
    out[kept_frames:] *= gain[:, None]
    return out


def _levels_db(audio: Audio) -> npt.NDArray[np.float64]:
    whole = len(audio) // _WINDOW_FRAMES * _WINDOW_FRAMES
    power = np.square(audio[:whole], dtype=np.float64).mean(1).reshape(-1, _WINDOW_FRAMES).mean(1)
    return np.asarray(10 * np.log10(power + 1e-10), np.float64)


def event_gain(audio: Audio) -> float:
    """Gain that brings the loudest 0.4 s of a single event to −20 dBFS, its peak staying under full scale.

    Nothing continues an event, so its level is free; as generated it varies by tens of decibels.
    """
    whole = len(audio) // _EVENT_FRAMES * _EVENT_FRAMES
    power = np.square(audio).mean(1)[:whole].reshape(-1, _EVENT_FRAMES).mean(1) if whole else np.zeros(1)
    loudest = np.convolve(power, np.full(5, 0.2), "same").max()
    gain = float(np.clip(0.1 / np.sqrt(loudest + 1e-12), 0.25, 16.0))
    return min(gain, 0.98 / float(np.abs(audio).max() + 1e-9))
