"""The texts that the diffusion model learns from, embedded once: variants of every label. Several sounds in one text
are read part by part (:func:`ambient.generate.prompt.read`), so that what the model learns of mixtures are mixes."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import numpy as np

from tools.training.captions import ONE_SHOT_LABELS, single, variants


def build(work: pathlib.Path, embed: Callable[[list[str]], np.ndarray], per_label: int, seed: int = 0) -> None:
    """Writes ``texts.json``, ``texts.npy`` (float16 embeddings, one row a text) and ``prototypes.npy`` (one row a
    label)."""
    rng = np.random.default_rng(seed)
    index = json.loads((work / "index.json").read_text())
    labels = sorted({e["label"] for e in index})
    texts: list[str] = []
    table: dict[str, list[int]] = {}

    def add(key: str, text: str) -> None:
        table.setdefault(key, []).append(len(texts))
        texts.append(text)

    for label in labels:
        for text in variants(label, [], per_label, rng):
            add(f"label:{label}", text)
    for entry in index:
        caption = entry["caption"]
        for text in [caption.rstrip("."), caption] + [single(caption, rng) for _ in range(8)]:
            add(f"file:{entry['file']}", text)
    for label in sorted(ONE_SHOT_LABELS & set(labels)):
        for text in variants(label, [], 40, rng)[:10]:
            for prefix in ("a single ", "one ", ""):
                add(f"shot:{label}", prefix + text.removeprefix("a ").removeprefix("an ").removeprefix("one "))
    (work / "texts.json").write_text(json.dumps({"texts": texts, "table": table}))
    embedded = embed(texts)
    np.save(work / "texts.npy", embedded.astype(np.float16))
    np.save(work / "prototypes.npy", _prototypes(work, [embedded[table[f"label:{x}"]] for x in labels]))
    print(f"texts: {len(texts)} for {len(labels)} labels")


def _prototypes(work: pathlib.Path, by_label: list[np.ndarray]) -> np.ndarray:
    """The mean meaning of each label, float32 unit vectors ``(kinds, dim)``; ``by_label``: its texts, ``(texts, dim)``.

    Where a finished model is the start, the kinds that it knows stay, unless a label says the same.
    """
    found = np.stack([texts.mean(0) for texts in by_label])
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    if (work / "known.npy").exists():
        known = np.load(work / "known.npy")
        found = np.concatenate([found, known[(known @ found.T).max(1) < 0.9]])
    return found.astype(np.float32)
