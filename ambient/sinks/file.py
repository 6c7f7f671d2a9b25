"""Sound into a file: exactly as many frames as were announced, or no file at all."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from typing import Any

from ambient.errors import SinkError
from ambient.messages import CHANNELS, RATE, Block

__all__ = ["FORMATS", "FileSink", "open_file_sink"]

FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    ".wav": ("WAV", "PCM_24", {}),
    ".flac": ("FLAC", "PCM_24", {}),
    ".ogg": ("OGG", "VORBIS", {"compression_level": 0.4}),
    ".opus": ("OGG", "OPUS", {"compression_level": 0.5}),
    ".mp3": ("MP3", "MPEG_LAYER_III", {"compression_level": 0.2, "bitrate_mode": "VARIABLE"}),
}
"""By ending: container, encoding (24 bit where it is lossless) and quality, as libsndfile names them."""

WAV_LIMIT_BYTES = 0xFFFF_0000
"""A WAV counts its bytes in 32 bits; a longer file is written as RF64 (EBU Tech 3306)."""
ENDLESS_FRAMES = 1 << 50
"""What a format holds that counts far enough: some centuries."""


def open_file_sink(path: str | pathlib.Path, length_frames: int | None) -> FileSink:
    """A sink that writes the first ``length_frames`` frames given to it to ``path``, format by its ending.

    With None, it takes what comes until it is closed, or until the format can count no further. Raises SinkError for
    an unknown ending or a place that cannot be written.
    """
    return FileSink(pathlib.Path(path), length_frames)


class FileSink:
    """Writes to ``PATH.part`` and renames it when all frames are there. Use from one thread."""

    def __init__(self, path: pathlib.Path, length_frames: int | None) -> None:
        import soundfile

        known = FORMATS.get(path.suffix.lower())
        if known is None:
            ending = f"the ending {path.suffix!r}" if path.suffix else "no ending"
            raise SinkError(f"{path}: {ending} names no known format; write {', '.join(FORMATS)}")
        if length_frames is not None and length_frames < 1:
            raise SinkError(f"{path}: a sound needs at least one frame, not {length_frames}")
        if path.is_dir():
            raise SinkError(f"{path} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise SinkError(f"{path}: there is no folder {path.parent}; make it first")
        container, encoding, quality = known
        most = WAV_LIMIT_BYTES // (CHANNELS * 3) if container == "WAV" else ENDLESS_FRAMES
        if container == "WAV" and length_frames is not None and length_frames > most:
            container = "RF64"
        self._soundfile = soundfile
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._left = self._length = most if length_frames is None else length_frames
        self._announced = length_frames is not None
        self._open = True
        try:
            self._file: Any = soundfile.SoundFile(
                str(self._part), "w", RATE, CHANNELS, format=container, subtype=encoding, **quality
            )
        except (RuntimeError, OSError) as error:
            self._part.unlink(missing_ok=True)
            raise SinkError(f"{path} cannot be written: {_reason(error)}") from error

    @property
    def frames_left(self) -> int:
        """Frames still missing, or, where no length was announced, that there is still room for."""
        return self._left

    def write(self, block: Block) -> None:
        """Writes the block, or as much of it as belongs to the file. Raises SinkError (disk full …)."""
        if not self._open:
            raise SinkError(f"{self._path} was closed before")
        audio = block.audio[: self._left]
        if not len(audio):
            return
        try:
            self._file.write(audio)
        # libsndfile answers a full disk with a short count, which soundfile only asserts against.
        except (RuntimeError, OSError, AssertionError) as error:
            raise self._failed(_reason(error)) from error
        self._left -= len(audio)

    def close(self) -> None:
        """Completes the file and gives it its name. Raises SinkError where it came out short. Idempotent."""
        if not self._open:
            return
        made = self._length - self._left
        if self._announced and self._left:
            raise self._failed(f"only {made} of {self._length} frames were made")
        if not made:
            raise self._failed("no sound came")
        self._open = False
        try:
            self._file.close()
            # Encoders that hold frames back report no write error at the end: what is there is what counts.
            there = int(self._soundfile.info(str(self._part)).frames)
            if there != made:
                raise self._failed(f"{there} of {made} frames arrived")
            self._part.replace(self._path)
        except (RuntimeError, OSError) as error:
            raise self._failed(_reason(error)) from error

    def abort(self) -> None:
        """Gives up: removes what was written. Idempotent, and does nothing to a finished file."""
        if self._open:
            self._open = False
            with contextlib.suppress(RuntimeError, OSError):
                self._file.close()
            self._part.unlink(missing_ok=True)

    def _failed(self, why: str) -> SinkError:
        """Removes the partial file and says what happened."""
        free = shutil.disk_usage(self._path.parent).free
        self.abort()
        self._part.unlink(missing_ok=True)
        room = f"; the disk is full ({free / 1e6:.1f} MB left)" if free < 16_000_000 else ""
        return SinkError(f"{self._path} could not be written: {why}{room}. The partial file was removed.")


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    if isinstance(error, AssertionError) or not text:
        return "the file system took less than it was given"
    return text.removeprefix("Error : ")
