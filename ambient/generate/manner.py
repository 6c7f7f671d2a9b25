"""How a prompt says that something sounds: soft or heavy, far or near.

What is heard and how it is heard are kept apart. Recordings are levelled for training, and what a caption calls distant
was recorded as well as anything: a model cannot learn from them what these words do to a sound. Physics knows. So words
of manner are read here and applied to what the model makes, as a curve over the bands: air takes the highs of what is
far (ISO 9613-2), and what is played or falls softly is duller, too. Levels change by a few decibels only: they belong
to the scene.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from ambient.generate.bands import band_centres
from ambient.generate.prompt import LEAD

__all__ = ["manner_of"]

# ISO 9613-2:1996, table 2: atmospheric attenuation at 20 °C and 70 % relative humidity, dB per kilometre.
_AIR_HZ = (63.0, 125, 250, 500, 1000, 2000, 4000, 8000)
_AIR_DB_PER_KM = (0.1, 0.3, 1.1, 2.8, 5.0, 9.0, 22.9, 76.6)
FAR_KM = 0.25
MOST_DB = 20.0
"""What air takes at most, or the highest octave would be gone."""
Curve = NDArray[np.float32]


def _tilted(gain: float, octave: float, most: float, above: float = 500.0) -> Curve:
    """Decibels for each band: a gain, and so much more for each octave above a frequency, up to a bound."""
    octaves = np.maximum(0.0, np.log2(band_centres()[1:-1] / above))
    return (gain + np.clip(octave * octaves, -most, most)).astype(np.float32)


def _far() -> Curve:
    air = np.interp(np.log2(band_centres()[1:-1]), np.log2(_AIR_HZ), _AIR_DB_PER_KM)
    return (-2.0 - np.minimum(MOST_DB, FAR_KM * air)).astype(np.float32)


_NOT = r"(?<!no )(?<!not )(?<!never )(?<!without )"
_PLACES = r"(?! (?:night|evening|morning|day|afternoon|room|indoor|street|road|lane|house|office|village|place|garden))"
_MANNERS: tuple[tuple[str, Curve], ...] = (
    (
        r"soft|softly|gentle|gently|faint|faintly|subtle|mild|delicate|weak|hushed|quietly|lightly|quiet" + _PLACES
        + r"|light(?= (?!of |in |on |at |from |through |and )\w)",
        _tilted(-3.0, -1.0, 4.0),
    ),
    (
        r"heavy|heavily|loud|loudly|strong|strongly|intense|violent|violently|fierce|fiercely|powerful|raging"
        r"|torrential|hard(?= rain)|(?<=raining )hard|(?<=blowing )hard|(?<=falling )hard|(?<=pouring )hard",
        _tilted(3.0, 0.5, 2.0),
    ),
    (
        r"distant|distantly|faraway|far away|far off|afar|in the distance|remote"
        r"|far(?= (?!from|side|end|corner|too|into|beyond|away|off|north|south|east|west)\w)",
        _far(),
    ),
    (r"nearby|up close|close(?! (?:the|of|down)\b)", _tilted(2.0, 0.8, 3.0)),
    (r"muffled|muted|dull", _tilted(-1.0, -3.0, 15.0)),
)  # fmt: skip
_READ = tuple((re.compile(rf"{_NOT}\b(?:{words})\b", re.IGNORECASE), curve) for words, curve in _MANNERS)


def manner_of(text: str) -> Curve:
    """What a prompt says of how its sound is heard, decibels for each band, float32 ``(BANDS,)``; zeros for nothing.

    Words behind the first comma, of the surroundings, count for as much as their meaning does
    (:data:`ambient.generate.prompt.LEAD`).
    """
    lead, _, rest = " ".join(text.split()).partition(",")
    out = np.zeros(len(band_centres()) - 2, np.float32)
    for words, curve in _READ:
        if words.search(lead):
            out += curve
        elif words.search(rest):
            out += LEAD * curve
    return out
