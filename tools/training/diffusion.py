"""``diffusion``: trains the transformer by rectified flow, with half of the samples continuing something."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import multiprocessing
import os
import pathlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.transformers.transformer_stable_audio3 import StableAudio3DiTModel

from ambient.generate.bands import BANDS, STACK
from ambient.generate.bundled import velocity
from ambient.generate.codec import steadied
from ambient.generate.prompt import ground
from tools.training.captions import ONE_SHOT_LABELS
from tools.training.loop import Training
from tools.training.procedural import FIRST

TEXT_DIM = 384
GLOBAL_DIM = TEXT_DIM + 1
"""Sentence embedding and the one-shot flag."""


def single_precision(features: np.ndarray) -> np.ndarray:
    """float16 → float32, by torch, whose conversion is vectorised."""
    return torch.from_numpy(np.array(features)).float().numpy()


def lengthened(f: np.ndarray, hops: int) -> np.ndarray:
    """Log powers (n, 2, BANDS) repeated to at least ``hops``, each time over a crossfade: a model that hears hard cuts
    learns to make them."""
    fade = max(1, min(160, len(f) // 3))
    rise = (np.arange(fade, dtype=np.float32)[:, None, None] + 0.5) / fade
    seam = np.logaddexp(f[-fade:] + np.log(1 - rise), f[:fade] + np.log(rise))
    parts, length = [f[:-fade]], len(f)
    while length < hops:
        parts += [seam, f[fade:-fade]]
        length += len(f) - fade
    return np.concatenate([*parts, f[-fade:]])


@dataclass(frozen=True)
class Kind:
    """What a clip is of: one label, as a single event or not, or two, the first with a ``share`` of the power."""

    labels: tuple[str, ...]
    share: float = 1.0
    shot: bool = False


class Sampler:
    """Draws training clips: balanced by label, mixed, pitched, equalised; latents computed on the fly."""

    def __init__(self, work: pathlib.Path, settings: dict[str, Any], seed: int, split: str = "train") -> None:
        self.features = np.load(work / "features.npy", mmap_mode="r")
        self.linear = dict(np.load(work / "linear.npz"))
        self.chance = torch.from_numpy(self.linear["chance"])
        self.settings = settings
        self.rng = np.random.default_rng(seed)
        texts, kinds = (torch.from_numpy(np.load(work / n)).float() for n in ("texts.npy", "prototypes.npy"))
        self.embeddings = ground(texts, kinds, settings["grounding"], settings["sharpness"]).numpy()
        table = json.loads((work / "texts.json").read_text())["table"]
        self.table: dict[str, list[int]] = table
        entries = json.loads((work / "index.json").read_text())
        self.by_label: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            usable = dict(entry)
            if split == "train":
                if entry["split"] == "held":
                    continue
                usable["hops"] -= entry["held_hops"]
            elif entry["split"] == "held":
                pass
            elif entry["held_hops"]:
                usable["start"] += entry["hops"] - entry["held_hops"]
                usable["hops"] = entry["held_hops"]
            else:
                continue
            if usable["hops"] >= 24 * STACK:
                self.by_label.setdefault(entry["label"], []).append(usable)
        self.labels = sorted(self.by_label)
        minutes = np.array([sum(e["hops"] for e in self.by_label[label]) for label in self.labels], float)
        odds = minutes ** settings["label_odds"]
        self.odds = odds / odds.sum()

    def stretch(self, label: str, latents: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Log powers of a random stretch, float32 (hops, 2, BANDS); shorter recordings are joined to themselves."""
        options = self.by_label[label]
        weights = np.sqrt([e["hops"] for e in options])  # variety before length
        made = np.array([e["procedural"] for e in options])
        if made.any() and not made.all():  # where there are recordings, rules only add to them
            share = self.settings["procedural_share"]
            if label in FIRST and (~made).sum() == 1:
                share = max(share, 1 - share)
            most = share / (1 - share)
            weights[made] *= min(1.0, most * weights[~made].sum() / weights[made].sum())
        entry = options[int(self.rng.choice(len(options), p=weights / weights.sum()))]
        need = latents * STACK
        if entry["hops"] >= need:
            at = entry["start"] + int(self.rng.integers(entry["hops"] - need + 1))
            f = single_precision(self.features[at : at + need])
        else:
            at = entry["start"]
            f = single_precision(self.features[at : at + entry["hops"]])
            f = lengthened(f, need + len(f))
            shift = int(self.rng.integers(len(f) - need + 1))
            f = f[shift : shift + need]
        return self.vary(f), entry

    def vary(self, f: np.ndarray) -> np.ndarray:
        """Gain, a tilted and bent equaliser, a little pitch, width."""
        rng = self.rng
        x = np.linspace(-1, 1, BANDS, dtype=np.float32)
        bend = rng.normal(0, 0.25) + rng.normal(0, 0.3) * x + rng.normal(0, 0.2) * np.cos(math.pi * x)
        if rng.random() < 0.4:
            at = np.clip(np.arange(BANDS) + rng.uniform(-2.0, 2.0), 0, BANDS - 1)
            shift = np.maximum(0, 1 - np.abs(np.arange(BANDS)[:, None] - at)).astype(np.float32)
            f = f @ shift
        side = np.array([[0.0], [rng.normal(0, 0.3)]])
        f += (bend + side).astype(np.float32)
        return f

    def latents(self, f: np.ndarray) -> np.ndarray:
        """Encodes log powers, (hops, 2, BANDS) → (latent_dim, latents)."""
        x = f.reshape(-1, STACK * 2 * BANDS) - self.linear["mean"]
        z = torch.from_numpy((x @ self.linear["encode"]).T)
        steady: np.ndarray = steadied(z, self.chance.to(z)).numpy()
        return steady

    def pick_text(self, *keys: str) -> np.ndarray:
        """Embedding of a random text among the given keys."""
        known = [k for k in keys if k in self.table]
        rows = self.table[known[int(self.rng.integers(len(known)))]]
        return self.embeddings[rows[int(self.rng.integers(len(rows)))]]

    def kind(self) -> Kind:
        """What a clip is to be of: a single event, a mixture of two, or mostly one sound."""
        rng, s = self.rng, self.settings
        drawn = rng.random()
        if drawn < s["one_shot_odds"]:
            return Kind((str(rng.choice([x for x in self.labels if x in ONE_SHOT_LABELS])),), shot=True)
        if drawn < s["one_shot_odds"] + s["mixture_odds"]:
            pair = [self.labels[i] for i in rng.choice(len(self.labels), 2, p=self.odds)]
            return Kind((pair[0], pair[1]), float(np.clip(rng.beta(1.2, 1.2), 0.02, 0.98)))
        return Kind((self.labels[int(rng.choice(len(self.labels), p=self.odds))],))

    def clip(self, kind: Kind, latents: int) -> tuple[np.ndarray, np.ndarray]:
        """A clip of a kind, (latent_dim, latents), and its conditioning (GLOBAL_DIM,)."""
        rng, label = self.rng, kind.labels[0]
        f, entry = self.stretch(label, latents)
        if kind.shot:
            f = self.isolate(f)
            text = self.pick_text(f"shot:{label}", f"label:{label}")
        elif len(kind.labels) == 2:
            # A weighted mix of two meanings is both sounds at those powers.
            other = kind.labels[1]
            text = kind.share * self.pick_text(f"label:{label}") + (1 - kind.share) * self.pick_text(f"label:{other}")
            text /= np.linalg.norm(text)
            louder = math.log(kind.share / (1 - kind.share))
            f = np.logaddexp(f, self.stretch(other, latents)[0] - np.float32(louder))
            f -= np.float32(np.log1p(np.exp(-louder)))  # the sum keeps the level
        else:
            text = self.pick_text(f"label:{label}", f"label:{label}", f"file:{entry['file']}")
            if rng.random() < 0.15:  # near a mix of meanings, so that prompt mixes are no strangers
                text = text + 0.05 * rng.standard_normal(TEXT_DIM).astype(np.float32)
                text /= np.linalg.norm(text)
        if rng.random() < self.settings["drop_text"]:
            text = np.zeros(TEXT_DIM, np.float32)
        return self.latents(f), np.append(text * math.sqrt(TEXT_DIM), float(kind.shot)).astype(np.float32)

    def one(self, latents: int) -> tuple[np.ndarray, np.ndarray]:
        """A clip of any kind: (latent_dim, latents) and its conditioning (GLOBAL_DIM,)."""
        return self.clip(self.kind(), latents)

    def isolate(self, f: np.ndarray) -> np.ndarray:
        """Makes a single event of a stretch: the loudest moment stays, what is far from it sinks away."""
        level = np.log(np.exp(f[:, 0]).sum(-1))
        smooth = np.convolve(level, np.ones(20) / 20, "same")
        peak = int(np.argmax(smooth))
        at = int(self.rng.integers(0, max(1, len(f) // 4)))
        f = np.roll(f, at - peak, axis=0)
        t = (np.arange(len(f)) - at) / 200
        hold = self.rng.uniform(0.3, 2.0)
        fall = np.maximum(0, np.maximum(-t - 0.15, (t - hold) * 0.5)) * 12
        return np.maximum(f - fall[:, None, None], -18.0).astype(np.float32)

    def mask(self, latents: int) -> np.ndarray:
        """1 where latents are kept: a head mostly, sometimes a tail, both ends, or nothing."""
        keep = np.zeros(latents, np.float32)
        kind = self.rng.random()
        most = min(40, latents // 2)
        if kind < 0.5:
            keep[: int(self.rng.integers(4, most))] = 1
        elif kind < 0.56:
            keep[-int(self.rng.integers(4, most)) :] = 1
        elif kind < 0.62:
            keep[: int(self.rng.integers(4, most // 2 + 4))] = 1
            keep[-int(self.rng.integers(4, most // 2 + 4)) :] = 1
        return keep

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents (B, C, L), conditioning (B, GLOBAL_DIM), masks (B, 1, L)."""
        s = self.settings
        latents = int(self.rng.choice(s["lengths"], p=s["length_odds"]))
        count = max(2, round(s["batch"] * 96 / latents))
        clips = [self.one(latents) for _ in range(count)]
        z = torch.from_numpy(np.stack([c[0] for c in clips]).astype(np.float32))
        c = torch.from_numpy(np.stack([c[1] for c in clips]))
        m = torch.from_numpy(np.stack([self.mask(latents) for _ in range(count)]))[:, None]
        return z, c, m


def build(settings: dict[str, Any]) -> StableAudio3DiTModel:
    """The transformer, as Stable Audio 3 is shaped, in small."""
    return StableAudio3DiTModel(
        io_channels=settings["latent_dim"],
        embed_dim=settings["embed_dim"],
        depth=settings["depth"],
        num_heads=settings["heads"],
        cond_token_dim=TEXT_DIM,
        global_cond_dim=GLOBAL_DIM,
        local_add_cond_dim=settings["latent_dim"] + 1,
        ff_mult=settings["ff_mult"],
        num_memory_tokens=settings["memory_tokens"],
        use_differential_attention=False,
    )


def loss_of(
    model: StableAudio3DiTModel,
    z: torch.Tensor,
    cond: torch.Tensor,
    mask: torch.Tensor,
    channels: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Flow-matching loss where something is to be painted, with more weight just behind what is kept.

    ``channels``: weight of each latent channel, ``(latent_dim, 1)``.
    """
    t = torch.sigmoid(torch.randn(len(z)) * 1.0)
    noise = torch.randn_like(z)
    x = (1 - t[:, None, None]) * z + t[:, None, None] * noise
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        # A tail that the model made itself is never as clean as a recording: half the tails are a little off.
        off = 0.12 * torch.rand(len(z), 1, 1) * (torch.rand(len(z), 1, 1) < 0.5)
        v = velocity(model, x, t, cond, z + off * torch.randn_like(z), mask)
    error = ((v.float() - (noise - z)).square() * channels).mean(1, keepdim=True)
    near = torch.nn.functional.max_pool1d(mask, 17, 1, 8)  # within eight latent frames of something kept
    weight = torch.where(mask > 0, 0.1, 1.0 + 1.5 * near)
    return (error * weight).sum() / weight.sum()


def optimisers_of(model: torch.nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024: momentum, made orthogonal) for the matrices of the blocks, AdamW for the rest. In equal
    time it learns more than AdamW alone, its own cost counted."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "block" in n]
    inside = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def channel_weights(work: pathlib.Path) -> torch.Tensor:
    """The root of each direction's spread in log power, mean 1: a whitened latent space treats trifles as equals."""
    spread = torch.from_numpy(np.load(work / "linear.npz")["decode"]).norm(dim=1, keepdim=True)
    return spread.sqrt() / spread.sqrt().mean()


def prefetch(work: pathlib.Path, settings: dict[str, Any], seed: int, queue: Any, draw: type[Sampler]) -> None:
    """Fills a queue with batches, in a process of its own, for as long as there is someone to train."""
    torch.set_num_threads(1)
    trainer = multiprocessing.parent_process()
    if trainer is not None:  # a killed one cannot say goodbye, and a full queue would be waited for for ever
        threading.Thread(target=lambda: (trainer.join(), os._exit(0)), daemon=True).start()
    sampler = draw(work, settings, seed)
    while True:
        queue.put(tuple(x.numpy() for x in sampler.batch()))


@contextlib.contextmanager
def batches_ahead(
    work: pathlib.Path, settings: dict[str, Any], seed: int, draw: type[Sampler] = Sampler
) -> Iterator[Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """Batches for ever, ``settings["ahead"]`` of them prepared by a process of its own; 0: none is."""
    if not settings["ahead"]:
        yield iter(draw(work, settings, seed).batch, None)
        return
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(settings["ahead"])
    feeder = context.Process(target=prefetch, args=(work, settings, seed, queue, draw), daemon=True)
    feeder.start()
    try:
        yield (tuple(torch.from_numpy(x) for x in queue.get(timeout=120)) for _ in itertools.count())
    finally:
        feeder.terminate()
        feeder.join()


def train(work: pathlib.Path, settings: dict[str, Any], *, threads: int = 1, seconds: float | None = None) -> None:
    """Trains, or goes on training, and writes ``diffusion.pt`` and ``diffusion.jsonl`` in ``work``.

    The learning rate falls along ``settings["minutes"]`` of training in all; ``seconds`` bounds this run.
    """
    torch.set_num_threads(threads)
    s = settings
    model = build(s)
    run = Training(
        work,
        "diffusion",
        model,
        optimisers_of(model, s["learning_rate"]),
        s,
        seconds=seconds,
        row=lambda losses: {"loss": losses.mean()},
    )
    count = sum(p.numel() for p in model.parameters())
    print(f"diffusion: {count / 1e6:.1f} M parameters, from step {run.step}", flush=True)
    torch.manual_seed(1000 + run.step)
    channels = channel_weights(work)
    dtype = torch.bfloat16 if s["bf16"] else torch.float32
    with batches_ahead(work, s, run.step) as batches:
        for _ in run:
            loss = loss_of(model, *next(batches), channels, dtype)
            run.learn(loss, [float(loss.detach())])
