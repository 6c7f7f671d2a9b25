"""What people call sounds: some hundred and ninety phrases for every label, in ``phrasebook.txt``.

They teach the prompt encoder (:mod:`tools.training.naming`) and nothing else: the diffusion model is trained with the
captions of ``captions.py``. ``unseen.txt`` holds two or three phrases for every label that were written apart from all
of these, by somebody who had read none of them, before anything was trained: how well those are understood is the
figure to go by. No phrase is learned that is much like one that judges, be it one of these or of the everyday phrases.
"""

from __future__ import annotations

import pathlib
import re
from collections import Counter
from functools import lru_cache

from tools.training.phrases import EXPECTED, NAMED

__all__ = ["ASKED", "stem", "stems", "taught", "unseen"]

_HERE = pathlib.Path(__file__).parent
_COMMON = {"a", "an", "the", "in", "of", "on", "at", "from", "by", "with", "and", "to", "over", "full", "after"}
_COMMON |= {"my", "somewhere"}
_LIKE = 0.6
"""Words that two phrases share, of all that they have together, from which they are much alike (Jaccard)."""


def stem(word: str) -> str:
    """A word without the s of its plural."""
    return word if word.endswith("ss") else word.removesuffix("s")


def stems(text: str) -> set[str]:
    """The words of a text, without common ones."""
    return {stem(w) for w in re.findall(r"[a-z]{2,}", text.lower())} - _COMMON


ASKED = frozenset(word for phrase in EXPECTED for word in stems(phrase))
"""Words of the everyday phrases. WordNet's words with one of them are not learned, for they are put to places and
verbs at random, which could make one of those phrases."""


@lru_cache(maxsize=1)
def taught() -> tuple[tuple[str, str], ...]:
    """Label and phrase of all that the book has and the evaluation leaves over, in lower case."""
    judged = [stems(p) for p in [*(p for _, p in unseen()), *(p for said in NAMED.values() for p in said), *EXPECTED]]
    of_word: dict[str, list[int]] = {}
    for number, words in enumerate(judged):
        for word in words:
            of_word.setdefault(word, []).append(number)

    def judges(words: set[str]) -> bool:
        shared = Counter(number for word in words for number in of_word.get(word, ()))
        return any(
            (len(words) > 1 and both == len(words)) or both >= _LIKE * (len(words) + len(judged[number]) - both)
            for number, both in shared.items()
        )

    found: dict[str, str] = {}
    label = ""
    for line in (_HERE / "phrasebook.txt").read_text("utf-8").splitlines():
        if line.startswith("# "):
            label = line[2:]
        elif line and not judges(stems(line)):
            found.setdefault(line.lower(), label)
    return tuple((label, phrase) for phrase, label in found.items())


@lru_cache(maxsize=1)
def unseen() -> tuple[tuple[tuple[str, ...], str], ...]:
    """Labels of which one is meant, and a phrase: two or three for every label."""
    rows = [line.split(": ", 1) for line in (_HERE / "unseen.txt").read_text("utf-8").splitlines() if line]
    return tuple((tuple(labels.split(", ")), phrase) for labels, phrase in rows)
