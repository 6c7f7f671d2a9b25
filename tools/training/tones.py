"""``tones``: the network that tells the decoder what rings and what calls, trained by what does in the recordings.

A tone keeps its phase: spectra 20 ms apart, almost a window, agree in how far it has turned, those of noise do not.
The coherence over an eighth of a second is the share of a band that rings, the angle is its frequency. A call glides,
and is found in spectra that glide along.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import pathlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor
from torch.nn import functional

from ambient.generate.bands import BANDS, HOP, RATE, STACK, WINDOW, band_centres, band_widths
from ambient.generate.calls import REACH
from ambient.generate.codec import FRAME, AmbienceCodec
from ambient.generate.tones import DRAWN, REST, ROWS, Tones
from tools.training.codec import linear
from tools.training.features import sound_of

__all__ = ["Lessons", "call_goals", "goals", "knows_calls", "lessons", "loss_of", "missed", "train"]

LAG = 4
"""Hops between spectra that are compared: 20 ms."""
MEAN = 25
"""Hops over which they are."""
NOISY, SURE = 0.5, 0.9
"""Coherence of what is noise (seldom more, of so few independent spectra), and of what is a tone."""
GLIDES = np.linspace(-96e3, 96e3, 13)
"""Glides, Hz a second, that spectra are taken of: what glides is a line in one of them."""
AROUND = 8
"""Bins on either side of a line that should be empty."""
MIXED, PURE = 0.6, 0.85
"""Share of the power around a line that lies in it, of noise (seldom more) and of a tone."""
LOWEST = 500.0
"""Hz below which nothing calls: partials would lie within :data:`AROUND`."""
PASSAGE = 5
"""Steps of 20 ms over which a drawn track is compared with the recorded one."""


class Sounds:
    """Stretches of the recordings themselves, balanced by label."""

    def __init__(self, work: pathlib.Path, root: pathlib.Path, seed: int, minutes: float = 70.0) -> None:
        self.rng = np.random.default_rng(seed)
        entries = json.loads((work / "index.json").read_text())
        labels: dict[str, list[tuple[np.ndarray, bool]]] = {}
        share = minutes * 60 / sum(min(e["hops"] / 200, 40) for e in entries)
        for number, e in enumerate(entries):
            if number % 50 == 0:
                print(f"{number + 1}/{len(entries)} {e['file']}", flush=True)
            most = int(min(e["hops"] / 200, 40) * min(1.0, share)) * RATE
            most = min(most, (e["hops"] - e["held_hops"]) * HOP)
            x = sound_of(e, root)[: most // FRAME * FRAME]
            if len(x) >= 24 * FRAME:
                labels.setdefault(e["label"], []).append(
                    ((x * 32767 / 4).clip(-32767, 32767).astype(np.int16), e["split"] == "held")
                )
        self.train = {k: [x for x, held in v if not held] for k, v in labels.items()}
        self.held = [x for v in labels.values() for x, held in v if held]
        if not self.held:  # a handful of recordings: judged by what is trained on
            self.held = [x for v in self.train.values() for x in v]
        self.labels = [k for k, v in self.train.items() if v]

    def batch(self, count: int, latents: int) -> Tensor:
        """Float32 ``(count, 2, latents * FRAME)``."""
        out = []
        for _ in range(count):
            options = self.train[self.labels[int(self.rng.integers(len(self.labels)))]]
            out.append(self._cut(options[int(self.rng.integers(len(options)))], latents, self.rng))
        return torch.from_numpy(np.stack(out))

    def cuts(self, latents: int) -> Iterator[Tensor]:
        """Stretches ``(1, 2, latents * FRAME)`` without end, every recording as often as any other, two in three of
        them slower and lower or faster and higher by a fourth."""
        options = [x for label in self.labels for x in self.train[label]]
        while True:
            x = options[int(self.rng.integers(len(options)))]
            up, down = ((1, 1), (5, 4), (4, 5))[int(self.rng.integers(3))]
            wide = -(-latents * down // up)
            if len(x) < wide * FRAME:
                up, down, wide = 1, 1, latents
            cut = self._cut(x, wide, self.rng)
            if up != down:
                cut = resample_poly(cut, up, down, axis=1).astype(np.float32)[:, : latents * FRAME]
            yield torch.from_numpy(np.ascontiguousarray(cut)[None])

    def validation(self, latents: int, each: int = 1) -> Tensor:
        """The same held-out stretches every time, so many of each recording."""
        rng = np.random.default_rng(0)
        return torch.from_numpy(np.stack([self._cut(x, latents, rng) for x in self.held[:24] for _ in range(each)]))

    @staticmethod
    def _cut(x: np.ndarray, latents: int, rng: np.random.Generator) -> np.ndarray:
        at = int(rng.integers(0, len(x) - latents * FRAME + 1))
        gain = np.float32(10 ** rng.uniform(-0.4, 0.4))
        return x[at : at + latents * FRAME].T.astype(np.float32) * (4 / 32767) * gain


def goals(mid_side: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
    """Sound ``(batch, 2, samples)`` to the share of each band that rings, 0 to 1, and the place of the tone in band
    widths from its centre, −1 to 1, both ``(batch, 2, BANDS, hops / REST)``."""
    batch = mid_side.shape[0]
    left = WINDOW // 2 - HOP // 2
    x = functional.pad(mid_side.flatten(0, 1), (left, WINDOW - HOP - left))
    spectra = torch.fft.rfft(x.unfold(-1, WINDOW, HOP) * torch.hann_window(WINDOW))  # (batch * 2, hops, bins)

    def mean(y: Tensor, lost: int) -> Tensor:  # over bands and time
        y = (y @ filters).transpose(1, 2)
        y = functional.pad(y, (MEAN // 2 + lost // 2, MEAN // 2 + lost - lost // 2), mode="replicate")
        return functional.avg_pool1d(y, MEAN, 1)

    def turned(lag: int) -> Tensor:
        product = spectra[:, lag:] * spectra[:, :-lag].conj()
        return torch.complex(mean(product.real, lag), mean(product.imag, lag))

    power = spectra.abs().square()
    far = turned(LAG)
    coherence = far.abs() / mean(0.5 * (power[:, LAG:] + power[:, :-LAG]), LAG).clamp_min(1e-20)
    share = ((coherence - NOISY) / (SURE - NOISY)).clamp(0, 1)
    centres = torch.from_numpy(band_centres()).float()
    spacing = centres.diff()[1:, None]
    centre = centres[1:-1, None]
    # one hop tells it roughly, several finely
    hz = _nearest(turned(1).angle(), 1, centre)
    hz = _nearest(far.angle(), LAG, hz)
    offset = ((hz - centre) / spacing).clamp(-1, 1)
    weight = share * mean(power, 0) + 1e-12
    shares = functional.avg_pool1d(share, REST)
    places = functional.avg_pool1d(offset * weight, REST) / functional.avg_pool1d(weight, REST)
    return tuple(y.reshape(batch, 2, BANDS, -1) for y in (shares, places))  # type: ignore[return-value]


def _nearest(angle: Tensor, lag: int, about: Tensor) -> Tensor:
    """The frequency, Hz, that turns by ``angle`` in ``lag`` hops and lies nearest to another."""
    turn = RATE / (HOP * lag)
    hz = angle / (2 * math.pi) * turn
    return hz + torch.round((about - hz) / turn) * turn


def call_goals(mid_side: Tensor, filters: Tensor, rings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sound ``(batch, 2, samples)`` to the share of each band that calls, 0 to 1, ``(batch, 2, BANDS, steps)``; the
    place of its tone, bands from its own, ``(batch, BANDS, steps)``; and how much that matters, of the same shape.

    A tone that glides is a line in the spectrum of what is turned against its glide (Kepesi and Weruaga, "Adaptive
    chirp-based time-frequency analysis of speech signals", Speech Communication 48, 2006). ``rings``: the shares that
    ring steadily, see :func:`goals`, which do not call.
    """
    batch = mid_side.shape[0]
    left = WINDOW // 2 - HOP // 2
    window = torch.hann_window(WINDOW)
    frames = functional.pad(mid_side.flatten(0, 1), (left, WINDOW - HOP - left)).unfold(-1, WINDOW, HOP) * window
    plain = torch.fft.rfft(frames).abs().square()
    shape = plain.shape
    t = (np.arange(WINDOW) - (WINDOW - 1) / 2) / RATE
    pure, line = torch.zeros(shape), torch.zeros(shape)
    for rate in GLIDES:
        turn = torch.from_numpy(np.exp(-1j * math.pi * rate * t**2)).to(torch.complex64)
        power = torch.fft.fft(frames * turn)[..., : WINDOW // 2 + 1].abs().square().flatten(0, 1)[:, None]
        three, near = (functional.avg_pool1d(power, 2 * n + 1, 1, n) * (2 * n + 1) for n in (1, AROUND))
        tops = functional.max_pool1d(three, 2 * AROUND + 1, 1, AROUND) <= three
        found, at = functional.max_pool1d(
            three / near.clamp_min(1e-20) * tops, 2 * AROUND + 1, 1, AROUND, return_indices=True
        )
        found, at = found.reshape(shape), at.reshape(shape)
        better = found > pure
        pure = torch.where(better, found, pure)
        around = [power.reshape(shape).gather(-1, (at + by).clamp(0, shape[-1] - 1)) for by in (-1, 0, 1)]
        fine = at + (around[2] - around[0]) / (around[0] + around[1] + around[2]).clamp_min(1e-20)
        line = torch.where(better, fine, line)
    centres = band_centres()[1:-1]
    middle = torch.from_numpy(np.rint(centres * WINDOW / RATE).astype(int))
    share = ((pure[..., middle] - MIXED) / (PURE - MIXED)).clamp(0, 1) * torch.from_numpy(centres > LOWEST)
    at = torch.from_numpy(np.interp(line[..., middle].numpy() * RATE / WINDOW, centres, np.arange(BANDS))).float()
    share, at, power = (x.transpose(1, 2).reshape(batch, 2, BANDS, -1) for x in (share, at, plain @ filters))
    energy = power * torch.from_numpy(band_widths())[:, None]
    calls = energy * share * (1 - rings.repeat_interleave(REST, -1))

    def patch(x: Tensor) -> Tensor:  # what is near, in pitch and time
        return functional.avg_pool2d(x, (7, 17), (1, 1), (3, 8)) + 1e-12

    whole = functional.avg_pool1d((patch(calls) / patch(energy)).flatten(1, 2), REST).reshape(batch, 2, BANDS, -1)
    # of the mid's tones each band belongs to the strongest near it
    own = torch.arange(BANDS)[:, None]
    best, place = torch.zeros_like(calls[:, 0]), torch.zeros_like(calls[:, 0])
    for by in range(-int(REACH), int(REACH) + 1):
        moved = [torch.roll(x[:, 0], -by, 1) for x in (calls, at)]
        inside = (own + by >= 0) & (own + by < BANDS)
        score = moved[0] * inside * math.exp(-((by / 3) ** 2))
        place = torch.where(score > best, moved[1] - own, place)
        best = torch.maximum(best, score)
    place = place.clamp(-REACH, REACH)
    weight = functional.avg_pool1d(best, REST)
    place = functional.avg_pool1d(place * best, REST) / weight.clamp_min(1e-20)
    loud = functional.avg_pool1d(patch(calls)[:, 0], REST)
    return whole, place, whole[:, 0] * (weight / loud.clamp_min(1e-20)).clamp_max(1.0)


def loss_of(logits: Tensor, offset: Tensor, share: Tensor, place: Tensor, bands: Tensor) -> Tensor:
    """How far shares and places are off, loud bands above all. ``bands``: log powers ``(batch, 2 * BANDS, hops)``."""
    weight = _weight(bands, logits)
    wrong = functional.binary_cross_entropy_with_logits(logits, share, reduction="none")
    off = 2.0 * share * (offset - place).abs()
    return ((wrong + off) * weight).sum() / weight.sum()


def _weight(bands: Tensor, like: Tensor) -> Tensor:
    """What each band and moment counts."""
    level = functional.avg_pool1d(bands, REST).reshape(like.shape)
    return torch.exp(0.35 * (level - level.amax((1, 2), keepdim=True))) + 0.02


@dataclass(frozen=True)
class Lessons:
    """Stretches of sound: their latents ``(count, latent_dim, frames)``, and what there is to find in them (see
    :func:`goals` and :func:`call_goals`)."""

    latents: Tensor
    share: Tensor
    offset: Tensor
    call: Tensor
    place: Tensor
    matters: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def some(self, pick: Sequence[int]) -> Lessons:
        """Some of the stretches, in single precision."""
        return Lessons(*(x[list(pick)].float() for x in self.columns()))

    def columns(self) -> tuple[Tensor, ...]:
        """All that there is."""
        return (self.latents, self.share, self.offset, self.call, self.place, self.matters)

    @classmethod
    @torch.no_grad()
    def of(cls, codec: AmbienceCodec, x: Tensor) -> Lessons:
        """Of sound ``(batch, 2, samples)``; in half precision, for there may be many."""
        mid_side = torch.stack([x.mean(1), (x[:, 0] - x[:, 1]) / 2], 1)
        share, offset = goals(mid_side, codec.filters)
        calls = call_goals(mid_side, codec.filters, share)
        return cls(*(y.half() for y in (codec.encode(x).latents, share, offset, *calls)))


def lessons(codec: AmbienceCodec, cuts: Iterator[Tensor], count: int, threads: int) -> Lessons:
    """The first ``count`` of ``cuts`` (each ``(1, 2, samples)``); says how far it is."""
    found: list[Lessons] = []
    with ThreadPoolExecutor(threads) as pool:
        for one in pool.map(lambda x: Lessons.of(codec, x), itertools.islice(cuts, count)):
            found.append(one)
            if len(found) % 200 == 0 or len(found) == count:
                print(f"lessons {len(found)}/{count}", flush=True)
    return Lessons(*(torch.cat(column) for column in zip(*(x.columns() for x in found), strict=True)))


def missed(
    net: Tones, codec: AmbienceCodec, given: Lessons, noise: float = 0.0, seed: int | None = None
) -> tuple[Tensor, Tensor]:
    """How far off a network is, of what rings and of what calls. Half of the latents are up to ``noise`` off, as
    generated ones are.

    Places of calls are judged by the energy score: how far a drawn track lies from the recorded one, over a tenth of a
    second, less half of how far two draws lie apart. It is least when tracks are drawn as they are distributed
    (Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007).
    """
    count, steps = len(given), given.share.shape[-1]
    draw = torch.Generator().manual_seed(seed) if seed is not None else None
    off = noise * torch.rand(count, 1, 1) * (torch.rand(count, 1, 1) < 0.5)
    z = given.latents + off * torch.randn(given.latents.shape, generator=draw)
    bands = codec.envelope(z)
    one, two = (net(bands, z, torch.randn(count, DRAWN, ROWS, steps, generator=draw)) for _ in range(2))
    inside = slice(STACK // REST, -(STACK // REST))  # the ends lack a part of what they are judged by
    loud = bands[..., STACK:-STACK]
    share, offset, call, place, matters, said, where = (
        x[..., inside] for x in (*given.columns()[1:], one.share, one.offset)
    )
    first, second = ((x.call[..., inside], x.place[..., inside]) for x in (one, two))
    weight = _weight(loud, first[0])
    heavy = functional.avg_pool1d(matters, PASSAGE, 1)

    def away(a: Tensor, b: Tensor) -> Tensor:
        squares = functional.avg_pool1d(matters * (a - b).square(), PASSAGE, 1)
        return (squares / heavy.clamp_min(1e-3) + 1e-3).sqrt()

    wrong = functional.binary_cross_entropy_with_logits(first[0], call, reduction="none")
    score = 0.5 * (away(first[1], place) + away(second[1], place) - away(first[1], second[1]))
    counts = heavy * weight[:, 0, :, PASSAGE // 2 : -(PASSAGE // 2)]
    calls = (wrong * weight).sum() / weight.sum() + (score * counts).sum() / counts.sum().clamp_min(1e-3)
    return loss_of(said, where, share, offset, loud), calls


def train(
    work: pathlib.Path, root: pathlib.Path, settings: dict[str, Any], *, threads: int = 1, seconds: float | None = None
) -> None:
    """Trains, or goes on training; writes ``tones.pt`` (best on held-out stretches so far) and ``tones.jsonl``."""
    torch.set_num_threads(1)
    s = settings
    codec = AmbienceCodec(latent_dim=s["latent_dim"]).requires_grad_(False)
    linear(codec, work)
    checkpoint = work / "tones.pt"
    torch.manual_seed(0)
    net = Tones(s["latent_dim"], calls=True)
    optimiser = torch.optim.AdamW(net.parameters(), lr=s["learning_rate"], weight_decay=0.0)
    step, best, best_state = 0, float("inf"), copy.deepcopy(net.state_dict())
    saved = torch.load(checkpoint, weights_only=False) if checkpoint.exists() else {}
    if saved and knows_calls(saved["best"]):  # else it begins anew, and learns both
        net.load_state_dict(saved["now"])
        if "optimiser" in saved:
            optimiser.load_state_dict(saved["optimiser"])
        step, best, best_state = saved["step"], saved["best_loss"], saved["best"]
    smooth = copy.deepcopy(net)  # the running mean of the weights is what is judged and kept
    sounds = Sounds(work, root, seed=step, minutes=s["minutes"])
    held = sounds.validation(s["segment"], s["held_each"]).split(1)  # type: ignore[no-untyped-call]
    check = lessons(codec, iter(held), len(held), threads)
    check = check.some(range(len(check)))
    kept = work / "lessons.pt"
    if kept.exists() and kept.stat().st_mtime > (work / "index.json").stat().st_mtime:
        taught = Lessons(*torch.load(kept, weights_only=True))
    else:
        taught = lessons(codec, sounds.cuts(s["segment"]), s["lessons"], threads)
        torch.save(taught.columns(), kept)
    torch.set_num_threads(threads)
    torch.manual_seed(step)
    began, running, log = time.monotonic(), [], (work / "tones.jsonl").open("a")
    while True:
        last = step >= s["steps"] or (seconds is not None and time.monotonic() - began >= seconds)
        if last or step % s["save_every"] == 0:
            with torch.no_grad():
                rings, calls = (float(x) for x in missed(smooth, codec, check, seed=1))
            if rings + calls < best:
                best, best_state = rings + calls, copy.deepcopy(smooth.state_dict())
            row = {"step": step, "loss": round(float(np.mean(running or [0])), 4), "held": round(rings + calls, 4)}
            row |= {"calls": round(calls, 4), "best": round(best, 4), "seconds": round(time.monotonic() - began)}
            running = []
            print(json.dumps(row), file=log, flush=True)
            print(row, flush=True)
            state = {"now": net.state_dict(), "best": best_state, "best_loss": best, "step": step, "settings": s}
            torch.save(state | {"optimiser": optimiser.state_dict()}, checkpoint)
        if last:
            return
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / 30)
            group["lr"] = s["learning_rate"] * warm * (0.52 + 0.48 * math.cos(math.pi * step / s["steps"]))
        some = taught.some(sounds.rng.integers(len(taught), size=s["batch"]).tolist())
        loss = torch.stack(missed(net, codec, some, s["noise"])).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(smooth.parameters()), list(net.parameters()), 1 - s["ema"])
        step += 1
        running.append(float(loss.detach()))


def knows_calls(state: dict[str, Tensor]) -> bool:
    """Whether weights of :class:`Tones` are of a network that tells calls."""
    return "called.weight" in state
