"""MQTT against a real mosquitto on loopback, with the test as the house."""

from __future__ import annotations

import contextlib
import json
import pathlib
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest

from ambient.doors.homeassistant import discovery
from ambient.doors.mqtt import Broker, MqttDoor
from ambient.errors import AmbientError
from ambient.testing import FakeStream

pytestmark = pytest.mark.mosquitto


class Mosquitto:
    """A broker that can be stopped and started again; it forgets everything in between."""

    def __init__(self, folder: pathlib.Path, password: str = "") -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        access = "allow_anonymous true\n"
        if password:
            passwords = folder / "passwords"
            subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "ambient", password], check=True)
            passwords.chmod(0o644)
            folder.chmod(0o755)
            access = f"allow_anonymous false\npassword_file {passwords}\n"
        self._config.write_text(f"listener {self.port} 127.0.0.1\n{access}persistence false\nuser root\n")
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class House:
    """A client that remembers the latest of each topic."""

    def __init__(self, port: int, password: str = "") -> None:
        self.now: dict[str, str] = {}
        self.seen: queue.Queue[tuple[str, str]] = queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        if password:
            self.client.username_pw_set("ambient", password)
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("#", qos=1)
        self.client.loop_start()

    def _take(self, _client, _data, message) -> None:
        self.now[message.topic] = message.payload.decode()
        self.seen.put((message.topic, message.payload.decode()))

    def say(self, topic: str, payload: str, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def until(true, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path) -> Iterator[Mosquitto]:
    one = Mosquitto(tmp_path)
    yield one
    one.stop()


@pytest.fixture
def house(broker) -> Iterator[House]:
    one = House(broker.port)
    yield one
    one.close()


@contextlib.contextmanager
def opened(port: int, *streams: FakeStream, root: str = "ambient") -> Iterator[MqttDoor]:
    door = MqttDoor({s.name: s for s in streams}, Broker("127.0.0.1", port, root), first_pause=0.05)
    door.start()
    try:
        yield door
    finally:
        door.stop()


def test_the_house_sees_and_steers(broker, house):
    forest = FakeStream("forest")
    with opened(broker.port, forest):
        until(lambda: house.now.get("ambient/status") == "online")
        assert house.now["ambient/forest/state"] == "calm"
        assert float(house.now["ambient/forest/params/wind"]) == 0.4
        house.say("ambient/forest/params/wind/set", "0.8")
        until(lambda: forest.params["wind"] == 0.8)
        until(lambda: house.now["ambient/forest/params/wind"] == "0.8")
        house.say("ambient/forest/params/wind/set", "auto")
        until(lambda: house.now["ambient/forest/params/wind"] == "0.4" and not forest.held)
        house.say("ambient/forest/state/set", "storm")
        until(lambda: house.now["ambient/forest/state"] == "storm")
        house.say("ambient/forest/fire", "thunder")
        until(lambda: forest.fired == ["thunder"])
        house.say("ambient/forest/ask", "a door far away")
        house.say("ambient/forest/ask", '{"text": "an owl", "distance_m": 12}')
        until(lambda: forest.asked == [("a door far away", None, None), ("an owl", 12.0, None)])
        until(lambda: house.now.get("ambient/forest/asked") == "an owl")
    until(lambda: house.now["ambient/status"] == "offline")


def test_home_assistant_finds_sliders_buttons_states_and_a_text_field(broker, house):
    with opened(broker.port, FakeStream("forest"), FakeStream("a café")):
        until(lambda: house.now.get("ambient/status") == "online")
        found = {t: json.loads(d) for t, d in house.now.items() if t.startswith("homeassistant/")}
        kinds = sorted(t.split("/")[1] for t in found if "ambient_forest" in t)
        assert kinds == ["button", "button", "number", "number", "select", "sensor", "text"]
        assert len({d["unique_id"] for d in found.values()}) == len(found) == 14
        for topic, document in found.items():
            prefix, component, node, key, config = topic.split("/")
            assert (prefix, config) == ("homeassistant", "config")
            assert all(c.isascii() and (c.isalnum() or c in "_-") for c in node + key)  # as Home Assistant demands
            assert document["availability_topic"] == "ambient/status" and document["device"]["identifiers"] == [node]
            if component != "sensor":
                assert document["command_topic"].startswith("ambient/")
        wind = found["homeassistant/number/ambient_forest/param_wind/config"]
        assert (wind["min"], wind["max"], wind["step"], wind["name"]) == (0.0, 1.0, 0.005, "Wind")
        # What is announced works: press the button, move the slider, choose the state, as Home Assistant would.
        thunder = found["homeassistant/button/ambient_forest/event_thunder/config"]
        house.say(thunder["command_topic"], thunder["payload_press"])
        house.say(wind["command_topic"], "0.25")
        until(lambda: house.now[wind["state_topic"]] == "0.25")
        choice = found["homeassistant/select/ambient_a_caf_/state/config"]
        assert choice["options"] == ["calm", "rain", "storm"]
        house.say(choice["command_topic"], "rain")
        until(lambda: house.now[choice["state_topic"]] == "rain")
        assert choice["device"]["name"] == "A café"


def test_when_home_assistant_starts_anew_it_is_told_again(broker, house):
    with opened(broker.port, FakeStream("forest")):
        until(lambda: house.now.get("ambient/status") == "online")
        house.now.clear()
        house.say("homeassistant/status", "online")
        until(lambda: "homeassistant/number/ambient_forest/param_wind/config" in house.now)


def test_what_a_changed_scene_has_no_more_is_taken_back(broker, house):
    class Changing(FakeStream):
        events = ("thunder", "owl")

        def describe(self):
            return {**super().describe(), "events": list(self.events)}

    old = "homeassistant/button/ambient_forest/event_{}/config"
    forest = Changing("forest")
    with opened(broker.port, forest):
        until(lambda: house.now.get("ambient/status") == "online")
        forest.events = ("thunder", "wolf")
        until(lambda: house.now.get(old.format("owl")) == "" and house.now.get(old.format("wolf")))
    # And what an earlier run left behind, of which this one knows nothing:
    with opened(broker.port, FakeStream("forest")):
        until(lambda: house.now.get(old.format("wolf")) == "" and house.now.get(old.format("owl")))
    assert house.now[old.format("thunder")]


def test_a_broker_that_comes_back_is_found_again(broker, house, caplog):
    forest = FakeStream("forest")
    with opened(broker.port, forest):
        until(lambda: house.now.get("ambient/status") == "online")
        house.close()
        broker.stop()
        until(lambda: "trying again" in caplog.text)
        time.sleep(0.3)
        broker.start()
        again = House(broker.port)
        try:
            until(lambda: again.now.get("ambient/status") == "online")
            again.say("ambient/forest/fire", "owl")
            until(lambda: forest.fired == ["owl"])
        finally:
            again.close()
    assert caplog.text.count("trying again") == 1  # not once an attempt


def test_a_server_that_dies_is_offline(broker, house):
    """The broker says so: there is nobody left who could."""
    program = (
        "import sys, time; from ambient.doors.mqtt import Broker, MqttDoor; from ambient.testing import FakeStream;"
        "MqttDoor({'forest': FakeStream()}, Broker('127.0.0.1', int(sys.argv[1]))).start(); time.sleep(60)"
    )
    server = subprocess.Popen([sys.executable, "-c", program, str(broker.port)])
    try:
        until(lambda: house.now.get("ambient/status") == "online", 40)
    finally:
        server.kill()
        server.wait()
    until(lambda: house.now["ambient/status"] == "offline")


def test_a_flood_is_slowed_down_and_the_last_value_counts(broker, house):
    class Counting(FakeStream):
        sets = 0

        def set_param(self, name, value):
            self.sets += 1
            super().set_param(name, value)

    forest = Counting("forest")
    with opened(broker.port, forest):
        until(lambda: house.now.get("ambient/status") == "online")
        for i in range(600):
            house.say("ambient/forest/params/wind/set", str(i / 1000))
        house.say("ambient/forest/params/wind/set", "0.999")
        until(lambda: forest.params["wind"] == 0.999)
        assert forest.sets < 300
        for _ in range(300):
            house.say("ambient/forest/fire", "owl")
        house.say("ambient/forest/params/wind/set", "0.111")
        until(lambda: forest.params["wind"] == 0.111)
        assert 50 <= len(forest.fired) < 300
        # Values that move all the time are told once a second, not a hundred times.
        while not house.seen.empty():
            house.seen.get()
        began = time.monotonic()
        while time.monotonic() < began + 2.5:
            forest.params["rain"] = (time.monotonic() * 7) % 1
            time.sleep(0.01)
        told = [t for t, _ in list(house.seen.queue) if t == "ambient/forest/params/rain"]
        assert 1 <= len(told) <= 4


def test_nonsense_does_no_harm_and_what_was_left_there_is_not_obeyed(broker, house, caplog):
    house.say("ambient/forest/state/set", "storm", retain=True)  # before the door is open
    forest = FakeStream("forest")
    with opened(broker.port, forest):
        until(lambda: house.now.get("ambient/status") == "online")
        for topic, payload in [
            ("forest/params/wind/set", "strong"),
            ("forest/params/wind/set", "nan"),
            ("forest/params/wind/set", ""),
            ("forest/params/wnd/set", "1"),
            ("forest/state/set", "sunny"),
            ("forest/fire", "x" * 100_000),
            ("forest/fire", "\x00"),
            ("forest/ask", "{"),
            ("forest/ask", '{"text": 4}'),
            ("forest/ask", "[" * 4000),
            ("nowhere/fire", "owl"),
        ]:
            house.say(f"ambient/{topic}", payload)
        house.say("ambient/forest/params/wind/set", "0.66")
        until(lambda: forest.params["wind"] == 0.66)
        assert (forest.state, forest.fired, forest.asked) == ("calm", [], [])
    assert "needs a number or 'auto', not 'strong'" in caplog.text and len(caplog.records) < 12


def test_a_broker_that_asks_for_a_password(tmp_path, monkeypatch, caplog):
    mosquitto = Mosquitto(tmp_path, password="pass-pass")
    house = House(mosquitto.port, "pass-pass")
    try:
        monkeypatch.setenv("AMBIENT_MQTT_PASSWORD", "pass-pass")
        broker = Broker.read(f"mqtt://ambient@127.0.0.1:{mosquitto.port}/my/house")
        door = MqttDoor({"forest": FakeStream("forest")}, broker, first_pause=0.05)
        door.start()
        until(lambda: house.now.get("my/house/status") == "online")
        house.say("my/house/forest/state/set", "rain")
        until(lambda: house.now.get("my/house/forest/state") == "rain")
        door.stop()
        assert "pass-pass" not in repr(broker) + caplog.text
    finally:
        house.close()
        mosquitto.stop()


@pytest.mark.parametrize("url", ["http://x", "mqtt://", "mqtt://host:port", "mqtt://host/a/#"])
def test_addresses_that_are_none(url):
    with pytest.raises(AmbientError, match="--mqtt: write mqtt://HOST"):
        Broker.read(url)


def test_addresses(monkeypatch):
    monkeypatch.delenv("AMBIENT_MQTT_PASSWORD", raising=False)
    assert Broker.read("nas.local") == Broker("nas.local", 1883)
    assert Broker.read("mqtts://me:a%2Fb@h/home/sound") == Broker("h", 8883, "home/sound", "me", "a/b", True)


def test_discovery_of_odd_names_is_still_unique():
    scene = {
        "params": [{"name": "weather.rain", "low": -5.0, "high": 5.0}, {"name": "weather rain", "low": 0, "high": 1}],
        "events": ["a b", "a_b"],
        "states": ["x"],
    }
    found = discovery("ambient", "my scene", scene)
    assert len({d["unique_id"] for d in found.values()}) == len(found) == 7


class Sensed(FakeStream):
    """Its wind comes from a sensor on the roof."""

    source = "mqtt:home/roof/wind"

    def describe(self):
        found = super().describe()
        found["params"][0]["source"] = self.source
        return found


def test_a_parameter_takes_the_numbers_of_the_topic_that_it_names(broker, house, caplog):
    forest = Sensed("forest")
    house.say("home/roof/wind", "0.7", retain=True)  # the sensor's last word, from before
    with opened(broker.port, forest):
        until(lambda: forest.params["wind"] == 0.7)
        house.say("home/roof/wind", "unavailable")
        house.say("home/roof/wind", "0.9")
        until(lambda: forest.params["wind"] == 0.9)
        assert "number is needed" in caplog.text
        forest.source = "mqtt:home/garden/wind"  # the scene was saved with another topic
        until(lambda: house.say("home/garden/wind", "0.2") or forest.params["wind"] == 0.2)
