"""The texts that the diffusion model learns from, embedded once: variants of every label, and mixtures of two."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import numpy as np

from tools.training.captions import ONE_SHOT_LABELS, mixture, single, variants


def build(
    work: pathlib.Path, embed: Callable[[list[str]], np.ndarray], per_label: int, mixtures: int, seed: int = 0
) -> None:
    """Writes ``texts.json`` and ``texts.npy`` (float16 embeddings, one row a text)."""
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
    pool = {label: variants(label, [], 40, rng) for label in labels}
    for _ in range(mixtures):
        one, two = rng.choice(labels, 2, replace=False)
        add(f"mix:{one}|{two}", mixture(str(rng.choice(pool[one][:12])), str(rng.choice(pool[two][:12])), rng))
    for label in sorted(ONE_SHOT_LABELS & set(labels)):
        for text in pool[label][:10]:
            for prefix in ("a single ", "one ", ""):
                add(f"shot:{label}", prefix + text.removeprefix("a ").removeprefix("an ").removeprefix("one "))
    (work / "texts.json").write_text(json.dumps({"texts": texts, "table": table}))
    np.save(work / "texts.npy", embed(texts).astype(np.float16))
    print(f"texts: {len(texts)} for {len(labels)} labels")
