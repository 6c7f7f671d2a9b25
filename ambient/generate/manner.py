"""How a prompt says that its sound is heard: soft or heavy, far or near.

What is heard and how it is heard are kept apart. Recordings are levelled for training, and what a caption calls distant
was recorded as well as anything: a model cannot learn from them what these words do to a sound. Physics knows. So words
of manner are read here and applied to what the model makes, as a curve over the bands: three decibels at most in the
lows, for levels belong to the scene; of the highs air takes what it takes (ISO 9613-2), and what falls softly is
duller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ambient.generate.bands import BANDS, band_centres
from ambient.generate.prompt import parts_of

__all__ = ["MOST_DB", "manner_of"]

# ISO 9613-2:1996, table 2: atmospheric attenuation at 20 °C and 70 % relative humidity, dB per kilometre; above its
# last octave it grows with the square of the frequency.
_AIR_HZ = (63.0, 125, 250, 500, 1000, 2000, 4000, 8000)
_AIR_DB_PER_KM = (0.1, 0.3, 1.1, 2.8, 5.0, 9.0, 22.9, 76.6)
FAR_KM = 0.25
MOST_DB = 24.0
"""All that is taken or given in a band, at most: more, and the highest octave would be gone."""
Curve = NDArray[np.float32]


def _tilted(gain: float, octave: float, most: float) -> Curve:
    """Decibels for each band: a gain, and so much more for each octave above 500 Hz, up to a bound."""
    octaves = np.maximum(0.0, np.log2(band_centres()[1:-1] / 500.0))
    return np.asarray(gain + np.clip(octave * octaves, -most, most), np.float32)


def _far() -> Curve:
    hz = band_centres()[1:-1]
    air = np.interp(np.log2(hz), np.log2(_AIR_HZ), _AIR_DB_PER_KM) * np.maximum(1.0, hz / 8000) ** 2
    return np.asarray(-2.0 - FAR_KM * air, np.float32)


_LIGHT = (
    "rain|rains|rainfall|rainstorm|drizzle|shower|showers|sleet|hail|snow|snowfall|wind|winds|breeze|breezes|gusts|surf"
    "|waves|footsteps|steps|traffic|taps|tapping|patter|pattering|drumming|splashing|thunder"
)
"""What is light in sound, and not in the eye or on the scales."""
_QUIET = (
    "night|evening|morning|day|afternoon|dawn|dusk|room|street|road|lane|house|home|cabin|office|library|cafe|café|village"
    "|town|suburb|place|garden|forest|wood|countryside|park|beach|cove|landscape|lake|indoor|indoors|winter|summer"
)
"""Places and times that are called quiet, however well they are heard."""
_SEEN = "smell|scent|coffee|tea|heat|fog|mist|silence|air|sun|sunlight|light|door|doors|machinery|metal|weather"
_HARD = "rain|rains|raining|blow|blows|blowing|fall|falls|falling|pour|pours|pouring|snows|snowing"
_SOFT = (
    r"softly|gently|faintly|quietly|lightly|hushed|(?:soft|gentle|faint|subtle|delicate|weak)(?:er)?"
    rf"|quieter|quiet(?!,? (?:[\w-]+ ){{0,2}}(?:{_QUIET})s?\b)|light(?:er)?(?=,?(?: and)?(?: [\w-]+)? (?:{_LIGHT})\b)"
)
_HEAVY = (
    r"heavily|loudly|strongly|violently|fiercely"
    rf"|(?:heavy|heavier|loud|louder|strong|stronger|intense)(?! (?:{_SEEN})\b)"
    rf"|violent|fierce|powerful|raging|torrential|hard(?= rain\b)|(?:{_HARD})(?: very| so)? hard"
)
_DISTANT = (
    r"distant|distantly|faraway|far[ -](?:away|off)|afar|(?:in the|from a|at a) distance"
    r"|(?<!by )(?<!as )(?<!so )(?<!too )"
    r"far(?= (?!from|side|end|corner|too|into|beyond|below|above|out|as|more|less|the|and|north|south|east|west)\w)"
)
_CLOSE = (
    r"nearby|closer|up close|(?<!door )(?<!doors )(?<!gate )(?<!window )(?<!windows )(?<!and )(?<!to )"
    r"close(?! (?:the|of|down|night|evening|day|morning|afternoon|harmony|enough|together|friends?)\b)"
)
_MUFFLED = r"muffled|muted|dull(?= (?:[\w-]+ )?(?:thud|thuds|roar|rumble|rumbling|hum|drone|boom|booming|noise)\b)"
_MANNERS = tuple(
    (re.compile(rf"\b(?:{words})\b", re.IGNORECASE), curve)
    for words, curve in (
        (_SOFT, _tilted(-3.0, -1.0, 4.0)),
        (_HEAVY, _tilted(3.0, 0.5, 2.0)),
        (_DISTANT, _far()),
        (_CLOSE, _tilted(2.0, 0.8, 3.0)),
        (_MUFFLED, _tilted(-1.0, -3.0, 15.0)),
    )
)
_DENIED = re.compile(
    r"\b(?:no|not|never|nothing|without|less|hardly|isn't)(?: (?:any|too|very|so|more|that|such|all|really))* $",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"[;.:]")


def manner_of(text: str) -> Curve:
    """What a prompt says of how its sound is heard, decibels for each band, float32 ``(BANDS,)``; zeros for nothing.

    Where several sounds stand beside each other (:func:`ambient.generate.prompt.parts_of`), one clip is made of them,
    and only what is said of all of them counts. What stands behind the first comma is surroundings and says nothing.
    """
    parts = [part for said in _SENTENCES.split(" ".join(text.split())) for part in parts_of(said)]
    curves = [sum(_said(part), np.zeros(BANDS, np.float32)) for part in parts]
    if not curves:
        return np.zeros(BANDS, np.float32)
    every = np.stack(curves)
    common = np.where((every < 0).all(0), every.max(0), np.where((every > 0).all(0), every.min(0), 0.0))
    return np.asarray(common.clip(-MOST_DB, MOST_DB), np.float32)


def _said(part: str) -> Iterator[Curve]:
    """The curve of each manner that is named and not denied."""
    for words, curve in _MANNERS:
        if any(not _DENIED.search(part[: found.start()]) for found in words.finditer(part)):
            yield curve
