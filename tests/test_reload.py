"""Hot reload: what is saved is heard, what is broken or half written is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambient.commands.reload import SceneFile
from ambient.engine import Engine, Options
from ambient.engine.live import LiveStream
from ambient.scene import load_scene
from ambient.testing import ListSink, ManualClock, ScriptedGenerator

RAIN = "scene: 1\nlayers: {bed: {prompt: steady rain}}\nstates: {only: {}}\n"


class Writer:
    """An editor: every saving changes the file's time, however fast it comes."""

    def __init__(self, path: Path) -> None:
        self.path, self.tick = path, 0

    def __call__(self, text: str) -> None:
        self.tick += 1
        self.path.write_text(text)
        os.utime(self.path, ns=(self.tick * 10**9, self.tick * 10**9))


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    writer = Writer(tmp_path / "mine.yaml")
    writer(RAIN)
    return writer


@pytest.fixture
def stream(write: Writer) -> LiveStream:
    engine = Engine(load_scene(write.path), ScriptedGenerator(), Options(live=True))
    return LiveStream("mine", engine, [ListSink()], ManualClock())


def obeyed(stream: LiveStream) -> str:
    """The prompt that the engine plays, once it has done what it was told."""
    stream._obey()
    return str(stream._engine.machine.look().layer("bed").prompt)


def test_a_saved_scene_replaces_the_one_that_plays(write: Writer, stream: LiveStream) -> None:
    file = SceneFile(write.path, stream, load_scene(write.path))
    assert not file.look() and not file.look()
    write(RAIN.replace("steady rain", "hail"))
    assert not file.look()  # it may still be growing
    assert file.look() and not file.look()
    assert obeyed(stream) == "hail"
    write(RAIN.replace("steady rain", "hail"))  # saved again, unchanged
    assert not file.look() and not file.look()


def test_a_broken_scene_is_reported_and_the_old_one_plays_on(
    write: Writer, stream: LiveStream, caplog: pytest.LogCaptureFixture
) -> None:
    file = SceneFile(write.path, stream, load_scene(write.path))
    write(RAIN.replace("prompt", "promt"))
    assert not file.look() and not file.look()
    stream._snapshot(playing=True)
    missing, unknown = stream.status()["scene_problems"]
    assert "mine.yaml:2:15: error: 'prompt' is missing" in missing
    assert unknown.endswith("mine.yaml:2:16: error: unknown key 'promt'; did you mean 'prompt'?")
    assert "the version before it plays on" in caplog.text
    assert obeyed(stream) == "steady rain"
    write(RAIN.replace("steady rain", "hail"))
    file.look()
    assert file.look() and obeyed(stream) == "hail"
    stream._snapshot(playing=True)
    assert stream.status()["scene_problems"] == []


def test_a_file_that_is_away_for_a_moment_or_still_grows_is_waited_for(write: Writer, stream: LiveStream) -> None:
    file = SceneFile(write.path, stream, load_scene(write.path))
    write.path.unlink()
    assert not file.look() and not file.look()
    write(RAIN[:20])
    assert not file.look()
    write(RAIN.replace("steady rain", "hail"))
    assert not file.look()
    assert file.look() and obeyed(stream) == "hail"
