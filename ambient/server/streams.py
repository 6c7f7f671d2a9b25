"""The streams of a server by name, and how its answers in JSON look."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from ambient.ports import StreamControl
from ambient.sinks.hub import Hub

__all__ = ["Stream", "Streams", "answer", "refusal", "title_of"]


class Stream(NamedTuple):
    """A stream's control and the hub that its blocks go to."""

    control: StreamControl
    hub: Hub


class Streams(Mapping[str, Stream]):
    """All that is served, by name, in the order given."""

    def __init__(self, streams: Sequence[tuple[StreamControl, Hub]], most_listeners: int) -> None:
        self._most = most_listeners
        self.refusals: collections.Counter[str] = collections.Counter()
        """Who was not let in, by reason."""
        self._streams = {control.name: Stream(control, hub) for control, hub in streams}

    def __getitem__(self, name: str) -> Stream:
        return self._streams[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def full(self) -> bool:
        """Whether as many listen or watch as are let in."""
        return sum(hub.connected for _, hub in self._streams.values()) >= self._most

    def refused(self, reason: str) -> None:
        """Notes that somebody was not let in."""
        self.refusals[reason] += 1

    def of(self, request: web.Request) -> Stream:
        """The stream that a request's path names. Raises HTTPNotFound, which names those that there are."""
        name = request.match_info["stream"]
        if name not in self._streams:
            raise web.HTTPNotFound(text=f"no stream is called {name!r}; there are {', '.join(self._streams)}")
        return self._streams[name]


def title_of(control: StreamControl) -> str:
    """What a radio shows: the stream and the state that it is in."""
    state = str(control.status().get("state") or "").replace("_", " ")
    return f"{control.name}: {state}" if state else control.name


def answer(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer that is true now only."""
    return web.json_response(document, status=status, headers={"Cache-Control": "no-store", **(headers or {})})


def refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """What is said instead of what was asked for: a code for programs, a message for people."""
    return answer({"error": {"code": code, "message": message}}, status, headers)
