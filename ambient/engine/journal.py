"""Records a session: what was done to the scene, and what depended on timing, so that the night can be had again.

A log is a file of JSON lines. The first says which scene, model, seed and time of day; each further one is stamped
with the engine's frame (``at``) and with how often the engine had asked for clips by then (``poll``), which is what
orders them. Everything else follows from the seeds, so a night of rain is a few hundred kilobytes.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from ambient import __version__
from ambient.engine.core import Engine
from ambient.errors import SinkError
from ambient.messages import Clip, ClipFailure, ClipRequest, ModelInfo
from ambient.ports import Generator

__all__ = ["FORMAT", "Recorder"]

FORMAT = 1


class Recorder:
    """Writes the log of one stream.

    ``generator`` stands between the engine and what makes its clips; ``follow`` is told the engine once there is one.
    A disk that is full ends the record, which is reported, and not the sound.
    """

    def __init__(self, path: pathlib.Path, model: str) -> None:
        """``model``: name or folder by which it is found again. Raises SinkError where the file cannot be written."""
        self._path = path
        self._model = str(pathlib.Path(model).resolve()) if pathlib.Path(model).is_dir() else model
        self._engine: Engine | None = None
        self._file: TextIO | None
        self._flushed = time.monotonic()
        self.polls = 0
        self.batches = 0
        self._generators = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise SinkError(f"the session cannot be recorded in {path}: {error.strerror}") from error

    def generator(self, inner: Generator) -> Generator:
        """The generator to give to the engine; one for each model, the scene's own first.

        The engine polls all of them in turn, so that asking the first one counts for all.
        """
        self._generators += 1
        return _Watched(inner, self, counts=self._generators == 1)

    def follow(self, engine: Engine) -> None:
        """Writes the head of the log, and from now on what is done to the engine."""
        self._engine = engine
        model = {"name": self._model, "fingerprint": engine.generator.info.fingerprint}
        head = {"ambient": __version__, "log": FORMAT, "model": model}
        self._line(head | _head(engine))
        engine.on_note = self.note

    def note(self, what: str, how: Mapping[str, Any]) -> None:
        """One more line."""
        frame = self._engine.frame if self._engine is not None else 0
        self._line({"at": frame, "poll": self.polls, "do": what, **how})

    def close(self) -> None:
        """Says how far the session went. Idempotent."""
        if self._file is not None:
            self.note("end", {})
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _line(self, row: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            if time.monotonic() - self._flushed > 1.0:
                self._file.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            self._file = None  # before the fault, which would be noted here
            if self._engine is not None:
                self._engine.fault(f"the record in {self._path} ends here: {error.strerror}")


def _head(engine: Engine) -> dict[str, Any]:
    options = engine.options
    return {
        "scene": engine.written(),
        "seed": options.seed,
        "steps": options.steps,
        "usual_steps": options.usual_steps,
        "guidance": options.guidance,
        "clip_seconds": options.clip_seconds,
        "batch_clips": options.batch_clips,
        "solo": options.solo,
        "mute": sorted(options.mute),
        "memory": options.memory.model_dump(mode="json", exclude_none=True) if options.memory else None,
        "began": options.began.isoformat() if options.began else None,
    }


class _Watched:
    """A generator whose answers are noted with the poll that brought them."""

    def __init__(self, inner: Generator, recorder: Recorder, counts: bool) -> None:
        self._inner = inner
        self._recorder = recorder
        self._counts = counts
        self._batch_of: dict[tuple[str, int], int] = {}
        """(layer, seed) of what is under way → number of its batch."""

    @property
    def info(self) -> ModelInfo:
        return self._inner.info

    @property
    def ready(self) -> bool:
        return self._inner.ready

    @property
    def device(self) -> str | None:
        return self._inner.device

    @property
    def restarts(self) -> int:
        return self._inner.restarts

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        for request in batch:
            self._batch_of[request.key.layer, request.seed] = self._recorder.batches
        self._recorder.batches += 1
        self._inner.submit(batch, timeout_seconds)

    def poll(self, timeout_seconds: float = 0.0) -> list[Clip | ClipFailure]:
        self._recorder.polls += self._counts
        answers = self._inner.poll(timeout_seconds)
        for answer in answers:
            key = answer.request.key
            batch = self._batch_of.pop((key.layer, answer.request.seed), None)
            if batch is None:
                continue
            row = {"layer": key.layer, "index": key.index, "seed": answer.request.seed, "batch": batch}
            if isinstance(answer, ClipFailure):
                row |= {"failure": answer.kind, "message": answer.message}
            else:
                row |= {"seconds": answer.generation_seconds, "cached": answer.cached}
            self._recorder.note("clip", row)
        return answers

    def cancel(self, request: ClipRequest) -> None:
        self._inner.cancel(request)

    def close(self) -> None:
        self._inner.close()
