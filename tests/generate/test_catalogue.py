"""Describing models without loading them."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from ambient.errors import BackendError, ModelNotFound
from ambient.generate.catalogue import MODELS, describe, known_models


def test_the_bundled_model_is_known() -> None:
    info = describe("bundled")
    assert info in known_models()
    assert (info.rate, info.channels, info.frames_per_latent) == (48_000, 2, 3840)
    assert 1 <= info.min_steps <= info.steps
    assert describe(str(MODELS / "bundled")) == info


def test_a_copy_elsewhere_has_the_same_fingerprint_until_it_changes(tmp_path: pathlib.Path) -> None:
    import shutil

    copy = tmp_path / "mine"
    shutil.copytree(MODELS / "bundled", copy)
    assert describe(str(copy)).fingerprint == describe("bundled").fingerprint
    weights = copy / "codec" / "diffusion_pytorch_model.safetensors"
    kept = weights.read_bytes()
    raw = bytearray(kept)
    raw[-1] ^= 1
    weights.write_bytes(raw)
    assert describe(str(copy)).fingerprint != describe("bundled").fingerprint
    weights.write_bytes(kept)
    assert describe(str(copy)).fingerprint == describe("bundled").fingerprint


def test_one_layer_trained_anew_is_another_model(tmp_path: pathlib.Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy = tmp_path / "mine"
    shutil.copytree(MODELS / "bundled", copy)
    for part, layer in (
        ("codec", "detail.layers.1.weight"),
        ("transformer", "transformer_blocks.3.cross_attn.to_kv.weight"),
    ):
        weights = copy / part / "diffusion_pytorch_model.safetensors"
        before, tensors = describe(str(copy)).fingerprint, load_file(weights)
        tensors[layer] *= 1.01
        save_file(tensors, weights)
        assert describe(str(copy)).fingerprint != before, part


def test_unknown_models_say_what_there_is(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        describe("nosuch")
    assert str(caught.value) == (
        "model 'nosuch' is neither a bundled model nor a folder; bundled models: bundled; `ambient models` lists what "
        "can be fetched"
    )
    with pytest.raises(ModelNotFound, match=r"holds no model_index\.json"):
        describe(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", '{"_class_name": "AmbiencePipeline"}', '{"_class_name": "OtherPipeline"}'])
def test_a_broken_description_is_an_error(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(BackendError, match="model_index"):
        describe(str(tmp_path))


def test_another_rate_is_refused(tmp_path: pathlib.Path) -> None:
    import shutil

    shutil.copytree(MODELS / "bundled", tmp_path / "m", ignore=shutil.ignore_patterns("*.safetensors"))
    config = tmp_path / "m" / "codec" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sampling_rate": 44_100}))
    with pytest.raises(BackendError, match="44100 Hz"):
        describe(str(tmp_path / "m"))


def test_describing_and_preparing_to_load_import_no_torch() -> None:
    code = (
        "import sys; from ambient.generate import catalogue, loading; catalogue.describe('bundled');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
