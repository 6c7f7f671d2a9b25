"""Weather: what reports mean, and that nothing a server does harms the sound."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ambient.weather as weather_module
from ambient.cli import main
from ambient.commands.weather import weather_by_clock, weather_polls
from ambient.engine import Engine, LiveStream, Options
from ambient.engine.offline import render
from ambient.errors import WeatherError
from ambient.messages import RATE, frames
from ambient.scene import parse_scene, simulate
from ambient.testing import ListSink, ManualClock, ScriptedGenerator
from ambient.weather import Report, WeatherPoll, fetch, open_meteo_url, read_report

NOON = datetime(2025, 6, 21, 12, tzinfo=UTC)
SCENE = parse_scene(
    """
scene: 1
place: {lat: 46.59, lon: 7.91}
params:
  wind: {from: weather.wind, start: 0.1, stale: 20s}
  rain: {from: weather.rain}
states: {meadow: wind over grass}
""",
    "meadow.yaml",
)


def current(wind: float = 36.0, **more: Any) -> dict[str, Any]:
    units = {"wind_speed_10m": "km/h", "precipitation": "mm", "temperature_2m": "°C", "cloud_cover": "%"}
    return {"current_units": units, "current": {"wind_speed_10m": wind, **more}}


def hourly(first: datetime = NOON, **rows: list[Any]) -> dict[str, Any]:
    count = len(next(iter(rows.values())))
    times = [(first + timedelta(hours=i)).strftime("%Y-%m-%dT%H:%M") for i in range(count)]
    return {"hourly": {"time": times, **rows}}


# ---- what a report means


def test_a_report_is_scaled_to_0_to_1_in_whatever_units_it_comes() -> None:
    told = current(wind=36.0, precipitation=0.25, interval=900, temperature_2m=25, cloud_cover=40)
    found = read_report(json.dumps(told)).at(NOON)
    # 10 m/s is Beaufort 5.2; a quarter of a millimetre in a quarter of an hour is 1 mm/h
    assert found == pytest.approx(
        {"weather.wind": 0.523, "weather.rain": 0.316, "weather.temperature": 0.75, "weather.cloud": 0.4}, abs=0.001
    )
    for unit, value in (("m/s", 10), ("kn", 19.438), ("mp/h", 22.369)):
        other = {"current_units": {"wind_speed_10m": unit}, "current": {"wind_speed_10m": value}}
        assert read_report(json.dumps(other)).at(NOON)["weather.wind"] == pytest.approx(0.523, abs=0.001)
    warm = {"current_units": {"temperature_2m": "°F"}, "current": {"temperature_2m": 77}}
    assert read_report(json.dumps(warm)).at(NOON)["weather.temperature"] == pytest.approx(0.75)


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_no_value_leaves_0_to_1(wind: float, rain: float, cloud: float, warmth: float) -> None:
    told = current(wind, precipitation=rain, cloud_cover=cloud, temperature_2m=warmth)
    assert all(0 <= v <= 1 for v in read_report(json.dumps(told)).at(NOON).values())


def test_hourly_rows_are_walked_through_and_end() -> None:
    told = hourly(cloud_cover=[0, 50, None, 100, 0])
    report = read_report(json.dumps(told))
    at = [report.at(NOON + timedelta(minutes=m)) for m in (0, 30, 60, 90, 180, 210, 240)]
    assert at == [
        {"weather.cloud": 0.0},
        {"weather.cloud": 0.25},
        {},  # beside a row without a value nothing is known
        {},
        {"weather.cloud": 1.0},
        {"weather.cloud": 0.5},
        {"weather.cloud": 0.0},
    ]
    assert report.at(NOON - timedelta(seconds=1)) == report.at(NOON + timedelta(hours=4, seconds=1)) == {}


def test_times_are_local_with_an_offset_or_seconds_since_1970() -> None:
    local = {"utc_offset_seconds": 7200, **hourly(NOON, cloud_cover=[0, 100])}
    assert read_report(json.dumps(local)).hours[0] == NOON - timedelta(hours=2)
    seconds = {"hourly": {"time": [NOON.timestamp(), NOON.timestamp() + 3600], "cloud_cover": [0, 100]}}
    assert read_report(json.dumps(seconds)).hours[0] == NOON


def test_an_old_observation_is_no_weather() -> None:
    report = read_report(json.dumps(current(time="2025-06-21T12:00")))
    assert report.now(NOON + timedelta(minutes=119)) and not report.now(NOON + timedelta(minutes=121))
    assert not report.now(NOON - timedelta(minutes=121))
    both = read_report(json.dumps({**current(time="2025-06-21T12:00"), **hourly(cloud_cover=[10] * 24)}))
    assert set(both.now(NOON)) == {"weather.wind"} and set(both.now(NOON + timedelta(hours=5))) == {"weather.cloud"}


NONSENSE = {
    "no JSON": (b"<html>Bad Gateway</html>", "not JSON"),
    "not UTF-8": (b"\xff\xfe\x00", "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "a list": (b"[1, 2]", "JSON object"),
    "nothing in it": (b"{}", "no weather in it"),
    "an error of the service": (b'{"error": true, "reason": "Daily API request limit exceeded"}', "limit exceeded"),
    "text for a number": (b'{"current": {"wind_speed_10m": "strong"}}', "current wind_speed_10m is no number"),
    "NaN": (b'{"current": {"wind_speed_10m": NaN}}', "is no number"),
    "a huge number": (b'{"current": {"wind_speed_10m": 1e300}}', "is no number"),
    "unknown unit": (
        b'{"current_units": {"wind_speed_10m": "furlong"}, "current": {"wind_speed_10m": 1}}',
        "unit 'furlong'",
    ),
    "unequal rows": (b'{"hourly": {"time": [0, 3600], "cloud_cover": [1]}}', "no list of 2 numbers"),
    "times that fall": (b'{"hourly": {"time": [3600, 0], "cloud_cover": [1, 1]}}', "must rise"),
    "a bad time": (b'{"hourly": {"time": ["noon"], "cloud_cover": [1]}}', "'noon' is no time"),
    "a time beyond all times": (b'{"hourly": {"time": [1e300], "cloud_cover": [1]}}', "is no time"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_with_what_is_wrong(name: str) -> None:
    raw, message = NONSENSE[name]
    with pytest.raises(WeatherError, match=message):
        read_report(raw)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_spoiled_report_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    text = list(json.dumps({**current(), **hourly(cloud_cover=[1, 2, 3])}))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 6))] = data.draw(st.text('{}[]",:0-e.x', max_size=4))
    try:
        report = read_report("".join(text))
    except WeatherError:
        return
    assert all(0 <= v <= 1 for v in report.at(NOON).values())


# ---- a server on loopback


class Sky:
    """A weather server: ``answer`` is what the next request gets: a status and a body, or a function that answers."""

    def __init__(self) -> None:
        self.answer: tuple[int, Any] | Callable[[BaseHTTPRequestHandler], None] = (200, current())
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        sky = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sky.asked.append(self.path)
                if callable(sky.answer):
                    sky.answer(self)
                    return
                status, body = sky.answer
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in sky.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/forecast"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def sky() -> Iterator[Sky]:
    found = Sky()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_url_is_asked_and_its_failures_put_off_the_next_try(sky: Sky, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Report] = []
    poll = WeatherPoll(sky.url, told.append, every_seconds=240)
    assert poll.poll() == 240 and told[0].at(NOON)["weather.wind"] == pytest.approx(0.523, abs=0.001)
    sky.answer = (500, b"oh no")
    assert [poll.poll() for _ in range(7)] == [60, 120, 240, 480, 960, 1800, 1800]
    assert "HTTP 500; what is known counts until it is stale; next try in 60 s" in caplog.records[0].getMessage()
    sky.answer = (200, b"nonsense")
    assert poll.poll() == 1800 and "this is not JSON" in caplog.messages[-1]
    sky.answer = (200, current(72))
    with caplog.at_level(logging.INFO):
        assert poll.poll() == 240
    assert "can be read again" in caplog.messages[-1] and len(told) == 2
    sky.answer = (503, b"")
    assert poll.poll() == 60  # after a success it begins anew
    sky.headers = {"Retry-After": "7200"}
    assert poll.poll() == 7200


@pytest.mark.parametrize(("stale", "every"), [("3h", 600), ("10m", 300), ("5s", 60)])
def test_a_url_is_asked_twice_before_its_weather_is_stale_and_never_more_than_once_a_minute(
    sky: Sky, stale: str, every: float
) -> None:
    scene = parse_scene(
        f"scene: 1\nparams: {{w: {{from: weather.wind, stale: {stale}}}}}\nstates: {{a: one}}\n", "s.yaml"
    )
    (poll,) = weather_polls(SimpleNamespace(weather=sky.url), [(scene, live(scene))])
    assert poll.poll() == every


def test_a_server_that_is_slow_endless_or_gone_is_left(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weather_module, "FETCH_SECONDS", 0.3)
    released = threading.Event()

    def silent(_: BaseHTTPRequestHandler) -> None:
        released.wait(20)

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not released.wait(0.05):
                handler.wfile.write(b" ")
        except OSError:
            pass

    for answer in (silent, dripping):
        sky.answer = answer
        with pytest.raises(WeatherError, match=r"no answer within 0\.3 s"):
            fetch(sky.url)
    released.set()
    sky.answer = (200, b" " * (weather_module.MOST_BYTES + 1))
    monkeypatch.setattr(weather_module, "FETCH_SECONDS", 20.0)
    with pytest.raises(WeatherError, match="more than"):
        fetch(sky.url)
    sky.answer = lambda handler: handler.connection.close()
    with pytest.raises(WeatherError, match="cannot be reached"):
        fetch(sky.url)
    with pytest.raises(WeatherError, match="cannot be reached"):
        fetch("http://127.0.0.1:1/")


def test_whatever_happens_in_a_poll_its_thread_goes_on(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weather_module, "MOST_BACK_OFF_SECONDS", 0.01)
    calls = threading.Semaphore(0)

    def tell(_: Report) -> None:
        calls.release()
        raise RuntimeError("a fault of our own")

    poll = WeatherPoll(sky.url, tell)
    poll.start()
    assert calls.acquire(timeout=20) and calls.acquire(timeout=20)
    poll.stop()
    poll.stop()


def live(scene: Any = SCENE) -> LiveStream:
    engine = Engine(scene, ScriptedGenerator(), Options(live=True))
    return LiveStream(scene.name, engine, [ListSink()], ManualClock())


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def test_a_stream_follows_the_server_and_when_it_fails_goes_on_until_its_weather_is_stale(sky: Sky) -> None:
    stream = live()
    (poll,) = weather_polls(SimpleNamespace(weather=sky.url), [(SCENE, stream)])
    stream.start()
    try:
        until(lambda: stream.playing)
        assert poll.poll() == 60
        until(lambda: stream.status()["params"]["wind"] == pytest.approx(0.523, abs=0.001))
        told_at = stream.status()["seconds"]
        sky.answer = (500, b"")
        assert poll.poll() == 60
        assert stream.status()["params"]["wind"] == pytest.approx(0.523, abs=0.001)
        until(lambda: stream.status()["params"]["wind"] == 0.1)  # the manual clock runs ahead
        assert stream.status()["seconds"] >= told_at + 19
        assert stream.status()["counts"]["underruns"] == 0
        sky.answer = (200, current(36, time="2001-01-01T00:00"))
        assert poll.poll() == 120
        assert stream.status()["params"]["wind"] == 0.1
    finally:
        stream.stop()


def test_open_meteo_is_asked_for_the_place_and_only_when_told_to(caplog: pytest.LogCaptureFixture) -> None:
    url = "https://api.open-meteo.com/v1/forecast?latitude=46.59&longitude=7.91"
    assert open_meteo_url(46.59, 7.91) == f"{url}&current=precipitation,wind_speed_10m,cloud_cover,temperature_2m"
    assert weather_polls(SimpleNamespace(weather=None), [(SCENE, live())]) == []
    assert weather_by_clock(SimpleNamespace(weather=None), SCENE) is None
    nowhere = parse_scene("scene: 1\nparams: {wind: weather.wind}\nstates: {a: one}\n", "nowhere.yaml")
    with pytest.raises(WeatherError, match="nowhere has no place"):
        weather_polls(SimpleNamespace(weather="open-meteo"), [(nowhere, live(nowhere))])
    indoors = parse_scene("scene: 1\nstates: {a: one}\n", "indoors.yaml")
    assert weather_polls(SimpleNamespace(weather="open-meteo"), [(indoors, live(indoors))]) == []
    assert "--weather does nothing for indoors" in caplog.text


# ---- files


def test_a_file_with_hours_is_followed_by_the_scenes_clock(tmp_path: Path) -> None:
    path = tmp_path / "weather.json"
    path.write_text(json.dumps(hourly(cloud_cover=[0, 100, 0])))
    text = """scene: 1
clock: {date: 2025-06-21, start: "12:00", speed: 60}
params: {cloud: {from: weather.cloud, start: 0.5, stale: 30s}}
states:
  clear: {transitions: [{to: grey, when: cloud > 0.75, over: 0s}]}
  grey: {transitions: [{to: clear, when: cloud < 0.25, over: 0s}]}
"""
    scene = parse_scene(text, "sky.yaml")
    inputs = weather_by_clock(SimpleNamespace(weather=str(path)), scene)
    found = simulate(scene, 0.1, inputs=inputs)
    # an hour is a minute: 0.75 is passed after 45 s, 0.25 after 105 s; from 120 s on nothing is known
    moves = [(row["at_seconds"], row["to"]) for row in found["transitions"]]
    assert moves == [(pytest.approx(46, abs=1), "grey"), (pytest.approx(106, abs=1), "clear")]

    engine = Engine(scene, ScriptedGenerator(), Options(live=False))
    values: list[float] = []

    def watch(done: int, engine: Engine) -> None:
        if engine.frame % (10 * RATE) == 0:
            values.append(engine.machine.params()["cloud"])

    events = render(engine, ListSink(), frames(160), inputs=inputs, progress=watch)
    assert values[0] == pytest.approx(1 / 6, abs=0.02) and values[5] == pytest.approx(1, abs=0.02)
    assert values[8] == pytest.approx(0.5, abs=0.02) and values[15] == 0.5  # stale since 150 s
    assert [e.detail["to"] for e in events if e.kind == "transition"] == ["grey", "clear"]


def test_hours_of_another_day_than_the_scenes_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "weather.json"
    path.write_text(json.dumps(hourly(NOON + timedelta(days=30), wind_speed_10m=[1, 2])))
    inputs = weather_by_clock(SimpleNamespace(weather=str(path)), SCENE)
    assert inputs is not None and inputs(NOON) == {}
    assert "give it `clock: {date: 2025-07-21}`" in caplog.text


def test_a_live_stream_reads_a_file_again_and_survives_a_broken_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "weather.json"
    path.write_text(json.dumps(current(36)))
    stream = live()
    (poll,) = weather_polls(SimpleNamespace(weather=str(path)), [(SCENE, stream)])
    stream.start()
    try:
        poll.poll()
        until(lambda: stream.status()["params"]["wind"] == pytest.approx(0.523, abs=0.001))
        path.write_text('{"current": {"wind_sp')
        assert poll.poll() == poll.poll() == weather_module.FILE_SECONDS
        path.unlink()
        poll.poll()
        path.write_text(json.dumps(current(0)))
        poll.poll()
        until(lambda: stream.status()["params"]["wind"] == 0)
        assert [m.count("this is not JSON") for m in caplog.messages if "next try" in m] == [1, 0]  # told once
    finally:
        stream.stop()


def test_the_command_line_says_what_is_wrong_with_a_weather_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weather.json"
    assert main(["simulate", "meadow", "--hours", "0.1", "--weather", str(path)]) == 1
    assert f"{path}: cannot be read: No such file" in capsys.readouterr().err
    path.write_text("[]")
    assert main(["simulate", "meadow", "--hours", "0.1", "--weather", str(path)]) == 1
    assert "a weather report is a JSON object" in capsys.readouterr().err
    path.write_text(json.dumps(current(108, precipitation=10)))
    assert main(["simulate", "meadow", "--hours", "0.5", "--weather", str(path), "--json"]) == 0
    assert [row["to"] for row in json.loads(capsys.readouterr().out)["transitions"]][:2] == ["morning", "shower"]
