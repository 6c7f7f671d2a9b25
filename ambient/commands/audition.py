"""``ambient check --listen``: each state of a scene rendered briefly, measured and drawn."""

from __future__ import annotations

import argparse
import math
import pathlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ambient.commands.generators import Generators
from ambient.engine.core import Engine
from ambient.engine.offline import render
from ambient.engine.options import OpenModel, Options
from ambient.errors import AmbientError
from ambient.generate.worker import ProcessGenerator
from ambient.messages import RATE, Audio, Block, frames
from ambient.ports import Generator
from ambient.scene import Scene
from ambient.sound import LoudnessMeter

__all__ = ["Heard", "listen", "measure"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One state as it sounds."""

    state: str
    lufs: float | None
    """Loudness before the programme's own is held, so that states can be compared; None in silence."""
    width_db: float | None
    """Level of the side less that of the middle: 0 is very wide, −20 nearly mono; None without any middle or side."""
    joins: int
    worst_join: float
    """The join that stands out most, in steps that the sound makes by itself anyway: up to 2.5 is unremarkable."""
    faults: list[str]
    picture: str | None = None


class _Collected:
    """A sink that keeps the sound."""

    def __init__(self) -> None:
        self.parts: list[Audio] = []

    def write(self, block: Block) -> None:
        """Keeps a block."""
        self.parts.append(block.audio)

    def close(self) -> None:
        """Nothing to end."""


def measure(
    scene: Scene, generator: Generator, seconds: float, open_model: OpenModel | None = None
) -> Iterator[tuple[Heard, Audio]]:
    """Each state in the scene's order with its sound, float32 ``(frames, 2)``, as if the scene began in it and stayed.

    Raises BackendError where a clip cannot be made.
    """
    for number, name in enumerate(scene.states):
        # a seed for each state, so that answers to the engine before are known as such
        options = Options(seed=scene.seed + number, live=False, loudness=False)
        engine = Engine(scene.staying(name), generator, options, open_model)
        sink = _Collected()
        render(engine, sink, frames(seconds))
        sound = np.concatenate(sink.parts)
        heard = [join.score for bed in engine.beds.values() for join in bed.made]
        yield Heard(name, *_levels(sound), len(heard), round(max(heard, default=0.0), 2), list(engine.faults)), sound


def _levels(sound: Audio) -> tuple[float | None, float | None]:
    meter = LoudnessMeter()
    meter.add(sound)
    mid, side = ((sound[:, 0] + s * sound[:, 1]).astype(np.float64) / 2 for s in (1, -1))
    powers = float(np.mean(mid**2)), float(np.mean(side**2))
    width = round(10 * math.log10(powers[1] / powers[0]), 1) if min(powers) > 0 else None
    lufs = meter.integrated
    return (round(lufs, 1) if math.isfinite(lufs) and lufs > -70 else None), width


def listen(scene: Scene, given: argparse.Namespace) -> list[dict[str, object]]:
    """Renders, measures and draws; one JSON-ready row a state. Raises AmbientError without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
    except ImportError as error:
        raise AmbientError("--listen draws with matplotlib: pip install 'ambient-engine[pictures]'") from error
    folder = given.out or pathlib.Path(f"{scene.name}-listen")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AmbientError(f"the folder {folder} cannot be made: {error.strerror}") from error
    rows = []
    with Generators(ProcessGenerator) as generators:
        generator = generators.find(scene.model or "bundled")
        for number, (heard, sound) in enumerate(measure(scene, generator, given.seconds, generators.open), start=1):
            name = re.sub(r"[^\w-]+", "-", heard.state)
            picture = folder / f"{scene.name}-{number}-{name}.png"
            _draw(sound, heard, picture)
            rows.append(asdict(heard) | {"picture": str(picture)})
            if not given.json:
                print(_sentence(heard, picture))
    return rows


def _sentence(heard: Heard, picture: pathlib.Path) -> str:
    level = "silent" if heard.lufs is None else f"{heard.lufs:.1f} LUFS"
    width = "mono" if heard.width_db is None else f"width {heard.width_db:.0f} dB"
    joins = f"{heard.joins} joins, the worst {heard.worst_join:.1f}" + (
        " (stands out)" if heard.worst_join > 2.5 else ""
    )
    return "\n  ".join([f"{heard.state}: {level}, {width}, {joins}; {picture}", *heard.faults])


def draw_spectrogram(axis: Any, sound: Audio) -> None:
    """Draws stereo sound at 48 kHz on matplotlib axes: 60 Hz to 20 kHz, -135 to -45 dB per Hz; silence is black."""
    with np.errstate(divide="ignore"):  # the logarithm of silence
        axis.specgram(sound.mean(1), NFFT=2048, Fs=RATE, noverlap=1024, vmin=-135, vmax=-45, cmap="magma")
    axis.set_facecolor("black")
    axis.set_yscale("symlog", linthresh=1000)
    axis.set(ylim=(60, 20_000), ylabel="Hz")


def _draw(sound: Audio, heard: Heard, path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3))
    draw_spectrogram(axis, sound)
    axis.set(xlabel="seconds", title=heard.state)
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=80)
    except OSError as error:
        raise AmbientError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        plt.close(figure)
