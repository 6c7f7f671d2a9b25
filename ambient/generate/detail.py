"""The fine bands of a sound, drawn: what the latents leave open.

The latents tell the power of a band over 80 ms, and little of what it does meanwhile: whether it stands still,
flickers, or comes in grains. A network that is given noise draws that, as it is distributed: convolutions over time,
with noise at every layer, tell where each band lies and how much three textures move it; a small one over bands and
time makes neighbours fit. The first texture is how the noise that is to be filtered fluctuates by itself: what rustles
as noise does is left as it is. It learns by the energy score (``tools/train codec``), which is least when what is
drawn is distributed as recordings are (Gneiting and Raftery 2007; of spectrograms, Gritsenko et al., arXiv 2008.01160).

Noise depends on a seed and the position on the timeline only.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from ambient.generate.bands import BANDS, STACK

__all__ = ["DRAWN", "Detail"]

WITHIN = 32
"""Numbers drawn for each layer and hop."""
DILATIONS = (1, 2, 3, 3)
TEXTURES = 2
"""Numbers drawn for each band and hop: noise that stays for some hops, and such that neighbours share as well."""
DRAWN = (1 + len(DILATIONS)) * WITHIN + TEXTURES * 2 * BANDS
"""Numbers drawn for a hop in all."""
_MIDDLE, _SPAN = -8.0, 4.0
"""Where the logarithms of powers lie, and how far apart."""


class Detail(nn.Module):
    """Smooth log band powers, latents and noise in, fine log band powers out. Computes in its weights' precision.

    ``usual``: the mean logarithms of the band powers of white noise of unit variance."""

    def __init__(self, latent_dim: int, hidden: int = 256, channels: int = 8) -> None:
        super().__init__()
        self.into = nn.Linear(2 * BANDS + latent_dim + WITHIN, hidden)
        self.layers = nn.ModuleList(
            nn.Conv2d(hidden, hidden, (1, 5), padding=(0, 2 * d), dilation=d) for d in DILATIONS
        )
        self.noise = nn.ModuleList(nn.Linear(WITHIN, hidden) for _ in DILATIONS)
        self.out = nn.Linear(hidden, (2 + TEXTURES) * 2 * BANDS)
        self.near = nn.ModuleList(
            [nn.Conv2d(4, channels, (3, 5), padding=(1, 2)), nn.Conv2d(channels, channels, 3, padding=1)]
        )
        self.last = nn.Linear(channels, 1)
        for layer in (self.out, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():  # begins with noise that is left as it is
            self.out.bias.view(2 + TEXTURES, -1)[1:2] = 0.54
            self.out.bias.view(2 + TEXTURES, -1)[2:] = -3.0
        self.usual: Tensor
        self.register_buffer("usual", torch.zeros(BANDS))

    def forward(self, bands: Tensor, latents: Tensor, noise: Tensor, white: Tensor) -> Tensor:
        """``bands`` ``(batch, 2 * BANDS, hops)``, ``latents`` ``(batch, latent_dim, hops / STACK)``, ``noise`` of unit
        variance ``(batch, hops, DRAWN)``, and ``white``, log band powers of noise of unit variance, of mid and side
        ``(batch, 2, hops, BANDS)``; natural logarithms ``(batch, 2, hops, BANDS)``, float32."""
        batch = len(bands)
        kind = self.out.weight.dtype
        smooth = bands.transpose(1, 2)
        said = ((smooth - _MIDDLE) / _SPAN).to(kind)
        within, drawn = noise[..., : -TEXTURES * 2 * BANDS], noise[..., -TEXTURES * 2 * BANDS :]
        begin, *rest = within.to(kind).chunk(1 + len(DILATIONS), 2)
        slow = latents.transpose(1, 2).to(kind).repeat_interleave(STACK, 1)
        x = self.into(torch.cat([said, slow, begin], 2))
        for layer, mixed, mine in zip(self.layers, self.noise, rest, strict=True):
            inner = functional.silu(x + mixed(mine), inplace=True)
            # as processors like it best: channels last
            x = x + functional.silu(layer(inner.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2), inplace=True)
        offset, *depths = self.out(x).split(2 * BANDS, 2)
        away = offset.float()
        textures = [(white - self.usual.float()).transpose(1, 2).flatten(2), *_textures(*drawn.chunk(TEXTURES, 2))]
        for depth, texture in zip(depths, textures, strict=True):
            away = torch.addcmul(away, functional.softplus(depth).float(), texture)
        seen = torch.stack([away.to(kind), said, offset, textures[0].to(kind)], 3)
        seen = seen.reshape(batch, -1, 2, BANDS, 4).transpose(1, 2).flatten(0, 1).contiguous()
        first, second = self.near
        z = functional.silu(first(seen.permute(0, 3, 1, 2)), inplace=True)
        z = z + functional.silu(second(z), inplace=True)
        fits = self.last(z.permute(0, 2, 3, 1))[..., 0].float().view(batch, 2, -1, BANDS)
        fine: Tensor = (smooth + away).reshape(batch, -1, 2, BANDS).transpose(1, 2) + fits
        return fine


def _textures(stays: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
    """Noise of unit variance of two kinds from as many white ones, ``(batch, hops, 2 * BANDS)`` each."""
    both = _along(shared, 5)
    both = (both.view(*both.shape[:2], 2, BANDS) @ _across(7).to(both)).flatten(2)
    return _along(stays, 5), both


def _window(length: int) -> Tensor:
    window = torch.hann_window(length + 2, periodic=False)[1:-1]
    return window / window.square().sum().sqrt()


def _along(x: Tensor, length: int) -> Tensor:
    """Smoothed over so many hops, ``(batch, hops, columns)``; of white noise the variance stays, but at the ends."""
    half, hops, window = length // 2, x.shape[1], _window(length).tolist()
    padded = functional.pad(x, (0, 0, half, half))
    out: Tensor = padded[:, :hops] * window[0]
    for k in range(1, length):
        out = torch.add(out, padded[:, k : k + hops], alpha=window[k])
    return out


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what is kept serves training as well
def _across(length: int) -> Tensor:
    """What smooths over so many bands, mirrored at the ends, ``(BANDS, BANDS)``."""
    half = length // 2
    found = torch.zeros(BANDS, BANDS)
    for k, weight in enumerate(_window(length)):
        at = (torch.arange(BANDS) + k - half).abs()
        at = torch.where(at < BANDS, at, 2 * (BANDS - 1) - at)
        found[at, torch.arange(BANDS)] += weight
    return found
