"""``evaluate``: figures of an exported model: speed, level, continuity over many clips, and what a tagger hears."""

from __future__ import annotations

import csv
import json
import pathlib
import time
from typing import Any

import numpy as np
import soundfile as sf
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ambient.generate.bundled import BundledBackend
from ambient.messages import RATE, Audio, Clip, ClipKey, ClipRequest, PromptMix, Tail
from tools.training.captions import PHRASES
from tools.training.joins import auc, stretches
from tools.training.likeness import PIECE, band_powers, compare, pieces
from tools.training.phrases import EXPECTED

__all__ = ["Tagger", "chain", "continuity", "evaluate"]

LENGTH = 128
KEPT = 28


class Tagger:
    """YAMNet (Apache-2.0): a folder with ``yamnet.tflite`` and ``yamnet_class_map.csv``. Needs ai-edge-litert."""

    def __init__(self, folder: pathlib.Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._net = Interpreter(str(folder / "yamnet.tflite"))
        self._net.allocate_tensors()
        self._into = self._net.get_input_details()[0]["index"]
        self._out = self._net.get_output_details()[0]["index"]
        with (folder / "yamnet_class_map.csv").open() as file:
            self.names = [row[2] for row in list(csv.reader(file))[1:]]

    def __call__(self, sound: Audio) -> np.ndarray:
        """Mean class scores of sound at RATE."""
        x = resample_poly(sound.mean(1), 1, 3).astype(np.float32)
        heard = []
        for start in range(0, len(x) - 15599, 7800):
            self._net.set_tensor(self._into, x[None, start : start + 15600])
            self._net.invoke()
            heard.append(self._net.get_tensor(self._out)[0].copy())
        return np.mean(heard, 0)


def make(backend: BundledBackend, text: str, *, index: int = 0, tail: Tail | None = None, start: int = 0) -> Clip:
    """One clip; raises RuntimeError if there is none."""
    info = backend.info
    prompt = PromptMix.of(text)
    request = ClipRequest(
        ClipKey(text, index), start, LENGTH, 0, 1000 + index, 1, prompt, info.steps, info.guidance, tail
    )
    answer = backend.generate([request])[0]
    if not isinstance(answer, Clip):
        raise RuntimeError(answer.message)
    return answer


def chain(backend: BundledBackend, text: str, clips: int) -> list[Clip]:
    """Clips of which each continues the one before."""
    out: list[Clip] = []
    step = (LENGTH - KEPT) * backend.info.frames_per_latent
    for i in range(clips):
        tail = Tail(out[-1].latents[:, -KEPT:]) if out else None
        out.append(make(backend, text, index=i, tail=tail, start=i * step))
    return out


def _decibels(x: np.ndarray) -> np.ndarray:
    return np.asarray(10 * np.log10(np.square(x).mean((-2, -1)) + 1e-12))


def continuity(clips: list[Clip], frame: int) -> dict[str, float]:
    """Level step at the joins against steps elsewhere, and drift of level and spectral centroid over the chain.

    ``frame``: samples in a latent frame. A step is the level of 0.64 s after a point less that of 0.64 s before.
    """
    levels, centroids, joins, dips, others = [], [], [], [], []
    for i, clip in enumerate(clips):
        power = _decibels(clip.audio.reshape(-1, frame, 2))
        fresh = power[KEPT if i else 0 :]
        levels.append(float(fresh.mean()))
        spectrum = np.abs(np.fft.rfft(clip.audio.mean(1)[KEPT * frame :])) ** 2
        hz = np.fft.rfftfreq(len(clip.audio) - KEPT * frame, 1 / RATE)
        centroids.append(float((spectrum * hz).sum() / spectrum.sum()))
        if i:
            joins.append(float(power[KEPT : KEPT + 8].mean() - power[KEPT - 8 : KEPT].mean()))
            dips.append(float(power[KEPT : KEPT + 8].mean() - fresh[16:].mean()))
        others += [float(power[k : k + 8].mean() - power[k - 8 : k].mean()) for k in range(KEPT + 16, LENGTH - 8, 8)]
    third = max(1, len(clips) // 3)
    return {
        "join_step_db": float(np.mean(joins)),
        "join_step_rms_db": float(np.sqrt(np.mean(np.square(joins)))),
        "other_step_rms_db": float(np.sqrt(np.mean(np.square(others)))),
        "dip_behind_join_db": float(np.mean(dips)),
        "level_drift_db": float(np.mean(levels[-third:]) - np.mean(levels[:third])),
        "level_spread_db": float(np.std(levels)),
        "centroid_drift_percent": float(100 * (np.mean(centroids[-third:]) / np.mean(centroids[:third]) - 1)),
    }


def evaluate(
    model: str,
    *,
    threads: int,
    clips: int = 40,
    chained: tuple[str, ...] = ("rain on leaves", "ocean waves", "birds singing", "wind in the trees"),
    phrases: int = len(EXPECTED),
    joins: int = 0,
    seeds: int = 0,
    work: pathlib.Path | None = None,
    tagger: pathlib.Path | None = None,
    out: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Figures, JSON-ready; clips of the everyday phrases go to ``out`` if given.

    ``joins``: how many to make for the classifier; ``seeds``: clips of each label to compare with the recordings
    prepared in ``work``.
    """
    backend = BundledBackend(model, threads=threads)
    frame = backend.info.frames_per_latent
    make(backend, "warm up")
    began = time.perf_counter()
    for i in range(3):
        make(backend, "rain", index=i)
    seconds = (time.perf_counter() - began) / 3
    found: dict[str, Any] = {
        "threads": threads,
        "steps": backend.info.steps,
        "parameters_m": round(sum(p.numel() for p in backend._transformer.parameters()) / 1e6, 2),
        "clip_seconds": round(seconds, 3),
        "times_real_time": round(LENGTH * frame / RATE / seconds, 1),
        "chains": {},
    }
    for text in chained:
        figures = continuity(chain(backend, text, clips), frame)
        found["chains"][text] = {k: round(v, 2) for k, v in figures.items()}
    if joins:
        found["joins"] = {}
        for i, text in enumerate(chained):
            found["joins"][text] = auc(*stretches(backend, text, joins // len(chained), i), frame)
    if seeds and work is not None:
        found["likeness"] = compare(_by_label(backend, work, seeds), work)
    ear = Tagger(tagger) if tagger else None
    levels, hits, heard = [], 0, {}
    for i, (text, wanted) in enumerate(list(EXPECTED.items())[:phrases]):
        clip = make(backend, text, index=i)
        levels.append(float(_decibels(clip.audio)))
        if out:
            out.mkdir(parents=True, exist_ok=True)
            sf.write(out / f"{i:02d} {text}.wav", clip.audio, RATE)
        if ear:
            scores = ear(clip.audio)
            first = [ear.names[k] for k in np.argsort(-scores)[:5]]
            hits += bool(set(first) & set(wanted))
            heard[text] = first
    found["level_db"] = {"mean": round(float(np.mean(levels)), 1), "spread": round(float(np.std(levels)), 1)}
    if ear:
        found["tagger"] = {"phrases": len(heard), "heard_in_first_five": hits, "what": heard}
    return found


def _by_label(backend: BundledBackend, work: pathlib.Path, seeds: int) -> dict[str, list[list[NDArray[np.float32]]]]:
    """Pieces of ``seeds`` clips for each label that has held-out recordings."""
    index = json.loads((work / "index.json").read_text())
    labels = sorted({e["label"] for e in index if e["split"] == "held" or e["held_hops"] >= PIECE})
    return {
        label: [
            pieces(band_powers(make(backend, PHRASES.get(label, [label])[0], index=7 * i).audio)) for i in range(seeds)
        ]
        for label in labels
    }


def picture(work: pathlib.Path) -> None:
    """Loss curves of the stages that have run, as ``curves.png`` in the working folder."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [("codec", "held"), ("prompt", "cosine"), ("diffusion", "loss"), ("distil", "error")]
    figure, axes = plt.subplots(1, len(shown), figsize=(12, 3.2))
    for axis, (stage, key) in zip(axes, shown, strict=True):
        path = work / f"{stage}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        axis.plot([r["step"] for r in rows], [r[key] for r in rows], lw=1)
        axis.set(title=f"{stage}: {key}", xlabel="step")
    figure.tight_layout()
    figure.savefig(work / "curves.png", dpi=110)
    plt.close(figure)


def agreement(model: str, recordings: list[pathlib.Path], tagger: pathlib.Path) -> dict[str, float]:
    """Jensen-Shannon distance between what the tagger hears in recordings and in their reconstructions by the codec."""
    from tools.training.features import read

    ear = Tagger(tagger)
    codec = BundledBackend(model)._codec
    out = {}
    for path in recordings:
        x = read(path)[: 12 * RATE // codec.config.downsampling_ratio * codec.config.downsampling_ratio]
        with torch.inference_mode():
            latents = codec.encode(torch.from_numpy(x.T[None].copy())).latents
            y = codec.decode(latents).sample[0].T.numpy()
        p, q = (s / s.sum() for s in (ear(x), ear(y)))
        m = (p + q) / 2
        out[path.name] = float(
            0.5 * sum((a * np.log2(np.maximum(a, 1e-12) / np.maximum(m, 1e-12))).sum() for a in (p, q))
        )
    return out
