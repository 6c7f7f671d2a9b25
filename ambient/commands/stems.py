"""``ambient render --stems``: each layer in a file of its own, beside the mix."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np

from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, CHANNELS, Audio, Block
from ambient.ports import Sink
from ambient.sinks.file import FileSink, open_file_sink
from ambient.sinks.loop import LoopSink

__all__ = ["Stems"]


class Stems:
    """One 24-bit file a layer, all as long as the mix and in time with it.

    They hold what each layer gives to the mix, with its gain, width and place, before programme loudness and limiter:
    their sum is the mix as it enters these two. Of a loop, each is a loop by itself. A context manager: files that an
    error leaves unfinished are removed.
    """

    def __init__(self, folder: pathlib.Path, layers: Sequence[str], length_frames: int, loop: bool = False) -> None:
        """Raises SinkError where a file cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"the folder {folder} cannot be made: {error.strerror}") from error
        self._sinks: dict[str, FileSink] = {}
        self._ways: dict[str, Sink] = {}
        self._silence = np.zeros((BLOCK_FRAMES, CHANNELS), np.float32)
        try:
            for layer in layers:
                name = re.sub(r"[^\w.-]+", "-", layer).strip("-.") or "layer"
                sink = self._sinks[layer] = open_file_sink(folder / f"{name}.wav", length_frames)
                self._ways[layer] = LoopSink(sink, length_frames) if loop else sink
        except BaseException:
            self._abort()
            raise

    def __enter__(self) -> Stems:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for sink in self._sinks.values():
                    sink.close()
        finally:
            self._abort()

    def write(self, layers: Mapping[str, Audio]) -> None:
        """The next block; layers that are not there are silent. Raises SinkError (disk full …)."""
        for name, sink in self._ways.items():
            sink.write(Block(0, layers.get(name, self._silence)))

    def _abort(self) -> None:
        for sink in self._sinks.values():
            sink.abort()  # does nothing to a finished file
