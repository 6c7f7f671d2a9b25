"""How an engine runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ambient.ports import Generator
from ambient.scene import Memory

__all__ = ["OpenModel", "Opened", "Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine runs. Absent is None."""

    seed: int | None = None
    live: bool = True
    """Whether time presses. Offline, the engine waits for every clip and degrades nothing."""
    steps: int | None = None
    """Of every layer of the scene's own model, whatever the scene says."""
    usual_steps: int | None = None
    """Where the scene says none, instead of the model's own: what was measured."""
    solo: str | None = None
    """The only layer to be heard and generated."""
    mute: frozenset[str] = frozenset()
    """Layers, families and roles that are neither heard nor generated."""
    ahead_seconds: float = 12.0
    """Sound to keep ready in front of the playhead."""
    batch_seconds: float = 0.7
    """Live, longest batch: a changed scene waits for the one that is being made."""
    batch_clips: int = 4
    """Most clips of a batch."""
    clip_seconds: float | None = None
    """Length of a regular clip; None: the planner's own."""
    offline_delay_seconds: float = 4.0
    """Offline, mixing goes on for so long after a request, while the clip is made."""
    guidance: float | None = None
    loudness: bool = True
    loop_frames: int | None = None
    """Offline: when the beginning is to come again, a whole number of latent frames. Layers that sound from the
    beginning are led back into it."""
    began: datetime | None = None
    """Live, the time of day that frame 0 stands for, where the scene's clock does not say; None: now."""
    memory: Memory | None = None
    """Where the scene goes on; None: it begins."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that layers name for themselves: where its clips are made, and how it runs here. Absent is None."""

    generator: Generator
    usual_steps: int | None = None
    clip_seconds: float | None = None
    batch_clips: int = 4


OpenModel = Callable[[str], Opened]
"""Opens a model by the name that a layer gives. Raises ModelNotFound, BackendError."""
