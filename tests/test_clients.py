"""The clients in clients/ and their examples, as far as they run here."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from browser import chromium

from ambient.messages import BLOCK_FRAMES, SceneEvent
from ambient.server import Server
from ambient.sinks.hub import Hub
from ambient.testing import FakeStream, IndexCodedSource, PacedSource

CLIENTS = pathlib.Path(__file__).parent.parent / "clients"
EXAMPLES = sorted(
    p for p in CLIENTS.rglob("*") if p.suffix in (".py", ".html", ".mjs", ".gd") and "addons" not in p.parts
)


class Stage:
    """A server whose stream thunders 0.5 s after it was fired, and is heard 0.3 s later."""

    def __init__(self) -> None:
        self.control, self.hub = FakeStream("forest"), Hub("forest")
        self.server = Server([(self.control, self.hub)], port=0)
        self.server.start()
        self.socket = f"ws://127.0.0.1:{self.server.port}/ws/v1/forest"
        self._thundered = False

    def block(self, number: int):
        events: tuple[SceneEvent, ...] = ()
        if "thunder" in self.control.fired and not self._thundered:
            self._thundered, at = True, (number + 25) * BLOCK_FRAMES
            detail = {"layer": "thunder", "distance_m": 100, "heard_frame": at + 14_400}
            events = (SceneEvent("oneshot", "thunder", at, detail),)
        return IndexCodedSource.block(number, events)


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage()
    with PacedSource(one.hub, one.block):
        yield one
    one.server.stop()


@contextlib.contextmanager
def running(*command: object) -> Iterator[subprocess.Popen[str]]:
    """A program whose output is read while it runs; ended after half a minute in any case."""
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, env=os.environ)
    end = threading.Timer(30, process.kill)
    end.start()
    try:
        yield process
    finally:
        end.cancel()
        process.kill()
        process.wait()


def test_the_python_example_flashes_when_thunder_is_heard(stage):
    with running(sys.executable, CLIENTS / "python" / "lightning.py", stage.socket) as example:
        assert example.stdout is not None
        assert example.stdout.readline() == "FLASH thunder\n"
    assert stage.control.fired == ["thunder"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) < 40


@pytest.mark.browser
def test_the_javascript_example_flashes_when_thunder_is_heard(stage, tmp_path):
    """Served from elsewhere, as a game's page would be."""
    shutil.copy(CLIENTS / "javascript" / "index.html", tmp_path)
    shutil.copy(CLIENTS.parent / "ambient" / "page" / "ambient.js", tmp_path)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as place, chromium() as browser:
        threading.Thread(target=place.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{place.server_port}"
        server = Server([(stage.control, stage.hub)], port=0, origins=[here])
        server.start()
        try:
            browser.open(f"{here}/index.html?server=http://127.0.0.1:{server.port}&stream=forest")
            browser.click("#play")
            time.sleep(1.5)  # it plays
            browser.click("#thunder")
            browser.wait("document.querySelector('#said').textContent === 'flash: thunder is heard'")
            browser.click("#thunder")
            assert [e for e in browser.errors if "favicon" not in e] == []
        finally:
            server.stop()
            place.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
