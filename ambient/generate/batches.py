"""What every backend does around its model: what goes together, what is refused, what happens when memory ends."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch

from ambient.errors import BackendError
from ambient.generate.recording import recording
from ambient.messages import Clip, ClipFailure, ClipRequest, FailureKind, ModelInfo, likes

__all__ = ["BatchedBackend", "is_out_of_memory"]

log = logging.getLogger(__name__)


def _go_on() -> None:
    """Nothing interrupts."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether that is what torch raises when a device or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


class BatchedBackend(ABC):
    """Base of the backends; see :class:`ambient.ports.Backend`. Call from one thread."""

    def __init__(self, info: ModelInfo, device: str = "cpu") -> None:
        self._info = info
        self.device = device
        """What it computes on, for people."""
        self.on_step: Callable[[], None] = _go_on

    @property
    def info(self) -> ModelInfo:
        """What the planner must know."""
        return self._info

    @abstractmethod
    def _generate(self, batch: list[ClipRequest], steps: int) -> list[Clip | ClipFailure]:
        """Makes clips of one length and number of steps. Raises what torch raises."""

    def _save_memory(self) -> bool:
        """Makes do with less memory from now on, more slowly; False when nothing is left to be given up."""
        return False

    def generate(self, requests: Sequence[ClipRequest]) -> list[Clip | ClipFailure]:
        """Makes one batch, equal lengths and steps together, answers in the order of the requests.

        A clip depends on its own request only, not on what else is in the batch.
        """
        answers: dict[int, Clip | ClipFailure] = {}
        groups: dict[tuple[int, int], list[int]] = {}
        for i, request in enumerate(requests):
            trouble = self._trouble(request)
            if trouble:
                answers[i] = ClipFailure(request, "error", trouble)
            else:
                groups.setdefault((request.latent_frames, max(1, request.steps)), []).append(i)
        for (_, steps), members in groups.items():
            batch = [requests[i] for i in members]
            answers |= dict(zip(members, self._safely(batch, steps), strict=True))
        return [answers[i] for i in range(len(requests))]

    def _trouble(self, request: ClipRequest) -> str:
        """Why a request cannot be served, or nothing."""
        info = self._info
        if not 1 <= request.latent_frames <= info.max_latent_frames:
            return f"a clip has 1 to {info.max_latent_frames} latent frames, not {request.latent_frames}"
        if request.start_frame % info.frames_per_latent:
            return f"a clip starts at a multiple of {info.frames_per_latent} frames, not at {request.start_frame}"
        known = 0
        for end in (request.tail, request.head):
            known += end.kept if end else 0
            if end and (end.latents.shape[0] != info.latent_channels or known > request.latent_frames):
                return (
                    f"a tail of shape {end.latents.shape} does not fit {info.latent_channels} x {request.latent_frames}"
                )
        for part, _ in request.prompt.parts:
            if likes(part):
                try:
                    recording(part)
                except BackendError as error:
                    return str(error)
        return ""

    def _safely(self, batch: list[ClipRequest], steps: int) -> Sequence[Clip | ClipFailure]:
        """One batch; what goes wrong becomes answers: a stream waits for them.

        Where memory ends, half batches are tried, then what :meth:`_save_memory` can do, before it fails.
        """
        try:
            return self._generate(batch, steps)
        except Exception as error:  # torch raises whatever it likes
            short = is_out_of_memory(error)
            message = str(error) if short else f"{type(error).__name__}: {error}"
        first = (message.splitlines() or ["out of memory"])[0]
        if short and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if short and len(batch) > 1:
            log.warning("%s: no memory for %d clips at once, trying half (%s)", self._info.name, len(batch), first)
            half = len(batch) // 2
            return [*self._safely(batch[:half], steps), *self._safely(batch[half:], steps)]
        if short and self._save_memory():
            log.warning("%s: no memory for a clip, going on with parts of the model set aside", self._info.name)
            return self._safely(batch, steps)
        kind: FailureKind = "out_of_memory" if short else "error"
        advice = "; ask for shorter clips, a smaller model or another --device" if short else ""
        return [ClipFailure(request, kind, first + advice) for request in batch]
