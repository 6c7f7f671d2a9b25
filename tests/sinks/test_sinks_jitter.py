"""The jitter buffer: even sound from an uneven network, and never a click."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.messages import BLOCK_FRAMES, RATE, frames
from ambient.sinks.jitter import SLACK_FRAMES, JitterBuffer

TURN = 2 * np.pi * 100 / RATE  # 100 Hz: a whole number of turns in a block, and a step of 0.0131 a frame at most


def tone(start: int, length: int) -> np.ndarray:
    wave = np.sin(TURN * np.arange(start, start + length))
    return np.stack([wave, wave], axis=1).astype(np.float32)


class Line:
    """A network that brings consecutive sound."""

    def __init__(self, buffer: JitterBuffer) -> None:
        self.buffer, self.sent = buffer, 0

    def bring(self, blocks: float) -> None:
        length = round(blocks * BLOCK_FRAMES)
        assert self.buffer.put(tone(self.sent, length))
        self.sent += length


def test_it_waits_for_its_target_and_then_gives_every_sample():
    buffer = JitterBuffer(frames(0.2))
    line = Line(buffer)
    line.bring(9)
    assert not buffer.take().any()
    line.bring(30)
    heard = np.concatenate([buffer.take() for _ in range(39)])
    assert np.abs(heard[96:] - tone(0, len(heard))[96:]).max() < 1e-6
    assert buffer.underruns == 0


def test_after_running_out_it_waits_longer():
    buffer = JitterBuffer(frames(0.2))
    line = Line(buffer)
    waits = []
    for _ in range(3):
        waited = 0
        while not buffer.take().any():
            line.bring(1)
            waited += 1
        waits.append(waited)
        while buffer.fill:
            buffer.take()
        buffer.take()
    assert waits == [10, 15, 23] and buffer.underruns == 3


@pytest.mark.parametrize("parts_per_million", [-2000, 2000])
def test_a_clock_that_differs_is_followed_without_a_click(parts_per_million):
    """Three minutes of a drift that takes ordinary crystals an hour: 18 blocks, 6 of which fit into the slack."""
    buffer = JitterBuffer(frames(0.5))
    line = Line(buffer)
    line.bring(25)
    heard, fills, owed = [], [], 0.0
    for _ in range(9000):
        owed += BLOCK_FRAMES * (1 + parts_per_million * 1e-6)
        line.bring(int(owed) / BLOCK_FRAMES)
        owed -= int(owed)
        heard.append(buffer.take())
        fills.append(buffer.fill)
    sound = np.concatenate(heard)[96:, 0]
    assert buffer.underruns == 0 and 10 <= buffer.stretched <= 13
    assert np.abs(np.diff(sound)).max() < 1.05 * TURN
    assert max(abs(f - frames(0.5)) for f in fills) < SLACK_FRAMES + 4 * BLOCK_FRAMES


def test_after_a_sleep_the_surplus_is_skipped():
    buffer = JitterBuffer(frames(0.5))
    line = Line(buffer)
    line.bring(25)
    heard = [buffer.take() for _ in range(10)]
    line.bring(400)
    heard += [buffer.take() for _ in range(10)]
    assert buffer.skipped_frames > frames(6) and buffer.fill < frames(0.6)
    assert np.abs(np.diff(np.concatenate(heard)[96:, 0])).max() < 1.05 * TURN


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=120))
def test_whatever_the_network_does_blocks_are_whole_and_nothing_clicks(bursts):
    buffer = JitterBuffer(frames(0.1))
    line = Line(buffer)
    heard = []
    for burst in bursts:
        if buffer.fill + burst * BLOCK_FRAMES < frames(11):
            line.bring(burst)
        heard += [buffer.take() for _ in range(5)]
    sound = np.concatenate(heard)
    assert sound.shape == (5 * len(bursts) * BLOCK_FRAMES, 2) and np.isfinite(sound).all()
    assert np.abs(np.diff(sound[:, 0])).max() < 1.05 * TURN + 1 / 95  # the ring fades a dropout in 96 frames


def test_nobody_listens_for_long():
    buffer = JitterBuffer()
    assert buffer.put(tone(0, frames(11.9)))
    assert not buffer.put(tone(0, RATE))
