"""Fan-out: everybody gets every frame in order, or is told what is missing; nobody waits for anybody."""

from __future__ import annotations

import asyncio
import functools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, RATE, Block, SceneEvent
from ambient.sinks.encoders import ENCODERS, F32Encoder, Packet
from ambient.sinks.framing import Sound, chunk, websocket_frame, websocket_text
from ambient.sinks.hub import TOGETHER_FRAMES, Hub
from ambient.sinks.listener import QUEUE_BYTES, STALL_SECONDS, TRANSPORT_BYTES, Ended, Listener
from ambient.sinks.protocol import Codec, Flags, Frame, unpack_frame
from ambient.testing import IndexCodedSource


class FakeTransport:
    """Takes what it is given; lets it go only when the test says so."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.held = 0
        self.reading = True
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.taken.append(data)
        self.held = 0 if self.reading else self.held + len(data)

    def get_write_buffer_size(self) -> int:
        return self.held

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def get_extra_info(self, name: str) -> None:
        """There is no socket."""

    @property
    def messages(self) -> list[tuple[int, bytes]]:
        return unwrap(b"".join(self.taken))

    @property
    def frames(self) -> list[Frame]:
        return [unpack_frame(payload) for opcode, payload in self.messages if opcode == 2]


def unwrap(data: bytes) -> list[tuple[int, bytes]]:
    """Opcodes and payloads of unmasked WebSocket frames."""
    found, at = [], 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size >= 126:
            start = at + (4 if size == 126 else 10)
            size = int.from_bytes(data[at + 2 : start], "big")
        assert data[at] & 0xF0 == 0x80 and start + size <= len(data)
        found.append((data[at] & 15, data[start : start + size]))
        at = start + size
    return found


FRAMINGS = [
    (f"{codec.label}/{ms}", codec, ms * RATE // 1000) for codec in (Codec.F32LE, Codec.OPUS) for ms in (60, 100)
] + [("flac", Codec.FLAC, 4608)]


class Bench:
    """A hub on an event loop that the test turns, and a clock that it moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hub = Hub("forest", now=lambda: self.now)
        self.loop = asyncio.get_running_loop()
        self.hub.attach(self.loop)
        self.number = 0

    def listener(self, codec: Codec = Codec.F32LE, burst_frames: int = RATE, **more) -> tuple[Listener, FakeTransport]:
        transport = FakeTransport()
        listener = Listener(transport, lambda: self.now, websocket_text, epoch=self.hub.epoch)
        listener.codec = codec
        self.hub.join(listener, codec.label, burst_frames, **more)
        return listener, transport

    async def play(self, blocks: int) -> None:
        for _ in range(blocks):
            self.hub.write(IndexCodedSource.block(self.number))
            self.number += 1
            self.now += BLOCK_FRAMES / RATE
            await asyncio.sleep(0)
            await asyncio.sleep(0)


def run(test):
    """Runs a test that is a coroutine, on a loop of its own."""

    @functools.wraps(test)
    def wrapped(*arguments, **named):
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 30))

    return wrapped


def indices(frames: list[Frame]) -> np.ndarray:
    sound = np.concatenate([np.frombuffer(f.payload, "<f4").reshape(-1, 2) for f in frames])
    return IndexCodedSource.indices(sound)


@run
async def test_a_listener_gets_the_recent_past_and_then_every_frame():
    bench = Bench()
    await bench.play(120)
    _, transport = bench.listener(burst_frames=RATE // 2)
    burst = transport.frames
    assert len(burst) == 25 and all(f.flags == Flags.BURST for f in burst)
    await bench.play(100)
    frames = transport.frames
    assert [f.seq for f in frames] == list(range(125))
    assert all(f.flags == Flags.NONE for f in frames[25:])
    assert (indices(frames) == np.arange(95 * BLOCK_FRAMES, 220 * BLOCK_FRAMES)).all()
    assert {f.epoch for f in frames} == {bench.hub.epoch}


@run
async def test_a_packet_is_framed_once_for_all_and_the_past_comes_in_one_piece():
    bench = Bench()
    await bench.play(100)
    http = [FakeTransport() for _ in range(3)]
    for transport in http:
        bench.hub.join(Listener(transport, lambda: bench.now, None), "f32le", RATE // 10)
    assert all(len(transport.taken) == 1 for transport in http)
    await bench.play(5)
    for pieces in zip(*(transport.taken[1:] for transport in http), strict=True):
        assert pieces[0][:6] == b"1e00\r\n" and all(piece is pieces[0] for piece in pieces)


@pytest.mark.parametrize(("name", "packets"), [("f32le", 8), ("f32le/60", 2), ("f32le/100", 1)])
@run
async def test_packets_that_go_out_together_are_neither_missed_nor_heard_twice(name, packets):
    bench = Bench()
    here: list[tuple[Listener, FakeTransport, int]] = []
    for blocks in (37, 1, 2, 3, 8, 12, 60):  # at every place between two times that sound goes out
        await bench.play(blocks)
        transport = FakeTransport()
        listener = Listener(transport, lambda: bench.now, None, body=bytes)
        bench.hub.join(listener, name, RATE // 2, together=True)
        here.append((listener, transport, len(transport.taken)))
    bench.hub.leave(here.pop(2)[0])  # whoever goes takes nothing from the others
    await bench.play(100)
    for _, transport, burst in here:
        sound = np.frombuffer(b"".join(transport.taken), "<f4").reshape(-1, 2)
        heard = IndexCodedSource.indices(sound)
        assert (heard == np.arange(heard[0], heard[0] + len(heard))).all()
        assert bench.number * BLOCK_FRAMES - heard[-1] <= TOGETHER_FRAMES + RATE // 10
        length = int(name.partition("/")[2] or 20) * packets
        assert {len(piece) for piece in transport.taken[burst:]} == {length * RATE // 1000 * 8}


@run
async def test_what_waits_to_go_out_together_goes_out_before_a_jump_of_the_clock():
    bench = Bench()
    await bench.play(20)
    transport = FakeTransport()
    bench.hub.join(Listener(transport, lambda: bench.now, None, body=bytes), "f32le", 0, together=True)
    await bench.play(4)
    assert not transport.taken
    bench.number += 50
    await bench.play(10)
    heard = IndexCodedSource.indices(np.frombuffer(b"".join(transport.taken), "<f4").reshape(-1, 2)) // BLOCK_FRAMES
    assert (heard[::BLOCK_FRAMES] == [20, 21, 22, 23, *range(74, 82)]).all()


@run
async def test_listeners_of_one_packet_count_their_own_frames():
    bench = Bench()
    _, early = bench.listener(burst_frames=0)
    await bench.play(10)
    _, late = bench.listener(burst_frames=0)
    await bench.play(10)
    assert [f.seq for f in early.frames] == list(range(20)) and [f.seq for f in late.frames] == list(range(10))
    for one, other in zip(early.frames[10:], late.frames, strict=True):
        assert (one.sample_index, one.epoch, one.payload) == (other.sample_index, other.epoch, other.payload)


@run
async def test_resuming_sends_exactly_what_was_missed():
    bench = Bench()
    _, first = bench.listener()
    await bench.play(100)
    after = first.frames[-30].sample_index
    _, again = bench.listener(since=after)
    assert [f.sample_index for f in again.frames] == list(range(after, 100 * BLOCK_FRAMES, BLOCK_FRAMES))
    assert all(f.flags == Flags.NONE for f in again.frames)
    _, too_late = bench.listener(since=-5 * RATE)
    assert too_late.frames[0].flags == Flags.BURST


@run
async def test_one_encoder_serves_all_and_goes_with_the_last():
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "f32le", lambda start: made.append(start) or F32Encoder(start))
        bench = Bench()
        await bench.play(10)
        listeners = [bench.listener()[0] for _ in range(5)]
        await bench.play(10)
        assert len(made) == 1 and bench.hub.listeners == 5
        for listener in listeners:
            bench.hub.leave(listener)
            bench.hub.leave(listener)
        assert bench.hub.listeners == 0
        bench.listener()
        assert len(made) == 2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=12))
def test_every_missing_frame_is_declared(phases):
    """However a listener reads and pauses: indices only go up, and every jump is flagged."""

    async def scenario() -> None:
        bench = Bench()
        listener, transport = bench.listener()
        for reading, blocks in phases:
            transport.reading = reading
            if reading:
                transport.held = 0
            await bench.play(blocks)
        transport.reading, transport.held = True, 0
        listener.pump()
        if listener.ended.done():
            return
        frames = transport.frames
        expected = frames[0].sample_index if frames else 0
        missing = expected
        for frame in frames:
            gap = frame.sample_index - expected
            assert gap >= 0 and (gap > 0) == bool(frame.flags & Flags.DISCONTINUITY)
            assert (indices([frame]) == np.arange(frame.sample_index, frame.sample_index + 960) % (1 << 20)).all()
            missing += gap
            expected = frame.sample_index + frame.frames
        assert [f.seq for f in frames] == list(range(len(frames)))
        assert missing == listener.dropped_frames
        assert expected == bench.number * BLOCK_FRAMES  # the newest sound is what is kept

    asyncio.run(scenario())


@run
async def test_a_listener_that_never_reads_is_cut_off_after_five_seconds():
    bench = Bench()
    listener, transport = bench.listener()
    transport.reading = False
    other, reading = bench.listener()
    while not listener.ended.done():
        assert bench.now < 10
        await bench.play(10)
        waiting = sum(len(s.packet.payload) for s in listener._queue if isinstance(s, Sound))
        assert waiting + transport.held <= QUEUE_BYTES + TRANSPORT_BYTES
    assert bench.now == pytest.approx(STALL_SECONDS, abs=0.5)
    assert transport.aborted and listener.ended.result() is Ended.STALLED
    assert len(reading.frames) == bench.number and not other.ended.done()
    assert (indices(reading.frames) == np.arange(bench.number * BLOCK_FRAMES)).all()


@run
async def test_a_listener_that_reads_a_little_loses_sound_and_is_let_go_when_it_never_catches_up():
    bench = Bench()
    listener, transport = bench.listener()
    transport.reading = False

    async def read_a_tenth(seconds: float) -> None:
        for _ in range(round(5 * seconds)):
            await bench.play(10)
            transport.held = max(0, transport.held - 20_000)

    await read_a_tenth(9)
    assert not listener.ended.done()
    assert listener.dropped_frames > 5 * RATE
    assert [f for f in transport.frames if f.flags & Flags.DISCONTINUITY]
    transport.reading, transport.held = True, 0
    await bench.play(5)  # it catches up
    transport.reading = False
    await read_a_tenth(9)
    assert not listener.ended.done()
    await read_a_tenth(9)
    assert await listener.ended is Ended.TOO_SLOW
    assert not transport.aborted  # there is still a goodbye to say


@pytest.mark.parametrize(("name", "codec", "size"), FRAMINGS)
@run
async def test_frames_of_sixty_and_a_hundred_milliseconds(name, codec, size):
    bench = Bench()
    await bench.play(50)
    transport = FakeTransport()
    listener = Listener(transport, lambda: bench.now, websocket_text)
    listener.codec = codec
    assert bench.hub.packet_frames(name) == size
    bench.hub.join(listener, name, RATE // 2)
    await bench.play(100)
    frames = transport.frames
    assert {f.frames for f in frames} == {size}
    assert (np.diff([f.sample_index for f in frames]) == size).all() and frames[0].sample_index % size == 0
    if codec is Codec.F32LE:
        sound = np.concatenate([np.frombuffer(f.payload, "<f4").reshape(-1, 2) for f in frames])
        first = frames[0].sample_index
        assert (sound == IndexCodedSource.audio(first, len(sound))).all()


@run
async def test_the_streams_clock_is_free_of_the_jitter_of_blocks():
    bench = Bench()
    assert bench.hub.newest_frame is None
    jitter = np.random.default_rng(3).uniform(0, 0.05, 300)
    for number, late in enumerate(jitter):
        bench.now = 100 + (number + 1) * BLOCK_FRAMES / RATE + late
        bench.hub.write(IndexCodedSource.block(number))
        await asyncio.sleep(0)
    bench.now = 100 + 300 * BLOCK_FRAMES / RATE
    least = jitter[-250:].min()
    assert bench.hub.newest_frame == pytest.approx(300 * BLOCK_FRAMES - least * RATE, abs=1)


@run
async def test_dropped_frames_are_counted_for_good():
    bench = Bench()
    listener, transport = bench.listener()
    transport.reading = False
    await bench.play(150)
    dropped = listener.dropped_frames
    assert dropped > 0 and bench.hub.dropped_frames == dropped
    bench.hub.leave(listener)
    assert bench.hub.dropped_frames == dropped
    bench.hub.join(listener, "f32le", 0)
    assert bench.hub.dropped_frames == dropped  # it is the same listener, in another format


@run
async def test_stalls_are_noticed_without_sound_too():
    bench = Bench()
    listener, transport = bench.listener()
    transport.reading = False
    await bench.play(20)
    bench.now += STALL_SECONDS + 1
    bench.hub.pump()
    assert listener.ended.result() is Ended.STALLED


@run
async def test_writing_never_waits_and_a_blocked_loop_costs_the_oldest_sound_only():
    bench = Bench()
    _, transport = bench.listener()
    await bench.play(5)
    began = time.perf_counter()
    for _ in range(400):  # 8 s, all while the loop stands still
        bench.hub.write(IndexCodedSource.block(bench.number))
        bench.number += 1
    assert time.perf_counter() - began < 2.0
    await asyncio.sleep(0.01)
    frames = transport.frames
    jump = [f for f in frames if f.flags & Flags.DISCONTINUITY]
    assert [f.sample_index for f in jump] == [155 * BLOCK_FRAMES]
    assert frames[-1].sample_index == 404 * BLOCK_FRAMES


@run
async def test_flags_of_blocks_reach_the_listener():
    bench = Bench()
    _, transport = bench.listener()
    silence = np.zeros((BLOCK_FRAMES, 2), np.float32)
    bench.hub.write(Block(0, silence, fallback=True))
    bench.hub.write(Block(960, silence, discontinuity=True))
    bench.hub.write(Block(1920, silence))
    await asyncio.sleep(0.01)
    assert [f.flags for f in transport.frames] == [Flags.FALLBACK, Flags.DISCONTINUITY, Flags.NONE]


@run
async def test_an_encoder_that_fails_is_rebuilt_and_the_gap_flagged():
    class Breaking(F32Encoder):
        def encode(self, audio) -> list[Packet]:
            if self._next == 10 * BLOCK_FRAMES:
                raise SinkError("made to fail")
            return super().encode(audio)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "f32le", Breaking)
        bench = Bench()
        _, transport = bench.listener()
        await bench.play(20)
    assert bench.hub.encoder_restarts == 1
    numbers = [f.sample_index // BLOCK_FRAMES for f in transport.frames]
    assert numbers == [*range(10), *range(11, 20)]
    assert transport.frames[10].flags == Flags.DISCONTINUITY


@run
async def test_events_are_told_in_the_order_of_the_sound():
    bench = Bench()
    _, transport = bench.listener()
    bench.hub.on_event = lambda event: bench.hub.tell(event.name)
    await bench.play(3)
    bench.hub.write(IndexCodedSource.block(3, (SceneEvent("event", "thunder", 3 * BLOCK_FRAMES),)))
    await asyncio.sleep(0.01)
    assert [opcode for opcode, _ in transport.messages] == [2, 2, 2, 1, 2]
    assert transport.messages[3][1] == b"thunder"


@run
async def test_watchers_get_messages_and_no_sound():
    bench = Bench()
    transport = FakeTransport()
    watcher = Listener(transport, lambda: bench.now, websocket_text)
    watcher.eager = True
    bench.hub.watch(watcher)
    await bench.play(5)
    bench.hub.tell("to all")
    bench.hub.tell("to the others", eager=False)
    assert transport.messages == [(1, b"to all")]
    assert (bench.hub.listeners, bench.hub.connected) == (0, 1)


@given(st.binary(max_size=70_000))
def test_framing(data):
    assert unwrap(websocket_frame(data, 2)) == [(2, data)]
    size, _, rest = chunk(data).partition(b"\r\n")
    assert int(size, 16) == len(data) and rest == data + b"\r\n"
