"""The big families at their published sizes, with random weights, which do not change the time: steps of a 10 s clip,
decoded, through Ambient's own backends on this device. Each in a process of its own, so that its memory is given back.

What reads the prompt (CLAP, T5, GPT-2, T5Gemma) is left out: it runs once for a text, which is then remembered.
"""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECONDS = 10.0


@dataclass(frozen=True)
class Published:
    """A checkpoint by its published dimensions."""

    family: str
    scheduler: str
    """As it is shipped: Ambient's usual steps go by it."""
    build: Callable[[], Any]
    """Makes its pipeline, without what reads the prompt."""
    meaning: Callable[[Any], dict[str, Any]]
    """What reading a prompt gives, by shape, given torch."""
    gigabytes: float
    """What it needs with one clip in full precision, roughly."""
    latents_per_second: float
    hop: int
    latent_channels: int


# ---- the mel families: dimensions as in diffusers' conversion scripts for the published checkpoints

_UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": (128, 256, 384, 640),
    "layers_per_block": 2,
    "attention_head_dim": (4, 8, 12, 20),
    "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
    "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
}


def _mel_parts() -> dict[str, Any]:
    import diffusers
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    vae = diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=8,
        block_out_channels=(128, 256, 512),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        scaling_factor=0.9,
    )
    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=64,
        sampling_rate=16_000,
        upsample_initial_channel=1024,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
        normalize_before=False,
    )
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.0015,
        beta_end=0.0195,
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=False,
    )
    return {"vae": vae, "vocoder": SpeechT5HifiGan(vocoder), "scheduler": scheduler}


def _audioldm() -> Any:
    import diffusers

    unet = diffusers.UNet2DConditionModel(
        **_UNET,
        cross_attention_dim=_UNET["block_out_channels"],
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=512,
        class_embeddings_concat=True,
    )
    return diffusers.AudioLDMPipeline(**_mel_parts(), unet=unet, text_encoder=None, tokenizer=None)


def _audioldm2() -> Any:
    import diffusers

    unet = diffusers.AudioLDM2UNet2DConditionModel(**_UNET, cross_attention_dim=([None, 768, 1024],) * 4)
    readers = ("text_encoder", "text_encoder_2", "projection_model", "language_model", "tokenizer", "tokenizer_2")
    nothing = dict.fromkeys((*readers, "feature_extractor"))
    return diffusers.AudioLDM2Pipeline(**_mel_parts(), unet=unet, **nothing)


# ---- the waveform families: the defaults of diffusers' classes are the published dimensions


def _stable_audio() -> Any:
    import diffusers

    return diffusers.StableAudioPipeline(
        vae=diffusers.AutoencoderOobleck(),
        transformer=diffusers.StableAudioDiTModel(),
        projection_model=diffusers.StableAudioProjectionModel(768, 768, 0, 512),
        scheduler=diffusers.CosineDPMSolverMultistepScheduler(
            sigma_min=0.3, sigma_max=500, sigma_data=1.0, prediction_type="v_prediction", sigma_schedule="exponential"
        ),
        text_encoder=None,
        tokenizer=None,
    )


def _stable_audio_3() -> Any:
    import diffusers
    from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder

    return diffusers.StableAudio3InpaintPipeline(
        vae=diffusers.AutoencoderSAME(
            encoder_channels=256, encoder_transformer_depths=(12,), decoder_sinusoidal_blocks=(8,)
        ),
        transformer=diffusers.StableAudio3DiTModel(),
        duration_embedder=StableAudio3DurationEmbedder(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, stochastic_sampling=True),
        text_encoder=None,
        tokenizer=None,
    )


MODELS = {
    "AudioLDM-s": Published(
        "audioldm", "DDIMScheduler", _audioldm, lambda t: {"unit": t.randn(1, 512)}, 2.0, 25, 640, 128
    ),
    "AudioLDM 2": Published(
        "audioldm2",
        "DDIMScheduler",
        _audioldm2,
        lambda t: {
            "text": t.randn(1, 16, 1024),
            "text_mask": t.ones(1, 16, dtype=t.long),
            "generated": t.randn(1, 8, 768),
        },
        2.8,
        25,
        640,
        128,
    ),
    "Stable Audio Open": Published(
        "stable-audio",
        "CosineDPMSolverMultistepScheduler",
        _stable_audio,
        lambda t: {"text": t.randn(1, 128, 768)},
        7.5,
        44_100 / 2048,
        2048,
        64,
    ),
    "Stable Audio 3 medium": Published(
        "stable-audio-3",
        "FlowMatchEulerDiscreteScheduler",
        _stable_audio_3,
        lambda t: {"text": t.randn(1, 256, 768), "text_mask": t.ones(1, 256, dtype=t.long)},
        11.0,
        44_100 / 4096,
        4096,
        256,
    ),
}


def families() -> dict[str, Any]:
    """One row a model; ``error`` where it does not fit or cannot be built."""
    found: dict[str, Any] = {"seconds_of_sound": SECONDS}
    for name, model in MODELS.items():
        free = _free_gigabytes()
        if free < model.gigabytes:
            found[name] = {"error": f"needs about {model.gigabytes} GB of memory; {free:.1f} GB are free"}
            continue
        command = [sys.executable, "-m", "tools.benches.families", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            found[name] = {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
        else:
            found[name] = json.loads(done.stdout)
    return found


def _free_gigabytes() -> float:
    with contextlib.suppress(OSError, AttributeError):
        told = pathlib.Path("/proc/meminfo").read_text()
        return int(re.search(r"MemAvailable:\s+(\d+)", told).group(1)) / 1e6  # type: ignore[union-attr]
    return math.inf


def _peak_gigabytes() -> float:
    with contextlib.suppress(OSError, AttributeError):
        told = pathlib.Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", told).group(1)) / 1e6  # type: ignore[union-attr]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@contextlib.contextmanager
def _unset_weights(torch: Any) -> Iterator[None]:
    """Networks built meanwhile leave their weights as memory had them: setting billions twice takes a minute."""
    names = [n for n in vars(torch.nn.init) if n.endswith("_") and not n.startswith("_")]
    kept = {n: getattr(torch.nn.init, n) for n in names}
    for name in names:
        setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(torch.nn.init, name, function)


def _fill(torch: Any, network: Any) -> None:
    """Random weights under which a signal keeps its size: denormal or infinite numbers would change the time."""
    noise = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))
    for name, weight in network.named_parameters():
        flat = weight.data.view(-1)
        if weight.dim() < 2 or name.endswith(("weight_g", "original0")):
            flat.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        size = 1 / math.sqrt(weight[0].numel())
        for start in range(0, len(flat), len(noise)):
            piece = flat[start : start + len(noise)]
            torch.mul(noise[: len(piece)], size, out=piece)


class _Stopwatch:
    """Seconds that a backend's method takes, call by call; what a GPU still has to do is waited for.

    ``own`` are those of the processor spent on it, a thread: what it takes where no other program wants that core.
    """

    def __init__(self, torch: Any, backend: Any, method: str) -> None:
        self.seconds: list[float] = []
        self.own: list[float] = []
        made = getattr(backend, method)

        def timed(*given: Any) -> Any:
            began, spent = time.perf_counter(), time.process_time()
            out = made(*given)
            if out.device.type == "cuda":
                torch.cuda.synchronize()
            self.seconds.append(time.perf_counter() - began)
            self.own.append((time.process_time() - spent) / torch.get_num_threads())
            return out

        setattr(backend, method, timed)


def _backend(torch: Any, name: str) -> Any:
    from ambient.generate import mel, stable
    from ambient.generate.devices import choose_device, cpu_threads
    from ambient.generate.families import FAMILIES
    from ambient.messages import RATE, ModelInfo

    model = MODELS[name]
    family = FAMILIES[model.family]
    torch.set_num_threads(cpu_threads(None, offline=True))
    with _unset_weights(torch):
        pipeline = model.build()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            _fill(torch, part)
    kinds = {
        "audioldm": mel.AudioLDMBackend,
        "audioldm2": mel.AudioLDM2Backend,
        "stable-audio": stable.StableAudioBackend,
        "stable-audio-3": stable.StableAudio3Backend,
    }
    steps, fewest = family.steps[model.scheduler]
    info = ModelInfo(
        name=name,
        family=family.name,
        fingerprint="",
        rate=family.rate,
        channels=1 if family.rate == 16_000 else 2,
        latent_channels=model.latent_channels,
        frames_per_latent=round(model.hop * RATE / family.rate),
        max_latent_frames=1024,
        steps=steps,
        min_steps=fewest,
        guidance=family.guidance,
    )
    backend = kinds[family.name](info, pipeline, model.hop, choose_device("auto", half=True))
    meaning = {k: v.to(backend._place) for k, v in model.meaning(torch).items()}
    backend._read = lambda _: meaning
    return backend


def _one(name: str) -> dict[str, Any]:
    """On a processor two steps and the decoder, from which the clip follows; on a GPU the whole clip too."""
    import torch

    from ambient.messages import Clip, ClipKey, ClipRequest, PromptMix

    began = time.perf_counter()
    backend = _backend(torch, name)
    built = time.perf_counter() - began
    info = backend.info
    networks = backend._parts
    predict, decode = (_Stopwatch(torch, backend, m) for m in ("_predict", "_decode"))
    # UNets halve the length again and again
    latents = round(MODELS[name].latents_per_second * SECONDS) // 8 * 8
    sound = latents * MODELS[name].hop / info.rate

    def clip(steps: int) -> float:
        prompt = PromptMix.of("rain")
        request = ClipRequest(ClipKey("bench", 0), 0, latents, 0, 1, 1, prompt, steps, info.guidance)
        began = time.perf_counter()
        (answer,) = backend.generate([request])
        if not isinstance(answer, Clip):
            raise SystemExit(answer.message)
        return time.perf_counter() - began

    clip(2)
    if backend._place.type == "cuda":
        step, decoder = min(predict.seconds), min(decode.seconds)
        spent = min(clip(info.steps) for _ in range(2))
        memory, how = torch.cuda.max_memory_allocated() / 1e9, "measured whole"
    else:
        step, decoder = min(predict.own), min(decode.own)
        spent = step * info.steps + decoder
        memory, how = _peak_gigabytes(), "processor time of its steps and of the decoder"
    return {
        "parameters_m": {n: round(sum(p.numel() for p in part.parameters()) / 1e6) for n, part in networks.items()},
        "device": backend.device,
        "sound_seconds": round(sound, 2),
        "guidance": info.guidance,
        "step_seconds": round(step, 3),
        "step_seconds_by_the_clock": round(min(predict.seconds), 3),
        "decode_seconds": round(decoder, 2),
        "decode_seconds_by_the_clock": round(min(decode.seconds), 2),
        "clip_seconds": round(spent, 1),
        "clip_is": how,
        "usual_steps": info.steps,
        "times_real_time": round(sound / spent, 3),
        "fewest_steps": info.min_steps,
        "times_real_time_fewest_steps": round(sound / (step * info.min_steps + decoder), 3),
        "memory_gb": round(memory, 1),
        "build_seconds": round(built, 1),
    }


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1])))
