"""Recordings that layers are to resemble: found from the scene's folder, and named by what is in them.

The digest makes a changed file another prompt: it is heard after the scene is saved, and no cached clip is mistaken
for it.
"""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ambient.messages import LIKE
from ambient.scene.model import Scene
from ambient.scene.source import Path, Source

__all__ = ["Hear", "part_of", "recordings_of", "with_recordings"]

MOST_BYTES = 500_000_000
Hear = Callable[[pathlib.Path], str | None]
"""Why a file cannot be resembled, in words that follow its name; None where it can. A scene itself hears nothing."""


def with_recordings(scene: Scene, source: Source, folder: pathlib.Path, hear: Hear | None) -> Scene:
    """The scene with every `like` as a part of a prompt mix; what is no recording is a mistake."""

    def found(layers: Mapping[str, Any], path: Path) -> dict[str, Any]:
        return {n: _resolved(layer, (*path, n), source, folder, hear) for n, layer in layers.items()}

    states = {
        name: state.model_copy(update={"layers": found(state.layers, ("states", name, "layers"))})
        for name, state in scene.states.items()
    }
    return scene.model_copy(update={"layers": found(scene.layers, ("layers",)), "states": states})


def recordings_of(scene: Scene) -> list[str]:
    """All recordings of a scene, as parts of prompt mixes, each once."""
    layers = [*scene.layers.values(), *(o for s in scene.states.values() for o in s.layers.values())]
    return sorted({layer.like for layer in layers if layer.like is not None})


def part_of(file: pathlib.Path) -> str:
    """A recording as a part of a prompt mix. Raises OSError."""
    with file.open("rb") as data:
        return f"{LIKE}{hashlib.file_digest(data, 'sha256').hexdigest()[:16]}:{file.resolve()}"


def _resolved(layer: Any, path: Path, source: Source, folder: pathlib.Path, hear: Hear | None) -> Any:
    if layer.like is None:
        return layer
    where: Path = (*path, "like")
    file = folder / pathlib.Path(layer.like).expanduser()
    part = ""
    try:
        if not file.is_file():
            advice = "it is looked for from the scene's folder"
            source.error(where, f"there is no file {layer.like!r}", advice if not file.exists() else "it is no file")
        elif file.stat().st_size > MOST_BYTES:
            source.error(where, f"{layer.like!r} is larger than {MOST_BYTES // 1_000_000} MB", "a minute is enough")
        else:
            part = part_of(file)
            if hear is not None and (fault := hear(file)):
                source.error(where, f"{layer.like!r} {fault}", "half a minute of one sound is best")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        source.error(where, f"{layer.like!r} cannot be read: {said}")
    return layer.model_copy(update={"like": part or None})
