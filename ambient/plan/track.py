"""The latents of a bed layer, as heard, by position."""

from __future__ import annotations

import numpy as np

from ambient.messages import Latents

__all__ = ["LatentTrack"]


class LatentTrack:
    """One unbroken run of latents: what the next clip continues.

    Positions count latent frames from the layer's beginning. Only the last ``keep`` frames are held; a tail is
    never cut from further back.
    """

    def __init__(self, keep: int = 1024) -> None:
        self._keep = keep
        self._start = 0
        self._latents: Latents | None = None

    @property
    def start(self) -> int:
        """First position held."""
        return self._start

    @property
    def end(self) -> int:
        """First position without latents."""
        return self._start + (0 if self._latents is None else int(self._latents.shape[1]))

    def put(self, start: int, kept: int, latents: Latents) -> None:
        """Writes a clip's latents at ``start``; all from ``start + kept`` on is replaced by them.

        Raises ValueError where the clip would leave a gap or begins before what is held.
        """
        if self._latents is None:
            self._start, self._latents = start, latents.copy()
            return
        cut = start + kept
        if not self._start <= cut <= self.end:
            raise ValueError(f"latents from {cut} do not continue {self._start}…{self.end}")
        joined = np.concatenate([self._latents[:, : cut - self._start], latents[:, kept:]], axis=1)
        surplus = max(0, joined.shape[1] - self._keep)
        self._latents, self._start = joined[:, surplus:].copy(), self._start + surplus

    def cut(self, start: int, end: int) -> Latents:
        """A copy of positions ``start`` to ``end``. Raises ValueError where they are not held."""
        if self._latents is None or not self._start <= start <= end <= self.end:
            raise ValueError(f"latents {start}…{end} are not held, only {self._start}…{self.end}")
        return self._latents[:, start - self._start : end - self._start].copy()
