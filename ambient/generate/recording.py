"""Recordings that prompts point to: a layer that is `like: rain.wav` gets more of that."""

from __future__ import annotations

import functools
import pathlib

import numpy as np

from ambient.errors import BackendError
from ambient.messages import LIKE, RATE, Audio

__all__ = ["LONGEST_SECONDS", "SHORTEST_SECONDS", "recording"]

LONGEST_SECONDS = 60.0
"""Of a longer recording, so much is taken from the middle."""
SHORTEST_SECONDS = 0.5


@functools.lru_cache(maxsize=8)
def recording(part: str) -> Audio:
    """The sound that a part of a mix points to (:data:`ambient.messages.LIKE`), float32 ``(frames, 2)`` at RATE.

    Raises BackendError, naming the file, where it is missing, holds no sound that can be read, is shorter than half a
    second, or silent.
    """
    import soundfile as sf
    import soxr

    path = pathlib.Path(part.removeprefix(LIKE).partition(":")[2])
    try:
        with sf.SoundFile(path) as file:
            rate, most = file.samplerate, round(LONGEST_SECONDS * file.samplerate)
            if file.frames > most:
                file.seek((file.frames - most) // 2)
            found = file.read(most, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
        raise BackendError(f"like: {path} cannot be read as sound: {str(error).splitlines()[0]}") from error
    stereo = found[:, :2] if found.shape[1] >= 2 else np.repeat(found, 2, 1)
    if len(stereo) < SHORTEST_SECONDS * rate:
        raise BackendError(f"like: {path} is shorter than {SHORTEST_SECONDS:g} s")
    if rate != RATE:
        stereo = soxr.resample(stereo, rate, RATE)
    sound = np.ascontiguousarray(stereo - stereo.mean(0), np.float32)
    if not np.isfinite(sound).all() or np.abs(sound).max() < 1e-4:
        raise BackendError(f"like: {path} is silent, or holds what are no numbers")
    return sound
