"""Radio's ways: HLS and ICY by ffmpeg, and a real Icecast that comes and goes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import socket
import subprocess
import time
import urllib.request

import numpy as np
import pytest
from browser import chromium
from test_server import Served, quiet, served  # noqa: F401  (fixtures)

from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, RATE, Block
from ambient.server import Server
from ambient.sinks.icecast import PushTarget
from ambient.testing import PacedSource

PASSWORD = "hackme-not"


def probe(url: str, *more: str) -> dict:
    command = ["ffprobe", "-v", "error", *more, "-show_entries", "stream=codec_name,sample_rate,channels:format_tags"]
    done = subprocess.run([*command, "-of", "json", url], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


def heard(url: str, seconds: float) -> tuple[np.ndarray, str]:
    """Sound as ffmpeg decodes it, and what it complains about."""
    command = ["ffmpeg", "-v", "warning", "-i", url, "-t", str(seconds), "-f", "f32le", "-ar", "48000", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return np.frombuffer(done.stdout, "<f4").reshape(-1, 2), done.stderr.decode()


def tone(number: int) -> Block:
    """440 Hz, without a gap whatever the block."""
    at = (number * BLOCK_FRAMES + np.arange(BLOCK_FRAMES)) % RATE
    wave = 0.25 * np.sin(2 * np.pi * 440 * at / RATE)
    return Block(number * BLOCK_FRAMES, np.stack([wave, wave], 1).astype(np.float32))


def clean(sound: np.ndarray) -> bool:
    """Whether a tone of 440 Hz has no gap and no click: every 10 ms of it is as loud as the others.

    But for the first 0.2 s: an mp3 decoder that joins in the middle lacks the frames that the first ones lean on.
    """
    cells = sound[: len(sound) // 480 * 480, 0].reshape(-1, 480)[20:-5]
    rms = np.sqrt((cells**2).mean(1))
    return bool(abs(np.abs(cells).max() - 0.25) < 0.03 and rms.min() > 0.16 and rms.max() < 0.19)


@pytest.fixture
def toned(quiet):  # noqa: F811
    with PacedSource(quiet.hub, tone):
        quiet.until(lambda: quiet.hub.blocks > 120)
        yield quiet


@pytest.mark.ffmpeg
@pytest.mark.slow
def test_ffmpeg_plays_hls_across_segments_without_a_gap(toned):
    url = f"{toned.url}hls/forest/live.m3u8"
    status, _, headers = toned.get("hls/forest/live.m3u8")
    assert status == 200 and headers["Content-Type"].startswith("application/vnd.apple.mpegurl")
    assert toned.hub.listeners == 1
    streams = probe(url)["streams"]
    assert [(s["codec_name"], s["sample_rate"], s["channels"]) for s in streams] == [("aac", "48000", 2)]
    sound, complaints = heard(url, 7)
    assert len(sound) == 7 * RATE and clean(sound) and not complaints
    assert toned.get("hls/forest/999999.aac")[0] == 404 and toned.get("hls/nowhere/live.m3u8")[0] == 404


@pytest.mark.browser
@pytest.mark.slow
def test_a_browser_plays_hls_by_itself(toned):
    with chromium() as browser:
        browser.open(toned.url)
        browser.evaluate("window.radio = new Audio('/hls/forest/live.m3u8'); radio.play(); 0")
        browser.wait("radio.currentTime > 4")
        assert browser.evaluate("radio.error") is None


def test_hls_without_sound_says_so(quiet, monkeypatch):  # noqa: F811
    monkeypatch.setattr("ambient.server.hls.FIRST_SEGMENT_SECONDS", 0.2)
    status, _, headers = quiet.get("hls/forest/live.m3u8")
    assert status == 503 and headers["Retry-After"] == "2"


@pytest.mark.ffmpeg
@pytest.mark.parametrize("ending", ["mp3", "aac"])
def test_titles_come_only_if_asked_for(toned, ending):
    toned.control.state = "storm"
    url = f"{toned.url}listen/forest.{ending}"
    tags = probe(url)["format"]["tags"]  # ffmpeg asks for them
    assert tags["StreamTitle"] == "forest: storm" and tags["icy-name"] == "forest"
    sound, complaints = heard(url, 3)
    assert clean(sound) and not complaints
    request = urllib.request.Request(url)
    with urllib.request.urlopen(request, timeout=5) as plain:
        assert plain.headers["icy-metaint"] is None
        assert b"StreamTitle" not in plain.read(60_000)


# ---- Icecast


class Icecast:
    """A real one, on a port of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        root = os.geteuid() == 0
        owner = "<changeowner><user>nobody</user><group>nogroup</group></changeowner>" if root else ""
        folder.chmod(0o777)
        (folder / "icecast.xml").write_text(
            f"""<icecast><limits><sources>5</sources></limits>
            <authentication><source-password>{PASSWORD}</source-password><admin-user>admin</admin-user>
            <admin-password>{PASSWORD}</admin-password></authentication>
            <hostname>localhost</hostname>
            <listen-socket><port>{self.port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
            <paths><logdir>{folder}</logdir><webroot>/usr/share/icecast2/web</webroot>
            <adminroot>/usr/share/icecast2/admin</adminroot></paths>
            <logging><errorlog>error.log</errorlog></logging><security><chroot>0</chroot>{owner}</security></icecast>"""
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["icecast2", "-c", str(self.folder / "icecast.xml")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < end and self.process.poll() is None, "Icecast does not start"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def target(self, mount: str, password: str = PASSWORD) -> PushTarget:
        return PushTarget.read(f"icecast://source:{password}@127.0.0.1:{self.port}/{mount}", {})

    def sources(self) -> list[dict]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status-json.xsl", timeout=5) as answer:
            text = answer.read()
        if b'"source"' not in text:  # without sources Icecast 2.4 writes no valid JSON
            return []
        found = json.loads(text)["icestats"]["source"]
        return found if isinstance(found, list) else [found]


@pytest.fixture
def icecast():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: Icecast is another user where root runs the tests
        one = Icecast(pathlib.Path(folder))
        yield one
        one.stop()


@contextlib.contextmanager
def pushing(*targets: PushTarget):
    served = Served(pushes=targets)  # noqa: F811
    try:
        with PacedSource(served.hub, tone):
            yield served
    finally:
        served.server.stop()


@pytest.mark.icecast
@pytest.mark.slow
@pytest.mark.parametrize(("mount", "codec"), [("forest.ogg", "opus"), ("forest.mp3", "mp3")])
def test_icecast_gets_the_stream_and_gets_it_again_after_it_was_away(icecast, mount, codec, caplog):
    icecast.start()
    url = f"http://127.0.0.1:{icecast.port}/{mount}"
    with caplog.at_level(logging.INFO), pushing(icecast.target(mount)) as served:  # noqa: F811
        push = served.server.pushes[0]
        served.until(lambda: push.connected, 10)
        served.until(lambda: icecast.sources() != [], 10)
        assert probe(url)["streams"][0]["codec_name"] == codec
        sound, _ = heard(url, 3)
        assert clean(sound)
        if codec == "mp3":
            served.control.state = "storm"
            served.until(lambda: icecast.sources()[0].get("title") == "forest: storm", 10)
        icecast.stop()
        served.until(lambda: not push.connected, 10)
        icecast.start()
        served.until(lambda: push.connected and push.connects == 2, 20)
        sound, _ = heard(url, 2)
        assert clean(sound)
    assert "connecting again" in caplog.text and PASSWORD not in caplog.text


@pytest.mark.icecast
def test_a_wrong_password_is_told_and_nothing_else_suffers(icecast, caplog):
    icecast.start()
    with caplog.at_level(logging.INFO), pushing(icecast.target("forest.ogg", "guessed")) as served:  # noqa: F811
        served.until(lambda: "it refuses the user or the password (401)" in caplog.text, 10)
        assert not served.server.pushes[0].connected and served.get("healthz")[0] == 200
    assert "guessed" not in caplog.text


def test_targets_are_read():
    target = PushTarget.read("forest=icecasts://me:a%40b@radio.example/wood.mp3", {})
    assert (target.stream, target.host, target.port, target.mount, target.tls, target.user, target.password) == (
        "forest",
        "radio.example",
        8000,
        "/wood.mp3",
        True,
        "me",
        "a@b",
    )
    assert target.encoder == "mp3" and str(target) == "radio.example:8000/wood.mp3" and "a@b" not in repr(target)
    assert PushTarget.read("icecast://h/x.ogg", {"AMBIENT_ICECAST_PASSWORD": "secret"}).password == "secret"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://h/x.ogg", "this is no address such as"),
        ("icecast://h/x.flac", "does not end in one of .mp3, .aac, .ogg, .opus"),
        ("icecast://h:x/x.ogg", "the port is no number"),
        ("icecast://h/x.ogg", "put it into AMBIENT_ICECAST_PASSWORD"),
    ],
)
def test_a_target_that_cannot_be_is_told(text, message):
    with pytest.raises(ValueError, match=message):
        PushTarget.read(text, {"AMBIENT_ICECAST_PASSWORD": "secret"} if "x:" not in text and ":x" in text else {})


def test_a_stream_that_is_not_served_cannot_be_pushed():
    with pytest.raises(SinkError, match="no stream is called 'sea' to be pushed; there are "):
        Server([], pushes=[PushTarget.read("sea=icecast://source:x@h/x.ogg", {})])
