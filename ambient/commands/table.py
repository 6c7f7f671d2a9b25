"""Rows of equal keys as aligned columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["print_table"]


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Prints the keys of the first row as the heading, then every row."""
    names = list(rows[0])
    cells = [names] + [[str(row.get(n, "")) for n in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
