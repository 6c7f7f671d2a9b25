"""`like: rain.wav`: more of what is in a recording."""

from __future__ import annotations

import itertools
import pathlib
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf

from ambient.cli import main
from ambient.commands.reload import SceneFile
from ambient.engine import Engine, LiveStream, Options
from ambient.engine.journal import Recorder
from ambient.engine.replay import Replay
from ambient.errors import BackendError, ReplayError, SceneError
from ambient.generate.bundled import BundledBackend
from ambient.generate.cache import ClipCache
from ambient.generate.recording import fault_of, recording
from ambient.messages import LIKE, RATE, Clip, ClipFailure, ClipKey, ClipRequest, PromptMix, Tail, likes
from ambient.scene import Machine, load_scene, part_of
from ambient.testing import FakeBackend, ListSink, ManualClock, ScriptedGenerator


def dark_and_bright(folder: pathlib.Path) -> tuple[str, str]:
    """Two noises as parts of mixes: a low rumble at 44.1 kHz mono, and a wide hiss."""
    rng = np.random.default_rng(5)
    low = np.cumsum(rng.standard_normal(5 * 44_100))
    low -= np.convolve(low, np.ones(2000) / 2000, "same")
    sf.write(folder / "low.wav", 0.3 * low / np.abs(low).max(), 44_100)
    sf.write(folder / "hiss.flac", 0.1 * np.diff(rng.standard_normal((5 * RATE + 1, 2)), axis=0), RATE)
    return part_of(folder / "low.wav"), part_of(folder / "hiss.flac")


def spectrum(audio: np.ndarray) -> np.ndarray:
    """Octave bands in decibels, without the level."""
    power = np.abs(np.fft.rfft(audio.mean(1))) ** 2
    hz = np.fft.rfftfreq(len(audio), 1 / RATE)
    edges = 60 * 2.0 ** np.arange(9)
    bands = np.array([power[(hz >= a) & (hz < b)].mean() for a, b in itertools.pairwise(edges)])
    decibels = 10 * np.log10(bands)
    return np.asarray(decibels - decibels.mean())


@pytest.fixture(scope="module")
def backend() -> BundledBackend:
    return BundledBackend(threads=1)


def test_a_chain_stays_with_its_recording(backend: BundledBackend, tmp_path: pathlib.Path) -> None:
    parts = dark_and_bright(tmp_path)
    for mine, other in (parts, parts[::-1]):
        tail, clips = None, []
        for i in range(4):
            prompt = PromptMix.of(mine)
            request = ClipRequest(
                ClipKey("bed", i), 0, 64, 0, i, 1, prompt, backend.info.steps, backend.info.guidance, tail
            )
            (clip,) = backend.generate([request])
            assert isinstance(clip, Clip) and clip.request is request
            tail = Tail(clip.latents[:, -20:])
            clips.append(clip)
        last = spectrum(clips[-1].audio)
        near, far = (np.abs(last - spectrum(recording(x))).mean() for x in (mine, other))
        assert near < 0.6 * far


def test_a_recording_half_of_a_mix_colours_the_prompt(backend: BundledBackend, tmp_path: pathlib.Path) -> None:
    low, hiss = dark_and_bright(tmp_path)
    prompts = [PromptMix.of({"wind blowing": 0.5, x: 0.5}) for x in (low, hiss)]
    made = backend.generate(
        [ClipRequest(ClipKey("bed", i), 0, 48, 0, 7, 1, p, 4, backend.info.guidance) for i, p in enumerate(prompts)]
    )
    dark, bright = (spectrum(c.audio) for c in made if isinstance(c, Clip))
    assert bright[-3:].mean() > dark[-3:].mean() + 6


def test_what_it_goes_on_from_is_as_far_away_as_the_rest(backend: BundledBackend, tmp_path: pathlib.Path) -> None:
    hiss = dark_and_bright(tmp_path)[1]
    led = []
    for text in ("rain", "distant rain"):
        prompt = PromptMix.of({text: 0.4, hiss: 0.6})
        (clip,) = backend.generate([ClipRequest(ClipKey("bed", 0), 0, 96, 0, 7, 1, prompt, 4, 1.0)])
        assert isinstance(clip, Clip)
        led.append(clip.latents[:, :20].astype(np.float32).mean(1))
    moved = backend._manner(PromptMix.of({"distant rain": 0.4, "rain": 0.6})).numpy()
    np.testing.assert_allclose(led[1] - led[0], moved, atol=0.05)


def test_what_is_no_sound_fails_that_clip_only(backend: BundledBackend, tmp_path: pathlib.Path) -> None:
    (tmp_path / "text.wav").write_text("RIFF, it says")
    sf.write(tmp_path / "silent.wav", np.zeros((RATE, 2)), RATE)
    sf.write(tmp_path / "short.wav", np.ones((1000, 2)) * 0.1, RATE)
    gone = f"{LIKE}0123456789abcdef:{tmp_path / 'gone.wav'}"
    sf.write(tmp_path / "other.wav", np.ones((RATE, 2)) * 0.1, RATE)
    parts = [part_of(tmp_path / f"{n}.wav") for n in ("text", "silent", "short", "other")] + [gone]
    sf.write(tmp_path / "other.wav", np.ones((RATE, 2)) * np.linspace(-1, 1, RATE)[:, None], RATE)
    reasons = ("cannot be read", "silent", "shorter", "other.wav has changed since the scene was read", "gone.wav")
    for part, why in zip(parts, reasons, strict=True):
        with pytest.raises(BackendError, match=why):
            recording(part)
        request = ClipRequest(ClipKey("bed", 0), 0, 24, 0, 7, 1, PromptMix.of(part), 2, 1.0)
        (answer,) = backend.generate([request])
        assert isinstance(answer, ClipFailure) and why in answer.message
    good = ClipRequest(ClipKey("bed", 1), 0, 24, 0, 7, 1, PromptMix.of("rain"), 2, 1.0)
    bad = replace(good, key=ClipKey("bed", 2), prompt=PromptMix.of(gone))
    answers = backend.generate([good, bad])
    assert [type(a) for a in answers] == [Clip, ClipFailure]


def scene(folder: pathlib.Path, layers: str, state: str = "{}") -> pathlib.Path:
    path = folder / "scene.yaml"
    path.write_text(f"scene: 1\nsetting: in a wood\nlayers:\n  rain: {layers}\nstates:\n  day: {state}\n")
    return path


def test_a_layer_may_be_like_a_recording_with_and_without_words(tmp_path: pathlib.Path) -> None:
    dark_and_bright(tmp_path)
    moment = Machine(load_scene(scene(tmp_path, "{like: low.wav}"))).look(0)
    (part, weight), *rest = moment.layer("rain").prompt.parts
    assert likes(part) and weight == 1 and not rest
    assert str(moment.layer("rain").prompt) == "like low.wav"
    path = scene(tmp_path, "{prompt: soft rain, like: low.wav}", "{layers: {rain: {like: hiss.flac}}}")
    mix = Machine(load_scene(path)).look(0).layer("rain").prompt
    assert str(mix).count("like hiss.flac") == 1 and dict(mix.parts)["soft rain, in a wood"] == 0.5
    single = scene(tmp_path, "{like: hiss.flac, scatter: {every: 5s}}")
    scatter = Machine(load_scene(single)).look(0).layer("rain").scatter
    assert scatter is not None and likes(scatter.variants[0].parts[0][0])


def test_a_changed_recording_is_another_prompt(tmp_path: pathlib.Path) -> None:
    dark_and_bright(tmp_path)
    path = scene(tmp_path, "{like: low.wav}")
    before = load_scene(path)
    assert load_scene(path).model_dump() == before.model_dump()
    sf.write(tmp_path / "low.wav", np.ones((RATE, 2)) * 0.2, RATE)
    after = load_scene(path)
    mixes = [Machine(s).look(0).layer("rain").prompt for s in (before, after)]
    assert after.model_dump() != before.model_dump() and mixes[0].distance(mixes[1]) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.wav", "there is no file 'gone.wav'"),
        ("notes.txt", "'notes.txt' cannot be read as sound"),
        ("cut.flac", "'cut.flac' cannot be read as sound"),
        ("short.wav", "'short.wav' is shorter than 0.5 s"),
        ("silent.wav", "'silent.wav' is silent"),
        (".", "it is no file"),
    ],
)
def test_what_is_no_recording_is_a_mistake_at_its_place(
    tmp_path: pathlib.Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("nothing to hear")
    sf.write(tmp_path / "silent.wav", np.zeros((RATE, 2)), RATE)
    sf.write(tmp_path / "short.wav", np.ones((1000, 2)) * 0.1, RATE)
    (tmp_path / "cut.flac").write_bytes(b"fLaC\0\0")
    path = scene(tmp_path, f"{{like: {name}}}", f"{{layers: {{rain: {{like: {name}}}}}}}")
    with pytest.raises(SceneError) as caught:
        load_scene(path, fault_of)
    first, second = caught.value.problems
    assert said in str(first) and (first.line, first.column) == (4, 16)
    assert said in str(second) and second.line == 6
    assert main(["check", str(path)]) == 1
    assert f"{path}:4:16: error: " in capsys.readouterr().out
    assert main(["clip", "--like", str(tmp_path / name), "--out", str(tmp_path / "out.wav")]) == 1
    assert "ambient clip: --like" in capsys.readouterr().err and not (tmp_path / "out.wav").exists()


def test_what_ffmpeg_reads_is_read_of_any_rate_and_of_long_recordings_the_middle(tmp_path: pathlib.Path) -> None:
    import av

    hertz = np.repeat([200.0, 400.0, 800.0], 16_000 * 40)
    tone = (0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / 16_000)).astype(np.float32)
    with av.open(str(tmp_path / "long.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    found = recording(part_of(tmp_path / "long.m4a"))
    assert found.dtype == np.float32 and found.shape[1] == 2 and len(found) / RATE == pytest.approx(60, abs=0.2)
    peaks = [np.argmax(np.abs(np.fft.rfft(s))) * RATE / len(s) for s in np.split(found[: 60 * RATE, 0], 6)]
    np.testing.assert_allclose(peaks, [200, 400, 400, 400, 400, 800], rtol=0.01)


def test_a_recording_that_changes_while_its_scene_plays_is_heard(tmp_path: pathlib.Path) -> None:
    dark_and_bright(tmp_path)
    path = scene(tmp_path, "{like: low.wav}")
    stream = LiveStream("rain", Engine(load_scene(path), ScriptedGenerator(), Options()), [ListSink()], ManualClock())
    file = SceneFile(path, stream, load_scene(path))
    assert not file.look() and not file.look()
    sf.write(tmp_path / "low.wav", np.sin(np.arange(RATE) / 9), RATE)
    assert [file.look(), file.look(), file.look()] == [False, True, False]
    before = stream._engine.machine.look().layer("rain").prompt
    stream._obey()
    assert stream._engine.machine.look().layer("rain").prompt.distance(before) == 1
    sf.write(tmp_path / "low.wav", np.zeros(RATE), RATE)
    assert not file.look() and not file.look()
    assert "silent" in stream._problems[0]


def test_the_cache_knows_a_recording_by_what_is_in_it(tmp_path: pathlib.Path) -> None:
    low, hiss = dark_and_bright(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    moved = part_of((tmp_path / "low.wav").rename(tmp_path / "elsewhere" / "renamed.wav"))
    info, cache = FakeBackend().info, ClipCache(tmp_path / "cache")
    keys = [
        cache.key(info, ClipRequest(ClipKey("bed", 0), 0, 24, 0, 7, 1, PromptMix.of(p), 2, 1.0))
        for p in (low, moved, hiss)
    ]
    assert keys[0] == keys[1] != keys[2]


def test_a_replay_wants_the_recording_that_was_played(tmp_path: pathlib.Path) -> None:
    dark_and_bright(tmp_path)
    recorder = Recorder(tmp_path / "log", "fake")
    loaded = load_scene(scene(tmp_path, "{like: low.wav}"))
    engine = Engine(loaded, recorder.generator(ScriptedGenerator()), Options())
    recorder.follow(engine)
    while not engine.primed:
        engine.prime()
    heard = [engine.step().audio for _ in range(100)]
    recorder.close()
    replay = Replay(tmp_path / "log")
    replay.engine(ScriptedGenerator())
    np.testing.assert_array_equal(heard, [replay.step().audio for _ in range(100)])
    sf.write(tmp_path / "low.wav", np.ones(RATE), RATE)
    with pytest.raises(ReplayError, match=r"the recording .*low\.wav is not as it was then"):
        Replay(tmp_path / "log")


def test_a_clip_like_a_recording_and_the_same_one_again(tmp_path: pathlib.Path) -> None:
    dark_and_bright(tmp_path)
    made = []
    for name in ("a.wav", "b.wav"):
        given = ["--like", str(tmp_path / "hiss.flac"), "--seconds", "4", "--seed", "5", "--out", str(tmp_path / name)]
        assert main(["clip", *given]) == 0
        made.append(sf.read(tmp_path / name)[0])
    np.testing.assert_array_equal(*made)
    near, far = (
        np.abs(spectrum(made[0]) - spectrum(recording(part_of(tmp_path / x)))).mean() for x in ("hiss.flac", "low.wav")
    )
    assert near < far


def test_a_layer_needs_words_or_a_recording(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SceneError, match="'prompt' is missing"):
        load_scene(scene(tmp_path, "{level: -3}"))
