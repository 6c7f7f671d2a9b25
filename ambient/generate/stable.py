"""Stable Audio Open and Stable Audio 3: diffusion transformers in the latents of a waveform codec. 44.1 kHz stereo.

Stable Audio Open: Evans et al., arXiv 2407.14358. Stable Audio 3 was trained to inpaint: mask and known latents enter
each of its blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ambient.generate.diffusion import DiffusionBackend
from ambient.generate.meaning import Meaning
from ambient.messages import RATE, ClipRequest

__all__ = ["StableAudio3Backend", "StableAudioBackend"]


class StableAudioBackend(DiffusionBackend):
    """T5 tokens and the place of the clip in its piece, in seconds. Runs as many frames as are asked for."""

    @property
    def _denoiser(self) -> nn.Module:
        return self._parts["transformer"]

    def _set_steps(self, scheduler: Any, steps: int) -> None:
        scheduler.set_timesteps(steps)

    def _read(self, text: str) -> Meaning:
        embedded = self._pipeline.encode_prompt([text], self._place, False)
        # guidance without a negative prompt leads away from zeros, as the model was trained
        return {"text": embedded if text.strip() else torch.zeros_like(embedded)}

    def _timed(self, meaning: Meaning, requests: Sequence[ClipRequest]) -> Meaning:
        """Adds where the clip begins and how long the piece is.

        A bed's clip is the beginning of a piece as long as the model can make it, so that it does not fade out; a
        single event ends with its clip.
        """
        per_second = RATE / self._info.frames_per_latent
        longest = int(self._pipeline.projection_model.config.max_value)
        ends = [
            min(longest, (r.latent_frames if r.one_shot else self._info.max_latent_frames) / per_second)
            for r in requests
        ]
        start, end = self._pipeline.encode_duration([0.0] * len(ends), ends, self._place, False, len(ends))
        nothing = (meaning["text"] == 0).all(2, keepdim=True).all(1, keepdim=True)
        tokens = torch.cat([meaning["text"], *(torch.where(nothing, 0.0, x) for x in (start, end))], 1)
        return {"tokens": tokens, "duration": torch.cat([start, end], 2)}

    def _predict(self, x: Tensor, timestep: Tensor, given: Meaning, known: Tensor, mask: Tensor) -> Tensor:
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        rotary = get_1d_rotary_pos_embed(
            self._pipeline.rotary_embed_dim,
            x.shape[2] + given["duration"].shape[1],
            use_real=True,
            repeat_interleave_real=False,
        )
        out: Tensor = self._run(
            x,
            timestep.to(x)[None],
            encoder_hidden_states=given["tokens"],
            global_hidden_states=given["duration"],
            rotary_embedding=tuple(r.to(x.device) for r in rotary),
            return_dict=False,
        )[0]
        return out

    def _encode(self, sound: Tensor) -> Tensor:
        latents: Tensor = self._pipeline.vae.encode(sound[None]).latent_dist.mode()[0]
        return latents

    def _decode(self, latents: Tensor) -> Tensor:
        sound: Tensor = self._pipeline.vae.decode(latents).sample
        return sound


class StableAudio3Backend(DiffusionBackend):
    """T5Gemma tokens and the length of the piece; inpaints as it was trained to."""

    @property
    def _denoiser(self) -> nn.Module:
        return self._parts["transformer"]

    def _set_steps(self, scheduler: Any, steps: int) -> None:
        from diffusers.pipelines.stable_audio_3.pipeline_stable_audio_3_inpaint import logsnr_sigma_schedule

        scheduler.set_timesteps(sigmas=logsnr_sigma_schedule(steps, -6.2, 2.0))

    def _read(self, text: str) -> Meaning:
        embedded, mask = self._pipeline.encode_prompt([text], self._place, 1)
        return {"text": embedded, "text_mask": mask if text.strip() else torch.zeros_like(mask)}

    def _timed(self, meaning: Meaning, requests: Sequence[ClipRequest]) -> Meaning:
        """Adds the length of the piece: a bed's clip is from one that is longer, so that it does not end in it."""
        per_second = RATE / self._info.frames_per_latent
        seconds = [r.latent_frames / per_second * (1 if r.one_shot else 4) for r in requests]
        embedder = self._parts["duration_embedder"]
        length = embedder(torch.tensor(seconds, device=self._place))
        tokens, mask = self._pipeline.prepare_cross_attention(meaning["text"], meaning["text_mask"], length)
        return {"tokens": tokens, "tokens_mask": mask, "length": length}

    def _predict(self, x: Tensor, timestep: Tensor, given: Meaning, known: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self._run(
            x,
            timestep.to(x).expand(len(x)),
            encoder_hidden_states=given["tokens"],
            global_hidden_states=given["length"],
            encoder_attention_mask=given["tokens_mask"],
            local_add_cond=torch.cat([mask, known * mask], 1),
            return_dict=False,
        )[0]
        return out

    def _encode(self, sound: Tensor) -> Tensor:
        latents: Tensor = self._pipeline.vae.encode(sound[None]).latents[0]
        return latents

    def _decode(self, latents: Tensor) -> Tensor:
        sound: Tensor = self._pipeline.vae.decode(latents).sample
        return sound
