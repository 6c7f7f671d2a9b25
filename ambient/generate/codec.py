"""The bundled codec: linear analysis, learned noise-excited synthesis.

Encoding is exact and instant: log band powers of mid and side every 5 ms, 16 of them stacked and projected to a few
whitened principal directions at 12.5 Hz. Decoding excites noise with the envelope that the latents describe. A
small network refines the envelope (it begins at zero correction, so the linear reconstruction is its worst case)
and decides, for every band and moment, how much is sounded through a 21 ms window (steady, fine in frequency) and
how much through a 4 ms window with a shape in time of its own (drops, crackle, clicks). What the latents cannot hold,
the fast texture of a sound, is drawn at random as they describe it: how much the level of each band flickers, at
three speeds, by itself or together with all others (McDermott and Simoncelli 2011 on sound textures).

What rings (bells, hoots, hums) would be breathy as noise. A second small network tells how much of every band is a tone
and where in the band it lies; that share is sounded by a bank of oscillators instead of noise (sinusoids plus noise,
after Serra and Smith 1990). The same network tells what calls, in tones that glide (birds, wolves, gulls): these are
tracks of partials, whose glides the latents hardly tell, and which are drawn (:mod:`ambient.generate.calls`).

Noise and the phases of the oscillators depend on a seed and the absolute position on the timeline only: two decodes of
the same latents coincide sample for sample, except within ``EDGE_LATENTS`` of either end of a clip, and except for a
call that goes on where a clip begins, in the first second of it: until then its phase follows from its beginning.

What analysis sees of noise flickers by chance, and synthesis draws that chance anew: a waterfall would flicker twice.
So encoding takes out of the latents what is no more than the flicker of noise that is perfectly steady.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from ambient.generate.tones import REST, ROWS, SURE, Rings, Tones, position_phases, ringing, tone_lines
from ambient.generate.transients import clicks_in, struck

__all__ = [
    "EDGE_LATENTS",
    "AmbienceCodec",
    "Decoded",
    "Encoded",
    "position_flicker",
    "position_noise",
    "smooth_flicker",
    "steadied",
]

FRAME = HOP * STACK
"""Samples in a latent frame: 3,840."""
EDGE_LATENTS = 2
"""Reach of the decoder: its convolutions span ±24 hops, its windows ±3, together under two latent frames."""
SHORT = 192
SHORT_HOP = 48
SLOTS = HOP // SHORT_HOP
STEEP, LIKELY, RINGS = 2.0, 1.0, 0.5
"""What probably calls, or rings, does so wholly, and what hardly does not at all: a whistle with half of its power in
noise is a breath, and a hum with a tenth of it rumbles."""
BESIDE = 3
"""Bands on either side that a steady tone reaches, as the latents have it."""
MASKED, LOUD = 3e-5, 6
"""Bands of less than this share of the power at the moment, of bands from 300 Hz, do not call: nobody would hear it."""
GROUPS = 24
"""Band groups that share a shape in time within a hop."""
SPEEDS = (1, 4, 9)
"""Widths, in slots of 1 ms, of the windows that smooth the random flicker."""
SPAN = 25
"""Latents, two seconds, over which it is judged how much a sound moves."""
SLOWEST = 35
"""Slots over which flicker has no mean: what is slower than some 25 Hz is in the latents."""


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


def position_flicker(noise_seed: int, first: int, count: int) -> NDArray[np.float32]:
    """Random flicker of unit variance for latent frames, float32 ``(speeds, 1 + GROUPS, count * slots)``.

    Row 0 is common to all bands. Keyed by position like :func:`position_noise`; drawn a latent frame wider and then
    smoothed, so that it too is the same wherever a clip begins.
    """
    slots, rows = STACK * SLOTS, len(SPEEDS) * (1 + GROUPS)
    drawn = _normal((noise_seed + 1) * 0x9E3779B97F4A7C15, first - 1, count + 2, rows * slots)
    out = drawn.reshape(count + 2, rows, slots).swapaxes(0, 1)
    half = SLOWEST // 2
    wide = np.concatenate([out[:, :-2, -half:], out[:, 1:-1], out[:, 2:, :half]], -1)
    smooth = torch.from_numpy(wide).reshape(len(SPEEDS), -1, slots + 2 * half) @ torch.from_numpy(_flicker_bands())
    found: NDArray[np.float32] = smooth.reshape(len(SPEEDS), 1 + GROUPS, count * slots).numpy()
    return found


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


def smooth_flicker(white: Tensor) -> Tensor:
    """White noise ``(..., speeds, rows, slots)`` band-passed to each speed, unit variance kept."""
    out = []
    slowest = torch.hann_window(SLOWEST + 2, periodic=False)[1:-1]
    for k, width in enumerate(SPEEDS):
        window = torch.hann_window(width + 2, periodic=False)[1:-1]
        left = (SLOWEST - width) // 2
        window = functional.pad(window / window.sum(), (left, SLOWEST - width - left)) - slowest / slowest.sum()
        x = white[..., k, :, :]
        flat = functional.conv1d(x.reshape(-1, 1, x.shape[-1]), (window / window.norm())[None, None], padding="same")
        out.append(flat.reshape(x.shape))
    return torch.stack(out, -3)


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


class _Refiner(nn.Module):
    """Envelope in, correction out: dilated convolutions over hops, zero at the start."""

    def __init__(self, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.outputs = 2 * BANDS + 2 * BANDS + 2 * GROUPS * SLOTS + 4 * GROUPS * len(SPEEDS)
        self.into = nn.Conv1d(2 * BANDS + latent_dim, hidden, 1)
        self.layers = nn.ModuleList(nn.Conv1d(hidden, hidden, 5, padding=2 * d, dilation=d) for d in (1, 2, 4, 4))
        self.out = nn.Conv1d(hidden, self.outputs, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, bands: Tensor, latents: Tensor) -> Tensor:
        x = self.into(torch.cat([(bands + 8.0) / 4.0, latents], 1))
        for layer in self.layers:
            x = x + functional.silu(layer(functional.silu(x)))
        y: Tensor = self.out(x)
        return y


class AmbienceCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is not typed
    """48 kHz stereo ↔ ``(latent_dim, 12.5 Hz)``. Call from one thread."""

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers is not typed
    def __init__(
        self,
        sampling_rate: int = RATE,
        downsampling_ratio: int = FRAME,
        latent_dim: int = 64,
        hidden: int = 160,
        refined: bool = True,
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
        self.refiner = _Refiner(latent_dim, hidden)
        self.tonal = Tones(latent_dim, calls=calls) if tones else None
        self.register_buffer("filters", band_filters(), persistent=False)
        self.register_buffer("to_long", _interpolation(WINDOW // 2 + 1, WINDOW), persistent=False)
        self.register_buffer("to_short", _interpolation(SHORT // 2 + 1, SHORT), persistent=False)
        # where bands are wider than the short window's resolution it loses nothing, and keeps every click
        lean = 4.0 * torch.tanh(torch.from_numpy(np.log2(band_centres()[1:-1] / 3000.0)).float())
        self.register_buffer("lean", lean, persistent=False)
        groups = torch.zeros(GROUPS, BANDS)
        groups[torch.arange(BANDS) * GROUPS // BANDS, torch.arange(BANDS)] = 1.0
        self.register_buffer("groups", groups, persistent=False)

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
        flicker = np.stack(
            [position_flicker(seed, start // FRAME, count) for seed, start in zip(seeds, starts, strict=True)]
        )
        phases = np.stack([position_phases(seed, start) for seed, start in zip(seeds, starts, strict=True)])
        white, moving, turned = (torch.from_numpy(x).to(latents.device) for x in (noise, flicker, phases))
        hops = [start // FRAME * STACK for start in starts]
        return Decoded(self.synthesise(latents, white, moving, turned, hops))

    def synthesise(
        self,
        latents: Tensor,
        noise: Tensor,
        flicker: Tensor,
        phases: Tensor | None = None,
        starts: Sequence[int] | None = None,
    ) -> Tensor:
        """Sound ``(batch, 2, samples)`` from latents, white noise ``(batch, 2, samples)`` (for mid and side),
        ``flicker`` ``(batch, speeds, 1 + GROUPS, slots)``, and ``phases`` of the oscillators
        ``(batch, 2, lines)``, without which nothing rings. ``starts``: the hops of the timeline that items begin with,
        0 by default."""
        batch, hops = len(latents), latents.shape[2] * STACK
        bands = self.envelope(latents)
        slow = latents.repeat_interleave(STACK, dim=2)
        y = self.refiner(bands, slow) if self.config.refined else bands.new_zeros(batch, self.refiner.outputs, hops)
        change, share, shape, depth = y.split([2 * BANDS, 2 * BANDS, 2 * GROUPS * SLOTS, 4 * GROUPS * len(SPEEDS)], 1)
        power = (bands + change).reshape(batch * 2, BANDS, hops)
        share = (share.reshape(batch, 2, BANDS, hops) + self.lean[:, None]).reshape(batch * 2, BANDS, hops)
        shape = shape.reshape(batch * 2, GROUPS, SLOTS, hops)
        shape = shape - torch.logsumexp(shape, 2, keepdim=True) + np.log(SLOTS)  # mean power in the hop stays
        white, lines, calls = noise.reshape(batch * 2, -1), None, torch.zeros(())
        if self.tonal is not None and phases is not None:
            found = self.tonal(bands, latents, _drawn(noise))
            ring = ringing(STEEP * found.share + RINGS).flatten(0, 1)
            # what the refiner adds to a peak makes up for noise that fills its band badly; but the width is as it says
            wider = change[:, BANDS:] - change[:, :BANDS]
            rings = (bands + torch.cat([torch.zeros_like(wider), wider], 1)).reshape_as(power).exp() * ring
            lines = tone_lines(rings, found.offset.flatten(0, 1).repeat_interleave(REST, -1), phases.flatten(0, 1))
            calls, ring = self._called(found, power, ring, phases, starts)
            power = power + torch.log1p(-ring.clamp_max(0.999))
        noisy, clicks = struck(power.unflatten(0, (batch, 2)), clicks_in(bands[:, :BANDS]), noise, self.to_long)
        power = noisy.flatten(0, 1)
        if self.config.refined:
            moving = self._flicker(functional.softplus(depth - 3.0), flicker)
            power = power + torch.einsum("ngh,gb->nbh", moving.mean(2), self.groups)
            shape = shape + moving - moving.mean(2, keepdim=True)
        steady = self._steady(power + functional.logsigmoid(-share), white, lines)
        if self.config.refined:
            steady = steady + self._sharp(power + functional.logsigmoid(share), shape, white)
        mid, side = (steady.reshape(batch, 2, -1) + clicks + calls).unbind(1)
        return torch.stack([mid + side, mid - side], 1)

    def _called(
        self, found: Rings, power: Tensor, ring: Tensor, phases: Tensor, starts: Sequence[int] | None
    ) -> tuple[Tensor, Tensor]:
        """The sound of what calls, ``(batch, 2, samples)`` or nothing, and the shares of what rings or calls, as
        ``ring``; both it and ``power`` are ``(batch * 2, BANDS, hops)``."""
        if found.call is None or found.place is None:
            return torch.zeros((), device=power.device), ring
        # what may as well ring rings, and what lies beside it
        rings_near = functional.max_pool2d(found.share, (2 * BESIDE + 1, 1), 1, (BESIDE, 0))
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

    def _flicker(self, depth: Tensor, flicker: Tensor) -> Tensor:
        """Random change of the log power of mid and side, ``(batch * 2, GROUPS, SLOTS, hops)``."""
        batch, hops = depth.shape[0], depth.shape[2]
        depth = depth.reshape(batch, 2, 2, len(SPEEDS), GROUPS, 1, hops)
        field = flicker.reshape(batch, 1, len(SPEEDS), 1 + GROUPS, hops, SLOTS).transpose(-1, -2)
        moving = (depth[:, :, 0] * field[:, :, :, :1] + depth[:, :, 1] * field[:, :, :, 1:]).sum(2)
        return moving.reshape(batch * 2, GROUPS, SLOTS, hops).clamp(-9.0, 4.0)

    def _steady(self, power: Tensor, white: Tensor, lines: Callable[[int, int], Tensor] | None) -> Tensor:
        """Filters noise through the long window, ``power`` (N, BANDS, hops) of natural logarithms; adds the spectra of
        the tones."""
        log_power = power.transpose(1, 2)
        return _filtered(white, WINDOW, HOP, lambda a, b: torch.exp(0.5 * (log_power[:, a:b] @ self.to_long)), lines)

    def _sharp(self, power: Tensor, shape: Tensor, white: Tensor) -> Tensor:
        """Filters noise through the short window; ``shape`` (N, GROUPS, SLOTS, hops) forms it within each hop."""
        of_hops = power.transpose(1, 2) @ (0.5 * self.to_short)
        shape, of_slots = shape.permute(0, 3, 2, 1), 0.5 * self.groups @ self.to_short

        def gain(a: int, b: int) -> Tensor:  # of slots; chunks begin and end with whole hops
            hops = slice(a // SLOTS, b // SLOTS)
            fine = of_hops[:, hops, None] + shape[:, hops] @ of_slots
            return torch.exp(fine).flatten(1, 2)

        # a stream of noise unlike the long window's, or the two would add up in phase
        return _filtered(-white.roll(FRAME // 2 + 7, 1), SHORT, SHORT_HOP, gain)


def _drawn(noise: Tensor) -> Tensor:
    """From white noise ``(batch, 2, samples)`` as much as draws calls, ``(batch, DRAWN, ROWS, steps)``, unit variance;
    like it the same at the same position."""
    length = REST * HOP // ROWS
    few = noise.reshape(*noise.shape[:2], -1, ROWS, length).mean(-1)
    drawn: Tensor = few.transpose(2, 3) * float(length) ** 0.5
    return drawn


def _filtered(
    white: Tensor,
    size: int,
    hop: int,
    gain: Callable[[int, int], Tensor],
    lines: Callable[[int, int], Tensor] | None = None,
) -> Tensor:
    """Filters noise ``(N, samples)`` frame by frame, windowed before and after, and adds up what overlaps.

    ``gain(first, last)``: amplitudes ``(N, last - first, size // 2 + 1)`` of the frames from ``first`` to ``last``;
    ``lines``: spectra of the same shape to be added. In chunks that stay in the processor's cache: memory, not
    arithmetic, is what this costs.
    """
    length, count = white.shape[1], white.shape[1] // hop
    left = size // 2 - hop // 2
    window = torch.hann_window(size, device=white.device)
    padded = functional.pad(white, (left, size - hop - left))
    out = torch.zeros(len(white), (count - 1) * hop + size, device=white.device)
    chunk = max(1, 65_536 // size // SLOTS) * SLOTS
    for first in range(0, count, chunk):
        last = min(count, first + chunk)
        part = slice(first * hop, (last - 1) * hop + size)
        spectra = torch.view_as_real(torch.fft.rfft(padded[:, part].unfold(-1, size, hop) * window))
        spectra = torch.view_as_complex(spectra * gain(first, last)[..., None])  # of real numbers: half the work
        if lines is not None:
            spectra = spectra + lines(first, last)
        out[:, part] += _folded(torch.fft.irfft(spectra, n=size) * window, hop)
    return (out / torch.from_numpy(_weight(size, hop, count)).to(out))[:, left : left + length]


def _folded(frames: Tensor, hop: int) -> Tensor:
    """Sum of overlapping frames ``(N, count, size)``, ``(N, (count - 1) * hop + size)``."""
    batch, count, size = frames.shape
    out = frames.new_zeros(batch, count + (size - 1) // hop, hop)
    for late, first in enumerate(range(0, size, hop)):  # far faster than torch's fold
        part = frames[:, :, first : first + hop]
        out[:, late : late + count, : part.shape[2]] += part
    return out.flatten(1)[:, : (count - 1) * hop + size]


@lru_cache(maxsize=32)
def _weight(size: int, hop: int, count: int) -> NDArray[np.float32]:
    """Sum of the squared windows. Away from the ends it is periodic; at the ends a floor keeps the quotient tame."""
    weight = _folded(torch.hann_window(size).square().expand(1, count, size), hop)
    return weight.clamp_min(0.2 * float(weight.max())).numpy()


@lru_cache(maxsize=1)
def _flicker_bands() -> NDArray[np.float32]:
    """The band-pass filters of the flicker for one latent frame with half a window on either side, as matrices:
    ``(speeds, SLOWEST - 1 + slots, slots)``."""
    slots, slowest = STACK * SLOTS, np.hanning(SLOWEST + 2)[1:-1]
    found = np.zeros((len(SPEEDS), SLOWEST - 1 + slots, slots), np.float32)
    for matrix, width in zip(found, SPEEDS, strict=True):
        left = (SLOWEST - width) // 2
        window = np.hanning(width + 2)[1:-1]
        window = np.pad(window / window.sum(), (left, SLOWEST - width - left)) - slowest / slowest.sum()
        window /= np.sqrt(np.square(window).sum())
        for slot in range(slots):
            matrix[slot : slot + SLOWEST, slot] = window
    return found
