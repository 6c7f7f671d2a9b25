"""``prepare``: a folder of recordings and its manifest → log band features, levels matched.

The manifest is a CSV file with at least the columns ``file``, ``label`` and ``caption``.
"""

from __future__ import annotations

import csv
import json
import pathlib
from typing import Any

import numpy as np
import soundfile as sf
import soxr
import torch
from scipy.linalg import eigh

from ambient.generate.bands import BANDS, HOP, RATE, STACK, analyse, band_filters
from tools.training.procedural import entries, make

NOMINAL_RMS = 10 ** (-26 / 20)
"""Every recording is brought to this level; scenes set levels."""


def sound_of(entry: dict[str, Any], root: pathlib.Path) -> np.ndarray:
    """The sound of an entry of the index, read or made, as :func:`read` gives it."""
    return levelled(make(entry["file"])) if entry["procedural"] else read(root / entry["file"])


def read(path: pathlib.Path) -> np.ndarray:
    """Sound at RATE, float32 (frames, 2), at the nominal level, length a multiple of a latent frame."""
    x, rate = sf.read(path, always_2d=True, dtype="float32")
    x = x[:, :2] if x.shape[1] >= 2 else np.repeat(x[:, :1], 2, 1)
    if rate != RATE:
        x = soxr.resample(x, rate, RATE)
    return levelled(x)


def levelled(x: np.ndarray) -> np.ndarray:
    """Brings sound (frames, 2) to the nominal level, without DC, its length to a multiple of a latent frame."""
    x = x - x.mean(0)
    # Loudness of the livelier half, so that a sparse recording (one owl a minute) is not blown up.
    blocks = x[: len(x) // HOP * HOP].reshape(-1, HOP, 2)
    power = np.square(blocks).mean((1, 2))
    lively = np.sort(power)[len(power) // 2 :]
    x = x * (NOMINAL_RMS / np.sqrt(lively.mean() + 1e-12))
    whole = len(x) // (HOP * STACK) * HOP * STACK
    return x[:whole].astype(np.float32)


def features(x: np.ndarray, filters: torch.Tensor) -> np.ndarray:
    """Log band powers of mid and side, float16 (hops, 2, BANDS)."""
    mid_side = torch.from_numpy(np.stack([x.mean(1), (x[:, 0] - x[:, 1]) / 2]))
    parts = []
    step = HOP * STACK * 128
    for start in range(0, mid_side.shape[1], step):  # in pieces, with context, to bound memory
        low, high = max(0, start - HOP * STACK), min(mid_side.shape[1], start + step + HOP * STACK)
        found = analyse(mid_side[:, low:high], filters)
        skip = (start - low) // HOP
        parts.append(found[:, skip : skip + min(step, mid_side.shape[1] - start) // HOP])
    f = torch.cat(parts, 1).permute(1, 0, 2).numpy()
    mono = np.sqrt(np.mean((x[:, 0] - x[:, 1]) ** 2)) < 0.02 * np.sqrt(np.mean(x**2))
    if mono:  # a third of the recordings: give them a diffuse width, the same envelopes 8 dB lower
        f[:, 1] = f[:, 0] - 8 / 10 * np.log(10)
    f[:, 1] = np.maximum(f[:, 1], f[:, 0] - 3 * np.log(10))
    return f.astype(np.float16)


def listed(manifest: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a manifest. Ends the program with what is wrong, where and what to do, if it cannot be used."""
    rows: list[dict[str, Any]] = []
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            for row in (reader := csv.DictReader(file)):
                there = ", ".join(reader.fieldnames or ())
                if None in row:
                    raise SystemExit(
                        f"{manifest}, line {reader.line_num}: more cells than the columns {there}: "
                        "put what holds a comma in quotes"
                    )
                lacking = [name for name in ("file", "label", "caption") if not (row.get(name) or "").strip()]
                if lacking:
                    raise SystemExit(f"{manifest}, line {reader.line_num}: no {lacking[0]}; columns: {there}")
                rows.append({name: cell or "" for name, cell in row.items()})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SystemExit(f"the manifest {manifest} cannot be read: {error}") from error
    if not rows:
        raise SystemExit(f"the manifest {manifest} lists no recording")
    return rows


def prepare(
    manifest: pathlib.Path, out: pathlib.Path, holdout_every: int = 9, procedural: float = 0.0
) -> list[dict[str, Any]]:
    """Writes ``features.npy`` (all hops, 2, BANDS), and ``index.json``: where each recording lies, and its split.

    ``procedural``: share of the sounds made by rule (:mod:`tools.training.procedural`) that is added for training.

    Labels with three files or more give every ``holdout_every``-th file to evaluation (split ``held``); of labels
    with fewer, the last fifth of a file of 20 s or more is held out by time.
    """
    rows: list[dict[str, Any]] = [row | {"procedural": False} for row in listed(manifest)]
    rows += [{"file": f, "label": label, "caption": label, "procedural": True} for f, label in entries(procedural)]
    filters = band_filters()
    out.mkdir(parents=True, exist_ok=True)
    parts: list[np.ndarray] = []
    index: list[dict[str, Any]] = []
    position = 0
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["label"]] = counts.get(row["label"], 0) + (not row["procedural"])
    seen = 0
    for number, row in enumerate(rows):
        try:
            x = sound_of(row, manifest.parent)
        except Exception as error:
            raise SystemExit(f"{row['file']} cannot be read: {error}") from error
        if len(x) < HOP * STACK * 8:
            continue
        f = features(x, filters)
        entry = {k: row.get(k, "") for k in ("file", "label", "caption", "licence", "author", "source")}
        entry |= {"start": position, "hops": len(f), "split": "train", "held_hops": 0, "procedural": row["procedural"]}
        if row.get("bandwidth_hz", "").split()[:1] and counts[row["label"]] >= 3:
            seen += 1
            if seen % holdout_every == 0:
                entry["split"] = "held"
        if counts[row["label"]] < 3 and len(f) > 4000 and not row["procedural"]:
            entry["held_hops"] = len(f) // 5 // STACK * STACK
        index.append(entry)
        parts.append(f)
        position += len(f)
        if number % 20 == 0:
            print(f"prepare: {number + 1}/{len(rows)} {row['file']}", flush=True)
    everything = np.concatenate(parts)
    np.save(out / "features.npy", everything)
    (out / "index.json").write_text(json.dumps(index, indent=1))
    made = sum(e["hops"] for e in index if e["procedural"])
    print(
        f"prepare: {len(index)} sounds, {position * HOP / RATE / 60:.1f} minutes, "
        f"{made * HOP / RATE / 60:.1f} of them procedural"
    )
    for label, (off, apart) in sorted(colours(everything, index).items()):
        print(f"prepare: {label}: made by rule {off:.0f} dB from the recordings, these {apart:.0f} dB apart")
    return index


def colours(everything: np.ndarray, index: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """For each label of which there are both: how far, in decibels rms over 24 groups of bands of which the mean is
    taken out, sounds made by rule lie from its recordings, and these from each other (NaN if there is one)."""
    mean: dict[tuple[str, bool], list[np.ndarray]] = {}
    for e in index:
        power = np.exp(everything[e["start"] : e["start"] + e["hops"], 0].astype(np.float32)).mean(0)
        x = 10 * np.log10(power.reshape(24, -1).mean(1) + 1e-12)
        mean.setdefault((e["label"], e["procedural"]), []).append(np.maximum(x, x.max() - 60))

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        return float((a - b - (a - b).mean()).std())

    found = {}
    for (label, procedural), made in mean.items():
        recordings = mean.get((label, False), [])
        if procedural and recordings:
            pairs = [apart(a, b) for i, a in enumerate(recordings) for b in recordings[:i]]
            own = float(np.mean(pairs)) if pairs else float("nan")
            found[label] = (float(np.mean([apart(a, b) for a in made for b in recordings])), own)
    return found


def principal(features: np.ndarray, dim: int, latents: int = 40_000, seed: int = 0) -> dict[str, np.ndarray]:
    """The linear codec: mean, and whitened principal directions, from a random choice of latent frames."""
    width = STACK * 2 * BANDS
    frames = features[: len(features) // STACK * STACK].reshape(-1, width)
    pick = np.sort(np.random.default_rng(seed).choice(len(frames), min(latents, len(frames)), replace=False))
    mean = np.zeros(width)
    cov = np.zeros((width, width))
    for chunk in np.array_split(pick, max(1, len(pick) // 4000)):
        x = frames[chunk].astype(np.float32)
        mean += x.sum(0)
        cov += (x.T @ x).astype(np.float64)
    mean /= len(pick)
    cov = cov / len(pick) - np.outer(mean, mean)
    values, vectors = eigh(cov, subset_by_index=[width - dim, width - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    share = values.sum() / np.trace(cov)
    print(f"codec: {dim} directions hold {100 * share:.1f} % of the variance")
    scale = np.sqrt(values)
    return {
        "mean": mean.astype(np.float32),
        "encode": (vectors / scale).astype(np.float32),
        "decode": (vectors * scale).T.astype(np.float32),
    }


def chance_of(linear: dict[str, np.ndarray], seconds: float = 60.0) -> np.ndarray:
    """How much each direction moves by chance alone: its variance in steady noise, float32 ``(dim,)``."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, round(seconds * RATE / (HOP * STACK)) * HOP * STACK)).astype(np.float32)
    bands = analyse(torch.from_numpy(noise), band_filters()).permute(1, 0, 2).reshape(-1, STACK * 2 * BANDS).numpy()
    moving: np.ndarray = ((bands - linear["mean"]) @ linear["encode"])[4:-4].var(0)
    return moving.astype(np.float32)


def save_linear(work: pathlib.Path, dim: int) -> None:
    """Fits the linear codec to the features and writes ``linear.npz``."""
    found = principal(np.load(work / "features.npy", mmap_mode="r"), dim)
    np.savez(work / "linear.npz", **found, chance=chance_of(found))
