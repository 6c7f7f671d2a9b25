"""Which models there are, and what a planner must know of each; reads small JSON files, never weights or torch."""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

from ambient.errors import BackendError, ModelNotFound
from ambient.generate import hub
from ambient.generate.families import check_files, family_of, read_index, scheduler_of
from ambient.messages import RATE, ModelInfo

__all__ = ["MODELS", "describe", "known_models", "locate"]

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
"""Models that travel in the package: one folder each, in the layout of diffusers checkpoints."""
_PIPELINE = "AmbiencePipeline"
_LATENT_FRAMES = (240, 24_000)
"""Frames of the engine clock that a latent frame may last: 5 ms to half a second."""
_PROBE, _PROBES = 4096, 1024
"""Bytes, and at how many places of a weight file, that enter the fingerprint: at once, and enough to tell two trainings
apart, of one part too."""


def known_models() -> list[ModelInfo]:
    """Models that travel in the package, by name."""
    return [describe(p.parent.name) for p in sorted(MODELS.glob("*/model_index.json"))]


def locate(name_or_path: str) -> tuple[str, pathlib.Path]:
    """Name and folder of a model: one that travels in the package, a checkpoint folder, or one that was fetched.

    Raises ModelNotFound with what to do; never touches the network.
    """
    folder = MODELS / name_or_path
    if "/" not in name_or_path and (folder / "model_index.json").is_file():
        return name_or_path, folder
    folder = pathlib.Path(name_or_path).expanduser()
    if (folder / "model_index.json").is_file():
        return folder.name, folder
    names = ", ".join(p.parent.name for p in sorted(MODELS.glob("*/model_index.json"))) or "none"
    if folder.is_dir():
        raise ModelNotFound(f"model {name_or_path!r} holds no model_index.json; bundled models: {names}")
    repository = hub.repository_of(name_or_path)
    if repository is None:
        raise ModelNotFound(
            f"model {name_or_path!r} is neither a bundled model nor a folder; bundled models: {names}; "
            "`ambient models` lists what can be fetched"
        )
    found = hub.cached(repository)
    if found is None or not (found / "model_index.json").is_file():
        raise ModelNotFound(
            f"model {name_or_path!r} is not on this machine; fetch it once with `ambient models fetch {name_or_path}`"
        )
    return repository, found


def describe(name_or_path: str) -> ModelInfo:
    """What a planner must know of a model, by its name or the folder of its checkpoint.

    Raises ModelNotFound when there is none, BackendError when its description cannot be used.
    """
    name, folder = locate(name_or_path)
    index = read_index(folder)
    try:
        if index["_class_name"] == _PIPELINE:
            return _describe_ours(name, folder, index)
        family = family_of(folder, index)
        check_files(folder, family, index)
        _, (steps, min_steps) = scheduler_of(folder, family)
        geometry = family.geometry(folder)
        if geometry.rate != family.rate:
            raise BackendError(f"{folder}: its sound has {geometry.rate} Hz; {family.rate} Hz is expected")
        if geometry.channels not in (1, 2) or not _LATENT_FRAMES[0] <= geometry.frames_per_latent <= _LATENT_FRAMES[1]:
            raise BackendError(
                f"{folder}: its sound has {geometry.channels} channels, and {geometry.hop} samples in a latent frame: "
                f"that is no {family.name}"
            )
        return ModelInfo(
            name=name,
            family=family.name,
            fingerprint=_fingerprint(folder),
            rate=geometry.rate,
            channels=geometry.channels,
            latent_channels=geometry.latent_channels,
            frames_per_latent=geometry.frames_per_latent,
            max_latent_frames=geometry.max_latent_frames,
            steps=steps,
            min_steps=min_steps,
            guidance=family.guidance,
            edge_latents=family.edge_latents,
            path=str(folder),
            levelled=False,
        )
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise BackendError(
            f"{folder / 'model_index.json'}: the description of the model cannot be used ({error!r})"
        ) from error


_REVISION = 10
"""Of what the code makes of the bundled model's weights: cached clips and recorded nights tell by it that they are of
another. To be raised with every change that is heard."""


def _describe_ours(name: str, folder: pathlib.Path, index: dict[str, Any]) -> ModelInfo:
    about = index["ambient"]
    codec = json.loads((folder / "codec" / "config.json").read_text("utf-8"))
    transformer = json.loads((folder / "transformer" / "config.json").read_text("utf-8"))
    rate = int(codec["sampling_rate"])
    if rate != RATE:
        raise BackendError(f"{folder}: its sound has {rate} Hz; {RATE} Hz is expected")
    if transformer["io_channels"] != codec["latent_dim"]:
        raise BackendError(f"{folder}: transformer and codec disagree on the number of latent channels")
    return ModelInfo(
        name=name if folder.parent == MODELS else str(about.get("name", name)),
        family="ambience",
        fingerprint=f"{_fingerprint(folder)}-{_REVISION}",
        rate=rate,
        channels=2,
        latent_channels=int(codec["latent_dim"]),
        frames_per_latent=int(codec["downsampling_ratio"]),
        max_latent_frames=int(about["max_latent_frames"]),
        steps=int(about["steps"]),
        min_steps=int(about["min_steps"]),
        guidance=float(about["guidance"]),
        edge_latents=int(about["edge_latents"]),
        path=str(folder),
    )


def _fingerprint(folder: pathlib.Path) -> str:
    """Of every weight file its name, length and probes from end to end."""
    digest = hashlib.blake2b((folder / "model_index.json").read_bytes(), digest_size=12)
    weights = [p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin")]
    for path in [*sorted(folder.glob("scheduler/*.json")), *sorted(weights)]:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size} ".encode())
        with path.open("rb") as file:
            for k in range(_PROBES):
                file.seek(max(0, size - _PROBE) * k // (_PROBES - 1))
                digest.update(file.read(_PROBE))
    return digest.hexdigest()
