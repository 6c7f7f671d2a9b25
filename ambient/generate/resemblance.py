"""What the bundled model makes of a recording to resemble: where it lies in latent space, what it might be called, and
a stretch of it to go on from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ambient.generate.codec import AmbienceCodec
from ambient.generate.prompt import PromptEncoder
from ambient.generate.recording import levelled
from ambient.messages import RATE, Audio, Latents

__all__ = ["Resemblance", "resemblance", "typical_stretch"]

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


def typical_stretch(z: Tensor, size: int) -> Tensor:
    """The ``size`` frames of latents ``(channels, frames)`` whose mean is nearest to that of all."""
    size = min(size, z.shape[1])
    means = z.unfold(1, size, 1).mean(2)  # (channels, places)
    place = int((means - z.mean(1, keepdim=True)).square().sum(0).argmin())
    return z[:, place : place + size]


@torch.inference_mode()
def resemblance(sound: Audio, codec: AmbienceCodec, encoder: PromptEncoder) -> Resemblance:
    """``sound``: float32 ``(frames, 2)`` at RATE.

    Its meaning is that of the kinds of sound whose usual latents are nearest to its own, in units of how far sounds
    stray from them.
    """
    step = codec.config.downsampling_ratio
    sound = levelled(sound[: max(1, len(sound) // step) * step], NOMINAL_RMS)  # as training levels recordings
    x = torch.from_numpy(sound.T[None].copy())
    z = codec.encode(nn.functional.pad(x, (0, -x.shape[2] % step))).latents[0]
    mean = z.mean(1)
    meaning = torch.zeros(encoder.config.dim)
    if len(encoder.prototypes):
        usual, spread = encoder.usual(encoder.prototypes).chunk(2, -1)
        far = ((usual - mean) / spread.abs().clamp_min(1e-3)).square().mean(1)
        meaning = nn.functional.normalize(torch.softmax(-2 * far, 0) @ encoder.prototypes, dim=0)
    stretch = typical_stretch(z, round(STRETCH_SECONDS * RATE / step))
    return Resemblance(mean, meaning, stretch.numpy().astype("float16"))
