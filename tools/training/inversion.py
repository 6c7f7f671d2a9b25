"""``inversion``: what the transformer is told of each kind is moved until its clips lie nearer to recordings.

Further training of the transformer that dwells on kinds that it paints badly brings these nearer and drives others
away. Here its weights stay as they are, and one vector of each such kind is learned, which is added to what it is told
of sounds of that kind: textual inversion (Gal et al., arXiv 2208.01618) of kinds. What is compared is what ``texture``
compares, and the gradient goes back through all steps of sampling. A kind keeps its vector if fresh clips are nearer to
fresh recordings with it, by more than chance, and if clips as they are played are nearer, too, by the statistics of
``likeness``, which nothing was taught by, to recordings that were held out, where the kind has such.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ambient.errors import BackendError
from ambient.generate.bundled import WEIGHTS, BundledBackend, condition
from tools.training.captions import PHRASES
from tools.training.evaluate import make
from tools.training.likeness import Textures, band_powers, own_pieces, pieces, recorded, statistics
from tools.training.painted import FRAMES, Judge
from tools.training.texture import sample

__all__ = ["kinds_of", "learn"]

SHARE = 0.12
"""What each step counts in the running mean that is kept."""
SURE = 2.0
"""Standard errors by which a kind must have come nearer."""
VARIED = 3
"""Captions of a kind, at most, of which clips are played, two of each."""


class _Kinds:
    """What a finished model paints of kinds of sound when it is told something else of them."""

    def __init__(self, backend: BundledBackend, judge: Judge, settings: dict[str, Any]) -> None:
        self._backend, self._judge, self._settings = backend, judge, settings

    def distances(self, label: str, kind: int, moved: Tensor, recorded: list[dict[str, Tensor]]) -> NDArray[np.float64]:
        """How far clips of its captions lie from sets of recordings, ``(sets,)``; of the same noise every time."""
        draw, said = torch.Generator().manual_seed(99), PHRASES.get(label, [label])
        with torch.no_grad():
            made = [self._made(said[i % len(said)], kind, moved, draw) for i in range(len(recorded))]
            return np.array([float(self._judge.far(x, y)) for x, y in zip(made, recorded, strict=True)])

    def learned(self, label: str, kind: int) -> Tensor:
        """What descends on that distance, as a running mean, ``(dim,)``."""
        s, said = self._settings, PHRASES.get(label, [label])
        pick, draw = np.random.default_rng(kind), torch.Generator().manual_seed(kind)
        mean = torch.zeros(self._backend._encoder.prototypes.shape[1])
        moved = mean.clone().requires_grad_()
        optimiser = torch.optim.Adam([moved], lr=s["learning_rate"], betas=(0.8, 0.95))
        for step in range(s["steps"]):
            optimiser.param_groups[0]["lr"] = s["learning_rate"] * (1 - 0.8 * step / s["steps"])
            made = self._made(said[int(pick.integers(len(said)))], kind, moved, draw)
            loss = self._judge.far(made, self._judge.recorded(label))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            mean.lerp_(moved.detach(), SHARE if step > 1 / SHARE else 1.0)
        return mean

    def _made(self, text: str, kind: int, moved: Tensor, draw: torch.Generator) -> Tensor:
        """Latents ``(clips, latent_dim, FRAMES)`` of a text, of the colour that it is played in."""
        info, part, reader = self._backend.info, self._backend._encoder, self._backend._reader
        noise = torch.randn(self._settings["clips"], info.latent_channels, FRAMES, generator=draw)
        meaning = reader.text(text).clone()
        share = torch.softmax(part.config.sharpness * part.prototypes @ meaning, 0)[kind]
        told = functional.normalize(meaning + share * moved, dim=0).repeat(len(noise), 1)
        nothing = torch.zeros_like(noise)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            given = condition(told, torch.zeros(len(noise)))
            x = sample(self._judge.transformer, noise, given, nothing, nothing[:, :1], info.steps)
        return x.float() + reader.bias(meaning).clone()[:, None]


class _Played:
    """How far clips as they are played lie from recordings, by the statistics of ``likeness``."""

    def __init__(self, backend: BundledBackend, work: pathlib.Path) -> None:
        self._backend, self._work = backend, work
        train, self._held = recorded(work)
        self._space = Textures(np.stack([statistics(p) for p in train])) if train else None

    def far(self, label: str, kind: int, moved: list[Tensor]) -> list[float]:
        """Squared distance of the means of clips and of recordings, held-out ones if there are, for each vector that
        the kind may be told; nothing where all are too short."""
        found = self._held.get(label) or own_pieces(self._work, label)
        space = self._space
        if not found or space is None:
            return []
        theirs = space(np.stack([statistics(p) for p in found])).mean(0)
        row, said, out = self._backend._encoder.told[kind], PHRASES.get(label, [label])[:VARIED], []
        before = row.clone()
        for vector in moved:
            row.copy_(vector)
            self._backend._home.cache_clear()  # where streams lie is of what they are told
            clips = [make(self._backend, said[i % len(said)], index=7 * i).audio for i in range(2 * VARIED)]
            ours = space(np.stack([statistics(p) for x in clips for p in pieces(band_powers(x))])).mean(0)
            out.append(float(np.square(ours - theirs).sum()))
        row.copy_(before)
        self._backend._home.cache_clear()
        return out


def learn(
    work: pathlib.Path, model: pathlib.Path, settings: dict[str, Any], *, seconds: float | None = None
) -> dict[str, Tensor]:
    """Learns, or goes on with kinds that are not done yet, and returns what is to be added to what the transformer is
    told of each kind that comes nearer, ``(dim,)``.

    Writes ``inversion.pt`` and ``inversion.jsonl`` in ``work``: of each kind how far it lay before, and with what was
    learned. ``model``: a finished one, made with this folder. Raises SystemExit where it is another's.
    """
    s = settings
    try:
        sizes = torch.load(work / "diffusion.pt", weights_only=False, map_location="cpu")["settings"]
        backend = BundledBackend(str(model), threads=torch.get_num_threads())
        backend._encoder.register_to_config(inverted=True)  # else what it is told would be the meaning itself
        weights = hashlib.sha256((model / "transformer" / WEIGHTS).read_bytes()).hexdigest()
        kinds = kinds_of(work)
        if len(kinds) != len(backend._encoder.prototypes):
            raise RuntimeError(f"it knows {len(backend._encoder.prototypes)} kinds, and there are {len(kinds)}")
        kept = work / "inversion.pt"
        saved: dict[str, Any] = torch.load(kept, weights_only=True) if kept.exists() else {"of": ""}
        if saved["of"] != weights:  # of another transformer
            saved = {"of": weights, "rows": {}}
        rows: dict[str, Tensor | None] = saved["rows"]
        judge = Judge(model, work, sizes, s["clips"], seed=31 + len(rows))
    except (OSError, RuntimeError, BackendError) as error:
        raise SystemExit(f"{model} cannot be judged by {work}, prepare it --from {model}: {error}") from error
    learner, played, began = _Kinds(backend, judge, s), _Played(backend, work), time.monotonic()
    nothing = torch.zeros(backend._encoder.prototypes.shape[1])
    log = (work / "inversion.jsonl").open("a" if rows else "w")
    for number, label in enumerate(kinds):
        if label in rows or label in s["but"] or label not in judge.labels:
            continue
        if seconds is not None and time.monotonic() - began >= seconds:
            print(f"inversion: stopped before {label}, kind {number + 1} of {len(kinds)}; it can go on", flush=True)
            break
        sets = [judge.recorded(label) for _ in range(s["sets"])]
        far = learner.distances(label, number, nothing, sets)
        rows[label], row = None, {"step": number, "kind": label, "far": round(float(far.mean()), 3)}
        if far.mean() > s["beyond"]:
            found = learner.learned(label, number)
            gained = far - learner.distances(label, number, found, sets)
            error = float(gained.std(ddof=1)) / len(gained) ** 0.5 if len(gained) > 1 else float("inf")
            row |= {"now": round(float((far - gained).mean()), 3), "error": round(error, 3)}
            if gained.mean() > SURE * error:
                row["played"] = [round(x, 1) for x in played.far(label, number, [nothing, found])]
                if row["played"] and row["played"][1] < row["played"][0]:
                    rows[label] = found
            row["kept"] = rows[label] is not None
        print(json.dumps(row), file=log, flush=True)
        print(f"inversion: {row}", flush=True)
        torch.save(saved, kept)
    log.close()
    return {label: found for label, found in rows.items() if found is not None}


def kinds_of(work: pathlib.Path) -> list[str]:
    """The labels of a working folder, in the order of the kinds that a model knows."""
    return sorted({e["label"] for e in json.loads((work / "index.json").read_text())})
