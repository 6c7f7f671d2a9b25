"""The ``--mute`` of play, serve and render."""

from __future__ import annotations

from collections.abc import Sequence

from ambient.errors import AmbientError
from ambient.scene import Scene

__all__ = ["check_mute"]


def check_mute(asked: Sequence[str], scenes: Sequence[Scene]) -> None:
    """Raises AmbientError for what is no layer, family or role of any of the scenes."""
    layers = {name: layer for scene in scenes for name, layer in scene.layers.items()}
    kinds = {kind for layer in layers.values() for kind in (layer.family, layer.role) if kind is not None}
    for name in asked:
        if name not in layers and name not in kinds:
            known = ", ".join([*layers, *sorted(kinds)])
            raise AmbientError(f"--mute: no layer, family or role is called {name!r}; there are {known}")
