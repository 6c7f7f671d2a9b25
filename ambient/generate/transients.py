"""The clicks in a sound: moments much shorter than the analysis window, sounded by themselves.

A crackle, a tick, a drop on canvas begins at once and is over within milliseconds. Noise in its envelope is a puff: as
long as a window, and never as sharp. Analysis shows a click as a bump as wide as its own window, in many bands at the
same time, and steady noise shows none. So such bumps are taken out of the envelope, and where they lie a pulse of
minimum phase that rings out in noise is put, with their spectrum and energy: sinusoids, transients and noise, after
Verma and Meng (Computer Music Journal 24(2), 2000).

A brook or a downpour has many small ones, of which latents tell none by itself, and bands that were drawn as recordings
are distributed show some as bumps. There the noise itself, before it is brought to these bands,
bursts for less than a millisecond. Nothing here is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from ambient.generate.bands import BANDS, HOP, RATE, WINDOW, band_centres, band_widths

__all__ = ["Clicks", "clicks_in", "grained", "struck"]

SPAN = 5
"""Hops, 25 ms: what a click in the window reaches; what stands out for longer is none."""
RANGES = ((4, BANDS), (4, 24), (24, 60), (60, BANDS))
"""Bands, all of them and below 1.2, between that and 5, and above 5 kHz, that may click by themselves."""
BEGINS, SURE = 2.5, 5.0
"""Decibels, mean over a range, by which a bump stands out where it begins to be a click, and wholly is."""
DECAY = 96
"""Samples, 2 ms, in which a click falls by a factor of e. Recordings with clicks came out with peaks 6 dB too high when
these did not ring out, 1.4 dB with this (and no bound), and 2 dB too low when all was noise."""
LOUDEST = 0.5
"""Peak that no click goes beyond. Recordings, levelled to −28 dBFS, have peaks up to 2.8; but a generated click that
stands out so far makes the limiter take the whole mix down for as long as an ear needs to notice."""
TAIL = 5 * DECAY
LENGTH = 1536
"""Samples of a click: WINDOW and TAIL, and a size whose transform is quick."""
LEAD = 16
"""Samples for what a delay by parts of a sample rings ahead."""
GRAINS = ((24, 60, 2.7), (60, BANDS, 1.6))
"""Bands from 1.2 to 5 and above 5 kHz, and by how many decibels the mean of their logarithms stands out where a grain
begins: that of steady noise does at one hop in a thousand, and in ten thousand."""
SURELY, STRENGTH, BURST = 1.5, 2.5, 16
"""Decibels over which a bump comes to be a grain, how strong these are, and samples, a third of a millisecond, in which
the power of a grain falls by a factor of e. Of 45 recordings the loudest thousandth of all milliseconds above 5 kHz,
beside the 51 around each, came out 1.8 dB too low without grains, and 0.8 with these; 1 to 5 kHz, 1.0 and 0.7."""
_LONG = 512
"""Samples of a grain."""
_HALF = SPAN // 2


@dataclass(frozen=True)
class Clicks:
    """Which item of the batch and which hop a click lies in, each ``(clicks,)``, and how much of each band's bump is
    one, 0 to 1, ``(clicks, BANDS)``."""

    item: Tensor
    hop: Tensor
    strength: Tensor


def _extreme(x: Tensor, highest: bool) -> Tensor:
    """The highest or lowest of SPAN neighbours, ``(..., hops)`` to ``(..., hops - SPAN + 1)``."""
    of = torch.maximum if highest else torch.minimum
    count = x.shape[-1] - SPAN + 1
    found = x[..., :count]
    for k in range(1, SPAN):
        found = of(found, x[..., k : k + count])
    return found


def _ground(x: Tensor) -> Tensor:
    """What is left without bumps shorter than SPAN (morphological opening), ``(..., hops)`` to
    ``(..., hops - 2 * (SPAN - 1))``."""
    return _extreme(_extreme(x, False), True)


def _held(x: Tensor, by: int) -> Tensor:
    """Ends held for ``by`` more hops."""
    first, last = x[..., :1], x[..., -1:]
    return torch.cat([first.expand(*first.shape[:-1], by), x, last.expand(*last.shape[:-1], by)], -1)


def clicks_in(bands: Tensor) -> Clicks:
    """Clicks in log powers ``(batch, BANDS, hops)``."""
    bump = bands - _ground(_held(bands, SPAN - 1))
    stands_out = torch.stack([bump[:, a:b].mean(1) for a, b in RANGES], 1) * 4.343  # decibels
    most = stands_out.amax(1)
    peak = most >= _extreme(_held(most, _HALF), True)
    item, hop = (peak & (most > BEGINS)).nonzero(as_tuple=True)
    share = ((stands_out[item, :, hop] - BEGINS) / (SURE - BEGINS)).clamp(0, 1)
    strength = share.new_zeros(len(item), BANDS)
    for (first, last), of_range in zip(RANGES, share.unbind(1), strict=True):
        strength[:, first:last] = torch.maximum(strength[:, first:last], of_range[:, None])
    strength[:, : RANGES[0][0]] = strength[:, RANGES[0][0], None]  # too few bins to tell by
    return Clicks(item, hop, strength)


def struck(power: Tensor, clicks: Clicks, noise: Tensor, to_bins: Tensor) -> tuple[Tensor, Tensor]:
    """Takes clicks out of log powers ``(batch, 2, BANDS, hops)`` of mid and side; these, and the clicks' sound
    ``(batch, 2, samples)``.

    ``noise``: ``(batch, 2, samples)``, of which clicks ring out; ``to_bins``: from bands to the bins of the window,
    ``(BANDS, WINDOW // 2 + 1)``.
    """
    batch, _, _, hops = power.shape
    item, hop, strength = clicks.item, clicks.hop, clicks.strength
    if not len(item):
        return power, torch.zeros_like(noise)
    near = torch.arange(-_HALF, _HALF + 1, device=power.device)
    # of bumps that reach into each other each has its part
    dense = power.new_zeros(batch, BANDS, hops + 2 * _HALF)
    dense[item, :, hop + _HALF] = strength
    around = _extreme(_held(dense, _HALF), True)
    count = power.new_zeros(batch, hops + 2 * _HALF)
    for k in range(SPAN):
        count.index_put_((item, hop + k), count.new_ones(()), accumulate=True)
    wide = _held(power, 3 * _HALF)
    reach = torch.arange(SPAN + 2 * (SPAN - 1), device=power.device)
    found = wide[item[:, None], :, :, hop[:, None] + reach]  # (clicks, hops, 2, BANDS)
    found = found.permute(0, 2, 3, 1)
    ground, found = _ground(found), found[..., SPAN - 1 : 1 - SPAN]
    inside = ((hop[:, None] + near >= 0) & (hop[:, None] + near < hops)).to(power)
    parts = (inside / count[item[:, None], hop[:, None] + near + _HALF])[:, None, None]
    excess = (found.exp() - ground.exp()).clamp_min(0) * parts
    tail = functional.pad(noise, (0, TAIL))[item[:, None], :, hop[:, None] * HOP + torch.arange(TAIL).to(hop)]
    pulses, begins = _pulses(excess, strength, hop, tail, to_bins)
    out = power.new_zeros(batch, 2, LEAD + noise.shape[2] + LENGTH + (SPAN + 1) * HOP)
    at = (begins + LEAD).clamp_min(0)[:, None] + torch.arange(pulses.shape[-1], device=power.device)
    rows = (2 * item[:, None] + torch.arange(2).to(item))[..., None] * out.shape[-1] + at[:, None]
    out.view(-1).index_add_(0, rows.flatten(), pulses.flatten())
    less = around[item[:, None], :, hop[:, None] + near + _HALF].permute(0, 2, 1)[:, None] * (found - ground)
    kept = inside.bool()
    rows, columns = item[:, None].expand_as(kept)[kept], (hop[:, None] + near)[kept]
    power = power.clone()
    power[rows, :, :, columns] = (found - less).permute(0, 3, 1, 2)[kept]
    return power, out[:, :, LEAD : LEAD + noise.shape[2]]


def grained(noise: Tensor, power: Tensor) -> Tensor:
    """White noise ``(batch, 2, samples)`` with bursts where bands that it is brought to, log powers ``(batch, 2, BANDS,
    hops)`` of mid and side, stand out for no longer than the window."""
    out = functional.pad(noise, (LEAD, _LONG + 2 * HOP))
    near, long = (torch.arange(n, device=noise.device) for n in (SPAN, _LONG))
    fall = torch.exp(long / (-2 * BURST))
    fall = fall / fall.square().sum().sqrt()
    turn = -2 * torch.pi / _LONG * torch.arange(_LONG // 2 + 1, device=noise.device)
    for (first, last, begins), passed in zip(GRAINS, _ranges().to(noise), strict=True):
        wide = _held(power[:, 0, first:last].mean(1), SPAN - 1 + _HALF)
        bump = wide[:, SPAN - 1 : 1 - SPAN] - _ground(wide)
        beyond = bump[:, _HALF:-_HALF] * 4.343 - begins  # decibels
        item, hop = ((beyond > 0) & (bump[:, _HALF:-_HALF] >= _extreme(bump, True))).nonzero(as_tuple=True)
        if not len(item):
            continue
        excess = bump[item[:, None], hop[:, None] + near].exp() - 1
        energy = STRENGTH * HOP * excess.sum(1) * (1 - torch.exp(-beyond[item, hop] / SURELY))
        late = (excess * near).sum(1) / excess.sum(1) - _HALF
        after = (
            late * HOP + HOP // 2 - BURST / 2
        )  # the hop's begin; of its parts of a sample too, or two decodes differ
        whole = after.floor()
        turned = torch.polar(torch.ones_like(after)[:, None], turn * (after - whole + LEAD)[:, None])
        at = (hop * HOP + whole.long()).clamp_min(0)
        # the noise around it, backwards, mid for side and side for mid
        bursts = functional.pad(noise, (0, _LONG))[item[:, None], :, hop[:, None] * HOP + long].flip(1).transpose(1, 2)
        bursts = torch.fft.rfft(bursts * fall * energy.sqrt()[:, None, None]) * passed * turned[:, None]
        rows = (2 * item[:, None] + torch.arange(2).to(item))[..., None] * out.shape[-1] + (at[:, None] + long)[:, None]
        out.view(-1).index_add_(0, rows.flatten(), torch.fft.irfft(bursts, n=_LONG).flatten())
    return out[..., LEAD : LEAD + noise.shape[2]]


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # what is kept serves training as well
def _ranges() -> Tensor:
    """What lets the bands of each of GRAINS through, ``(GRAINS, _LONG // 2 + 1)``."""
    hz = torch.arange(_LONG // 2 + 1) * RATE / _LONG
    edges = torch.from_numpy((band_centres()[1:] + band_centres()[:-1]) / 2).float()
    return torch.stack(
        [((hz >= edges[first]) & ((hz < edges[last]) | (last == BANDS))).float() for first, last, _ in GRAINS]
    )


def _pulses(excess: Tensor, strength: Tensor, hop: Tensor, tail: Tensor, to_bins: Tensor) -> tuple[Tensor, Tensor]:
    """Sound ``(clicks, 2, LENGTH)`` of clicks, and the sample that each begins at, ``(clicks,)``.

    ``excess``: power densities above the ground, ``(clicks, 2, BANDS, SPAN)``; ``tail``: noise ``(clicks, TAIL, 2)``.
    """
    # the window slides over a click in steps of HOP: its powers add up to the click's energy over HOP
    energy = excess.sum(-1) * HOP * strength[:, None]
    weight = (excess[:, 0] * (strength * torch.from_numpy(band_widths()).to(excess))[..., None]).sum(1) + 1e-20
    late = (weight * torch.arange(SPAN, device=excess.device)).sum(1) / weight.sum(1) - _HALF
    after = late * HOP + HOP // 2 - DECAY / 2  # the hop's begin
    whole = after.floor()
    logs = 0.5 * energy.clamp_min(1e-14).log() @ to_bins
    fold = torch.zeros(WINDOW, device=excess.device)  # of the cepstrum, to minimum phase (Oppenheim and Schafer)
    fold[0] = fold[WINDOW // 2] = 1.0
    fold[1 : WINDOW // 2] = 2.0
    phase = torch.fft.rfft(torch.fft.irfft(logs, n=WINDOW) * fold).imag
    turn = -2 * torch.pi / WINDOW * torch.arange(WINDOW // 2 + 1, device=excess.device)
    phase = phase + turn * (after - whole + LEAD)[:, None, None]
    pulses = torch.fft.irfft(torch.polar(logs.exp(), phase), n=WINDOW)
    # from one place, left or right of the middle; backwards, as the same noise sounds around it
    rings = tail[..., 0].flip(-1) * torch.exp(torch.arange(TAIL, device=excess.device) / -DECAY)
    rings = rings / rings.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-9)
    place = torch.where(tail[:, 0] < 0, -1.0, 1.0)[..., None]
    ringing = torch.fft.rfft(pulses, n=LENGTH) * torch.fft.rfft(rings, n=LENGTH)[:, None]
    sound = torch.fft.irfft(ringing, n=LENGTH)
    peak = sound.abs().sum(1, keepdim=True).amax(-1, keepdim=True).clamp_min(LOUDEST)
    return sound * (place * LOUDEST / peak), hop * HOP + whole.long() - LEAD
