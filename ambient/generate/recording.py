"""Recordings that prompts point to: a layer that is `like: rain.wav` gets more of that."""

from __future__ import annotations

import functools
import hashlib
import pathlib

import numpy as np

from ambient.errors import BackendError
from ambient.messages import LIKE, RATE, Audio, PromptMix, likes, path_of

__all__ = ["LONGEST_SECONDS", "SHORTEST_SECONDS", "fault_of", "levelled", "read", "recording", "share_of_likes"]

LONGEST_SECONDS = 60.0
"""Of a longer recording, so much is taken from the middle."""
SHORTEST_SECONDS = 0.5
SILENT = 1e-4
"""A recording whose peak stays below it holds nothing to resemble."""
_WINDOW_FRAMES = 240


def share_of_likes(prompt: PromptMix) -> float:
    """How much of a mix is recordings, 0 to 1."""
    return sum(weight for part, weight in prompt.parts if likes(part))


@functools.lru_cache(maxsize=8)
def recording(part: str) -> Audio:
    """The sound that a part of a mix points to (:data:`ambient.messages.LIKE`), float32 ``(frames, 2)`` at RATE.

    Raises BackendError, naming the file, where :func:`read` does, and where it is not the file any more that the scene
    meant: clips would be taken for those of another.
    """
    path = pathlib.Path(path_of(part))
    sound = read(path)
    with path.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    if not digest.startswith(part.removeprefix(LIKE).partition(":")[0]):
        raise BackendError(f"like: {path} has changed since the scene was read")
    return sound


def fault_of(path: pathlib.Path) -> str | None:
    """Why a file cannot be resembled; None where it can."""
    try:
        read(path)
    except BackendError as error:
        return str(error).removeprefix(f"like: {path} ")
    return None


def read(path: pathlib.Path) -> Audio:
    """The middle minute of a recording, float32 ``(frames, 2)`` at RATE, without offset.

    Whatever libsndfile or FFmpeg reads, of any rate and number of channels; of more than two the first two count.
    Raises BackendError, naming the file, where it is missing, holds no sound that can be read, is shorter than half a
    second, or silent.
    """
    import soxr

    found, rate = _decoded(path)
    if len(found) < SHORTEST_SECONDS * rate:
        raise BackendError(f"like: {path} is shorter than {SHORTEST_SECONDS:g} s")
    stereo = found[:, :2] if found.shape[1] >= 2 else np.repeat(found, 2, 1)
    if rate != RATE:
        stereo = soxr.resample(stereo, rate, RATE)
    sound = np.ascontiguousarray(stereo - stereo.mean(0), np.float32)
    if not np.isfinite(sound).all():
        raise BackendError(f"like: {path} holds what are no numbers")
    if np.abs(sound).max() < SILENT:
        raise BackendError(f"like: {path} is silent")
    return sound


def levelled(sound: Audio, rms: float) -> Audio:
    """The sound with the root mean square of its louder half brought to ``rms``: pauses do not count."""
    whole = len(sound) // _WINDOW_FRAMES * _WINDOW_FRAMES
    power = np.sort(np.square(sound[:whole], dtype=np.float64).mean(1).reshape(-1, _WINDOW_FRAMES).mean(1))
    return sound * np.float32(rms / max(1e-6, float(np.sqrt(power[len(power) // 2 :].mean()))))


def _decoded(path: pathlib.Path) -> tuple[Audio, int]:
    """Samples ``(frames, channels)`` as they are in the file, and their rate."""
    import soundfile as sf

    try:
        with sf.SoundFile(path) as file:
            most = round(LONGEST_SECONDS * file.samplerate)
            if file.frames > most:
                file.seek((file.frames - most) // 2)
            return file.read(most, dtype="float32", always_2d=True), int(file.samplerate)
    except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
        if not path.is_file():
            raise BackendError(f"like: {path} cannot be read: there is no such file") from error
    return _decoded_otherwise(path)


def _decoded_otherwise(path: pathlib.Path) -> tuple[Audio, int]:
    """The same through FFmpeg's libraries: AAC, WebM, the sound of films."""
    import av

    pieces, frames = [], 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            rate = int(stream.rate)
            seconds = float(container.duration or 0) / av.time_base
            if seconds > LONGEST_SECONDS:
                container.seek(round((seconds - LONGEST_SECONDS) / 2 * av.time_base))
            resampler = av.AudioResampler(format="fltp", layout="mono" if stream.channels == 1 else "stereo", rate=rate)
            for frame in container.decode(stream):
                for piece in resampler.resample(frame):
                    pieces.append(piece.to_ndarray().T)
                    frames += len(pieces[-1])
                if frames >= LONGEST_SECONDS * rate:
                    break
    except (OSError, ValueError, IndexError, av.FFmpegError) as error:
        first = (str(error).splitlines() or ["it holds no sound"])[0]
        raise BackendError(f"like: {path} cannot be read as sound: {first}") from error
    return np.concatenate(pieces) if pieces else np.zeros((0, 2), np.float32), rate
