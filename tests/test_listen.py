"""``ambient listen``: from a server into a file, sample for sample."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from ambient.cli import main
from ambient.commands.listen import stream_url
from ambient.errors import AmbientError
from ambient.messages import RATE
from ambient.server import Server
from ambient.sinks.hub import Hub
from ambient.testing import FakeStream, IndexCodedSource, PacedSource


@pytest.fixture
def server():
    streams = [(FakeStream(name), Hub(name)) for name in ("forest", "a café")]
    one = Server(streams, port=0)
    one.start()
    with PacedSource(streams[0][1]):
        yield one
    one.stop()


def test_every_way_of_writing_an_address(server):
    base = f"127.0.0.1:{server.port}"
    forest, cafe = f"ws://{base}/ws/v1/forest", f"ws://{base}/ws/v1/a%20caf%C3%A9"
    assert stream_url(base) == stream_url(f"http://{base}/") == stream_url(f"http://{base}/#forest") == forest
    assert stream_url(f"http://{base}/listen/forest.mp3") == forest == stream_url(forest)
    assert stream_url(f"http://{base}/#a%20caf%C3%A9") == cafe
    with pytest.raises(AmbientError, match="has no stream 'shore'; there are forest, a café"):
        stream_url(f"{base}/#shore")
    with pytest.raises(AmbientError, match="is no address of a server; write http://HOST"):
        stream_url("ftp://example.org")
    with pytest.raises(AmbientError, match="is `ambient serve` running there"):
        stream_url("http://127.0.0.1:9/")


@pytest.mark.parametrize("codec", ["s16le", "f32le"])
def test_a_file_holds_exactly_what_was_sent(server, tmp_path, codec):
    path = tmp_path / "forest.wav"
    assert main(["listen", server.url, "--out", str(path), "--seconds", "1.23", "--codec", codec]) == 0
    sound, rate = soundfile.read(path, dtype="float32")
    assert (rate, sound.shape) == (RATE, (round(1.23 * RATE), 2))
    heard = IndexCodedSource.indices(sound)
    assert (np.diff(heard) == 1).all()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_keeps_what_it_heard(server, tmp_path, number):
    path = tmp_path / "forest.flac"
    listening = subprocess.Popen(
        [sys.executable, "-m", "ambient", "listen", server.url, "--out", path],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    part = tmp_path / "forest.flac.part"
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 100_000):
        assert listening.poll() is None, listening.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    listening.send_signal(number)
    _, said = listening.communicate(timeout=20)
    assert listening.returncode == 0, said
    assert list(tmp_path.iterdir()) == [path] and f"written: {path}" in said
    assert (np.diff(IndexCodedSource.indices(soundfile.read(path, dtype="float32")[0])) == 1).all()


def test_a_server_that_is_gone_is_said_and_leaves_no_file(server, tmp_path, capsys):
    path = tmp_path / "x.flac"
    assert main(["listen", "ws://127.0.0.1:9/ws/v1/forest", "--out", str(path)]) == 1
    assert "ambient listen: nothing answers there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(["listen", server.url, "--out", str(tmp_path / "x.mod")]) == 1
    assert "names no known format" in capsys.readouterr().err
