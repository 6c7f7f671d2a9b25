"""The server on loopback: real sockets, a fake stream, and clients of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import websockets

from ambient.client import connect, decode
from ambient.errors import ProtocolError, SinkError
from ambient.messages import BLOCK_FRAMES, RATE, SceneEvent
from ambient.server import Server
from ambient.sinks import listener as listener_module
from ambient.sinks.hub import Hub
from ambient.sinks.protocol import Close, Codec, Flags, build
from ambient.testing import FakeStream, IndexCodedSource, PacedSource


class Served:
    """A server with one stream, index-coded sound in real time."""

    def __init__(self, **options) -> None:
        self.hub, self.control = Hub("forest"), FakeStream("forest")
        self.server = Server(
            [(self.control, self.hub)], port=0, diagram=lambda name, state: f"<svg>{name} {state}</svg>", **options
        )
        self.server.start()
        self.url = self.server.url
        self.socket = self.url.replace("http", "ws") + "ws/v1/forest"

    def get(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        request = urllib.request.Request(self.url + path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def until(self, true, seconds: float = 5.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.01)


@pytest.fixture
def quiet():
    """Without sound."""
    served = Served()
    yield served
    served.server.stop()


@pytest.fixture
def served(quiet):
    """With sound."""
    with PacedSource(quiet.hub) as quiet.source:
        quiet.until(lambda: quiet.hub.blocks > 20)
        yield quiet


# ---- sound


@pytest.mark.parametrize("codec", [Codec.S16LE, Codec.F32LE, Codec.OPUS])
def test_sound_arrives_whole_and_in_order(served, codec):
    async def listen():
        async with connect(served.socket, [codec], buffer_ms=200) as stream:
            frames = []
            async for frame in stream:
                frames.append(frame)
                if len(frames) == 60:
                    break
            return frames, stream.hello, stream.state

    frames, hello, state = asyncio.run(listen())
    assert [f.seq for f in frames] == list(range(60))
    starts = np.array([f.sample_index for f in frames])
    assert (np.diff(starts) == BLOCK_FRAMES).all()
    assert sum(bool(f.flags & Flags.BURST) for f in frames) == 10
    assert (hello["codec"], hello["epoch"]) == (codec.label, served.hub.epoch)
    assert state["state"] == "calm"
    if codec is Codec.OPUS:
        assert hello["codec_header"].startswith("T3B1c0hlYWQ")  # "OpusHead"
    else:
        heard = IndexCodedSource.indices(np.concatenate([decode(f) for f in frames]))
        assert (heard == np.arange(starts[0], starts[0] + len(heard)) % IndexCodedSource.PERIOD).all()


def test_a_watcher_begins_and_stops_to_hear(served):
    async def listen():
        seen = []
        async with connect(served.socket, [], on_message=lambda m: seen.append(m.type)) as stream:
            await stream._send("format", {"codecs": ["s16le"], "buffer_ms": 100})
            frames = []
            async for frame in stream:
                frames.append(frame)
                if len(frames) == 20:
                    break
            await stream._send("format", {"codecs": []})
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(0.5):
                    while True:
                        frames.append(await anext(stream))
            return frames, seen

    frames, seen = asyncio.run(listen())
    assert seen[0] == "hello" and seen.count("format") == 2
    assert 20 <= len(frames) < 35  # 0.5 s would be 25 more
    assert (np.diff([f.sample_index for f in frames]) == BLOCK_FRAMES).all()


def test_resume_after_a_lost_connection(served):
    async def listen():
        async with connect(served.socket) as stream:
            first = await anext(stream)
        hello = build(
            "hello",
            {"codecs": ["s16le"], "resume": {"epoch": served.hub.epoch, "sample_index": first.sample_index}},
        )
        async with websockets.connect(served.socket, max_queue=None) as raw:
            await raw.send(hello)
            while not isinstance(data := await raw.recv(), bytes):
                pass
            return first.sample_index, int.from_bytes(data[8:16], "little"), data[3]

    asked, got, flags = asyncio.run(listen())
    assert got == asked and flags == 0


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("ending", "codec"), [("mp3", "mp3"), ("opus", "opus"), ("wav", "pcm_s16le"), ("aac", "aac"), ("flac", "flac")]
)
def test_ffmpeg_plays_the_http_streams(served, ending, codec):
    url = f"{served.url}listen/forest.{ending}"
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,sample_rate,channels", "-of", "csv=p=0", url]
    shown = subprocess.run(probe, capture_output=True, text=True, timeout=20, check=True).stdout
    assert shown.split() == [f"{codec},48000,2"]
    command = ["ffmpeg", "-v", "error", "-i", url, "-t", "3", "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    sound = np.frombuffer(done.stdout, "<f4").reshape(-1, 2)
    assert len(sound) == 3 * RATE
    if ending in ("wav", "flac"):
        assert (np.diff(IndexCodedSource.indices(sound)) % IndexCodedSource.PERIOD == 1).all()
    else:
        assert np.sqrt(np.mean(sound**2)) > 0.1 and done.stderr == b""
    served.until(lambda: served.hub.listeners == 0)


def test_monitors_and_radio_tools_are_told(served):
    status, body, headers = served.get("metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'ambient_listeners{stream="forest"} 0' in body
    sources = json.loads(served.get("status-json.xsl")[1])["icestats"]["source"]
    assert {s["listenurl"] for s in sources} == {
        f"{served.url}listen/forest.{e}" for e in ("mp3", "opus", "aac", "flac", "wav")
    }
    status, body, headers = served.get("listen/forest.m3u")
    assert headers["Content-Type"].startswith("audio/x-mpegurl") and f"{served.url}listen/forest.mp3" in body.decode()


def test_http_answers_before_the_body(served):
    with urllib.request.urlopen(urllib.request.Request(served.url + "listen/forest.mp3", method="HEAD")) as answer:
        assert answer.headers["Content-Type"] == "audio/mpeg" and answer.headers["Cache-Control"] == "no-store"
    host, port = "127.0.0.1", served.server.port
    with socket.create_connection((host, port)) as old:
        old.sendall(b"GET /listen/forest.mp3 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        data = b""
        while len(data) < 2000:
            data += old.recv(4096)
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"chunked" not in head and body[:2] == b"\xff\xfb"  # an MPEG frame at once: no chunks for HTTP/1.0
    assert served.get("listen/forest.xyz")[0] == 404
    assert served.get("listen/nowhere.mp3")[0] == 404


# ---- control


def test_parameters_events_and_states_by_websocket(served):
    async def steer():
        errors = []
        async with connect(served.socket, [], "controller", on_message=lambda m: errors.append(m)) as stream:
            await stream.set_params(wind=0.9)
            await stream.fire("thunder")
            await stream.go("storm")
            await stream.fire("dragon")
            async with asyncio.timeout(5):
                while not any(m.type == "error" for m in errors):
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(anext(stream), 0.2)
        return [m.payload for m in errors if m.type == "error"]

    errors = asyncio.run(steer())
    assert served.control.params["wind"] == 0.9
    assert served.control.fired == ["thunder"] and served.control.state == "storm"
    assert errors == [
        {"code": "unknown", "message": "no event is called 'dragon'; did you mean 'thunder'?", "retryable": False}
    ]


def test_a_listener_may_not_steer(served):
    async def steer():
        seen = []
        async with connect(served.socket, on_message=seen.append) as stream:
            await stream.fire("thunder")
            async for _ in stream:
                if any(m.type == "error" for m in seen):
                    break
        return [m.payload["code"] for m in seen if m.type == "error"]

    assert asyncio.run(asyncio.wait_for(steer(), 5)) == ["role"]
    assert served.control.fired == []


def test_control_over_http(quiet):
    assert quiet.get("api/v1/streams/forest/params", b'{"wind": 0.7}')[0] == 200
    assert quiet.get("api/v1/streams/forest/fire", b'{"event": "owl"}')[0] == 200
    assert quiet.get("api/v1/streams/forest/state", b'{"state": "rain"}')[0] == 200
    assert (quiet.control.params["wind"], quiet.control.fired, quiet.control.state) == (0.7, ["owl"], "rain")
    for door, body in [
        ("params", b'{"wnd": 1}'),
        ("params", b'{"wind": NaN}'),
        ("params", b"[" * 1000),
        ("params", b"\xff\xfe"),
        ("fire", b'{"event": 4}'),
        ("state", b""),
    ]:
        status, answer, _ = quiet.get(f"api/v1/streams/forest/{door}", body)
        assert status == 400 and json.loads(answer)["error"]["message"]
    assert quiet.get("api/v1/streams/forest/fire", b'{"event": "' + b"x" * 70_000 + b'"}')[0] == 413
    assert quiet.get("api/v1/streams/nowhere/fire", b"{}")[0] == 404


def test_what_is_to_be_known(quiet):
    assert json.loads(quiet.get("api/v1/streams")[1]) == {
        "streams": [{"name": "forest", "state": "calm", "listeners": 0}]
    }
    everything = json.loads(quiet.get("api/v1/streams/forest")[1])
    assert everything["scene"]["events"] == ["thunder", "owl"] and everything["seconds_ahead"] == 9.5
    status, drawing, headers = quiet.get("diagram/forest.svg?state=rain")
    assert (status, drawing, headers["Content-Type"]) == (
        200,
        b"<svg>forest rain</svg>",
        "image/svg+xml; charset=utf-8",
    )
    assert quiet.get("diagram/forest.svg?state=%3Cscript%3E")[0] == 404
    for page in ("", "app.js", "ambient.js", "scene.js", "controls.js", "spectrogram.js", "style.css", "icon.svg"):
        status, body, headers = quiet.get(page)
        assert status == 200 and body
        assert "default-src 'self'" in headers["Content-Security-Policy"]
    for nothing in ("nowhere.js", "..%2fserver.py", "page/../server.py", "listen/..%2f..%2fetc.mp3"):
        assert quiet.get(nothing)[0] == 404


def test_readiness_is_sound(quiet):
    assert quiet.get("healthz")[0] == 200
    status, body, _ = quiet.get("readyz")
    assert status == 503 and json.loads(body)["ready"] is False
    with PacedSource(quiet.hub):
        quiet.until(lambda: quiet.get("readyz")[0] == 200)
    assert json.loads(quiet.get("readyz")[1])["streams"]["forest"] == {"ready": True, "seconds_ahead": 9.5}


def test_scene_events_come_with_the_sound(quiet):
    thunder = SceneEvent(
        "oneshot", "thunder", 30 * 960, {"layer": "thunder", "distance_m": 900, "heard_frame": 152_000}
    )
    change = SceneEvent("transition", "rain", 30 * 960, {"from": "calm", "to": "rain", "over_seconds": 8, "why": "x"})

    async def listen():
        seen = []
        async with connect(quiet.socket, buffer_ms=0, on_message=seen.append) as stream:
            while not quiet.hub.listeners:
                await asyncio.sleep(0.01)
            quiet.hub.write(IndexCodedSource.block(29))
            quiet.hub.write(IndexCodedSource.block(30, (change, thunder)))
            while (await anext(stream)).sample_index != 30 * BLOCK_FRAMES:
                pass
        return [m for m in seen if m.type in ("transition", "event")]

    change_seen, thunder_seen = asyncio.run(asyncio.wait_for(listen(), 5))
    assert change_seen.payload == {"from": "calm", "to": "rain", "over_seconds": 8, "why": "x", "at_sample": 28_800}
    assert (thunder_seen.payload["at_sample"], thunder_seen.payload["heard_at_sample"]) == (28_800, 152_000)
    assert thunder_seen.payload["distance_m"] == 900


# ---- who may come in


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("http://evil.example", False),
        ("null", False),
        ("http://127.0.0.1:1", False),
        ("https://radio.example", True),
    ],
)
def test_pages_of_other_sites_are_kept_out(origin, welcome):
    served = Served(origins=["https://radio.example"])
    try:
        status, _, _ = served.get("api/v1/streams/forest/fire", b'{"event": "owl"}', Origin=origin)
        assert status == (200 if welcome else 403)
        assert served.control.fired == (["owl"] if welcome else [])

        async def knock():
            async with websockets.connect(served.socket, origin=origin):
                return 101

        try:
            status = asyncio.run(knock())
        except websockets.InvalidStatus as error:
            status = error.response.status_code
        assert status == (101 if welcome else 403)
        own = served.url.rstrip("/")
        assert served.get("api/v1/streams/forest/fire", b'{"event": "owl"}', Origin=own)[0] == 200
    finally:
        served.server.stop()


def test_a_strangers_name_for_this_machine_is_kept_out(quiet):
    """A page may point its own name here (DNS rebinding); its origin then looks like ours."""
    name = f"evil.example:{quiet.server.port}"
    assert quiet.get("api/v1/streams", Host=name, Origin=f"http://{name}")[0] == 403
    assert quiet.get("api/v1/streams", Host=f"localhost:{quiet.server.port}")[0] == 200


def test_a_port_in_use_is_a_clear_message(quiet):
    with pytest.raises(SinkError) as caught:
        Server([], port=quiet.server.port).start()
    assert str(caught.value) == (
        f"port {quiet.server.port} of 127.0.0.1 is in use: stop the other program, or choose another port with --port"
    )


# ---- bad manners


def closed_with(served: Served, *messages: str | bytes, path: str = "forest") -> tuple[int, str]:
    """Says these things and returns code and reason of the close."""

    async def talk():
        async with websockets.connect(served.url.replace("http", "ws") + f"ws/v1/{path}", max_size=None) as raw:
            with contextlib.suppress(websockets.ConnectionClosed):
                for message in messages:
                    await raw.send(message)
            with contextlib.suppress(websockets.ConnectionClosed):
                async with asyncio.timeout(8):
                    while True:
                        await raw.recv()
            return raw.close_code, raw.close_reason

    return asyncio.run(talk())


HELLO = build("hello", {"codecs": []})


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["{"], Close.BAD_MESSAGE),
        ([build("ping")], Close.NO_HELLO),
        ([build("hello", {"codecs": ["mp9"]})], Close.NO_CODEC),
        ([HELLO, HELLO], Close.BAD_MESSAGE),
        ([HELLO, build("sing")], Close.BAD_MESSAGE),
        ([HELLO, b"\x00" * 40], Close.BAD_MESSAGE),
        ([HELLO, "[" * 60_000], Close.BAD_MESSAGE),
        ([HELLO, "x" * 70_000], Close.TOO_BIG),
        ([HELLO, build("params", {"wind": "strong"})], Close.BAD_MESSAGE),
        ([HELLO.replace("[]", '[],"role":"controller"'), build("fire", {"event": 1})], Close.BAD_MESSAGE),
        ([HELLO, *[build("ping")] * 400], Close.POLICY),
        ([HELLO, build("goodbye")], Close.SHUTDOWN),
    ],
)
def test_bad_messages_close_with_their_code(quiet, messages, code):
    if messages[-1] == build("params", {"wind": "strong"}):
        messages[0] = build("hello", {"codecs": [], "role": "controller"})
    assert closed_with(quiet, *messages)[0] == code


def test_no_such_stream(quiet):
    assert closed_with(quiet, path="nowhere") == (Close.NO_STREAM, "no such stream; there are forest")


def test_text_that_is_not_utf8_is_refused(quiet):
    with raw_websocket(quiet) as sock:
        sock.sendall(bytes([0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28]))
        assert b"\x03\xef" in sock.recv(4096)  # 1007


def test_silence_instead_of_hello_is_closed(quiet, monkeypatch):
    monkeypatch.setattr("ambient.server.websocket.HELLO_SECONDS", 0.3)
    assert closed_with(quiet) == (Close.NO_HELLO, "no hello within 0.3 s")


def test_half_open_connections_are_dropped(monkeypatch):
    monkeypatch.setattr("ambient.server.lifecycle.REQUEST_SECONDS", 0.3)
    served = Served()
    try:
        socks = [socket.create_connection(("127.0.0.1", served.server.port)) for _ in range(20)]
        for sock in socks[:10]:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: 127")
        for sock in socks:
            sock.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""
            sock.close()
        assert served.get("healthz")[0] == 200
    finally:
        served.server.stop()


@contextlib.contextmanager
def raw_websocket(served: Served):
    """A socket after its WebSocket handshake."""
    with socket.create_connection(("127.0.0.1", served.server.port)) as sock:
        sock.settimeout(5)
        sock.sendall(
            b"GET /ws/v1/forest HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert b" 101 " in head
        yield sock


def masked(text: str) -> bytes:
    """A client's text frame, masked with zeros."""
    data = text.encode()
    return bytes([0x81, 0xFE]) + len(data).to_bytes(2, "big") + bytes(4) + data


@pytest.mark.parametrize("kind", ["websocket", "http"])
def test_a_client_that_never_reads_is_gone_soon_and_nobody_else_notices(served, monkeypatch, kind):
    monkeypatch.setattr(listener_module, "STALL_SECONDS", 1.0)
    with contextlib.ExitStack() as stack:
        if kind == "websocket":
            sock = stack.enter_context(raw_websocket(served))
            sock.sendall(masked(build("hello", {"codecs": ["f32le"], "role": "listener", "padding": "x" * 100})))
        else:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", served.server.port)))
            sock.sendall(b"GET /listen/forest.wav HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        served.until(lambda: served.hub.listeners == 1)

        async def listen():
            last = None
            async with connect(served.socket) as stream:
                async for frame in stream:
                    assert last in (None, frame.sample_index) and not frame.flags & Flags.DISCONTINUITY
                    last = frame.sample_index + frame.frames
                    if frame.seq > 50 and served.hub.listeners == 1:
                        return

        asyncio.run(asyncio.wait_for(listen(), 15))


def test_a_connection_that_is_reset_in_the_middle_leaves_nothing_behind(served):
    for _ in range(10):
        with raw_websocket(served) as sock:
            sock.sendall(masked(build("hello", {"codecs": ["s16le"], "padding": "x" * 120})))
            sock.recv(1000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close sends RST
    served.until(lambda: served.hub.connected == 0)
    assert served.get("healthz")[0] == 200


def test_clients_that_hang_up_before_the_answer_are_no_errors(served, caplog):
    for i in range(60):
        path = ("/ws/v1/forest", "/listen/forest.opus", "/api/v1/streams")[i % 3]
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" if i % 3 == 0 else ""
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" if upgrade else ""
        with socket.create_connection(("127.0.0.1", served.server.port)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close sends RST
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}{key}\r\n".encode())
    served.until(lambda: served.get("healthz")[0] == 200 and served.hub.connected == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# ---- the end


def test_stopping_says_goodbye_within_two_seconds(served):
    ended: list[object] = []

    async def listen():
        seen = []
        async with connect(served.socket, on_message=lambda m: seen.append(m.type), reconnect=False) as stream:
            async for _ in stream:
                if not ended:
                    ended.append("listening")
        return seen

    async def both():
        listening = asyncio.create_task(listen())
        while not ended:
            await asyncio.sleep(0.01)
        with raw_websocket(served) as stuck:  # one that never answers the close
            stuck.sendall(masked(build("hello", {"codecs": ["s16le"], "padding": "x" * 120})))
            began = time.monotonic()
            await asyncio.to_thread(served.server.stop)
            return await listening, time.monotonic() - began

    seen, took = asyncio.run(both())
    assert "draining" in seen
    assert took < 2.0
    served.server.stop()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", served.server.port), timeout=1)


def test_a_refused_client_gets_a_protocol_error(quiet):
    async def listen():
        async with connect(quiet.socket.replace("forest", "nowhere")) as stream:
            await anext(stream)

    with pytest.raises(ProtocolError, match="no such stream") as caught:
        asyncio.run(listen())
    assert caught.value.close_code == Close.NO_STREAM
