"""Every error that Ambient raises on purpose, in one tree::

    AmbientError
    ├── SceneError            a scene file that cannot be played (all its problems at once)
    ├── BackendError          a model that cannot be loaded or run
    │   ├── ModelNotFound     no such bundled model, folder or checkpoint
    │   ├── OutOfMemory       the device is too small for the request
    │   └── BadClip           the model gave something that must not be heard
    ├── SinkError             the sound cannot leave (sound card, file, socket, encoder)
    ├── ReplayError           a recorded session that cannot be read, or does not lead to the same night
    ├── WeatherError          a weather report that cannot be had or read
    ├── Refused               what a client asked of a stream is not done (carries a code for programs)
    └── ProtocolError         a peer broke the stream protocol (carries a close code)

Errors carry fields for programs; ``str(error)`` is for the person who must act on it: what happened,
where, and what to do. Foreign exceptions are mapped where they enter, with ``raise … from``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "AmbientError",
    "BackendError",
    "BadClip",
    "ModelNotFound",
    "OutOfMemory",
    "Problem",
    "ProtocolError",
    "Refused",
    "ReplayError",
    "SceneError",
    "SinkError",
    "WeatherError",
]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a scene file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    severity: Literal["error", "warning"]
    message: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}{advice}"


class AmbientError(Exception):
    """Base of all errors raised on purpose."""


class SceneError(AmbientError):
    """A scene that cannot be played. ``problems`` holds every mistake found, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class BackendError(AmbientError):
    """A model that cannot be loaded or run."""


class ModelNotFound(BackendError):
    """No bundled model, checkpoint folder or hub name of that kind."""


class OutOfMemory(BackendError):
    """The device has too little memory for the request."""


class BadClip(BackendError):
    """Generated sound that must not be heard. ``kind`` is one of ``ambient.messages.FailureKind``."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class SinkError(AmbientError):
    """Sound that cannot leave: sound card, file, encoder or socket."""


class ReplayError(AmbientError):
    """A recorded session that cannot be read, or whose replay departs from what was recorded."""


class WeatherError(AmbientError):
    """A weather report that cannot be had or read. ``retry_after_seconds`` is what the service asks for, if it does."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Refused(AmbientError):
    """What a client asked of a stream is not done. ``code`` is one of ``ambient.sinks.vocabulary.ERRORS``;
    ``retry_after_seconds`` says when the same may work, None: never."""

    def __init__(self, code: str, message: str, retry_after_seconds: float | None = None) -> None:
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class ProtocolError(AmbientError):
    """A peer broke the stream protocol. ``close_code`` is the WebSocket close code to answer with."""

    def __init__(self, close_code: int, message: str) -> None:
        self.close_code = close_code
        super().__init__(message)
