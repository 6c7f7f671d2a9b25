"""Sounds made by rule, and the figures that judge a model: they must tell good from bad."""

from __future__ import annotations

import json
import pathlib
import sys

import numpy as np
import pytest

from ambient.generate.bands import BANDS, band_centres, band_filters
from ambient.messages import RATE, PromptMix
from tools.training import evaluate, fidelity, hearing, joins, likeness, mixes, procedural
from tools.training.captions import PHRASES
from tools.training.evaluate import together
from tools.training.features import colours, features, listed
from tools.training.phrases import EXPECTED, MEANT


@pytest.mark.parametrize("name", sorted({f.split("-")[0] for f, _ in procedural.entries(1.0)}))
def test_procedural_sounds_are_sound_and_each_its_own(name: str) -> None:
    one, other = procedural.make(f"{name}-0"), procedural.make(f"{name}-1")
    assert one.shape == (round(procedural.SECONDS * RATE), 2) and one.dtype == np.float32
    assert np.isfinite(one).all() and 0.4 < np.abs(one).max() <= 0.5
    assert not np.allclose(one, other, atol=0.01)
    seconds = np.square(one[: int(procedural.SECONDS) * RATE]).mean(1).reshape(-1, 2 * RATE).mean(1)
    assert (seconds > 0).all()


def test_the_same_name_gives_the_same_sound() -> None:
    np.testing.assert_array_equal(procedural.make("drips-3"), procedural.make("drips-3"))


@pytest.mark.parametrize("index", range(4))
def test_a_road_moves_as_roads_do(index: int) -> None:
    """Recordings of roads and streets: 0.3 to 0.8 in natural logarithms, 300 Hz to 3 kHz; cars one by one 1.3."""
    found = features(procedural.make(f"procedural/motorway-{index}"), band_filters())[:, 0].astype(float)
    hz = band_centres()[1:-1]
    power = np.log(np.exp(found[:, (hz > 300) & (hz < 3000)]).sum(1))
    assert 0.3 < power.std() < 0.9


@pytest.mark.parametrize("name", ["roof", "window"])
@pytest.mark.parametrize("index", range(4))
def test_rain_on_a_surface_flickers_as_rain_does(name: str, index: int) -> None:
    """Recordings of rain: 0.22 to 0.6 in natural logarithms; steady noise 0.13, single drops above 0.8."""
    found = features(procedural.make(f"procedural/{name}-{index}"), band_filters())[:, 0].astype(float)
    hz = band_centres()[1:-1]
    power = np.log(np.exp(found[:, (hz > 1000) & (hz < 8000)]).sum(1))
    fast = power - np.convolve(power, np.ones(40) / 40, "same")
    assert 0.22 < fast[40:-40].std() < 0.65
    assert np.mean(fast[40:-40] ** 3) > 0  # by drops, not by gaps


def texture(rng: np.random.Generator, colour: float, flutter: float) -> np.ndarray:
    slope = colour * np.linspace(-1, 1, BANDS)
    wave = flutter * rng.standard_normal((likeness.PIECE, 1, 1))
    return (slope + wave + 0.3 * rng.standard_normal((likeness.PIECE, 2, BANDS))).astype(np.float32)


def test_frechet_distance_grows_with_unlikeness() -> None:
    rng = np.random.default_rng(0)

    def points(colour: float, flutter: float, count: int = 120) -> np.ndarray:
        return np.stack(
            [likeness.statistics(texture(rng, colour + 0.1 * rng.standard_normal(), flutter)) for _ in range(count)]
        )

    space = likeness.Textures(np.concatenate([points(c, f, 30) for c in (0, 1, 2) for f in (0.1, 1.0)]))
    real = space(points(1, 0.5))
    same, brighter, other = (likeness.frechet(real, space(points(*x))) for x in ((1, 0.5), (1.3, 0.5), (2, 1.0)))
    assert likeness.frechet(real, real) == pytest.approx(0, abs=1e-3)
    assert same < brighter < other


def test_clips_are_near_to_held_out_recordings_of_their_own_label(tmp_path: pathlib.Path) -> None:
    rng, count, labels = np.random.default_rng(3), 60, {"dark": -1.0, "bright": 1.0}

    def drawn(colour: float) -> list[np.ndarray]:
        return [texture(rng, colour + 0.1 * rng.standard_normal(), 0.3) for _ in range(count)]

    index, parts = [], []
    for label, colour in labels.items():
        for split in ("train", "held"):
            hops = count * likeness.PIECE
            entry = {"label": label, "start": len(parts) * hops, "hops": hops, "held_hops": 0, "split": split}
            index.append(entry | {"procedural": False})
            parts.append(np.concatenate(drawn(colour)))
    np.save(tmp_path / "features.npy", np.concatenate(parts).astype(np.float16))
    (tmp_path / "index.json").write_text(json.dumps(index))
    like = {label: [drawn(colour)] for label, colour in labels.items()}
    off = {label: [drawn(colour + 0.5)] for label, colour in labels.items()}
    one = {label: [drawn(1.0)] for label in labels}  # the same for every label
    good, coloured, deaf = likeness.to_held_out([like, off, one], tmp_path)
    assert 2 * good < coloured < deaf


def test_diversity_is_one_for_the_recordings_themselves_and_nothing_for_one_clip_again_and_again() -> None:
    rng = np.random.default_rng(1)
    real = [rng.standard_normal((20, 5)) for _ in range(3)]
    assert likeness.diversity(real, real) == pytest.approx(1)
    assert likeness.diversity([np.repeat(r[:1], 4, 0) for r in real], real) == 0


def test_a_classifier_finds_audible_joins_and_no_others() -> None:
    rng = np.random.default_rng(2)
    lattice, sounds, plain, planted = 3840, [], [], []
    for _ in range(20):
        sound = (0.05 * rng.standard_normal((20 * RATE, 2))).astype(np.float32)
        frames = [lattice * k for k in (60, 130, 200)]
        stepped = sound.copy()
        for i, frame in enumerate(frames):
            stepped[frame:] *= 2.0 if i % 2 else 0.5
        sounds.append((sound, stepped))
        plain.append(frames)
        planted.append(frames)
    heard = joins.auc([s for _, s in sounds], planted, lattice)
    unheard = joins.auc([s for s, _ in sounds], plain, lattice)
    assert heard["joins"] == 60 and heard["forest"] > 0.95
    assert unheard["logistic"] < 0.68 and unheard["forest"] < 0.68


def clicks(frames: list[int], seed: int = 4) -> np.ndarray:
    sound = 0.01 * np.random.default_rng(seed).standard_normal((2 * RATE, 2))
    for f in frames:
        sound[f : f + 200] += 0.5 * np.random.default_rng(f).standard_normal((200, 1))
    return sound.astype(np.float32)


def test_fidelity_tells_moved_clicks_narrowed_width_and_changed_colour() -> None:
    at = [9_000, 30_000, 47_000, 60_000, 81_000]
    sound, moved = clicks(at), clicks([f + 3_000 for f in at])
    agreement, count = fidelity.onset_agreement(sound, clicks(at, seed=5))
    assert count == 5 and agreement == 1
    assert fidelity.onset_agreement(sound, moved)[0] < 0.3
    assert fidelity.mel_distance(sound, sound) == 0
    darker = np.cumsum(sound, 0) / 20
    assert (
        fidelity.mel_distance(sound, darker.astype(np.float32)) > fidelity.mel_distance(sound, clicks(at, seed=5)) + 3
    )
    wide = np.random.default_rng(6).standard_normal((RATE, 2)).astype(np.float32)
    assert fidelity.width_db(wide) == pytest.approx(0, abs=0.3)
    assert fidelity.width_db(np.repeat(wide[:, :1], 2, 1)) == -60


def test_a_mix_that_moves_steadily_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((3 * RATE, 2)).astype(np.float32)
    dark = (np.cumsum(noise - noise.mean(0), 0) / 50).astype(np.float32)

    def steady(prompt: PromptMix, _: int) -> np.ndarray:
        w = dict(prompt.parts).get("bright", 0.0)
        return ((1 - w) * dark + w * noise).astype(np.float32)

    def jumping(prompt: PromptMix, _: int) -> np.ndarray:
        w = dict(prompt.parts).get("bright", 0.0)
        return noise if w in (0.2, 1.0) else dark

    pairs = (("dark", "bright"),)
    assert mixes.along(steady, 1, pairs)["steps_forward"] == 1
    assert mixes.along(jumping, 1, pairs)["steps_forward"] < 1


class _Ear:
    """Hears rain in what is loud and birds in what is soft."""

    def first(self, sound: np.ndarray) -> list[str]:
        return ["Rain"] if np.abs(sound).max() > 0.5 else ["Bird"]


def test_hits_are_counted_label_by_label_beside_recordings() -> None:
    loud, soft = np.ones((RATE, 2), np.float32), np.full((RATE, 2), 0.1, np.float32)
    recorded = [
        hearing.Recorded("heavy rain", ["Bird"], ["Bird"]),
        hearing.Recorded("heavy rain", ["Wind", "Rain"], ["Bird"]),
        hearing.Recorded("owl", ["Owl"], ["Owl"]),
    ]
    say = {"heavy rain": ["rain pouring"], "owl": ["an owl"], "room tone": ["an empty room"]}
    found = hearing.by_label(_Ear(), lambda text, _: loud, say, recorded, 2)
    assert found["heavy rain"] == {"generated": 1.0, "recorded": 0.5, "decoded": 0.0, "recordings": 2}
    assert found["owl"] == {"generated": 0.0, "recorded": 1.0, "decoded": 1.0, "recordings": 1}
    assert "room tone" not in found  # no class says what it is
    said = [
        (("heavy rain", "quiet night"), "loud"),
        (("thunder",), "soft"),
        (("quiet night",), "nothing says what it is"),
    ]
    apart = hearing.of_any_words(_Ear(), lambda text, _: loud if text == "loud" else soft, said)
    assert (apart["phrases"], apart["heard"], list(apart["missed"])) == (2, 0.5, ["soft"])
    heard = hearing.phrases(_Ear(), lambda text, i: loud if "cloudburst" in text else soft, 1, recorded=recorded)
    assert heard["what"]["a cloudburst over the rooftops"]["heard"] == 1
    assert heard["what"]["monsoon hammering the street"]["heard"] == 0
    assert heard["what"]["monsoon hammering the street"]["recorded"] == 0.5
    assert "recorded" not in heard["what"]["the tide coming in"]  # there is none
    assert 0.5 < heard["share_in_recordings"] < 1 and heard["share_in_decoded"] < heard["share_in_recordings"]


def test_without_matplotlib_the_curves_are_missed_and_nothing_else(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "naming.jsonl").write_text('{"step": 0, "cosine": 0.5}\n{"step": 100, "cosine": 0.9}\n')
    evaluate.picture(tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 5000
    (tmp_path / "curves.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    evaluate.picture(tmp_path)
    assert "ambient-engine[pictures]" in capsys.readouterr().err and not (tmp_path / "curves.png").exists()


def test_every_phrase_is_a_recorded_sound() -> None:
    assert MEANT.keys() == EXPECTED.keys()
    assert all(label in PHRASES for labels in MEANT.values() for label in labels)


def test_scores_alike_have_no_divergence() -> None:
    a, b = np.array([0.5, 0.5, 0], np.float32), np.array([0, 0, 1], np.float32)
    assert hearing.jensen_shannon(a, a) == pytest.approx(0, abs=1e-6)
    assert hearing.jensen_shannon(a, b) == pytest.approx(1, abs=1e-6)


def test_how_far_made_sounds_lie_from_recordings_is_told_in_decibels() -> None:
    flat = np.zeros((40, 2, 96), np.float16)
    tilted = flat + np.linspace(-2.3, 2.3, 96, dtype=np.float16)
    tenfold = flat + np.float16(np.log(10))  # louder, of the same colour
    parts = [("rain", False, flat), ("rain", False, tenfold), ("rain", True, tilted), ("wind", False, flat)]
    index = [
        {"label": label, "procedural": made, "start": 40 * i, "hops": 40} for i, (label, made, _) in enumerate(parts)
    ]
    found = colours(np.concatenate([f for _, _, f in parts]), index)
    assert set(found) == {"rain"}  # wind has none to compare
    off, apart = found["rain"]
    np.testing.assert_allclose(off, np.linspace(-10, 10, 24).std(), rtol=0.05)
    np.testing.assert_allclose(apart, 0.0, atol=0.01)


def test_drift_is_told_with_its_error() -> None:
    rows = [{"level_drift_db": 1.0, "join_step_db": 0.1}, {"level_drift_db": -1.0, "join_step_db": 0.3}]
    assert together(rows) == {"level_drift_db": 0.0, "join_step_db": 0.2, "level_drift_db_error": 1.0}
    assert together(rows[:1]) == rows[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("", "lists no recording"),
        ("file,label\na.wav,rain\n", "line 2: no caption; columns: file, label"),
        ("file,label,caption\na.wav,rain,Rain.\nb.wav,,Hail.\n", "line 3: no label"),
        ('file,label,caption\na.wav,rain,"Rain,\nsoft"\n\nb.wav,,Hail.\n', "line 5: no label"),
        ("file,label,caption\na.wav,rain,Rain, soft.\n", "line 2: more cells than the columns file, label, caption"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(tmp_path: pathlib.Path, text: str | None, told: str) -> None:
    manifest = tmp_path / "manifest.csv"
    if text is not None:
        manifest.write_text(text)
    with pytest.raises(SystemExit, match=f"manifest.csv.*{told}"):
        listed(manifest)


def test_a_manifest_may_begin_with_a_byte_order_mark(tmp_path: pathlib.Path) -> None:
    """As spreadsheets write it."""
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file,label,caption\na.wav,rain,Rain.\n", encoding="utf-8-sig")
    assert listed(manifest) == [{"file": "a.wav", "label": "rain", "caption": "Rain."}]
