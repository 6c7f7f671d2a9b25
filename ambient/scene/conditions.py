"""Conditions over parameters: ``rain > 0.35 and wind < 0.7``.

Comparisons, ``and``, ``or``, ``not``, numbers, names and ``+ - * /``, nothing else: the text is parsed to a syntax
tree, checked against that list and turned into plain functions. Nothing is ever evaluated as code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Condition", "ConditionError", "parse_condition"]

_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else math.inf,
}
MOST_CHARACTERS = 500
DEEPEST = 40

Values = Mapping[str, float]
Span = tuple[float, float]


class ConditionError(ValueError):
    """What is wrong, and at which character (from 0)."""

    def __init__(self, offset: int, message: str, advice: str = "") -> None:
        self.offset, self.message, self.advice = offset, message, advice
        super().__init__(message)


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A parsed condition. ``names`` are the parameters it reads, with the offset of their first mention."""

    text: str
    names: Mapping[str, int]
    holds: Callable[[Values], bool]
    possible: Callable[[Mapping[str, Span]], tuple[bool, bool]]
    """Given each parameter's range: whether it can hold, and whether it can fail to."""
    threshold: tuple[str, str, float] | None
    """``(name, operator, number)`` where it is a single comparison with a number."""


def parse_condition(text: str) -> Condition:
    """Parses a condition. Raises ConditionError."""
    if len(text) > MOST_CHARACTERS:
        raise ConditionError(0, f"the condition is longer than {MOST_CHARACTERS} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        offset = getattr(error, "offset", None) or 1
        advice = "write == to compare" if "=" in text and "==" not in text else "such as rain > 0.35 and wind < 0.7"
        raise ConditionError(max(0, offset - 1), f"{text!r} is no condition", advice) from None
    if _depth(tree) > DEEPEST:
        raise ConditionError(0, "the condition is nested too deeply", "split it into several transitions")
    names: dict[str, int] = {}
    holds, possible = _truth(tree, names)
    return Condition(text, names, holds, possible, _threshold(tree))


def _depth(tree: ast.expr) -> int:
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [c for node in level for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)]
    return depth


Truth = tuple[Callable[[Values], bool], Callable[[Mapping[str, Span]], tuple[bool, bool]]]
Number = tuple[Callable[[Values], float], Callable[[Mapping[str, Span]], Span]]


def _truth(node: ast.expr, names: dict[str, int]) -> Truth:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(v, names) for v in node.values]
        every = isinstance(node.op, ast.And)
        combine = all if every else any

        def possible(spans: Mapping[str, Span]) -> tuple[bool, bool]:
            can, fails = zip(*(p[1](spans) for p in parts), strict=True)
            if not every:
                return any(can), all(fails)
            together = _narrowed(node.values, spans)
            return all(p[1](together)[0] for p in parts), any(fails)

        return (lambda values: combine(p[0](values) for p in parts)), possible
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner, inner_possible = _truth(node.operand, names)
        return (lambda values: not inner(values)), (lambda spans: inner_possible(spans)[::-1])
    if isinstance(node, ast.Compare):
        return _comparison(node, names)
    raise ConditionError(node.col_offset, "a comparison is needed here", "such as rain > 0.35")


def _narrowed(parts: Sequence[ast.expr], spans: Mapping[str, Span]) -> Mapping[str, Span]:
    """The ranges in which all thresholds among ``parts`` hold; those that leave nothing stay as they are, crossed."""
    found = dict(spans)
    for part in parts:
        if (threshold := _threshold(part)) is not None and threshold[0] in found:
            name, sign, number = threshold
            low, high = found[name]
            found[name] = (max(low, number), high) if sign == ">" else (low, min(high, number))
    return found


def _comparison(node: ast.Compare, names: dict[str, int]) -> Truth:
    terms = [_number(n, names) for n in (node.left, *node.comparators)]
    checks = []
    for op in node.ops:
        if type(op) not in _COMPARE:
            raise ConditionError(node.col_offset, "only > >= < <= == != compare")
        checks.append((type(op), _COMPARE[type(op)]))

    def holds(values: Values) -> bool:
        found = [t[0](values) for t in terms]
        return all(check(a, b) for (_, check), a, b in zip(checks, found, found[1:], strict=False))

    def possible(spans: Mapping[str, Span]) -> tuple[bool, bool]:
        found = [t[1](spans) for t in terms]
        each = [_possible(kind, a, b) for (kind, _), a, b in zip(checks, found, found[1:], strict=False)]
        return all(e[0] for e in each), any(e[1] for e in each)

    return holds, possible


def _possible(kind: type[ast.cmpop], a: Span, b: Span) -> tuple[bool, bool]:
    """Whether a comparison of two ranges can hold, and whether it can fail."""
    if kind in (ast.Gt, ast.LtE):
        can, fails = a[1] > b[0], a[0] <= b[1]
        return (can, fails) if kind is ast.Gt else (fails, can)
    if kind in (ast.Lt, ast.GtE):
        can, fails = a[0] < b[1], a[1] >= b[0]
        return (can, fails) if kind is ast.Lt else (fails, can)
    meet = a[0] <= b[1] and b[0] <= a[1]
    differ = not (a[0] == a[1] == b[0] == b[1])
    return (meet, differ) if kind is ast.Eq else (differ, meet)


def _number(node: ast.expr, names: dict[str, int]) -> Number:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        try:
            value = float(node.value)  # type: ignore[arg-type]  # its type was checked just now
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise ConditionError(node.col_offset, "the number is too large")
        return (lambda values: value), (lambda spans: (value, value))
    if isinstance(node, ast.Name):
        name = node.id
        names.setdefault(name, node.col_offset)
        return (lambda values: values[name]), (lambda spans: spans[name])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner, span = _number(node.operand, names)
        if isinstance(node.op, ast.UAdd):
            return inner, span

        def mirrored(spans: Mapping[str, Span]) -> Span:
            low, high = span(spans)
            return -high, -low

        return (lambda values: -inner(values)), mirrored
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        do = _ARITHMETIC[type(node.op)]
        (a, a_span), (b, b_span) = _number(node.left, names), _number(node.right, names)

        def corners(spans: Mapping[str, Span]) -> Span:
            high = b_span(spans)
            if do is _ARITHMETIC[ast.Div] and high[0] <= 0 <= high[1]:
                return -math.inf, math.inf
            found = [do(x, y) for x in a_span(spans) for y in high]
            return min(found), max(found)

        return (lambda values: do(a(values), b(values))), corners
    raise ConditionError(node.col_offset, "only parameters, numbers and + - * / may stand here")


def _threshold(node: ast.expr) -> tuple[str, str, float] | None:
    if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.left, ast.Name)):
        return None
    try:
        number = _number(node.comparators[0], {})[0]({})
    except (KeyError, ConditionError):
        return None
    signs: dict[type[ast.cmpop], str] = {ast.Gt: ">", ast.GtE: ">", ast.Lt: "<", ast.LtE: "<"}
    sign = signs.get(type(node.ops[0]))
    return (node.left.id, sign, number) if sign else None
