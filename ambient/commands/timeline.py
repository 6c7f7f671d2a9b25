"""``ambient simulate --png``: states, parameters and layer levels over time, as a picture."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from ambient.errors import AmbientError
from ambient.messages import RATE, frames
from ambient.scene import Inputs, Machine, Scene

__all__ = ["draw"]

POINTS = 1200
"""Moments that are looked at: about one a pixel."""


def draw(scene: Scene, hours: float, seed: int | None, out: pathlib.Path, inputs: Inputs | None = None) -> None:
    """Draws the same run as ``simulate`` tells of. Raises AmbientError without matplotlib or where it cannot write."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise AmbientError("--png needs matplotlib: pip install 'ambient-engine[pictures]'") from error
    rows = _run(scene, hours, seed, inputs)
    t = np.array([r["hours"] for r in rows])
    names, params, layers = list(scene.states), list(scene.params), list(scene.layers)
    heights = [0.35 * len(names) + 0.4, 1.6 if params else 0.01, 0.3 * len(layers) + 0.4]
    figure, axes = plt.subplots(3, 1, figsize=(12, sum(heights) + 1.2), sharex=True, height_ratios=heights)
    state = np.array([names.index(r["state"]) for r in rows])
    axes[0].step(t, state, where="post", lw=1.2)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    axes[0].set_title(f"{scene.name}: {hours:g} h of listening", fontsize=10)
    for name in params:
        low, high = scene.params[name].range
        axes[1].plot(t, [(r["params"][name] - low) / ((high - low) or 1) for r in rows], lw=0.9, label=name)
    if params:
        axes[1].set(ylim=(-0.05, 1.05), ylabel="share of range")
        axes[1].legend(fontsize=7, loc="upper right", ncols=4)
    else:
        axes[1].axis("off")
    levels = np.array([[r["levels"][name] for r in rows] for name in layers])
    decibels = 20 * np.log10(np.maximum(levels, 1e-3))
    picture = axes[2].pcolormesh(t, np.arange(len(layers)), decibels, vmin=-60, vmax=0, cmap="magma", shading="nearest")
    axes[2].set_yticks(range(len(layers)), layers)
    axes[2].invert_yaxis()
    axes[2].set_xlabel("hours")
    figure.colorbar(picture, ax=axes, label="gain, dB", fraction=0.02, pad=0.01)
    try:
        figure.savefig(out, dpi=100, bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise AmbientError(f"{out} cannot be written: {error}") from error
    finally:
        plt.close(figure)


def _run(scene: Scene, hours: float, seed: int | None, inputs: Inputs | None) -> list[dict[str, Any]]:
    machine = Machine(scene, seed=seed)
    end = frames(hours * 3600)
    rows: list[dict[str, Any]] = []
    step = max(1, end // RATE // POINTS)
    for second, frame in enumerate(range(0, end, RATE)):
        machine.advance(frame)
        for source, value in inputs(machine.scene_time(frame)).items() if inputs else ():
            machine.feed(source, value)
        if second % step == 0:
            moment = machine.look()
            rows.append(
                {
                    "hours": second / 3600,
                    "state": machine.state,
                    "params": dict(moment.params),
                    "levels": {m.name: 0.0 if m.muted else m.gain for m in moment.layers},
                }
            )
    return rows
