"""Fakes for tests of programs that use Ambient. Each passes the contract tests of the real thing.

They are for tests only: nothing here makes sound that anybody should listen to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ambient.errors import BackendError
from ambient.messages import Audio, Block, Clip, ClipFailure, ClipRequest, FailureKind, Latents, ModelInfo

__all__ = ["FakeBackend", "ListSink", "ManualClock", "ScriptedGenerator"]

# ---- clock


class ManualClock:
    """A clock that a test moves; waiting for a frame jumps there."""

    def __init__(self) -> None:
        self._frame = 0

    def now_frame(self) -> int:
        """The frame that the test has reached."""
        return self._frame

    def wait_until(self, frame: int) -> None:
        """Jumps forward."""
        self._frame = max(self._frame, frame)


# ---- generation


class FakeBackend:
    """A backend without a model: latents are seeded noise, sound is noise shaped by them.

    It keeps the promises of a real one: tails come back exactly, two decodes of the same latents at the same
    position agree away from the clips' ends, the same request gives the same clip.
    """

    def __init__(self, info: ModelInfo | None = None) -> None:
        self._info = info or ModelInfo(
            name="fake",
            family="fake",
            fingerprint="fake-1",
            rate=48_000,
            channels=2,
            latent_channels=4,
            frames_per_latent=3840,
            max_latent_frames=128,
            steps=8,
            min_steps=4,
            guidance=2.0,
            edge_latents=1,
        )

    @property
    def info(self) -> ModelInfo:
        """What the planner must know."""
        return self._info

    def generate(self, requests: Sequence[ClipRequest]) -> list[Clip | ClipFailure]:
        """One clip for each request."""
        return [self._one(request) for request in requests]

    def _one(self, request: ClipRequest) -> Clip:
        shape = (self._info.latent_channels, request.latent_frames)
        latents: Latents = np.random.default_rng(request.seed).standard_normal(shape).astype(np.float16)
        if request.tail is not None:
            latents[:, : request.tail.kept] = request.tail.latents
        per = self._info.frames_per_latent
        first = request.start_frame // per
        parts: list[Audio] = []
        for i in range(request.latent_frames):
            noise = np.random.default_rng([request.noise_seed, first + i]).standard_normal((per, 2))
            parts.append((noise * 0.05).astype(np.float32))
        level = 1 + 0.1 * np.tanh(latents.astype(np.float32).mean(0))
        audio = np.concatenate(parts) * np.repeat(level, per)[:, None].astype(np.float32)
        if request.one_shot:
            audio *= np.exp(-np.arange(len(audio)) / 12_000)[:, None].astype(np.float32)
        return Clip(request, audio.astype(np.float32), latents, generation_seconds=0.01)


class ScriptedGenerator:
    """A generator that a test paces and breaks.

    ``delay_polls`` is how many calls of ``poll`` a batch takes (a call that waits takes none). ``fault`` may turn
    a clip into anything: another clip, a failure, or None for an answer that never comes.
    """

    def __init__(
        self,
        backend: FakeBackend | None = None,
        *,
        delay_polls: int = 0,
        generation_seconds: float = 0.01,
        fault: Callable[[Clip], Clip | ClipFailure | None] | None = None,
    ) -> None:
        self._backend = backend or FakeBackend()
        self.delay_polls = delay_polls
        self.generation_seconds = generation_seconds
        self.fault = fault
        self.submitted: list[ClipRequest] = []
        self.restarts = 0
        self.closed = False
        self._waiting: list[tuple[int, ClipRequest]] = []

    @property
    def info(self) -> ModelInfo:
        """What the planner must know."""
        return self._backend.info

    @property
    def ready(self) -> bool:
        """Always."""
        return not self.closed

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        """Notes the batch."""
        if self.closed:
            raise BackendError("the generator is closed")
        self.submitted += batch
        self._waiting += [(self.delay_polls, request) for request in batch]

    def poll(self, timeout_seconds: float = 0.0) -> list[Clip | ClipFailure]:
        """Answers whose time has come."""
        answers: list[Clip | ClipFailure] = []
        still: list[tuple[int, ClipRequest]] = []
        for polls, request in self._waiting:
            if polls > 0 and timeout_seconds == 0:
                still.append((polls - 1, request))
                continue
            clip = self._backend.generate([request])[0]
            assert isinstance(clip, Clip)
            made = Clip(request, clip.audio, clip.latents, self.generation_seconds)
            answer = self.fault(made) if self.fault else made
            if answer is not None:
                answers.append(answer)
        self._waiting = still
        return answers

    def cancel(self, request: ClipRequest) -> None:
        """Forgets the request."""
        self._waiting = [w for w in self._waiting if w[1].key != request.key]

    def close(self) -> None:
        """Nothing to end."""
        self.closed = True

    @staticmethod
    def failure(request: ClipRequest, kind: FailureKind = "error") -> ClipFailure:
        """A failure to answer with."""
        return ClipFailure(request, kind, f"made to fail: {kind}")


# ---- sinks


class ListSink:
    """Keeps every block."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.closed = False

    def write(self, block: Block) -> None:
        """Keeps the block."""
        self.blocks.append(block)

    def close(self) -> None:
        """Marks the end."""
        self.closed = True

    @property
    def audio(self) -> Audio:
        """All sound so far, shape ``(frames, 2)``."""
        if not self.blocks:
            return np.zeros((0, 2), np.float32)
        return np.concatenate([b.audio for b in self.blocks])
