"""Which models there are, and what a planner must know of each; reads small JSON files, never weights or torch."""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

from ambient.errors import BackendError, ModelNotFound
from ambient.messages import RATE, ModelInfo

__all__ = ["MODELS", "describe", "known_models"]

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
"""Models that travel in the package: one folder each, in the layout of diffusers checkpoints."""
_PIPELINE = "AmbiencePipeline"
_PROBE = 65_536
"""Bytes at both ends of a weight file that enter the fingerprint: enough to tell two trainings apart, at once."""


def known_models() -> list[ModelInfo]:
    """Models that travel in the package, by name."""
    return [describe(p.parent.name) for p in sorted(MODELS.glob("*/model_index.json"))]


def describe(name_or_path: str) -> ModelInfo:
    """What a planner must know of a model, by its name or the folder of its checkpoint.

    Raises ModelNotFound when there is none, BackendError when its description cannot be used.
    """
    folder = MODELS / name_or_path
    if "/" in name_or_path or not (folder / "model_index.json").is_file():
        folder = pathlib.Path(name_or_path).expanduser()
    index = folder / "model_index.json"
    if not index.is_file():
        names = ", ".join(p.parent.name for p in sorted(MODELS.glob("*/model_index.json"))) or "none"
        what = "holds no model_index.json" if folder.is_dir() else "is neither a bundled model nor a folder"
        raise ModelNotFound(f"model {name_or_path!r} {what}; bundled models: {names}")
    try:
        found: dict[str, Any] = json.loads(index.read_text("utf-8"))
        kind = found["_class_name"]
        if kind != _PIPELINE:
            raise BackendError(f"{index}: models of class {kind} cannot be played; {_PIPELINE} is expected")
        about = found["ambient"]
        codec = json.loads((folder / "codec" / "config.json").read_text("utf-8"))
        transformer = json.loads((folder / "transformer" / "config.json").read_text("utf-8"))
        rate = int(codec["sampling_rate"])
        if rate != RATE:
            raise BackendError(f"{folder}: its sound has {rate} Hz; {RATE} Hz is expected")
        if transformer["io_channels"] != codec["latent_dim"]:
            raise BackendError(f"{folder}: transformer and codec disagree on the number of latent channels")
        return ModelInfo(
            name=folder.name if folder.parent == MODELS else str(about.get("name", folder.name)),
            family="stable-audio-3",
            fingerprint=_fingerprint(folder),
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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendError(f"{index}: the description of the model cannot be used ({error!r})") from error


def _fingerprint(folder: pathlib.Path) -> str:
    """Of every weight file its name, length and both ends."""
    digest = hashlib.blake2b((folder / "model_index.json").read_bytes(), digest_size=12)
    for path in sorted(folder.rglob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(_PROBE))
            file.seek(max(0, size - _PROBE))
            digest.update(file.read(_PROBE))
    return digest.hexdigest()
