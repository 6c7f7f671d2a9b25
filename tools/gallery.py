"""The gallery: every scene of the library rendered, measured, drawn, and put on one page.

``docs/gallery/figures.json`` keeps what was measured, so that a scene can be made anew without the others.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "gallery"
SECONDS = 120
MOST_BYTES = 120_000
RANGE_DB = 70
"""What of a spectrogram is shown below its loudest part."""

INTRODUCTION = """\
# Gallery

The scenes of the library, as the bundled model makes them: the first two minutes of each, rendered with the scene's
own seed, nothing chosen. The pictures are spectrograms (time from left to right, pitch upwards, 50 Hz to 20 kHz in
octaves, {range_db} dB from dark to bright) with the level below; a dotted line is a change of state that begins.
Hear one with `ambient play NAME`.

Every picture and figure, or those of some scenes, made anew:

```sh
.venv/bin/python tools/pictures.py gallery            # all
.venv/bin/python tools/pictures.py gallery cafe cave  # these; --keep DIR leaves the sound there
```

LUFS is the integrated loudness (ITU-R BS.1770) of the two minutes; joins are the crossfades between two clips in all
layers together, repaired ones those that were made again because they stood out. Made with the weights {weights}
(`ambient models` tells those of yours).
"""


def make(names: list[str], keep: pathlib.Path | None = None) -> None:
    """Renders the scenes named (all without any) and writes the page."""
    from ambient.scene import bundled_scenes, draw_states, find_scene, load_scene

    FOLDER.mkdir(parents=True, exist_ok=True)
    known = FOLDER / "figures.json"
    figures: dict[str, Any] = json.loads(known.read_text()) if known.exists() else {}
    for name in names or bundled_scenes():
        print(name, "…", flush=True)
        scene = load_scene(find_scene(name))
        drawn = draw_states(scene, scene.first).replace("currentColor", "#6b7a72")
        (FOLDER / f"{name}-states.svg").write_text(drawn + "\n")
        with tempfile.TemporaryDirectory() as temporary:
            folder = keep or pathlib.Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            figures[name] = _render(name, folder / f"{name}.flac")
        known.write_text(json.dumps(dict(sorted(figures.items())), indent=1) + "\n")
        print(name, figures[name], flush=True)
    write_page(figures)


def write_page(figures: dict[str, Any]) -> None:
    """The page, from what was measured of each scene."""
    from ambient.scene import bundled_scenes

    rows = [_row(name, figures[name]) for name in bundled_scenes() if name in figures]
    weights = " and ".join(sorted({f"`{f['model']}`" for f in figures.values()}))
    introduction = INTRODUCTION.format(range_db=RANGE_DB, weights=weights)
    (ROOT / "docs" / "gallery.md").write_text("\n".join([introduction, *rows]))


def _render(name: str, out: pathlib.Path) -> dict[str, Any]:
    import soundfile

    from ambient.generate.catalogue import describe
    from ambient.scene import find_scene, load_scene, simulate
    from ambient.sound import LoudnessMeter

    command = [sys.executable, "-m", "ambient", "render", name, "--seconds", str(SECONDS), "--out", str(out), "--json"]
    said = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    report = json.loads(said)
    sound, rate = soundfile.read(out, dtype="float32")
    meter = LoudnessMeter()
    meter.add(sound)
    moves = simulate(load_scene(find_scene(name)), SECONDS / 3600)["transitions"]
    _draw(sound, rate, [(m["at_seconds"], m["to"]) for m in moves], FOLDER / f"{name}.png")
    return {
        "lufs": round(meter.integrated, 1),
        "joins": report["joins"],
        "repaired": report["joins_repaired"],
        "model": describe("bundled").fingerprint,
    }


def _draw(sound: np.ndarray, rate: int, moves: list[tuple[float, str]], path: pathlib.Path) -> None:
    """A spectrogram, a dozen rows an octave, and the level; in few colours, so that the file stays small."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image
    from scipy.signal import stft

    frequencies, _, spectrum = stft(sound.mean(1), rate, nperseg=4096, noverlap=2048)
    power = np.abs(spectrum) ** 2
    edges = np.geomspace(50, 20_000, 97)
    bands = np.stack([_band(power, frequencies, lo, hi) for lo, hi in itertools.pairwise(edges)])
    columns = np.array_split(bands, 480, axis=1)
    decibels = 10 * np.log10(np.stack([c.mean(1) for c in columns], axis=1) + 1e-14)
    top = float(np.percentile(decibels, 99.8))
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 3.2), height_ratios=[5, 1], sharex=True)
    seconds = len(sound) / rate
    above.imshow(
        decibels, origin="lower", aspect="auto", extent=(0, seconds, 0, 96), cmap="magma", vmin=top - RANGE_DB, vmax=top
    )
    marks = [100, 1000, 10_000]
    above.set_yticks([96 * np.log(m / 50) / np.log(400) for m in marks], ["100 Hz", "1 kHz", "10 kHz"], fontsize=8)
    for at, state in moves:
        above.axvline(at, color="white", lw=0.8, ls=":")
        above.text(at + 0.4, 88, f"→ {state}", color="white", fontsize=8)
    block = rate // 5
    whole = sound[: len(sound) // block * block].reshape(-1, block, 2)
    level = 10 * np.log10(np.mean(np.square(whole), axis=(1, 2)) + 1e-9)
    below.plot((np.arange(len(level)) + 0.5) / 5, level, lw=0.9)
    below.set_ylim(-60, -10)
    below.set_yticks([-50, -20], ["−50 dBFS", "−20"], fontsize=8)
    below.set_xlim(0, seconds)
    below.tick_params(axis="x", labelsize=8)
    below.set_xlabel("seconds", fontsize=8)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(48, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}")


def _band(power: np.ndarray, frequencies: np.ndarray, low: float, high: float) -> np.ndarray:
    """Mean power between two frequencies; interpolated where the band is narrower than the lines lie apart."""
    inside = (frequencies >= low) & (frequencies < high)
    if inside.any():
        return power[inside].mean(0)
    at = np.searchsorted(frequencies, np.sqrt(low * high))
    part = (np.sqrt(low * high) - frequencies[at - 1]) / (frequencies[at] - frequencies[at - 1])
    return power[at - 1] * (1 - part) + power[at] * part


def _row(name: str, figures: dict[str, Any]) -> str:
    """The scene's part of the page; its sentence is the first line of its file."""
    sentence = (ROOT / "scenes" / f"{name}.yaml").read_text().splitlines()[0].lstrip("# ")
    repaired = f" ({figures['repaired']} repaired)" if figures["repaired"] else ""
    facts = f"{figures['lufs']:.1f} LUFS · {figures['joins']} joins{repaired}".replace("-", "−")
    links = f"[states](gallery/{name}-states.svg) · [scene](../scenes/{name}.yaml)"
    return f"## {name}\n\n{sentence}\n\n![Spectrogram of {name}](gallery/{name}.png)\n\n{facts} · {links}\n"
