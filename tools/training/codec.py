"""``codec``: the linear analysis, and the network that refines its synthesis.

The excitation stays noise; only envelopes are learned, by log band energies at four resolutions from 1.3 to 43 ms,
and by statistics of the fast texture that the latents cannot hold in detail.
Both sides of the loss are noisy in the same way, so a buzz in place of noise gains nothing. A correction is kept
only if it lowers the loss on held-out stretches.
"""

from __future__ import annotations

import copy
import json
import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor

from ambient.generate.bands import HOP, RATE, STACK
from ambient.generate.codec import FRAME, GROUPS, SLOTS, SPEEDS, AmbienceCodec, smooth_flicker
from tools.training.features import save_linear, sound_of

RESOLUTIONS = ((64, 12), (256, 24), (768, 48), (2048, 96))
"""(window, bands) pairs of the loss."""
TEXTURES = {256: 31, 768: 11}
"""Windows whose fast texture is compared, and how many frames (about 85 ms) part fast from slow."""


def mel_filters(window: int, bands: int) -> Tensor:
    """Triangular filters on the mel scale, each summing to 1; narrow ones take their nearest bin."""
    bins = np.arange(window // 2 + 1) * RATE / window
    mels = np.linspace(0, 2595 * math.log10(1 + 22000 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    filters = np.zeros((len(bins), bands), np.float32)
    for b in range(bands):
        low, middle, high = edges[b : b + 3]
        w = np.maximum(0, np.minimum((bins - low) / max(middle - low, 1), (high - bins) / max(high - middle, 1)))
        if w.sum() <= 0:
            w[np.argmin(np.abs(bins - middle))] = 1
        filters[:, b] = w / w.sum()
    return torch.from_numpy(filters)


FILTERS = {window: mel_filters(window, bands) for window, bands in RESOLUTIONS}


def distance(x: Tensor, y: Tensor, skip: int) -> Tensor:
    """Multi-resolution distance of log band energies of mid and side; ``skip`` samples at both ends do not count."""
    x, y = (torch.stack([s.mean(1), (s[:, 0] - s[:, 1]) / 2], 1)[..., skip:-skip].flatten(0, 1) for s in (x, y))
    total = x.new_zeros(())
    texture = x.new_zeros(())
    for window, filters in FILTERS.items():
        taper = torch.hann_window(window)
        bands = []
        for s in (x, y):
            frames = s.unfold(-1, window, window // 2) * taper
            power = torch.fft.rfft(frames).abs().square() / taper.square().sum()
            bands.append(torch.log(power @ filters + 1e-9))
        total = total + 0.5 * (bands[0] - bands[1]).abs().mean()
        # the energy of a whole band over the stretch must come out right, which logarithms alone leave open
        total = total + 0.5 * (torch.logsumexp(bands[0], 1) - torch.logsumexp(bands[1], 1)).abs().mean()
        if window in TEXTURES:
            mine, theirs = (_texture(b, TEXTURES[window]) for b in bands)
            texture = texture + sum(
                (torch.log(m) - torch.log(t)).abs().mean() for m, t in zip(mine, theirs, strict=True)
            )
    return total / len(FILTERS) + texture / len(TEXTURES)


def _texture(bands: Tensor, width: int) -> list[Tensor]:
    """Statistics of the fast part of log band energies ``(batch, time, bands)``, each above 0."""
    slow = torch.nn.functional.avg_pool1d(bands.transpose(1, 2), width, 1, width // 2, count_include_pad=False)
    fast = bands - slow.transpose(1, 2)
    together = fast.mean(2)
    return [
        fast.std(1) + 0.05,  # how much each band flickers
        together.std(1) + 0.05,  # how much all do so together: clicks
        (fast[:, 1:] - fast[:, :-1]).std(1) + 0.05,  # how fast
        torch.relu(fast).pow(3).mean(1).add(1e-3).pow(1 / 3),  # how much by rare peaks: drops, crackle
        torch.relu(together).pow(3).mean(1).add(1e-3).pow(1 / 3),
    ]


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


def train(
    work: pathlib.Path, root: pathlib.Path, settings: dict[str, Any], *, threads: int = 1, seconds: float | None = None
) -> None:
    """Trains, or goes on training; writes ``codec.pt`` (best on held-out stretches so far) and ``codec.jsonl``."""
    torch.set_num_threads(threads)
    s = settings
    codec = AmbienceCodec(latent_dim=s["latent_dim"], hidden=s["hidden"])
    linear(codec, work)
    checkpoint = work / "codec.pt"
    optimiser = torch.optim.AdamW(codec.refiner.parameters(), lr=s["learning_rate"], weight_decay=0.0)
    step, best = 0, float("inf")
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=False)
        codec.refiner.load_state_dict(saved["now"])
        if "optimiser" in saved:
            optimiser.load_state_dict(saved["optimiser"])
        step, best = saved["step"], saved["best_loss"]
        best_state = saved["best"]
    else:
        best_state = {k: v.clone() for k, v in codec.refiner.state_dict().items()}
    smooth = copy.deepcopy(codec)  # the running mean of the weights is what is judged and kept
    sounds = Sounds(work, root, seed=step)
    check = sounds.validation(s["segment"])
    torch.manual_seed(step)
    began, running, log = time.monotonic(), [], (work / "codec.jsonl").open("a")
    while step < s["steps"] and (seconds is None or time.monotonic() - began < seconds):
        if step % s["save_every"] == 0:
            held = _held(smooth, check)
            if held < best:
                best = held
                best_state = {k: v.clone() for k, v in smooth.refiner.state_dict().items()}
            row = {
                "step": step,
                "loss": round(float(np.mean(running or [0])), 4),
                "held": round(held, 4),
                "best": round(best, 4),
                "seconds": round(time.monotonic() - began),
            }
            running = []
            print(json.dumps(row), file=log, flush=True)
            print(row, flush=True)
            torch.save(
                {
                    "now": codec.refiner.state_dict(),
                    "best": best_state,
                    "best_loss": best,
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                    "settings": s,
                },
                checkpoint,
            )
        for group in optimiser.param_groups:
            group["lr"] = s["learning_rate"] * (0.55 + 0.45 * math.cos(math.pi * step / s["steps"]))
        x = sounds.batch(s["batch"], s["segment"])
        with torch.no_grad():
            z = codec.encode(x).latents
        loss = distance(codec.synthesise(z, torch.randn_like(x), flicker(len(x), s["segment"])), x, FRAME)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.refiner.parameters(), 0.5)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(smooth.refiner.parameters()), list(codec.refiner.parameters()), 1 - s["ema"])
        step += 1
        running.append(float(loss.detach()))


def flicker(batch: int, latents: int, generator: torch.Generator | None = None) -> Tensor:
    """Random flicker as :func:`ambient.generate.codec.position_flicker` gives it."""
    white = torch.randn(batch, len(SPEEDS), 1 + GROUPS, latents * STACK * SLOTS, generator=generator)
    return smooth_flicker(white)


@torch.no_grad()
def _held(codec: AmbienceCodec, x: Tensor) -> float:
    z = codec.encode(x).latents
    seeded = torch.Generator().manual_seed(1)
    noise = torch.randn(x.shape, generator=seeded)
    moving = flicker(len(x), z.shape[2], seeded)
    return float(
        np.mean(
            [
                float(
                    distance(codec.synthesise(z[i : i + 6], noise[i : i + 6], moving[i : i + 6]), x[i : i + 6], FRAME)
                )
                for i in range(0, len(x), 6)
            ]
        )
    )
