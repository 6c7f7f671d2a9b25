"""AudioLDM and AudioLDM 2: diffusion in the latents of a mel spectrogram, made audible by a vocoder. 16 kHz mono.

AudioLDM: Liu et al., arXiv 2301.12503; AudioLDM 2: Liu et al., arXiv 2308.05734. Their networks see the latents as
pictures ``(batch, 8, frames, 16)``: 8 channels, 16 heights; the engine as ``(batch, 128, frames)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from ambient.generate.diffusion import DiffusionBackend
from ambient.generate.meaning import Meaning
from ambient.messages import RATE, Audio

__all__ = ["AudioLDM2Backend", "AudioLDMBackend"]


class AudioLDMBackend(DiffusionBackend):
    """CLAP's embedding of a text, a unit vector, given to the UNet as its class. Mixes lie on the sphere."""

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

    def _decode(self, latents: Tensor) -> Tensor:
        vae, vocoder = self._pipeline.vae, self._pipeline.vocoder
        mel = vae.decode(self._to_model(latents) / vae.config.scaling_factor).sample[:, 0]
        sound: Tensor = vocoder(mel)[:, : latents.shape[2] * self._hop]
        return nn.functional.pad(sound, (0, latents.shape[2] * self._hop - sound.shape[1]))[:, None]


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

    def _hear(self, sound: Audio) -> Meaning:
        """CLAP's embedding of the sound in the place of that of a text: both lie in one space, where the model was
        trained from either. T5 is told nothing."""
        pipeline = self._pipeline
        clap = pipeline.text_encoder
        ear = pipeline.feature_extractor
        # cut here, because the extractor would cut at random
        window = min(len(sound), int(ear.max_length_s * RATE))
        starts = sorted({round(x) for x in np.linspace(0, len(sound) - window, 4)})
        pieces = [sound[s : s + window].mean(1) for s in starts]
        features = ear(pieces, sampling_rate=RATE, return_tensors="pt")["input_features"].to(self._place)
        if not clap.config.audio_config.enable_fusion:  # the same view four times over
            features = features[:, :1]
        found = clap.get_audio_features(features)
        each = nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)
        heard = nn.functional.normalize(each.mean(0, keepdim=True), dim=-1)
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
