"""``ambient new``, ``schema``, ``graph`` and ``explain``: help for those who write scenes."""

from __future__ import annotations

import argparse
import json
import pathlib
import re

from ambient.commands.ask import ask
from ambient.errors import AmbientError
from ambient.scene import draft_scene, draw_states, find_scene, load_scene, scene_schema

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Runs the command that was given."""
    return {"new": _new, "schema": _schema, "graph": _graph, "explain": _explain}[given.command](given)


def _new(given: argparse.Namespace) -> int:
    try:
        text = draft_scene(given.description, given.states)
    except ValueError as error:
        raise AmbientError(str(error)) from error
    words = re.findall(r"[a-z0-9]+", given.description.lower())
    out = given.out or pathlib.Path("_".join(words[:6] or ["scene"]) + ".yaml")
    if out.exists() and not given.force:
        raise AmbientError(f"{out} is there already: --force writes over it, --out FILE names another")
    _write(out, text.encode())
    print(f"{out} written. Hear it: ambient play {out}")
    return 0


def _schema(given: argparse.Namespace) -> int:
    text = json.dumps(scene_schema(), indent=1) + "\n"
    if given.out is None:
        print(text, end="")
    else:
        _write(given.out, text.encode())
        print(f"{given.out} written; begin a scene with\n# yaml-language-server: $schema={given.out}")
    return 0


def _graph(given: argparse.Namespace) -> int:
    scene = load_scene(find_scene(given.scene))
    out = given.out or pathlib.Path(f"{scene.name}-states.svg")
    svg = draw_states(scene)
    if out.suffix == ".svg":
        # in a file there is no page to take colours from
        _write(out, svg.replace("<svg ", '<svg style="background: white; color: #222" ', 1).encode())
    elif out.suffix == ".png":
        _write(out, _raster(svg))
    else:
        raise AmbientError(f"{out}: a picture ends in .svg or .png")
    print(out)
    return 0


def _raster(svg: str) -> bytes:
    try:
        import matplotlib
        import resvg_py
    except ImportError as error:
        raise AmbientError("a .png needs more packages: pip install 'ambient-engine[pictures]'") from error
    font = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")  # there may be none installed
    svg = svg.replace("currentColor", "#222").replace("system-ui, sans-serif", "DejaVu Sans")
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, background="white", zoom=2, font_files=[str(font)]))


def _write(path: pathlib.Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise AmbientError(f"{path} cannot be written: {error.strerror}") from error


def _explain(given: argparse.Namespace) -> int:
    url = f"{given.url.rstrip('/')}/api/v1/streams"
    streams = [given.stream] if given.stream else [row["name"] for row in ask(url)["streams"]]
    if not streams:
        raise AmbientError(f"{given.url} serves no stream")
    status = ask(f"{url}/{streams[0]}")
    if given.json:
        print(
            json.dumps({k: status[k] for k in ("stream", "state", "previous", "blend", "params", "layers")}, indent=1)
        )
        return 0
    print(f"{status['stream']}: {status['state']}", end="")
    print(f", {100 * status['blend']:.0f} % of the way from {status['previous']}" if status["blend"] < 1 else "")
    for name, value in status["params"].items():
        print(f"  {name} {value:.2f}")
    for layer in sorted(status["layers"], key=lambda row: -row["level_db"]):
        level = "muted" if layer["muted"] else f"{layer['level_db']:.0f} dB"
        print(f"\n{layer['name']} ({level}): {layer['prompt']}")
        if layer["heard"] not in (None, "", layer["prompt"]):
            print(f"  still heard: {layer['heard']}")
        for why in layer["why"]:
            print(f"  {why}")
    return 0
