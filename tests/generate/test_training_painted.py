"""Captions that a model paints badly are left to better ones of their kind, and to those alone; and what the model is
told of a kind brings that nearer to recordings, and no other."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ambient.generate.bundled import BundledBackend
from tools.training.captions import PHRASES
from tools.training.export import inverted
from tools.training.inversion import _Kinds
from tools.training.painted import APART, SURE, WORSE, stand_ins

DISTANCES = hnp.arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 5)), elements=st.floats(-0.2, 4.0))


def meanings(count: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@given(DISTANCES, st.integers(0, 5))
def test_what_stands_for_another_is_better_and_stands_for_itself(far: np.ndarray, seed: int) -> None:
    found = stand_ins(far, meanings(len(far), seed))
    mean = far.mean(1)
    assert found[int(mean.argmin())] == int(mean.argmin())  # the best needs none
    for one, other in enumerate(found):
        assert found[other] == other
        if one != other:
            gained = far[one] - far[other]
            error = gained.std(ddof=1) / len(gained) ** 0.5
            assert gained.mean() > max(APART, WORSE * mean[other], SURE * error)


def test_the_nearest_in_meaning_stands_for_what_is_far_from_recordings() -> None:
    x = meanings(3)
    x[2] = x[0] + 0.1 * x[1]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    far = np.array([[0.3, 0.32, 0.28], [0.25, 0.28, 0.31], [2.0, 2.4, 2.2]])
    assert stand_ins(far, x) == [0, 1, 0]  # not the best, which means something else


def test_chance_leaves_almost_all_as_they_are() -> None:
    rng = np.random.default_rng(0)
    found = [stand_ins(np.abs(rng.normal(0.6, 0.25, (6, 6))), meanings(6)) for _ in range(100)]
    assert sum(one != other for kind in found for one, other in enumerate(kind)) < 30  # one in twenty
    assert stand_ins(np.array([[0.1], [3.0]]), meanings(2)) == [0, 1]  # of a single set nothing is sure


class Wished:
    """Stands for a judge: how far the mean of clips lies from where the model paints something else."""

    def __init__(self, backend: BundledBackend) -> None:
        self.transformer = backend._transformer.requires_grad_(False)

    def recorded(self, label: str) -> dict[str, torch.Tensor]:
        return {"mean": torch.linspace(-0.5, 0.5, 64)}

    def far(self, made: torch.Tensor, recorded: dict[str, torch.Tensor]) -> torch.Tensor:
        return (made.mean((0, 2)) - recorded["mean"]).square().mean()


def test_a_kind_is_told_what_it_is_painted_nearer_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambient.generate.bundled.native_bfloat16", lambda: False)
    backend = BundledBackend(threads=1)
    judge: Any = Wished(backend)
    learner = _Kinds(backend, judge, {"clips": 2, "steps": 12, "learning_rate": 4e-3})
    kind = sorted(PHRASES).index("fan")
    nothing = torch.zeros(backend._encoder.prototypes.shape[1])
    moved = learner.learned("fan", kind)
    sets = [judge.recorded("fan")] * 2
    before, now = (learner.distances("fan", kind, x, sets) for x in (nothing, moved))
    assert (now < 0.97 * before).all()
    np.testing.assert_array_equal(learner.distances("fan", kind, nothing, sets), before)  # of the same noise
    reader, told = backend._reader, backend._encoder.told
    assert reader.told(reader.text("a fan")) is reader.text("a fan") or backend._encoder.config.inverted
    backend._encoder.register_to_config(inverted=True)
    kept = told.clone()
    told[kind] += moved
    changed = {}
    for text in ("a fan", "a tawny owl", "rain", "a fan with rain"):
        meaning = reader.text(text)
        said = reader.told(meaning)
        assert float(said.norm()) == pytest.approx(1, abs=1e-5)
        share = torch.softmax(backend._encoder.config.sharpness * backend._encoder.prototypes @ meaning, 0)
        plain = torch.nn.functional.normalize(meaning + share @ kept, dim=0)
        changed[text] = float((said - plain).norm())
    assert changed["a fan"] > 0.05 > 10 * max(changed["rain"], changed["a tawny owl"])
    assert changed["rain"] < changed["a fan with rain"] < changed["a fan"]
    assert not reader.told(torch.zeros(len(nothing))).any()


def test_a_model_of_other_kinds_cannot_be_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps([{"label": "rain"}]))
    torch.save({"settings": {}}, tmp_path / "diffusion.pt")
    model = pathlib.Path(BundledBackend(threads=1).info.path)
    with pytest.raises(SystemExit, match=r"prepare it --from .* there are 1"):
        inverted(tmp_path, model, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
