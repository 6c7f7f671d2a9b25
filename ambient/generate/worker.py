"""Generators: where clips are made, seen from the engine.

:class:`ProcessGenerator` keeps a backend in a process of its own, because inference holds the interpreter for long
stretches and because a process can be killed. :class:`InProcessGenerator` runs a backend on the spot.
Neither imports torch here.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ambient.errors import BackendError, OutOfMemory
from ambient.generate.ways import PLAIN, Way
from ambient.messages import Clip, ClipFailure, ClipRequest, FailureKind, ModelInfo
from ambient.ports import Backend

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["InProcessGenerator", "ProcessGenerator"]

log = logging.getLogger("ambient.generate")

Answer = Clip | ClipFailure


class Interrupted(BaseException):
    """Ends a batch that nobody wants any more. Not an Exception, so that no backend takes it for a fault of its own."""


BackendFactory = Callable[[ModelInfo, str, int | None], Backend]


def _load(info: ModelInfo, device: str, threads: int | None, way: Way = PLAIN) -> Backend:
    from ambient.generate.loading import load_backend

    return load_backend(info, device=device, threads=threads, way=way)


class InProcessGenerator:
    """Runs a backend in this process: each batch is finished when ``submit`` returns."""

    restarts = 0

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._answers: list[Answer] = []

    @property
    def info(self) -> ModelInfo:
        """What the planner must know."""
        return self._backend.info

    @property
    def ready(self) -> bool:
        """Always: the backend was loaded before."""
        return True

    @property
    def device(self) -> str | None:
        """What the model computes on."""
        return getattr(self._backend, "device", None)

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        """Generates the batch now. ``timeout_seconds`` cannot be kept here and is ignored."""
        self._answers += _run(self._backend, batch)

    def poll(self, timeout_seconds: float = 0.0) -> list[Answer]:
        """All answers since the last call."""
        answers, self._answers = self._answers, []
        return answers

    def cancel(self, request: ClipRequest) -> None:
        """Nothing to cancel: what was submitted is done."""

    def close(self) -> None:
        """Nothing to end."""


class ProcessGenerator:
    """Keeps a backend in a worker process, which is replaced when it dies, hangs or fails to load.

    ``poll`` raises :class:`BackendError` once if the very first load fails for a reason that a new process would
    meet again (bad weights, missing files); later failures only count as restarts.
    """

    RETRY_SECONDS = (0.2, 1.0, 3.0, 10.0)
    """Waits before the next process after one, two, … failures in a row."""
    LOAD_TIMEOUT_SECONDS = 180.0
    LONGEST_STEP_SECONDS = 1.0
    """A pause of this whole program (suspend, a debugger) counts against a worker by no more than this a poll."""

    def __init__(
        self,
        info: ModelInfo,
        *,
        device: str = "auto",
        threads: int | None = None,
        way: Way = PLAIN,
        factory: BackendFactory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._info = info
        self._arguments = (info, device, threads)
        self._factory = factory or functools.partial(_load, way=way)
        self._clock = clock
        self._answers: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._waiting: list[tuple[tuple[ClipRequest, ...], float]] = []
        self._unwanted: list[ClipRequest] = []
        """Cancelled requests of the batch that is being made."""
        self._serial = 0
        """Number of that batch."""
        self._ready = False
        self._device: str | None = None
        self._closed = False
        self._ever_ready = False
        self._failures = 0
        self._restarts = 0
        self._generation = 0
        self._retry_at: float | None = None
        self._spent = 0.0
        self._polled_at = clock()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._start()

    @property
    def info(self) -> ModelInfo:
        """What the planner must know; from the checkpoint's files, before the model has loaded."""
        return self._info

    @property
    def ready(self) -> bool:
        """Whether a worker stands by with the model loaded."""
        return self._ready

    @property
    def device(self) -> str | None:
        """What the model computes on."""
        return self._device

    @property
    def restarts(self) -> int:
        """How many times a worker was replaced."""
        return self._restarts

    @property
    def pid(self) -> int | None:
        """Process number of the worker."""
        return self._process.pid if self._process else None

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        """Queues a batch; ``timeout_seconds`` count from when the worker can begin with it, and again from each
        denoising step: a large model on a small machine is slow, not dead."""
        if not batch:
            return
        if self._closed:
            raise BackendError("the generator is closed")
        self._waiting.append((tuple(batch), timeout_seconds))
        if self._ready and len(self._waiting) == 1:
            self._send()

    def poll(self, timeout_seconds: float = 0.0) -> list[Answer]:
        """Answers that have come in; also looks after the worker."""
        answers: list[Answer] = []
        self._receive(answers, timeout_seconds)
        self._watch(answers)
        return answers

    def cancel(self, request: ClipRequest) -> None:
        """Leaves a request out of batches that were not begun; one that is being made ends at its next step, once
        none of its requests is wanted."""
        begun = min(1, len(self._waiting)) if self._ready else 0
        if begun and request in self._waiting[0][0]:
            self._unwanted.append(request)
            if all(r in self._unwanted for r in self._waiting[0][0]):
                self._halted.value = self._serial
        kept = [(tuple(r for r in batch if r != request), timeout) for batch, timeout in self._waiting[begun:]]
        self._waiting[begun:] = [w for w in kept if w[0]]

    def close(self) -> None:
        """Ends the worker: asks, then kills after a second."""
        if self._closed:
            return
        self._closed = True
        if self._connection is not None:
            with contextlib.suppress(OSError, ValueError):
                self._connection.send(None)
        self._end(grace_seconds=1.0)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # Serial of the last batch that was given up. Without a lock: a killed worker could never hold one.
        self._halted = context.RawValue("q", -1)
        # Steps that it has done, as a sign of life.
        self._steps = context.RawValue("q", 0)
        self._lived = 0
        process = context.Process(
            target=_serve,
            args=(theirs, self._halted, self._steps, self._factory, self._arguments),
            name="ambient-generator",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        self._ready, self._retry_at, self._spent = False, None, 0.0
        self._generation += 1
        threading.Thread(
            target=self._listen, args=(ours, self._generation), name="ambient-generator-reader", daemon=True
        ).start()

    def _listen(self, connection: Connection, generation: int) -> None:
        # On a thread of its own, so that a worker that stops in the middle of an answer never holds the engine.
        try:
            while True:
                self._answers.put((generation, connection.recv()))
        except (EOFError, OSError):
            self._answers.put((generation, None))

    def _receive(self, answers: list[Answer], timeout_seconds: float) -> None:
        wait = timeout_seconds
        while True:
            try:
                generation, message = self._answers.get(timeout=wait) if wait > 0 else self._answers.get_nowait()
            except queue.Empty:
                return
            wait = 0.0
            if generation != self._generation:
                continue  # from a worker that was given up
            if message is None:
                self._lost(answers, "worker_died", f"the generator process ended ({self._exit_code()})")
            elif message[0] == "ready":
                self._ready, self._ever_ready, self._spent = True, True, 0.0
                self._computes_on(message[1])
                self._send()
            elif message[0] == "failed":
                self._load_failed(message[1])
            else:
                batch, _ = self._waiting.pop(0)
                self._failures, self._spent = 0, 0.0
                self._computes_on(message[2])
                found = [replace(a, request=r) for a, r in zip(message[1], batch, strict=True)]
                answers += [a for a in found if a.request not in self._unwanted]
                self._send()

    def _computes_on(self, device: str | None) -> None:
        if device is not None and device != self._device:
            log.info("%s computes on %s", self._info.name, device)
        self._device = device

    def _watch(self, answers: list[Answer]) -> None:
        now = self._clock()
        step, self._polled_at = now - self._polled_at, now
        if self._closed:
            return
        if self._retry_at is not None:
            if now >= self._retry_at:
                self._start()
            return
        if self._ready and not self._waiting:
            self._spent = 0.0
            return
        self._spent += min(step, self.LONGEST_STEP_SECONDS)
        if self._ready and (lived := self._steps.value) != self._lived:  # slow it may be, but it works
            self._lived, self._spent = lived, 0.0
        allowed = self._waiting[0][1] if self._ready else self.LOAD_TIMEOUT_SECONDS
        if self._spent > allowed:
            doing = "answer" if self._ready else "load"
            self._lost(answers, "timeout", f"the generator process did not {doing} within {allowed:.0f} s")

    def _send(self) -> None:
        self._unwanted = []
        if self._waiting and self._connection is not None:
            self._spent = 0.0
            self._serial += 1
            with contextlib.suppress(OSError):  # a dead worker is noticed by its reader
                self._connection.send((self._serial, self._waiting[0][0]))

    def _lost(self, answers: list[Answer], kind: FailureKind, message: str) -> None:
        """Gives the worker up; the batch it worked on fails, the others wait for the next worker."""
        working = self._ready and self._waiting
        self._end(grace_seconds=0.0)
        if working:
            batch, _ = self._waiting.pop(0)
            answers += [ClipFailure(request, kind, message) for request in batch if request not in self._unwanted]
        self._restarts += 1
        self._schedule_retry()

    def _load_failed(self, error: BackendError) -> None:
        self._end(grace_seconds=1.0)
        self._schedule_retry()
        if not self._ever_ready:
            raise error

    def _schedule_retry(self) -> None:
        wait = self.RETRY_SECONDS[min(self._failures, len(self.RETRY_SECONDS) - 1)]
        self._failures += 1
        self._retry_at = self._clock() + wait

    def _end(self, grace_seconds: float) -> None:
        self._ready = False
        process, connection = self._process, self._connection
        self._process = self._connection = None
        self._generation += 1
        if process is not None:
            process.join(grace_seconds)
            if process.is_alive():
                process.kill()
                process.join(5.0)
        if connection is not None:
            connection.close()

    def _exit_code(self) -> str:
        if self._process is None:
            return "unknown reason"
        self._process.join(1.0)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"


def _run(backend: Backend, batch: Sequence[ClipRequest]) -> list[Answer]:
    """Runs a batch; whatever goes wrong becomes a failure of each of its clips."""
    try:
        return list(backend.generate(batch))
    except Interrupted:
        return [ClipFailure(r, "cancelled", "it was no longer wanted") for r in batch]
    except OutOfMemory as error:
        return [ClipFailure(r, "out_of_memory", str(error)) for r in batch]
    except Exception as error:
        return [ClipFailure(r, "error", f"{type(error).__name__}: {error}") for r in batch]


def _serve(
    connection: Connection,
    halted: Any,
    steps: Any,
    factory: BackendFactory,
    arguments: tuple[ModelInfo, str, int | None],
) -> None:
    """Main loop of the worker process: ends when asked to, or when the engine's end of the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the engine ends us in order
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)  # the playout must win whenever both want the processor
    try:
        backend = factory(*arguments)
    except BackendError as error:
        connection.send(("failed", error))
        return
    except Exception as error:
        connection.send(("failed", BackendError(f"the model could not be loaded: {type(error).__name__}: {error}")))
        return
    serial = 0

    def look() -> None:
        steps.value += 1
        if halted.value >= serial:
            raise Interrupted

    backend.on_step = look
    connection.send(("ready", getattr(backend, "device", None)))
    while True:
        try:
            order = connection.recv()
        except (EOFError, OSError):
            return
        if order is None:
            return
        serial, batch = order
        answers = _run(backend, batch)
        connection.send(("answers", answers, getattr(backend, "device", None)))
