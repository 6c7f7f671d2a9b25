"""What a tagger hears: in clips of the everyday phrases, and in every label's clips beside its recordings."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ambient.messages import Audio
from tools.training.phrases import ACCEPTED, EXPECTED

__all__ = ["FIRST", "Tagger", "by_label", "jensen_shannon", "phrases"]

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


def phrases(ear: Tagger, make: Callable[[str, int], Audio], seeds: int, most: int = len(EXPECTED)) -> dict[str, Any]:
    """The everyday phrases: share of ``seeds`` clips each that are heard rightly, and what was heard in the last."""
    rows = {}
    for i, (text, wanted) in enumerate(list(EXPECTED.items())[:most]):
        heard = [ear.first(make(text, i + 100 * k)) for k in range(seeds)]
        rows[text] = {"heard": round(float(np.mean([bool(set(f) & set(wanted)) for f in heard])), 2), "last": heard[-1]}
    return {
        "phrases": len(rows),
        "clips_a_phrase": seeds,
        "share_heard": round(float(np.mean([r["heard"] for r in rows.values()])), 3),
        "what": rows,
    }


def by_label(
    ear: Tagger,
    make: Callable[[str, int], Audio],
    say: dict[str, list[str]],
    recorded: Iterable[tuple[str, Audio]],
    seeds: int,
) -> dict[str, dict[str, float]]:
    """For each label, the share of its recordings and of ``seeds`` generated clips that are heard as an accepted class.

    ``say``: label → phrases; ``recorded``: label and sound of each recording. Labels without accepted classes (no
    class of AudioSet says what they are) are left out.
    """
    real: dict[str, list[bool]] = {}
    for label, sound in recorded:
        if label in ACCEPTED:
            real.setdefault(label, []).append(bool(set(ear.first(sound)) & set(ACCEPTED[label])))
    found = {}
    for label in sorted(ACCEPTED.keys() & say.keys()):
        made = [bool(set(ear.first(make(say[label][0], 31 * k))) & set(ACCEPTED[label])) for k in range(seeds)]
        found[label] = {"generated": round(float(np.mean(made)), 2)}
        if label in real:
            found[label] |= {"recorded": round(float(np.mean(real[label])), 2), "recordings": len(real[label])}
    return found
