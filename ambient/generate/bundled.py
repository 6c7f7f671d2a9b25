"""The bundled text-to-ambience model: prompt encoder, diffusion transformer, codec.

Rectified flow (Liu et al., arXiv 2209.03003) with projected guidance, and inpainting trained as in Stable
Audio 3: mask and masked latents enter every block. What is kept is moreover re-imposed at every step, so that it is
exact at the end.
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers.models.transformers.transformer_stable_audio3 import StableAudio3DiTModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ambient.errors import BackendError
from ambient.generate.batches import BatchedBackend
from ambient.generate.catalogue import describe
from ambient.generate.codec import AmbienceCodec
from ambient.generate.devices import choose_device, native_bfloat16
from ambient.generate.fit import event_gain
from ambient.generate.guidance import projected
from ambient.generate.manner import manner_of
from ambient.generate.prompt import PromptEncoder, Reader
from ambient.generate.recording import recording, share_of_likes
from ambient.generate.resemblance import Resemblance, resemblance
from ambient.generate.seam import natural_seam, share_at_seam
from ambient.generate.ways import Way, Ways, ways_of
from ambient.messages import Clip, ClipFailure, ClipKey, ClipRequest, PromptMix, Tail, likes

__all__ = ["WEIGHTS", "BundledBackend", "condition", "velocity"]

_STRAY = 0.05
"""How far a clip's mean may lie from where its stream does, in mean distances of recordings."""
_STRAY_SHORT = 0.4
"""The same in short clips that bring something new, around where their kind is painted: they are wanted at once, and
where their stream lies takes longer to tell than they take to make."""
_SHORT_LATENTS = 64
_HOME_LATENTS = 64
"""Length of the clips that tell where a stream lies by itself."""
_HOME_CLIPS = 4
"""Their number: fewer make streams more different, and less typical."""
_LOUDEST = 3.5
"""Log power of the loudest hop in a latent frame, at most. Of recordings' frames one in a thousand lies above 2.8;
single ticks of clocks and cracks of fires reach 4.8."""
_AVOID = 0.7
"""Guidance beyond 1 for a clip with a negative prompt, where the model needs none otherwise."""
WEIGHTS = "diffusion_pytorch_model.safetensors"
_Model = TypeVar("_Model", bound=nn.Module)


def condition(meaning: Tensor, one_shot: Tensor) -> Tensor:
    """Unit vectors ``(batch, dim)`` and flags ``(batch,)`` as the transformer takes them, ``(batch, dim + 1)``."""
    return torch.cat([meaning * meaning.shape[-1] ** 0.5, one_shot[:, None]], 1)


def velocity(model: Callable[..., Any], x: Tensor, sigma: Tensor, given: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """Predicted ``noise − data``.

    ``x``: latents at noise level ``sigma`` (batch,) of 0 to 1, ``(batch, channels, frames)``; ``given``: see
    :func:`condition`; ``known``: latents, of which those count where ``mask`` ``(batch, 1, frames)`` is 1.
    """
    out: Tensor = model(
        hidden_states=x,
        timestep=sigma,
        encoder_hidden_states=given[:, None, :-1],
        global_hidden_states=given,
        local_add_cond=torch.cat([mask, known * mask], 1),
        return_dict=False,
    )[0]
    return out


def _load(kind: type[_Model], folder: pathlib.Path, device: str) -> _Model:
    """One part of a checkpoint, in float32. Raises BackendError when a file is missing, broken, or holds NaN."""
    path = folder / WEIGHTS
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        model: _Model = kind.from_config(config)  # type: ignore[attr-defined]  # of diffusers' ConfigMixin
        weights = load_file(path)
        if isinstance(model, AmbienceCodec) and "detail.into.weight" not in weights:
            raise BackendError(
                f"{path} is of an earlier version, whose decoder is no more: prepare its working folder anew with "
                "`tools/train prepare … --from MODEL`, run `tools/train codec` and export it again"
            )
        model.load_state_dict(weights)
    except FileNotFoundError as error:
        raise BackendError(f"{error.filename or path} is missing: the model is incomplete, install it again") from error
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise BackendError(f"{path} cannot be read: {first}; install the model again") from error
    if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
        raise BackendError(f"{path} holds weights that are not finite; install the model again")
    return model.float().eval().to(device)


def _moved(request: ClipRequest, by: Tensor) -> ClipRequest:
    """The same with what is kept moved in latent space, by ``(latent_channels,)``."""
    if not bool(by.any()):
        return request
    step = by.cpu().numpy()[:, None]
    tail, head = (
        replace(end, latents=(end.latents + step).astype(np.float16)) if end else None
        for end in (request.tail, request.head)
    )
    return replace(request, tail=tail, head=head)


class BundledBackend(BatchedBackend):
    """Implements :class:`ambient.ports.Backend`. Call from one thread.

    Raises BackendError, ModelNotFound.
    """

    def __init__(self, path: str | None = None, device: str = "cpu", threads: int | None = None) -> None:
        info = describe(path or "bundled")
        if threads is not None:
            torch.set_num_threads(threads)
        chosen = choose_device(device, half=False)
        if chosen.torch_device.type == "cpu" and native_bfloat16():
            chosen = replace(chosen, dtype=torch.bfloat16)
        super().__init__(info, str(chosen))
        self._device = chosen.torch_device
        device = str(self._device)
        folder = pathlib.Path(info.path)
        self._transformer = _load(StableAudio3DiTModel, folder / "transformer", device)
        turns = self._transformer.rotary_pos_emb.inv_freq
        self._dtype = chosen.dtype  # diffusers' own `dtype` walks through all layers whenever it is asked
        nn.Module.to(self._transformer, chosen.dtype)  # diffusers' own warns of layers that are not there
        self._transformer.rotary_pos_emb.inv_freq = turns  # rounded, places far into a clip would be others
        self._run = Ways(self._transformer)
        self._codec = _load(AmbienceCodec, folder / "codec", device)
        self._codec.hastened(chosen.dtype)
        self._to_bands, self._from_bands = self._codec.latent_bands()
        encoder = _load(PromptEncoder, folder / "prompt_encoder", "cpu")
        self._encoder = encoder
        self._resembled = lru_cache(maxsize=16)(self._resembled_once)
        self._home = lru_cache(maxsize=512)(self._home_once)
        tokenizer = folder / "prompt_encoder" / "tokenizer.json"
        try:
            self._reader = Reader(encoder, tokenizer)
            self._schedule: dict[str, Any] = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        except Exception as error:  # tokenizers raises bare Exceptions
            raise BackendError(f"{folder}: tokenizer or scheduler cannot be read: {error}") from error

    @property
    def ways(self) -> tuple[Way, ...]:
        """How the transformer can be computed here; which is fastest must be measured."""
        return ways_of(self._device.type)

    def take(self, way: Way) -> None:
        """Computes it so from now on."""
        self._run.take(way)

    @torch.inference_mode()
    def _generate(self, batch: list[ClipRequest], steps: int) -> list[Clip | ClipFailure]:
        began = time.perf_counter()
        asked = batch
        batch = [self._led(request) for request in asked]
        z = self._sample(batch, steps).cpu().numpy()
        self.on_step()
        stored = z.astype(np.float16)
        for i, request in enumerate(batch):
            if request.tail is not None:
                stored[i, :, : request.tail.kept] = request.tail.latents
            if request.head is not None:
                stored[i, :, -request.head.kept :] = request.head.latents
        sound = self._codec.decode(
            torch.from_numpy(stored.astype(np.float32)).to(self._device),
            [r.start_frame for r in batch],
            [r.noise_seed for r in batch],
        ).sample
        audio = sound.transpose(1, 2).cpu().numpy()
        each = (time.perf_counter() - began) / len(batch)
        answers: list[Clip | ClipFailure] = []
        for i, request in enumerate(batch):
            if request.one_shot:
                audio[i] *= event_gain(audio[i])
            if np.isfinite(audio[i]).all() and np.isfinite(stored[i]).all():
                answers.append(Clip(asked[i], np.ascontiguousarray(audio[i]), stored[i], each))
            else:
                answers.append(ClipFailure(asked[i], "nan", "the model gave numbers that are not finite"))
        return answers

    def _sample(self, batch: list[ClipRequest], steps: int) -> Tensor:
        """Latents ``(batch, channels, frames)`` of requests of one length."""
        # the model paints plain sounds, of its own colour; what is soft, or far away, is so before and after
        moves = torch.stack([(self._manner(r.prompt) + self._bias(r.prompt)) * (not r.one_shot) for r in batch])
        batch = [_moved(request, -move) for request, move in zip(batch, moves, strict=True)]
        move = moves.to(self._device)[:, :, None]
        known, mask, x = self._denoised(batch, steps)
        x = self._bounded(self._anchored(batch, x) + move) - move
        alone = torch.tensor([r.one_shot for r in batch], device=x.device)
        if bool(alone.any()):
            x = torch.where(alone[:, None, None], self._codec.cleared(x), x)
        return self._mended(batch, torch.where(mask > 0, known, x)) + move

    def _denoised(self, batch: list[ClipRequest], steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """What is kept and where, and what comes of noise beside it, each ``(batch, channels or 1, frames)``.

        After every step the seams of the clip that it would become are mended (:func:`natural_seam`), so that the steps
        behind it paint what fits to that.
        """
        shape = (self._info.latent_channels, batch[0].latent_frames)
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(r.seed)) for r in batch])
        known, mask = torch.zeros(len(batch), *shape), torch.zeros(len(batch), 1, shape[1])
        for i, request in enumerate(batch):
            if request.tail is not None:
                known[i, :, : request.tail.kept] = torch.from_numpy(request.tail.latents.astype(np.float32))
                mask[i, :, : request.tail.kept] = 1.0
            if request.head is not None:
                known[i, :, -request.head.kept :] = torch.from_numpy(request.head.latents.astype(np.float32))
                mask[i, :, -request.head.kept :] = 1.0
        one_shot = torch.tensor([float(r.one_shot) for r in batch])
        wanted = condition(torch.stack([self._reader.told(self._meaning(r.prompt)) for r in batch]), one_shot)
        avoided = condition(torch.stack([self._reader.avoided(r.prompt.avoid) for r in batch]), one_shot)
        # a distilled model needs no guidance, except away from what is to be avoided
        strengths = [r.guidance + _AVOID * (r.guidance == 1 and bool(r.prompt.avoid)) for r in batch]
        guidance = torch.tensor(strengths)[:, None, None]
        guided = bool((guidance != 1).any())
        noise, known, mask, wanted, avoided, guidance = (
            x.to(self._device) for x in (noise, known, mask, wanted, avoided, guidance)
        )
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self._schedule)
        # as diffusers' own flow pipelines have it: its default spends the last step on the last thousandth
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), device=self._device)
        x = noise
        for i, timestep in enumerate(scheduler.timesteps):
            self.on_step()
            sigma = scheduler.sigmas[i]
            x = torch.where(mask > 0, (1 - sigma) * known + sigma * noise, x)
            level = sigma.expand(len(batch))
            if guided:
                both = self._velocity(
                    x.repeat(2, 1, 1),
                    level.repeat(2),
                    torch.cat([wanted, avoided]),
                    known.repeat(2, 1, 1),
                    mask.repeat(2, 1, 1),
                )
                towards, away = both.chunk(2)
                flow = projected(x, sigma, towards, away, guidance, 1 - mask)
            else:
                flow = self._velocity(x, level, wanted, known, mask)
            ahead = torch.where(mask > 0, known, x - sigma * flow)
            x = scheduler.step(flow, timestep, x, return_dict=False)[0]
            if i + 1 < steps:
                x = x + (1 - scheduler.sigmas[i + 1]) * (self._mended(batch, ahead) - ahead)
        return known, mask, x

    def _velocity(self, *given: Tensor) -> Tensor:
        """:func:`velocity` in the numbers that the denoiser computes in."""
        return velocity(self._run, *(x.to(self._dtype) for x in given)).float()

    def _bounded(self, x: Tensor) -> Tensor:
        """Latents ``(batch, channels, frames)`` without moments that are louder than recordings have any."""
        over = (self._codec.log_peaks(x) - _LOUDEST).clamp_min(0)
        quieter: Tensor = x - over[:, None] * self._codec.power_step().to(x)[:, None]
        return quieter

    def _mended(self, batch: list[ClipRequest], x: Tensor) -> Tensor:
        """Latents ``(batch, channels, frames)`` with seams as large as the sounds' own steps."""
        if all(r.tail is None and r.head is None for r in batch):
            return x
        z = x.cpu().numpy().copy()
        for i, request in enumerate(batch):
            kept = request.tail.kept if request.tail else 0
            if request.tail is not None:
                z[i] = natural_seam(z[i], kept, self._to_bands, self._from_bands, request.seed)
            if request.head is not None:  # the other seam, as time runs backwards
                back = z[i, :, kept:][:, ::-1]
                mended = natural_seam(back, request.head.kept, self._to_bands, self._from_bands, request.seed + 1)
                z[i, :, kept:] = mended[:, ::-1]
        return torch.from_numpy(z).to(x)

    def _resembled_once(self, part: str) -> Resemblance:
        found = resemblance(recording(part), self._codec.cpu(), self._encoder)
        self._codec.to(self._device)
        return found

    def _led(self, request: ClipRequest) -> ClipRequest:
        """The first clip of a bed that is mostly `like` a recording goes on from a stretch of it."""
        if request.tail is not None or request.one_shot or share_of_likes(request.prompt) < 0.5:
            return request
        part = max((p for p in request.prompt.parts if likes(p[0])), key=lambda p: p[1])[0]
        stretch = self._resembled(part).stretch[:, : request.latent_frames // 2]
        stretch = (stretch + self._manner(request.prompt).numpy()[:, None]).astype(np.float16)
        return replace(request, tail=Tail(stretch)) if stretch.shape[1] else request

    def _meaning(self, prompt: PromptMix) -> Tensor:
        """Unit vector ``(dim,)`` of a mix of texts and recordings."""
        parts = [
            weight * (self._resembled(part).meaning if likes(part) else self._reader.text(part))
            for part, weight in prompt.parts
        ]
        return nn.functional.normalize(torch.stack(parts).sum(0), dim=-1)

    def _manner(self, prompt: PromptMix) -> Tensor:
        """How what a mix of texts says of softness and distance moves latents, ``(latent_channels,)``. It does not
        count for single events: they are levelled, and their scene says how far away they are."""
        parts = [weight * manner_of(text) for text, weight in prompt.parts if not likes(text)]
        return (
            self._codec.colour_step(np.sum(parts, 0, np.float32)).cpu()
            if parts
            else torch.zeros(self._info.latent_channels)
        )

    def _bias(self, prompt: PromptMix) -> Tensor:
        """How far from recordings the model paints the texts of a mix on average, ``(latent_channels,)``: it is to be
        added. Single events, of which there are too few to tell, are not moved."""
        parts = [
            weight * self._reader.bias(self._reader.text(text)) for text, weight in prompt.parts if not likes(text)
        ]
        return torch.stack(parts).sum(0) if parts else torch.zeros(self._info.latent_channels)

    def _usual(self, prompt: PromptMix, stream: int | None) -> tuple[Tensor, Tensor]:
        """Where the mean of a clip usually lies, and how far clips stray, both ``(latent_channels,)``.

        Every ``stream`` has a place of its own among those where such sounds lie: that of clips that it would begin
        with. Where a recording is to be resembled it lies where the recording does, and little straying is allowed.
        """
        meaning = self._meaning(prompt)
        mean, spread = self._reader.usual(meaning)
        if stream is None:  # not known for this one: what streams of its kind have in common
            mean = mean + self._reader.painted(meaning)
        share = share_of_likes(prompt)
        mean = (1 - share) * mean
        for part, weight in prompt.parts:
            if likes(part):
                mean = mean + weight * self._resembled(part).mean
            elif stream is not None:
                mean = mean + weight * self._home(part, stream)
        return mean, (1 - 0.8 * share) * spread

    @torch.inference_mode()
    def _home_once(self, text: str, stream: int) -> Tensor:
        """How far from the usual a stream of one text lies, ``(latent_channels,)``: in colour and width, not in power,
        which would change the balance of layers.

        What is usual is fitted to all texts by one linear map, which takes much of what is special from each: a chain
        that is held there sounds like no sound in particular. So a stream lies where it does by itself, or where a
        recording of its kind does, if it is known where these lie and the text is of one kind alone.
        """
        info, prompt = self._info, PromptMix.of(text)
        begun = ClipRequest(ClipKey(text, 0), 0, _HOME_LATENTS, 0, stream, stream, prompt, info.steps, info.guidance)
        seeds = np.random.default_rng(stream).integers(2**63, size=_HOME_CLIPS).tolist()
        x = self._denoised([replace(begun, seed=seed) for seed in seeds], info.steps)[2]
        meaning = self._meaning(prompt)
        usual, spread = (u.to(x) for u in self._reader.usual(meaning))
        away = x.mean((0, 2)) - usual
        louder = self._codec.log_power(x) - self._codec.log_power(x - away[:, None])
        home = away - louder.mean() * self._codec.power_step()
        places, share = self._reader.places(meaning)
        if share > 0:
            means, moves = places.unbind(1)
            away = (means - self._bias(prompt)).to(x) - usual
            home = torch.lerp(home, self._nearest_place(x, away, moves.to(x), usual, spread), share)
        home = home.cpu()
        return home if bool(home.isfinite().all()) else torch.zeros_like(home)

    def _nearest_place(self, x: Tensor, places: Tensor, moves: Tensor, usual: Tensor, spread: Tensor) -> Tensor:
        """Which of ``places``, ``(places, channels)`` from the usual, lies nearest to the most typical of the clips
        ``x``, ``(clips, channels, frames)``, without what it changes in power; and whose sound moves as that clip does,
        with standard deviations ``moves`` ``(places, channels)``. (The mean of the clips lies between the sounds that
        a text may have. And held where a recording without birds lies, a stream with birds would lose and find them.)
        """
        away = x.mean(2) - usual
        each = torch.cat([away, x.std(2)], 1) / spread.repeat(2)
        apart = torch.cdist(each, each).sum(1)
        middle = int(torch.where(apart.isfinite(), apart, torch.inf).argmin())
        still = x[middle] - away[middle, :, None]

        def even(steps: Tensor) -> Tensor:
            louder = self._codec.log_power(still + steps[:, :, None]) - self._codec.log_power(still[None])
            return torch.as_tensor(steps - louder[:, None] * self._codec.power_step())

        near = even(places)
        unlike = torch.cat([near - even(away[middle, None]), moves - x[middle].std(1)], 1) / spread.repeat(2)
        return near[int(unlike.square().sum(1).argmin())]

    def _anchored(self, batch: list[ClipRequest], x: Tensor) -> Tensor:
        """Takes back what lies far from where the stream does. Each clip continues the one before: without
        this, small errors of level and colour would add up.

        Where the model jumps at the seam back to where it lies by itself, all that is new is moved alike, which undoes
        the jump; where it goes on from what it kept, that would be a step, and the move begins at the seam with
        nothing. Mostly it is something between the two: what leaves the smallest step.
        """
        short = [r.one_shot or (r.latent_frames < _SHORT_LATENTS and not r.settled) for r in batch]
        stray = torch.tensor([_STRAY_SHORT if s else _STRAY for s in short], device=x.device)[:, None]
        streams = [None if s else r.noise_seed for r, s in zip(batch, short, strict=True)]
        homes = [self._usual(r.prompt, stream) for r, stream in zip(batch, streams, strict=True)]
        mean, spread = (torch.stack(u).to(x) for u in zip(*homes, strict=True))
        begin, end = (
            torch.tensor(at, device=x.device)[:, None]
            for at in (
                [r.tail.kept if r.tail else 0 for r in batch],
                [x.shape[2] - (r.head.kept if r.head else 0) for r in batch],
            )
        )
        frame = torch.arange(x.shape[2], device=x.device)
        new = ((frame >= begin) & (frame < end)).to(x)[:, None]
        here = (x * new).sum(2) / new.sum(2).clamp_min(1) - mean
        excess = here - here.clamp(-stray * spread, stray * spread)
        beds = torch.tensor([not r.one_shot for r in batch], device=x.device)[:, None]
        pull = excess * beds
        at_seam = torch.ones(len(batch), 1, device=x.device)
        for i, request in enumerate(batch):
            if request.tail is not None and request.head is None:
                clip, move, usual = (a.cpu().numpy() for a in (x[i], pull[i], spread[i]))
                at_seam[i] = share_at_seam(clip, move, usual, request.tail.latents)
        risen = ((frame - begin) / (end - begin)).clamp(0, 1)
        return x - pull[:, :, None] * (at_seam + (1 - at_seam) * risen)[:, None] * new
