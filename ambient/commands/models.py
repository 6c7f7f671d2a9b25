"""``ambient models``: what is at hand, fetching more, and measuring what a device can do with it."""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import sys
from dataclasses import asdict, replace
from typing import Any

from ambient.commands.table import print_table
from ambient.errors import AmbientError
from ambient.generate import hub
from ambient.generate.catalogue import describe, known_models
from ambient.generate.tuning import (
    MARGIN,
    Measured,
    Tried,
    choose,
    choose_way,
    measure,
    measure_ways,
    remember,
    tunings_of,
)
from ambient.generate.ways import compile_afresh
from ambient.messages import RATE, ModelInfo

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Runs the command that was given."""
    if given.action == "fetch":
        return _fetch(given)
    if given.action == "bench":
        return _bench(given)
    rows = _rows()
    if given.json:
        print(json.dumps(rows, indent=1))
        return 0
    shown = ("name", "family", "state", "size", "rate", "channels", "licence", "longest_seconds", "steps")
    print_table([{k: "" if row[k] is None else row[k] for k in shown} for row in rows])
    for row in rows:
        if row["note"]:
            print(f"{row['name']}: {row['note']}")
    for row in rows:
        for found in row["measured"] or ():
            threads = "" if found["threads"] is None else f" --threads {found['threads']}"
            how = f"{found['steps']} steps, clips of {found['clip_seconds']:g} s, {found['batch']} at once"
            speed = f"{found['times_real_time']:g} times real time" + (" (estimated)" if found["estimated"] else "")
            print(f"{row['name']}: measured with --device {found['device']}{threads} ({found['on']}): {how}: {speed}")
    print("\n`ambient models fetch NAME` brings one here, `ambient models bench NAME` measures it;")
    print("`--model NAME` or a checkpoint folder plays it")
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


def _bench(given: argparse.Namespace) -> int:
    """Measures what this device can do with a model, and stores it for `play` and `serve`."""
    from ambient.generate.loading import load_backend

    info = describe(given.name)
    if not given.json:
        print(f"loading {info.name} …", file=sys.stderr)
    backend = load_backend(info, given.device, given.threads)
    device = getattr(backend, "device", given.device)
    if not given.json:
        print(f"{info.name} on {device}", file=sys.stderr)

    def tell(row: Measured) -> None:
        if not given.json:
            seconds = row.latent_frames * info.frames_per_latent / RATE
            how = f"{row.steps:3d} steps, {row.batch} x {seconds:5.2f} s"
            about = " (estimated)" if row.estimated else ""
            print(f"  {how}: {row.seconds:6.2f} s, {row.times_real_time:5.2f} times real time{about}", file=sys.stderr)

    def tell_way(row: Tried) -> None:
        if not given.json:
            seconds = f"{row.seconds:6.2f} s, the first one {row.first_seconds:.2f} s"
            print(f"  {row.way}: {row.trouble or seconds}", file=sys.stderr)

    compile_afresh()
    ways = measure_ways(backend, tell=tell_way, most_seconds=given.seconds / 3)
    way = choose_way(ways)
    if ways and not given.json:
        print(f"  from here on: {way}", file=sys.stderr)
    rows = measure(backend, tell=tell, most_seconds=given.seconds)
    found = replace(choose(info, rows), attention=way.attention, compiled=way.compiled)
    path = remember(info, given.device, given.threads, found, str(device))
    if given.json:
        said = {"name": info.name, "device": str(device), **asdict(found), "layers": found.layers}
        tried = [
            asdict(r.way)
            | {"first_seconds": r.first_seconds, "seconds": r.seconds if math.isfinite(r.seconds) else None}
            | {"trouble": r.trouble or None}
            for r in ways
        ]
        said |= {"measured": [asdict(r) for r in rows], "ways": tried, "stored": str(path)}
        print(json.dumps(said, indent=1))
        return 0
    how = f"{found.steps} steps, clips of {found.clip_seconds:g} s, {found.batch} at once, {found.way}"
    about = "about " if found.estimated else ""
    print(f"{info.name}: {how}: {about}{found.times_real_time:g} times real time")
    if found.real_time:
        print(f"enough for {found.layers} layers that sound all the time, with {MARGIN:g} times real time each")
        print(f"play and serve use it from now on (stored in {path})")
    else:
        far = MARGIN / found.times_real_time
        print(f"too slow to play live here: it would have to be {far:.1f} times as fast, for one layer")
        print(
            f"render ahead: `ambient render SCENE --model {given.name} …`; live: `ambient play SCENE --model bundled`"
        )
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
        "measured": tunings_of(info) or None,
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
        "measured": None,
        "fingerprint": None,
        "path": None,
        "note": note,
    }


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e8 else f"{count / 1e6:.0f} MB"
