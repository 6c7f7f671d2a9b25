"""``ambient play --replay``: a recorded session on the sound card, made a few seconds ahead."""

from __future__ import annotations

import argparse
import contextlib
import queue
import sys
import threading
from typing import Protocol

from ambient.commands.generators import Generators
from ambient.engine.clocks import RealClock
from ambient.engine.replay import Replay
from ambient.errors import AmbientError, ReplayError
from ambient.generate.worker import ProcessGenerator
from ambient.messages import BLOCK_FRAMES, RATE, Block, frames
from ambient.ports import Generator
from ambient.sinks.soundcard import SoundCard

__all__ = ["play_again"]

AHEAD_BLOCKS = frames(10.0) // BLOCK_FRAMES
LEAD_FRAMES = frames(0.06)


class Ending(Protocol):
    """Whether the end was asked for, while it is entered."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self, timeout_seconds: float) -> bool:
        """Whether the end was asked for, after waiting at most that long for it."""
        ...


class _Ahead:
    """Makes the session's blocks on a thread of its own, as far ahead as :data:`AHEAD_BLOCKS`."""

    def __init__(self, replay: Replay, generator: Generator, generators: Generators) -> None:
        self._replay = replay
        self._generator = generator
        self._generators = generators
        self._made: queue.Queue[Block | AmbientError | None] = queue.Queue(AHEAD_BLOCKS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ambient-replay", daemon=True)
        self._thread.start()

    def next(self, timeout_seconds: float) -> Block | None:
        """The next block; None at the end. Raises queue.Empty after the timeout, AmbientError for a fault."""
        found = self._made.get(timeout=timeout_seconds)
        if isinstance(found, AmbientError):
            raise found
        return found

    @property
    def blocks(self) -> int:
        """How many are ready."""
        return self._made.qsize()

    @property
    def done(self) -> bool:
        """Whether all have been made."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopping.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            self._replay.engine(self._generator, self._generators.find)
            for _ in range(self._replay.length_frames // BLOCK_FRAMES):
                if self._stopping.is_set():
                    return
                self._put(self._replay.step())
            self._put(None)
        except AmbientError as error:
            self._put(error)

    def _put(self, made: Block | AmbientError | None) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._made.put(made, timeout=0.2)
                return


def play_again(given: argparse.Namespace, card: SoundCard | None, ending: Ending) -> int:
    """Plays a recorded session until it ends or is interrupted."""
    if given.scene is not None or given.record is not None:
        raise ReplayError("--replay: the session has its own scene; leave out SCENE and --record")
    assert card is not None
    replay = Replay(given.replay)
    generators = Generators(lambda info: ProcessGenerator(info, device=given.device, threads=given.threads))
    ahead = _Ahead(replay, generators.find(given.model or replay.model["name"]), generators)
    try:
        with ending:
            while not ahead.done and ahead.blocks < AHEAD_BLOCKS // 2:
                if ending.wait(0.1):
                    return 0
            clock, played = RealClock(), 0
            card.follow(clock)
            while not ending.wait(0.0):
                try:
                    block = ahead.next(0.2)
                except queue.Empty:
                    continue
                if block is None:
                    break
                clock.wait_until(played - LEAD_FRAMES)
                card.write(block)
                played += BLOCK_FRAMES
                if not given.quiet and sys.stderr.isatty() and played % (RATE // 2) == 0:
                    told = f"{played / RATE:.0f} s of {replay.length_frames / RATE:.0f}"
                    print(f"\r\x1b[K{told}", end="", file=sys.stderr, flush=True)
        return 0
    finally:
        ahead.stop()
        generators.close()
        card.close()
