"""OSC over real UDP: what installations send, and what nobody should."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import SimpleUDPClient

from ambient.doors.osc import OscDoor
from ambient.errors import AmbientError
from ambient.testing import FakeStream


class Counting(FakeStream):
    """Counts how often a parameter is set."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sets: list[float] = []

    def set_param(self, name: str, value: float) -> None:
        super().set_param(name, value)
        self.sets.append(value)


@pytest.fixture
def door():
    one = OscDoor({name: Counting(name) for name in ("forest", "a café")}, port=0)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def send(door):
    return SimpleUDPClient("127.0.0.1", door.port).send_message


def until(true, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def until_set(send, stream: FakeStream, value: float) -> None:
    """Datagrams may be lost in a flood: as a hand on a fader does, sends it again."""

    def again() -> bool:
        send(f"/{stream.name}/params/wind", value)
        time.sleep(0.05)
        return stream.params["wind"] == pytest.approx(value)

    until(again)


def test_every_address(door, send):
    forest, cafe = door._streams["forest"], door._streams["a café"]
    send("/forest/params/wind", 0.8)
    until(lambda: forest.params["wind"] == pytest.approx(0.8))
    send("/forest/params/wind", True)
    until(lambda: forest.params["wind"] == 1.0)
    send("/forest/params/wind", [])
    until(lambda: forest.params["wind"] == 0.4 and not forest.held)
    send("/forest/fire/thunder", [])
    send("/forest/fire/owl", 1)
    send("/forest/fire/owl", 0)  # the button is let go
    send("/forest/fire", "owl")
    until(lambda: forest.fired == ["thunder", "owl", "owl"])
    send("/forest/state/rain", 1.0)
    until(lambda: forest.state == "rain")
    send("/forest/state", ["storm", 20.0])
    until(lambda: forest.state == "storm")
    send("/forest/ask", ["a door", 40.0, -30.0])
    until(lambda: forest.asked == [("a door", 40.0, -30.0)])
    send("/a_caf_/state/storm", 1)
    until(lambda: cafe.state == "storm")
    send("/*/state/calm", 1)
    until(lambda: forest.state == cafe.state == "calm")


def test_a_fader_is_slowed_down_and_its_last_value_counts(door, send):
    forest = door._streams["forest"]
    for i in range(2000):
        send("/forest/params/wind", i / 2000)
    until_set(send, forest, 0.123)
    assert len(forest.sets) < 400


def test_a_storm_of_events_is_held_back(door, send):
    for _ in range(1500):
        send("/forest/fire/owl", 1)
    until_set(send, door._streams["forest"], 0.9)
    assert 100 <= len(door._streams["forest"].fired) < 400


def test_a_bundle_comes_at_its_time(door):
    bundle = OscBundleBuilder(time.time() + 0.5)
    late = OscMessageBuilder("/forest/state/rain")
    late.add_arg(1)
    bundle.add_content(late.build())
    far = OscBundleBuilder(time.time() + 3600)
    storm = OscMessageBuilder("/forest/state/storm")
    storm.add_arg(1)
    far.add_content(storm.build())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for one in (bundle, far):
            sock.sendto(one.build().dgram, ("127.0.0.1", door.port))
    client = SimpleUDPClient("127.0.0.1", door.port)
    client.send_message("/forest/params/wind", 0.5)
    until(lambda: door._streams["forest"].params["wind"] == 0.5)
    assert door._streams["forest"].state == "calm"  # what came after it was obeyed before it
    until(lambda: door._streams["forest"].state == "rain")


def test_what_is_not_understood_is_said_a_few_times_and_does_no_harm(door, send, caplog):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        nested = b""
        for _ in range(1500):
            nested = b"#bundle\0" + bytes(7) + b"\1" + struct.pack(">i", len(nested)) + nested
        backwards = b"#bundle\0" + bytes(7) + b"\1" + struct.pack(">i", -4) + bytes(8)
        for data in (
            backwards,
            b"",
            b"\0",
            b"#bundle\0",
            b"/x",
            b"/forest/params/wind\0,f\0\0\0",
            b"\xff" * 1000,
            nested,
        ):
            sock.sendto(data, ("127.0.0.1", door.port))
    send("/forest/params/wind", float("nan"))
    for _ in range(100):
        send("/forest/params/wnd", 1.0)
        send("/nowhere/params/wind", 1.0)
        send("/forest/dance", 1.0)
    until_set(send, door._streams["forest"], 0.7)
    assert 1 <= len(caplog.records) <= 8
    assert "is no OSC packet" in caplog.text


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda rest: b"#bundle\0" + bytes(7) + b"\1" + rest))
def test_no_datagram_raises(data):
    door = OscDoor({"forest": FakeStream("forest")}, port=0)
    door._take(data)


def test_a_port_in_use_is_said():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(AmbientError, match=f"--osc: UDP port {port} of 127.0.0.1 cannot be had: Address already"):
            OscDoor({}, port=port).start()


class Sensed(FakeStream):
    """Its wind comes from a fader of its own."""

    def describe(self):
        found = super().describe()
        found["params"][0]["source"] = "osc:/desk/fader/1"
        return found


def test_a_parameter_takes_the_numbers_of_the_address_that_it_names(caplog):
    stream, other = Sensed("forest"), FakeStream("desk")
    door = OscDoor({"forest": stream, "desk": other}, port=0)
    door.start()
    try:
        send = SimpleUDPClient("127.0.0.1", door.port).send_message
        send("/desk/fader/1", "loud")
        send("/desk/fader/1", float("nan"))
        send("/desk/fader/1", 0.8)
        until(lambda: stream.params["wind"] == pytest.approx(0.8))
        assert other.params["wind"] == 0.4
        assert "number" in caplog.text
    finally:
        door.stop()
