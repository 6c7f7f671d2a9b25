"""``ambient check --listen``: each state by itself, measured."""

from __future__ import annotations

import numpy as np
import pytest

from ambient.commands.audition import draw_spectrogram, measure
from ambient.messages import RATE
from ambient.scene import parse_scene
from ambient.testing import ScriptedGenerator

SCENE = parse_scene("""scene: 1
layers: {wind: wind}
states:
  loud: {transitions: [{to: soft, after: 1s}]}
  soft: {layers: {wind: {level: -12}}, transitions: [{to: loud, after: 1s}]}
  mono: {layers: {wind: {width: 0}}}
  none: {layers: {wind: {mute: true}}}
transitions: [{to: mono, after: 2s}, {to: none, after: 9s}]
""")


def test_each_state_is_measured_as_if_the_scene_stayed_in_it() -> None:
    heard = {row.state: (row, sound) for row, sound in measure(SCENE, ScriptedGenerator(), 16)}
    assert list(heard) == ["loud", "soft", "mono", "none"]
    loud, soft, mono, none = (heard[name][0] for name in heard)
    assert loud.lufs is not None and soft.lufs is not None and loud.width_db is not None
    assert abs(loud.lufs - soft.lufs - 12) < 0.5
    assert -3 < loud.width_db < 3 and mono.width_db is not None and mono.width_db < -40
    assert loud.joins >= 1 and loud.worst_join >= 0
    assert (none.lufs, none.joins) == (None, 0)
    assert all(len(sound) == 16 * RATE and np.isfinite(sound).all() for _, sound in heard.values())


def test_silence_and_sound_are_drawn_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    sound = np.zeros((2 * RATE, 2), np.float32)
    sound[RATE:] = np.random.default_rng(1).standard_normal((RATE, 2)) * 0.1
    figure, axis = pyplot.subplots()
    draw_spectrogram(axis, sound)
    levels = np.ma.filled(axis.images[0].get_array(), -np.inf)
    assert (levels[:, 0] < -135).all() and (levels[5:-5, -1] > -100).all()
    assert not recwarn.list
    pyplot.close(figure)
