"""Calls: tones that glide, as birds sing, wolves howl and gulls cry. Tracks of partials, not noise and no fixed pitch.

Every band votes for the place of the tone that its power belongs to; what votes alike is one tone. Tones of
neighbouring hops that lie near each other are one track, which keeps its phase from its beginning to its end
(McAulay and Quatieri, "Speech analysis/synthesis based on a sinusoidal representation", IEEE ASSP 34(4), 1986). A
track begins with the phase that the bank of oscillators (:mod:`ambient.generate.tones`) has there, which belongs to
the timeline: two decodes of the same latents coincide wherever a call begins in both. Where it goes on and on, as
crickets do, twice a second of the timeline it is led, by a hertz or so, to the phase that a beginning would have had
there: from then on two decodes coincide too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ambient.generate.bands import BANDS, HOP, RATE, WINDOW, band_centres, band_widths
from ambient.generate.tones import LINES, strongest

__all__ = ["REACH", "sung", "voted"]

REACH = 6.0
"""Bands on either side within which a band's tone lies, at most."""
FASTEST = 1.5
"""Bands that a track moves by in a hop, at most: at 4 kHz 48 kHz a second."""
SUDDEN = 8.0
"""What is so much more powerful than in the hop before is a call that begins."""
FAINT = 1e-3
"""Tones weaker than this share of the strongest at the moment are left out."""
SILENT = 1e-8
"""And those of less power than this."""
RISE = (0.15, 0.5, 0.85)
"""Amplitude of the first hops of a track, and of the last: what begins at once is a click in all other bands."""
MEETING, LED = 100, 80
"""Hops of the timeline from one moment to the next at which tracks look for the phase of a beginning, and over which
they are led there: in 0.4 s, by at most 1.25 Hz."""
_STRETCH = 4096
"""Pieces of tracks that are computed at once."""


def voted(energy: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """The tones that bands belong to.

    ``energy`` ``(batch, channels, BANDS, hops)``: what is to be gathered, of which the first channel tells what a vote
    counts; ``place`` ``(batch, BANDS, hops)``: where each band's tone lies, bands from its own. Returns what is
    gathered in each band, of the shape of ``energy``, and where in the scale of bands its tone lies, ``(batch, BANDS,
    hops)``.
    """
    bands = torch.arange(BANDS, device=energy.device, dtype=energy.dtype)[:, None]
    at = (bands + place).nan_to_num().clamp(0, BANDS - 1)  # what is not a number is told later, of the sound
    # a column for what is gathered of every channel, and one for the moment of the first
    columns = torch.cat([energy, energy[:, :1] * at[:, None]], 1)
    for where in (at.round().long(), None):
        to = strongest(columns[:, 0]) if where is None else where
        columns = torch.zeros_like(columns).scatter_add_(2, to[:, None].expand_as(columns), columns)
    return columns[:, :-1], columns[:, -1] / columns[:, 0].clamp_min(1e-20)


def sung(
    energy: Tensor,
    place: Tensor,
    phases: Tensor,
    at: Tensor | None = None,
    hops: int | None = None,
    starts: Sequence[int] | None = None,
) -> Tensor:
    """The sound of the calls, ``(batch, 2, hops * HOP)``, of mid and side.

    ``energy``: what calls in each band, mean density of mid and side, ``(batch, 2, BANDS, hops)``; ``place``: see
    :func:`voted`; ``phases``: of the oscillators at the first sample, ``(batch, 2, LINES // 2 + 1)``. A call lies left
    or right as far as its power in the side tells; on which side is drawn for each range of pitch, once.

    ``at``: which of ``hops`` are given, ascending, where not all are; those beside the others are silent. ``starts``:
    the hop of the timeline that each item begins with; 0 by default.
    """
    device = energy.device
    energy, place, phases = (x.detach().cpu() for x in (energy, place, phases))
    at = at.cpu() if at is not None else None
    batch, hops = len(energy), hops or energy.shape[-1]
    out = energy.new_zeros(batch * 2 * (hops + 1), HOP)
    widths = torch.from_numpy(band_widths()).to(energy)
    gathered, lies = voted(
        functional.avg_pool1d((energy * widths[:, None]).flatten(1, 2), 3, 1, 1).view_as(energy), place
    )
    power = gathered[:, 0]
    heard = (power > SILENT) & (power > FAINT * power.amax(1, keepdim=True))
    # in the order of time, then of items and bands
    hop, item, band = (x.numpy() for x in heard.permute(2, 0, 1).nonzero(as_tuple=True))
    if not len(hop):
        return torch.zeros(batch, 2, hops * HOP, device=device)
    where, found = lies.numpy()[item, band, hop], gathered.numpy()[item, :, band, hop]  # (tones), (tones, 2)
    hop = hop if at is None else at.numpy()[hop]
    hz = np.interp(where, np.arange(BANDS), band_centres()[1:-1])
    amplitude = 2 * np.sqrt(found / WINDOW)
    left = phases[:, 1, :: LINES // 2 // 8].numpy() > np.pi  # of every range of pitch
    amplitude[:, 1] *= np.where(left[item, band * 8 // BANDS], 1, -1)
    before = _linked(hop, item, band, where, found[:, 0], hops)
    turned = 2 * np.pi * HOP / RATE
    after = np.full(len(hop), -1)
    after[before[before >= 0]] = np.flatnonzero(before >= 0)
    meets = (hop + np.array(starts or [0] * batch)[item]) % MEETING == 0
    phase, led = _phases(hop, item, hz, before, meets, phases.numpy())
    ends = after < 0
    amplitude *= (_risen(before) * _risen(after))[:, None]
    begins = before < 0
    p = np.where(begins, 0, before)
    # each piece leads from the middle of one hop to that of the next; tracks fade in before and out behind
    first = np.concatenate([np.where(begins, phase - turned * hz, phase[p]), phase[ends]])
    bend = np.concatenate([np.where(begins, 0, _turned(led - led[p])), np.zeros(ends.sum())])
    slow = np.concatenate([np.where(begins, hz, hz[p]), hz[ends]])
    fast = np.concatenate([hz, hz[ends]])
    soft = np.concatenate([np.where(begins[:, None], 0, amplitude[p]), amplitude[ends]])
    loud = np.concatenate([amplitude, np.zeros_like(amplitude[ends])])
    row = np.concatenate([item * 2 * (hops + 1) + hop, item[ends] * 2 * (hops + 1) + hop[ends] + 1])
    t = torch.arange(HOP) / HOP
    soft_step = torch.sin(0.5 * torch.pi * t).square()
    for a in range(0, len(row), _STRETCH):
        b = slice(a, a + _STRETCH)
        angle, w, v, u = (
            torch.from_numpy(x[b]).float()[:, None] for x in (first % (2 * np.pi), turned * slow, turned * fast, bend)
        )
        wave = torch.cos(angle + (w + u) * t + (v - w) * (0.5 * t.square()))
        low, high = torch.from_numpy(soft[b]).float(), torch.from_numpy(loud[b]).float()
        rows = torch.from_numpy(row[b])
        for channel in (0, 1):
            swell = torch.lerp(low[:, channel, None], high[:, channel, None], soft_step)
            out.index_add_(0, rows + channel * (hops + 1), wave * swell)
    return out.reshape(batch, 2, -1)[..., HOP // 2 : HOP // 2 + hops * HOP].to(device)


def _linked(
    hop: NDArray[np.int64],
    item: NDArray[np.int64],
    band: NDArray[np.int64],
    where: NDArray[np.float32],
    power: NDArray[np.float32],
    hops: int,
) -> NDArray[np.int64]:
    """For every tone the one of the hop before that it goes on from, or −1, ``(tones,)``."""
    slots = np.full((hops, int(item.max()) + 1, BANDS + 4), -1, np.int64)
    slots[hop, item, band + 2] = np.arange(len(hop))
    best, least = np.full(len(hop), -1), np.full(len(hop), FASTEST)
    for by in range(5):
        other = np.where(hop > 0, slots[hop - 1, item, band + by], -1)
        far = np.where((other >= 0) & (power < SUDDEN * power[other]), np.abs(where[other] - where), np.inf)
        nearer = far < least
        best, least = np.where(nearer, other, best), np.where(nearer, far, least)
    order = np.lexsort((least, best))  # what was one stays one: the nearest goes on, the others begin
    taken = np.ones(len(hop), bool)
    taken[order[1:]] = best[order[1:]] == best[order[:-1]]
    taken[order[0]] = False
    return np.where(taken, -1, best)


def _risen(before: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far every tone has risen since its track began, 0 to 1, ``(tones,)``; of what comes after, how far it has
    yet to fall."""
    gain, far = np.ones(len(before)), before
    for level in RISE:
        gain = np.where((far < 0) & (gain == 1), level, gain)
        far = np.where(far < 0, -1, before[far])
    return gain


def _turned(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same angle between −π and π."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def _phases(
    hop: NDArray[np.int64],
    item: NDArray[np.int64],
    hz: NDArray[np.float64],
    before: NDArray[np.int64],
    meets: NDArray[np.bool_],
    phases: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The phase of every tone in the middle of its hop, and how far it has been led to that of a beginning where it
    last ``meets`` one, both ``(tones,)``. Neither depends on what comes later: a clip may end anywhere."""
    line = np.rint(hz * (LINES / RATE)).astype(np.int64).clip(0, LINES // 2)
    middle = hop * HOP + HOP // 2
    born = phases[item, 0, line] + line * middle % LINES * (2 * np.pi / LINES)
    step = np.where(before < 0, born, np.pi * HOP / RATE * (hz + hz[before]))
    edges = np.flatnonzero(np.diff(hop, prepend=-1, append=hop[-1] + 1))
    # the last of each is what a beginning goes on from
    free, met = np.zeros(len(hop) + 1), np.full(len(hop) + 1, -1)
    for a, b in itertools.pairwise(edges):
        free[a:b] = (free[before[a:b]] + step[a:b]) % (2 * np.pi)
        met[a:b] = np.where(meets[a:b], np.arange(a, b), met[before[a:b]])
    away = np.append(np.where(meets, born - free[:-1], 0), 0)
    was, met = away[met[before]], met[:-1]  # at the meeting before, from which it has arrived
    share = np.minimum(1, (hop - hop[met]) / LED)
    led = np.where(met >= 0, was[met] + _turned(away[met] - was[met]) * share, 0)
    return free[:-1] + led, led
