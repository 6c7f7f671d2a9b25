"""``ambient models``: what is at hand, fetching more, and measuring what a device can do with it."""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

from ambient.commands.table import print_table
from ambient.errors import AmbientError
from ambient.generate import hub
from ambient.generate.catalogue import describe, known_models
from ambient.messages import RATE, ModelInfo

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Runs the command that was given."""
    if given.action == "fetch":
        return _fetch(given)
    rows = _rows()
    if given.json:
        print(json.dumps(rows, indent=1))
        return 0
    shown = ("name", "family", "state", "size", "rate", "channels", "licence", "longest_seconds", "steps")
    print_table([{k: "" if row[k] is None else row[k] for k in shown} for row in rows])
    for row in rows:
        if row["note"]:
            print(f"{row['name']}: {row['note']}")
    print("\n`ambient models fetch NAME` brings one here; `--model NAME` or a checkpoint folder plays it")
    return 0


def _fetch(given: argparse.Namespace) -> int:
    folder = hub.fetch(given.name)
    info = describe(given.name)
    licence = hub.licence_of(folder)
    row = _row(info, "fetched", licence, None)
    if given.json:
        print(json.dumps(row, indent=1))
    else:
        print(f"{info.name}: {info.family}, {row['size']}, {info.rate} Hz, licence {licence or 'unknown'}: {folder}")
        print(f"play it with --model {given.name}; `ambient models bench {given.name}` finds what this machine can do")
    return 0


def _rows() -> list[dict[str, Any]]:
    """Every model: in the package, fetched, known."""
    rows = [_row(info, "bundled", "Apache-2.0", None) for info in known_models()]
    seen = set()
    known = {k.repository: k for k in hub.KNOWN}
    for repository, folder in hub.all_cached():
        licence = known[repository].licence if repository in known else hub.licence_of(folder)
        try:
            rows.append(_row(describe(repository), "fetched", licence, None))
        except AmbientError as error:
            if repository not in known:
                continue  # something else that this machine keeps
            rows.append(_known_row(known[repository], "incomplete") | {"note": str(error)})
        seen.add(repository)
    rows += [_known_row(k, "known") for k in hub.KNOWN if k.repository not in seen]
    return rows


def _row(info: ModelInfo, state: str, licence: str | None, note: str | None) -> dict[str, Any]:
    size = sum(p.stat().st_size for p in pathlib.Path(info.path).rglob("*") if p.is_file())
    return {
        "name": info.name,
        "family": info.family,
        "state": state,
        "size": _size(size),
        "rate": info.rate,
        "channels": info.channels,
        "licence": licence,
        "longest_seconds": round(info.max_latent_frames * info.frames_per_latent / RATE, 2),
        "steps": info.steps,
        "fingerprint": info.fingerprint,
        "path": info.path,
        "note": note,
    }


def _known_row(model: hub.KnownModel, state: str) -> dict[str, Any]:
    note = None
    if model.converted:
        note = "to be converted with the script in diffusers' sources; its licence must be accepted on the hub first"
    elif model.gated:
        note = "its licence must be accepted on the hub first"
    return {
        "name": model.repository,
        "family": model.family,
        "state": state,
        "size": f"about {_size(round(model.gigabytes * 1e9))}" if model.gigabytes else None,
        "rate": model.rate,
        "channels": model.channels,
        "licence": model.licence,
        "longest_seconds": None,
        "steps": None,
        "fingerprint": None,
        "path": None,
        "note": note,
    }


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e8 else f"{count / 1e6:.0f} MB"
