"""The bundled codec: linear analysis; learned synthesis by noise that is brought to bands which are drawn, and tones.

Encoding is exact and instant: log band powers of mid and side every 5 ms, 16 of them stacked and projected to a few
whitened principal directions at 12.5 Hz. What the latents cannot hold, the bands' course within those 80 ms and how
they stand out from each other, a network draws at random as they describe it (:mod:`ambient.generate.detail`).

Noise is filtered by these bands. But its frames overlap, and where they are added up they no longer agree: the sum does
not have the powers that it was filtered by. So it is analysed, and each band of each frame brought to the power that it
should have, as Griffin and Lim (1984) do with magnitudes, and that a few times.

What rings (bells, hoots, hums) would be breathy as noise. A second small network tells how much of every band is a tone
and where in the band it lies; that share is sounded by a bank of oscillators instead of noise (sinusoids plus noise,
after Serra and Smith 1990). The same network tells what calls, in tones that glide (birds, wolves, gulls): these are
tracks of partials, whose glides the latents hardly tell, and which are drawn (:mod:`ambient.generate.calls`). What is
shorter than the window is sounded as clicks (:mod:`ambient.generate.transients`).

Noise and the phases of the oscillators depend on a seed and the absolute position on the timeline only: two decodes of
the same latents coincide sample for sample, except within ``EDGE_LATENTS`` of either end of a clip, and except for a
call that goes on where a clip begins, in the first second of it: until then its phase follows from its beginning.

What analysis sees of noise flickers by chance, and synthesis draws that chance anew: a waterfall would flicker twice.
So encoding takes out of the latents what is no more than the flicker of noise that is perfectly steady.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ambient.generate.bands import BANDS, HOP, RATE, STACK, WINDOW, analyse, band_centres, band_filters, band_widths
from ambient.generate.calls import sung
from ambient.generate.detail import DRAWN, Detail
from ambient.generate.tones import REST, ROWS, SURE, Rings, Tones, position_phases, ringing, tone_lines
from ambient.generate.transients import clicks_in, grained, struck

__all__ = [
    "EDGE_LATENTS",
    "AmbienceCodec",
    "Decoded",
    "Encoded",
    "position_detail",
    "position_noise",
    "steadied",
]

FRAME = HOP * STACK
"""Samples in a latent frame: 3,840."""
EDGE_LATENTS = 2
"""Reach of the decoder: its convolutions span ±20 hops, and its windows ±4 whenever noise is brought to its bands; what
lies farther, of a click that is taken out of them, comes through the ends of windows only."""
PASSES = (3, 2)
"""How often noise is brought to its bands, mid and side. Of 66 recordings with their true bands, the mel distance was
1.49 dB with once, 1.20 with twice and 1.01 with four times."""
MOST = (-12.0, 8.0)
"""Natural logarithms of power by which a band is changed at most, each time."""
STEEP, LIKELY, RINGS = 2.0, 1.0, 0.5
"""What probably calls, or rings, does so wholly, and what hardly does not at all: a whistle with half of its power in
noise is a breath, and a hum with a tenth of it rumbles."""
ABOVE, HIGHEST = 4.0, 2.0
"""Natural logarithms by which drawn power exceeds the highest smooth power within 80 ms and three bands at most, and
that it exceeds nowhere else: of recordings fewer than one value in 20,000 and in 100,000 do."""
NARROW = -5.9
"""Logarithm of power of side over mid, −26 dB, from which side fades out: the least that is encoded is −30 dB."""
CALM = 9
"""Hops over which the power of what calls is the mean: how loud it is, not how it is drawn to flicker."""
BESIDE = 3
"""Bands on either side that a steady tone reaches, as the latents have it."""
MASKED, LOUD = 3e-5, 6
"""Bands of less than this share of the power at the moment, of bands from 300 Hz, do not call: nobody would hear it."""
CHUNK = 256
"""Frames, of all items, that are filtered at once."""
FAINT, GROUND = 5.0, 7.0
"""Of single events: natural logarithms of power, 22 dB, by which a band lies below the loudest when what stands still
in it is no part of the event, and how far, 30 dB, it sinks at most. Hiss behind an owl is as loud in every band."""
UNDER, EXPANDED = 11.0, 1.5
"""And 48 dB, from which bands sink whatever they do, and by how much farther: of thunder some lie 40 dB deep."""
EVENT = (3.0, 5.0)
"""By how much the loudest moment stands out, 13 and 22 dB, where there begins to be an event, and wholly is: what is as
loud all the time, such as rain that was asked for once, is all of it meant."""
SPAN = 25
"""Latents, two seconds, over which it is judged how much a sound moves."""


@dataclass(frozen=True)
class Encoded:
    """``latents``: float32 ``(batch, latent_dim, frames)``."""

    latents: Tensor


@dataclass(frozen=True)
class Decoded:
    """``sample``: float32 ``(batch, 2, samples)``, left and right."""

    sample: Tensor


def position_noise(noise_seed: int, first: int, count: int) -> NDArray[np.float32]:
    """White noise of unit variance for latent frames ``first … first + count``, float32 ``(2, count * FRAME)``.

    Counter-based (Philox, Salmon et al. 2011): each latent frame has its own stream, keyed by seed and position.
    """
    return _normal(noise_seed, first, count, 2 * FRAME).reshape(count, 2, FRAME).swapaxes(0, 1).reshape(2, -1)


def position_detail(noise_seed: int, first: int, count: int) -> NDArray[np.float32]:
    """What draws the bands of latent frames, float32 ``(count * STACK, DRAWN)``; keyed as :func:`position_noise`."""
    return _normal((noise_seed + 3) * 0x9E3779B97F4A7C15, first, count, STACK * DRAWN).reshape(-1, DRAWN)


def _normal(seed: int, first: int, count: int, size: int) -> NDArray[np.float32]:
    """Normal numbers, ``(count, size)``: of each of ``count`` positions, which have streams of their own."""
    drawn = np.empty((count, size), np.uint16)
    for i in range(count):
        key = np.array([seed & (2**64 - 1), (first + i) & (2**64 - 1)], np.uint64)
        drawn[i] = np.random.Philox(key=key).random_raw(-(-size // 4)).view(np.uint16)[:size]
    return _quantiles()[drawn]


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float32]:
    """The normal distribution in as many equally probable numbers as 16 bits tell apart: far faster than drawing each
    exactly, and what is beyond 4.3 deviations nobody misses."""
    found = torch.special.ndtri((torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)).numpy()
    return np.asarray(found / found.std(), np.float32)


def steadied(latents: Tensor, chance: Tensor) -> Tensor:
    """Takes chance out of latents ``(..., latent_dim, frames)``.

    ``chance``: variance of each direction in noise that is perfectly steady, ``(latent_dim,)``. Where a direction moves
    no more than that, over :data:`SPAN`, it stands still; of what moves more the variance is taken out (power
    subtraction, as Boll 1979 takes noise out of spectra).
    """
    flat = latents.reshape(-1, *latents.shape[-2:])
    ones = torch.ones_like(flat[:1, :1])

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool1d(x, SPAN, 1, SPAN // 2, count_include_pad=False)

    count = functional.avg_pool1d(ones, SPAN, 1, SPAN // 2) * SPAN
    middle = mean(flat)
    variance = mean((flat - middle).square()) * count / (count - 1).clamp_min(1)
    kept = ((variance - chance[:, None]).clamp_min(0) / variance.clamp_min(1e-9)).sqrt()
    return (middle + kept * (flat - middle)).reshape(latents.shape)


def _blocks(count: int = 4) -> list[tuple[slice, slice]]:
    """Bins, real and imaginary parts beside each other, of so many ranges, and the bands that reach into each or are
    reached by it: the matrices that lead from one to the other are empty beside these."""
    reached = (band_filters() > 0) | (_interpolation(WINDOW // 2 + 1, WINDOW).T > 0)
    edges = [0, *(int(reached[:, BANDS * k // count].nonzero()[0]) for k in range(1, count)), len(reached)]
    found = []
    for first, last in itertools.pairwise(edges):
        bands = reached[first:last].any(0).nonzero()[:, 0]
        found.append((slice(2 * first, 2 * last), slice(int(bands[0]), int(bands[-1]) + 1)))
    return found


def _interpolation(bins: int, fft: int) -> Tensor:
    """Linear interpolation from band centres to FFT bins, ``(BANDS, bins)``; held outside."""
    centres = band_centres()[1:-1]
    hz = np.arange(bins) * RATE / fft
    at = np.interp(hz, centres, np.arange(BANDS))
    low = np.minimum(np.floor(at).astype(int), BANDS - 2)
    weights = np.zeros((BANDS, bins), np.float32)
    weights[low, np.arange(bins)] = 1 - (at - low)
    weights[low + 1, np.arange(bins)] += at - low
    return torch.from_numpy(weights)


BLOCKS = _blocks()


class AmbienceCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is not typed
    """48 kHz stereo ↔ ``(latent_dim, 12.5 Hz)``. Call from one thread."""

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers is not typed
    def __init__(
        self,
        sampling_rate: int = RATE,
        downsampling_ratio: int = FRAME,
        latent_dim: int = 64,
        hidden: int = 256,
        tones: bool = False,
        calls: bool = False,
        chance: Sequence[float] = (),
    ) -> None:
        """``tones``: what rings steadily is sounded as such; ``calls``: and what glides. ``chance``: see
        :func:`steadied`; without it, latents are as they are."""
        super().__init__()
        width = STACK * 2 * BANDS
        self.mean = nn.Parameter(torch.zeros(width), requires_grad=False)
        self.encoder = nn.Parameter(torch.zeros(width, latent_dim), requires_grad=False)
        self.decoder = nn.Parameter(torch.zeros(latent_dim, width), requires_grad=False)
        self.detail = Detail(latent_dim, hidden)
        self.tonal = Tones(latent_dim, calls=calls) if tones else None
        self.register_buffer("filters", band_filters(), persistent=False)
        self.register_buffer("to_long", _interpolation(WINDOW // 2 + 1, WINDOW), persistent=False)
        window = torch.hann_window(WINDOW)
        self.register_buffer("window", window, persistent=False)
        # of real and imaginary parts beside each other
        densities = (self.filters / window.square().sum()).repeat_interleave(2, 0)
        self.register_buffer("densities", densities, persistent=False)
        self.register_buffer("amplitudes", 0.5 * self.to_long.repeat_interleave(2, 1), persistent=False)

    def hastened(self, dtype: torch.dtype) -> None:
        """Its networks compute in ``dtype`` from now on, with weights laid out as processors like it best; sound is
        made of what they say in float32, as before."""
        for network in (self.detail, self.tonal):
            if network is None:
                continue
            network.to(dtype)
            for weight in network.parameters():
                if weight.ndim == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def encode(self, audio: Tensor) -> Encoded:
        """``audio``: float32 ``(batch, 2, samples)``, samples a multiple of ``downsampling_ratio``."""
        mid_side = torch.stack([audio.mean(1), (audio[:, 0] - audio[:, 1]) / 2], 1)
        bands = analyse(mid_side, self.filters)  # (B, 2, hops, BANDS)
        bands = torch.maximum(bands, torch.stack([bands[:, 0], bands[:, 0] - 3 * np.log(10)], 1))
        stacked = bands.permute(0, 2, 1, 3).reshape(len(audio), -1, self.mean.shape[0])
        latents = ((stacked - self.mean) @ self.encoder).transpose(1, 2)
        if self.config.chance:
            latents = steadied(latents, torch.tensor(self.config.chance, device=latents.device))
        return Encoded(latents)

    def envelope(self, latents: Tensor) -> Tensor:
        """Linear reconstruction of the log band powers, ``(batch, 2 * BANDS, hops)``."""
        stacked = latents.transpose(1, 2) @ self.decoder + self.mean
        return stacked.reshape(len(latents), -1, 2 * BANDS).transpose(1, 2)

    def log_power(self, latents: Tensor) -> Tensor:
        """Natural logarithm of the mean power of mid, up to a constant, ``(batch,)``."""
        hops = self._hop_powers(latents)
        return hops.logsumexp(1) - float(np.log(hops.shape[1]))

    def log_peaks(self, latents: Tensor) -> Tensor:
        """As :meth:`log_power`, of the loudest hop in each latent frame, ``(batch, frames)``."""
        return self._hop_powers(latents).reshape(len(latents), -1, STACK).amax(2)

    def _hop_powers(self, latents: Tensor) -> Tensor:
        """Log power of mid in each hop, ``(batch, hops)``."""
        widths = torch.from_numpy(band_widths()).to(latents).log()[:, None]
        return (self.envelope(latents)[:, :BANDS] + widths).logsumexp(1)

    def power_step(self) -> Tensor:
        """What raises the logarithm of power by 1 in all bands when added to latents, ``(latent_dim,)``."""
        step: Tensor = self.encoder.sum(0)
        return step

    def colour_step(self, decibels: NDArray[np.float32]) -> Tensor:
        """What raises each band by so many decibels, ``(BANDS,)``, when added to latents, ``(latent_dim,)``."""
        raised = torch.from_numpy(np.tile(decibels, 2 * STACK) * np.float32(np.log(10) / 10))
        step: Tensor = raised.to(self.encoder) @ self.encoder
        return step

    def cleared(self, latents: Tensor) -> Tensor:
        """Latents ``(batch, latent_dim, frames)`` of single events with less of the hiss that they were recorded in: a
        downward expander of bands far below the loudest of the moment, and of what stands still far below the event."""
        bands = self.envelope(latents)
        top = bands[:, :BANDS].amax(1, keepdim=True)
        most, usual = top.amax(2, keepdim=True), top.quantile(0.25, 2, keepdim=True)
        event = (most - usual - EVENT[0]).clamp_min(0) / (EVENT[1] - EVENT[0])
        beside = bands - _highest(top, STACK, 2) + UNDER
        still = 2.0 - (bands - bands.quantile(0.25, 2, keepdim=True))
        faint = most - FAINT - bands
        sunk = EXPANDED * beside.clamp_max(0) - GROUND * still.clamp(0, 1) * faint.clamp(0, 1)
        sunk = sunk * event.clamp_max(1.0)
        stacked = sunk.clamp_min(-GROUND).transpose(1, 2).reshape(len(latents), latents.shape[2], -1)
        return latents + (stacked @ self.encoder).transpose(1, 2)

    def latent_decibels(self) -> NDArray[np.float32]:
        """How much a unit of each latent direction is, decibels of band power, rms over bands, ``(latent_dim,)``."""
        found: NDArray[np.float32] = (self.decoder.square().mean(1).sqrt() * (10 / np.log(10))).cpu().numpy()
        return found

    def latent_bands(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """From steps of latents to decibels of the bands of mid and side, ``(latent_dim, 2 * BANDS)``, mean over the
        hops of a latent frame, and back from steps that are the same in all its hops, ``(2 * BANDS, latent_dim)``."""
        decibels = 10 / float(np.log(10))
        there = self.decoder.reshape(-1, STACK, 2 * BANDS).mean(1) * decibels
        back = self.encoder.reshape(STACK, 2 * BANDS, -1).sum(0) / decibels
        return there.cpu().numpy(), back.cpu().numpy()

    def decode(
        self, latents: Tensor, start_frames: Sequence[int] | None = None, noise_seeds: Sequence[int] | None = None
    ) -> Decoded:
        """Latents ``(batch, latent_dim, frames)`` to sound; one position and noise seed for every item."""
        count = latents.shape[2]
        starts = start_frames or [0] * len(latents)
        seeds = noise_seeds or [0] * len(latents)
        noise = np.stack(
            [position_noise(seed, start // FRAME, count) for seed, start in zip(seeds, starts, strict=True)]
        )
        drawn = np.stack(
            [position_detail(seed, start // FRAME, count) for seed, start in zip(seeds, starts, strict=True)]
        )
        phases = np.stack([position_phases(seed, start) for seed, start in zip(seeds, starts, strict=True)])
        white, moving, turned = (torch.from_numpy(x).to(latents.device) for x in (noise, drawn, phases))
        hops = [start // FRAME * STACK for start in starts]
        return Decoded(self.synthesise(latents, white, moving, turned, hops))

    def _narrowed(self, bands: Tensor) -> Tensor:
        """What log band powers ``(batch, 2 * BANDS, hops)`` lose, ``(batch, 2, BANDS, hops)``: side, where the encoder
        found the least width that it tells; there is none."""
        side = 12 * (NARROW - bands[:, BANDS:] + bands[:, :BANDS]).clamp(0, 0.6)
        return torch.stack([torch.zeros_like(side), side], 1)

    def synthesise(
        self,
        latents: Tensor,
        noise: Tensor,
        drawn: Tensor,
        phases: Tensor | None = None,
        starts: Sequence[int] | None = None,
    ) -> Tensor:
        """Sound ``(batch, 2, samples)`` from latents, white noise ``(batch, 2, samples)`` (for mid and side), what
        draws the bands, ``(batch, hops, DRAWN)``, and ``phases`` of the oscillators ``(batch, 2, lines)``, without
        which nothing rings. ``starts``: the hops of the timeline that items begin with, 0 by default."""
        batch = len(latents)
        bands = self.envelope(latents)
        white = self._seen(noise.flatten(0, 1)).view(batch, 2, -1, BANDS)
        narrowed = self._narrowed(bands)
        power = _bounded(self.detail(bands, latents, drawn, white).transpose(2, 3), bands) - narrowed
        rings, calls = None, torch.zeros(())
        if self.tonal is not None and phases is not None:
            found = self.tonal(bands, latents, _drawn(noise))
            ring = ringing(STEEP * found.share + RINGS)
            rings = (bands.view_as(power) - narrowed).exp() * ring
            slow = functional.avg_pool1d(power.flatten(0, 1), CALM, 1, CALM // 2, count_include_pad=False)
            calls, ring = self._called(found, slow, ring.flatten(0, 1), phases, starts)
            power = power + torch.log1p(-ring.clamp_max(0.999)).view_as(power)
        noisy, clicks = struck(power, clicks_in(bands[:, :BANDS]), noise, self.to_long)
        goals, channels = noisy.transpose(2, 3).contiguous(), []
        noise = grained(noise, noisy)
        for channel, passes in enumerate(PASSES):
            sound, lines = noise[:, channel], None
            for k in range(passes):
                if k == passes - 1 and rings is not None and phases is not None:
                    offset = found.offset[:, channel].repeat_interleave(REST, -1)
                    lines = tone_lines(rings[:, channel], offset, phases[:, channel])
                sound = self._brought(sound, goals[:, channel], lines)
            channels.append(sound)
        mid, side = (torch.stack(channels, 1) + clicks + calls).unbind(1)
        return torch.stack([mid + side, mid - side], 1)

    def _called(
        self, found: Rings, power: Tensor, ring: Tensor, phases: Tensor, starts: Sequence[int] | None
    ) -> tuple[Tensor, Tensor]:
        """The sound of what calls, ``(batch, 2, samples)`` or nothing, and the shares of what rings or calls, as
        ``ring``; both it and ``power`` are ``(batch * 2, BANDS, hops)``."""
        if found.call is None or found.place is None:
            return torch.zeros((), device=power.device), ring
        # what may as well ring rings, and what lies beside it
        rings_near = _highest(found.share, BESIDE, 2)
        logits = STEEP * (found.call - functional.softplus(rings_near + 1.0)) + LIKELY
        some = functional.max_pool1d((logits.amax((0, 1, 2)) > np.log(SURE / (1 - SURE)))[None].float(), 3, 1, 1)
        steps = some[0].nonzero()[:, 0]  # where anything calls, and one on either side
        if not len(steps):
            return torch.zeros((), device=power.device), ring
        at = (steps[:, None] * REST + torch.arange(REST, device=steps.device)).flatten()
        call = ringing(logits[..., steps]).flatten(0, 1) * (1 - ring[..., at])
        density = power[..., at].exp()
        energy = density * torch.from_numpy(band_widths()).to(power)[:, None]
        call = call * (energy > MASKED * energy[:, LOUD:].sum(1, keepdim=True))
        place = functional.interpolate(found.place, power.shape[2], mode="linear")[..., at]
        energy = (density * call).reshape(len(place), 2, BANDS, -1)
        sound = sung(energy, place, phases, at, power.shape[2], starts)
        return sound, ring.index_add(2, at, call)

    def _seen(self, sound: Tensor) -> Tensor:
        """Log band powers of sound ``(N, samples)``, ``(N, hops, BANDS)``, as :func:`analyse` finds them."""
        return torch.cat([self._bands(parts) for _, parts in self._spectra(sound)], 1)

    def _brought(
        self,
        sound: Tensor,
        goal: Tensor,
        lines: Callable[[int, int], Tensor] | None = None,
    ) -> Tensor:
        """Sound ``(N, samples)`` with each band of each frame brought to ``goal`` ``(N, hops, BANDS)``, natural
        logarithms of mean densities.

        ``lines``: spectra of tones ``(N, frames, WINDOW // 2 + 1)`` to be added.
        """
        count, left = goal.shape[1], WINDOW // 2 - HOP // 2
        out = sound.new_zeros(len(sound), count + (WINDOW - 1) // HOP, HOP)
        for first, parts in self._spectra(sound):
            last = first + parts.shape[1]
            change = goal[:, first:last] - self._bands(parts)
            change = change.clamp_(*MOST)
            for bins, bands in BLOCKS:
                parts[..., bins] *= torch.exp(change[..., bands] @ self.amplitudes[bands, bins])
            spectra = torch.view_as_complex(parts.view(*parts.shape[:2], -1, 2))
            if lines is not None:
                spectra = spectra + lines(first, last)
            _fold(torch.fft.irfft(spectra, n=WINDOW) * self.window, out[:, first:])
        weight = torch.from_numpy(_weight(count)).to(out)
        return (out.flatten(1)[:, : len(weight)] / weight)[:, left : left + count * HOP]

    def _spectra(self, sound: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Frames of sound ``(N, samples)``, some at a time: the first of them, and their spectra, real and imaginary
        parts beside each other ``(N, frames, WINDOW + 2)``.

        So many that they stay in the processor's cache: memory, not arithmetic, is what all this costs.
        """
        batch, length = sound.shape
        count, left = length // HOP, WINDOW // 2 - HOP // 2
        padded = functional.pad(sound, (left, WINDOW - HOP - left))
        some = max(8, CHUNK // batch)
        for first in range(0, count, some):
            last = min(count, first + some)
            frames = padded[:, first * HOP : (last - 1) * HOP + WINDOW].unfold(-1, WINDOW, HOP)
            yield first, torch.view_as_real(torch.fft.rfft(frames * self.window)).flatten(2)

    def _bands(self, parts: Tensor) -> Tensor:
        """Log band powers ``(N, frames, BANDS)`` of spectra as :meth:`_spectra` gives them."""
        power, has = parts.square(), parts.new_zeros(*parts.shape[:2], BANDS)
        for bins, bands in BLOCKS:
            has[..., bands] += power[..., bins] @ self.densities[bins, bands]
        return has.add_(1e-12).log_()


def _bounded(power: Tensor, bands: Tensor) -> Tensor:
    """Log band powers as drawn, ``(batch, 2, BANDS, hops)``, no farther above the smooth ones ``(batch, 2 * BANDS,
    hops)`` near them than recordings are, and no louder than these are: of latents unlike any recording's, what is
    drawn may be anything."""
    near = _highest(_highest(bands.view_as(power), 3, 2), STACK, 3)
    return torch.minimum(power, torch.minimum(near + ABOVE, near.clamp_min(HIGHEST)))


def _highest(x: Tensor, reach: int, dim: int) -> Tensor:
    """The highest within ``reach`` on either side along a dimension, of the shape of ``x``: as pooling finds it, but by
    doubling, which is many times as fast."""
    edge = list(x.shape)
    edge[dim] = reach
    outside = x.new_full(edge, -torch.inf)
    x, width = torch.cat([outside, x, outside], dim), 1
    while width < 2 * reach + 1:
        by = min(width, 2 * reach + 1 - width)
        x, width = torch.maximum(x.narrow(dim, 0, x.shape[dim] - by), x.narrow(dim, by, x.shape[dim] - by)), width + by
    return x


def _drawn(noise: Tensor) -> Tensor:
    """From white noise ``(batch, 2, samples)`` as much as draws calls, ``(batch, DRAWN, ROWS, steps)``, unit variance;
    like it the same at the same position."""
    length = REST * HOP // ROWS
    few = noise.reshape(*noise.shape[:2], -1, ROWS, length).mean(-1)
    drawn: Tensor = few.transpose(2, 3) * float(length) ** 0.5
    return drawn


def _fold(frames: Tensor, out: Tensor) -> None:
    """Adds up overlapping frames ``(N, count, WINDOW)`` in ``out`` ``(N, at least count + 4, HOP)``."""
    count = frames.shape[1]
    for late, first in enumerate(range(0, WINDOW, HOP)):  # far faster than torch's fold
        part = frames[:, :, first : first + HOP]
        out[:, late : late + count, : part.shape[2]] += part


@lru_cache(maxsize=32)
def _weight(count: int) -> NDArray[np.float32]:
    """Sum of the squared windows. Away from the ends it is periodic; at the ends a floor keeps the quotient tame."""
    weight = torch.zeros(1, count + (WINDOW - 1) // HOP, HOP)
    _fold(torch.hann_window(WINDOW).square().expand(1, count, WINDOW), weight)
    weight = weight.flatten()[: (count - 1) * HOP + WINDOW]
    return weight.clamp_min(0.2 * float(weight.max())).numpy()
