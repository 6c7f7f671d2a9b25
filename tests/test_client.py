"""The Python client against the real server: it goes on where it stopped, and says what it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import time

import numpy as np
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from ambient.client import Codec, Event, Flags, Frame, Refusal, Status, Stream, Transition, connect, retry_seconds
from ambient.errors import ProtocolError
from ambient.messages import BLOCK_FRAMES, SceneEvent
from ambient.server import Server, Tokens
from ambient.sinks.hub import Hub
from ambient.sinks.protocol import Close, build, pack_header
from ambient.testing import FakeStream, IndexCodedSource, PacedSource


class Place:
    """A server that can be stopped and started again under the same address."""

    def __init__(self) -> None:
        self.control, self.hub = FakeStream("forest"), Hub("forest")
        self.server = Server([(self.control, self.hub)], port=0)
        self.server.start()
        self.port = self.server.port
        self.url = f"ws://127.0.0.1:{self.port}/ws/v1/forest"

    def restart(self, hub: Hub | None = None) -> None:
        self.server.stop()
        self.hub = hub or self.hub
        self.server = Server([(self.control, self.hub)], port=self.port)
        self.server.start()


@pytest.fixture
def place():
    one = Place()
    yield one
    one.server.stop()


def soon(_attempt: int) -> float:
    return 0.02


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


async def take(stream: Stream, count: int) -> list[Frame]:
    return [await anext(stream) for _ in range(count)]


def test_a_restarted_server_is_heard_on_with_the_very_next_sample(place, monkeypatch):
    monkeypatch.setattr("ambient.client.random.uniform", lambda low, high: 0.01 * low)  # 2 s after draining: not here

    async def listen():
        async with connect(place.url, retry=soon) as stream:
            before = await take(stream, 30)
            await asyncio.to_thread(place.restart)
            after = await take(stream, 60)
            return stream, before + after

    with PacedSource(place.hub):
        stream, frames = run(listen())
    assert stream.reconnects >= 1
    assert (np.diff([f.sample_index for f in frames]) == BLOCK_FRAMES).all()
    assert not any(f.flags & Flags.DISCONTINUITY for f in frames)
    heard = IndexCodedSource.indices(np.concatenate([stream.decode(f) for f in frames]))
    assert (np.diff(heard) == 1).all()


def test_another_run_of_the_stream_is_told_by_a_discontinuity(place, monkeypatch):
    monkeypatch.setattr("ambient.client.random.uniform", lambda low, high: 0.01 * low)
    other = Hub("forest")

    async def listen():
        async with connect(place.url, retry=soon) as stream:
            first = await take(stream, 20)
            await asyncio.to_thread(place.restart, other)
            return first, await take(stream, 20)

    with PacedSource(place.hub), PacedSource(other):
        first, then = run(listen())
    assert {f.epoch for f in first} != {f.epoch for f in then} == {other.epoch}
    assert [bool(f.flags & Flags.DISCONTINUITY) for f in then] == [True] + 19 * [False]


def test_a_connection_cut_anywhere_is_made_again(place):
    """By a door in between that lets some bytes through and then cuts both sides."""

    async def listen():
        doors: list[asyncio.Task[None]] = []
        cuts = iter([3_000, 20_000, 90_001, 10_000_000, 10_000_000])

        async def let_through(reader, writer):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", place.port)

            async def up():
                while data := await reader.read(65536):
                    up_writer.write(data)

            doors.append(asyncio.create_task(up()))
            left = next(cuts)
            while left > 0 and (data := await up_reader.read(min(left, 65536))):
                writer.write(data)
                left -= len(data)
            for end in (writer, up_writer):
                end.transport.abort()

        door = await asyncio.start_server(let_through, "127.0.0.1", 0)
        port = door.sockets[0].getsockname()[1]
        async with door, connect(f"ws://127.0.0.1:{port}/ws/v1/forest", retry=soon) as stream:
            return stream.reconnects, await take(stream, 150), stream

    with PacedSource(place.hub):
        _, frames, stream = run(listen())
    assert stream.reconnects == 3
    assert (np.diff([f.sample_index for f in frames]) == BLOCK_FRAMES).all()


@pytest.mark.parametrize(
    ("url", "code"),
    [("nowhere", Close.NO_STREAM), ("../../nothing", Close.POLICY)],
)
def test_what_another_try_would_not_change_is_said_at_once(place, url, code):
    async def listen():
        async with connect(place.url.replace("forest", url), retry=soon) as stream:
            await anext(stream)

    with pytest.raises(ProtocolError) as caught:
        run(listen())
    assert caught.value.close_code == code


@pytest.mark.parametrize(
    ("token", "granted"),
    [("steer-steer", "controller"), ("listen-listen", "listener"), ("wrong-wrong", None), (None, None)],
)
def test_tokens(place, token, granted):
    server = Server(
        [(place.control, place.hub)],
        port=0,
        tokens=Tokens(listen=frozenset(["listen-listen"]), control=frozenset(["steer-steer"])),
    )
    server.start()

    async def listen():
        url = f"ws://127.0.0.1:{server.port}/ws/v1/forest"
        async with connect(url, role="controller", token=token, retry=soon) as stream:
            await anext(stream)
            return stream.hello["role"]

    try:
        with PacedSource(place.hub):
            if granted is None:
                with pytest.raises(ProtocolError) as caught:
                    run(listen())
                assert caught.value.close_code == Close.AUTH
                assert "token" in str(caught.value) and "wrong-wrong" not in str(caught.value)
            else:
                assert run(listen()) == granted
    finally:
        server.stop()


def test_an_address_that_is_none(place):
    async def listen():
        async with connect("127.0.0.1/forest"):
            pass

    with pytest.raises(ProtocolError, match="no address of a stream"):
        run(listen())


def test_a_server_that_greets_and_drops_is_left_in_peace_for_longer_and_longer():
    attempts: list[int] = []

    async def listen():
        async def greet_and_drop(ws):
            await ws.recv()
            await ws.send(build("hello", {"codec": "s16le"}))
            await ws.close(Close.DRAINING, "later")

        async with websockets.serve(greet_and_drop, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]

            def retry(attempt: int) -> float:
                attempts.append(attempt)
                if attempt == 5:
                    raise KeyError("enough")
                return 0.0

            async with connect(f"ws://127.0.0.1:{port}/", retry=retry) as stream:
                await anext(stream)

    with pytest.raises(KeyError, match="enough"):
        run(listen())
    assert attempts == [0, 1, 2, 3, 4, 5]


def test_pauses_grow_to_a_bound_and_differ():
    for attempt in range(60):
        pauses = {retry_seconds(attempt) for _ in range(20)}
        assert len(pauses) > 10
        middle = min(8.0, 0.4 * 1.7**attempt)
        assert 0.6 * middle <= min(pauses) and max(pauses) <= 1.4 * middle


def test_everything_comes_typed_and_in_order_with_the_sound(place):
    thunder = SceneEvent("oneshot", "thunder", 30 * 960, {"layer": "thunder", "distance_m": 900, "heard_frame": 77_777})
    change = SceneEvent("transition", "rain", 30 * 960, {"from": "calm", "to": "rain", "over_seconds": 8, "why": "x"})

    async def listen():
        seen = []
        async with connect(place.url, buffer_ms=0, role="controller") as stream:
            while not place.hub.listeners:
                await asyncio.sleep(0.01)
            await stream.set_params(wind=0.9)
            await stream.go("storm", over_seconds=3)
            await stream.fire("owl")
            await stream.ask("a door far away", distance_m=80)
            await stream.fire("elephant")
            place.hub.write(IndexCodedSource.block(29))
            place.hub.write(IndexCodedSource.block(30, (change, thunder)))
            async for item in stream.items():
                seen.append(item)
                told = any(isinstance(s, Refusal) for s in seen) and stream.time.offset_us is not None
                if told and any(isinstance(s, Frame) and s.sample_index == 28_800 for s in seen):
                    break
            return seen, stream

    seen, stream = run(listen())
    assert isinstance(seen[0], Status) and seen[0].state == "calm" and seen[0].params["wind"] == 0.4
    heard = [s for s in seen if isinstance(s, Frame | Transition | Event)]
    assert [type(s) for s in heard] == [Frame, Transition, Event, Frame]
    assert heard[1] == Transition("calm", "rain", 28_800, 8.0, "x")
    assert (heard[2].kind, heard[2].name) == ("oneshot", "thunder")
    assert (heard[2].at_sample, heard[2].heard_at_sample) == (28_800, 77_777)
    assert heard[2].detail["distance_m"] == 900
    refusal = next(s for s in seen if isinstance(s, Refusal))
    assert refusal.message == "no event is called 'elephant'; did you mean 'thunder'?" and not refusal.retryable
    assert (place.control.params["wind"], place.control.state, place.control.fired) == (0.9, "storm", ["owl"])
    assert place.control.asked == [("a door far away", 80.0, None)]
    # Server and client share a clock here: what is measured is off by half a round trip at most.
    assert abs(stream.time.offset_us) <= stream.time.round_trip_us / 2 + 1


def test_flac_is_decoded_to_the_very_samples(place):
    async def listen():
        async with connect(place.url, [Codec.FLAC], buffer_ms=200) as stream:
            frames = await take(stream, 10)
            return frames, np.concatenate([stream.decode(f) for f in frames])

    with PacedSource(place.hub):
        frames, audio = run(listen())
    heard = IndexCodedSource.indices(audio)
    assert heard[0] == frames[0].sample_index and (np.diff(heard) == 1).all()
    assert len(heard) >= 9 * 4608


@pytest.mark.parametrize("frame_ms", [60, 100])
def test_longer_frames_are_resumed_as_exactly(place, frame_ms):
    async def listen():
        async with connect(place.url, frame_ms=frame_ms, retry=soon) as stream:
            before = await take(stream, 5)
            stream._connection.transport.abort()
            return before + await take(stream, 10)

    with PacedSource(place.hub):
        frames = run(listen())
    assert frames[0].frames == 48 * frame_ms
    assert all(a.sample_index + a.frames == b.sample_index for a, b in itertools.pairwise(frames))


def test_opus_is_decoded_in_place(place):
    async def listen():
        async with connect(place.url, [Codec.OPUS, Codec.S16LE], buffer_ms=200) as stream:
            frames = await take(stream, 50)
            return frames, np.concatenate([stream.decode(f) for f in frames])

    with PacedSource(place.hub):
        frames, audio = run(listen())
    assert frames[0].codec is Codec.OPUS
    assert len(audio) == 50 * BLOCK_FRAMES - 312
    # The left channel is a saw of 1024 frames: where it falls tells the place, an Opus-smeared few frames around it.
    start = frames[0].sample_index
    sent = IndexCodedSource.audio(start, len(audio))[:, 0]
    lags = [np.corrcoef(sent[4800:24000], audio[4800 + lag : 24000 + lag, 0])[0, 1] for lag in range(-400, 401, 8)]
    assert abs(range(-400, 401, 8)[int(np.argmax(lags))]) <= 8


def test_who_leaves_off_listening_hears_no_more_and_can_go_on(place):
    async def listen():
        async with connect(place.url) as stream:
            await take(stream, 5)
            await stream.set_codecs([])
            silence = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.4):
                    while True:
                        await anext(stream)
                        silence += 1
            await stream.set_codecs([Codec.F32LE])
            return silence, (await take(stream, 5))[-1]

    with PacedSource(place.hub):
        silence, last = run(listen())
    assert silence < 15 and last.codec is Codec.F32LE


def test_steering_while_there_is_no_connection_says_so(place):
    async def listen():
        async with connect(place.url, role="controller", reconnect=False) as stream:
            await asyncio.to_thread(place.server.stop)
            until = time.monotonic() + 10
            while time.monotonic() < until:
                await stream.fire("owl")
                await asyncio.sleep(0.01)

    with pytest.raises(ProtocolError):
        run(listen())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6), st.sampled_from([7, 7, 7, 8])), max_size=40))
def test_no_sample_comes_twice_and_every_gap_is_told(pieces):
    """Frames of any place and length, as after any sequence of broken connections."""
    stream = connect("ws://nowhere")
    epoch = expected = None
    for seq, (start, length, run_of_stream) in enumerate(pieces):
        index = np.arange(start, start + length)
        payload = np.stack([index, index], axis=1).astype("<f4").tobytes()
        data = pack_header(Codec.F32LE, Flags.NONE, seq, start, length, run_of_stream) + payload
        frame = stream._sound(data)
        if frame is None:
            assert run_of_stream == epoch and start + length <= expected
            continue
        assert (stream.decode(frame)[:, 0] == np.arange(frame.sample_index, frame.sample_index + frame.frames)).all()
        assert frame.sample_index + frame.frames == start + length
        if epoch is not None:
            whole = (frame.epoch, frame.sample_index) == (epoch, expected)
            assert bool(frame.flags & Flags.DISCONTINUITY) is not whole
            assert frame.epoch != epoch or frame.sample_index >= expected
        epoch, expected = frame.epoch, frame.sample_index + frame.frames


def test_items_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Refusal("role", "no", False).code = "x"
