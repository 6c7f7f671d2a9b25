"""Layers of one scene from several models: each with its own lattice, pace and level, heard together."""

from __future__ import annotations

import pathlib
from dataclasses import replace

import numpy as np
import pytest

from ambient.engine import Engine, Options
from ambient.engine.journal import Recorder
from ambient.engine.options import Opened
from ambient.engine.replay import Replay
from ambient.errors import BackendError, ModelNotFound, ReplayError
from ambient.messages import BLOCK_FRAMES, RATE, Audio, Clip, ClipFailure, ClipRequest
from ambient.ports import Generator
from ambient.scene import Scene, parse_scene
from ambient.testing import FakeBackend, ScriptedGenerator

TEXT = """
scene: 1
steps: 6
guidance: 3
events: {crack: {fire: thunder}}
layers:
  leaves: leaves
  rain: {prompt: rain, model: big, steps: 40}
  thunder: {prompt: thunder, model: big, mute: true, scatter: {every: [3s, 6s], distance: 343}}
states: {wood: {}}
"""
BIG = replace(
    FakeBackend().info,
    name="big",
    family="stable-audio",
    fingerprint="fake-big",
    rate=44_100,
    frames_per_latent=2229,
    latent_channels=7,
    steps=50,
    min_steps=20,
    guidance=7.0,
    levelled=False,
)


class Loud(FakeBackend):
    """Another model: another lattice, and six times as loud."""

    def __init__(self) -> None:
        super().__init__(BIG)

    def _one(self, request: ClipRequest) -> Clip:
        clip = super()._one(request)
        return clip if request.one_shot else replace(clip, audio=clip.audio * np.float32(6))


def scene(text: str = TEXT) -> Scene:
    return parse_scene(text, "wood.yaml")


def engine(
    big: ScriptedGenerator | None = None, text: str = TEXT, live: bool = False
) -> tuple[Engine, ScriptedGenerator, ScriptedGenerator]:
    own, other = ScriptedGenerator(), big or ScriptedGenerator(Loud())

    def open_model(name: str) -> Opened:
        if name != "big":
            raise ModelNotFound(f"there is no model {name!r}")
        return Opened(other)

    return Engine(scene(text), own, Options(live=live), open_model), own, other


def play(made: Engine, seconds: float) -> Audio:
    return np.concatenate([made.step().audio for _ in range(round(seconds * RATE / BLOCK_FRAMES))])


def worst_step(audio: Audio) -> float:
    """Largest jump between neighbouring samples, in their usual size."""
    jumps = np.abs(np.diff(audio[:, 0]))
    return float(jumps.max() / np.median(jumps))


def test_each_layer_is_made_by_its_model_as_that_model_wants_it() -> None:
    made, own, other = engine()
    made.fire("crack")
    play(made, 20)
    assert {(r.key.layer, r.model, r.steps, r.guidance) for r in own.submitted} == {("leaves", "fake", 6, 3.0)}
    # the scene's steps and guidance are meant for the scene's model
    assert {(r.key.layer, r.model, r.steps, r.guidance) for r in other.submitted} == {
        ("rain", "big", 40, 7.0),
        ("thunder", "big", 50, 7.0),
    }
    assert all(r.start_frame % 2229 == 0 for r in other.submitted)
    assert made.counts.underruns == 0 and made.counts.failures == 0
    rows = made.supplies.status()
    assert [(r["name"], r["layers"]) for r in rows] == [("fake", ["leaves"]), ("big", ["rain", "thunder"])]


def test_rendering_twice_gives_the_same_samples_whatever_the_paces() -> None:
    first = play(engine()[0], 15)
    slow = ScriptedGenerator(Loud(), delay_polls=7)
    np.testing.assert_array_equal(first, play(engine(slow)[0], 15))


def test_layers_of_all_models_come_at_one_level() -> None:
    made, _, _ = engine()
    found: dict[str, list[float]] = {"leaves": [], "rain": []}
    made.on_layers = lambda layers: [found[n].append(float(np.mean(layers[n] ** 2))) for n in found if n in layers]  # type: ignore[func-returns-value]
    play(made, 25)
    levels = {n: 10 * np.log10(np.mean(x[200:])) for n, x in found.items()}
    assert levels["leaves"] == pytest.approx(levels["rain"], abs=1.0)


def test_a_model_that_never_answers_keeps_nobody_else_waiting() -> None:
    made, _, _ = engine(ScriptedGenerator(Loud(), fault=lambda clip: None), live=True)
    for _ in range(100):
        made.prime()
    audio = play(made, 30)
    assert made.counts.underruns == made.counts.fallback_blocks == 0
    assert np.square(audio[RATE:]).reshape(-1, RATE, 2).mean((1, 2)).min() > 1e-6


def test_the_same_weights_by_two_names_are_one_model() -> None:
    own, twin = ScriptedGenerator(), ScriptedGenerator()
    made = Engine(scene(), own, Options(live=False), lambda name: Opened(twin))
    play(made, 3)
    assert len(list(made.supplies)) == 1 and {r.key.layer for r in own.submitted} >= {"leaves", "rain"}
    assert twin.closed and not own.closed
    made.close()
    assert own.closed


def test_a_model_that_is_not_there_is_told_and_changes_nothing() -> None:
    with pytest.raises(BackendError, match="given one model only"):
        Engine(scene(), ScriptedGenerator(), Options(live=False))
    made, _, _ = engine()
    play(made, 2)
    before = made.scene
    with pytest.raises(ModelNotFound, match="no model 'huge'"):
        made.replace_scene(scene(TEXT.replace("model: big, steps", "model: huge, steps")))
    assert made.scene is before and set(made.beds) == {"leaves", "rain"}
    play(made, 2)


def test_a_layer_may_move_to_another_model_and_is_heard_all_the_while() -> None:
    text = TEXT.replace("leaves: leaves", "leaves: {prompt: leaves, mute: true}")
    made, _, _ = engine(ScriptedGenerator(Loud(), delay_polls=40), text=text, live=True)
    while not made.primed:
        made.prime()
    play(made, 4)
    made.replace_scene(scene(text.replace("model: big, steps: 40", "level: 0")))
    audio = play(made, 6)
    assert worst_step(audio) < 30  # no click
    assert np.square(audio).reshape(-1, RATE // 10, 2).mean((1, 2)).min() > 1e-5  # no hole
    made.replace_scene(scene(text))  # and back again, to the slower one
    audio = play(made, 6)
    assert worst_step(audio) < 30
    assert np.square(audio).reshape(-1, RATE // 10, 2).mean((1, 2)).min() > 1e-5
    assert not made._farewells


def test_a_layer_that_is_taken_out_fades() -> None:
    made, _, _ = engine(live=True)
    while not made.primed:
        made.prime()
    play(made, 3)
    kept, gone = TEXT.splitlines(), [x for x in TEXT.splitlines() if not x.startswith(("  leaves", "  rain"))]
    assert len(kept) == len(gone) + 2
    made.replace_scene(scene("\n".join(gone)))
    audio = play(made, 2)
    assert worst_step(audio[: RATE // 4]) < 30
    assert audio[: RATE // 10].std() > 1e-3 and not audio[RATE:].any()


def session(log: pathlib.Path) -> tuple[Audio, Engine]:
    """Two models, one of which another version of the scene brings in."""
    recorder = Recorder(log, "fake")
    generators: dict[str, Generator] = {}

    def open_model(name: str) -> Opened:
        generators[name] = recorder.generator(ScriptedGenerator(Loud(), delay_polls=30, generation_seconds=0.4))
        return Opened(generators[name], usual_steps=25)

    own = recorder.generator(ScriptedGenerator(delay_polls=5))
    made = Engine(scene(TEXT.replace("model: big, steps: 40", "level: -3")), own, Options(live=True), open_model)
    recorder.follow(made)
    while not made.primed:
        made.prime()
    audio = [play(made, 3)]
    made.fire("crack")
    audio.append(play(made, 3))
    made.replace_scene(scene())
    audio.append(play(made, 8))
    recorder.close()
    return np.concatenate(audio), made


def test_a_session_with_several_models_is_replayed_to_the_sample(tmp_path: pathlib.Path) -> None:
    heard, made = session(tmp_path / "log")
    replay = Replay(tmp_path / "log")
    other = ScriptedGenerator(Loud())
    second = replay.engine(ScriptedGenerator(), lambda name: other)
    again = [replay.step().audio for _ in range(replay.length_frames // BLOCK_FRAMES)]
    np.testing.assert_array_equal(heard, np.concatenate(again))
    assert second.counts == made.counts and not other.closed
    with pytest.raises(ReplayError, match=r"other weights of the model 'big'"):
        Replay(tmp_path / "log").engine(ScriptedGenerator(), lambda name: ScriptedGenerator())


def test_a_checkpoint_folder_is_found_from_the_scenes_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine").mkdir()
    path = tmp_path / "wood.yaml"
    path.write_text("scene: 1\nmodel: ./mine\nlayers: {a: {prompt: x, model: ../nowhere}}\nstates: {wood: {}}\n")
    found = parse_scene(path.read_bytes(), str(path))
    assert found.model == str(tmp_path / "mine") and found.layers["a"].model == "../nowhere"


def test_the_worst_that_a_generator_says_stops_only_its_own_layers() -> None:
    def fails(clip: Clip) -> Clip | ClipFailure:
        return ScriptedGenerator.failure(clip.request, "nan")

    made, _, _ = engine(ScriptedGenerator(Loud(), fault=fails), live=True)
    for _ in range(100):
        made.prime()
    audio = play(made, 10)
    assert np.square(audio[RATE:]).reshape(-1, RATE, 2).mean((1, 2)).min() > 1e-6
    assert any("rain: clip" in f and "made to fail: nan" in f for f in made.faults)
