"""Adds layers and single sounds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ambient.messages import CHANNELS, Audio
from ambient.sound.space import PlacedSound

__all__ = ["LayerBlock", "Voices", "mix"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerBlock:
    """One layer's share of a block: sound ``(n, 2)``, with gain and stereo width that move linearly through it."""

    audio: Audio
    gain_from: float
    gain_to: float
    width_from: float = 1.0
    width_to: float = 1.0


def mix(layers: Sequence[LayerBlock], n: int) -> Audio:
    """The sum of the layers, float32 ``(n, 2)``. Ramps end where the next block's begin, so nothing clicks."""
    out = np.zeros((n, CHANNELS), np.float32)
    ramp = ((np.arange(n, dtype=np.float32) + 1) / n)[:, None]
    for layer in layers:
        audio = layer.audio
        if layer.width_from != 1.0 or layer.width_to != 1.0:
            width = np.float32(layer.width_from) + np.float32(layer.width_to - layer.width_from) * ramp[:, 0]
            mid = (audio[:, 0] + audio[:, 1]) * np.float32(0.5)
            side = (audio[:, 0] - audio[:, 1]) * (np.float32(0.5) * width)
            audio = np.stack([mid + side, mid - side], axis=1)
        if layer.gain_from == layer.gain_to:
            out += audio * np.float32(layer.gain_to)
        else:
            out += audio * (np.float32(layer.gain_from) + np.float32(layer.gain_to - layer.gain_from) * ramp)
    return out


class Voices:
    """Single sounds that play once, each from its frame to its end."""

    def __init__(self) -> None:
        self._voices: list[tuple[int, PlacedSound, float]] = []

    def start(self, sound: PlacedSound, at_frame: int, gain: float = 1.0) -> None:
        """Lets a sound begin at a clock frame."""
        self._voices.append((at_frame, sound, gain))

    def sounding(self, frame: int) -> int:
        """How many have begun or are on their way, and have not ended."""
        return sum(start + len(sound) > frame for start, sound, _ in self._voices)

    def render(self, start_frame: int, n: int) -> Audio:
        """The sum of all voices in the next ``n`` frames; ended ones are dropped. Frames never go back."""
        out = np.zeros((n, CHANNELS), np.float32)
        for start, sound, gain in self._voices:
            low, high = max(start, start_frame), min(start + len(sound), start_frame + n)
            if high > low:
                out[low - start_frame : high - start_frame] += np.float32(gain) * sound.read(low - start, high - low)
        self._voices = [v for v in self._voices if v[0] + len(v[1]) > start_frame + n]
        return out
