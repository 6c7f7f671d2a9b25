"""The texture stage: sets of clips are compared as distributions, and samples are what the model plays."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ambient.generate.bands import BANDS, STACK
from ambient.generate.bundled import BundledBackend
from ambient.messages import ClipKey, ClipRequest, PromptMix, Tail
from tools.training.diffusion import GLOBAL_DIM, Kind, build
from tools.training.texture import Features, GroupSampler, apart, energy_distance, sample

SETS = hnp.arrays(
    np.float32, st.tuples(st.integers(2, 5), st.integers(1, 3), st.just(4)), elements=st.floats(-9, 9, width=32)
)
SMALL = {"latent_dim": 16, "embed_dim": 32, "depth": 2, "heads": 1, "ff_mult": 2.0, "memory_tokens": 2}


@given(SETS, st.floats(-3, 3))
def test_distance_is_that_of_the_sets_wherever_they_lie(points: np.ndarray, moved: float) -> None:
    x = torch.from_numpy(points)
    y = x.flip(0)
    assert float(energy_distance(x + moved, y + moved)) == pytest.approx(float(energy_distance(x, y)), abs=1e-3)
    assert float(energy_distance(x, y)) == pytest.approx(float(energy_distance(y, x)), abs=1e-4)


def test_distance_is_none_between_equal_laws_and_grows() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 200, 1, 8)
    assert float(energy_distance(x[0], x[1])) == pytest.approx(0, abs=0.02)
    for changed in (x[2] + 0.5, x[2] * 0.5, x[2] * 2):
        assert float(energy_distance(changed, x[1])) > 0.03


@given(SETS, st.floats(0, 1))
def test_kinds_lie_farther_apart_and_their_clips_as_far_as_before(points: np.ndarray, share: float) -> None:
    x = torch.from_numpy(np.concatenate([points, points + 1]))
    clips, told = len(points), torch.tensor([True] * len(points) + [False] * len(points))
    known, unknown = apart(x, told, clips, share).split(clips)
    before, after = x[:clips].mean((0, 1)), known.mean((0, 1))
    torch.testing.assert_close(after, before + share * before.clamp(-1, 1), atol=1e-4, rtol=1e-4)  # a deviation at most
    torch.testing.assert_close(known - after, x[:clips] - before, atol=1e-4, rtol=1e-4)
    assert torch.equal(unknown, x[clips:])


def test_a_set_that_follows_the_gradient_becomes_like_the_other() -> None:
    torch.manual_seed(0)
    goal, made = torch.randn(64, 1, 2) * 2 + 1, torch.zeros(64, 1, 2, requires_grad=True)  # all points in one place
    optimiser = torch.optim.Adam([made], 0.1)
    with torch.no_grad():
        made += 0.01 * torch.randn_like(made)
    for _ in range(200):
        optimiser.zero_grad()
        energy_distance(made, goal).backward()
        optimiser.step()
    assert made.isfinite().all()
    assert made.detach().std(0) == pytest.approx(goal.std(0), rel=0.2)
    assert made.detach().mean(0) == pytest.approx(goal.mean(0), abs=0.3)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A working folder of two sounds, one of which comes in bursts."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    hops, labels = 100 * STACK, ("rain", "thunder")
    features = rng.normal(-8, 0.3, (2 * hops, 2, BANDS))
    features[hops:] += 4 * (np.arange(hops) % 320 < 40)[:, None, None]
    np.save(folder / "features.npy", features.astype(np.float16))
    decode = rng.normal(size=(16, STACK * 2 * BANDS)).astype(np.float32)
    encode = np.linalg.pinv(decode).astype(np.float32)
    mean = np.full(STACK * 2 * BANDS, -8, np.float32)
    np.savez(folder / "linear.npz", mean=mean, encode=encode, decode=decode, chance=np.zeros(16, np.float32))
    texts = rng.normal(size=(2, GLOBAL_DIM - 1)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    np.save(folder / "texts.npy", texts)
    np.save(folder / "prototypes.npy", texts)
    table = {f"label:{label}": [i] for i, label in enumerate(labels)}
    (folder / "texts.json").write_text(json.dumps({"texts": labels, "table": table}))
    index = [
        {"label": x, "file": x, "start": i * hops, "hops": hops, "split": "train", "held_hops": 0, "procedural": False}
        for i, x in enumerate(labels)
    ]
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def settings(**odds: float) -> dict[str, Any]:
    found = {"one_shot_odds": 0.0, "mixture_odds": 0.0, "nothing_odds": 0.0, "drop_text": 0.0} | odds
    return found | {
        "grounding": 0.5, "sharpness": 30.0, "label_odds": 0.5, "procedural_share": 0.3,
        "groups": 2, "clips": 3, "lengths": [32], "length_odds": [1.0],
    }  # fmt: skip


def test_a_set_is_of_one_kind(work: pathlib.Path) -> None:
    z, told, mask = GroupSampler(work, settings(), 1).batch()
    assert z.shape == (2, 6, 16, 32) and told.shape == (2, 6, GLOBAL_DIM) and mask.shape == (2, 32)
    for group in torch.nn.functional.normalize(told[..., :-1], dim=-1):
        assert float((group @ group.T).min()) > 0.3  # one label's text, now and then with a little noise
    mixed = GroupSampler(work, settings(mixture_odds=1.0), 1).batch()[1]
    assert all(torch.allclose(group, group[:1], atol=1e-5) for group in mixed)  # the same share in all
    assert not GroupSampler(work, settings(nothing_odds=1.0), 1).batch()[1][..., :-1].any()
    assert GroupSampler(work, settings(one_shot_odds=1.0), 1).batch()[1][..., -1].all()


@pytest.mark.parametrize(
    ("label", "recordings", "share"), [("rain", 1, 0.3), ("rain on roof", 1, 0.7), ("rain on roof", 2, 0.3)]
)
def test_rules_add_to_recordings_unless_a_single_one_is_odd(
    work: pathlib.Path, tmp_path: pathlib.Path, label: str, recordings: int, share: float
) -> None:
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    entry = {"label": label, "start": 0, "hops": 40 * STACK, "split": "train", "held_hops": 0}
    index = [entry | {"file": str(i), "procedural": i >= recordings} for i in range(8)]
    (tmp_path / "index.json").write_text(json.dumps(index))
    sampler = GroupSampler(tmp_path, settings(), 1)
    made = np.mean([sampler.stretch(label, 24)[1]["procedural"] for _ in range(400)])
    assert made == pytest.approx(share, abs=0.08)


def test_features_tell_bursts_from_calm(work: pathlib.Path) -> None:
    torch.manual_seed(0)
    features = Features(build(SMALL).eval(), work, [0, 1], 0.1, torch.float32)
    sampler = GroupSampler(work, settings(), 1)
    sets = [
        torch.from_numpy(np.stack([sampler.clip(Kind((label,)), 32)[0] for _ in range(8)])).float()
        for label in ("rain", "rain", "thunder")
    ]
    with torch.no_grad():
        seen = [features(x, [8] * len(x)) for x in sets]
        for x in seen:
            features.scaled(x, learn=True)
        found = [features.scaled(x, learn=False) for x in seen]
    for name in ("texture", "deep", "windows"):
        same, other = (float(energy_distance(found[0][name], x[name])) for x in found[1:])
        assert other > same + 0.1, name


def test_it_trains_on_what_the_model_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambient.generate.bundled.native_bfloat16", lambda: False)  # equal to float32's rounding
    backend = BundledBackend(threads=1)
    tail = Tail(np.random.default_rng(0).normal(0, 0.3, (64, 4)).astype(np.float16))
    request = ClipRequest(ClipKey("a", 0), 0, 24, 0, 5, 1, PromptMix.of("rain"), backend.info.steps, 1.0, tail)
    backend._mended = lambda _, x: x  # type: ignore[method-assign]  # what follows training
    backend._anchored = lambda _, x: x  # type: ignore[method-assign]
    backend._bias = lambda _: torch.zeros(64)  # type: ignore[method-assign]
    with torch.inference_mode():
        played = backend._sample([request], backend.info.steps)
        noise = torch.randn((1, 64, 24), generator=torch.Generator().manual_seed(5))
        known, mask = torch.zeros(1, 64, 24), torch.zeros(1, 1, 24)
        known[0, :, :4], mask[..., :4] = torch.from_numpy(tail.latents.astype(np.float32)), 1.0
        meaning = backend._reader.told(backend._reader.text("rain"))
        told = torch.cat([meaning * meaning.shape[-1] ** 0.5, torch.zeros(1)])[None]
        made = sample(backend._transformer, noise, told, known, mask, backend.info.steps)
    assert torch.allclose(made, played, atol=1e-4)
