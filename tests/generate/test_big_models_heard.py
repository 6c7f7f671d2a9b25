"""The big families from the command line: single clips and rendered scenes, on tiny checkpoints."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

import ambient.commands.render
from ambient.cli import main
from ambient.generate.loading import load_backend
from ambient.generate.worker import InProcessGenerator
from ambient.messages import ModelInfo
from ambient.ports import Backend

FAMILIES = ("audioldm", "audioldm2", "stable-audio", "stable-audio-3")
Folder = Callable[[str], pathlib.Path]
pytestmark = pytest.mark.filterwarnings("ignore")
SCENE = """\
scene: 1
seed: 4
layers:
  rain: {prompt: steady rain on leaves}
  wind: {prompt: wind in the pines, level: -6}
  owl: {prompt: an owl, scatter: {every: [1s, 2s]}}
states: {forest: under tall trees}
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generates in this process: starting one takes seconds, and it has a test of its own."""
    loaded: dict[str, Backend] = {}

    def generator(info: ModelInfo, device: str, threads: int | None) -> InProcessGenerator:
        if info.fingerprint not in loaded:
            loaded[info.fingerprint] = load_backend(info, device, threads)
        return InProcessGenerator(loaded[info.fingerprint])

    monkeypatch.setattr(ambient.commands.render, "ProcessGenerator", generator)


@pytest.mark.parametrize("family", FAMILIES)
def test_clips(checkpoint: Folder, family: str, here: None, tmp_path: pathlib.Path) -> None:
    common = ["--model", str(checkpoint(family)), "--steps", "2", "--seed", "3", "--device", "cpu"]
    out = tmp_path / "one.wav"
    assert main(["clip", "rain on a tent", "--seconds", "2.5", "--avoid", "music", "--out", str(out), *common]) == 0
    audio, rate = soundfile.read(out)
    assert rate == 48_000 and audio.shape == (120_000, 2) and audio.std() > 1e-4
    assert (
        main(["clip", "rain", "an owl", "--one-shot", "--seconds", "1", "--out", str(tmp_path / "two"), *common]) == 0
    )
    assert len(list((tmp_path / "two").glob("*.wav"))) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_render_solo_joins_clips_without_a_hole(
    checkpoint: Folder, family: str, here: None, tmp_path: pathlib.Path
) -> None:
    scene = tmp_path / "scene.yaml"
    scene.write_text(SCENE)
    sounds = []
    for name in ("a", "b")[: 2 if family == "stable-audio-3" else 1]:
        out, joins = tmp_path / f"{name}.wav", tmp_path / f"{name}.json"
        given = ["--seconds", "12", "--solo", "rain", "--out", str(out), "--joins", str(joins), "--steps", "1"]
        assert main(["render", str(scene), "--model", str(checkpoint(family)), "--device", "cpu", *given]) == 0
        audio, rate = soundfile.read(out)
        assert rate == 48_000 and len(audio) == 12 * 48_000
        found = json.loads(joins.read_text())
        assert found["joins"]["rain"] and found["joins"].keys() == {"rain"}
        second = np.square(audio[48_000:]).reshape(11, -1).mean(1)
        assert second.min() > 1e-8, "never silent"
        sounds.append(audio)
    np.testing.assert_array_equal(sounds[0], sounds[-1])


def test_render_with_a_worker_process(checkpoint: Folder, tmp_path: pathlib.Path) -> None:
    scene = tmp_path / "scene.yaml"
    scene.write_text(f"model: {checkpoint('stable-audio-3')}\n{SCENE}")
    out = tmp_path / "all.flac"
    assert main(["render", str(scene), "--seconds", "9", "--out", str(out), "--steps", "2", "--device", "cpu"]) == 0
    assert soundfile.read(out)[0].std() > 1e-4


def test_a_model_that_is_no_model_says_so(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    for model, words in {
        "nobody/nothing": "model 'nobody/nothing' is not on this machine; fetch it once with `ambient models fetch",
        str(tmp_path): "holds no model_index.json",
    }.items():
        assert main(["clip", "rain", "--model", model, "--out", str(tmp_path / "x.wav")]) == 1
        assert words in capsys.readouterr().err
