"""Can a machine tell joins from other moments? Two classifiers on what is heard just before and just after.

Joins and other moments lie on the same lattice of latent frames. Features: level, octave bands, stereo width and
spectral flux of half a second before and behind, and their differences. Folds by stretch of sound, so that none is
known from training. 0.5 is chance.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ambient.generate.bundled import BundledBackend
from ambient.messages import RATE, Audio

__all__ = ["auc", "features", "stretches"]

REACH = RATE // 2
OCTAVES = [45, 90, 180, 355, 710, 1400, 2800, 5600, 11_200, 22_400]


def _part(x: Audio) -> list[float]:
    """Level, octave bands, width and flux of a stretch, in decibels."""
    mid, side = x.mean(1), (x[:, 0] - x[:, 1]) / 2
    size = 2048
    frames = np.lib.stride_tricks.sliding_window_view(mid, size)[:: size // 2] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames)) ** 2 + 1e-12
    hz = np.fft.rfftfreq(size, 1 / RATE)
    bands = [float(10 * np.log10(power[:, (hz >= a) & (hz < b)].mean())) for a, b in itertools.pairwise(OCTAVES)]
    flux = float(np.abs(np.diff(10 * np.log10(power), axis=0)).mean())
    level = float(10 * np.log10(np.square(mid).mean() + 1e-12))
    width = float(10 * np.log10((np.square(side).mean() + 1e-12) / (np.square(mid).mean() + 1e-12)))
    return [level, *bands, width, flux]


def features(sound: Audio, frame: int) -> list[float]:
    """Features of the moment at a frame of sound ``(frames, 2)``."""
    before, after = np.array(_part(sound[frame - REACH : frame])), np.array(_part(sound[frame : frame + REACH]))
    near = _part(sound[frame - REACH // 2 : frame + REACH // 2])
    return [*(after - before), *np.abs(after - before), *(np.array(near) - (before + after) / 2)]


def stretches(backend: BundledBackend, text: str, joins: int, seed: int) -> tuple[list[Audio], list[list[int]]]:
    """Sound of one prompt as the engine plays it, cut into a stretch for every four joins, and their frames."""
    from ambient.engine import Engine, Options, render
    from ambient.generate.worker import InProcessGenerator
    from ambient.scene import parse_scene
    from ambient.testing import ListSink

    scene = parse_scene(f"scene: 1\nstates: {{bed: {text}}}\n")
    engine = Engine(scene, InProcessGenerator(backend), Options(seed=seed, live=False, loudness=False))
    sink = ListSink()
    render(engine, sink, round((joins + 1) * 6.1 * RATE))
    sound = np.concatenate([b.audio for b in sink.blocks])
    frames = sorted(j for js in engine.joins().values() for j in js)
    parts, cut = [], []
    for i in range(0, len(frames) - 3, 4):
        low, high = max(0, frames[i] - 3 * RATE), min(len(sound), frames[i + 3] + 3 * RATE)
        parts.append(sound[low:high])
        cut.append([j - low for j in frames[i : i + 4]])
    return parts, cut


def auc(sounds: Sequence[Audio], joins: Sequence[Sequence[int]], lattice: int, seed: int = 0) -> dict[str, float]:
    """Area under the curve of a logistic regression and of a random forest, by cross-validation.

    ``sounds``: stretches ``(frames, 2)``; ``joins``: the frames of the joins in each; ``lattice``: frames in a latent
    frame. As many other moments are drawn as there are joins, at least 1.5 s from any.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    rows: list[list[float]] = []
    truth, groups = [], []
    for group, (sound, ours) in enumerate(zip(sounds, joins, strict=True)):
        inside = [j for j in ours if REACH <= j <= len(sound) - REACH]
        phase = inside[0] % lattice if inside else 0
        free = [
            k
            for k in range(phase + -(-REACH // lattice) * lattice, len(sound) - REACH, lattice)
            if all(abs(k - j) > 1.5 * RATE for j in ours)
        ]
        others: NDArray[np.int64] | list[int] = (
            rng.choice(free, min(len(free), len(inside)), replace=False) if free else []
        )
        for moments, is_join in ((inside, 1), (others, 0)):
            for frame in moments:
                rows.append(features(sound, int(frame)))
                truth.append(is_join)
                groups.append(group // max(1, len(sounds) // 10))
    x: NDArray[np.float64] = np.array(rows)
    found: dict[str, float] = {"joins": int(np.sum(truth))}
    forest = RandomForestClassifier(300, min_samples_leaf=3, random_state=seed, n_jobs=1)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    for name, model in (("logistic", logistic), ("forest", forest)):
        chance = cross_val_predict(model, x, truth, groups=groups, cv=GroupKFold(5), method="predict_proba")[:, 1]
        found[name] = round(float(roc_auc_score(truth, chance)), 3)
    return found
