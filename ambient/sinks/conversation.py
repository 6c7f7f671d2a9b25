"""What a WebSocket client may say after connecting, and what it is answered. No sockets here."""

from __future__ import annotations

import base64
import collections
import secrets
import time
from collections.abc import Callable, Mapping

from ambient.errors import ProtocolError, Refused
from ambient.messages import CHANNELS, RATE, SceneEvent
from ambient.ports import StreamControl
from ambient.sinks.hub import Hub
from ambient.sinks.listener import Listener
from ambient.sinks.protocol import (
    VERSION,
    Close,
    Codec,
    Hello,
    Message,
    Session,
    build,
    encoder_name,
    is_number,
    read_buffer_ms,
    read_codecs,
    read_frame_ms,
)
from ambient.sinks.steering import Steering

__all__ = ["CODECS", "Conversation", "scene_message"]

CODECS = (Codec.OPUS, Codec.S16LE, Codec.F32LE, Codec.FLAC)
"""What a WebSocket stream can be sent in."""
MOST_BURST_MS = 2000
MESSAGES_PER_SECOND = 200
"""More than that is no slider any more."""


class Conversation:
    """One client's connection to one stream, from hello to goodbye.

    ``receive`` takes text frames and raises ProtocolError with the code to close with; answers go to the listener,
    in order with the sound. ``steering`` is what the client may do to the stream if it asks for role controller.
    """

    def __init__(
        self,
        control: StreamControl,
        hub: Hub,
        listener: Listener,
        steering: Steering,
        now_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._control, self._hub, self._listener = control, hub, listener
        self._steering = steering
        self._now_us = now_us
        self._session = Session(CODECS)
        self._times: collections.deque[int] = collections.deque(maxlen=MESSAGES_PER_SECOND)
        self._underruns = 0
        self.finished = False
        """Whether the client said goodbye."""

    def receive(self, text: str) -> None:
        """Acts on one text frame. Raises ProtocolError; SinkError where the encoder cannot be had."""
        arrived = self._now_us()
        if len(self._times) == MESSAGES_PER_SECOND and arrived - self._times[0] < 1_000_000:
            raise ProtocolError(Close.POLICY, f"more than {MESSAGES_PER_SECOND} messages in a second")
        self._times.append(arrived)
        message = self._session.receive(text)
        match message.type:
            case "hello":
                assert self._session.hello is not None
                self._join(self._session.hello)
            case "time":
                self._tell_time(message, arrived)
            case "ping":
                self._answer("pong", {"id": message.payload.get("id")})
            case "format":
                self._change(message)
            case "params" | "fire" | "state":
                self._steer(message)
            case "scene":
                self._answer("scene", self._control.describe())
            case "stats":
                self._note(message)
            case "goodbye":
                self.finished = True

    def _join(self, hello: Hello) -> None:
        codec = self._session.codec
        name = None if codec is None else encoder_name(codec, hello.frame_ms)
        burst = min(hello.buffer_ms, MOST_BURST_MS) if codec is not None else 0
        since = hello.resume_sample_index if hello.resume_epoch == self._hub.epoch else None
        resumed = name is not None and since is not None and self._hub.holds(name, since)
        self._steering.allowed &= hello.role == "controller"
        self._listener.codec = codec
        self._listener.eager = hello.role == "controller"
        greeting = {
            "protocol": VERSION,
            "session": secrets.token_hex(8),
            "role": "controller" if self._steering.allowed else "listener",
            "epoch": self._hub.epoch,
            **self._format(codec, name),
            "channels": CHANNELS,
            "burst_ms": 0 if resumed else burst,
            "resumed": resumed,
            "server_time_us": self._now_us(),
        }
        self._answer("hello", greeting)
        self._answer("state", self._control.status())
        self._hear(name, burst, since)

    def _change(self, message: Message) -> None:
        """Another codec from now on, or, with no codec at all, no sound."""
        names = message.payload.get("codecs", [])
        burst = min(read_buffer_ms(message.payload), MOST_BURST_MS)
        frame_ms = read_frame_ms(message.payload)
        codec = self._session.choose(read_codecs(names)) if isinstance(names, list) and names else None
        name = None if codec is None else encoder_name(codec, frame_ms)
        self._hub.leave(self._listener)
        self._listener.switch(codec)
        self._answer("format", self._format(codec, name))
        self._hear(name, burst)

    def _format(self, codec: Codec | None, name: str | None) -> dict[str, object]:
        header = b"" if name is None else self._hub.header(name)
        return {
            "codec": None if codec is None else codec.label,
            "rate": RATE,
            "frame_samples": 0 if name is None else self._hub.packet_frames(name),
            "codec_header": base64.b64encode(header).decode(),
        }

    def _hear(self, name: str | None, burst_ms: int, since: int | None = None) -> None:
        if name is None:
            self._hub.watch(self._listener)
        else:
            self._hub.join(self._listener, name, burst_ms * RATE // 1000, since)

    def _tell_time(self, message: Message, arrived_us: int) -> None:
        stamps = {"client_us": message.payload.get("client_us"), "received_us": arrived_us}
        place = {"epoch": self._hub.epoch, "sample_index": self._hub.newest_frame}
        self._answer("time", {**stamps, "sent_us": self._now_us(), **place})

    def _steer(self, message: Message) -> None:
        """What cannot be done is answered, not fatal."""
        try:
            self._steering.act(message.type, message.payload)
        except Refused as error:
            retryable = error.retry_after_seconds is not None
            self._answer("error", {"code": error.code, "message": str(error), "retryable": retryable})

    def _note(self, message: Message) -> None:
        total = message.payload.get("underruns", 0)
        if is_number(total) and total >= 0:
            self._hub.client_underruns += max(0, int(total) - self._underruns)
            self._underruns = int(total)

    def _answer(self, kind: str, payload: Mapping[str, object]) -> None:
        self._listener.push_text(build(kind, payload))


def scene_message(event: SceneEvent) -> str:
    """A scene event as a text frame; ``at_sample`` is when it happens, ``heard_at_sample`` when it is heard."""
    if event.kind == "transition":
        return build("transition", {**event.detail, "to": event.detail.get("to", event.name), "at_sample": event.frame})
    detail = {k: v for k, v in event.detail.items() if k != "heard_frame"}
    heard = event.detail.get("heard_frame", event.frame)
    payload = {**detail, "kind": event.kind, "name": event.name, "at_sample": event.frame, "heard_at_sample": heard}
    return build("event", payload)
