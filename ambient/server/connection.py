"""A listener on the transport of a request, for as long as it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import cast

from aiohttp import web

from ambient.sinks.framing import chunk
from ambient.sinks.hub import Hub
from ambient.sinks.listener import TRANSPORT_BYTES, Ended, Listener

__all__ = ["body_of", "listening"]

SOCKET_BYTES = 128 * 1024
"""Kernel's send buffer: what a client that does not read can hold on to, beside its queue."""


def body_of(request: web.Request) -> Callable[[bytes], bytes]:
    """How the bytes of an answer without end are wrapped: HTTP/1.0 knows no chunks."""
    return chunk if request.version >= (1, 1) else bytes


@contextlib.asynccontextmanager
async def listening(
    request: web.Request, hub: Hub, text: Callable[[str], bytes] | None, body: Callable[[bytes], bytes] = chunk
) -> AsyncIterator[Listener]:
    """The request's listener (see there for ``text`` and ``body``); it leaves the hub in the end.

    Raises ConnectionResetError where the client is gone.
    """
    transport = cast(asyncio.WriteTransport, request.transport)
    if transport is None:
        raise ConnectionResetError("the client is gone")
    transport.set_write_buffer_limits(high=TRANSPORT_BYTES)
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    loop = asyncio.get_running_loop()
    listener = Listener(transport, loop.time, text, epoch=hub.epoch, body=body)
    try:
        yield listener
    finally:
        listener.end(Ended.GONE)
        hub.leave(listener)
