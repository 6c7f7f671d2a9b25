"""``ambient serve`` as a user meets it, with the bundled model: real processes, which are killed and started again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from commands import ONE_BED, ambient, start


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "rain.yaml"
    path.write_text(ONE_BED)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.load(answer)


def until_ready(port: int, process: subprocess.Popen[str], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[1]
        try:
            if get(port, "/readyz")["ready"]:
                return
        except OSError:
            pass
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"not ready after {seconds} s:\n{process.communicate()[1]}")


def test_serve_plays_survives_a_killed_worker_and_ends_in_order(tmp_path: Path, scene: Path) -> None:
    port = free_port()
    process = start("serve", str(scene), "--port", str(port), "--no-sound-card", "--rest-after", "0", cwd=tmp_path)
    try:
        until_ready(port, process)
        before = get(port, "/api/v1/streams/rain")
        assert before["state"] == "rain" and before["model"] == "bundled"
        told = ambient("explain", "--url", f"http://127.0.0.1:{port}", cwd=tmp_path)
        assert told.returncode == 0 and told.stdout.startswith("rain: rain\n"), told.stderr
        assert "steady rain" in told.stdout and "\n  state rain" in told.stdout
        missing = ambient("explain", "forest", "--url", f"http://127.0.0.1:{port}", cwd=tmp_path)
        assert missing.returncode == 1 and "404" in missing.stderr
        end = time.monotonic() + 60
        while not (workers := children(process.pid)) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while get(port, "/api/v1/streams/rain")["counts"]["restarts"] < 1 and time.monotonic() < end:
            time.sleep(0.2)
        after = get(port, "/api/v1/streams/rain")
        assert after["counts"]["restarts"] >= 1 and after["counts"]["underruns"] == 0
        assert after["seconds"] > before["seconds"]
        assert get(port, "/readyz")["ready"]
        # the scene is saved with another layer, and heard without a gap
        scene.write_text(ONE_BED.replace("states:", "layers: {wind: {level: -6, prompt: a breeze}}\nstates:"))
        end = time.monotonic() + 60
        while (now := get(port, "/api/v1/streams/rain")) and time.monotonic() < end:
            if [row["name"] for row in now["layers"] if row["level_db"] > -70] == ["wind", "rain"]:
                break
            time.sleep(0.2)
        assert {row["name"] for row in now["layers"]} == {"wind", "rain"} and now["counts"]["underruns"] == 0
        assert min(row["level_db"] for row in now["layers"]) > -70
    finally:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 5 and process.returncode == 0, err
    assert "Traceback" not in err


def children(pid: int) -> list[int]:
    """Worker processes of a process, by their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(re.search(r"PPid:\s+(\d+)", (folder / "status").read_text())[1])  # type: ignore[index]
            line = (folder / "cmdline").read_bytes()
        except (OSError, TypeError):
            continue
        if parent == pid and b"spawn_main" in line:
            found.append(int(folder.name))
    return found


def test_a_scene_heard_before_starts_from_the_cache(tmp_path: Path, scene: Path) -> None:
    for _ in range(2):
        port = free_port()
        process = start("serve", str(scene), "--port", str(port), "--no-sound-card", cwd=tmp_path)
        try:
            until_ready(port, process)
            counts = get(port, "/api/v1/streams/rain")["counts"]
        finally:
            process.terminate()
            process.communicate(timeout=20)
    assert counts["cached"] >= 1


def test_a_folder_of_scenes_is_served_and_streams_nobody_hears_rest(tmp_path: Path) -> None:
    for name in ("rain", "sea"):
        (tmp_path / f"{name}.yaml").write_text(ONE_BED)
    port = free_port()
    process = start("serve", ".", "--port", str(port), "--no-sound-card", "--rest-after", "1", cwd=tmp_path)
    try:
        until_ready(port, process)
        assert [row["name"] for row in get(port, "/api/v1/streams")["streams"]] == ["rain", "sea"]
        end = time.monotonic() + 60
        while not get(port, "/api/v1/streams/sea")["resting"] and time.monotonic() < end:
            time.sleep(0.2)
        assert get(port, "/api/v1/streams/sea")["resting"] and get(port, "/readyz")["ready"]
        began = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/listen/sea.wav", timeout=10) as sound:
            while time.monotonic() - began < 10:
                sound.read(9600)
                if not get(port, "/api/v1/streams/sea")["resting"]:
                    break
        assert not get(port, "/api/v1/streams/sea")["resting"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in err, err
    empty = tmp_path / "empty"
    empty.mkdir()
    told = ambient("serve", str(empty), cwd=tmp_path)
    assert told.returncode == 1 and "there is no scene in the folder" in told.stderr


def test_a_port_in_use_is_told(tmp_path: Path, scene: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = ambient("serve", str(scene), "--port", str(port), "--no-sound-card", cwd=tmp_path)
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr and "Traceback" not in done.stderr


def test_play_without_a_sound_card_says_what_else_there_is(tmp_path: Path, scene: Path) -> None:
    done = ambient("play", str(scene), "--sound-device", "no such card", cwd=tmp_path)
    assert done.returncode == 1
    assert "ambient devices" in done.stderr and "Traceback" not in done.stderr


def test_states_and_parameters_survive_a_restart(tmp_path: Path) -> None:
    scene = tmp_path / "coast.yaml"
    scene.write_text(
        "scene: 1\nparams: {wind: {start: 0.2}}\nlayers: {sea: {prompt: surf on a beach}}\n"
        "states:\n  calm: {transitions: [{to: rough, after: 1h}]}\n  rough: {transitions: [{to: calm, after: 1h}]}\n"
    )
    state = tmp_path / "state.json"
    for turn in range(2):
        port = free_port()
        process = start(
            "serve", str(scene), "--port", str(port), "--no-sound-card", "--state", str(state), cwd=tmp_path
        )
        try:
            until_ready(port, process)
            status = get(port, "/api/v1/streams/coast")
            if turn == 0:
                assert (status["state"], status["params"]) == ("calm", {"wind": 0.2})
                for door, body in (("state", {"state": "rough", "over_seconds": 0}), ("params", {"wind": 0.9})):
                    url = f"http://127.0.0.1:{port}/api/v1/streams/coast/{door}"
                    urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=5).close()
                end = time.monotonic() + 10
                while get(port, "/api/v1/streams/coast")["state"] != "rough" and time.monotonic() < end:
                    time.sleep(0.1)
            else:
                assert (status["state"], status["params"]) == ("rough", {"wind": 0.9})
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 0 and "Traceback" not in err, err
    wrong = ambient("serve", str(scene), "--no-sound-card", "--state", str(scene), cwd=tmp_path)
    assert wrong.returncode == 1 and "was not written by --state" in wrong.stderr
    assert scene.read_text().startswith("scene: 1")
