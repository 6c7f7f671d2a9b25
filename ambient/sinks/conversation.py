"""What a WebSocket client may say after connecting, and what it is answered. No sockets here."""

from __future__ import annotations

import base64
import collections
import secrets
import time
from collections.abc import Callable

from ambient.errors import ProtocolError
from ambient.messages import RATE, SceneEvent
from ambient.ports import StreamControl
from ambient.sinks.hub import Hub
from ambient.sinks.listener import Listener
from ambient.sinks.protocol import (
    Close,
    Codec,
    Message,
    Session,
    build,
    read_buffer_ms,
    read_codecs,
    read_name,
    read_params,
)

__all__ = ["CODECS", "Conversation", "scene_message"]

CODECS = (Codec.OPUS, Codec.S16LE, Codec.F32LE)
"""What a WebSocket stream can be sent in."""
MOST_BURST_MS = 2000
MESSAGES_PER_SECOND = 200
"""More than that is no slider any more."""


class Conversation:
    """One client's connection to one stream, from hello to goodbye.

    ``receive`` takes text frames and raises ProtocolError with the code to close with; answers go to the listener,
    in order with the sound.
    """

    def __init__(
        self,
        control: StreamControl,
        hub: Hub,
        listener: Listener,
        now_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._control, self._hub, self._listener = control, hub, listener
        self._now_us = now_us
        self._session = Session(CODECS)
        self._times: collections.deque[int] = collections.deque(maxlen=MESSAGES_PER_SECOND)
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
                self._join()
            case "time":
                stamps = {"client_us": message.payload.get("client_us"), "received_us": arrived}
                self._answer("time", {**stamps, "sent_us": self._now_us()})
            case "ping":
                self._answer("pong", {"id": message.payload.get("id")})
            case "format":
                self._change(message)
            case "params" | "fire" | "state":
                self._steer(message)
            case "goodbye":
                self.finished = True
            case _:  # stats: the server keeps none yet
                pass

    def _join(self) -> None:
        hello, codec = self._session.hello, self._session.codec
        assert hello is not None
        burst = min(hello.buffer_ms, MOST_BURST_MS) if codec is not None else 0
        self._listener.codec = codec
        self._listener.eager = hello.role == "controller"
        header = self._header(codec)
        greeting = self._session.greeting(secrets.token_hex(8), self._hub.epoch, header, burst, self._now_us())
        self._listener.push_text(greeting)
        self._listener.push_text(build("state", self._control.status()))
        since = hello.resume_sample_index if hello.resume_epoch == self._hub.epoch else None
        self._hear(codec, burst, since)

    def _change(self, message: Message) -> None:
        """Another codec from now on, or, with no codec at all, no sound."""
        names = message.payload.get("codecs", [])
        burst = min(read_buffer_ms(message.payload), MOST_BURST_MS)
        codec = self._session.choose(read_codecs(names)) if isinstance(names, list) and names else None
        label = None if codec is None else codec.label
        self._hub.leave(self._listener)
        self._listener.switch(codec)
        header = self._header(codec)
        self._answer("format", {"codec": label, "rate": RATE, "codec_header": header})
        self._hear(codec, burst)

    def _header(self, codec: Codec | None) -> str:
        return "" if codec is None else base64.b64encode(self._hub.header(codec.label)).decode()

    def _hear(self, codec: Codec | None, burst_ms: int, since: int | None = None) -> None:
        if codec is None:
            self._hub.watch(self._listener)
        else:
            self._hub.join(self._listener, codec.label, burst_ms * RATE // 1000, since)

    def _steer(self, message: Message) -> None:
        """Parameters, events and states: for controllers only; what the scene does not know is answered, not fatal."""
        assert self._session.hello is not None
        if self._session.hello.role != "controller":
            self._refuse("role", f"{message.type!r} is for role controller; this connection said listener")
            return
        try:
            if message.type == "params":
                for name, value in read_params(message.payload).items():
                    self._control.set_param(name, value)
            elif message.type == "fire":
                self._control.fire(read_name(message.payload, "event"))
            else:
                self._control.go(read_name(message.payload, "state"))
        except ValueError as error:
            self._refuse("unknown", str(error))

    def _refuse(self, code: str, why: str) -> None:
        self._answer("error", {"code": code, "message": why, "retryable": False})

    def _answer(self, kind: str, payload: dict[str, object]) -> None:
        self._listener.push_text(build(kind, payload))


def scene_message(event: SceneEvent) -> str:
    """A scene event as a text frame; ``at_sample`` is when it happens, ``heard_at_sample`` when it is heard."""
    if event.kind == "transition":
        return build("transition", {**event.detail, "to": event.detail.get("to", event.name), "at_sample": event.frame})
    detail = {k: v for k, v in event.detail.items() if k != "heard_frame"}
    heard = event.detail.get("heard_frame", event.frame)
    payload = {**detail, "kind": event.kind, "name": event.name, "at_sample": event.frame, "heard_at_sample": heard}
    return build("event", payload)
