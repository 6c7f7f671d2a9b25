"""Bad checkpoints of the big families: each gets an error that names the file and says what to do, never a clip."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ambient.cli import main
from ambient.errors import BackendError
from ambient.generate.catalogue import describe
from ambient.generate.diffusion import DiffusionBackend
from ambient.generate.families import FAMILIES
from ambient.generate.loading import load_backend
from ambient.messages import ClipFailure, ClipKey, ClipRequest, PromptMix

Folder = Callable[[str], pathlib.Path]
pytestmark = pytest.mark.filterwarnings("ignore")
NETWORKS = [
    (family.name, part)
    for family in FAMILIES.values()
    for part in family.parts
    if not part.startswith(("tokenizer", "feature_extractor"))
]
TOKENIZERS = [(f.name, part) for f in FAMILIES.values() for part in f.parts if part.startswith("tokenizer")]


def change(path: pathlib.Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def weights_of(folder: pathlib.Path, part: str) -> pathlib.Path:
    (path,) = (folder / part).glob("*.safetensors")
    return path


def refused(folder: pathlib.Path, why: str) -> None:
    """Describing or loading it must fail so; a checkpoint outside of the hub's cache is to be copied again."""
    with pytest.raises(BackendError, match=why) as caught:
        load_backend(describe(str(folder)), device="cpu", threads=1)
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("family", "part"), NETWORKS)
def test_truncated_weights(copied: Folder, family: str, part: str) -> None:
    folder = copied(family)
    path = weights_of(folder, part)
    path.write_bytes(path.read_bytes()[:-100])
    refused(folder, rf"{part}.*safetensors cannot be read.*copy or download it again")


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"])
def test_a_file_of_weights_that_holds_none(copied: Folder, content: bytes) -> None:
    folder = copied("audioldm")
    weights_of(folder, "unet").write_bytes(content)
    refused(folder, "unet.*safetensors cannot be read.*copy or download it again")


def test_truncated_weights_in_the_old_format(copied: Folder) -> None:
    folder = copied("audioldm2")
    path = weights_of(folder, "vocoder")
    torch.save(load_file(path), folder / "vocoder/pytorch_model.bin")
    path.unlink()
    load_backend(describe(str(folder)), device="cpu", threads=1)
    old = folder / "vocoder/pytorch_model.bin"
    old.write_bytes(old.read_bytes()[:-100])
    refused(folder, r"pytorch_model\.bin cannot be read: it is no archive")


@pytest.mark.parametrize(("family", "part"), NETWORKS)
def test_weights_that_are_not_finite(copied: Folder, family: str, part: str) -> None:
    folder = copied(family)
    path = weights_of(folder, part)
    weights = load_file(path)
    list(weights.values())[-1].view(-1)[0] = torch.nan
    save_file(weights, path, {"format": "pt"})
    refused(folder, f"{part} holds weights that are not finite.*copy or download it again")


def test_kept_numbers_that_are_no_weights_must_be_finite_too(copied: Folder) -> None:
    folder = copied("audioldm")
    path = weights_of(folder, "vocoder")
    save_file(load_file(path) | {"scale": torch.full((64,), torch.inf)}, path, {"format": "pt"})
    refused(folder, "vocoder holds weights that are not finite")


@pytest.mark.parametrize(("family", "part"), NETWORKS)
def test_weights_that_are_missing_are_not_made_up(copied: Folder, family: str, part: str) -> None:
    """Both libraries would fill them with random numbers and go on."""
    folder = copied(family)
    path = weights_of(folder, part)
    weights = load_file(path)
    gone = next(name for name in sorted(weights) if name.endswith((".weight", ".bias")))
    del weights[gone]
    save_file(weights, path, {"format": "pt"})
    refused(folder, rf"{part} lacks 1 of the weights of a \w+, .*{gone} among them; copy or download it again")


@pytest.mark.parametrize(("family", "part"), NETWORKS)
def test_weights_of_another_size(copied: Folder, family: str, part: str) -> None:
    folder = copied(family)
    path = weights_of(folder, part)
    weights = load_file(path)
    widest = max(weights, key=lambda name: weights[name].numel())
    weights[widest] = torch.cat([weights[widest]] * 2)
    save_file(weights, path, {"format": "pt"})
    refused(folder, rf"{part}: its weights have not the shapes that its config\.json says; copy or download")


def test_the_speech_variant_may_lack_what_it_never_uses(copied: Folder) -> None:
    """Of VITS only the text encoder speaks."""
    folder = copied("audioldm2-speech")
    path = weights_of(folder, "text_encoder_2")
    weights = load_file(path)
    save_file({n: w for n, w in weights.items() if not n.startswith("flow.")}, path, {"format": "pt"})
    load_backend(describe(str(folder)), device="cpu", threads=1)
    save_file({n: w for n, w in weights.items() if "text_encoder.project" not in n}, path, {"format": "pt"})
    refused(folder, "text_encoder_2 lacks 2 of the weights of a VitsModel, text_encoder.project.bias")


@pytest.mark.parametrize(("family", "part"), TOKENIZERS)
def test_without_its_words_a_tokenizer_takes_every_prompt_for_nothing(copied: Folder, family: str, part: str) -> None:
    folder = copied(family)
    words = folder / part / "tokenizer.json"
    words.write_text(words.read_text()[:100])
    refused(folder, rf"{part}/tokenizer\.json cannot be read.*copy or download it again")
    words.unlink()
    refused(folder, f"{part} holds no vocabulary: the checkpoint is incomplete; copy or download it again")
    shutil.copy(words.parent / "tokenizer_config.json", words)
    (words.parent / "tokenizer_config.json").unlink()
    refused(folder, rf"{part}/tokenizer_config\.json is missing: the checkpoint is incomplete")


@pytest.mark.parametrize(("family", "part"), NETWORKS)
def test_missing_parts_and_wrong_classes(copied: Folder, family: str, part: str) -> None:
    folder = copied(family)
    config = folder / part / "config.json"
    said = "_class_name" if "_class_name" in json.loads(config.read_text()) else "architectures"
    before = config.read_text()
    change(config, **{said: "BertModel" if said == "_class_name" else ["BertModel"]})
    refused(folder, rf"{part}/config\.json: it is a BertModel, but {family} needs ")
    config.write_text(before[:-3])
    refused(folder, rf"{part}/config\.json cannot be read.*copy or download it again")
    config.write_text(before)
    index = folder / "model_index.json"
    listed = index.read_text()
    change(index, **{part: ["transformers", "BertModel"]})
    refused(folder, rf"model_index\.json: {part} is BertModel, but {family} needs ")
    change(index, **{part: None})
    refused(folder, rf"model_index\.json: {part} is missing, but {family} needs ")
    index.write_text(listed)
    weights_of(folder, part).unlink()
    refused(folder, f"{part} holds no weights: the checkpoint is incomplete; copy or download it again")
    shutil.rmtree(folder / part)
    refused(folder, f"{part} is missing: the checkpoint is incomplete; copy or download it again")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_under_the_name_of_another_family(copied: Folder, family: str) -> None:
    folder = copied(family)
    for other in FAMILIES.values():
        if other.name != family:
            change(folder / "model_index.json", _class_name=other.pipelines[0])
            refused(folder, rf"model_index\.json: \w+ is .*, but {other.name} needs ")


@pytest.mark.parametrize("kind", ["StableDiffusionPipeline", "MusicLDMPipeline", "", None, ["AudioLDMPipeline"]])
def test_unknown_families(copied: Folder, kind: Any) -> None:
    folder = copied("audioldm")
    change(folder / "model_index.json", _class_name=kind)
    refused(folder, r"model_index\.json: models of class .* cannot be played; these can: AmbiencePipeline, AudioLDM")


@pytest.mark.parametrize("content", ["{", "[]", "", "{}"])
def test_an_index_that_is_none(copied: Folder, content: str) -> None:
    folder = copied("audioldm2")
    (folder / "model_index.json").write_text(content)
    refused(folder, r"model_index\.json: the description of the model cannot be used")


@pytest.mark.parametrize("rate", [8_000, 48_000, 0])
@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_rates(copied: Folder, family: str, rate: int) -> None:
    folder = copied(family)
    change(folder / ("vocoder" if family.startswith("audioldm") else "vae") / "config.json", sampling_rate=rate)
    refused(folder, rf"its sound has {rate} Hz; {FAMILIES[family].rate} Hz is expected")


@pytest.mark.parametrize(
    ("family", "part", "wrong"),
    [
        ("audioldm", "vocoder", {"upsample_rates": [0]}),
        ("audioldm2", "vae", {"block_out_channels": None}),
        ("stable-audio", "vae", {"downsampling_ratios": []}),
        ("stable-audio", "vae", {"audio_channels": 6}),
        ("stable-audio-3", "vae", {"encoder_strides": [0]}),
        ("stable-audio-3", "vae", {"sampling_rate": "fast"}),
    ],
)
def test_dimensions_that_cannot_be(copied: Folder, family: str, part: str, wrong: dict[str, Any]) -> None:
    folder = copied(family)
    change(folder / part / "config.json", **wrong)
    with pytest.raises(BackendError):
        load_backend(describe(str(folder)), device="cpu", threads=1)


@pytest.mark.parametrize(
    ("family", "part", "name"),
    [
        ("audioldm", "unet", "in_channels"),
        ("audioldm2", "unet", "in_channels"),
        ("stable-audio", "transformer", "in_channels"),
        ("stable-audio-3", "transformer", "io_channels"),
    ],
)
def test_parts_that_do_not_belong_together(copied: Folder, family: str, part: str, name: str) -> None:
    folder = copied(family)
    change(folder / part / "config.json", **{name: 24})
    refused(folder, "disagree on the number of latent channels")


@pytest.mark.parametrize(
    ("family", "scheduler", "reason"),
    [
        ("audioldm", "PNDMScheduler", "takes 19 for 10"),
        ("audioldm2", "LMSDiscreteScheduler", "would not join"),
        ("stable-audio", "EDMDPMSolverMultistepScheduler", "cosine schedule"),
        ("stable-audio-3", "DDIMScheduler", "straight flows"),
    ],
)
def test_schedulers_that_lose_the_tail_are_refused(copied: Folder, family: str, scheduler: str, reason: str) -> None:
    folder = copied(family)
    path = folder / "scheduler/scheduler_config.json"
    change(path, _class_name=scheduler)
    refused(folder, rf"{scheduler} cannot be used for {family}: .*{reason}.*Write \"_class_name\"")
    path.write_text("{}")
    refused(folder, r"scheduler_config\.json cannot be read.*copy or download it again")


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_that_are_not_finite_are_no_clip(
    checkpoint: Folder, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load_backend(describe(str(checkpoint(family))), device="cpu", threads=1)
    assert isinstance(backend, DiffusionBackend)
    wanted = ClipRequest(ClipKey("layer", 0), 0, 16, 0, 7, 3, PromptMix.of("rain"), 2, 1.0)
    for method in ("_predict", "_decode"):
        with monkeypatch.context() as patched:
            made = getattr(backend, method)
            patched.setattr(backend, method, lambda *given, made=made: made(*given) * torch.nan)
            (answer,) = backend.generate([wanted])
        assert isinstance(answer, ClipFailure) and answer.kind == "nan"
        assert answer.message == "the model gave numbers that are not finite"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_command_says_it_in_one_line_and_writes_nothing(
    copied: Folder, family: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the worker process, where the weights are read."""
    folder, out = copied(family), tmp_path / "clip.wav"
    path = weights_of(folder, "vae")
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["clip", "rain", "--seconds", "1", "--model", str(folder), "--device", "cpu", "--out", str(out)]) == 1
    told = capsys.readouterr().err
    assert "vae" in told and "cannot be read" in told and "copy or download it again" in told
    assert "Traceback" not in told and not out.exists()
