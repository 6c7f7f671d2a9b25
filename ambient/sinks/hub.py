"""One stream's way to all of its listeners: taken from the engine's thread, encoded once a codec, never waiting."""

from __future__ import annotations

import asyncio
import collections
import logging
import secrets
import threading
import time
from collections.abc import Callable

from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, RATE, Block, SceneEvent
from ambient.sinks.encoders import ENCODERS, Encoder
from ambient.sinks.framing import Sound, joined
from ambient.sinks.listener import Ended, Receiver
from ambient.sinks.protocol import Flags

__all__ = ["Hub"]

log = logging.getLogger("ambient.hub")

HISTORY_BLOCKS = 2 * RATE // BLOCK_FRAMES
"""Sound kept for those who join: 2 s."""
PENDING_BLOCKS = 5 * RATE // BLOCK_FRAMES
"""Sound that waits for a busy event loop before the oldest is given up."""

TOGETHER_FRAMES = 160 * RATE // 1000
"""Sound that goes out at once to those who take several packets together: what a listener costs is the writing."""
SAMPLE_COUNTED = ("s16le", "f32le", "opus", "flac")
"""Formats whose packets tell listeners their place on the stream's clock, whatever their length."""
PACE_BLOCKS = 5 * RATE // BLOCK_FRAMES
"""Blocks come with jitter: of so many, the earliest tells how the stream's clock goes."""


class Hub:
    """A Sink that fans out. ``write`` and ``close`` are the engine's, everything else belongs to the event loop."""

    def __init__(self, name: str = "", now: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.epoch = secrets.randbits(32)
        self._now = now
        self._lock = threading.Lock()
        self._pending: collections.deque[Block] = collections.deque(maxlen=PENDING_BLOCKS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._called = False
        self._history: collections.deque[Block] = collections.deque(maxlen=HISTORY_BLOCKS)
        self._feeds: dict[str, _Feed] = {}
        self._watchers: dict[Receiver, None] = {}
        self._heard_at: float | None = None
        self._paces: collections.deque[float] = collections.deque(maxlen=PACE_BLOCKS)
        self.on_event: Callable[[SceneEvent], None] | None = None
        """Called on the event loop for every scene event, in the block in which it falls."""
        self.blocks = 0
        self.encoder_restarts = 0
        self.most_listeners: dict[str, int] = {}
        """How many heard it at once, at most, in each format."""
        self._dropped_before = 0
        self.client_underruns = 0
        """Times that listeners' buffers ran empty, as far as they say."""

    # ---- the engine's side

    def write(self, block: Block) -> None:
        """Hands the block over. Takes microseconds whatever the listeners do."""
        with self._lock:
            self._pending.append(block)
            loop, call = self._loop, not self._called
            self._called = self._called or loop is not None
        if loop is not None and call:
            try:
                loop.call_soon_threadsafe(self._take_in)
            except RuntimeError:  # the server has stopped; the stream has not noticed yet
                self.detach()

    def close(self) -> None:
        """Nothing to flush: live listeners are ended by the server. Idempotent."""

    # ---- the server's side

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Blocks go to that loop from now on. Any thread."""
        with self._lock:
            self._loop = loop
            self._called = bool(self._pending)
        if self._called:
            loop.call_soon_threadsafe(self._take_in)

    def detach(self) -> None:
        """Blocks go nowhere, until another loop is attached. Any thread."""
        with self._lock:
            self._loop, self._called = None, False

    @property
    def seconds_since_sound(self) -> float | None:
        """Age of the newest block; None before the first."""
        return None if self._heard_at is None else self._now() - self._heard_at

    @property
    def listeners(self) -> int:
        """How many hear the stream."""
        return sum(len(f.listeners) for f in self._feeds.values())

    @property
    def listeners_of(self) -> dict[str, int]:
        """How many hear it in each format now."""
        return {name: len(feed.listeners) for name, feed in self._feeds.items()}

    @property
    def connected(self) -> int:
        """How many hear the stream or watch it."""
        return self.listeners + len(self._watchers)

    @property
    def dropped_frames(self) -> int:
        """Frames that listeners missed, those who have left included."""
        return self._dropped_before + sum(feed.dropped_frames for feed in self._feeds.values())

    @property
    def newest_frame(self) -> int | None:
        """The stream's clock: the frame that is newest just now, free of the jitter of blocks; None without sound."""
        return round(max(self._paces) + self._now() * RATE) if self._paces else None

    def header(self, format_name: str) -> bytes:
        """What a decoder of that format needs first. Starts the encoder if need be. Raises SinkError."""
        return self._feed(format_name).header

    def packet_frames(self, format_name: str) -> int:
        """Frames in a packet of that format. Starts the encoder if need be. Raises SinkError."""
        return self._feed(format_name).packet_frames

    def holds(self, format_name: str, frame: int) -> bool:
        """Whether a listener can go on at that frame without a gap. Starts the encoder if need be. Raises SinkError."""
        recent = self._feed(format_name).recent
        return bool(recent) and recent[0].packet.start_frame <= frame <= recent[-1].packet.end_frame

    def join(
        self,
        listener: Receiver,
        format_name: str,
        burst_frames: int,
        since: int | None = None,
        *,
        together: bool = False,
    ) -> int:
        """Adds a listener and sends it the most recent sound, from ``since`` on where that is still known.

        ``together``: packets come about six times a second, several in one, for formats that are a stream of bytes.
        Returns the frames of that burst. Raises SinkError when the encoder cannot be had.
        """
        feed = self._feed(format_name)
        recent = list(feed.recent)
        if together:
            recent = recent[: len(recent) - len(feed.waiting)]
        if since is not None and self.holds(format_name, since):
            burst = [s for s in recent if s.packet.end_frame > since]
        else:
            burst, held = [], 0
            for sound in reversed(recent):
                if held >= burst_frames:
                    break
                burst.append(sound.past)
                held += sound.packet.frames
            burst.reverse()
        feed.add(listener, together)
        self.most_listeners[format_name] = max(len(feed.listeners), self.most_listeners.get(format_name, 0))
        listener.push_all(burst)
        return sum(s.packet.frames for s in burst)

    def leave(self, listener: Receiver) -> None:
        """Removes a listener; an encoder that nobody listens to is dropped. Idempotent."""
        for feed in self._feeds.values():
            self._dropped_before += feed.remove(listener)
        self._watchers.pop(listener, None)
        self._drop_idle()

    def watch(self, listener: Receiver) -> None:
        """Adds a WebSocket listener that gets messages only."""
        self._watchers[listener] = None

    def tell(self, text: str, eager: bool | None = None) -> None:
        """Sends a text to those who take texts (only the eager, or only the others), in order with the sound."""
        for listener in self._everybody():
            if eager in (None, listener.eager):
                listener.push_text(text)

    def pump(self) -> None:
        """Looks after listeners while no sound comes: call about once a second."""
        for listener in self._everybody():
            listener.pump()

    def end(self) -> None:
        """Lets all listeners go."""
        for listener in self._everybody():
            listener.end(Ended.GONE)

    # ---- on the event loop

    def _everybody(self) -> list[Receiver]:
        return [one for feed in self._feeds.values() for one in feed.listeners] + list(self._watchers)

    def _drop_idle(self) -> None:
        for name in [n for n, feed in self._feeds.items() if not feed.listeners]:
            del self._feeds[name]

    def _feed(self, name: str) -> _Feed:
        if name not in self._feeds:
            feed = _Feed(name, self._history[0].start_frame if self._history else 0)
            for block in self._history:
                feed.take(block)
            self._feeds[name] = feed
        return self._feeds[name]

    def _take_in(self) -> None:
        with self._lock:
            blocks = list(self._pending)
            self._pending.clear()
            self._called = False
        for block in blocks:
            self._take(block)

    def _take(self, block: Block) -> None:
        self.blocks += 1
        self._heard_at = self._now()
        self._paces.append(block.start_frame + len(block.audio) - self._heard_at * RATE)
        last = self._history[-1] if self._history else None
        jumped = last is not None and block.start_frame != last.start_frame + len(last.audio)
        if jumped:
            # Samples are missing: what was kept does not lead up to this block any more, nor do the encoders.
            self._history.clear()
            while len(self._paces) > 1:
                self._paces.popleft()
            block = Block(block.start_frame, block.audio, block.events, True, block.fallback)
        self._history.append(block)
        for event in block.events:
            if self.on_event is not None:
                self.on_event(event)
        for name, feed in list(self._feeds.items()):
            try:
                if jumped or last is None:
                    feed.jump(block.start_frame)
                feed.take(block)
            except SinkError as error:
                self._rebuild(name, feed, block, error)

    def _rebuild(self, name: str, feed: _Feed, block: Block, error: SinkError) -> None:
        """An encoder that raises is replaced; its listeners see a gap."""
        log.error("stream %s: %s; the encoder is started again", self.name, error)
        self.encoder_restarts += 1
        whole = not feed.contained
        try:
            feed.restart(block.start_frame + len(block.audio))
            feed.mark(Flags.DISCONTINUITY)
        except SinkError as again:
            log.error("stream %s: %s; its listeners are let go", self.name, again)
            whole = False
        if not whole:
            del self._feeds[name]
            self._dropped_before += feed.dropped_frames
            for listener in list(feed.listeners):
                listener.end(Ended.GONE)


class _Feed:
    """One encoder, its latest packets, and those who listen to it."""

    def __init__(self, name: str, start_frame: int) -> None:
        self._name = name
        self._encoder: Encoder = ENCODERS[name](start_frame)
        self._marks = Flags.NONE
        self._kept_frames = 0
        self.recent: collections.deque[Sound] = collections.deque()
        self.listeners: dict[Receiver, int] = {}
        """With the frames that each had missed before it came here."""
        self._singly: dict[Receiver, None] = {}
        self._together: dict[Receiver, None] = {}
        self.waiting: list[Sound] = []
        """Packets that wait for others, to go out together."""

    @property
    def dropped_frames(self) -> int:
        """Frames that those who listen have missed here."""
        return sum(listener.dropped_frames - before for listener, before in self.listeners.items())

    @property
    def header(self) -> bytes:
        return self._encoder.header

    @property
    def packet_frames(self) -> int:
        return self._encoder.packet_frames

    @property
    def contained(self) -> bool:
        """Whether packets mean nothing without the very header that came before them."""
        return self._name == "ogg"

    def add(self, listener: Receiver, together: bool) -> None:
        """One more listens, to packets one by one or to several together."""
        self.listeners[listener] = listener.dropped_frames
        (self._together if together else self._singly)[listener] = None

    def remove(self, listener: Receiver) -> int:
        """That one listens no more. The frames that it has missed here. Idempotent."""
        before = self.listeners.pop(listener, None)
        if before is None:
            return 0
        self._singly.pop(listener, None)
        self._together.pop(listener, None)
        if not self._together:
            self.waiting.clear()
        return listener.dropped_frames - before

    def jump(self, start_frame: int) -> None:
        """The stream's clock is elsewhere now. A format that counts no samples simply goes on."""
        if self._name.partition("/")[0] in SAMPLE_COUNTED:
            self.restart(start_frame)

    def restart(self, start_frame: int) -> None:
        """A new encoder from that frame on. Raises SinkError."""
        self._hand_out()
        self._encoder = ENCODERS[self._name](start_frame)
        self.recent.clear()
        self._kept_frames = 0

    def mark(self, flags: Flags) -> None:
        """The next packet will say so."""
        self._marks |= flags

    def take(self, block: Block) -> None:
        """Encodes and hands out. Raises SinkError."""
        if block.discontinuity:
            self.mark(Flags.DISCONTINUITY)
        if block.fallback:
            self.mark(Flags.FALLBACK)
        for packet in self._encoder.encode(block.audio):
            sound = Sound(packet, self._marks)
            self._marks = Flags.NONE
            self.recent.append(sound)
            self._kept_frames += packet.frames
            while self._kept_frames - self.recent[0].packet.frames > HISTORY_BLOCKS * BLOCK_FRAMES:
                self._kept_frames -= self.recent.popleft().packet.frames
            for listener in self._singly:  # nobody joins or leaves meanwhile: whoever ends is let go later
                listener.push(sound)
            if self._together:
                self.waiting.append(sound)
                if sum(s.packet.frames for s in self.waiting) + packet.frames > TOGETHER_FRAMES:
                    self._hand_out()

    def _hand_out(self) -> None:
        """What waits goes out."""
        if self.waiting:
            sound = joined(self.waiting)
            self.waiting = []
            for listener in self._together:
                listener.push(sound)
