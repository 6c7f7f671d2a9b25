"""Which captions a model paints badly, and which of their kind stand for them.

All captions of a kind are said of the same recordings in training, yet a model paints some of them far from these:
"the tower clock striking noon" lies near clocks, and became half of one. How far is measured as in ``texture``, by the
energy distance between sets of clips and sets of recordings; what is far is left to the caption that is nearest in
meaning among those that are not.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ambient.generate.bundled import WEIGHTS, BundledBackend
from ambient.messages import ClipKey, ClipRequest, PromptMix
from tools.training.adopt import load_half
from tools.training.captions import PHRASES
from tools.training.diffusion import Kind, build
from tools.training.texture import Features, GroupSampler, energy_distance

__all__ = ["FRAMES", "Judge", "Painted", "leave", "measure", "stand_ins"]

FRAMES = 48
"""Latent frames of the clips that are compared."""
LAYERS, LEVEL = [2, 5], 0.1
"""Features of the model that judge, as in ``texture``."""
SCALED = 36
"""Sets of recordings by which features are scaled."""
WORSE, APART = 0.4, 0.2
"""How much nearer to recordings what stands for a caption must lie: by that share of its own distance, and so much at
least."""
SURE = 4.0
"""Standard errors by which it must be more than chance."""
ONE = 0.9999
"""Cosine of two rows that are the same in half precision."""


@dataclass(frozen=True)
class Painted:
    """The captions of a kind, and how far their clips lie from its recordings, ``(captions, sets)``, set by set."""

    label: str
    captions: list[str]
    far: NDArray[np.float64]


def stand_ins(far: NDArray[np.float64], meanings: NDArray[np.float32]) -> list[int]:
    """Which caption of a kind stands for each: itself, or, where some are painted better by more than chance,
    :data:`WORSE` and :data:`APART` allow, the nearest in meaning of these for which none is to stand itself.

    ``far``: distances from recordings ``(captions, sets)``, those of one set from the same recordings; ``meanings``:
    unit vectors ``(captions, dim)``.
    """
    sets = far.shape[1]
    gained = far[:, None] - far[None]  # of each, by each that would stand for it
    error = gained.std(2, ddof=1) / sets**0.5 if sets > 1 else np.full(gained.shape[:2], np.inf)
    enough = np.maximum(np.maximum(WORSE * far.mean(1)[None], APART), SURE * error)
    better = gained.mean(2) > enough
    better &= ~better.any(1)[None]
    near = np.where(better, meanings @ meanings.T, -np.inf)
    return [int(near[i].argmax()) if better[i].any() else i for i in range(len(far))]


class Judge:
    """How far clips lie from recordings of their kind, by the energy distance of what ``texture`` compares."""

    def __init__(
        self, model: pathlib.Path, work: pathlib.Path, settings: dict[str, Any], clips: int, seed: int
    ) -> None:
        """``model``: a finished one, whose transformer sees them; ``settings``: of the diffusion stage; ``clips``: in a
        set."""
        self.transformer = build(settings).eval().requires_grad_(False)
        self.transformer.load_state_dict(load_half(model / "transformer" / WEIGHTS))
        torch.manual_seed(seed)  # features are asked for with noise
        seeing = build(settings).eval().requires_grad_(False)
        seeing.load_state_dict(self.transformer.state_dict())
        self._features = Features(seeing, work, LAYERS, LEVEL, torch.bfloat16)
        self._sampler = GroupSampler(work, settings | {"drop_text": 0.0}, seed)
        self._clips = clips
        self.labels = self._sampler.labels
        for label in self._sampler.rng.choice(self.labels, SCALED):
            self._features.scaled(self._of(str(label)), learn=True)

    def _of(self, label: str) -> dict[str, Tensor]:
        z = np.stack([self._sampler.clip(Kind((label,)), FRAMES)[0] for _ in range(self._clips)])
        with torch.no_grad():
            return self._features(torch.from_numpy(z.astype(np.float32)), [None] * self._clips)

    def recorded(self, label: str) -> dict[str, Tensor]:
        """What is to be compared of a set of training recordings."""
        return self._features.scaled(self._of(label), learn=False)

    def far(self, made: Tensor, recorded: dict[str, Tensor]) -> Tensor:
        """The distance of latents ``(clips, latent_dim, FRAMES)``, with a gradient."""
        found = self._features.scaled(self._features(made, [None] * len(made)), learn=False)
        return torch.stack([energy_distance(found[name], recorded[name]) for name in found if name != "seam"]).sum()


@torch.no_grad()
def measure(
    model: pathlib.Path, work: pathlib.Path, settings: dict[str, Any], *, clips: int, sets: int
) -> Iterator[Painted]:
    """How far from training recordings a model paints the captions of each kind, by ``sets`` times ``clips`` clips.

    ``settings``: of the diffusion stage, for the sampler of recordings."""
    backend = BundledBackend(str(model), threads=torch.get_num_threads())
    judge = Judge(model, work, settings, clips, seed=4)
    for label in judge.labels:
        captions = PHRASES.get(label, [])
        if len(captions) < 2:
            continue
        recorded = [judge.recorded(label) for _ in range(sets)]
        far = np.zeros((len(captions), sets))
        for row, text in enumerate(captions):
            for column, theirs in enumerate(recorded):
                made = _made(backend, text, range(10**6 * (column + 1), 10**6 * (column + 1) + clips))
                far[row, column] = float(judge.far(made, theirs))
        yield Painted(label, captions, far)


def _made(backend: BundledBackend, text: str, seeds: Iterable[int]) -> Tensor:
    """Latents ``(seeds, latent_dim, FRAMES)`` of a text, of the colour that it is played in."""
    prompt, info = PromptMix.of(text), backend.info
    asked = [
        ClipRequest(ClipKey(text, i), 0, FRAMES, 0, seed, seed, prompt, info.steps, info.guidance)
        for i, seed in enumerate(seeds)
    ]
    with torch.inference_mode():
        made: Tensor = backend._denoised(asked, info.steps)[2] + backend._bias(prompt)[:, None]
    return made.clone()


def leave(model: pathlib.Path, work: pathlib.Path, settings: dict[str, Any], *, clips: int, sets: int) -> Tensor:
    """The captions that the model's prompt encoder is to have, ``(known_captions, dim)``: rows of what is painted badly
    (see :func:`measure`) are those of what stands for it. Says what is left to what, and writes all distances into
    ``captions.jsonl`` in ``work``."""
    backend = BundledBackend(str(model), threads=torch.get_num_threads())
    names, captions = backend._encoder.names, backend._encoder.captions.clone()
    before, left = captions.clone(), 0
    if not len(captions):
        return captions
    log = (work / "captions.jsonl").open("w")
    for done, kind in enumerate(measure(model, work, settings, clips=clips, sets=sets), 1):
        row = {"label": kind.label, "captions": kind.captions, "far": kind.far.round(4).tolist()}
        print(json.dumps(row), file=log, flush=True)
        with torch.inference_mode():
            read = torch.stack([backend._reader._embed(text) for text in kind.captions])
        rows = (read @ torch.nn.functional.normalize(names, dim=-1).T).argmax(1)
        meanings = before[rows]
        for one, other in enumerate(stand_ins(kind.far, meanings.numpy())):
            if other == one:
                continue
            captions[(before @ meanings[one]) > ONE] = meanings[other]
            left += 1
            print(
                f'export: "{kind.captions[one]}" lies {kind.far[one].mean():.2f} from recordings, and is left to '
                f'"{kind.captions[other]}" ({kind.far[other].mean():.2f})',
                flush=True,
            )
        if done % 20 == 0:
            print(f"export: the captions of {done} kinds", flush=True)
    print(f"export: {left} captions are left to others of their kind", flush=True)
    return captions
