"""The big families at their published sizes, with random weights, which do not change the time: one denoising step of a
10 s clip on this device. Each in a process of its own, so that its memory is given back."""

from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECONDS = 10.0
_UNET = {
    "sample_size": 128,
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": (128, 256, 384, 640),
    "layers_per_block": 2,
    "attention_head_dim": (4, 8, 12, 20),
    "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
    "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
}
STEPS = {"AudioLDM-s": 20, "AudioLDM 2": 20, "Stable Audio Open": 50, "Stable Audio 3 medium": 8}
"""Usual steps of each, by the schedulers that Ambient takes for it."""
EVALUATIONS = {"AudioLDM-s": 2, "AudioLDM 2": 2, "Stable Audio Open": 2, "Stable Audio 3 medium": 1}
"""Of the network in each step: two with guidance."""


def families() -> dict[str, Any]:
    """One row a model; ``error`` where it does not fit or cannot be built."""
    found: dict[str, Any] = {"seconds_of_sound": SECONDS}
    for name in STEPS:
        command = [sys.executable, "-m", "tools.benches.families", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            found[name] = {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
        else:
            found[name] = json.loads(done.stdout)
    return found


def _builders() -> dict[str, tuple[Callable[[], Any], Callable[[Any, Any], dict[str, Any]]]]:
    """Name → how to build its network, and how to call it once, given torch and the device."""
    import diffusers
    from diffusers.models.transformers.transformer_stable_audio3 import StableAudio3DiTModel

    def unet() -> Any:
        return diffusers.UNet2DConditionModel(
            **_UNET,
            cross_attention_dim=_UNET["block_out_channels"],
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=512,
            class_embeddings_concat=True,
        )

    def unet2() -> Any:
        return diffusers.AudioLDM2UNet2DConditionModel(**_UNET, cross_attention_dim=([None, 768, 1024],) * 4)

    def mel(torch: Any, more: dict[str, Any]) -> dict[str, Any]:
        x = torch.randn(1, 8, round(25 * SECONDS) // 8 * 8, 16)
        return {"sample": x, "timestep": torch.tensor([500]), **more}

    def open_(torch: Any, device: Any) -> dict[str, Any]:
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        frames = round(21.5 * SECONDS)
        rotary = get_1d_rotary_pos_embed(32, frames + 1, use_real=True, repeat_interleave_real=False)
        return {
            "hidden_states": torch.randn(1, 64, frames),
            "timestep": torch.tensor([0.5]),
            "encoder_hidden_states": torch.randn(1, 130, 768),
            "global_hidden_states": torch.randn(1, 1, 1536),
            "rotary_embedding": tuple(r.to(device) for r in rotary),
        }

    def three(torch: Any, device: Any) -> dict[str, Any]:
        frames = round(10.77 * SECONDS)
        return {
            "hidden_states": torch.randn(1, 256, frames),
            "timestep": torch.tensor([0.5]),
            "encoder_hidden_states": torch.randn(1, 128, 768),
            "global_hidden_states": torch.randn(1, 768),
            "local_add_cond": torch.randn(1, 257, frames),
        }

    return {
        "AudioLDM-s": (
            unet,
            lambda t, _: mel(t, {"encoder_hidden_states": None, "class_labels": t.randn(1, 512)}),
        ),
        "AudioLDM 2": (
            unet2,
            lambda t, _: mel(
                t,
                {"encoder_hidden_states": t.randn(1, 8, 768), "encoder_hidden_states_1": t.randn(1, 64, 1024)},
            ),
        ),
        "Stable Audio Open": (diffusers.StableAudioDiTModel, open_),
        "Stable Audio 3 medium": (StableAudio3DiTModel, three),
    }


def _one(name: str) -> dict[str, Any]:
    import torch

    from ambient.generate.devices import choose_device, cpu_threads

    torch.set_num_threads(cpu_threads(None, offline=True))
    device = choose_device("auto", half=True)
    build, call = _builders()[name]
    with torch.device("meta"):
        network = build()
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for p in [*network.parameters(), *network.buffers()]:
        if p.is_floating_point():
            p.normal_(0, 0.02, generator=generator)
        else:
            p.zero_()
    network.to(device.torch_device, device.dtype)
    known = call(torch, device.torch_device)
    given = {
        k: v.to(device.torch_device, device.dtype if v.is_floating_point() else v.dtype)
        if isinstance(v, torch.Tensor)
        else v
        for k, v in known.items()
    }

    def step() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            network(**given)
        if device.torch_device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    step()  # what is done once is done
    spent = min(step() for _ in range(2))
    whole = spent * STEPS[name] * EVALUATIONS[name]
    return {
        "parameters_m": round(sum(p.numel() for p in network.parameters()) / 1e6),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "step_seconds": round(spent, 3),
        "usual_steps": STEPS[name],
        "evaluations_a_step": EVALUATIONS[name],
        "denoising_times_real_time": round(SECONDS / whole, 3),
        "memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),
    }


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1])))
