"""Meanings of prompts as the big models read them, and the points between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Meaning", "blend", "spherical_mean", "stack"]

Meaning = dict[str, Tensor]
"""What a denoiser is given, by name, batch first. ``unit`` is a unit vector ``(batch, dim)``; a name that ends in
``_mask`` is 1 for tokens that count ``(batch, tokens)``; all others are sequences ``(batch, tokens, dim)``."""


def spherical_mean(vectors: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean on the sphere of unit vectors ``(count, dim)``, ``(dim,)``; of two, the point on their arc.

    By Newton steps in the tangent space (Buss and Fillmore, "Spherical averages", 2001). ``weights`` sum to 1.
    """
    mean = torch.nn.functional.normalize((weights[:, None] * vectors).sum(0), dim=0)
    for _ in range(20):
        cosine = (vectors @ mean).clamp(-1, 1)
        angle = torch.arccos(cosine)
        scale = torch.where(angle > 1e-6, angle / torch.sin(angle).clamp_min(1e-6), torch.ones_like(angle))
        step = (weights[:, None] * scale[:, None] * (vectors - cosine[:, None] * mean)).sum(0)
        length = step.norm()
        if float(length) < 1e-7:
            break
        mean = torch.nn.functional.normalize(torch.cos(length) * mean + torch.sin(length) * step / length, dim=0)
    return mean


def _padded(x: Tensor, tokens: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, 0) * (x.dim() - 2) + (0, tokens - x.shape[1]))


def _common(meanings: Sequence[Meaning], name: str) -> list[Tensor]:
    """One entry of all meanings, sequences filled up with zeros to the longest."""
    rows = [m[name] for m in meanings]
    return rows if name == "unit" else [_padded(x, max(r.shape[1] for r in rows)) for x in rows]


def blend(parts: Sequence[tuple[Meaning, float]]) -> Meaning:
    """The point between meanings, weights summing to 1: on the sphere where it is one; sequences token by token,
    zeros where one has ended, so that a longer text fades in with its weight; masks hold all tokens of all."""
    if len(parts) == 1:
        return parts[0][0]
    meanings = [m for m, _ in parts]
    made: Meaning = {}
    for name in meanings[0]:
        rows = _common(meanings, name)
        weights = torch.tensor([w for _, w in parts], device=rows[0].device)
        if name == "unit":
            made[name] = spherical_mean(torch.cat(rows).float(), weights)[None].to(rows[0])
        elif name.endswith("_mask"):
            made[name] = torch.stack(rows).amax(0)
        else:
            mask = meanings[0].get(f"{name}_mask")
            if mask is not None:  # what stands on padding means nothing
                rows = [x * m[..., None].to(x) for x, m in zip(rows, _common(meanings, f"{name}_mask"), strict=True)]
            made[name] = sum((w * x for w, x in zip(weights, rows, strict=True)), torch.zeros_like(rows[0]))
    return made


def stack(meanings: Sequence[Meaning]) -> Meaning:
    """One batch of them all."""
    return {name: torch.cat(_common(meanings, name)) for name in meanings[0]}
