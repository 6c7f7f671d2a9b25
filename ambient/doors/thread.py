"""A thread with an event loop, for a door that is asynchronous inside and simple outside."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

__all__ = ["DoorThread"]

log = logging.getLogger("ambient.doors")

STOP_SECONDS = 3.0


class DoorThread:
    """Runs ``work`` until it is stopped; ``work`` is cancelled then and may say goodbye.

    ``start`` and ``stop`` are called from one thread.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._name, self._work = name, work
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()

    def start(self) -> None:
        """Begins to work."""
        self._thread = threading.Thread(target=self._run, name=f"ambient-{self._name}", daemon=True)
        self._thread.start()
        self._up.wait()

    def stop(self) -> None:
        """Ends the work, within 3 s. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._task is None:
            return
        if thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        thread.join(STOP_SECONDS)

    def _run(self) -> None:
        # aiomqtt needs a loop that can watch sockets, which is not the one that Windows would choose.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            self._loop = runner.get_loop()
            try:
                runner.run(self._begin())
            except asyncio.CancelledError:
                pass
            except Exception:
                log.exception("%s has ended by a fault; the sound goes on", self._name)

    async def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._wrapped())
        self._up.set()
        await self._task

    async def _wrapped(self) -> None:
        await self._work()
