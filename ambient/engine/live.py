"""A stream that plays: the engine on a thread of its own, paced by a real clock, heard through sinks."""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ambient.engine.clocks import RealClock
from ambient.engine.core import Engine, status_layers
from ambient.errors import AmbientError, SinkError
from ambient.messages import BLOCK_FRAMES, CHANNELS, RATE, Block, SceneEvent, frames, seconds
from ambient.ports import Clock, Sink
from ambient.scene import Inputs, Memory, Scene, describe

__all__ = ["LiveStream"]

log = logging.getLogger("ambient.stream")

LEAD_FRAMES = frames(0.06)
"""How far blocks are made before they are due: time for one hiccup, and the most that a control lags."""
STATUS_EVERY_BLOCKS = 5
FADE_OUT_SECONDS = 0.5
PRIME_SECONDS = 20.0
"""Longest wait for the first clips; then the clock starts with what is there."""


class LiveStream:
    """Plays one scene until it is stopped. A :class:`ambient.ports.StreamControl`.

    ``start`` and ``stop`` are called from the thread that owns the stream; the control methods from any thread.
    A sink that fails is dropped and reported; the sound goes on in the others.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        sinks: Sequence[Sink],
        clock: Clock | None = None,
        on_event: Callable[[SceneEvent], None] | None = None,
        heard: Callable[[], bool] | None = None,
        idle_seconds: float = 60.0,
    ) -> None:
        """``heard`` tells whether anybody listens; None: always. Unheard for ``idle_seconds``, the stream rests: it
        generates nothing, its scene's time goes on, and it is back with the next block."""
        self._name = name
        self._engine = engine
        self._sinks = list(sinks)
        self._clock = clock or RealClock()
        self._on_event = on_event
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._description = describe(engine.scene)
        self._reported = 0
        self._problems: list[str] = []
        self._heard = heard
        self._idle_frames = frames(idle_seconds)
        self._heard_frame = 0
        self._status: dict[str, Any] = {}
        self._memory: Memory = engine.machine.memory()
        self._snapshot(playing=False)

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._name

    @property
    def playing(self) -> bool:
        """Whether the clock has started."""
        return self._started.is_set()

    def start(self) -> None:
        """Begins to work on the first clips, and plays as soon as they are there."""
        self._thread = threading.Thread(target=self._run, name=f"ambient-{self._name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Fades out, closes the sinks and ends the generator. Idempotent."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)
        for sink in self._sinks:
            sink.close()
        self._sinks = []
        self._engine.close()

    def wait(self, timeout_seconds: float) -> bool:
        """Waits for the stream to end by itself (a fatal fault); returns whether it did."""
        if self._thread is None:
            return True
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    @property
    def memory(self) -> Memory:
        """Where the scene is, at most 0.1 s ago: what a restart can go on with."""
        return self._memory

    # ---- StreamControl

    def status(self) -> dict[str, Any]:
        """A snapshot, at most 0.1 s old."""
        return self._status

    def describe(self) -> dict[str, Any]:
        """What does not change while the scene stays."""
        return self._description

    def set_param(self, name: str, value: float | None) -> None:
        """Sets a parameter, heard within the next blocks; None gives it back to the scene."""
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not number:
            raise ValueError(f"parameter {name!r} needs a finite number, not {value!r}")
        self._known("parameter", name, [p["name"] for p in self._description["params"]])
        self._commands.put(lambda: self._engine.set_param(name, None if value is None else float(value)))

    def feed(self, source: str, value: float) -> None:
        """A value from an input, such as ``weather.wind``. What no parameter reads or is not finite is ignored."""
        self._commands.put(lambda: self._engine.feed(source, float(value)))

    def feed_all(self, inputs: Inputs) -> None:
        """What inputs say at the scene time at which it is heard."""
        self._commands.put(lambda: self._engine.feed_all(inputs))

    def fire(self, event: str) -> None:
        """Fires a named event."""
        self._known("event", event, self._description["events"])
        self._commands.put(lambda: self._engine.fire(event))

    def ask(self, text: str, distance_m: float | None = None, azimuth_deg: float | None = None) -> None:
        """Has a single sound made from free text, and played once as soon as it is there."""
        self._commands.put(lambda: self._engine.ask(text, distance_m, azimuth_deg))

    def go(self, state: str, over_seconds: float | None = None) -> None:
        """Starts a transition to a state."""
        self._known("state", state, self._description["states"])
        self._commands.put(lambda: self._engine.go(state, over_seconds))

    def replace_scene(self, scene: Scene) -> None:
        """Goes on with another version of the scene, without a gap."""
        description = describe(scene)

        def replace() -> None:
            self._engine.replace_scene(scene)
            self._description = description

        self._commands.put(replace)

    def report(self, problems: Sequence[str]) -> None:
        """Says what is wrong with the scene file as it is now, while the version before it plays; nothing if none."""
        self._problems = list(problems)

    @staticmethod
    def _known(kind: str, name: str, names: Sequence[str]) -> None:
        if name not in names:
            import difflib

            near = difflib.get_close_matches(str(name), names, 1, 0.0)
            advice = f"; did you mean {near[0]!r}?" if near else "; the scene has none"
            raise ValueError(f"no {kind} is called {name!r}{advice}")

    # ---- the playout thread

    def _run(self) -> None:
        try:
            self._prime()
            base = self._clock.now_frame() - self._engine.frame
            self._started.set()
            while not self._stopping.is_set():
                self._clock.wait_until(base + self._engine.frame - LEAD_FRAMES)
                self._obey()
                if self._heard is None or self._heard():
                    self._heard_frame = self._engine.frame
                elif self._engine.frame - self._heard_frame > self._idle_frames:
                    self._rest()
                    base = self._clock.now_frame() - self._engine.frame
                self._deliver(self._engine.step())
            self._fade_out()
        except Exception:
            log.exception("stream %s ended by a fault", self._name)
            raise

    def _rest(self) -> None:
        """Waits until somebody listens again."""
        assert self._heard is not None
        since = self._clock.now_frame()
        log.info("stream %s rests: nobody listens", self._name)
        self._snapshot(playing=True, resting=True)
        while not self._stopping.is_set() and not self._heard():
            self._obey()
            self._clock.wait_until(self._clock.now_frame() + BLOCK_FRAMES)
        self._engine.skip(self._clock.now_frame() - since)
        self._heard_frame = self._engine.frame
        log.info("stream %s is heard again", self._name)

    def _prime(self) -> None:
        waited = self._clock.now_frame() + frames(PRIME_SECONDS)
        while not self._stopping.is_set():
            self._obey()
            self._engine.prime()
            self._snapshot(playing=False)
            if self._engine.primed:
                for _ in range(2 * len(self._engine.beds) + 2):  # what the cache holds beyond that comes at once
                    self._engine.prime()
                return
            if self._engine.generator.ready and self._clock.now_frame() > waited:
                log.warning("stream %s starts before all of its first clips are there", self._name)
                return
            self._clock.wait_until(self._clock.now_frame() + BLOCK_FRAMES)

    def _obey(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            try:
                command()
            except (AmbientError, ValueError) as error:
                log.warning("stream %s: %s", self._name, error)

    def _deliver(self, block: Block) -> None:
        for event in block.events:
            if self._on_event is not None:
                self._on_event(event)
        for sink in list(self._sinks):
            try:
                sink.write(block)
            except SinkError as error:
                log.error("stream %s: %s", self._name, error)
                self._engine.fault(str(error))
                self._sinks.remove(sink)
                sink.close()
        if self._engine.frame // BLOCK_FRAMES % STATUS_EVERY_BLOCKS == 0:
            self._snapshot(playing=True)
            fresh = self._engine.fault_count - self._reported
            for fault in list(self._engine.faults)[-fresh:] if fresh else ():
                log.warning("stream %s: %s", self._name, fault)
            self._reported += fresh

    def _fade_out(self) -> None:
        blocks = math.ceil(FADE_OUT_SECONDS * RATE / BLOCK_FRAMES)
        gains = np.linspace(1.0, 0.0, blocks * BLOCK_FRAMES, dtype=np.float32)
        for i in range(blocks):
            block = self._engine.step()
            ramp = gains[i * BLOCK_FRAMES : (i + 1) * BLOCK_FRAMES, None]
            self._deliver(Block(block.start_frame, block.audio * ramp, block.events, fallback=block.fallback))
        silence = np.zeros((BLOCK_FRAMES, CHANNELS), np.float32)
        self._deliver(Block(self._engine.frame, silence))

    def _snapshot(self, playing: bool, resting: bool = False) -> None:
        engine, moment = self._engine, self._engine.moment
        self._memory = engine.machine.memory()
        counts, loudness = engine.counts, engine.loudness_lufs
        speed = engine.speed()
        self._status = {
            "stream": self._name,
            "playing": playing,
            "resting": resting,
            "frame": engine.frame,
            "seconds": round(seconds(engine.frame), 2),
            "state": moment.state,
            "previous": moment.previous,
            "blend": round(moment.blend, 3),
            "params": {k: round(v, 4) for k, v in moment.params.items()},
            "held": engine.machine.held(),
            "layers": status_layers(engine),
            "seconds_ahead": round(engine.seconds_ahead(), 2),
            "speed": None if speed is None else round(speed, 2),
            "degrade_level": engine.ladder.rung.level,
            "model": engine.generator.info.name,
            "model_ready": engine.generator.ready,
            "models": engine.supplies.status(),
            "loudness_lufs": None if loudness is None or not math.isfinite(loudness) else round(loudness, 1),
            "scene_problems": self._problems,
            "counts": {
                "underruns": counts.underruns,
                "joins": counts.joins,
                "joins_repaired": counts.joins_repaired,
                "joins_failed": counts.joins_failed,
                "clips": counts.clips,
                "cached": counts.cached,
                "latents": counts.latents,
                "failures": counts.failures,
                "late": counts.late,
                "fallback_seconds": round(counts.fallback_blocks * BLOCK_FRAMES / RATE, 2),
                "restarts": sum(s.generator.restarts for s in engine.supplies),
            },
            "faults": list(engine.faults)[-10:],
        }
