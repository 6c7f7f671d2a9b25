"""How like recordings generated sound is, as a distribution, and whether it copies any: figures without a tagger.

The Fréchet distance compares texture statistics in the manner of McDermott and Simoncelli (2011): of the log band
powers of mid and side, in 24 groups of bands, the mean, spread and skewness, how much they fluctuate at three speeds,
how the groups go together, and the width. Kilgour et al. (arXiv 1812.08466) do the same with an embedding.
"""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from ambient.generate.bands import BANDS, STACK, analyse, band_filters
from tools.training.diffusion import single_precision

__all__ = ["Textures", "band_powers", "compare", "copies", "diversity", "frechet", "pieces", "to_held_out"]

PIECE = 32 * STACK
"""Hops in a piece: 2.56 s."""
GROUPS = 24
KEPT_DIRECTIONS = 24
"""Directions in which two sets of some hundred pieces are compared."""

Array = NDArray[np.float64]


def band_powers(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log band powers ``(hops, 2, BANDS)`` of sound ``(frames, 2)``."""
    mid_side = torch.from_numpy(np.stack([audio.mean(1), (audio[:, 0] - audio[:, 1]) / 2]))
    found: NDArray[np.float32] = analyse(mid_side, band_filters()).permute(1, 0, 2).numpy()
    found[:, 1] = np.maximum(found[:, 1], found[:, 0] - 3 * np.log(10))
    return found


def pieces(powers: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Log band powers cut into pieces."""
    return [single_precision(powers[i : i + PIECE]) for i in range(0, len(powers) - PIECE + 1, PIECE)]


def statistics(piece: NDArray[np.float32]) -> Array:
    """Texture statistics of one piece, a vector."""
    groups = piece.astype(np.float64).reshape(PIECE, 2, GROUPS, BANDS // GROUPS).mean(-1)
    mid, width = groups[:, 0], (groups[:, 1] - groups[:, 0]).mean(0)
    mean = mid.mean(0)
    flat = mid - mean
    spread = flat.std(0) + 1e-3
    skew = ((flat / spread) ** 3).mean(0)
    spectrum = np.abs(np.fft.rfft(flat, axis=0)) ** 2 / PIECE
    edges = [1, 8, 40, 128]  # about 0.4 to 3, 3 to 16 and 16 to 50 Hz
    speeds = [np.log(spectrum[a:b].mean(0) + 1e-4) for a, b in itertools.pairwise(edges)]
    together = (flat / spread).T @ (flat / spread) / PIECE  # 0 where a group is silent, not undefined
    near = [np.diagonal(together, k).mean() for k in (1, 2, 4, 8, 16)]
    level = mean.mean()
    return np.concatenate([mean - level, np.log(spread), np.tanh(skew), *speeds, width, near, [level]])


class Textures:
    """The space in which sets of pieces are compared: fitted to recordings, then fixed."""

    def __init__(self, fitted_to: Array) -> None:
        self._mean, self._scale = fitted_to.mean(0), fitted_to.std(0) + 1e-6
        z = (fitted_to - self._mean) / self._scale
        self._directions = np.linalg.svd(z, full_matrices=False)[2][:KEPT_DIRECTIONS].T

    def __call__(self, found: Array) -> Array:
        """Statistics ``(pieces, …)`` as points ``(pieces, KEPT_DIRECTIONS)``."""
        return np.asarray((found - self._mean) / self._scale @ self._directions)


def frechet(a: Array, b: Array) -> float:
    """Fréchet distance of two sets of points, taken as Gaussian."""
    root = np.real(sqrtm(np.cov(a.T) @ np.cov(b.T)))
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root))


def diversity(generated: Sequence[Array], recorded: Sequence[Array]) -> float:
    """How far clips of one prompt and other seeds lie apart, over how far pieces of a label's recordings do.

    Each item: the points of one prompt's clips, or one label's pieces.
    """

    def apart(points: Array) -> float:
        far = np.linalg.norm(points[:, None] - points[None], axis=-1)
        return float(far[np.triu_indices(len(points), 1)].mean())

    return float(np.mean([apart(g) for g in generated]) / np.mean([apart(r) for r in recorded]))


def own_pieces(work: pathlib.Path, label: str) -> list[NDArray[np.float32]]:
    """Pieces of the training recordings of a label, or, where it has none, of sounds made by rule; at most 40."""
    features = np.load(work / "features.npy", mmap_mode="r")
    entries = [e for e in json.loads((work / "index.json").read_text()) if e["label"] == label and e["split"] != "held"]
    entries = [e for e in entries if not e.get("procedural")] or entries
    found = [p for e in entries for p in pieces(features[e["start"] : e["start"] + e["hops"] - e["held_hops"]])]
    few = np.random.default_rng(0).permutation(len(found))[:40]
    return [found[i] for i in few]


def recorded(work: pathlib.Path) -> tuple[list[NDArray[np.float32]], dict[str, list[NDArray[np.float32]]]]:
    """Pieces of training recordings (one in four), and of held-out ones by label; procedural sounds left out."""
    features = np.load(work / "features.npy", mmap_mode="r")
    train: list[NDArray[np.float32]] = []
    held: dict[str, list[NDArray[np.float32]]] = {}
    for entry in json.loads((work / "index.json").read_text()):
        first, last = entry["start"], entry["start"] + entry["hops"]
        middle = first if entry["split"] == "held" else last - entry["held_hops"]
        if not entry.get("procedural"):
            train += pieces(features[first:middle])[::4]
        if found := pieces(features[middle:last]):
            held.setdefault(entry["label"], []).extend(found)
    return train, held


Clips = dict[str, list[list[NDArray[np.float32]]]]
"""For each label, the pieces of each of its clips."""


def _statistics(generated: Clips, labels: Sequence[str]) -> dict[str, Array]:
    return {label: np.stack([statistics(p) for clip in generated[label] for p in clip]) for label in labels}


def _drawn(sets: dict[str, Array], space: Textures, most: int, rng: np.random.Generator) -> Array:
    """As many points of each label."""
    return np.concatenate([space(x)[rng.choice(len(x), most, replace=len(x) < most)] for x in sets.values()])


def to_held_out(several: Sequence[Clips], work: pathlib.Path) -> list[float]:
    """Fréchet distances of sets of clips, all of the same labels, to held-out recordings of these."""
    train, held = recorded(work)
    space = Textures(np.stack([statistics(p) for p in train]))
    labels = [label for label in several[0] if label in held]
    theirs = {label: np.stack([statistics(p) for p in held[label]]) for label in labels}
    found = []
    for generated in several:
        ours, rng = _statistics(generated, labels), np.random.default_rng(0)
        most = min(len(x) for x in ours.values())
        found.append(round(frechet(_drawn(ours, space, most, rng), _drawn(theirs, space, most, rng)), 2))
    return found


def compare(generated: Clips, work: pathlib.Path) -> dict[str, Any]:
    """All figures."""
    train, held = recorded(work)
    # the same mix of labels on either side, or their shares would be compared rather than their sounds
    labels = [label for label in generated if label in held]
    ours, theirs = _statistics(generated, labels), {k: np.stack([statistics(p) for p in held[k]]) for k in labels}
    most = min(len(x) for x in ours.values())
    rng = np.random.default_rng(0)
    trained = np.stack([statistics(p) for p in train])
    space = Textures(trained)

    def drawn(sets: dict[str, Array]) -> Array:
        return _drawn(sets, space, most, rng)

    halves = [{k: x[i::2] if len(x) > 1 else x for k, x in theirs.items()} for i in (0, 1)]
    first = {label: np.stack([statistics(clip[0]) for clip in generated[label]]) for label in labels}
    real = {label: x for label, x in theirs.items() if len(x) >= 4}
    return {
        "labels": len(labels),
        "frechet_generated_to_held_out": round(frechet(drawn(ours), drawn(theirs)), 2),
        "frechet_held_out_to_itself": round(frechet(drawn(halves[0]), drawn(halves[1])), 2),
        "frechet_by_chance": round(frechet(drawn(theirs), space(trained)), 2),
        "diversity_of_seeds_over_recordings": round(
            diversity([space(x) for x in first.values()], [space(x) for x in real.values()]), 2
        ),
        "nearest_training_stretch": copies(
            [p for label in labels for clip in generated[label] for p in clip[:2]],
            [p for label in labels for p in held[label][:4]],
            work,
        ),
    }


def copies(
    found: Sequence[NDArray[np.float32]], others: Sequence[NDArray[np.float32]], work: pathlib.Path
) -> dict[str, float]:
    """Distance to the nearest stretch of a training recording, in decibels over bands and time.

    ``found``: generated pieces; ``others``: pieces of held-out recordings, to compare. Stretches begin every 0.32 s.
    """
    features = np.load(work / "features.npy", mmap_mode="r")
    entries = [e for e in json.loads((work / "index.json").read_text()) if e["split"] != "held"]

    def small(piece: NDArray[np.float32]) -> NDArray[np.float32]:  # 80 ms and 24 groups of bands, of mid; no level
        x = piece[:, 0].reshape(-1, STACK, GROUPS, BANDS // GROUPS).mean((1, 3))
        return (x - x.mean()).ravel().astype(np.float32)

    rows = []
    for entry in entries:
        end = entry["start"] + entry["hops"] - entry["held_hops"]
        starts = range(entry["start"], end - PIECE + 1, 4 * STACK)
        rows += [small(single_precision(features[at : at + PIECE])) for at in starts]
    known = np.stack(rows)
    squares = np.square(known).sum(1)
    decibels = 10 / np.log(10)

    def nearest(pieces: Sequence[NDArray[np.float32]]) -> Array:
        x = np.stack([small(p) for p in pieces])
        far = np.square(x).sum(1)[:, None] + squares - 2 * x @ known.T
        return np.asarray(np.sqrt(np.maximum(far.min(1), 0) / x.shape[1]) * decibels)

    ours, theirs = nearest(found), nearest(others)
    return {
        "generated_median_db": round(float(np.median(ours)), 2),
        "generated_least_db": round(float(ours.min()), 2),
        "held_out_median_db": round(float(np.median(theirs)), 2),
        "held_out_least_db": round(float(theirs.min()), 2),
    }
