"""What people call sounds, written by hand: some hundred and eighty phrases for every label, in ``phrasebook.txt``.

They teach the prompt encoder (:mod:`tools.training.naming`) and nothing else: the diffusion model is trained with the
captions of ``captions.py``. ``unseen.txt`` holds phrases that were written apart from all of these, by somebody who had
not read them, before anything was trained: how well those are understood is the figure to go by. No phrase is learned
that is among them, nor one with a word of the everyday phrases of the evaluation that captions lack.
"""

from __future__ import annotations

import pathlib
import re
from functools import lru_cache

from tools.training.captions import PHRASES
from tools.training.phrases import EXPECTED, NAMED

__all__ = ["ASKED", "stem", "stems", "taught", "unseen"]

_HERE = pathlib.Path(__file__).parent
_COMMON = {"a", "the", "in", "of", "on", "at", "from", "by", "with", "and", "to", "over", "full", "an"}


def stem(word: str) -> str:
    """A word without the s of its plural."""
    return word.removesuffix("s")


def stems(text: str) -> set[str]:
    """The words of a text, without common ones."""
    return {stem(w) for w in re.findall(r"[a-z]+", text.lower())} - _COMMON


ASKED = frozenset(word for phrase in EXPECTED for word in stems(phrase))
"""Words of the everyday phrases, by which no name is learned."""


@lru_cache(maxsize=1)
def taught() -> tuple[tuple[str, str], ...]:
    """Label and phrase of all that the book has and the evaluation leaves over, in lower case."""
    captions = {word for said in PHRASES.values() for phrase in said for word in stems(phrase)}
    banned = ASKED - captions
    judged = [phrase for _, phrase in unseen()] + [phrase for said in NAMED.values() for phrase in said]
    same = {frozenset(stems(phrase)) for phrase in judged}
    found: dict[str, str] = {}
    label = ""
    for line in (_HERE / "phrasebook.txt").read_text("utf-8").splitlines():
        if line.startswith("# "):
            label = line[2:]
        elif line and not stems(line) & banned and frozenset(stems(line)) not in same:
            found.setdefault(line.lower(), label)
    return tuple((label, phrase) for phrase, label in found.items())


@lru_cache(maxsize=1)
def unseen() -> tuple[tuple[tuple[str, ...], str], ...]:
    """Labels of which one is meant, and a phrase: three for every label."""
    rows = [line.split(": ", 1) for line in (_HERE / "unseen.txt").read_text("utf-8").splitlines() if line]
    return tuple((tuple(labels.split(", ")), phrase) for labels, phrase in rows)
