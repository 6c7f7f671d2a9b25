"""Rare words by their definitions: what a sentence transformer does not know well, a dictionary does.

WordNet (Fellbaum 1998; its licence allows any use) says of a rivulet that it is a small stream. Phrases with such a
word get a goal between their own embedding and that of the same phrase with the definition in the word's place (as Hill
et al., "Learning to understand phrases by embedding the dictionary", TACL 2016, arXiv 1504.00548, learn words).
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

import numpy as np

__all__ = ["Nouns", "definitions", "goals", "phrases"]

_KINDS = {
    "noun": {19: 4, 17: 3, 5: 2, 11: 2, 6: 1},  # phenomena, natural objects, animals, events, artifacts
    "verb": {43: 4, 39: 2, 38: 1},  # weather, perception, motion
}
"""Numbers of WordNet's lexicographer files whose words can name a sound or its source, and how often they are drawn."""
_SENSES = 3
"""Of so many senses of a word, commonest first, that is taken which can best be heard."""
_LONGEST = 9
"""Words of a definition that are used."""
_TEMPLATES = (
    "{}", "a {}", "the {}", "{} nearby", "a {} {time}", "the {} in the {place}", "{manner} {} {time}",
    "{manner} {} in the {place}", "a {} over the {place}", "{} and wind", "the sound of a {}",
    "a {} by the {place}, {time}",
)  # fmt: skip


def _short(gloss: str) -> str:
    text = re.sub(r"\([^)]*\)", " ", gloss.split('"')[0]).split(";")[0]
    words = text.replace(",", " ").split()
    return " ".join(words[:_LONGEST]).strip(" .:")


def definitions(folder: pathlib.Path) -> dict[str, tuple[str, int]]:
    """Word → short definition, and how often it should be drawn; single words that can name a sound or its source.

    ``folder``: WordNet's database files (``index.noun``, ``data.noun``, ``index.verb``, ``data.verb``). Raises
    SystemExit where they are missing.
    """
    found: dict[str, tuple[str, int]] = {}
    try:
        for part, kinds in _KINDS.items():
            senses: dict[str, tuple[int, str]] = {}
            proper: set[tuple[str, str]] = set()
            for line in (folder / f"data.{part}").read_text("utf-8", "replace").splitlines():
                if line[:1].isdigit():
                    head, _, gloss = line.partition(" | ")
                    fields = head.split()
                    senses[fields[0]] = (kinds.get(int(fields[1]), 0), gloss)
                    proper |= {
                        (w.lower(), fields[0]) for w in fields[4 : 4 + 2 * int(fields[3], 16) : 2] if not w.islower()
                    }
            for line in (folder / f"index.{part}").read_text("utf-8", "replace").splitlines():
                fields = line.split()
                if not fields or not re.fullmatch(r"[a-z]{3,14}", word := fields[0]) or line[0] == " ":
                    continue
                common = [x for x in fields[-int(fields[2]) :] if (word, x) not in proper][:_SENSES]
                if not common:
                    continue
                weight, gloss = max((senses[x] for x in common), key=lambda x: x[0])
                text = _short(gloss)
                if text and weight > found.get(word, ("", 0))[1]:
                    found[word] = (text, weight)
    except OSError as error:
        raise SystemExit(f"{folder} has no WordNet database: {error}") from error
    return found


class Nouns:
    """WordNet's nouns and what they are kinds of. ``folder`` as in :func:`definitions`; raises SystemExit likewise."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._senses: dict[str, list[str]] = {}
        self._above: dict[str, list[str]] = {}
        self._files: dict[str, int] = {}
        proper: set[tuple[str, str]] = set()
        try:
            data, index = ((folder / f"{n}.noun").read_text("utf-8", "replace").splitlines() for n in ("data", "index"))
        except OSError as error:
            raise SystemExit(f"{folder} has no WordNet database: {error}") from error
        for line in data:
            if line[:1].isdigit():
                fields = line.partition(" | ")[0].split()
                words = int(fields[3], 16)
                at, kinds = fields[0], fields[5 + 2 * words :]
                self._files[at] = int(fields[1])
                self._above[at] = [kinds[i + 1] for i in range(0, len(kinds) - 3, 4) if kinds[i] in ("@", "@i")]
                proper |= {(w.lower(), at) for w in fields[4 : 4 + 2 * words : 2] if not w.islower()}
        for line in index:
            fields = line.split()
            if fields and line[0] != " " and re.fullmatch(r"[a-z][a-z_-]{2,24}", word := fields[0]):
                common = [x for x in fields[-int(fields[2]) :] if (word, x) not in proper]
                if common:
                    self._senses[word.replace("_", " ")] = common
        self.first = {word: senses[0] for word, senses in self._senses.items()}
        """Word → its commonest sense that is no name."""

    def file(self, sense: str) -> int:
        """The number of the lexicographer file that a sense is kept in."""
        return self._files[sense]

    def sense(self, word: str, file: int) -> str | None:
        """The commonest sense of a word in a lexicographer file."""
        return next((x for x in self._senses.get(word, []) if self._files[x] == file), None)

    def nearest(self, sense: str, of: dict[str, str]) -> str | None:
        """What ``of`` has for a sense, or for the nearest of those that it is a kind of."""
        row = [sense]
        while row:
            for x in row:
                if x in of:
                    return of[x]
            row = [y for x in row for y in self._above.get(x, [])]
        return None


def phrases(
    known: dict[str, tuple[str, int]], count: int, fill: dict[str, tuple[str, ...]], seed: int = 1
) -> list[tuple[str, str]]:
    """``count`` phrases with a word, and the same with its definition.

    ``known``: see :func:`definitions`; ``fill``: what may stand for ``{place}``, ``{time}``, ``{manner}``.
    """
    rng = np.random.default_rng(seed)
    words = sorted(known)
    weights = np.array([known[w][1] for w in words], float)
    out = []
    for i in rng.choice(len(words), count, p=weights / weights.sum()):
        word, (meaning, _) = words[i], known[words[i]]
        template = str(rng.choice(_TEMPLATES))
        for name, choices in fill.items():
            template = template.replace("{" + name + "}", str(rng.choice(choices)))
        said = re.sub(r"\b(a|the) \{\}", "{}", template) if meaning.split()[0] in ("a", "an", "the") else template
        out.append((template.format(word), said.format(meaning)))
    return out


def goals(
    pairs: list[tuple[str, str]], rare: Callable[[str], bool], embed: Callable[[list[str]], np.ndarray]
) -> np.ndarray:
    """Unit vectors ``(pairs, dim)``, float32: between phrase and definition, nearer to the latter where a word is
    rare, which the teacher then reads by its letters rather than its meaning."""
    own, said = embed([p for p, _ in pairs]), embed([d for _, d in pairs])
    share = np.array([0.75 if rare(p) else 0.4 for p, _ in pairs], np.float32)[:, None]
    mixed = (1 - share) * own + share * said
    found: np.ndarray = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    return found
