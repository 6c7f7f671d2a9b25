"""``evaluate``: figures of an exported model: speed, level, continuity over many clips, mixes, likeness, the codec's
faithfulness, and what a tagger hears."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soundfile as sf
import torch
from numpy.typing import NDArray

from ambient.generate.bands import HOP, STACK
from ambient.generate.bundled import BundledBackend
from ambient.generate.codec import FRAME, steadied
from ambient.messages import RATE, Audio, Clip, ClipKey, ClipRequest, PromptMix, Tail
from tools.training import fidelity, hearing, mixes
from tools.training.captions import PHRASES
from tools.training.diffusion import single_precision
from tools.training.features import sound_of
from tools.training.joins import auc, stretches
from tools.training.likeness import PIECE, band_powers, compare, pieces, to_held_out
from tools.training.naming import understood
from tools.training.phrasebook import unseen
from tools.training.phrases import EXPECTED, NAMED

__all__ = ["chain", "continuity", "evaluate", "held_out", "knows_kinds", "together"]

LENGTH = 128
KEPT = 28
PHRASE_CLIPS = 5
"""Two clips of each of forty phrases are right by luck in some 4 % more, or less: ten in 2."""


def make(
    backend: BundledBackend,
    text: str | PromptMix,
    *,
    index: int = 0,
    stream: int | None = None,
    tail: Tail | None = None,
    start: int = 0,
) -> Clip:
    """One clip, of a stream of its own unless ``stream`` tells which; raises RuntimeError if there is none."""
    info = backend.info
    prompt = text if isinstance(text, PromptMix) else PromptMix.of(text)
    request = ClipRequest(
        ClipKey(str(text), index),
        start,
        LENGTH,
        0,
        1000 + index,
        1 + (index if stream is None else stream),
        prompt,
        info.steps,
        info.guidance,
        tail,
    )
    answer = backend.generate([request])[0]
    if not isinstance(answer, Clip):
        raise RuntimeError(answer.message)
    return answer


def chain(backend: BundledBackend, text: str, clips: int, number: int = 0) -> list[Clip]:
    """Clips of which each continues the one before; every ``number`` gives another chain."""
    out: list[Clip] = []
    step = (LENGTH - KEPT) * backend.info.frames_per_latent
    for i in range(clips):
        tail = Tail(out[-1].latents[:, -KEPT:]) if out else None
        out.append(make(backend, text, index=i + 10_000 * number, stream=number, tail=tail, start=i * step))
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


def together(chains: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure; of drifts also its standard error, for waves come and go by chance as well."""
    rows = list(chains)
    found = {k: float(np.mean([row[k] for row in rows])) for k in rows[0]}
    if len(rows) > 1:
        drifts = {k: np.std([row[k] for row in rows], ddof=1) for k in rows[0] if "drift" in k}
        found |= {f"{k}_error": float(v / np.sqrt(len(rows))) for k, v in drifts.items()}
    return {k: round(v, 2) for k, v in found.items()}


def evaluate(
    model: str,
    *,
    threads: int,
    clips: int = 40,
    chains: int = 1,
    chained: tuple[str, ...] = ("rain on leaves", "ocean waves", "birds singing", "wind in the trees"),
    behind: tuple[str, ...] = ("an owl at night", "crickets at night"),
    phrases: int = len(EXPECTED),
    joins: int = 0,
    seeds: int = 0,
    work: pathlib.Path | None = None,
    tagger: pathlib.Path | None = None,
    recordings: pathlib.Path | None = None,
    out: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Figures, JSON-ready; clips of the everyday phrases go to ``out`` if given.

    ``clips``, ``chains``: how many clips in a chain, and how many chains of each of ``chained``;
    ``joins``: how many of each of ``chained`` to make for the classifier, and of what is steady ``behind`` calls;
    ``seeds``: clips of each mix and label, the latter compared with the recordings prepared in ``work``; of each phrase
    :data:`PHRASE_CLIPS` times as many, and one of each that was written apart; ``recordings``: the folder that they
    were read from, to judge the codec.
    """
    if joins and importlib.util.find_spec("sklearn") is None:
        raise SystemExit("--joins needs one more package: pip install scikit-learn")
    backend = BundledBackend(model, threads=threads)
    frame = backend.info.frames_per_latent

    def sound(text: str | PromptMix, index: int) -> Audio:
        return make(backend, text, index=index).audio

    sound("warm up", 0)
    began = time.perf_counter()
    for i in range(3):
        sound("rain", i)
    seconds = (time.perf_counter() - began) / 3
    found: dict[str, Any] = {
        "threads": threads,
        "steps": backend.info.steps,
        "parameters_m": round(sum(p.numel() for p in backend._transformer.parameters()) / 1e6, 2),
        "clip_seconds": round(seconds, 3),
        "times_real_time": round(LENGTH * frame / RATE / seconds, 1),
        "chains": {},
    }
    for text in chained if clips > 1 else ():
        _say(f"chains of {clips}: {text}")
        found["chains"][text] = together(continuity(chain(backend, text, clips, k), frame) for k in range(chains))
    if joins:
        found["joins"] = {}
        for i, text in enumerate((*chained, *behind)):
            _say(f"joins: {text}")
            found["joins"][text] = auc(*stretches(backend, text, joins, i), frame)
    if seeds:
        _say("mixes")
        found["mixes"] = mixes.along(sound, seeds)
    if seeds and work is not None:
        _say("likeness")
        found["likeness"] = compare(_by_label(backend, work, seeds), work) | _by_phrases(backend, work)
        _say("movement")
        found["movement"] = _movement(backend, work, seeds)
    encoder = backend._reader._encoder
    labels: list[str] = []
    if work is not None and knows_kinds(encoder.prototypes, work):
        labels = sorted({e["label"] for e in json.loads((work / "index.json").read_text())})
        found["named"] = understood(
            backend._reader._embed,
            encoder.prototypes,
            labels,
            encoder.config.sharpness,
            (encoder.names, encoder.captions),
        )
    said = list(EXPECTED)[:phrases]
    clips_of = {text: sound(text, i) for i, text in enumerate(said)}
    levels = [float(_decibels(x)) for x in clips_of.values()]
    found["level_db"] = {"mean": round(float(np.mean(levels)), 1), "spread": round(float(np.std(levels)), 1)}
    for i, (text, x) in enumerate(clips_of.items() if out else ()):
        assert out is not None
        out.mkdir(parents=True, exist_ok=True)
        sf.write(out / f"{i:02d} {text}.wav", x, RATE)
    ear = hearing.Tagger(tagger) if tagger else None
    if recordings is not None and work is not None:
        _say("codec")
        found["codec"] = fidelity.compare(backend._codec, held_out(work, recordings), ear)
    if ear:
        real = list(_heard(backend, ear, work, recordings)) if work is not None and recordings is not None else []
        _say("everyday phrases")
        found["tagger"] = hearing.phrases(ear, sound, max(1, seeds * PHRASE_CLIPS), phrases, real)
        if real and seeds:
            _say("labels")
            found["tagger"]["labels"] = hearing.by_label(ear, sound, PHRASES, real, seeds)
        if seeds and labels:
            _say("phrases written apart")
            said_of = [(meant, phrase) for meant, phrase in unseen() if set(meant) & set(labels)]
            found["tagger"]["unseen"] = hearing.of_any_words(ear, sound, said_of)
    return found


def _heard(
    backend: BundledBackend, ear: hearing.Tagger, work: pathlib.Path, recordings: pathlib.Path
) -> Iterator[hearing.Recorded]:
    """What a tagger names first in the recordings, as they are and as the codec gives them back."""
    _say("recordings")
    for label, _, sound in held_out(work, recordings, all_of_them=True):
        x = sound[: len(sound) // FRAME * FRAME]
        if len(x):
            yield hearing.Recorded(label, ear.first(x), ear.first(fidelity.decoded(backend._codec, x, 0)[0]))


def knows_kinds(prototypes: torch.Tensor, work: pathlib.Path) -> bool:
    """Whether a model's kinds are the labels of a working folder, in their order; captions varied anew move them a
    little."""
    path = work / "prototypes.npy"
    theirs = torch.from_numpy(np.load(path)) if path.exists() else torch.zeros(0)
    if prototypes.shape != theirs.shape:
        return False
    alike = prototypes @ theirs.T
    return bool((alike.argmax(1) == torch.arange(len(alike))).all() and (alike.diag() > 0.97).all())


def _say(text: str) -> None:
    print(f"evaluate: {text}", file=sys.stderr, flush=True)


def held_out(
    work: pathlib.Path, recordings: pathlib.Path, *, all_of_them: bool = False, seconds: int = 12
) -> Iterator[tuple[str, str, Audio]]:
    """Label, how it was held out (``file``, ``time``, or ``not``), and ``seconds`` of sound of the held-out recordings
    prepared in ``work``; ``all_of_them``: of up to three recordings of every label, held out or not."""
    taken: dict[str, int] = {}
    for entry in json.loads((work / "index.json").read_text()):
        held = "file" if entry["split"] == "held" else "time" if entry["held_hops"] else "not"
        if entry["procedural"] or (held == "not" and not all_of_them) or taken.get(entry["label"], 0) >= 3:
            continue
        taken[entry["label"]] = taken.get(entry["label"], 0) + 1
        whole = sound_of(entry, recordings)
        begin = (entry["hops"] - entry["held_hops"]) * HOP if held == "time" else 0
        yield entry["label"], held, whole[begin : begin + seconds * RATE]


def _by_label(backend: BundledBackend, work: pathlib.Path, seeds: int) -> dict[str, list[list[NDArray[np.float32]]]]:
    """Pieces of ``seeds`` clips for each label that has held-out recordings."""
    return {
        label: [
            pieces(band_powers(make(backend, PHRASES.get(label, [label])[0], index=7 * i).audio)) for i in range(seeds)
        ]
        for label in _with_held_out(work)
    }


def _with_held_out(work: pathlib.Path) -> list[str]:
    """Labels that have held-out recordings."""
    index = json.loads((work / "index.json").read_text())
    return sorted({e["label"] for e in index if e["split"] == "held" or e["held_hops"] >= PIECE})


def _by_phrases(backend: BundledBackend, work: pathlib.Path) -> dict[str, float]:
    """How near to held-out recordings clips of phrases lie, and clips of the captions of the same labels: two each."""
    held = _with_held_out(work)
    said: dict[str, list[str]] = {}
    for labels, named in NAMED.items():
        for label in [x for x in labels if x in held][:1]:
            said.setdefault(label, []).extend(named)
    if not said:
        return {}
    asked = [said, {label: PHRASES[label] for label in said}]
    clips = [
        {
            k: [pieces(band_powers(make(backend, text, index=i).audio)) for i, text in enumerate(ts[:2])]
            for k, ts in x.items()
        }
        for x in asked
    ]
    phrases, captions = to_held_out(clips, work)
    return {"frechet_phrases_to_held_out": phrases, "frechet_their_captions_to_held_out": captions}


def _movement(backend: BundledBackend, work: pathlib.Path, seeds: int) -> dict[str, Any]:
    """How much generated clips move over that of recordings: variance of the latents over time within 10 s, each
    direction weighted by the power that it stands for; the median over labels, and each label's."""
    weights = torch.from_numpy(backend._codec.latent_decibels()).square()
    codec = backend._codec
    features = np.load(work / "features.npy", mmap_mode="r")
    recorded: dict[str, list[float]] = {}

    def moves(z: torch.Tensor) -> float:
        return float((z.float().var(1) * weights).sum())

    for entry in json.loads((work / "index.json").read_text()):
        stretches = [entry["start"] + i for i in range(0, entry["hops"] - LENGTH * STACK + 1, LENGTH * STACK)]
        for at in [] if entry["procedural"] else stretches[:4]:
            powers = torch.from_numpy(single_precision(features[at : at + LENGTH * STACK])).reshape(LENGTH, -1)
            z = ((powers - codec.mean) @ codec.encoder).T
            chance = codec.config.chance
            z = steadied(z, torch.tensor(chance)) if chance else z
            recorded.setdefault(entry["label"], []).append(moves(z))
    ratios = {}
    for label, theirs in recorded.items():
        text = PHRASES.get(label, [label])[0]
        ours = [moves(torch.from_numpy(make(backend, text, index=7 * i).latents)) for i in range(seeds)]
        ratios[label] = round(float(np.mean(ours) / np.mean(theirs)), 2)
    return {"median": round(float(np.median(list(ratios.values()))), 2), "labels": ratios}


def picture(work: pathlib.Path) -> None:
    """Loss curves of the stages that have run, as ``curves.png`` in the working folder; without matplotlib a word on
    why there are none."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        _say("no curves.png: it is drawn with matplotlib, pip install 'ambient-engine[pictures]'")
        return

    shown = [
        ("codec", "held"),
        ("tones", "held"),
        ("prompt", "cosine"),
        ("naming", "cosine"),
        ("diffusion", "loss"),
        ("distil", "error"),
        ("texture", "distance"),
        ("inversion", "far"),
    ]
    figure, axes = plt.subplots(1, len(shown), figsize=(24, 3.2))
    for axis, (stage, key) in zip(axes, shown, strict=True):
        path = work / f"{stage}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        axis.plot([r["step"] for r in rows], [r[key] for r in rows], lw=1)
        axis.set(title=f"{stage}: {key}", xlabel="kind" if stage == "inversion" else "step")
    figure.tight_layout()
    figure.savefig(work / "curves.png", dpi=110)
    plt.close(figure)
