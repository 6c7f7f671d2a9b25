"""Seeds derived from what a clip is, never from when it was asked for."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["clip_seed", "generator", "layer_seed"]


def _derive(*parts: object) -> int:
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # 63 bits: fits a signed 64-bit integer everywhere


def layer_seed(scene_seed: int, layer: str, purpose: str) -> int:
    """Seed in 0 … 2**63−1 of one purpose of one layer, such as its decoder noise or its event times."""
    return _derive("layer", scene_seed, layer, purpose)


def clip_seed(scene_seed: int, layer: str, index: int, attempt: int = 0) -> int:
    """Seed in 0 … 2**63−1 of a clip's diffusion noise. ``attempt`` counts repairs of the same clip."""
    return _derive("clip", scene_seed, layer, index, attempt)


def generator(scene_seed: int, layer: str, purpose: str) -> np.random.Generator:
    """A random stream of one purpose of one layer."""
    return np.random.Generator(np.random.PCG64(layer_seed(scene_seed, layer, purpose)))
