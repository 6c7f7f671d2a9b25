"""Classifier-free guidance that turns towards a prompt without shouting it.

Latents of sound are log powers: whatever guidance adds along what is there already comes out as level, exponentially
(songbirds away from "music, speech, traffic" came out 40 dB too loud). Only what is at right angles to it changes
what is heard, and only that is amplified (Sadat, Hilliges, Weber: "Eliminating oversaturation and artifacts of high
guidance scales in diffusion models", ICLR 2025, arXiv 2410.02416, with η = 0 and no momentum).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["projected"]


def projected(x: Tensor, sigma: Tensor, towards: Tensor, away: Tensor, strength: Tensor, new: Tensor) -> Tensor:
    """The guided velocity of a rectified flow, shaped like ``x``, ``(batch, channels, frames)``.

    ``towards`` and ``away`` are the velocities at ``x`` and noise level ``sigma`` with the wanted and the avoided
    prompt, ``strength`` (broadcastable) is 1 for no guidance, ``new`` ``(batch, 1, frames)`` is 1 where the clip is
    painted and 0 where it is kept.
    """
    change = (towards - away) * new
    there = (x - sigma * towards) * new
    power = (there * there).sum((1, 2), keepdim=True).clamp_min(1e-6)
    along = (change * there).sum((1, 2), keepdim=True) / power
    return towards + (strength - 1) * (change - along * there)
