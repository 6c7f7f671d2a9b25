"""The protocols through which the engine meets the world; adapters are injected.

Each has a public fake in :mod:`ambient.testing` that passes the same contract tests as the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ambient.messages import Block, Clip, ClipFailure, ClipRequest, ModelInfo

__all__ = ["Backend", "Clock", "Generator", "Sink", "StreamControl"]


class Clock(Protocol):
    """The pace of the sample clock. Frames count from 0 and never go back."""

    def now_frame(self) -> int:
        """Frame that is being heard now."""
        ...

    def wait_until(self, frame: int) -> None:
        """Returns when ``now_frame() >= frame``; at once on a free-running clock."""
        ...


class Backend(Protocol):
    """A model that is loaded and makes clips; lives where torch lives and is called from one thread."""

    @property
    def info(self) -> ModelInfo:
        """What the planner must know."""
        ...

    on_step: Callable[[], None]
    """Called between denoising steps. What it raises ends the batch: a changed scene need not wait for a clip that
    it no longer wants."""

    def generate(self, requests: Sequence[ClipRequest]) -> list[Clip | ClipFailure]:
        """Makes one batch of clips, answers in the order of the requests, never raises for a single bad clip, only
        what ``on_step`` raises.

        The first ``tail.kept`` latent frames of a clip equal its tail exactly, the last ``head.kept`` its head.
        """
        ...


class Generator(Protocol):
    """Makes clips somewhere else: in this process, in worker processes, on other machines.

    All methods return at once, except ``poll`` with a timeout. One thread calls them.
    """

    @property
    def info(self) -> ModelInfo:
        """What the planner must know; available before the model has loaded."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the model has loaded."""
        ...

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        """Queues one batch. Each request is answered exactly once by ``poll``, by a failure if need be."""
        ...

    def poll(self, timeout_seconds: float = 0.0) -> list[Clip | ClipFailure]:
        """Answers that have come in; waits up to ``timeout_seconds`` for the first one."""
        ...

    def cancel(self, request: ClipRequest) -> None:
        """The answer is no longer wanted: it may be dropped or come in all the same. A batch that is being made, and
        of which nothing is wanted any more, is given up where that can be done."""
        ...

    @property
    def device(self) -> str | None:
        """What the model computes on, for people; None before it is known."""
        ...

    @property
    def restarts(self) -> int:
        """How many times a worker was replaced."""
        ...

    def close(self) -> None:
        """Ends workers. Idempotent."""
        ...


class Sink(Protocol):
    """Where blocks go. Never blocks the caller for longer than its own pace asks for."""

    def write(self, block: Block) -> None:
        """Takes the next block. Raises SinkError when the sound cannot leave this way any more."""
        ...

    def close(self) -> None:
        """Flushes and releases. Idempotent."""
        ...


class StreamControl(Protocol):
    """What a door (server, status line) may ask of a running stream. Every method may be called from any thread."""

    @property
    def name(self) -> str:
        """The stream's name: the stem of its scene file."""
        ...

    def status(self) -> dict[str, Any]:
        """A snapshot, JSON-ready: ``stream, frame, state, previous, blend, params {name: value}, held [params that were
        set], layers [{name, prompt, gain, muted, level_db, seconds_ahead, why}], seconds_ahead, speed, degrade_level,
        model_ready, models [{name, family, layers, ready, device, steps, tuned, speed, degrade_level}], loudness_lufs,
        counts {underruns, joins, joins_repaired, clips, failures, restarts}, faults [str]``."""
        ...

    def describe(self) -> dict[str, Any]:
        """What does not change while the scene stays, JSON-ready: ``scene, states [str], start, transitions
        [{from, to, why}], params [{name, low, high, start, source}], events [str], layers [str]``."""
        ...

    def set_param(self, name: str, value: float | None) -> None:
        """Sets a parameter; None gives it back to the scene. Raises ValueError (with the nearest name) for an unknown
        one or a value not finite."""
        ...

    def feed(self, source: str, value: float) -> None:
        """A value from an input, as parameters name it in ``from``: ``weather.wind``, ``osc:/fader/1``. What no
        parameter reads is ignored."""
        ...

    def fire(self, event: str) -> None:
        """Fires a named event. Raises ValueError (with the nearest name) for an unknown one."""
        ...

    def ask(self, text: str, distance_m: float | None = None, azimuth_deg: float | None = None) -> None:
        """Has a single sound made from free text, and played once as soon as it is there, placed where it is said or
        somewhere near."""
        ...

    def go(self, state: str, over_seconds: float | None = None) -> None:
        """Starts a transition to a state. Raises ValueError (with the nearest name) for an unknown one."""
        ...
