"""``ambient devices``: the sound cards that are at hand."""

from __future__ import annotations

import argparse
import json

from ambient.commands.table import print_table

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Runs the command that was given."""
    from ambient.sinks.soundcard import list_devices

    rows = list_devices()
    if given.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        print_table(rows)
    else:
        print("none found; `ambient serve` streams without one, `ambient render` writes files")
    return 0
