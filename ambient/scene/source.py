"""YAML text to plain data with a position for every value.

PyYAML's ``compose`` gives the positions; scalars are read as YAML 1.2 has them (``05:00`` and ``on`` are text), and
nothing is overwritten silently: a key that stands twice is a mistake. Sizes are bounded, so that no file, however
made, costs more than a moment.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from ambient.errors import Problem

__all__ = ["Path", "Source", "read_source"]

Path = tuple[str | int, ...]

MOST_BYTES = 1 << 20
MOST_VALUES = 20_000
DEEPEST = 40

_INT = re.compile(r"[-+]?[0-9]+$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")


@dataclass(slots=True)
class Source:
    """Plain data and where each part of it stands: ``(line, column)`` from 1, by path; keys apart from values."""

    file: str
    data: Any = None
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    quoted: set[Path] = field(default_factory=set)
    """Texts in quotes: what they say begins one column later."""
    moved: dict[Path, Path] = field(default_factory=dict)
    """Where the file has what a shorthand stands for, by the path in full form."""
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path, key: bool = False) -> tuple[int, int]:
        """Where a path stands, or the nearest part of it that stands somewhere."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.moved:
                path = (*self.moved[path[:length]], *path[length:])
                break
        while path:
            if key and path in self.keys:
                return self.keys[path]
            if path in self.values:
                return self.values[path]
            path = path[:-1]
        return self.values.get((), (1, 1))

    def error(
        self, path: Path, message: str, advice: str = "", *, key: bool = False, offset: int | None = None
    ) -> None:
        """Notes a mistake; ``offset`` characters into a text, where one is given."""
        line, column = self.place(path, key)
        if offset is not None:
            column += offset + (path in self.quoted)
        self.problems.append(Problem(self.file, line, column, "error", message, advice))

    def warning(self, path: Path, message: str, advice: str = "", *, key: bool = False) -> None:
        """Notes something that would run, but hardly as meant."""
        line, column = self.place(path, key)
        self.problems.append(Problem(self.file, line, column, "warning", message, advice))


class _TooMuch(Exception):
    """Line, column, what is too much, how much may be."""


class _Bounded(yaml.BaseLoader):
    """Stops where a file gets too large or too deep, before that costs anything."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # its stub has no types
        place = mark.line + 1, mark.column + 1
        if self._nodes > 2 * MOST_VALUES:
            raise _TooMuch(*place, f"the file holds more than {MOST_VALUES:,} values", "split it into several scenes")
        if self._depth > DEEPEST:
            raise _TooMuch(*place, f"this is nested more than {DEEPEST} levels deep", "a scene needs seven")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_source(file: str, raw: bytes) -> Source:
    """Reads a scene file's bytes. Mistakes are in ``problems``; ``data`` is None where nothing could be read."""
    source = Source(file)
    if len(raw) > MOST_BYTES:
        source.error((), f"the file has more than {MOST_BYTES:,} bytes", "split it into several scenes")
        return source
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        source.problems.append(Problem(file, line, 1, "error", "the file is not UTF-8 text", "save it as UTF-8"))
        return source
    try:
        node = _Bounded(text).get_single_node()
    except _TooMuch as much:
        source.values[()] = much.args[:2]
        source.error((), *much.args[2:])
        return source
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = str(error.problem or error.context or "cannot be read")
        if error.context_mark is not None and "unexpected end" in said:  # what was not closed begins somewhere
            line, column = error.context_mark.line + 1, error.context_mark.column + 1
        source.problems.append(Problem(file, line, column, "error", f"this is not YAML: {said}", _hint(said)))
        return source
    except yaml.YAMLError as error:
        before = text[: getattr(error, "position", 0)]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        said = str(getattr(error, "reason", error)).splitlines()[0]
        advice = "save it as UTF-8 text"
        source.problems.append(Problem(file, line, column, "error", f"this is not YAML: {said}", advice))
        return source
    budget = [MOST_VALUES]
    source.data = None if node is None else _plain(node, (), source, budget, 0)
    if budget[0] <= 0:
        source.problems.clear()
        source.data = None
        source.error((), f"the file holds more than {MOST_VALUES:,} values", "aliases count each time they are used")
    elif source.data is None and not source.problems:
        source.error((), "the file is empty", "a scene needs `scene: 1` and `states:`")
    return source


_HINTS = {
    "'\\t'": "indent with spaces",
    "mapping values are not allowed": "put text that contains ': ' in quotes",
    "cannot start any token": "put text that begins so in quotes",
    "unexpected end": "a quote is opened here and not closed",
    "but found '<block": "begin the line below the one that it belongs to",
    "but got '<stream end>'": "a bracket is not closed",
    "another document": "a file holds one scene",
    "undefined alias": "a text that begins with * goes in quotes",
}
"""What to write, by what the parser says; the first that is found."""


def _hint(said: str) -> str:
    return next((hint for part, hint in _HINTS.items() if part in said), "")


def _plain(node: yaml.Node, path: Path, source: Source, budget: list[int], depth: int) -> Any:
    budget[0] -= 1
    if budget[0] <= 0:
        return None
    source.values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if depth > DEEPEST:
        source.error(path, f"this is nested more than {DEEPEST} levels deep")
        return None
    if isinstance(node, yaml.MappingNode):
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
                source.problems.append(Problem(source.file, line, column, "error", "a key must be a plain word"))
                continue
            key = key_node.value
            mark = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key in out:
                first = source.keys[(*path, key)][0]
                source.problems.append(
                    Problem(source.file, *mark, "error", f"{key!r} stands here twice", f"it is in line {first} already")
                )
                continue
            source.keys[(*path, key)] = mark
            out[key] = _plain(value_node, (*path, key), source, budget, depth + 1)
        return out
    if getattr(node, "style", None) in ("'", '"'):
        source.quoted.add(path)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, i), source, budget, depth + 1) for i, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    if getattr(node, "style", None) is not None:
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if len(text) < 40 and _INT.match(text):
        return int(text)
    if len(text) < 40 and _FLOAT.match(text):
        value = float(text)
        return value if math.isfinite(value) else text
    return text
