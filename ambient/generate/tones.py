"""The tones in a sound: which share of each band rings, at which frequency, and a bank of oscillators that sounds it.

The oscillators stand at fixed frequencies, a grid of 5.9 Hz, and never stop: a tone is a moment during which one of
them is heard. So their phases depend on the position on the timeline alone, wherever a clip begins, and a steady tone
stays in phase with itself across clips. (Serra and Smith, "Spectral modeling synthesis", Computer Music Journal 14(4),
1990, is the model of sinusoids plus noise; oscillators are added up in the spectrum of the frames, as in Rodet and
Depalle's inverse-FFT synthesis, AES 93, 1992.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ambient.generate.bands import BANDS, HOP, RATE, STACK, WINDOW, band_centres, band_widths

__all__ = ["DRAWN", "LINES", "REST", "ROWS", "Rings", "Tones", "position_phases", "ringing", "strongest", "tone_lines"]

FINE = 8
"""Oscillators for each bin of the window."""
LINES = WINDOW * FINE
"""Samples after which the whole bank repeats."""
LOBE = 6
"""Bins on either side of a tone that its window reaches, down to −70 dB."""
REST = 4
"""Hops for which one decision holds: 20 ms."""
SURE = 0.1
"""What rings less than this is noise."""
FAINT = 1e-5
"""Tones weaker than this share of all that ring at the moment are left out."""
DRAWN, ROWS = 2, 8
"""Channels of noise by which calls are drawn, and ranges of pitch for which it is drawn apart."""
NEAR = 2
"""Bands on either side into which a tone leaks: the strongest says where it lies."""


def position_phases(noise_seed: int, first_sample: int) -> NDArray[np.float32]:
    """Phases of the oscillators of mid and side at a sample of the timeline, float32 ``(2, LINES // 2 + 1)``."""
    key = np.array([(noise_seed + 2) * 0x9E3779B97F4A7C15 & (2**64 - 1), 0], np.uint64)
    drawn = np.random.Generator(np.random.Philox(key=key)).random((2, LINES // 2 + 1)) * LINES
    turned = np.arange(LINES // 2 + 1, dtype=np.int64) * (first_sample % LINES) % LINES
    return ((drawn + turned) % LINES * (2 * np.pi / LINES)).astype(np.float32)


@dataclass(frozen=True)
class Rings:
    """What rings: logits of the share of each band, and the place of its tone in band widths from its centre, −1 to 1,
    both ``(batch, 2, BANDS, steps)``.

    What calls, or None: logits of the shares, of the same shape, and where each band's tone lies, bands from its own,
    ``(batch, BANDS, steps)``."""

    share: Tensor
    offset: Tensor
    call: Tensor | None = None
    place: Tensor | None = None


class Tones(nn.Module):
    """Log band powers in, the share of each band that rings and the place of the tone in it out.

    Of calls, tones that glide, the latents tell little but where they are: how they glide is drawn, by noise.

    Convolutions over bands and time: what makes a tone looks alike at every pitch. What kind of sound it is comes from
    the latents. Begins with nothing ringing. Computes in the precision of its weights.
    """

    def __init__(self, latent_dim: int, hidden: int = 20, context: int = 4, calls: bool = False) -> None:
        super().__init__()
        self.calls = calls
        wide = (2, 4) if calls else (1, 1)
        if calls:
            self.kind = nn.Conv1d(latent_dim, latent_dim, 1)
        self.context = nn.Conv1d(latent_dim, context * BANDS, 1)
        # a call may fill many bands, and is told from noise by what lies beside them
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(2 + context + 1, hidden, (5, 3), padding=(2, 1)),
                nn.Conv2d(hidden, hidden, (5, 3), padding=(2 * wide[0], 2), dilation=(wide[0], 2)),
                nn.Conv2d(hidden, hidden, (3, 3), padding=(wide[1], 2), dilation=(wide[1], 2)),
            ]
        )
        self.out = nn.Conv2d(hidden, 4, 1)
        nn.init.zeros_(self.out.weight)
        self.out.bias = nn.Parameter(torch.tensor([-4.0, -4.0, 0.0, 0.0]))
        if calls:  # what is drawn does not reach what rings
            self.mixed = nn.Conv2d(hidden, hidden, 1)
            self.draws = nn.Conv2d(DRAWN, hidden, 5, padding=2)
            self.called = nn.Conv2d(hidden, 3, 1)
            nn.init.zeros_(self.called.weight)
            self.called.bias = nn.Parameter(torch.tensor([-4.0, -4.0, 0.0]))
        self.place: Tensor
        self.register_buffer("place", torch.linspace(-1, 1, BANDS)[None, None, :, None], persistent=False)

    def forward(self, bands: Tensor, latents: Tensor, noise: Tensor | None = None) -> Rings:
        """``bands`` ``(batch, 2 * BANDS, hops)``, ``latents`` ``(batch, latent_dim, hops / STACK)``, and for calls
        ``noise`` of unit variance, ``(batch, DRAWN, ROWS, hops / REST)``."""
        batch, steps = len(bands), bands.shape[2] // REST
        precision = self.context.weight.dtype
        latents = latents.to(precision)
        powers = functional.avg_pool1d(bands, REST).reshape(batch, 2, BANDS, steps)
        kind = latents + functional.silu(self.kind(latents)) if self.calls else latents
        kind = self.context(kind).repeat_interleave(STACK // REST, 2).reshape(batch, -1, BANDS, steps)
        said, place = ((powers + 8.0) / 4.0).to(precision), self.place.to(precision)
        x = torch.cat([said, kind, place.expand(batch, 1, BANDS, steps)], 1)
        # as processors like it best: a third faster
        x = functional.silu(self.layers[0](x.contiguous(memory_format=torch.channels_last)), inplace=True)
        for layer in self.layers[1:]:
            x = x + functional.silu(layer(x), inplace=True)
        y = _each(self.out, x).float()
        offset = torch.tanh(y[:, 2:])
        if not self.calls:
            return Rings(y[:, :2], offset)
        noise = bands.new_zeros(batch, DRAWN, ROWS, steps) if noise is None else noise
        noise = functional.interpolate(noise.to(precision), (BANDS, steps), mode="bilinear", align_corners=True)
        noise = self.draws(noise.contiguous(memory_format=torch.channels_last))
        z = _each(self.called, x + functional.silu(_each(self.mixed, x) + noise)).float()
        return Rings(y[:, :2], offset, z[:, :2], z[:, 2])


def _each(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of size 1, as a product of matrices, which of so few channels is faster."""
    weight = layer.weight[:, :, 0, 0]
    return functional.linear(x.permute(0, 2, 3, 1), weight, layer.bias).permute(0, 3, 1, 2)


def ringing(logits: Tensor) -> Tensor:
    """Logits of the shares ``(..., steps)`` → shares that are sounded as tones, 0 to 1, ``(..., steps * REST)``."""
    share = (torch.sigmoid(logits) - SURE).clamp_min(0) / (1 - SURE)
    return share.repeat_interleave(REST, -1)


def tone_lines(power: Tensor, offset: Tensor, phases: Tensor) -> Callable[[int, int], Tensor] | None:
    """The spectra of the tones in windowed frames of WINDOW samples every HOP, hop ``i`` centred on its own middle.

    ``power``: what rings in each band, mean density ``(N, BANDS, hops)``; ``offset``: see :class:`Tones`, repeated to
    hops; ``phases``: of the oscillators at the first sample, ``(N, LINES // 2 + 1)``. Returns what gives frames from
    one hop to another, complex ``(N, last - first, WINDOW // 2 + 1)``, or None where nothing rings.
    """
    if not bool(power.any()):
        return None
    widths = torch.from_numpy(band_widths()).to(power)
    energy = power * widths[:, None]
    where = strongest(energy)
    gathered = torch.zeros_like(energy).scatter_add_(1, where, energy)
    heard = gathered > FAINT * gathered.sum(1, keepdim=True).clamp_min(1e-9)
    centres = torch.from_numpy(band_centres()[1:-1] * (LINES / RATE)).to(power)
    spacing = torch.from_numpy(np.diff(band_centres())[1:] * (LINES / RATE)).to(power)
    item, hop, band = heard.transpose(1, 2).nonzero(as_tuple=True)
    line = (centres[band] + spacing[band] * offset[item, band, hop]).round().long().clamp(FINE, LINES // 2 - FINE)
    begins = hop * HOP - (WINDOW // 2 - HOP // 2)
    angle = phases[item, line] + (line * begins % LINES) * (2 * torch.pi / LINES)
    tone = torch.polar((gathered[item, band, hop] / WINDOW).sqrt(), angle)  # half the amplitude
    bins = (line // FINE)[:, None] + torch.arange(-LOBE, LOBE + 2, device=power.device)
    values = tone[:, None] * _window_spectrum(power.device)[(bins * FINE - line[:, None]) % LINES]
    # what lies below zero is its own mirror image, and at zero both add up
    values = torch.where(bins < 0, values.conj(), torch.where(bins == 0, 2 * values, values))
    bins = bins.abs().clamp_max(WINDOW // 2)
    hops, size = power.shape[2], WINDOW // 2 + 1
    edges = torch.searchsorted(item * hops + hop, torch.arange(len(power) * hops + 1, device=power.device))

    def frames(first: int, last: int) -> Tensor:
        out = power.new_zeros(len(power), last - first, size, 2)
        for n in range(len(power)):
            low, high = int(edges[n * hops + first]), int(edges[n * hops + last])
            at = ((hop[low:high] - first)[:, None] * size + bins[low:high]).flatten()
            out[n].view(-1, 2).index_add_(0, at, torch.view_as_real(values[low:high]).reshape(-1, 2))
        return torch.view_as_complex(out)

    return frames


def strongest(energy: Tensor) -> Tensor:
    """For every band the strongest within NEAR of it, ``(N, BANDS, hops)``."""
    around = functional.pad(energy, (0, 0, NEAR, NEAR), value=-1.0)
    most = around[:, :BANDS]
    where = torch.zeros_like(energy, dtype=torch.long)
    for by in range(1, 2 * NEAR + 1):
        other = around[:, by : by + BANDS]
        where = torch.where(other > most, by, where)
        most = torch.maximum(most, other)
    # of what is not a number none is the strongest: that is told later, of the sound
    return (torch.arange(BANDS, device=energy.device)[:, None] + where - NEAR).clamp(0, BANDS - 1)


def _window_spectrum(device: torch.device) -> Tensor:
    """The window's own spectrum between bins, complex ``(LINES,)``."""
    spectrum: Tensor = torch.fft.fft(torch.hann_window(WINDOW, device=device), n=LINES)
    return spectrum
