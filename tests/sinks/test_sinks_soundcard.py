"""The sound card: what goes in comes out in order, and a card may come and go."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, RATE, Block
from ambient.sinks.soundcard import RETRY_SECONDS, TARGET_FRAMES, SoundCard, list_devices
from ambient.testing import IndexCodedSource


class FakeSoundDevice:
    """Stands in for the module sounddevice; the test asks for sound as a card would."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        self.there = True
        self.streams: list[FakeStream] = []
        self.scans = 0

    def OutputStream(self, **options):
        if not self.there:
            raise self.PortAudioError("Error querying device -1")
        self.streams.append(FakeStream(options))
        return self.streams[-1]

    def _terminate(self) -> None:
        pass

    def _initialize(self) -> None:
        self.scans += 1


class FakeStream:
    def __init__(self, options) -> None:
        self.options = options
        self.active = False
        self.closed = False

    def start(self) -> None:
        self.active = True

    def close(self) -> None:
        self.active, self.closed = False, True

    def ask(self, length: int = BLOCK_FRAMES) -> np.ndarray:
        out = np.full((length, 2), np.nan, np.float32)
        self.options["callback"](out, length, None, None)
        assert np.isfinite(out).all()
        return out


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.module = FakeSoundDevice()
        self.card = SoundCard(None, self.module, lambda: self.now, background=False)
        self.number = 0

    def write(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.card.write(IndexCodedSource.block(self.number))
            self.number += 1
            self.now += BLOCK_FRAMES / RATE

    def play(self, blocks: int) -> np.ndarray:
        parts = []
        for _ in range(blocks):
            self.write()
            parts.append(self.module.streams[-1].ask())
        return np.concatenate(parts)


def test_sound_comes_out_in_order_after_a_short_start():
    bench = Bench()
    bench.write(TARGET_FRAMES // BLOCK_FRAMES)
    heard = IndexCodedSource.indices(bench.play(50))
    start = 96  # the first 2 ms are faded in
    assert (heard[start:] == np.arange(start, len(heard))).all()
    assert bench.card.frames_played == 50 * BLOCK_FRAMES
    assert bench.card.underruns == bench.card.overruns == 0
    options = bench.module.streams[0].options
    assert (options["samplerate"], options["channels"], options["dtype"]) == (RATE, 2, "float32")


def test_nothing_to_play_is_silence_and_counted_and_refilled_before_it_goes_on():
    bench = Bench()
    bench.write(4)
    card = bench.module.streams[0]
    sound = np.concatenate([card.ask() for _ in range(6)])
    assert np.abs(sound[4 * BLOCK_FRAMES + 96 :]).max() == 0
    assert bench.card.underruns == 1
    bench.write(1)
    assert np.abs(card.ask()).max() == 0  # one block is not enough to begin again with
    bench.write(4)
    assert np.abs(card.ask()).max() > 0


def test_a_card_that_asks_for_nothing_costs_sound_and_never_waits():
    bench = Bench()
    bench.write(80)
    assert bench.card.overruns == 30  # the ring holds one second


def test_no_card_says_what_to_do():
    bench = Bench()
    bench.module.there = False
    with pytest.raises(SinkError) as caught:
        bench.card.open()
    assert str(caught.value) == (
        "no sound card can be opened: Error querying device -1. List the devices with 'ambient devices' and choose "
        "one with --sound-device, or use --no-sound-card and listen on the page"
    )
    with pytest.raises(SinkError, match="no sound device 'Kitchen' can be opened"):
        SoundCard("Kitchen", bench.module).open()


@pytest.mark.parametrize("how", ["stopped", "stalled"])
def test_a_card_that_is_lost_is_reported_once_and_tried_again(caplog, how):
    bench = Bench()
    bench.write(4)
    bench.play(10)
    bench.module.there = False
    if how == "stopped":
        bench.module.streams[0].active = False
    with caplog.at_level("INFO", "ambient.soundcard"):
        bench.write(int(8 / 0.02))  # 8 s in which nobody asks for sound; the stream goes on all the same
        assert [r.message[:22] for r in caplog.records] == ["the sound card is gone"]
        assert bench.module.streams[0].closed and bench.module.scans >= 1
        bench.module.there = True
        until = bench.now + RETRY_SECONDS + 0.1
        while len(bench.module.streams) == 1:
            assert bench.now < until
            bench.write()
        assert caplog.records[-1].message == "the sound card is back"
    assert len(bench.module.streams) == 2 and bench.card.losses == 1
    played = bench.play(60)
    begun = np.flatnonzero(np.abs(played).max(axis=1))[0]
    assert begun <= TARGET_FRAMES + BLOCK_FRAMES
    heard = IndexCodedSource.indices(played[begun + 96 :])  # after the fade
    assert (np.diff(heard) == 1).all()


def test_the_clock_follows_the_cards_crystal():
    """A card 300 parts per million fast, for half an hour: the ring neither runs dry nor over."""

    class Clock:
        ppm = 0.0

        def trim(self, parts_per_million: float) -> None:
            self.ppm = parts_per_million

    bench, clock = Bench(), Clock()
    bench.card.follow(clock)
    bench.write(5)
    silent = Block(0, np.zeros((BLOCK_FRAMES, 2), np.float32))
    card = bench.module.streams[0]
    owed, fills = 0.0, []
    for _ in range(1800 * 50):
        bench.now += 0.02
        bench.card.write(silent)
        owed += (1 + 300e-6) / (1 + clock.ppm * 1e-6)
        while owed >= 1:
            card.ask()
            owed -= 1
        fills.append(bench.card._ring.fill)
    assert bench.card.underruns == 0 and bench.card.overruns == 0
    assert clock.ppm == pytest.approx(300, abs=20)
    assert np.mean(fills[-1000:]) == pytest.approx(TARGET_FRAMES, rel=0.35)


def test_closing_is_final_and_idempotent():
    bench = Bench()
    bench.write(1)
    bench.module.streams[0].active = False
    bench.card.close()
    bench.card.close()
    bench.card.write(IndexCodedSource.block(1))
    assert bench.module.streams[0].closed and len(bench.module.streams) == 1


REAL = """
import sys, time
import numpy as np
from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES
from ambient.sinks.soundcard import SoundCard, list_devices
from ambient.testing import IndexCodedSource
print([d["name"] for d in list_devices()])
card = SoundCard("tape")
card.open()
for number in range(100):
    card.write(IndexCodedSource.block(number))
    time.sleep(0.002)
time.sleep(0.2)
print(card.frames_played)
card.close()
"""


def test_a_real_portaudio_stream_plays_in_order(tmp_path):
    """PortAudio on ALSA's file device: the real callback, without a sound card."""
    try:
        list_devices()
    except SinkError as error:
        pytest.skip(str(error))
    config = tmp_path / "asound.conf"
    tape = tmp_path / "tape.raw"
    config.write_text(
        textwrap.dedent(f"""
        pcm.tape {{ type file slave.pcm "void" file "{tape}" format "raw" hint {{ show on description "tape" }} }}
        pcm.void {{ type null hint {{ show on description "void" }} }}
        pcm.!default {{ type file slave.pcm "void" file "{tape}" format "raw" }}
        ctl.!default {{ type hw card 0 }}
        """)
    )
    done = subprocess.run(
        [sys.executable, "-c", REAL],
        env={"PATH": "/usr/bin:/bin", "ALSA_CONFIG_PATH": str(config), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "no sound device" in done.stderr:
        pytest.skip(f"PortAudio here knows no ALSA file device: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    sound = np.frombuffer(tape.read_bytes(), "<f4").reshape(-1, 2)
    heard = IndexCodedSource.indices(sound)
    played = int(done.stdout.splitlines()[-1])
    assert played > 50 * BLOCK_FRAMES
    # The device runs unpaced, so that silence falls between; what was played is there once and in order.
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(heard) != 1) + 1, [len(heard)]])
    lengths = np.diff(cuts)
    long = lengths > 200  # a sample of silence is a run of its own
    starts, lengths = heard[cuts[:-1][long]], lengths[long]
    assert lengths.sum() > 0.8 * played
    assert (starts[1:] >= (starts + lengths)[:-1]).all()
