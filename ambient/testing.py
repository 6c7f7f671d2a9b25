"""Fakes for tests of programs that use Ambient. Each passes the contract tests of the real thing.

They are for tests only: nothing here makes sound that anybody should listen to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient.errors import BackendError
from ambient.messages import (
    BLOCK_FRAMES,
    RATE,
    Audio,
    Block,
    Clip,
    ClipFailure,
    ClipRequest,
    FailureKind,
    Latents,
    ModelInfo,
    SceneEvent,
)
from ambient.ports import Sink

__all__ = [
    "FakeBackend",
    "FakeStream",
    "IndexCodedSource",
    "ListSink",
    "ManualClock",
    "PacedSource",
    "ScriptedGenerator",
]

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
        self.on_step: Callable[[], None] = lambda: None
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
        self.on_step()
        shape = (self._info.latent_channels, request.latent_frames)
        latents: Latents = np.random.default_rng(request.seed).standard_normal(shape).astype(np.float16)
        if request.tail is not None:
            latents[:, : request.tail.kept] = request.tail.latents
        if request.head is not None:
            latents[:, -request.head.kept :] = request.head.latents
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

    @property
    def device(self) -> str | None:
        """What the model computes on."""
        return "cpu (scripted)"

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


# ---- streams


class FakeStream:
    """A StreamControl without an engine: remembers what it was asked for."""

    def __init__(self, name: str = "forest") -> None:
        self._name = name
        self.params = {"wind": 0.4, "rain": 0.1}
        self.held: list[str] = []
        self.state = "calm"
        self.fired: list[str] = []
        self.asked: list[tuple[str, float | None, float | None]] = []

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._name

    def status(self) -> dict[str, Any]:
        """A snapshot in the shape of a real one."""
        layers = [
            ("wind", "gusty wind through tall pines", -31.0, ["state calm", "intensity 0.40 by wind = 0.40"]),
            ("birds", "blackbird singing far away", -38.5, ["state calm"]),
            ("rain", "soft rain on leaves", -80.0, ["state calm", "muted"]),
        ]
        return {
            "stream": self._name,
            "playing": True,
            "frame": 0,
            "state": self.state,
            "previous": None,
            "blend": 1.0,
            "params": dict(self.params),
            "held": list(self.held),
            "layers": [
                {
                    "name": name,
                    "prompt": prompt,
                    "gain": 0.5,
                    "muted": "muted" in why,
                    "level_db": level,
                    "seconds_ahead": 9.5,
                    "why": why,
                }
                for name, prompt, level, why in layers
            ],
            "seconds_ahead": 9.5,
            "speed": 12.0,
            "degrade_level": 0,
            "model": "bundled",
            "model_ready": True,
            "loudness_lufs": -24.2,
            "counts": {"underruns": 0, "joins": 12, "joins_repaired": 0, "clips": 20, "failures": 0, "restarts": 0},
            "faults": [],
        }

    def describe(self) -> dict[str, Any]:
        """A small scene."""
        return {
            "scene": self._name,
            "states": ["calm", "rain", "storm"],
            "start": "calm",
            "transitions": [
                {"from": "calm", "to": "rain", "why": "rain > 0.5"},
                {"from": "rain", "to": "storm", "why": "wind > 0.8"},
                {"from": "storm", "to": "calm", "why": "after 4 min"},
            ],
            "params": [
                {"name": "wind", "low": 0.0, "high": 1.0, "start": 0.4, "source": "manual"},
                {"name": "rain", "low": 0.0, "high": 1.0, "start": 0.1, "source": "manual"},
            ],
            "events": ["thunder", "owl"],
            "layers": ["wind", "birds", "rain"],
        }

    def set_param(self, name: str, value: float | None) -> None:
        """Remembers the value; None: that of the beginning. Raises ValueError for an unknown name."""
        if name not in self.params:
            raise ValueError(f"no parameter is called {name!r}; did you mean 'wind'?")
        start = next(p["start"] for p in self.describe()["params"] if p["name"] == name)
        self.params[name] = start if value is None else value
        self.held = [n for n in self.held if n != name] + ([] if value is None else [name])

    def feed(self, source: str, value: float) -> None:
        """Sets the parameters that are fed from there."""
        for param in self.describe()["params"]:
            if param["source"] == source:
                self.params[param["name"]] = value

    def fire(self, event: str) -> None:
        """Remembers the event. Raises ValueError for an unknown name."""
        if event not in self.describe()["events"]:
            raise ValueError(f"no event is called {event!r}; did you mean 'thunder'?")
        self.fired.append(event)

    def ask(self, text: str, distance_m: float | None = None, azimuth_deg: float | None = None) -> None:
        """Remembers the text and the place."""
        self.asked.append((text, distance_m, azimuth_deg))

    def go(self, state: str, over_seconds: float | None = None) -> None:
        """Changes the state. Raises ValueError for an unknown name."""
        if state not in self.describe()["states"]:
            raise ValueError(f"no state is called {state!r}; did you mean 'calm'?")
        self.state = state


class IndexCodedSource:
    """Sound that says of every sample where it belongs, and survives 16 bits and their dither.

    The left channel counts frames modulo 1024, the right one how often the left began again, both in steps of 16
    units of 16-bit sound: 2**20 frames are told apart, which is 21.8 s.
    """

    PERIOD = 1 << 20
    STEP = 16 / 32767

    @classmethod
    def audio(cls, start_frame: int, length_frames: int) -> Audio:
        """Sound of the frames from ``start_frame`` on."""
        index = np.arange(start_frame, start_frame + length_frames) % cls.PERIOD
        return np.stack([(index % 1024) * cls.STEP, (index // 1024) * cls.STEP], axis=1).astype(np.float32)

    @classmethod
    def indices(cls, audio: Audio) -> npt.NDArray[np.int64]:
        """Which frames, modulo ``PERIOD``, the samples are."""
        coded: npt.NDArray[np.int64] = np.rint(audio / cls.STEP).astype(np.int64)
        return np.asarray(coded[:, 0] + 1024 * coded[:, 1], np.int64)

    @classmethod
    def block(cls, number: int, events: tuple[SceneEvent, ...] = ()) -> Block:
        """The block of that number."""
        start = number * BLOCK_FRAMES
        return Block(start, cls.audio(start, BLOCK_FRAMES), events)


class PacedSource:
    """Writes blocks to a sink in real time, on a thread of its own, from entering to leaving the context."""

    def __init__(self, sink: Sink, make: Callable[[int], Block] = IndexCodedSource.block) -> None:
        self._sink = sink
        self._make = make
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paced-source", daemon=True)
        self.blocks = 0

    def __enter__(self) -> PacedSource:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ending.wait(max(0.0, began + self.blocks * BLOCK_FRAMES / RATE - time.monotonic())):
            self._sink.write(self._make(self.blocks))
            self.blocks += 1
