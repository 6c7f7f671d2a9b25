"""``codec``: the network that draws what the latents leave open, by the energy score.

Of a stretch of a recording the network draws the fine bands twice. How far each draw lies from what was recorded, less
how far the two lie apart, is least in the mean when they are drawn as they are distributed (Gneiting and Raftery,
"Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007; of spectrograms of speech, Gritsenko et
al., arXiv 2008.01160). What is compared are small pieces of the bands, their slopes, how much and how fast they
fluctuate, and their powers: of a large piece, chance would be all that a distance tells.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ambient.generate.bands import BANDS, RATE, STACK, analyse
from ambient.generate.codec import AmbienceCodec, steadied
from ambient.generate.detail import DRAWN
from ambient.generate.devices import native_bfloat16
from ambient.generate.transients import RANGES
from tools.training.features import save_linear
from tools.training.loop import Training

__all__ = ["Stretches", "coloured", "linear", "parts", "score", "train", "trained_detail"]

UNHEARD = 11.5
"""Natural logarithms of power, 50 dB, below the loudest band of a moment from which bands count less and less."""
EDGE = 24
"""Hops at both ends of a stretch that are not compared: they lack a part of what they are drawn by."""
SHORTEST = 12
"""Latent frames of a stretch, at least: of fewer there is too little to compare."""
CHECKED = 3
"""Batches of held-out stretches by which progress is told."""


def linear(codec: AmbienceCodec, work: pathlib.Path) -> None:
    """Fits (or takes) the linear part."""
    path = work / "linear.npz"
    if not path.exists():
        save_linear(work, codec.config.latent_dim)
    with np.load(path) as found, torch.no_grad():
        codec.mean.copy_(torch.from_numpy(found["mean"]))
        codec.encoder.copy_(torch.from_numpy(found["encode"]))
        codec.decoder.copy_(torch.from_numpy(found["decode"]))
        codec.register_to_config(chance=[round(float(x), 5) for x in found["chance"]])


class Noise:
    """How the bands of white noise fluctuate: ten minutes of it, of which each stretch is taken anywhere."""

    def __init__(self, codec: AmbienceCodec, minutes: int = 10) -> None:
        draw = torch.Generator().manual_seed(77)
        sound = (torch.randn(1, 60 * RATE, generator=draw) for _ in range(minutes))
        self._bands = torch.cat([analyse(x, codec.filters)[0, EDGE:-EDGE] for x in sound])
        self.usual = self._bands.mean(0)

    def __call__(self, count: int, hops: int, draw: torch.Generator | None = None) -> Tensor:
        """Log band powers ``(count, 2, hops, BANDS)``."""
        at = torch.randint(0, len(self._bands) - hops, (2 * count,), generator=draw)
        return torch.stack([self._bands[k : k + hops] for k in at.tolist()]).view(count, 2, hops, BANDS)


class Stretches:
    """Stretches of the prepared features, every label as often as any other."""

    def __init__(self, work: pathlib.Path, codec: AmbienceCodec, made: float) -> None:
        """``made``: share of the sounds made by rule that takes part."""
        self._bands = np.load(work / "features.npy", mmap_mode="r")
        entries = json.loads((work / "index.json").read_text())
        chance, rng = torch.tensor(codec.config.chance), np.random.default_rng(1)
        self._latents = np.zeros((len(self._bands) // STACK, codec.config.latent_dim), np.float16)
        self._places: dict[str, dict[str, list[tuple[int, int]]]] = {"train": {}, "held": {}}
        for e in entries:
            first, hops, held = e["start"], e["hops"], e["held_hops"]
            x = torch.from_numpy(np.asarray(self._bands[first : first + hops], np.float32)).reshape(hops // STACK, -1)
            z = steadied(((x - codec.mean) @ codec.encoder).T, chance).T
            self._latents[first // STACK : (first + hops) // STACK] = z.numpy()
            if e["procedural"] and rng.random() >= made:
                continue
            if e["split"] == "held":
                self._places["held"].setdefault(e["label"], []).append((first, hops))
            else:
                self._places["train"].setdefault(e["label"], []).append((first, hops - held))
                if held:
                    self._places["held"].setdefault(e["label"], []).append((first + hops - held, held))

    def batch(self, split: str, count: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Latents ``(count, latent_dim, frames)`` of a split, ``train`` or ``held`` (where nothing is held out, of what
        is trained on), and the bands there, ``(count, 2, BANDS, frames * STACK)``."""
        for places in (self._places[split], self._places["train"]):
            long = {k: [p for p in v if p[1] >= frames * STACK] for k, v in places.items()}
            labels = sorted(k for k, v in long.items() if v)
            if labels:
                break
        else:
            raise SystemExit(
                f"no recording is as long as {frames} latent frames ({frames * 0.08:.1f} s): --set segment=FEWER, "
                f"at least {SHORTEST}"
            )
        latents, bands = [], []
        for _ in range(count):
            options = long[labels[int(rng.integers(len(labels)))]]
            first, hops = options[int(rng.integers(len(options)))]
            at = first // STACK + int(rng.integers(hops // STACK - frames + 1))
            latents.append(self._latents[at : at + frames])
            bands.append(self._bands[at * STACK : (at + frames) * STACK])
        found = (np.stack(x).astype(np.float32) for x in (latents, bands))
        z, x = (torch.from_numpy(each) for each in found)
        return z.transpose(1, 2), x.permute(0, 2, 3, 1)


def coloured(codec: AmbienceCodec, z: Tensor, recorded: Tensor, odds: float) -> tuple[Tensor, Tensor]:
    """Latents and bands of stretches, ``odds`` of them louder or softer, in another colour, and wider or narrower:
    latents are linear in the logarithms of powers, and such curves lie in their directions."""
    count = len(z)
    order = torch.arange(1, 6)
    waves = torch.cos(torch.pi * order[:, None] * (torch.arange(BANDS) + 0.5) / BANDS)
    curve = torch.randn(count, 5) * 0.54 / order.sqrt() @ waves + 0.7 * torch.randn(count, 1)
    change = torch.stack([curve, curve + 0.5 * torch.randn(count, 1)], 1) * (torch.rand(count, 1, 1) < odds)
    step = change.flatten(1).repeat(1, STACK) @ codec.encoder
    return z + step[..., None], recorded + change[..., None]


def parts(x: Tensor) -> list[Tensor]:
    """What is compared of log band powers ``(batch, 2, BANDS, hops)``: vectors, ``(batch, count, size)`` each."""
    out: list[Tensor] = []

    def cut(v: Tensor, bands: int, hops: int, weight: float = 1.0) -> None:
        """Into pieces of so many bands and hops."""
        bands = min(bands, v.shape[2])
        v = v[:, :, : v.shape[2] // bands * bands, : v.shape[3] // hops * hops]
        # (batch, 2, rows, columns, bands, hops)
        v = v.unflatten(3, (-1, hops)).unflatten(2, (-1, bands)).transpose(3, 4)
        out.append(v.flatten(4).flatten(1, 3) * (weight / (bands * hops) ** 0.5))

    def root(v: Tensor, bands: int, hops: int, floor: float = 1e-3) -> Tensor:
        return (functional.avg_pool2d(v, (bands, hops)) + floor).sqrt()

    for piece in ((4, 4), (1, 16), (16, 1), (2, 32), (8, 8), (BANDS, 2)):
        cut(x, *piece)
    wide = functional.avg_pool2d(x, (6, 1))
    for piece in ((1, 16), (16, 2), (4, 4)):
        cut(wide, *piece, 1.5)
    slow = functional.avg_pool2d(x, (1, 16))  # how what is steady stands out
    for piece in ((8, 1), (1, 8), (24, 1)):
        cut(slow, *piece, 1.5)
    steps = root((x[..., 1:] - x[..., :-1]).square(), 3, 16)
    cut(steps, 4, 2, 1.5)
    cut(steps, 1, 8, 1.5)
    fast = x - functional.avg_pool2d(x, (1, 17), 1, (0, 8), count_include_pad=False)
    moves = root(fast.square(), 3, 32)
    cut(moves, 4, 1, 1.5)
    cut(moves, 1, 4, 1.5)
    cut((functional.avg_pool2d(functional.relu(fast).pow(3), (3, 32)) + 1e-3).pow(1 / 3), 4, 1)  # by rare peaks
    cut(root(fast.mean(2, keepdim=True).square(), 1, 32, 1e-4), 1, 4, 2.0)  # all bands together
    together = torch.stack([fast[:, :, first:last].mean(2) for first, last in RANGES[1:]], 2)
    for piece in ((1, 12), (3, 4)):
        cut(together, *piece, 2.0)
    # what clicks stands out no longer than the window; as logarithms, for flutter of what is steady is heard
    clicks = functional.relu(together[..., 2:-2] - 0.5 * (together[..., :-4] + together[..., 4:]))
    for v, power in ((together.abs(), 2), (clicks, 2), (clicks, 4)):
        cut((functional.avg_pool2d(v.pow(power), (1, 32)) + 1e-2**power).log() / power, 1, 2, 3.0)
    cut(root((x[:, :, 1:] - x[:, :, :-1]).square(), 5, 16), 4, 2)
    for lag in (1, 2, 4, 8):  # how long what moves stays
        product = functional.avg_pool2d(fast[..., lag:] * fast[..., :-lag], (4, 64))
        cut(product.sign() * (product.abs() + 1e-2).sqrt(), 1, 2)
    cut((functional.avg_pool2d(x.clamp_max(30).exp(), (3, 16)) + 1e-12).log(), 4, 2, 1.5)
    return out


def score(one: Tensor, two: Tensor, recorded: Tensor) -> Tensor:
    """The energy score of two draws, log band powers ``(batch, 2, BANDS, hops)`` all of them."""

    def apart(a: list[Tensor], b: list[Tensor]) -> Tensor:
        each = [(x - y).square().sum(-1).add(1e-6).sqrt().mean() for x, y in zip(a, b, strict=True)]
        return torch.stack(each).sum()

    a, b, y = parts(one), parts(two), parts(recorded)
    return apart(a, y) + apart(b, y) - apart(a, b)


def _missed(
    codec: AmbienceCodec, noise: Noise, z: Tensor, recorded: Tensor, draw: torch.Generator | None = None
) -> Tensor:
    """The score of what is drawn for latents, where it is heard."""
    batch, hops = len(z), recorded.shape[3]
    bands = codec.envelope(z)
    drawn = torch.randn(2 * batch, hops, DRAWN, generator=draw)
    with torch.autocast("cpu", torch.bfloat16, enabled=native_bfloat16()):
        fine = codec.detail(bands.repeat(2, 1, 1), z.repeat(2, 1, 1), drawn, noise(2 * batch, hops, draw))
    floor = bands.unflatten(1, (2, BANDS)).amax((1, 2), keepdim=True) - UNHEARD

    def heard(x: Tensor) -> Tensor:
        return (floor + functional.softplus((x - floor).clamp(-30, 30)))[..., EDGE:-EDGE]

    one, two = (heard(x.transpose(2, 3)) for x in fine.float().chunk(2))
    return score(one, two, heard(recorded))


def trained_detail(work: pathlib.Path) -> dict[str, Any]:
    """What this stage wrote in a working folder, or nothing. Raises SystemExit for what an earlier version wrote."""
    path = work / "codec.pt"
    found: dict[str, Any] = torch.load(path, weights_only=False, map_location="cpu") if path.exists() else {}
    if found and "ema" not in found:
        raise SystemExit(
            f"{path} is of an earlier version, whose decoder is no more: remove it and train the stage anew"
        )
    return found


def train(work: pathlib.Path, settings: dict[str, Any], *, threads: int = 1, seconds: float | None = None) -> None:
    """Trains, or goes on training; writes ``codec.pt`` (with the running mean of the weights) and ``codec.jsonl``."""
    torch.set_num_threads(threads)
    s = settings
    if s["segment"] < SHORTEST:
        raise SystemExit(f"segment: {SHORTEST} latent frames or more are compared, not {s['segment']}")
    before = trained_detail(work)
    if before and any(before["settings"][k] != s[k] for k in ("latent_dim", "hidden")):
        sizes = " ".join(f"--set {k}={before['settings'][k]}" for k in ("latent_dim", "hidden"))
        raise SystemExit(f"{work / 'codec.pt'} is of another size: go on with {sizes}, or remove it")
    torch.manual_seed(0)
    codec = AmbienceCodec(latent_dim=s["latent_dim"], hidden=s["hidden"]).requires_grad_(False)
    linear(codec, work)
    stretches = Stretches(work, codec, s["procedural"])
    noise = Noise(codec)
    codec.detail.requires_grad_(True)
    codec.detail.usual.copy_(noise.usual)
    optimiser = torch.optim.AdamW(
        codec.detail.parameters(), lr=s["learning_rate"], betas=(0.9, 0.99), weight_decay=1e-3
    )

    @torch.no_grad()
    def row(scores: np.ndarray) -> dict[str, float]:
        rng, draw, now = np.random.default_rng(5), torch.Generator().manual_seed(5), codec.detail
        codec.detail = run.ema
        try:
            batches = [stretches.batch("held", s["batch"], s["segment"], rng) for _ in range(CHECKED)]
            held = float(np.mean([float(_missed(codec, noise, *each, draw)) for each in batches]))
        finally:
            codec.detail = now
        return {"loss": scores.mean(), "held": held}

    run = Training(work, "codec", codec.detail, [optimiser], s, seconds=seconds, row=row)
    print(f"codec: from step {run.step}", flush=True)
    rng = np.random.default_rng(100 + run.step)
    torch.manual_seed(100 + run.step)
    for _ in run:
        z, recorded = stretches.batch("train", s["batch"], s["segment"], rng)
        z, recorded = coloured(codec, z, recorded, s["coloured"])
        loss = _missed(codec, noise, z, recorded)
        run.learn(loss, [float(loss.detach())])
