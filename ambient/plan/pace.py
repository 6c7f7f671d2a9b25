"""How fast clips come, measured."""

from __future__ import annotations

from collections.abc import Sequence

from ambient.messages import Clip, ClipRequest

__all__ = ["Pace"]


DECODER_STEPS = 3
"""What comes with every clip, however few its steps: the decoder costs about as much as so many of them."""


class Pace:
    """Learns seconds of generation per latent frame and denoising step, and foretells batches by it.

    Quick to believe bad news (a slower clip counts by half), slow to believe good news (a fifth), because a
    missed deadline costs more than an idle worker.
    """

    def __init__(self, first_guess_seconds: float = 5e-4) -> None:
        self._cost = first_guess_seconds
        self.measured = False

    def observe(self, clip: Clip) -> None:
        """Takes in one finished clip; cached ones teach nothing."""
        if clip.cached or clip.generation_seconds <= 0:
            return
        cost = clip.generation_seconds / (clip.request.latent_frames * (clip.request.steps + DECODER_STEPS))
        if not self.measured:
            self._cost, self.measured = cost, True
        else:
            self._cost += (0.5 if cost > self._cost else 0.2) * (cost - self._cost)

    def predict_seconds(self, latent_frames: int, steps: int) -> float:
        """Time that a clip of that size will take."""
        return self._cost * latent_frames * (steps + DECODER_STEPS)

    def batch_seconds(self, batch: Sequence[ClipRequest]) -> float:
        """Time that a batch will take."""
        return sum(self.predict_seconds(r.latent_frames, r.steps) for r in batch)

    def speed(self, steps: int, seconds_per_latent: float) -> float:
        """Seconds of sound made in a second, at so many denoising steps."""
        return seconds_per_latent / (self._cost * (steps + DECODER_STEPS))
