"""``ambient listen``: a running server's stream, on the sound card or into a file."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import pathlib
import signal
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable

import numpy as np

from ambient.client import Codec, Event, Flags, Frame, Item, Refusal, Stream, Transition, connect
from ambient.commands.ask import ask
from ambient.engine.clocks import RealClock
from ambient.errors import AmbientError
from ambient.messages import BLOCK_FRAMES, Audio, Block, frames
from ambient.sinks.file import FileSink, open_file_sink
from ambient.sinks.jitter import JitterBuffer
from ambient.sinks.soundcard import SoundCard
from ambient.sound.crossfade import crossfade

__all__ = ["run"]

EDGE_FRAMES = 480
"""10 ms: the crossfade where sound is missing."""
MOST_FRAMES = 1 << 50


def run(given: argparse.Namespace) -> int:
    """Listens until it has heard enough or is interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service that is stopped ends its file too
    token = given.token or os.environ.get("AMBIENT_TOKEN")
    url = stream_url(given.url, token)
    near = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    afar = Codec.OPUS if given.out is None else Codec.FLAC
    first = Codec[given.codec.upper()] if given.codec else Codec.S16LE if near else afar
    stream = connect(url, [first, Codec.S16LE], token=token)
    length = MOST_FRAMES if given.seconds is None else frames(given.seconds)
    if given.out is not None:
        return _record(stream, given.out, length)
    return _play(stream, given.sound_device, length)


def _record(stream: Stream, path: pathlib.Path, length: int) -> int:
    sink = open_file_sink(path, None)
    length = min(length, sink.frames_left)

    def write(audio: Audio) -> None:
        sink.write(Block(0, audio))

    try:
        asyncio.run(_listen(stream, write, length))
    except KeyboardInterrupt:
        _close(sink, path)  # what was heard so far is what was wanted
        return 0
    except AmbientError:
        with contextlib.suppress(AmbientError):
            sink.close()
        raise
    except BaseException:
        sink.abort()
        raise
    _close(sink, path)
    return 0


def _close(sink: FileSink, path: pathlib.Path) -> None:
    sink.close()
    print(f"written: {path}", file=sys.stderr)


def _play(stream: Stream, device: str | None, length: int) -> int:
    card = SoundCard(int(device) if device is not None and device.isdecimal() else device)
    card.open()
    buffer, ending = JitterBuffer(), threading.Event()
    player = threading.Thread(target=_feed, args=(card, buffer, ending), name="ambient-player", daemon=True)
    player.start()
    try:
        asyncio.run(_listen(stream, buffer.put, length))
        while buffer.fill >= BLOCK_FRAMES and not ending.wait(0.02):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        ending.set()
        player.join()
        card.close()
    return 0


def _feed(card: SoundCard, buffer: JitterBuffer, ending: threading.Event) -> None:
    """Plays by the card's clock."""
    clock = RealClock()
    card.follow(clock)
    frame = clock.now_frame()
    while not ending.is_set():
        clock.wait_until(frame)
        card.write(Block(frame, buffer.take()))
        frame += BLOCK_FRAMES


async def _listen(stream: Stream, hear: Callable[[Audio], object], length: int) -> None:
    """Hands on ``length`` frames of sound, crossfaded where some are missing, and tells what happens."""
    left, held = length, np.zeros((0, 2), np.float32)
    try:
        async with stream:
            async for item in stream.items():
                if not isinstance(item, Frame):
                    _tell(item)
                    continue
                audio = stream.decode(item)
                if item.flags & Flags.DISCONTINUITY and len(held):
                    edge = min(EDGE_FRAMES, len(held), len(audio))
                    audio = np.concatenate([crossfade(held[-edge:], audio[:edge]), audio[edge:]])
                    held = held[:-edge]
                hear(held)
                left -= len(held)
                held = audio[:left]
                if len(held) == left:
                    return
    except OSError as error:
        raise AmbientError(f"nothing answers there ({error}); is `ambient serve` running?") from error
    finally:
        hear(held)


def _tell(item: Item) -> None:
    now = time.strftime("%H:%M:%S")
    match item:
        case Transition():
            why = f" ({item.why})" if item.why else ""
            print(f"{now} {item.origin or '…'} → {item.to}{why}", file=sys.stderr)
        case Event(kind="event"):
            print(f"{now} {item.name}", file=sys.stderr)
        case Refusal():
            print(f"{now} refused: {item.message}", file=sys.stderr)


def stream_url(given: str, token: str | None = None) -> str:
    """The WebSocket of what a person may write: that address itself, the page's (``#NAME`` chooses), or a stream's
    under ``/listen/``. Without a name it is the server's first stream. Raises AmbientError."""
    parts = urllib.parse.urlsplit(given if "://" in given else f"http://{given}")
    if parts.scheme in ("ws", "wss"):
        return given
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise AmbientError(f"{given!r} is no address of a server; write http://HOST:8765/ or http://HOST:8765/#STREAM")
    base = f"{parts.scheme}://{parts.netloc}"
    name = urllib.parse.unquote(parts.fragment)
    if parts.path.startswith("/listen/"):
        name = pathlib.PurePosixPath(urllib.parse.unquote(parts.path)).stem
    names = [str(row["name"]) for row in ask(f"{base}/api/v1/streams", token)["streams"]]
    if not names:
        raise AmbientError(f"{base} serves no stream")
    if name and name not in names:
        raise AmbientError(f"{base} has no stream {name!r}; there are {', '.join(names)}")
    scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{scheme}://{parts.netloc}/ws/v1/{urllib.parse.quote(name or names[0])}"
