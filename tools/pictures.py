#!/usr/bin/env python3
"""Draws the pictures of README and docs anew: tools/pictures.py [states] [transition] [page]
or the gallery, all of it or some scenes:      tools/pictures.py gallery [--keep DIR] [SCENE …]

docs/forest-states.svg      the forest's states, from the table that the machine runs
docs/transition.png         spectrogram of the forest going from night into a storm, with the clips' joins
docs/page.png               the listening page while the forest plays (needs Chromium)
docs/gallery.md             two minutes of each scene: spectrogram, loudness, joins (see tools/gallery.py)
"""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FOREST = ROOT / "scenes" / "forest.yaml"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def states() -> None:
    """The state diagram."""
    from ambient.scene import draw_states, load_scene

    picture = draw_states(load_scene(FOREST), "dawn").replace("currentColor", "#6b7a72")
    (DOCS / "forest-states.svg").write_text(picture + "\n")


def transition() -> None:
    """Spectrogram and level of a minute and a half around a transition."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import soundfile as sf

    from ambient.commands.audition import draw_spectrogram

    with tempfile.TemporaryDirectory() as folder:
        out, joins_path = f"{folder}/forest.wav", f"{folder}/joins.json"
        command = [sys.executable, "-m", "ambient", "render", str(FOREST), "--seconds", "90", "--out", out]
        command += ["--joins", joins_path, "--at", "40:storm_spell"]
        subprocess.run(command, check=True, cwd=ROOT)
        sound, rate = sf.read(out)
        joins = json.loads(pathlib.Path(joins_path).read_text())["joins"]
    mono = sound.mean(1)
    figure, (above, below) = plt.subplots(2, 1, figsize=(12, 5.2), height_ratios=[4, 1], sharex=True)
    draw_spectrogram(above, sound)
    above.axvline(40, color="white", lw=0.8, ls=":")
    above.text(40.4, 12_500, "storm_spell is fired", color="white", fontsize=8)
    block = rate // 10
    level = 20 * np.log10(np.sqrt(np.mean(mono[: len(mono) // block * block].reshape(-1, block) ** 2, 1)) + 1e-6)
    below.plot(np.arange(len(level)) / 10, level, lw=0.8)
    for row, (_, places) in enumerate(sorted(joins.items())):
        below.plot(np.array(places) / rate, np.full(len(places), -8 - 4 * row), "|", ms=5, color=f"C{row + 1}")
    below.set_ylim(-60, 0)
    below.set_ylabel("dBFS")
    below.set_xlabel("seconds (marks: joins of clips, a row for each layer)")
    figure.tight_layout()
    below.set_xlim(0, 90)
    figure.savefig(DOCS / "transition.png", dpi=80)


def page() -> None:
    """A screenshot of the page, playing."""
    from browser import chromium

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ambient", "serve", str(FOREST), "--port", str(port), "--no-sound-card"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        for _ in range(600):
            time.sleep(0.1)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                    if json.load(answer)["ready"]:
                        break
            except OSError:
                continue
        with chromium() as browser:
            browser.screen(1280, 900, dark=True)
            browser.open(f"http://127.0.0.1:{port}/")
            browser.wait("!!document.querySelector('#play')", 20)
            browser.click("#play")
            browser.wait("window.ambient.framesPlayed > 48000 * 25", 60)
            browser.screenshot(DOCS / "page.png")
            print(browser.evaluate("JSON.stringify(window.ambient)"))
    finally:
        process.terminate()
        process.wait(20)


if __name__ == "__main__":
    DOCS.mkdir(exist_ok=True)
    if sys.argv[1:2] == ["gallery"]:
        from gallery import make

        scenes = sys.argv[2:]
        keep = None
        if scenes[:1] == ["--keep"] and len(scenes) > 1:
            keep, scenes = pathlib.Path(scenes[1]), scenes[2:]
        make(scenes, keep)
        raise SystemExit
    for name in sys.argv[1:] or ["states", "transition", "page"]:
        if name not in ("states", "transition", "page"):
            raise SystemExit(__doc__)
        globals()[name]()
