"""AudioLDM and AudioLDM 2: diffusion in the latents of a mel spectrogram, made audible by a vocoder. 16 kHz mono.

AudioLDM: Liu et al., arXiv 2301.12503; AudioLDM 2: Liu et al., arXiv 2308.05734. Their networks see the latents as
pictures ``(batch, 8, frames, 16)``: 8 channels, 16 heights; the engine as ``(batch, 128, frames)``.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from ambient.errors import BackendError
from ambient.generate.devices import Device
from ambient.generate.diffusion import DiffusionBackend
from ambient.generate.meaning import Meaning
from ambient.messages import RATE, Audio, ModelInfo

__all__ = ["AudioLDM2Backend", "AudioLDMBackend"]


def log_mel(sound: npt.NDArray[np.float32], rate: int, bands: int) -> npt.NDArray[np.float32]:
    """Log mel spectrogram ``(frames, bands)`` of mono sound ``(samples,)``, as AudioLDM's VAE was trained on it.

    Magnitudes of windows of 64 ms every 10 ms, on Slaney's mel scale up to half the rate, not below 1e-5 (the recipe of
    HiFi-GAN, Kong et al., arXiv 2010.05646, at 16 kHz).
    """
    window, hop = round(0.064 * rate), round(0.010 * rate)
    filters = mel_filter_bank(window // 2 + 1, bands, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney")
    made = spectrogram(
        np.asarray(sound, np.float64),
        window_function(window, "hann"),
        frame_length=window,
        hop_length=hop,
        power=1.0,
        pad_mode="reflect",
        mel_filters=filters,
        mel_floor=1e-5,
        log_mel="log",
    )
    return np.ascontiguousarray(made.T[: len(sound) // hop], np.float32)


class AudioLDMBackend(DiffusionBackend):
    """CLAP's embedding of a text or a sound, a unit vector, given to the UNet as its class. Mixes lie on the sphere.

    The published checkpoints hold the text half of CLAP only. Where a folder holds the other half too
    (``audio_encoder``, a ClapAudioModelWithProjection, and ``feature_extractor``), the model has an ear.
    """

    def __init__(self, info: ModelInfo, pipeline: Any, hop: int, device: Device) -> None:
        super().__init__(info, pipeline, hop, device)
        self._listener: Any = None
        folder = pathlib.Path(info.path)
        if not (folder / "audio_encoder").is_dir() or "feature_extractor" in pipeline.components:
            return
        try:
            ear = ClapAudioModelWithProjection.from_pretrained(folder / "audio_encoder", local_files_only=True)
            self._listener = ClapFeatureExtractor.from_pretrained(folder / "feature_extractor", local_files_only=True)
        except Exception as error:  # whatever the library raises
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BackendError(f"{folder / 'audio_encoder'} cannot be loaded: {first}") from error
        if not all(bool(torch.isfinite(w).all()) for w in ear.parameters()):
            raise BackendError(f"{folder / 'audio_encoder'} holds weights that are not finite")
        self._parts["audio_encoder"] = ear.eval().requires_grad_(False).to(self._place)

    @property
    def _hears(self) -> bool:
        return self._listener is not None

    def _hear(self, sound: Audio) -> Meaning:
        ear: Any = self._parts["audio_encoder"]
        features = self._heard(sound, self._listener, bool(ear.config.enable_fusion))
        return {"unit": _middle(ear(features).audio_embeds)}

    def _heard(self, sound: Audio, extractor: Any, fused: bool) -> Tensor:
        """What CLAP looks at: up to four windows, spread over the recording, because its extractor would cut at
        random."""
        window = min(len(sound), int(extractor.max_length_s * RATE))
        starts = sorted({round(x) for x in np.linspace(0, len(sound) - window, 4)})
        pieces = [sound[s : s + window].mean(1) for s in starts]
        features: Tensor = extractor(pieces, sampling_rate=RATE, return_tensors="pt")["input_features"].to(self._place)
        return features if fused else features[:, :1]  # the same view four times over

    @property
    def _denoiser(self) -> nn.Module:
        return self._parts["unet"]

    def _set_steps(self, scheduler: Any, steps: int) -> None:
        scheduler.set_timesteps(steps)

    def _to_model(self, latents: Tensor) -> Tensor:
        channels: int = self._pipeline.vae.config.latent_channels
        return latents.reshape(len(latents), channels, -1, latents.shape[2]).transpose(2, 3).contiguous()

    def _from_model(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3).reshape(len(x), -1, x.shape[2])

    def _read(self, text: str) -> Meaning:
        pipeline = self._pipeline
        tokens = pipeline.tokenizer(
            text,
            padding="max_length",
            max_length=pipeline.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self._place)
        embedded = pipeline.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds
        return {"unit": nn.functional.normalize(embedded, dim=-1)}

    def _predict(self, x: Tensor, timestep: Tensor, given: Meaning, known: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self._run(x, timestep, encoder_hidden_states=None, class_labels=given["unit"]).sample
        return out

    def _encode(self, sound: Tensor) -> Tensor:
        vae = self._pipeline.vae
        mel = log_mel(sound[0].cpu().numpy(), self._info.rate, self._pipeline.vocoder.config.model_in_dim)
        moments = vae.encode(torch.from_numpy(mel)[None, None].to(self._place)).latent_dist
        return self._from_model(moments.mode() * vae.config.scaling_factor)[0]

    def _decode(self, latents: Tensor) -> Tensor:
        vae, vocoder = self._pipeline.vae, self._pipeline.vocoder
        mel = vae.decode(self._to_model(latents) / vae.config.scaling_factor).sample[:, 0]
        sound: Tensor = vocoder(mel)[:, : latents.shape[2] * self._hop]
        return nn.functional.pad(sound, (0, latents.shape[2] * self._hop - sound.shape[1]))[:, None]


def _middle(embedded: Tensor) -> Tensor:
    """The unit vector ``(1, dim)`` in the middle of several embeddings ``(count, dim)``."""
    each = nn.functional.normalize(embedded, dim=-1)
    return nn.functional.normalize(each.mean(0, keepdim=True), dim=-1)


class AudioLDM2Backend(AudioLDMBackend):
    """CLAP and T5 (for speech VITS), and the "language of audio" that GPT-2 makes of them. Mixes are token by token."""

    def _read(self, text: str) -> Meaning:
        pipeline = self._pipeline
        speech = pipeline.text_encoder_2.config.model_type == "vits"
        more = {"transcription": [text]} if speech else {}
        if speech and not text.strip():  # the pipeline has zeros there for nothing said
            more = {"transcription": ["a"], "negative_prompt": [""]}
        rows, mask, generated = pipeline.encode_prompt([text], self._place, 1, "negative_prompt" in more, **more)
        return {"text": rows[:1], "text_mask": mask[:1], "generated": generated[:1]}

    @property
    def _hears(self) -> bool:
        return True

    def _hear(self, sound: Audio) -> Meaning:
        """CLAP's embedding of the sound in the place of that of a text: both lie in one space, where the model was
        trained from either. T5 is told nothing."""
        clap = self._pipeline.text_encoder
        fused = bool(clap.config.audio_config.enable_fusion)
        found = clap.get_audio_features(self._heard(sound, self._pipeline.feature_extractor, fused))
        heard = _middle(getattr(found, "pooler_output", found))
        clap.get_text_features = lambda *_, **__: heard  # the pipeline asks it for the meaning of its text
        try:
            return self._read("")
        finally:
            del clap.get_text_features

    def _predict(self, x: Tensor, timestep: Tensor, given: Meaning, known: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self._run(
            x,
            timestep,
            encoder_hidden_states=given["generated"],
            encoder_hidden_states_1=given["text"],
            encoder_attention_mask_1=given["text_mask"],
            return_dict=False,
        )[0]
        return out
