"""The command line as a user meets it, with the bundled model: real processes, real files, real faults."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

ONE_BED = "scene: 1\nseed: 5\nstates: {rain: steady rain}\n"


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ambient", *arguments],
        cwd=cwd,
        env=os.environ | {"AMBIENT_CACHE": str(cwd / "cache"), "OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ambient(*arguments: str, cwd: Path, seconds: float = 100) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=seconds)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


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


# ---- rendering


def test_render_gives_exact_lengths_and_the_same_samples_twice(tmp_path: Path, scene: Path) -> None:
    for name in ("a.wav", "b.wav"):
        done = ambient("render", str(scene), "--seconds", "9.5", "--out", name, "--joins", f"{name}.json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    a, rate = sf.read(tmp_path / "a.wav")
    b, _ = sf.read(tmp_path / "b.wav")
    assert rate == 48_000 and a.shape == (456_000, 2)
    np.testing.assert_array_equal(a, b)
    assert 0.005 < np.sqrt(np.mean(a**2)) < 0.5
    joins = json.loads((tmp_path / "a.wav.json").read_text())
    assert joins["rate"] == 48_000 and joins["lattice"] == 3840
    assert joins["joins"]["rain"] and all(0 < j < 456_000 for j in joins["joins"]["rain"])


def test_stems_are_the_layers_in_time_with_the_mix(tmp_path: Path) -> None:
    text = "scene: 1\nseed: 5\nlayers: {rain: steady rain, wind: {level: -6, prompt: a breeze}}\nstates: {only: {}}\n"
    (tmp_path / "two.yaml").write_text(text)
    done = ambient("render", "two.yaml", "--seconds", "7.01", "--out", "mix.wav", "--stems", "stems", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    mix, _ = sf.read(tmp_path / "mix.wav")
    stems = {p.stem: sf.read(p)[0] for p in (tmp_path / "stems").iterdir()}
    assert set(stems) == {"rain", "wind"} and all(s.shape == mix.shape == (336_480, 2) for s in stems.values())
    total = stems["rain"] + stems["wind"]
    # the mix is their sum under a slow gain: sample for sample the same shape
    for at in range(48_000, len(mix) - 4800, 48_000):
        a, b = total[at : at + 4800].ravel(), mix[at : at + 4800].ravel()
        assert np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)) > 0.999


def test_a_loop_leads_back_into_its_beginning(tmp_path: Path) -> None:
    text = (
        "scene: 1\nseed: 5\nlayers: {rain: steady rain, wind: {level: -9, prompt: a breeze}}\n"
        "states: {dry: {layers: {rain: {mute: true}}, transitions: [{to: wet, after: 3s}]}, wet: {}}\n"
    )
    (tmp_path / "two.yaml").write_text(text)
    given = ["--seconds", "12.5", "--state", "wet", "--loop", "--out", "a.wav", "--stems", "stems"]
    done = ambient("render", "two.yaml", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    mix, _ = sf.read(tmp_path / "a.wav")
    stems = [sf.read(p)[0] for p in sorted((tmp_path / "stems").iterdir())]
    assert mix.shape == (156 * 3840, 2) and [s.shape for s in stems] == [mix.shape] * 2
    # the seam's step of level and colour is within those of the sound itself
    twice = np.concatenate([mix, mix]).mean(1)
    power = np.log(
        np.abs(np.fft.rfft(twice[: len(twice) // 4800 * 4800].reshape(-1, 4800) * np.hanning(4800)))[:, 5:] + 1e-9
    )
    power = power[:, : power.shape[1] // 100 * 100].reshape(len(power), -1, 100).mean(2)
    steps = np.linalg.norm(power[8:] - power[:-8], axis=1)
    seam = len(mix) // 4800 - 4
    assert steps[seam - 8 : seam + 4].max() <= 1.5 * np.percentile(steps[: seam - 20], 99)
    refused = ambient("render", "two.yaml", "--seconds", "3", "--loop", "--out", "b.wav", cwd=tmp_path)
    assert refused.returncode == 1 and "a loop has at least 8" in refused.stderr
    unknown = ambient("render", "two.yaml", "--seconds", "9", "--state", "wett", "--out", "b.wav", cwd=tmp_path)
    assert unknown.returncode == 1 and "no state 'wett', only dry, wet" in unknown.stderr


def test_clips_come_in_the_order_given(tmp_path: Path) -> None:
    done = ambient(
        "clip",
        "waves",
        "a cat purring",
        "waves",
        "--seconds",
        "2",
        "--seed",
        "4",
        "--out",
        "clips",
        "--json",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    names = sorted(p.name for p in (tmp_path / "clips").iterdir())
    assert names == ["001-waves.wav", "002-a-cat-purring.wav", "003-waves.wav"]
    assert [Path(row["out"]).name for row in json.loads(done.stdout)] == names
    sounds = [sf.read(tmp_path / "clips" / n)[0] for n in names]
    assert all(s.shape == (96_000, 2) for s in sounds)
    np.testing.assert_array_equal(sounds[0], sounds[2])
    assert not np.array_equal(sounds[0], sounds[1])


def test_an_interrupted_rendering_leaves_nothing_behind(tmp_path: Path, scene: Path) -> None:
    process = start("render", str(scene), "--seconds", "3000", "--out", "long.wav", cwd=tmp_path)
    end = time.monotonic() + 60
    while not list(tmp_path.glob("long.wav*")) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err.strip().endswith("interrupted"), err
    assert not list(tmp_path.glob("long.wav*"))


# ---- clear messages


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no such scene": (["render", "forrest", "--seconds", "1", "--out", "x.wav"], "did you mean 'forest'?"),
    "no such model": (
        ["render", "rain.yaml", "--seconds", "1", "--out", "x.wav", "--model", "nowhere"],
        "nowhere",
    ),
    "no such layer": (
        ["render", "rain.yaml", "--seconds", "1", "--out", "x.wav", "--solo", "snow"],
        "--solo: the scene has no layer 'snow', only rain",
    ),
    "nothing to mute": (
        ["render", "rain.yaml", "--seconds", "1", "--out", "x.wav", "--mute", "geo"],
        "--mute: no layer, family or role is called 'geo'; there are rain",
    ),
    "no such event": (
        ["render", "rain.yaml", "--seconds", "1", "--out", "x.wav", "--at", "1:boom"],
        "--at: the scene has no event 'boom', only none at all",
    ),
    "no such parameter": (
        ["render", "rain.yaml", "--seconds", "1", "--out", "x.wav", "--set", "wind=1"],
        "--set: no parameter is called 'wind'",
    ),
    "unknown format": (["render", "rain.yaml", "--seconds", "1", "--out", "x.xyz"], "x.xyz"),
    "no such folder": (["render", "rain.yaml", "--seconds", "1", "--out", "no/x.wav"], "there is no folder no"),
    "not a folder": (["clip", "rain", "--seconds", "1", "--out", "/dev/null/x.wav"], "/dev/null"),
    "many prompts, one file": (["clip", "a", "b", "--out", "x.wav"], "name a folder"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_clear_message_and_no_traceback(name: str, tmp_path: Path, scene: Path) -> None:
    arguments, expected = MISTAKES[name]
    done = ambient(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.glob("x.*"))


def test_check_reports_and_exits_as_promised(tmp_path: Path, scene: Path) -> None:
    assert ambient("check", str(scene), "forest", cwd=tmp_path).returncode == 0
    (tmp_path / "bad.yaml").write_text("scene: 1\nsed: 4\nstates: {a: {transitions: [{to: b}]}}\n")
    done = ambient("check", str(scene), "bad.yaml", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "bad.yaml:2:1: error: unknown key 'sed'; did you mean 'seed'?" in lines
    assert all(re.match(r"bad\.yaml:\d+:\d+: (error|warning): ", line) for line in lines if line.startswith("bad"))
    found = json.loads(ambient("check", "bad.yaml", "--json", cwd=tmp_path).stdout)
    assert [p["message"] for p in found["problems"] if p["severity"] == "error"] == [
        "unknown key 'sed'",
        "nothing triggers this transition",
        "unknown state 'b'",
    ]
    assert found["errors"] == 3 and found["problems"][0]["line"] == 2


def test_simulate_tells_a_day_as_json(tmp_path: Path) -> None:
    done = ambient("simulate", "forest", "--hours", "24", "--seed", "1", "--json", cwd=tmp_path)
    rows = json.loads(done.stdout)["transitions"]
    assert len(rows) > 100 and set(rows[0]) == {"at_seconds", "from", "to", "why"}
    assert all(a["to"] == b["from"] for a, b in itertools.pairwise(rows))


def test_authors_get_pictures_and_a_schema(tmp_path: Path) -> None:
    done = ambient("simulate", "cafe", "--hours", "0.5", "--png", "day.png", cwd=tmp_path)
    assert done.returncode == 0 and "time in each state" in done.stdout, done.stderr
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG")
    assert ambient("graph", "cafe", cwd=tmp_path).stdout == "cafe-states.svg\n"
    assert "<svg" in (tmp_path / "cafe-states.svg").read_text()
    assert ambient("graph", "cafe", "--out", "cafe.png", cwd=tmp_path).returncode == 0
    assert (tmp_path / "cafe.png").read_bytes().startswith(b"\x89PNG")
    wrong = ambient("graph", "cafe", "--out", "cafe.gif", cwd=tmp_path)
    assert wrong.returncode == 1 and wrong.stderr == "ambient graph: cafe.gif: a picture ends in .svg or .png\n"
    assert json.loads(ambient("schema", cwd=tmp_path).stdout)["title"] == "Ambient scene"
    told = ambient("schema", "--out", "ambient.json", cwd=tmp_path)
    assert "# yaml-language-server: $schema=ambient.json" in told.stdout


def test_models_and_devices_can_be_listed(tmp_path: Path) -> None:
    rows = json.loads(ambient("models", "--json", cwd=tmp_path).stdout)
    assert rows[0]["name"] == "bundled" and rows[0]["rate"] == 48_000
    assert ambient("devices", cwd=tmp_path).returncode == 0
    assert "examples:" in ambient("--help", cwd=tmp_path).stdout


# ---- live


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
