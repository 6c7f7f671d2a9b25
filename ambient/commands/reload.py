"""Hot reload: a scene that is saved is heard, without a gap; a broken one is reported, and the old one plays on."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable

from ambient.engine.live import LiveStream
from ambient.errors import AmbientError, SceneError
from ambient.generate.recording import fault_of
from ambient.messages import path_of
from ambient.scene import Scene, load_scene, recordings_of

__all__ = ["SceneFile"]

log = logging.getLogger("ambient.scene")


class SceneFile:
    """Watches one scene file. By its time and size, which every editor and file system changes; a file counts as
    written once two looks in a row find it the same."""

    def __init__(
        self,
        path: pathlib.Path,
        stream: LiveStream,
        scene: Scene,
        prepare: Callable[[Scene], None] = lambda scene: None,
    ) -> None:
        """``prepare`` is called with a new version before it plays; an AmbientError that it raises refuses it."""
        self._path = path
        self._prepare = prepare
        self._stream = stream
        self.scene: Scene = scene
        self._loaded = self._seen = self._mark()

    def _mark(self) -> tuple[tuple[int, int] | None, ...] | None:
        """Of the scene, and of the recordings that it names."""
        marks = [_mark_of(self._path), *(_mark_of(pathlib.Path(path_of(p))) for p in recordings_of(self.scene))]
        return tuple(marks) if marks[0] is not None else None

    def look(self) -> bool:
        """Loads the file if it has changed and rests; returns whether another version plays from now on."""
        mark, before = self._mark(), self._seen
        self._seen = mark
        if mark is None or mark != before or mark == self._loaded:
            return False
        self._loaded = mark
        try:
            scene = load_scene(self._path, fault_of)
            self._prepare(scene)
        except SceneError as error:
            self._stream.report([str(p) for p in error.problems])
            log.error("%s has mistakes; the version before it plays on\n%s", self._path, error)
            return False
        except AmbientError as error:
            self._stream.report([f"{self._path}: {error}"])
            log.error("%s: %s; the version before it plays on", self._path, error)
            return False
        self._stream.report([])
        if scene.model_dump() == self.scene.model_dump():  # comments alone
            return False
        self.scene = scene
        self._loaded = self._seen = self._mark()
        self._stream.replace_scene(scene)
        log.info("%s: the new version plays", self._path)
        return True


def _mark_of(path: pathlib.Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # an editor that writes aside and renames leaves a moment without a file
        return None
    return found.st_mtime_ns, found.st_size
