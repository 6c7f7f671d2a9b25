"""What a tagger hears: in clips of the everyday phrases, and in every label's clips beside its recordings."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ambient.messages import Audio
from tools.training.phrases import ACCEPTED, EXPECTED, MEANT

__all__ = ["FIRST", "Recorded", "Tagger", "by_label", "jensen_shannon", "of_any_words", "phrases"]

FIRST = 5
"""A sound is heard rightly if one of the accepted classes is among so many that the tagger names first."""


class Tagger:
    """YAMNet (Apache-2.0): a folder with ``yamnet.tflite`` and ``yamnet_class_map.csv``. Needs ai-edge-litert."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Raises SystemExit, saying what to install or where to look."""
        try:
            from ai_edge_litert.interpreter import Interpreter

            self._net = Interpreter(str(folder / "yamnet.tflite"))
            with (folder / "yamnet_class_map.csv").open() as file:
                self.names = [row[2] for row in list(csv.reader(file))[1:]]
        except ImportError as error:
            raise SystemExit("the tagger needs one more package: pip install ai-edge-litert") from error
        except (OSError, ValueError) as error:
            raise SystemExit(
                f"{folder} has no yamnet.tflite and yamnet_class_map.csv that can be read: {error}"
            ) from error
        self._net.allocate_tensors()
        self._into = self._net.get_input_details()[0]["index"]
        self._out = self._net.get_output_details()[0]["index"]

    def __call__(self, sound: Audio) -> NDArray[np.float32]:
        """Mean class scores of sound at RATE, ``(classes,)``; what is shorter than a second is followed by silence."""
        x = resample_poly(sound.mean(1), 1, 3).astype(np.float32)
        x = np.pad(x, (0, max(0, 15600 - len(x))))
        heard = []
        for start in range(0, len(x) - 15599, 7800):
            self._net.set_tensor(self._into, x[None, start : start + 15600])
            self._net.invoke()
            heard.append(self._net.get_tensor(self._out)[0].copy())
        return np.mean(heard, 0)

    def first(self, sound: Audio) -> list[str]:
        """The classes that it names first."""
        return [self.names[k] for k in np.argsort(-self(sound))[:FIRST]]


def jensen_shannon(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Jensen-Shannon divergence of two sets of scores, in bits: 0 is the same, 1 nothing in common."""
    p, q = a / a.sum(), b / b.sum()
    m = np.maximum((p + q) / 2, 1e-12)
    return float(0.5 * sum((x * np.log2(np.maximum(x, 1e-12) / m)).sum() for x in (p, q)))


@dataclass(frozen=True)
class Recorded:
    """What a tagger names first in a recording of a label, as it is and encoded and decoded."""

    label: str
    heard: list[str]
    decoded: list[str]


def _hits(recorded: Iterable[Recorded], wanted: tuple[str, ...]) -> dict[str, float]:
    """Shares that are heard rightly, and of how many; empty without recordings."""
    rows = [[bool(set(names) & set(wanted)) for names in (r.heard, r.decoded)] for r in recorded]
    if not rows:
        return {}
    whole, decoded = (round(float(x), 2) for x in np.mean(rows, 0))
    return {"recorded": whole, "decoded": decoded, "recordings": len(rows)}


def _means(rows: Iterable[dict[str, Any]], **named: str) -> dict[str, float]:
    """The means of what ``named`` says, of the rows that have it, under its names."""
    found = {name: [row[key] for row in rows if key in row] for name, key in named.items()}
    return {name: round(float(np.mean(values)), 3) for name, values in found.items() if values}


def phrases(
    ear: Tagger,
    make: Callable[[str, int], Audio],
    seeds: int,
    most: int = len(EXPECTED),
    recorded: Sequence[Recorded] = (),
) -> dict[str, Any]:
    """The everyday phrases: share of ``seeds`` clips each that are heard rightly, and what was heard in the last.

    ``recorded``: recordings, of which those that a phrase describes are judged beside it.
    """
    rows: dict[str, Any] = {}
    for i, (text, wanted) in enumerate(list(EXPECTED.items())[:most]):
        heard = [ear.first(make(text, i + 100 * k)) for k in range(seeds)]
        rows[text] = {"heard": round(float(np.mean([bool(set(f) & set(wanted)) for f in heard])), 2), "last": heard[-1]}
        rows[text] |= _hits([r for r in recorded if r.label in MEANT[text]], wanted)
    shares = _means(rows.values(), share_heard="heard", share_in_recordings="recorded", share_in_decoded="decoded")
    return {"phrases": len(rows), "clips_a_phrase": seeds, **shares, "what": rows}


def of_any_words(
    ear: Tagger, make: Callable[[str, int], Audio], said: Iterable[tuple[Sequence[str], str]]
) -> dict[str, Any]:
    """Phrases and the labels that each may mean, one clip each: the share that is heard as one of these, and what is
    heard instead, phrase by phrase. Labels without accepted classes are left out."""
    missed, heard = {}, []
    for i, (labels, text) in enumerate(said):
        if wanted := {name for label in labels for name in ACCEPTED.get(label, ())}:
            first = ear.first(make(text, i))
            heard.append(bool(wanted & set(first)))
            if not heard[-1]:
                missed[text] = first
    return {"phrases": len(heard), "heard": round(float(np.mean(heard)), 3) if heard else 0.0, "missed": missed}


def by_label(
    ear: Tagger,
    make: Callable[[str, int], Audio],
    say: dict[str, list[str]],
    recorded: Sequence[Recorded],
    seeds: int,
) -> dict[str, dict[str, float]]:
    """For each label, the share of ``seeds`` generated clips, and of its recordings as they are and decoded, that are
    heard as an accepted class.

    ``say``: label → phrases. Labels without accepted classes (no class of AudioSet says what they are) are left out.
    """
    found = {}
    for label in sorted(ACCEPTED.keys() & say.keys()):
        wanted = ACCEPTED[label]
        made = [bool(set(ear.first(make(say[label][0], 31 * k))) & set(wanted)) for k in range(seeds)]
        found[label] = {"generated": round(float(np.mean(made)), 2)}
        found[label] |= _hits([r for r in recorded if r.label == label], wanted)
    return found
