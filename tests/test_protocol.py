"""docs/protocol.md against the code, and the code against what a server really says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import websockets
from test_server import quiet, served  # noqa: F401  (fixtures)

from ambient.messages import BLOCK_FRAMES, RATE, Block, SceneEvent
from ambient.sinks.protocol import CLOSE_REASONS, HEADER_BYTES, HEADER_FIELDS, Close, build, unpack_frame
from ambient.sinks.timesync import TimeSync
from ambient.sinks.vocabulary import CLIENT_MESSAGES, ERRORS, SERVER_MESSAGES, object_schema
from ambient.testing import IndexCodedSource

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = {kind.name: object_schema(kind.fields, closed=not kind.open) for kind in SERVER_MESSAGES}


def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "tools" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_document_are_those_of_the_code():
    module = tables()
    text = module.DOCUMENT.read_text()
    assert module.filled(text) == text, "run tools/tables.py"
    assert all(f"<!-- {name} -->" in text for name in module.tables())


def test_the_table_of_a_header_that_is_no_more_is_noticed():
    module = tables()
    text = module.DOCUMENT.read_text().replace("`sample_index`", "`sample`")
    assert module.filled(text) != text


def test_the_tables_are_whole():
    assert set(CLOSE_REASONS) == set(Close)
    assert sum(int(kind[1:]) // 8 for _, kind, _, _ in HEADER_FIELDS) == HEADER_BYTES == 24
    for kind in (*CLIENT_MESSAGES, *SERVER_MESSAGES):
        jsonschema.Draft202012Validator.check_schema(object_schema(kind.fields))


HAPPENED = (
    SceneEvent("transition", "a → b", 0, {"from": "a", "to": "b", "over_seconds": 1.0, "why": "x"}),
    SceneEvent("oneshot", "owl", 0, {"layer": "owl", "distance_m": 1.0, "azimuth_deg": 2.0, "heard_frame": 9}),
)


class Talk:
    """A client that checks every message of the server against the document's schemas."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection
        self.frames: list = []

    async def say(self, kind: str, **payload: object) -> None:
        await self.connection.send(build(kind, payload))

    async def hear(self, kind: str) -> dict:
        """The next message of that type."""
        async with asyncio.timeout(5):
            while True:
                data = await self.connection.recv()
                if isinstance(data, bytes):
                    self.frames.append(unpack_frame(data))
                    continue
                message = json.loads(data)
                jsonschema.validate(message["payload"], SCHEMAS[message["type"]])
                if message["type"] == kind:
                    return message["payload"]

    async def sound(self, count: int) -> list:
        """The next frames of sound."""
        async with asyncio.timeout(5):
            while len(self.frames) < count:
                if isinstance(data := await self.connection.recv(), bytes):
                    self.frames.append(unpack_frame(data))
        found, self.frames = self.frames[:count], self.frames[count:]
        return found


def talk(url: str, conversation, **hello: object):
    """Runs a conversation after hello; returns its result."""

    async def run():
        async with websockets.connect(url, max_queue=None) as connection:
            one = Talk(connection)
            await one.say("hello", **hello)
            return await conversation(one, await one.hear("hello"))

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_everything_that_a_server_says_is_in_the_document(served):  # noqa: F811
    async def conversation(one, hello):
        assert hello["role"] == "controller" and hello["codec"] == "s16le" and not hello["resumed"]
        await one.hear("state")
        await one.say("ping", id=[1, 2])
        assert (await one.hear("pong"))["id"] == [1, 2]
        await one.say("scene")
        assert (await one.hear("scene"))["events"] == ["thunder", "owl"]
        await one.say("stats", underruns=3, buffered_ms=200.5)
        await one.say("stats", underruns=5)
        await one.say("fire", text="thunder in a canyon", distance_m=343)
        await one.say("state", state="storm", over_seconds=2)
        await one.say("fire", event="dragon")
        assert (await one.hear("error"))["code"] in ERRORS
        await one.say("format", codecs=["flac"])
        assert (await one.hear("format"))["frame_samples"] == 4608
        served.hub.write(Block(0, np.zeros((BLOCK_FRAMES, 2), np.float32), HAPPENED))
        assert (await one.hear("transition"))["to"] == "b"
        assert (await one.hear("event"))["heard_at_sample"] == 9
        served.server.drain()
        assert (await one.hear("draining"))["retry_after_ms"] > 0

    talk(served.socket, conversation, role="controller", codecs=["s16le"])
    assert served.control.asked == [("thunder in a canyon", 343, None)] and served.control.state == "storm"
    assert served.hub.client_underruns == 5


@pytest.mark.parametrize("frame_ms", [20, 60, 100])
def test_frames_as_long_as_asked_for(served, frame_ms):  # noqa: F811
    async def conversation(one, hello):
        assert hello["frame_samples"] == frame_ms * RATE // 1000
        frames = await one.sound(15)
        await one.say("format", codecs=["f32le"], frame_ms=100)
        await one.hear("format")
        one.frames.clear()
        return frames, (await one.sound(1))[0].frames

    frames, after = talk(served.socket, conversation, codecs=["s16le"], frame_ms=frame_ms, buffer_ms=500)
    assert {f.frames for f in frames} == {frame_ms * RATE // 1000} and after == 4800
    sound = np.concatenate([np.frombuffer(f.payload, "<i2").reshape(-1, 2) for f in frames]) / np.float32(32767)
    first = frames[0].sample_index
    assert (IndexCodedSource.indices(sound) == np.arange(first, first + len(sound)) % IndexCodedSource.PERIOD).all()


@pytest.mark.parametrize("frame_ms", [20, 100])
def test_a_client_goes_on_with_the_sample_that_it_wants(served, frame_ms):  # noqa: F811
    async def first(one, hello):
        return hello["epoch"], (await one.sound(1))[0].sample_index

    async def again(one, hello):
        return hello["resumed"], hello["burst_ms"], (await one.sound(1))[0]

    epoch, index = talk(served.socket, first, codecs=["s16le"], buffer_ms=100)
    wanted = index + 500  # in the middle of a frame
    how = {"codecs": ["s16le"], "frame_ms": frame_ms}
    resumed, burst, frame = talk(served.socket, again, resume={"epoch": epoch, "sample_index": wanted}, **how)
    assert resumed and burst == 0 and frame.sample_index <= wanted < frame.sample_index + frame.frames
    for lost in ({"epoch": epoch + 1, "sample_index": wanted}, {"epoch": epoch, "sample_index": 0}, {"epoch": "x"}):
        if lost.get("sample_index") == 0:
            served.until(lambda: served.hub.blocks > 120)
        resumed, burst, frame = talk(served.socket, again, resume=lost, **how)
        assert not resumed and burst == 1000 and frame.sample_index != wanted


def test_clients_agree_with_the_server_on_the_time(served):  # noqa: F811
    async def conversation(one, hello):
        sync = TimeSync()
        clock = asyncio.get_running_loop().time  # the same clock as the server's, so the offset must come out as 0
        for _ in range(8):
            await one.say("time", client_us=clock() * 1e6)
            sync.take(await one.hear("time"), clock() * 1e6)
        newest = one.frames[-1]
        return sync, hello["epoch"], newest.sample_index + newest.frames, clock() * 1e6

    sync, epoch, index, now_us = talk(served.socket, conversation, codecs=["s16le"])
    assert abs(sync.offset_us) <= sync.round_trip_us / 2 + 1
    when = sync.client_us_of(index, epoch)
    assert abs(when - now_us) < 2e6
    assert sync.client_us_of(index + BLOCK_FRAMES, epoch) - when == pytest.approx(20_000)


def test_before_the_end_nobody_comes_in_any_more_and_everybody_is_told(served):  # noqa: F811
    async def conversation(one, hello):
        served.server.drain()
        await one.hear("draining")
        one.frames.clear()
        await one.sound(20)  # sound goes on
        async with websockets.connect(served.socket) as late:
            with pytest.raises(websockets.ConnectionClosed):
                await late.recv()
            code = late.close_code
        answers = [served.get(path)[0] for path in ("readyz", "listen/forest.mp3", "healthz")]
        served.server.stop()
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await one.connection.recv()
        return code, answers, one.connection.close_code

    code, answers, ended = talk(served.socket, conversation, codecs=["s16le"])
    assert (code, answers, ended) == (Close.DRAINING, [503, 503, 200], Close.SHUTDOWN)
