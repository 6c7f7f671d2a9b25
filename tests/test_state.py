"""``--state FILE``: whole at every moment, clear about what is no such file, and the sound never waits for it."""

from __future__ import annotations

import json
import logging

import pytest

from ambient.commands.state import StateFile
from ambient.errors import AmbientError
from ambient.scene import Machine, Memory, parse_scene

MEMORY = Machine(parse_scene("scene: 1\nstates: {forest: beech forest}\n")).memory()


def test_what_is_kept_is_there_again(tmp_path):
    path = tmp_path / "state.json"
    file = StateFile(path)
    assert file.memory("forest") is None
    file.keep({"forest": MEMORY}, now=True)
    assert StateFile(path).memory("forest") == MEMORY
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_streams_that_are_not_served_this_time_are_not_forgotten(tmp_path):
    path = tmp_path / "state.json"
    StateFile(path).keep({"forest": MEMORY}, now=True)
    StateFile(path).keep({"sea": MEMORY}, now=True)
    assert StateFile(path).memory("forest") == StateFile(path).memory("sea") == MEMORY


def test_it_is_written_now_and_then(tmp_path):
    path, now = tmp_path / "state.json", [0.0]
    file = StateFile(path, lambda: now[0])
    file.keep({"forest": MEMORY})
    assert not path.exists()
    now[0] = 5.0
    file.keep({"forest": MEMORY})
    written = path.stat().st_mtime_ns
    now[0] = 9.0
    file.keep({"forest": MEMORY})
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("scene: 1", "Expecting value"),
        ("[1]", "list indices"),
        ('{"ambient_state": 7}', "its format is 7, not 1"),
        ('{"ambient_state": 1}', "'streams'"),
        ('{"ambient_state": 1, "streams": {"forest": {"state": 3}}}', "state: Input should be a valid string"),
    ],
)
def test_another_file_is_left_alone_and_named(tmp_path, text, what):
    path = tmp_path / "forest.yaml"
    path.write_text(text)
    with pytest.raises(AmbientError) as caught:
        StateFile(path)
    assert str(caught.value).startswith(f"{path} was not written by --state (") and what in str(caught.value)
    assert path.read_text() == text
    with pytest.raises(AmbientError, match=r"the folder .* is not there"):
        StateFile(tmp_path / "nowhere" / "state.json")


def test_a_disk_that_takes_nothing_is_told_once(tmp_path, caplog):
    folder = tmp_path / "gone"
    folder.mkdir()
    file = StateFile(folder / "state.json")
    folder.rmdir()
    with caplog.at_level(logging.ERROR):
        file.keep({"forest": MEMORY}, now=True)
        file.keep({"forest": MEMORY}, now=True)
    assert caplog.text.count("the state cannot be kept") == 1
    folder.mkdir()
    file.keep({"forest": MEMORY}, now=True)
    assert json.loads((folder / "state.json").read_text())["streams"]["forest"]["state"] == "forest"


def test_infinities_have_no_place_in_it():
    with pytest.raises(ValueError, match="finite number"):
        Memory.model_validate(MEMORY.model_dump() | {"stayed_seconds": float("inf")})
