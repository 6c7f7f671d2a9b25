"""The command line as a user meets it, with the bundled model: real processes, real files, real faults."""

from __future__ import annotations

import itertools
import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from commands import ONE_BED, ambient, start


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "rain.yaml"
    path.write_text(ONE_BED)
    return path


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
