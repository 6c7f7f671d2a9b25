"""``ambient models`` and ``ambient devices``: what is at hand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Runs the command that was given."""
    rows = _models() if given.command == "models" else _devices()
    if given.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        _table(rows)
    else:
        print("none found; `ambient serve` streams without one, `ambient render` writes files")
    return 0


def _models() -> list[dict[str, Any]]:
    from ambient.generate.catalogue import known_models
    from ambient.messages import RATE

    rows = []
    for info in known_models():
        row = asdict(info)
        row["longest_seconds"] = round(info.max_latent_frames * info.frames_per_latent / RATE, 2)
        keep = ("name", "family", "rate", "channels", "longest_seconds", "steps", "fingerprint", "path")
        rows.append({k: row[k] for k in keep})
    return rows


def _devices() -> list[dict[str, Any]]:
    from ambient.sinks.soundcard import list_devices

    return list_devices()


def _table(rows: Sequence[dict[str, Any]]) -> None:
    names = list(rows[0])
    cells = [names] + [[str(row.get(n, "")) for n in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
