"""What the bundled model makes of a recording to resemble: where it lies in latent space, what it might be called, and
a stretch of it to go on from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ambient.generate.codec import AmbienceCodec
from ambient.generate.prompt import PromptEncoder
from ambient.messages import RATE, Audio, Latents, PromptMix, likes

__all__ = ["Resemblance", "resemblance", "share_of_likes"]

NOMINAL_RMS = 10 ** (-26 / 20)
"""The level that the model was trained at; scenes set levels."""
STRETCH_SECONDS = 2.24


@dataclass(frozen=True, slots=True, eq=False)
class Resemblance:
    """A recording in the model's terms."""

    mean: Tensor
    """Mean latents, ``(latent_channels,)``."""
    meaning: Tensor
    """What a text for it would mean, a unit vector ``(dim,)``; zeros where the model knows no kinds of sound."""
    stretch: Latents
    """The stretch of it that is most like the whole, ``(latent_channels, frames)``."""


def share_of_likes(prompt: PromptMix) -> float:
    """How much of a mix is recordings, 0 to 1."""
    return sum(weight for text, weight in prompt.parts if likes(text))


@torch.inference_mode()
def resemblance(sound: Audio, codec: AmbienceCodec, encoder: PromptEncoder) -> Resemblance:
    """``sound``: float32 ``(frames, 2)`` at RATE.

    Its meaning is that of the kinds of sound whose usual latents are nearest to its own, in units of how far sounds
    stray from them.
    """
    step = codec.config.downsampling_ratio
    x = torch.from_numpy(sound[: max(1, len(sound) // step) * step].T[None].copy())
    x = nn.functional.pad(x, (0, -x.shape[2] % step))
    lively = x.unfold(2, 240, 240).square().mean((0, 1, 3)).sort().values  # as training levels recordings
    x = x * (NOMINAL_RMS / lively[len(lively) // 2 :].mean().sqrt().clamp_min(1e-6))
    z = codec.encode(x).latents[0]
    mean = z.mean(1)
    size = min(round(STRETCH_SECONDS * RATE / step), z.shape[1])
    means = z.unfold(1, size, 1).mean(2)  # (channels, places)
    place = int((means - mean[:, None]).square().sum(0).argmin())
    meaning = torch.zeros(encoder.config.dim)
    if len(encoder.prototypes):
        usual, spread = encoder.usual(encoder.prototypes).chunk(2, -1)
        far = ((usual - mean) / spread.abs().clamp_min(1e-3)).square().mean(1)
        meaning = nn.functional.normalize(torch.softmax(-2 * far, 0) @ encoder.prototypes, dim=0)
    return Resemblance(mean, meaning, z[:, place : place + size].numpy().astype("float16"))
