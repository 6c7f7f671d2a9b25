"""``export``: the trained parts, in half precision, in the layout of a diffusers checkpoint."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from torch import nn

from ambient.generate.bundled import WEIGHTS
from ambient.generate.codec import EDGE_LATENTS, AmbienceCodec
from ambient.generate.prompt import PromptEncoder
from tools.training.codec import linear
from tools.training.diffusion import TEXT_DIM, Sampler, build
from tools.training.tones import knows_calls


def export(work: pathlib.Path, out: pathlib.Path, settings: dict[str, Any]) -> int:
    """Writes the model into ``out``; ``settings``: ``shift`` and what planners must know. Returns its size in bytes."""
    about = {k: v for k, v in settings.items() if k not in ("shift", "anchor_clips", "distilled")}
    clips = settings["anchor_clips"]
    trained = torch.load(work / "diffusion.pt", weights_only=False, map_location="cpu")
    transformer = build(trained["settings"])
    transformer.load_state_dict(trained["ema"])
    for stage, counted in (("distil.pt", "distilled_steps"), ("texture.pt", "texture_steps")):
        if settings["distilled"] and (work / stage).exists():
            few = torch.load(work / stage, weights_only=False, map_location="cpu")
            transformer.load_state_dict(few["ema"])
            steps = few["settings"]["steps"]
            about |= {"steps": steps, "min_steps": min(steps, about["min_steps"]), "guidance": 1.0}
            about[counted] = few["step"]
    refined = torch.load(work / "codec.pt", weights_only=False, map_location="cpu")
    tonal = {}
    if (work / "tones.pt").exists():
        tonal = torch.load(work / "tones.pt", weights_only=False, map_location="cpu")["best"]
    codec = AmbienceCodec(
        latent_dim=refined["settings"]["latent_dim"],
        hidden=refined["settings"]["hidden"],
        tones=bool(tonal),
        calls=bool(tonal) and knows_calls(tonal),
    )
    linear(codec, work)
    codec.refiner.load_state_dict(refined["best"])
    if codec.tonal is not None:
        codec.tonal.load_state_dict(tonal)
    usual = usual_latents(work, trained["settings"], clips)
    read = read_encoder(work)
    config = {k: v for k, v in read["config"].items() if not k.startswith("_")}
    prototypes = torch.from_numpy(np.load(work / "prototypes.npy"))
    learned = trained["settings"]
    encoder = PromptEncoder(
        **config
        | {"latent_dim": learned["latent_dim"], "kinds": len(prototypes)}
        | {k: learned[k] for k in ("grounding", "sharpness")}
    )
    encoder.load_state_dict(read["model"] | {f"usual.{k}": v for k, v in usual.items()} | {"prototypes": prototypes})
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("transformer", transformer), ("codec", codec), ("prompt_encoder", encoder)):
        _write(part, out / name)
    shutil.copyfile(work / "tokenizer.json", out / "prompt_encoder" / "tokenizer.json")
    FlowMatchEulerDiscreteScheduler(shift=settings["shift"]).save_config(out / "scheduler")
    index = {
        "_class_name": "AmbiencePipeline",
        "transformer": ["diffusers", "StableAudio3DiTModel"],
        "codec": ["ambient.generate.codec", "AmbienceCodec"],
        "prompt_encoder": ["ambient.generate.prompt", "PromptEncoder"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "ambient": about | {"edge_latents": EDGE_LATENTS, "trained_steps": trained["step"]},
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"export: {size / 1e6:.1f} MB in {out}, after {trained['step']} steps of diffusion training")
    return size


def usual_latents(work: pathlib.Path, settings: dict[str, Any], clips: int) -> dict[str, torch.Tensor]:
    """Ridge regression from meaning to the mean latents of a clip, and to the half-width of their usual range."""
    sampler = Sampler(work, settings | {"drop_text": 0.0, "one_shot_odds": 0.0}, seed=1)
    drawn = [sampler.one(96) for _ in range(clips)]
    x = np.stack([c[1][:-1] for c in drawn]) / TEXT_DIM**0.5
    y = np.stack([c[0].mean(1) for c in drawn])

    def ridge(goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre, offset = x.mean(0), goal.mean(0)
        weight = np.linalg.solve(
            (x - centre).T @ (x - centre) + 2.0 * np.eye(x.shape[1]), (x - centre).T @ (goal - offset)
        )
        return weight, offset - centre @ weight

    mean, bias = ridge(y)
    spread = np.abs(y - x @ mean - bias).mean(0)
    weight = np.concatenate([mean, np.zeros_like(mean)], 1).T
    found = {"weight": weight, "bias": np.concatenate([bias, spread])}
    return {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in found.items()}


def _write(part: nn.Module, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part.save_config(folder)  # type: ignore[operator]  # of diffusers' ConfigMixin
    save_file({k: v.detach().half().contiguous() for k, v in part.state_dict().items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone


def read_encoder(work: pathlib.Path, part: str | None = None) -> dict[str, Any]:
    """The prompt encoder of a working folder, of the last stage that has run or of ``part``: ``config``, ``model``."""
    last = part or ("naming.pt" if (work / "naming.pt").exists() else "prompt.pt")
    found: dict[str, Any] = torch.load(work / last, weights_only=False, map_location="cpu")
    return found


def load_half(path: pathlib.Path) -> dict[str, torch.Tensor]:
    """Weights as exported, in single precision. Raises OSError."""
    return {k: v.float() for k, v in load_file(path).items()}
