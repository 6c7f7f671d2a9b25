"""The sound card: blocks go through a ring buffer to PortAudio's callback."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, CHANNELS, RATE, Block, frames
from ambient.sound.ring import RingBuffer

__all__ = ["SoundCard", "Trimmable", "list_devices"]

log = logging.getLogger("ambient.soundcard")

RING_FRAMES = frames(1.0)
TARGET_FRAMES = frames(0.08)
"""Sound that waits in the ring, on average: what the card may ask for at once, and one hiccup of the engine."""
RETRY_SECONDS = 3.0
DRAIN_SECONDS = 0.3
STALL_SECONDS = 2.0
"""A card that asks for nothing for so long is lost."""


class Trimmable(Protocol):
    """A clock whose rate can follow a device."""

    def trim(self, parts_per_million: float) -> None:
        """Runs faster (positive) or slower by that much."""
        ...


class SoundCard:
    """A Sink that plays. ``open``, ``write``, ``follow`` and ``close`` from one thread.

    A card that is lost while playing is reported once and tried again every few seconds; blocks are let go until
    then. ``module`` stands in for sounddevice in tests.
    """

    def __init__(
        self,
        device: str | int | None = None,
        module: Any = None,
        now: Callable[[], float] = time.monotonic,
        background: bool = True,
    ) -> None:
        self._device = device
        self._module = module
        self._now = now
        self._background = background
        self._stream: Any = None
        self._ring = RingBuffer(RING_FRAMES)
        self._primed = False
        self._clock: Trimmable | None = None
        self._servo = _Servo()
        self._asked_at = now()
        self._retry_at: float | None = None
        self._retrying: threading.Thread | None = None
        self._closed = False
        self.frames_played = 0
        """Frames that the card took, silence for missing ones not counted."""
        self.underruns = 0
        self.overruns = 0
        self.losses = 0

    def follow(self, clock: Trimmable) -> None:
        """From now on that clock is trimmed to the card's crystal."""
        self._clock = clock

    def open(self) -> None:
        """Opens the card. Raises SinkError where there is none. Idempotent."""
        if self._stream is not None:
            return
        device = self._module = self._module or _sounddevice()
        try:
            stream = device.OutputStream(
                samplerate=RATE,
                blocksize=BLOCK_FRAMES,
                device=self._device,
                channels=CHANNELS,
                dtype="float32",
                latency="high",
                callback=self._callback,
            )
            stream.start()
        except (device.PortAudioError, ValueError, OSError) as error:
            raise SinkError(_no_card(self._device, error)) from error
        self._asked_at = self._now()
        self._stream = stream

    def write(self, block: Block) -> None:
        """Hands a block to the card; returns at once. Opens the card at the first call. Raises SinkError then only."""
        if self._closed:
            return
        if self._stream is None and self._retry_at is None:
            self.open()
        if self._lost():
            self._retry()
            return
        if not self._ring.write(block.audio):
            self.overruns += 1
        if self._clock is not None and self._primed:
            self._clock.trim(self._servo.update(self._ring.fill))

    def close(self) -> None:
        """Plays out what the card holds and lets it go. Idempotent."""
        self._closed = True
        if self._retrying is not None:
            self._retrying.join(RETRY_SECONDS)
        stream, self._stream = self._stream, None
        if stream is None:
            return
        until = self._now() + DRAIN_SECONDS
        while self._ring.fill and stream.active and self._now() < until:
            time.sleep(0.01)
        _release(stream)

    # ---- on PortAudio's thread

    def _callback(self, out: Any, length: int, _time: Any, _status: Any) -> None:
        self._asked_at = self._now()
        if not self._primed:
            if self._ring.fill < TARGET_FRAMES:
                out.fill(0)
                return
            self._primed = True
        audio, missing = self._ring.read(length)
        out[:] = audio
        self.frames_played += length - missing
        if missing:
            self.underruns += 1
            self._primed = False

    # ---- a card that goes away

    def _lost(self) -> bool:
        if self._retry_at is not None:
            return True
        stalled = self._now() - self._asked_at > STALL_SECONDS
        if self._stream.active and not stalled:
            return False
        self.losses += 1
        log.warning("the sound card is gone; the stream goes on, and the card is tried again every few seconds")
        stream, self._stream = self._stream, None
        self._retry_at = self._now() + RETRY_SECONDS
        self._later(lambda: _release(stream))
        return True

    def _retry(self) -> None:
        assert self._retry_at is not None
        if self._now() < self._retry_at or (self._retrying is not None and self._retrying.is_alive()):
            return
        self._retry_at = self._now() + RETRY_SECONDS
        self._later(self._reopen)

    def _later(self, work: Callable[[], None]) -> None:
        """Opening and closing a device can take seconds, which the engine's thread does not have."""
        if not self._background:
            work()
            return
        self._retrying = threading.Thread(target=work, name="ambient-soundcard", daemon=True)
        self._retrying.start()

    def _reopen(self) -> None:
        try:
            _rescan(self._module)
            self._ring = RingBuffer(RING_FRAMES)
            self._primed = False
            self.open()
        except SinkError:
            return
        self._retry_at = None
        log.info("the sound card is back")


class _Servo:
    """Keeps the ring's fill at its target by trimming the clock: proportional and integral, over about a minute."""

    def __init__(self) -> None:
        self._smooth = float(TARGET_FRAMES)
        self._held = 0.0

    def update(self, fill: int) -> float:
        """Parts per million to run faster by, after each block."""
        self._smooth += 0.02 * (fill - self._smooth)
        missing = TARGET_FRAMES - self._smooth
        self._held = max(-1000.0, min(1000.0, self._held + 1e-4 * missing))
        return float(np.clip(0.5 * missing + self._held, -2000.0, 2000.0))


def list_devices() -> list[dict[str, Any]]:
    """The output devices: ``{index, name, channels, rate, default}``. Raises SinkError without PortAudio."""
    module = _sounddevice()
    try:
        default = module.default.device[1]
        return [
            {
                "index": int(d["index"]),
                "name": str(d["name"]),
                "channels": int(d["max_output_channels"]),
                "rate": int(d["default_samplerate"]),
                "default": d["index"] == default,
            }
            for d in module.query_devices()
            if d["max_output_channels"] > 0
        ]
    except module.PortAudioError as error:
        raise SinkError(f"sound devices cannot be listed: {error}") from error


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the wheel is there, the PortAudio library is not
        raise SinkError(
            f"no sound card can be used: {error}. Install PortAudio (Debian: libportaudio2), "
            "or use --no-sound-card and listen on the page"
        ) from error
    return sounddevice  # type: ignore[no-any-return]  # it ships no types


def _rescan(module: Any) -> None:
    """PortAudio lists devices once, when it is initialised; a card that comes back is seen by the next time only."""
    try:
        module._terminate()
        module._initialize()
    except module.PortAudioError as error:
        raise SinkError(f"PortAudio cannot be started again: {error}") from error


def _release(stream: Any) -> None:
    try:
        stream.close()
    except Exception as error:  # whatever the driver says of a device that is gone, it is gone
        log.debug("closing the sound card: %s", error)


def _no_card(device: str | int | None, error: BaseException) -> str:
    which = "no sound card" if device is None else f"no sound device {device!r}"
    return (
        f"{which} can be opened: {error}. List the devices with 'ambient devices' and choose one with "
        "--sound-device, or use --no-sound-card and listen on the page"
    )
