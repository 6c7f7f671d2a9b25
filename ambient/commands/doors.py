"""The doors that ``play`` and ``serve`` open beside the page: OSC and MQTT."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Protocol

from ambient.errors import AmbientError
from ambient.ports import StreamControl

__all__ = ["Door", "open_doors"]


class Door(Protocol):
    """Something that steers from outside."""

    def start(self) -> None:
        """Opens it. Raises AmbientError."""
        ...

    def stop(self) -> None:
        """Closes it. Idempotent."""
        ...


def open_doors(given: argparse.Namespace, doors: list[Door], streams: Sequence[StreamControl]) -> None:
    """Opens what the command line asks for, and adds each to ``doors``. Raises AmbientError."""
    by_name = {stream.name: stream for stream in streams}
    if given.osc is not None:
        from ambient.doors.osc import OscDoor

        host, _, port = given.osc.rpartition(":")
        if not port.isdecimal() or int(port) > 65535:
            raise AmbientError(f"--osc {given.osc}: write a UDP port, such as 9000 or 0.0.0.0:9000")
        doors.append(OscDoor(by_name, host.strip("[]") or "127.0.0.1", int(port)))
        doors[-1].start()
    if given.mqtt is not None:
        from ambient.doors.mqtt import Broker, MqttDoor

        doors.append(MqttDoor(by_name, Broker.read(given.mqtt)))
        doors[-1].start()
