"""Pushes a stream to an Icecast server, and connects again for ever."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import random
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from ambient.errors import SinkError
from ambient.sinks.hub import Hub
from ambient.sinks.listener import Listener

__all__ = ["IcecastPush", "PushTarget"]

log = logging.getLogger("ambient.icecast")

FORMATS = {
    "mp3": ("mp3", "audio/mpeg"),
    "aac": ("aac", "audio/aac"),
    "ogg": ("ogg", "audio/ogg"),
    "opus": ("ogg", "audio/ogg"),
}
"""By ending of the mount: the encoder, and the media type."""
TITLED = ("mp3", "aac")
"""Encoders without a place for titles in the sound: Icecast is told them apart."""
ANSWER_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
TITLE_SECONDS = 2.0
BURST_FRAMES = 48_000


@dataclass(frozen=True, slots=True)
class PushTarget:
    """Where a stream goes: ``icecast://user:password@host:port/mount.ogg``; ``icecasts`` with TLS."""

    stream: str | None
    """None: the server's first."""
    host: str
    port: int
    mount: str
    tls: bool
    user: str
    password: str = field(repr=False)

    @staticmethod
    def read(text: str, environment: Mapping[str, str] = os.environ) -> PushTarget:
        """``[STREAM=]URL``; a password that the URL leaves out comes from ``AMBIENT_ICECAST_PASSWORD``.

        Raises ValueError, which never quotes the password.
        """
        name, equals, url = text.partition("=")
        if not equals or "://" in name:
            name, url = "", text
        parts = urllib.parse.urlsplit(url)
        ending = parts.path.rpartition(".")[2]
        if parts.scheme not in ("icecast", "icecasts") or not parts.hostname:
            raise ValueError("this is no address such as icecast://source@radio.example:8000/forest.ogg")
        if ending not in FORMATS or parts.query:
            raise ValueError(f"the mount {parts.path!r} does not end in one of {', '.join(f'.{e}' for e in FORMATS)}")
        password = urllib.parse.unquote(parts.password or "") or environment.get("AMBIENT_ICECAST_PASSWORD", "")
        if not password:
            raise ValueError("there is no password: put it into AMBIENT_ICECAST_PASSWORD")
        try:
            port = parts.port or 8000
        except ValueError:
            raise ValueError("the port is no number from 1 to 65535") from None
        user = urllib.parse.unquote(parts.username or "source")
        return PushTarget(name or None, parts.hostname, port, parts.path, parts.scheme == "icecasts", user, password)

    @property
    def encoder(self) -> str:
        """The encoder's name."""
        return FORMATS[self.mount.rpartition(".")[2]][0]

    @property
    def authorization(self) -> str:
        """Header for both requests."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}{self.mount}"


class IcecastPush:
    """One stream's way to one mount. ``title`` is what radios show, asked for again and again."""

    def __init__(self, target: PushTarget, hub: Hub, title: Callable[[], str]) -> None:
        self.target = target
        self._hub, self._title = hub, title
        self.connected = False
        self.connects = 0

    async def run(self) -> None:
        """Pushes until it is cancelled. What goes wrong is logged and tried again, later and later, up to a minute."""
        attempt = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._push()
                why = "the connection ended"
            except (OSError, SinkError, TimeoutError, asyncio.IncompleteReadError) as error:
                why = str(error) or type(error).__name__
            finally:
                self.connected = False
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                attempt = 0
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.7, 1.3)
            attempt = min(attempt + 1, 10)
            log.warning("push to %s: %s; connecting again in %.1f s", self.target, why, pause)
            await asyncio.sleep(pause)

    async def _push(self) -> None:
        context = ssl.create_default_context() if self.target.tls else None
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(self.target.host, self.target.port, ssl=context)
        try:
            writer.write(self._request())
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._accepted(reader)
            self.connected = True
            self.connects += 1
            log.info("stream %s is pushed to %s", self._hub.name, self.target)
            await self._feed(reader, writer)
        finally:
            writer.transport.abort()

    def _request(self) -> bytes:
        target = self.target
        lines = [
            f"PUT {urllib.parse.quote(target.mount)} HTTP/1.1",
            f"Host: {target.host}:{target.port}",
            f"Authorization: {target.authorization}",
            "User-Agent: Ambient",
            f"Content-Type: {FORMATS[target.mount.rpartition('.')[2]][1]}",
            f"Ice-Name: {self._hub.name}",
            "Ice-Public: 0",
            "Ice-Audio-Info: samplerate=48000;channels=2",
            "Expect: 100-continue",
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def _accepted(self, reader: asyncio.StreamReader) -> None:
        """Reads the answer's head. Raises SinkError where the server refuses."""
        status = (await reader.readline()).decode(errors="replace").strip()
        while (await reader.readline()).strip():
            pass
        code = [*status.split(), "", ""][1]
        if code == "401":
            raise SinkError("it refuses the user or the password (401)")
        if code not in ("100", "200"):
            raise SinkError(f"it refuses the stream: {status or 'no answer'}; is the mount in use by another source?")

    async def _feed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Sends sound until either side ends."""
        loop = asyncio.get_running_loop()
        listener = Listener(writer.transport, loop.time, None, body=bytes)
        listener.push_bytes(self._hub.header(self.target.encoder))
        self._hub.join(listener, self.target.encoder, BURST_FRAMES, together=True)
        closed = asyncio.create_task(self._until_closed(reader))
        helpers = [closed]
        if self.target.encoder in TITLED:
            helpers.append(asyncio.create_task(self._tell_titles()))
        ends: list[asyncio.Future[Any]] = [listener.ended, closed]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(listener)
            for helper in helpers:
                helper.cancel()

    async def _until_closed(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(4096):
                pass

    async def _tell_titles(self) -> None:
        target = self.target
        url = f"http{'s' if target.tls else ''}://{target.host}:{target.port}/admin/metadata"
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        told = None
        async with aiohttp.ClientSession(headers={"Authorization": target.authorization}, timeout=timeout) as session:
            while True:
                if (title := self._title()) != told:
                    query = {"mount": target.mount, "mode": "updinfo", "song": title, "charset": "UTF-8"}
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        async with session.get(url, params=query):
                            told = title
                await asyncio.sleep(TITLE_SECONDS)
