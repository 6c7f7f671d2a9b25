"""``tones``: the network that tells the decoder what rings, trained by what rings in the recordings.

A tone keeps its phase: spectra 20 ms apart, almost a window, agree in how far it has turned, those of noise do not.
The coherence over an eighth of a second is the share of a band that rings, the angle is its frequency.
"""

from __future__ import annotations

import copy
import json
import math
import pathlib
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ambient.generate.bands import BANDS, HOP, RATE, STACK, WINDOW, band_centres
from ambient.generate.codec import AmbienceCodec
from ambient.generate.tones import REST, Tones
from tools.training.codec import Sounds, linear

__all__ = ["goals", "loss_of", "train"]

LAG = 4
"""Hops between spectra that are compared: 20 ms."""
MEAN = 25
"""Hops over which they are."""
NOISY, SURE = 0.5, 0.9
"""Coherence of what is noise (seldom more, of so few independent spectra), and of what is a tone."""


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


def loss_of(logits: Tensor, offset: Tensor, share: Tensor, place: Tensor, bands: Tensor) -> Tensor:
    """How far shares and places are off, loud bands above all. ``bands``: log powers ``(batch, 2 * BANDS, hops)``."""
    level = functional.avg_pool1d(bands, REST).reshape(logits.shape)
    weight = torch.exp(0.35 * (level - level.amax((1, 2), keepdim=True))) + 0.02
    wrong = functional.binary_cross_entropy_with_logits(logits, share, reduction="none")
    off = 2.0 * share * (offset - place).abs()
    return ((wrong + off) * weight).sum() / weight.sum()


def train(
    work: pathlib.Path, root: pathlib.Path, settings: dict[str, Any], *, threads: int = 1, seconds: float | None = None
) -> None:
    """Trains, or goes on training; writes ``tones.pt`` (best on held-out stretches so far) and ``tones.jsonl``."""
    torch.set_num_threads(threads)
    s = settings
    codec = AmbienceCodec(latent_dim=s["latent_dim"]).requires_grad_(False)
    linear(codec, work)
    checkpoint = work / "tones.pt"
    torch.manual_seed(0)
    net = Tones(s["latent_dim"])
    optimiser = torch.optim.AdamW(net.parameters(), lr=s["learning_rate"], weight_decay=0.0)
    step, best, best_state = 0, float("inf"), copy.deepcopy(net.state_dict())
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=False)
        net.load_state_dict(saved["now"])
        if "optimiser" in saved:
            optimiser.load_state_dict(saved["optimiser"])
        step, best, best_state = saved["step"], saved["best_loss"], saved["best"]
    smooth = copy.deepcopy(net)  # the running mean of the weights is what is judged and kept
    sounds = Sounds(work, root, seed=step)
    check = _learned_from(codec, sounds.validation(s["segment"]))
    began, running, log = time.monotonic(), [], (work / "tones.jsonl").open("a")
    while True:
        last = step >= s["steps"] or (seconds is not None and time.monotonic() - began >= seconds)
        if last or step % s["save_every"] == 0:
            with torch.no_grad():
                held = float(loss_of(*smooth(check[2], check[3]), check[0], check[1], check[2]))
            if held < best:
                best, best_state = held, copy.deepcopy(smooth.state_dict())
            row = {"step": step, "loss": round(float(np.mean(running or [0])), 4), "held": round(held, 4)}
            row |= {"best": round(best, 4), "seconds": round(time.monotonic() - began)}
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
        share, place, bands, z = _learned_from(codec, sounds.batch(s["batch"], s["segment"]), s["noise"])
        logits, offset = net(bands, z)
        inside = slice(STACK // REST, -(STACK // REST))  # the ends lack a part of what they are judged by
        hops = slice(STACK, -STACK)
        loss = loss_of(*(x[..., inside] for x in (logits, offset, share, place)), bands[..., hops])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(smooth.parameters()), list(net.parameters()), 1 - s["ema"])
        step += 1
        running.append(float(loss.detach()))


@torch.no_grad()
def _learned_from(codec: AmbienceCodec, x: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Goals for sound ``(batch, 2, samples)``, and the bands and latents to find them by, half of which are up to
    ``noise`` off, as generated ones are."""
    share, place = goals(torch.stack([x.mean(1), (x[:, 0] - x[:, 1]) / 2], 1), codec.filters)
    z = codec.encode(x).latents
    off = noise * torch.rand(len(z), 1, 1) * (torch.rand(len(z), 1, 1) < 0.5)
    z = z + off * torch.randn_like(z)
    return share, place, codec.envelope(z), z
