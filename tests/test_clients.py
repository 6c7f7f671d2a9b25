"""The clients in clients/ and their examples, as far as they run here."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from browser import chromium
from gdtoolkit.linter import lint_code
from gdtoolkit.parser import parser as gdscript

from ambient.client import PASSING
from ambient.messages import BLOCK_FRAMES, SceneEvent
from ambient.server import Server
from ambient.sinks.hub import Hub
from ambient.sinks.protocol import CLIENT_TYPES, HEADER_BYTES, SERVER_TYPES, SUBPROTOCOL, Codec, Flags, pack_header
from ambient.testing import FakeStream, IndexCodedSource, PacedSource

CLIENTS = pathlib.Path(__file__).parent.parent / "clients"
EXAMPLES = [CLIENTS / name for name in ("python/lightning.py", "javascript/index.html", "godot/example.gd")]


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


# ---- Godot: without the engine, what can be read in its files

GODOT = CLIENTS / "godot"


@pytest.mark.parametrize("path", sorted(GODOT.glob("*.gd")), ids=lambda p: p.name)
def test_godot_scripts_parse_and_keep_to_the_style_guide(path):
    text = path.read_text()
    tree = gdscript.parse(text, gather_metadata=True)
    assert tree.children
    assert [f"{p.line}: {p.description}" for p in lint_code(text)] == []


def test_the_godot_project_hangs_together():
    project, scene = (GODOT / "project.godot").read_text(), (GODOT / "example.tscn").read_text()
    example, stream = (GODOT / "example.gd").read_text(), (GODOT / "ambient_stream.gd").read_text()
    for named in re.findall(r"res://([\w.]+)", project + scene):
        assert (GODOT / named).is_file()
    nodes = dict(re.findall(r'\[node name="(\w+)" type="(\w+)"', scene))
    for used in re.findall(r"\$(\w+)", example):
        assert used in nodes
    extends = re.search(r"^extends (\w+)", stream, re.MULTILINE)
    assert extends is not None and nodes["Forest"] == extends[1]
    signals = set(re.findall(r"^signal (\w+)", stream, re.MULTILINE))
    functions = set(re.findall(r"^func ([a-z]\w+)", stream, re.MULTILINE))
    assert set(re.findall(r"forest\.(\w+)\.connect", example)) <= signals
    assert set(re.findall(r"forest\.(\w+)\(", example)) <= functions
    assert set(re.findall(r"^(\w+) = ", scene.split('name="Forest"')[1], re.MULTILINE)) - {"script"} <= set(
        re.findall(r"^@export.* var (\w+)", stream, re.MULTILINE)
    )


def test_godot_reads_the_same_header_and_says_the_same_words():
    """The offsets and message types in the script are those of the protocol."""
    stream = (GODOT / "ambient_stream.gd").read_text()
    assert f"HEADER_BYTES := {HEADER_BYTES}" in stream and SUBPROTOCOL in stream
    header = pack_header(Codec.S16LE, Flags.NONE, 1, 2**40 + 7, 960, 2**31 + 5)
    for width, at, value in [
        ("u8", 0, 1),
        ("u8", 2, 0),
        ("u64", 8, 2**40 + 7),
        ("u32", 16, 960),
        ("u32", 20, 2**31 + 5),
    ]:
        assert f"decode_{width}({at})" in stream
        assert int.from_bytes(header[at : at + int(width[1:]) // 8], "little") == value
    assert set(re.findall(r'_send\("(\w+)"', stream)) <= set(CLIENT_TYPES)
    assert set(re.findall(r'^\t\t"(\w+)":$', stream, re.MULTILINE)) <= set(SERVER_TYPES)
    final = re.search(r"FINAL_CODES: Array\[int\] = \[(.*)\]", stream)
    assert final is not None
    assert not {int(code) for code in final[1].split(",")} & set(PASSING)
