"""HLS segments: all of one length, contiguous, and breaks declared."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ambient.messages import BLOCK_FRAMES, RATE, Block
from ambient.sinks.hls import IDLE_SECONDS, KEPT, LISTED, SEGMENT_FRAMES, Segmenter
from ambient.sinks.hub import Hub


class Stage:
    """A hub without a loop, and time that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hub = Hub("forest", now=lambda: self.now)
        self.segmenter = Segmenter(self.hub, lambda: self.now)
        self.number = 0

    def play(self, seconds: float, asking: bool = True) -> None:
        silence = np.zeros((BLOCK_FRAMES, 2), np.float32)
        for _ in range(round(seconds * RATE / BLOCK_FRAMES)):
            self.hub.write(Block(self.number * BLOCK_FRAMES, silence))
            self.hub._take_in()
            self.number += 1
            self.now += BLOCK_FRAMES / RATE
            if asking:
                self.segmenter.touch()
            self.hub.pump()

    def listed(self) -> list[int]:
        return [int(n) for n in re.findall(r"^(\d+)\.aac$", self.segmenter.playlist(), re.M)]

    def tag(self, name: str) -> int:
        return int(re.search(rf"^#EXT-X-{name}:(\d+)$", self.segmenter.playlist(), re.M)[1])


@pytest.fixture
def stage():
    return Stage()


def starts(stage: Stage, number: int) -> int:
    """Sample at which a segment starts, from its timestamp."""
    data = stage.segmenter.segment(number)
    assert data[:3] == b"ID3"
    stamp = data.index(b"transportStreamTimestamp\0") + 25
    return round(int.from_bytes(data[stamp : stamp + 8], "big") * RATE / 90_000)


def test_segments_have_one_length_and_follow_each_other(stage):
    stage.segmenter.touch()
    stage.play(30)
    numbers = stage.listed()
    assert len(numbers) == LISTED and numbers == list(range(numbers[0], numbers[0] + LISTED))
    assert stage.tag("MEDIA-SEQUENCE") == numbers[0]
    assert np.diff([starts(stage, n) for n in numbers]).tolist() == [SEGMENT_FRAMES] * (LISTED - 1)
    assert set(re.findall("#EXTINF:(.*),", stage.segmenter.playlist())) == {"1.00267"}
    assert stage.tag("TARGETDURATION") == 1
    assert "#EXT-X-DISCONTINUITY\n" not in stage.segmenter.playlist()
    assert stage.segmenter.segment(numbers[0] - 1) is not None  # for a player that is behind
    assert stage.segmenter.segment(numbers[-1] + 1) is None
    stage.play(90)
    assert stage.segmenter.segment(numbers[0]) is None
    assert stage.segmenter.segment(stage.listed()[-1] - LISTED - KEPT + 1) is not None


def test_what_was_heard_before_shortens_the_wait_for_the_first_segments(stage):
    stage.play(3, asking=False)
    assert not stage.segmenter.ready and stage.hub.listeners == 0
    stage.segmenter.touch()
    stage.play(1.2)
    assert stage.segmenter.ready and len(stage.listed()) == 3


def test_nobody_asks_any_more_so_nothing_is_cut(stage):
    stage.play(10)
    assert stage.hub.listeners == 1
    last = stage.listed()[-1]
    stage.play(IDLE_SECONDS + 1, asking=False)
    assert stage.hub.listeners == 0 and not stage.segmenter.ready
    stage.play(5)
    assert stage.listed()[0] > last  # numbers never come again
    assert stage.segmenter.playlist().count("#EXT-X-DISCONTINUITY\n") == 1


def test_a_jump_of_the_stream_is_declared(stage):
    stage.play(9)
    stage.number += 500
    stage.play(5)
    playlist = stage.segmenter.playlist()
    assert playlist.count("#EXT-X-DISCONTINUITY\n") == 1 and stage.tag("DISCONTINUITY-SEQUENCE") == 0
    stage.play(20)
    assert "#EXT-X-DISCONTINUITY\n" not in stage.segmenter.playlist() and stage.tag("DISCONTINUITY-SEQUENCE") == 1
    stage.play(60)
    assert stage.tag("DISCONTINUITY-SEQUENCE") == 1
