"""Whether a mix of two prompts lies between them: what is heard should move steadily from one to the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ambient.messages import Audio, PromptMix
from tools.training.likeness import band_powers, pieces, statistics

__all__ = ["PAIRS", "along"]

PAIRS = (
    ("soft wind in the trees", "howling wind"),
    ("light drizzle", "heavy rain"),
    ("a small stream", "a waterfall"),
    ("birds singing", "crickets at night"),
    ("a crackling fire", "ocean waves"),
)
WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def along(
    make: Callable[[PromptMix, int], Audio], seeds: int, pairs: tuple[tuple[str, str], ...] = PAIRS
) -> dict[str, Any]:
    """Where the texture of each mix lies on the way from one prompt (0) to the other (1), the mean of ``seeds`` clips,
    and what share of the steps leads forward."""
    found: dict[str, Any] = {}
    forward = []
    for one, other in pairs:
        points = []
        for w in WEIGHTS:
            prompt = PromptMix.of({one: 1 - w, other: w})
            textures = [
                np.mean([statistics(p) for p in pieces(band_powers(make(prompt, 13 * k)))], 0) for k in range(seeds)
            ]
            points.append(np.mean(textures, 0))
        way = points[-1] - points[0]
        places = [float((p - points[0]) @ way / (way @ way)) for p in points]
        forward += [b > a for a, b in itertools.pairwise(places)]
        found[f"{one} → {other}"] = [round(p, 2) for p in places]
    return {"weights": list(WEIGHTS), "steps_forward": round(float(np.mean(forward)), 2), "pairs": found}
