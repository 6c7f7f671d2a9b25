"""The big families' common way from requests to clips: mix prompts, denoise over the tail, decode, make fit."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor, nn

from ambient.errors import BackendError
from ambient.generate.batches import BatchedBackend
from ambient.generate.devices import Device
from ambient.generate.fit import event_gain, fit, level_seam
from ambient.generate.meaning import Meaning, blend, stack
from ambient.generate.recording import levelled, recording, share_of_likes
from ambient.generate.resemblance import STRETCH_SECONDS, typical_stretch
from ambient.generate.schedule import denoise
from ambient.generate.ways import Way, Ways, ways_of
from ambient.messages import (
    RATE,
    Audio,
    Clip,
    ClipFailure,
    ClipRequest,
    Latents,
    ModelInfo,
    PromptMix,
    Tail,
    likes,
    path_of,
)

__all__ = ["DiffusionBackend"]

READERS = (
    *("text_encoder", "text_encoder_2", "projection_model", "language_model", "duration_embedder"),
    "audio_encoder",
)
"""Parts that make meanings of prompts."""
LIKE_RMS = 10 ** (-20 / 20)
"""The level at which recordings to resemble are encoded: about what these models were trained on."""


class DiffusionBackend(BatchedBackend):
    """A diffusers pipeline as a backend. Subclasses say how a family reads prompts, denoises and decodes.

    The denoiser runs in the device's number format, everything else in float32: encoders and decoders cost little,
    and T5 and the VAEs are known to overflow in half precision.
    """

    def __init__(self, info: ModelInfo, pipeline: Any, hop: int, device: Device) -> None:
        super().__init__(info, str(device))
        self._pipeline = pipeline
        self._hop = hop
        self._place = device.torch_device
        self._dtype = device.dtype
        self._set_aside = False
        self._parts: dict[str, nn.Module] = {
            name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)
        }
        for part in self._parts.values():
            part.eval().requires_grad_(False).to(self._place)
        self._denoiser.to(self._dtype)
        self._run = Ways(self._denoiser)
        self._meaning = lru_cache(maxsize=256)(self._read_or_hear)
        self._stretch = lru_cache(maxsize=16)(self._stretch_once)

    @property
    def ways(self) -> tuple[Way, ...]:
        """How the denoiser can be computed here; which is fastest must be measured."""
        return ways_of(self._place.type)

    def take(self, way: Way) -> None:
        """Computes it so from now on."""
        self._run.take(way)

    # ---- what a family must say

    @property
    @abstractmethod
    def _denoiser(self) -> nn.Module:
        """The network that is run at every step."""

    @abstractmethod
    def _read(self, text: str) -> Meaning:
        """The meaning of one text, batch of 1; of the empty one what guidance leads away from."""

    @property
    def _hears(self) -> bool:
        """Whether the model has an ear: an encoder of sound into the space of its meanings."""
        return False

    def _hear(self, sound: Audio) -> Meaning:
        """The meaning of a recording, ``(frames, 2)`` at RATE, where the model has an ear."""
        raise NotImplementedError

    @abstractmethod
    def _encode(self, sound: Tensor) -> Tensor:
        """Latents ``(latent_channels, frames)`` of sound ``(channels, samples)`` at the model's rate, a whole number of
        latent frames long."""

    def _read_or_hear(self, part: str) -> Meaning:
        return self._hear(recording(part)) if likes(part) else self._read(part)

    @abstractmethod
    def _set_steps(self, scheduler: Any, steps: int) -> None:
        """Sets a scheduler's timesteps."""

    @abstractmethod
    def _predict(self, x: Tensor, timestep: Tensor, given: Meaning, known: Tensor, mask: Tensor) -> Tensor:
        """The denoiser's output, for latents in its own shape and number format."""

    @abstractmethod
    def _decode(self, latents: Tensor) -> Tensor:
        """Sound ``(batch, channels, samples)`` at the model's rate of latents ``(batch, latent_channels, frames)``."""

    def _to_model(self, latents: Tensor) -> Tensor:
        """Engine's latents ``(batch, latent_channels, frames)`` as the denoiser has them."""
        return latents

    def _from_model(self, x: Tensor) -> Tensor:
        """The way back."""
        return x

    def _timed(self, meaning: Meaning, requests: Sequence[ClipRequest]) -> Meaning:
        """Adds what depends on a clip's length."""
        return meaning

    # ---- the way

    @torch.inference_mode()
    def _generate(self, batch: list[ClipRequest], steps: int) -> list[Clip | ClipFailure]:
        began = time.perf_counter()
        asked, batch = batch, [self._led(request) for request in batch]
        z = self._sample(batch, steps)
        if self._dtype != torch.float32 and not bool(torch.isfinite(z).all()):
            # half precision overflows in some checkpoints: once and for all in full then
            self._dtype = torch.float32
            self._denoiser.float()
            z = self._sample(batch, steps)
        self.on_step()
        stored = z.cpu().numpy().astype(np.float16)
        for i, request in enumerate(batch):
            if request.tail is not None:
                stored[i, :, : request.tail.kept] = request.tail.latents
            if request.head is not None:
                stored[i, :, -request.head.kept :] = request.head.latents
        with self._at_hand("vae", "vocoder"):
            sound = self._decode(torch.from_numpy(stored.astype(np.float32)).to(self._place)).float().cpu().numpy()
        each = (time.perf_counter() - began) / len(batch)
        return [
            replace(self._clip(request, sound[i].T, stored[i], each), request=asked[i])
            if np.isfinite(sound[i]).all() and np.isfinite(stored[i]).all()
            else ClipFailure(asked[i], "nan", "the model gave numbers that are not finite")
            for i, request in enumerate(batch)
        ]

    def _clip(self, request: ClipRequest, sound: Any, latents: Any, seconds: float) -> Clip:
        per = self._info.frames_per_latent
        audio = fit(np.ascontiguousarray(sound, np.float32), self._hop, per, request.noise_seed)
        kept = request.tail.kept * per if request.tail else 0
        if request.head is not None:  # the other seam, as time runs backwards
            audio[kept:] = level_seam(audio[kept:][::-1], request.head.kept * per)[::-1]
        if request.tail is not None:
            audio = level_seam(audio, kept)
        if request.one_shot:
            audio *= event_gain(audio)
        return Clip(request, audio, latents, seconds)

    def _sample(self, batch: list[ClipRequest], steps: int) -> Tensor:
        """Latents ``(batch, latent_channels, frames)`` of requests of one length."""
        shape = (self._info.latent_channels, batch[0].latent_frames)
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(r.seed)) for r in batch])
        known, mask = torch.zeros(len(batch), *shape), torch.zeros(len(batch), 1, shape[1])
        for i, request in enumerate(batch):
            if (tail := request.tail) is not None:
                known[i, :, : tail.kept] = torch.from_numpy(tail.latents.astype(np.float32))
                mask[i, :, : tail.kept] = 1.0
            if (head := request.head) is not None:
                known[i, :, -head.kept :] = torch.from_numpy(head.latents.astype(np.float32))
                mask[i, :, -head.kept :] = 1.0
        noise, known = (self._to_model(x.to(self._place)) for x in (noise, known))
        mask = mask.to(self._place).reshape(len(batch), 1, -1, *([1] * (noise.dim() - 3)))
        given, strengths = self._conditions(batch)
        guided = bool((strengths != 1).any())

        def predict(x: Tensor, timestep: Tensor) -> Tensor:
            copies = 2 if guided else 1
            rows = [t.to(self._dtype).repeat(copies, *([1] * (t.dim() - 1))) for t in (x, known, mask)]
            out = self._predict(rows[0], timestep, given, rows[1], rows[2]).float()
            if not guided:
                return out
            away, towards = out.chunk(2)
            return away + strengths.reshape(-1, *([1] * (x.dim() - 1))) * (towards - away)

        scheduler = type(self._pipeline.scheduler).from_config(self._pipeline.scheduler.config)
        self._set_steps(scheduler, steps)
        with self._at_hand("unet", "transformer"):
            x = denoise(scheduler, predict, noise, known, mask, [r.seed for r in batch], self.on_step)
        return self._from_model(x).float()

    def _conditions(self, batch: list[ClipRequest]) -> tuple[Meaning, Tensor]:
        """What the denoiser is given, with guidance two rows a clip (all that is avoided first), and its strengths."""
        strengths = torch.tensor([r.guidance for r in batch], device=self._place)
        if any(r.prompt.avoid for r in batch):  # nothing can be kept away from without guidance
            weak = torch.tensor([bool(r.prompt.avoid) and r.guidance == 1 for r in batch], device=self._place)
            strengths = torch.where(weak, 1.7, strengths)
        with self._at_hand(*READERS):
            wanted = [self._mix(r) for r in batch]
            avoided = [self._meaning(r.prompt.avoid) for r in batch] if bool((strengths != 1).any()) else []
            given = stack(avoided + wanted)
            made = self._timed(given, [*batch, *batch] if avoided else batch)
        return {name: x.to(self._dtype) if x.is_floating_point() else x for name, x in made.items()}, strengths

    def _mix(self, request: ClipRequest) -> Meaning:
        """A point in the space of meanings."""
        return self._blend(request.prompt)

    def _blend(self, prompt: PromptMix) -> Meaning:
        heard = [(part, weight) for part, weight in prompt.parts if self._hears or not likes(part)]
        if not heard:
            return self._meaning("")
        whole = sum(weight for _, weight in heard)
        return blend([(self._meaning(part), weight / whole) for part, weight in heard])

    # ---- recordings, for a model without an ear

    def _led(self, request: ClipRequest) -> ClipRequest:
        """The first clip of a bed that is mostly `like` a recording goes on from a stretch of it."""
        if self._hears or request.tail is not None or request.one_shot or share_of_likes(request.prompt) < 0.5:
            return request
        part = max((p for p in request.prompt.parts if likes(p[0])), key=lambda p: p[1])[0]
        stretch = self._stretch(part)[:, : request.latent_frames // 2]
        return replace(request, tail=Tail(stretch)) if stretch.shape[1] else request

    def _stretch_once(self, part: str) -> Latents:
        rate, hop = self._info.rate, self._hop
        sound = levelled(recording(part), LIKE_RMS)
        given = np.asarray(soxr.resample(sound, RATE, rate), np.float32)[: self._info.max_latent_frames * hop]
        if self._info.channels == 1:
            given = given.mean(1, keepdims=True)
        given = np.pad(given, ((0, -len(given) % hop), (0, 0)))
        with self._at_hand("vae"):
            z = self._encode(torch.from_numpy(given.T.copy()).to(self._place)).float().cpu()
        if not bool(torch.isfinite(z).all()):
            raise BackendError(f"{self._info.name} makes nothing of the recording {path_of(part)}")
        return typical_stretch(z, round(STRETCH_SECONDS * rate / hop)).numpy().astype(np.float16)

    def _trouble(self, request: ClipRequest) -> str:
        if request.one_shot and not self._hears and share_of_likes(request.prompt) == 1:
            return (
                f"{self._info.name} has no ear: it can go on from a recording, but not make single events like it; say "
                "in a prompt what they should sound like, or take the bundled model or AudioLDM 2"
            )
        return super()._trouble(request)

    # ---- memory

    def _save_memory(self) -> bool:
        """Keeps the parts that do not work in the machine's own memory from now on."""
        if self._set_aside or self._place.type == "cpu":
            return False
        self._set_aside = True
        self.device += ", parts set aside for want of memory"
        for part in self._parts.values():
            part.to("cpu")
        torch.cuda.empty_cache()
        return True

    def _at_hand(self, *names: str) -> _AtHand:
        """Parts that work now; with enough memory they always are where they work."""
        return _AtHand([self._parts[n] for n in names if n in self._parts] if self._set_aside else [], self._place)


class _AtHand:
    """Brings parts to the device and takes them back to the machine's memory."""

    def __init__(self, parts: list[nn.Module], place: torch.device) -> None:
        self._parts, self._place = parts, place

    def __enter__(self) -> None:
        for part in self._parts:
            part.to(self._place)

    def __exit__(self, *_: object) -> None:
        for part in self._parts:
            part.to("cpu")
        if self._parts and self._place.type == "cuda":
            torch.cuda.empty_cache()
