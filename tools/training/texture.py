"""``texture``: what the model makes in its few steps learns to move as recordings do.

Few steps without guidance, taught by a regression, arrive at clips that are too calm: rain without drops. Here whole
clips are made, and for each kind of sound the set of them is compared with a set of recordings by the energy distance
(Székely and Rizzo 2013), which is least when both come from one distribution: a clip is drawn towards recordings and
away from its siblings. Compared are: where the mean lies; texture statistics of the log band powers that the latents
stand for (after McDermott and Simoncelli 2011); what the model as it was sees in a clip, as a whole and in windows of
0.64 s (a diffusion model's own features judge, as in Sauer et al., arXiv 2403.12015); and the step where a kept part
ends. The gradient goes back through all steps of sampling.
"""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ambient.generate.bands import BANDS, HOP, RATE
from ambient.generate.bundled import velocity
from tools.training.diffusion import GLOBAL_DIM, Sampler, batches_ahead, build
from tools.training.distil import imposed
from tools.training.loop import Training

__all__ = ["Features", "GroupSampler", "apart", "energy_distance", "sample", "train"]

GROUPS = 24
WINDOW = 8
"""Latent frames, 0.64 s, of a local feature."""
SPEEDS = (0.3, 3.0, 16.0, 50.0)
"""Hz between which it is told apart how fast a band moves."""


class GroupSampler(Sampler):
    """Draws sets of clips, each set of one kind: one sound, one mixture of two, or, without a prompt, anything."""

    def group(self, count: int, latents: int) -> tuple[np.ndarray, np.ndarray]:
        """Latents ``(count, latent_dim, latents)`` and conditioning ``(count, GLOBAL_DIM)``."""
        anything = self.rng.random() < self.settings["nothing_odds"]
        kind = self.kind()
        drawn = [self.clip(self.kind() if anything else kind, latents) for _ in range(count)]
        z, given = (np.stack(x) for x in zip(*drawn, strict=True))
        if anything:
            given[:, :-1] = 0.0
        return z, given

    def vary(self, f: np.ndarray) -> np.ndarray:
        """Recordings as they are: what is made is to be like them."""
        return f

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Latents ``(groups, 2 * clips, latent_dim, frames)``, the first half to continue and the second to compare
        with; conditioning ``(groups, 2 * clips, GLOBAL_DIM)``; masks ``(groups, frames)``."""
        s = self.settings
        latents = int(self.rng.choice(s["lengths"], p=s["length_odds"]))
        drawn = [self.group(2 * s["clips"], latents) for _ in range(s["groups"])]
        z, given = (torch.from_numpy(np.stack(x).astype(np.float32)) for x in zip(*drawn, strict=True))
        return z, given, torch.from_numpy(np.stack([self.mask(latents) for _ in drawn]))


def sample(model: nn.Module, noise: Tensor, given: Tensor, z: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Clips from ``noise``, as the model is run, with ``z`` kept where ``mask`` is 1; shapes as in :func:`velocity`."""
    x = noise
    for i in range(steps):
        sigma = torch.full((len(x),), 1.0 - i / steps)
        x = imposed(x, sigma, z, noise, mask)
        x = x - velocity(model, x, sigma, given, z, mask).float() / steps
    return torch.where(mask > 0, z, x)


class Features:
    """What of clips is compared. ``judge``: the model as it was; ``layers``, ``level``: which of its features, and at
    which noise level."""

    def __init__(
        self, judge: nn.Module, work: pathlib.Path, layers: list[int], level: float, dtype: torch.dtype
    ) -> None:
        linear = np.load(work / "linear.npz")
        self._decode, self._mean = (torch.from_numpy(linear[k]).float() for k in ("decode", "mean"))
        self._judge, self._level, self._dtype = judge, level, dtype
        self._seen: list[Tensor] = []
        blocks = judge.transformer_blocks
        assert isinstance(blocks, nn.ModuleList)
        for i in layers:
            blocks[min(i, len(blocks) - 1)].register_forward_hook(lambda _m, _i, out: self._seen.append(out))
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}
        self._learned = 0

    def __call__(self, z: Tensor, seams: list[int | None]) -> dict[str, Tensor]:
        """Features of latents ``(clips, latent_dim, frames)``, each ``(clips, points, size)``."""
        seen = self._deep(z)
        found = {
            "mean": z.mean(2)[:, None],
            "texture": self._texture(z)[:, None],
            "deep": torch.cat([seen.mean(2), seen.std(2)], 1)[:, None],
            "windows": nn.functional.avg_pool1d(seen, WINDOW).transpose(1, 2),
        }
        steps = [
            x[:, k : k + 4].mean(1) - x[:, k - 4 : k].mean(1) if k is not None else x.new_zeros(len(x))
            for x, k in zip(z, seams, strict=True)
        ]
        return found | {"seam": torch.stack(steps)[:, None]}

    def scaled(self, found: dict[str, Tensor], *, learn: bool) -> dict[str, Tensor]:
        """Features in deviations of recordings; ``learn``: these are recordings, whose moments are taken in."""
        out = {}
        self._learned += learn
        for name, x in found.items():
            if learn:
                flat = x.detach().flatten(0, 1)
                now = (flat.mean(0), flat.square().mean(0))
                before = self._moments.get(name, now)
                share = max(0.02, 1 / self._learned)  # at first the mean of all so far
                self._moments[name] = tuple(b.lerp(n, share) for b, n in zip(before, now, strict=True))  # type: ignore[assignment]
            mean, square = self._moments[name]
            out[name] = (x - mean) / (square - mean.square()).clamp_min(1e-6).sqrt().clamp_min(1e-2)
        return out

    def _deep(self, z: Tensor) -> Tensor:
        """Features ``(clips, layers * embed_dim, frames)``."""
        self._seen.clear()
        x = (1 - self._level) * z + self._level * torch.randn_like(z)
        sigma, nothing = torch.full((len(z),), self._level), z.new_zeros(len(z), GLOBAL_DIM)
        with torch.autocast("cpu", dtype=self._dtype, enabled=self._dtype != torch.float32):
            velocity(self._judge, x, sigma, nothing, torch.zeros_like(z), torch.zeros_like(z[:, :1]))
        return torch.cat([s[:, -z.shape[2] :].float() for s in self._seen], 2).transpose(1, 2)

    def _texture(self, z: Tensor) -> Tensor:
        """Texture statistics ``(clips, size)``."""
        powers = (z.transpose(1, 2) @ self._decode + self._mean).reshape(len(z), -1, 2, BANDS)
        groups = powers.unflatten(3, (GROUPS, -1)).mean(4)
        mid, width = groups[:, :, 0], (groups[:, :, 1] - groups[:, :, 0]).mean(1)
        mean = mid.mean(1, keepdim=True)
        flat = mid - mean
        spread = flat.square().mean(1, keepdim=True).add(1e-4).sqrt()
        unit = flat / spread
        hops = flat.shape[1]
        moving = torch.fft.rfft(flat, dim=1).abs().square() / hops
        edges = [max(1, round(hz * hops * HOP / RATE)) for hz in SPEEDS]
        speeds = [(moving[:, a:b].mean(1) + 1e-3).log() for a, b in itertools.pairwise(edges)]
        together = unit.transpose(1, 2) @ unit / hops
        near = [together.diagonal(k, 1, 2).mean(1, keepdim=True) for k in (1, 2, 4, 8, 16)]
        return torch.cat([spread[:, 0].log(), unit.pow(3).mean(1).tanh(), *speeds, width, *near], 1)


def apart(real: Tensor, told: Tensor, clips: int, share: float) -> Tensor:
    """Features ``(sets * clips, points, size)`` with the mean of each set of a known kind ``share`` farther from 0, the
    mean of all recordings: what classifier-free guidance does to distributions (Ho and Salimans, arXiv 2207.12598), and
    against that few steps tell kinds less apart than recordings do. What lies more than a deviation from 0 is told from
    others well enough, and moved as if it lay there. ``told``: of each clip, ``(sets * clips,)``."""
    means = real.unflatten(0, (-1, clips)).mean((1, 2)).repeat_interleave(clips, 0)
    return real + share * told[:, None, None] * means.clamp(-1, 1)[:, None]


def energy_distance(made: Tensor, recorded: Tensor) -> Tensor:
    """Twice the mean distance between two sets less the mean distances within them, unbiased; 0 for equal laws.

    ``(clips, points, size)``: points of one clip are not compared with each other.
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        far = torch.cdist(a.flatten(0, 1), b.flatten(0, 1), compute_mode="donot_use_mm_for_euclid_dist")
        return far / a.shape[-1] ** 0.5

    def within(x: Tensor) -> Tensor:
        clip = torch.arange(len(x)).repeat_interleave(x.shape[1])
        others = (clip[:, None] != clip).float()
        return (distance(x, x) * others).sum() / others.sum()

    return 2 * distance(made, recorded).mean() - within(made) - within(recorded)


def _made(
    model: nn.Module, z: Tensor, given: Tensor, keep: Tensor, settings: dict[str, Any]
) -> tuple[Tensor, Tensor, list[int | None]]:
    """Generated and recorded clips ``(groups * clips, latent_dim, frames)``, and where in them a kept part ends."""
    n, steps = settings["clips"], settings["steps"]
    known, recorded = (x.flatten(0, 1) for x in (z[:, :n], z[:, n:]))
    given, mask = given[:, :n].flatten(0, 1), keep.repeat_interleave(n, 0)[:, None]
    seams: list[int | None] = []
    for kept in keep:
        edge = kept.diff().nonzero()
        seams += [int(edge[0]) + 1 if len(edge) else None] * n
    if torch.rand(()) < settings["own"]:  # what is continued is the model's own, as it is when it plays
        with torch.no_grad():
            before = sample(model, torch.randn_like(known), given, known, torch.zeros_like(mask), steps)
        for i, at in enumerate(seams):
            if at is not None and bool(keep[i // n, 0]):
                known[i, :, :at] = before[i, :, -at:]
    return sample(model, torch.randn_like(known), given, known, mask, steps), recorded, seams


def train(work: pathlib.Path, settings: dict[str, Any], *, threads: int = 1, seconds: float | None = None) -> None:
    """Trains, or goes on training, and writes ``texture.pt`` and ``texture.jsonl`` in ``work``; needs ``distil.pt``, or
    a ``diffusion.pt`` of a finished model.

    The log's ``distance`` is the sum of the features' energy distances: at 0 nothing compared tells clips from
    recordings.
    """
    torch.set_num_threads(threads)
    s = settings
    try:
        trained = torch.load(work / "diffusion.pt", weights_only=False)
    except FileNotFoundError as error:
        raise SystemExit(f"{work}: no model yet; run the diffusion and distil stages first") from error
    start = torch.load(work / "distil.pt", weights_only=False) if (work / "distil.pt").exists() else trained
    judge = build(trained["settings"]).eval().requires_grad_(False)
    judge.load_state_dict(start["ema"])
    dtype = torch.bfloat16 if s["bf16"] else torch.float32
    features = Features(judge, work, s["layers"], s["level"], dtype)
    model = build(trained["settings"]).train()
    model.load_state_dict(start["ema"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=s["learning_rate"], betas=(0.9, 0.98), weight_decay=0.0)
    names = ["mean", "texture", "deep", "windows", "seam"]
    run = Training(
        work,
        "texture",
        model,
        [optimiser],
        s,
        seconds=seconds,
        row=lambda each: {"distance": each.sum(1).mean(), **dict(zip(names, each.mean(0), strict=True))},
    )
    print(f"texture: {s['groups']} kinds of {s['clips']} clips, from step {run.step}", flush=True)
    torch.manual_seed(3000 + run.step)
    with batches_ahead(work, trained["settings"] | s, 7000 + run.step, GroupSampler) as batches:
        for z, *_ in itertools.islice(batches, 10):  # what is compared is scaled by how recordings differ
            with torch.no_grad():
                features.scaled(features(z[:, s["clips"] :].flatten(0, 1), [None] * (len(z) * s["clips"])), learn=True)
        for _ in run:
            z, given, keep = next(batches)
            losses = []
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                made, recorded, seams = _made(model, z, given, keep, s)
            with torch.no_grad():
                real = features.scaled(features(recorded, seams), learn=True)
                told = given[:, :, :-1].any(2).all(1).repeat_interleave(s["clips"])  # each set's kind is known
                for name in ("mean", "texture", "deep", "windows"):
                    real[name] = apart(real[name], told, s["clips"], s["apart"])
            found = features.scaled(features(made, seams), learn=False)
            for name in names:
                x = found[name]
                pairs = zip(x.split(s["clips"]), real[name].split(s["clips"]), strict=True)
                losses.append(torch.stack([energy_distance(a, b) for a, b in pairs]).mean())
            run.learn(torch.stack(losses).sum(), [float(x.detach()) for x in losses])
