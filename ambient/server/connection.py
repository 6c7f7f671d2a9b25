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
from ambient.sinks.reading import Reading, peer_of

__all__ = ["body_of", "listening"]

SOCKET_BYTES = 128 * 1024
"""Kernel's send buffer, for lines with a long way."""
UNSENT_BYTES = 32 * 1024
"""What the kernel takes beyond that which is on its way: the rest waits in the queue, whose oldest can be dropped."""


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
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux, macOS
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    loop = asyncio.get_running_loop()
    reading = Reading(lambda: peer_of(sock), loop.time)
    listener = Listener(transport, loop.time, text, epoch=hub.epoch, body=body, reading=reading)
    try:
        yield listener
    finally:
        listener.end(Ended.GONE)
        hub.leave(listener)
