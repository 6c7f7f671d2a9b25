"""One generator shared by several engines, each with a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ambient.messages import Clip, ClipFailure, ClipRequest, ModelInfo
from ambient.ports import Generator

__all__ = ["SharedGenerator"]


class SharedGenerator:
    """Hands out ports; each is a generator whose answers reach only its owner. Any thread may use its own port."""

    def __init__(self, inner: Generator) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._ports: list[_Port] = []

    def port(self) -> Generator:
        """A new port. The inner generator closes with the last one."""
        port = _Port(self)
        self._ports.append(port)
        return port

    def _submit(self, port: _Port, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        with self._lock:
            port.waiting.update((r.key.layer, r.seed) for r in batch)
            self._inner.submit(batch, timeout_seconds)

    def _poll(self, port: _Port, timeout_seconds: float) -> list[Clip | ClipFailure]:
        with self._lock:
            for answer in self._inner.poll(0.0 if port.answers else timeout_seconds):
                key = (answer.request.key.layer, answer.request.seed)
                owner = next((p for p in self._ports if key in p.waiting), None)
                if owner is not None:
                    owner.waiting.discard(key)
                    owner.answers.append(answer)
            answers, port.answers = port.answers, []
            return answers

    def _close(self, port: _Port) -> None:
        with self._lock:
            if port in self._ports:
                self._ports.remove(port)
            if not self._ports:
                self._inner.close()


class _Port:
    def __init__(self, shared: SharedGenerator) -> None:
        self._shared = shared
        self.waiting: set[tuple[str, int]] = set()
        self.answers: list[Clip | ClipFailure] = []

    @property
    def info(self) -> ModelInfo:
        return self._shared._inner.info

    @property
    def ready(self) -> bool:
        return self._shared._inner.ready

    @property
    def device(self) -> str | None:
        return self._shared._inner.device

    @property
    def restarts(self) -> int:
        return self._shared._inner.restarts

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        self._shared._submit(self, batch, timeout_seconds)

    def poll(self, timeout_seconds: float = 0.0) -> list[Clip | ClipFailure]:
        return self._shared._poll(self, timeout_seconds)

    def cancel(self, request: ClipRequest) -> None:
        with self._shared._lock:
            self.waiting.discard((request.key.layer, request.seed))
            self._shared._inner.cancel(request)

    def close(self) -> None:
        self._shared._close(self)
