"""Where the models that a scene names come from: one generator a model, opened when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable

from ambient.engine.options import Opened
from ambient.generate.catalogue import describe
from ambient.messages import ModelInfo
from ambient.ports import Generator

__all__ = ["Generators"]


class Generators:
    """Keeps one generator for each model and closes them together. A context manager."""

    def __init__(self, make: Callable[[ModelInfo], Generator]) -> None:
        self._make = make
        self._made: dict[str, Generator] = {}

    def __enter__(self) -> Generators:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends them all. Idempotent."""
        for generator in self._made.values():
            generator.close()

    def find(self, name: str) -> Generator:
        """The generator of a model, by its name or folder. Raises ModelNotFound, BackendError."""
        info = describe(name)
        if info.fingerprint not in self._made:
            self._made[info.fingerprint] = self._make(info)
        return self._made[info.fingerprint]

    def open(self, name: str) -> Opened:
        """The same for an engine."""
        return Opened(self.find(name))
