"""The families of models that can be played, and what their checkpoints' small files say; no weights, no torch.

A checkpoint is a folder in the layout of diffusers: ``model_index.json`` names the pipeline and its parts, each part
has a folder with a configuration.
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ambient.errors import BackendError
from ambient.messages import RATE

__all__ = ["FAMILIES", "Family", "Geometry", "advice_for", "check_files", "family_of", "read_index", "scheduler_of"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a checkpoint's latents and sound look like."""

    rate: int
    channels: int
    latent_channels: int
    """Numbers in one latent frame."""
    hop: int
    """Samples at ``rate`` in one latent frame."""
    max_latent_frames: int

    @property
    def frames_per_latent(self) -> int:
        """Frames of the engine clock in one latent frame, rounded.

        At 44.1 kHz it comes out whole only after rounding: the sound is then played 50 millionths too fast or slow,
        a tenth of a cent.
        """
        return round(self.hop * RATE / self.rate)


@dataclass(frozen=True, slots=True)
class Family:
    """What models of one kind have in common."""

    name: str
    pipelines: tuple[str, ...]
    """Class names of diffusers pipelines; all of them load with the first."""
    parts: Mapping[str, tuple[str, ...]]
    """Parts that must be there, with the classes that they may have."""
    geometry: Callable[[pathlib.Path], Geometry]
    rate: int
    """Hz of all published models of the family."""
    steps: Mapping[str, tuple[int, int]]
    """Schedulers that keep a tail exact, each with the usual number of steps and the fewest that will do."""
    guidance: float
    edge_latents: int
    """Reach of the decoder."""
    tail_reason: str
    """Why other schedulers are refused."""


def _json(path: pathlib.Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no object")
    return found


def _mel_geometry(folder: pathlib.Path) -> Geometry:
    vae, vocoder = _json(folder / "vae/config.json"), _json(folder / "vocoder/config.json")
    unet = _json(folder / "unet/config.json")
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    rate, hop = int(vocoder["sampling_rate"]), math.prod(vocoder["upsample_rates"]) * factor
    if unet["in_channels"] != vae["latent_channels"]:
        raise BackendError(f"{folder}: UNet and VAE disagree on the number of latent channels")
    width = int(vocoder["model_in_dim"]) // factor
    # Trained on 10.24 s; the network takes any length, but what lies beyond is not known to sound well.
    return Geometry(rate, 1, int(vae["latent_channels"]) * width, hop, max(1, int(10.24 * rate) // hop))


def _oobleck_geometry(folder: pathlib.Path) -> Geometry:
    vae, transformer = _json(folder / "vae/config.json"), _json(folder / "transformer/config.json")
    if transformer["in_channels"] != vae["decoder_input_channels"]:
        raise BackendError(f"{folder}: transformer and VAE disagree on the number of latent channels")
    hop = math.prod(vae["downsampling_ratios"])
    rate, channels = int(vae["sampling_rate"]), int(vae["audio_channels"])
    return Geometry(rate, channels, int(transformer["in_channels"]), hop, int(transformer["sample_size"]))


def _same_geometry(folder: pathlib.Path) -> Geometry:
    vae, transformer = _json(folder / "vae/config.json"), _json(folder / "transformer/config.json")
    duration = _json(folder / "duration_embedder/config.json")
    if transformer["io_channels"] != vae["latent_dim"]:
        raise BackendError(f"{folder}: transformer and VAE disagree on the number of latent channels")
    hop, rate = int(vae["patch_size"]) * math.prod(vae["encoder_strides"]), int(vae["sampling_rate"])
    longest = int(float(duration["max_val"]) * rate) // hop
    return Geometry(rate, int(vae["audio_channels"]), int(vae["latent_dim"]), hop, longest)


_ALPHA_STEPS = {"DDIMScheduler": (50, 20), "DPMSolverMultistepScheduler": (20, 10)}
_MEL_PARTS = {
    "vae": ("AutoencoderKL",),
    "tokenizer": ("RobertaTokenizer", "RobertaTokenizerFast"),
    "vocoder": ("SpeechT5HifiGan",),
}
_MEL_REASON = (
    "between two of its steps the kept sound cannot be set to the noise of the next one (PNDM takes 19 for 10), so a "
    "clip would not join the one before"
)

FAMILIES: dict[str, Family] = {
    f.name: f
    for f in (
        Family(
            name="audioldm",
            pipelines=("AudioLDMPipeline",),
            parts={
                **_MEL_PARTS,
                "text_encoder": ("ClapTextModelWithProjection",),
                "unet": ("UNet2DConditionModel",),
            },
            geometry=_mel_geometry,
            rate=16_000,
            steps=_ALPHA_STEPS,
            guidance=2.5,
            edge_latents=8,
            tail_reason=_MEL_REASON,
        ),
        Family(
            name="audioldm2",
            pipelines=("AudioLDM2Pipeline",),
            parts={
                **_MEL_PARTS,
                "text_encoder": ("ClapModel",),
                "text_encoder_2": ("T5EncoderModel", "VitsModel"),
                "projection_model": ("AudioLDM2ProjectionModel",),
                "language_model": ("GPT2Model", "GPT2LMHeadModel"),
                "tokenizer_2": ("T5Tokenizer", "T5TokenizerFast", "VitsTokenizer"),
                "feature_extractor": ("ClapFeatureExtractor",),
                "unet": ("AudioLDM2UNet2DConditionModel",),
            },
            geometry=_mel_geometry,
            rate=16_000,
            steps=_ALPHA_STEPS,
            guidance=3.5,
            edge_latents=8,
            tail_reason=_MEL_REASON,
        ),
        Family(
            name="stable-audio",
            pipelines=("StableAudioPipeline",),
            parts={
                "vae": ("AutoencoderOobleck",),
                "text_encoder": ("T5EncoderModel",),
                "projection_model": ("StableAudioProjectionModel",),
                "tokenizer": ("T5Tokenizer", "T5TokenizerFast"),
                "transformer": ("StableAudioDiTModel",),
            },
            geometry=_oobleck_geometry,
            rate=44_100,
            steps={"CosineDPMSolverMultistepScheduler": (50, 20)},
            guidance=7.0,
            edge_latents=4,
            tail_reason="the model was trained for noise levels up to 500 on the cosine schedule, others leave it",
        ),
        Family(
            name="stable-audio-3",
            pipelines=("StableAudio3InpaintPipeline", "StableAudio3Pipeline", "StableAudio3Audio2AudioPipeline"),
            parts={
                "vae": ("AutoencoderSAME",),
                "text_encoder": ("T5GemmaEncoderModel",),
                "tokenizer": ("GemmaTokenizer", "GemmaTokenizerFast"),
                "duration_embedder": ("StableAudio3DurationEmbedder",),
                "transformer": ("StableAudio3DiTModel",),
            },
            geometry=_same_geometry,
            rate=44_100,
            steps={"FlowMatchEulerDiscreteScheduler": (8, 4)},
            guidance=1.0,
            edge_latents=2,
            tail_reason="the model was trained on straight flows, which only this one follows",
        ),
    )
}
_VOCABULARIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "Roberta": (("tokenizer.json",), ("vocab.json", "merges.txt")),
    "T5": (("tokenizer.json",), ("spiece.model",)),
    "Gemma": (("tokenizer.json",), ("tokenizer.model",)),
    "Vits": (("vocab.json",),),
}
"""By the beginning of a tokenizer's class: the files that its words are in, one way or the other."""
_PIPELINES = {pipeline: family for family in FAMILIES.values() for pipeline in family.pipelines}
_UNDISTILLED_STEPS = (50, 20)
"""Of Stable Audio 3 before distillation, whose scheduler does not sample stochastically."""


def read_index(folder: pathlib.Path) -> dict[str, Any]:
    """``model_index.json`` of a checkpoint. Raises BackendError when it cannot be read."""
    try:
        found = _json(folder / "model_index.json")
        str(found["_class_name"])
    except (OSError, ValueError, KeyError) as error:
        raise BackendError(
            f"{folder / 'model_index.json'}: the description of the model cannot be used ({error!r})"
        ) from error
    return found


def family_of(folder: pathlib.Path, index: Mapping[str, Any]) -> Family:
    """The family by the pipeline that ``model_index.json`` names. Raises BackendError for one that is not known."""
    kind = str(index["_class_name"])
    if kind not in _PIPELINES:
        known = ", ".join(["AmbiencePipeline", *(f.pipelines[0] for f in FAMILIES.values())])
        raise BackendError(
            f"{folder / 'model_index.json'}: models of class {kind} cannot be played; these can: {known}"
        )
    return _PIPELINES[kind]


def scheduler_of(folder: pathlib.Path, family: Family) -> tuple[str, tuple[int, int]]:
    """Class of the checkpoint's scheduler, its usual and its fewest steps.

    Raises BackendError for one with which a clip could not keep the tail of the one before.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        config = _json(path)
        kind = str(config["_class_name"])
    except (OSError, ValueError, KeyError) as error:
        raise BackendError(f"{path} cannot be read: {error!r}; {advice_for(folder)}") from error
    if kind not in family.steps:
        good = " or ".join(family.steps)
        raise BackendError(
            f"{path}: {kind} cannot be used for {family.name}: {family.tail_reason}. "
            f'Write "_class_name": "{next(iter(family.steps))}" there (these keep it: {good})'
        )
    steps = family.steps[kind]
    if family.name == "stable-audio-3" and not config.get("stochastic_sampling"):
        steps = _UNDISTILLED_STEPS
    return kind, steps


def check_files(folder: pathlib.Path, family: Family, index: Mapping[str, Any]) -> None:
    """Looks whether every part is there and of a class that fits. Raises BackendError naming the first that is not."""
    for part, classes in family.parts.items():
        named = index.get(part)
        kind = named[1] if isinstance(named, list) and len(named) == 2 else None
        if kind is None or kind not in classes:
            raise BackendError(
                f"{folder / 'model_index.json'}: {part} is {kind or 'missing'}, but {family.name} needs "
                f"{' or '.join(classes)}"
            )
        inside = folder / part
        if not inside.is_dir() or not any(inside.iterdir()):
            raise BackendError(f"{inside} is missing: the checkpoint is incomplete; {advice_for(folder)}")
        if part.startswith("tokenizer"):
            _check_vocabulary(inside, kind, advice_for(folder))
        if part.startswith(("tokenizer", "feature_extractor")):
            continue
        try:
            config = _json(inside / "config.json")
        except (OSError, ValueError) as error:
            raise BackendError(f"{inside / 'config.json'} cannot be read: {error}; {advice_for(folder)}") from error
        real = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
        if real is not None and real not in classes:
            raise BackendError(f"{inside / 'config.json'}: it is a {real}, but {family.name} needs {kind}")
        if not [p for pattern in ("*.safetensors", "*.bin") for p in inside.glob(pattern)]:
            raise BackendError(f"{inside} holds no weights: the checkpoint is incomplete; {advice_for(folder)}")


def _check_vocabulary(folder: pathlib.Path, kind: str, advice: str) -> None:
    """Without its words a tokenizer loads all the same, and takes every prompt for nothing. Raises BackendError."""
    ways = [names for start, names in _VOCABULARIES.items() if kind.startswith(start)]
    if not any(all((folder / name).is_file() for name in way) for names in ways for way in names):
        raise BackendError(f"{folder} holds no vocabulary: the checkpoint is incomplete; {advice}")
    if not (folder / "tokenizer_config.json").is_file():
        raise BackendError(f"{folder / 'tokenizer_config.json'} is missing: the checkpoint is incomplete; {advice}")


def advice_for(folder: pathlib.Path) -> str:
    """What to do about a checkpoint whose files are not whole."""
    for parent in folder.parents:
        if parent.name.startswith("models--"):  # where the hub's cache keeps them
            return f"mend it with `ambient models fetch {parent.name.removeprefix('models--').replace('--', '/')}`"
    return "copy or download it again"
