"""MQTT: a house sets parameters, fires events and sees what plays. Topics under a root, ``ambient`` by default::

    ROOT/status                    online or offline (retained; the broker says offline when the server is gone)
    ROOT/STREAM/state              the state (retained)          ROOT/STREAM/state/set    another state
    ROOT/STREAM/params/NAME        its value (retained)          ROOT/STREAM/params/NAME/set    a number, or auto
    ROOT/STREAM/seconds_ahead      sound that is ready           ROOT/STREAM/fire         an event's name
    ROOT/STREAM/asked              what was asked for last       ROOT/STREAM/ask          a sound in words

Home Assistant finds the streams by itself (:mod:`ambient.doors.homeassistant`). Values are told at most once a second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import ssl
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ambient.doors.hand import FLUSH_SECONDS, Hand, slug
from ambient.doors.homeassistant import PREFIX, discovery, node_of, step_of
from ambient.doors.thread import DoorThread
from ambient.errors import AmbientError
from ambient.ports import StreamControl

__all__ = ["Broker", "MqttDoor"]

log = logging.getLogger("ambient.mqtt")

TELL_SECONDS = 1.0
LONGEST_PAUSE = 60.0
QUEUED_MESSAGES = 1000
"""Commands that may wait; a flood beyond that is let go."""
LONGEST_PAYLOAD = 4096
LONGEST_TEXT = 200
BY_ITSELF = "auto"
"""What gives a parameter back to the scene."""
BIRTH_TOPIC = f"{PREFIX}/status"


@dataclass(frozen=True)
class Broker:
    """Where to connect. The password comes from the URL or from ``AMBIENT_MQTT_PASSWORD``."""

    host: str
    port: int
    root: str = "ambient"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    @staticmethod
    def read(url: str) -> Broker:
        """From ``mqtt[s]://[user[:password]@]host[:port][/root]``. Raises AmbientError."""
        parts = urllib.parse.urlsplit(url if "://" in url else f"mqtt://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        root = parts.path.strip("/") or "ambient"
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == -1 or set("+#") & set(url):
            raise AmbientError("--mqtt: write mqtt://HOST, mqtts://USER@HOST:8883 or mqtt://HOST/ROOT-OF-TOPICS")
        tls = parts.scheme == "mqtts"
        password = urllib.parse.unquote(parts.password) if parts.password else os.environ.get("AMBIENT_MQTT_PASSWORD")
        user = urllib.parse.unquote(parts.username) if parts.username else None
        return Broker(parts.hostname, port or (8883 if tls else 1883), root, user, password, tls)


class MqttDoor:
    """Connects to a broker, again and again where need be."""

    def __init__(
        self,
        streams: Mapping[str, StreamControl],
        broker: Broker,
        now: Callable[[], float] = time.monotonic,
        first_pause: float = 1.0,
    ) -> None:
        self._mqtt = _library()
        self._streams = {slug(name): control for name, control in streams.items()}
        self._broker, self._first_pause = broker, first_pause
        self._hand = Hand(self._streams, "mqtt", now)
        self._thread = DoorThread("mqtt", self._keep_connected)
        self._told: dict[str, str] = {}
        self._announced: dict[str, str] = {}
        self._asked: dict[str, str] = {}
        self._subscribed: set[str] = set()

    def start(self) -> None:
        """Begins to connect; a broker that is not there is waited for."""
        self._thread.start()

    def stop(self) -> None:
        """Says that the streams are gone, and disconnects. Idempotent."""
        self._thread.stop()

    async def _keep_connected(self) -> None:
        broker, pause, said = self._broker, self._first_pause, False
        while True:
            try:
                async with self._client() as client:
                    log.info("MQTT broker %s:%d: connected, topics under %s/", broker.host, broker.port, broker.root)
                    pause, said = self._first_pause, False
                    await self._converse(client)
            except (self._mqtt.MqttError, OSError, TimeoutError) as error:
                if not said:
                    log.warning("MQTT broker %s:%d: %s; trying again", broker.host, broker.port, error)
                said = True
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))
            pause = min(LONGEST_PAUSE, pause * 1.7)

    def _client(self) -> Any:
        broker = self._broker
        return self._mqtt.Client(
            broker.host,
            broker.port,
            username=broker.user,
            password=broker.password,
            tls_context=ssl.create_default_context() if broker.tls else None,
            will=self._mqtt.Will(f"{broker.root}/status", "offline", qos=1, retain=True),
            max_queued_incoming_messages=QUEUED_MESSAGES,
            keepalive=30,
            timeout=10.0,
            logger=logging.getLogger("ambient.mqtt.client"),
        )

    async def _converse(self, client: Any) -> None:
        root = self._broker.root
        self._forget()
        for topic in ("+/params/+/set", "+/state/set", "+/fire", "+/ask"):
            await client.subscribe(f"{root}/{topic}", qos=1)
        await client.subscribe(BIRTH_TOPIC)
        await self._tell(client)
        for name in self._streams:
            await client.subscribe(f"{PREFIX}/+/{node_of(root, name)}/+/config")
        await client.publish(f"{root}/status", "online", qos=1, retain=True)
        works = [asyncio.create_task(w) for w in (self._listen(client), self._keep_telling(client), self._flush())]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for work in done:
                work.result()
        except asyncio.CancelledError:
            await client.publish(f"{root}/status", "offline", qos=1, retain=True)
            raise
        finally:
            for work in works:
                work.cancel()

    def _forget(self) -> None:
        """Everything is told again: the other side knows nothing of it."""
        self._told.clear()
        self._announced.clear()
        self._subscribed.clear()

    # ---- what comes in

    async def _listen(self, client: Any) -> None:
        async for message in client.messages:
            topic = message.topic.value
            if topic in self._subscribed:
                self._feed(topic, message.payload)
            elif topic == BIRTH_TOPIC:
                if message.payload == b"online":
                    self._forget()
            elif topic.startswith(f"{PREFIX}/"):
                if message.payload and topic not in self._announced:
                    await client.publish(topic, None, qos=1, retain=True)  # left by a version of the scene long ago
            elif not message.retain:  # a command that somebody left there for ever is no command of now
                self._obey(topic.split("/"), message.payload)

    def _obey(self, levels: list[str], payload: Any) -> None:
        if not isinstance(payload, bytes) or not 0 < len(payload) <= LONGEST_PAYLOAD:
            self._hand.complain(f"{'/'.join(levels)}: a payload of 1 to {LONGEST_PAYLOAD} bytes is needed")
            return
        text = payload.decode(errors="replace").strip()
        stream, *door = levels[len(self._broker.root.split("/")) :]
        if stream not in self._streams:
            self._hand.complain(f"there is no stream {stream!r}; there are {', '.join(self._streams)}")
            return
        match door:
            case ["params", name, "set"]:
                self._set(stream, name, text)
            case ["state", "set"]:
                self._hand.go(stream, text)
            case ["fire"]:
                self._hand.fire(stream, text)
            case ["ask"]:
                self._ask(stream, text)

    def _set(self, stream: str, name: str, text: str) -> None:
        try:
            value = None if text == BY_ITSELF else float(text)
        except ValueError:
            self._hand.complain(f"parameter {name} of {stream} needs a number or {BY_ITSELF!r}, not {text[:40]!r}")
            return
        self._hand.set_param(stream, name, value)

    def _feed(self, topic: str, payload: Any) -> None:
        """A sensor's number, for the parameters that are ``from: mqtt:TOPIC``; one that is retained is still true."""
        try:
            self._hand.feed(f"mqtt:{topic}", float(payload))
        except (TypeError, ValueError):
            self._hand.complain(f"{topic}: a number is needed, not {str(payload)[:40]}")

    def _ask(self, stream: str, text: str) -> None:
        """Plain words, or JSON with a place: ``{"text": "…", "distance_m": 40}``."""
        payload: Any = {"text": text}
        if text.startswith("{"):
            try:
                payload = json.loads(text)
            except ValueError:
                self._hand.complain(f"{stream}/ask: {text[:40]!r} is no JSON")
                return
        self._hand.ask(stream, payload)
        self._asked[stream] = str(payload.get("text", ""))[:LONGEST_TEXT]

    # ---- what goes out

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self._hand.flush()

    async def _keep_telling(self, client: Any) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self._tell(client)

    async def _tell(self, client: Any) -> None:
        for topic in self._hand.sources("mqtt:") - self._subscribed:  # scenes change while they play
            self._subscribed.add(topic)
            await client.subscribe(topic, qos=1)
        for name, control in self._streams.items():
            scene, status = control.describe(), control.status()
            await self._announce(client, name, control.name, scene)
            values = {"state": str(status.get("state", ""))}
            if name in self._asked:
                values["asked"] = self._asked[name]
            for param in scene["params"]:
                if (value := status.get("params", {}).get(param["name"])) is not None:
                    step = step_of(param)
                    values[f"params/{slug(param['name'])}"] = f"{round(value / step) * step:.4g}"
            if status.get("seconds_ahead") is not None:
                values["seconds_ahead"] = f"{status['seconds_ahead']:.0f}"
            for key, text in values.items():
                topic = f"{self._broker.root}/{name}/{key}"
                if self._told.get(topic) != text:
                    self._told[topic] = text
                    await client.publish(topic, text, retain=True)

    async def _announce(self, client: Any, name: str, title: str, scene: Mapping[str, Any]) -> None:
        """Tells Home Assistant what there is, and of what is gone since the scene was changed."""
        found = {t: json.dumps(d) for t, d in discovery(self._broker.root, title, scene).items()}
        node = f"/{node_of(self._broker.root, name)}/"
        for topic in [t for t in self._announced if node in t and t not in found]:
            del self._announced[topic]
            await client.publish(topic, None, qos=1, retain=True)
        for topic, document in found.items():
            if self._announced.get(topic) != document:
                self._announced[topic] = document
                await client.publish(topic, document, qos=1, retain=True)


def _library() -> ModuleType:
    try:
        import aiomqtt
    except ImportError as error:
        raise AmbientError("--mqtt needs one more package: pip install 'ambient-engine[mqtt]'") from error
    return aiomqtt
