"""The wire protocol, without a wire."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambient.errors import ProtocolError
from ambient.sinks.protocol import (
    CLIENT_TYPES,
    HEADER_BYTES,
    MAX_DEPTH,
    MAX_MESSAGE_BYTES,
    Close,
    Codec,
    Flags,
    Hello,
    Session,
    build,
    pack_header,
    parse,
    read_name,
    read_object,
    read_params,
    unpack_frame,
)

HELLO = build("hello", {"protocol": 1, "codecs": ["opus", "s16le"], "rates": [48000], "channels": 2})


def test_header_is_24_bytes_laid_out_as_written():
    header = pack_header(Codec.OPUS, Flags.DISCONTINUITY | Flags.BURST, 7, 0x0102030405060708, 960, 0xA0B0C0D0)
    assert HEADER_BYTES == 24
    assert header == bytes.fromhex("01000205" "07000000" "0807060504030201" "c0030000" "d0c0b0a0")  # fmt: skip


@given(
    codec=st.sampled_from([Codec.OPUS, Codec.FLAC]),
    flags=st.integers(0, 7).map(Flags),
    seq=st.integers(0, 2**40),
    sample_index=st.integers(0, 2**64 - 1),
    frames=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=50),
)
def test_a_frame_comes_back_as_it_was_packed(codec, flags, seq, sample_index, frames, epoch, payload):
    frame = unpack_frame(pack_header(codec, flags, seq, sample_index, frames, epoch) + payload)
    assert (frame.codec, frame.flags, frame.seq) == (codec, flags, seq % 2**32)  # seq wraps
    assert (frame.sample_index, frame.frames, frame.epoch, frame.payload) == (sample_index, frames, epoch, payload)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_frame_or_a_protocol_error(data):
    try:
        frame = unpack_frame(data)
    except ProtocolError as error:
        assert error.close_code == Close.BAD_MESSAGE
    else:
        assert data[0] == 1 and frame.payload == data[HEADER_BYTES:]


def test_pcm_must_fill_its_frames():
    with pytest.raises(ProtocolError, match="4 bytes of s16le do not hold 2 frames"):
        unpack_frame(pack_header(Codec.S16LE, Flags.NONE, 0, 0, 2, 0) + b"1234")


@given(st.text(max_size=200) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_message_or_a_protocol_error(text):
    try:
        message = parse(text, CLIENT_TYPES)
    except ProtocolError as error:
        assert error.close_code in (Close.BAD_MESSAGE, Close.TOO_BIG)
    else:
        assert message.type in CLIENT_TYPES


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("[" * 50_000, Close.BAD_MESSAGE, f"nested deeper than {MAX_DEPTH}"),
        ('{"type":"ping","payload":' + '{"a":' * 9 + "1" + "}" * 10, Close.BAD_MESSAGE, "nested deeper"),
        ("x" * (MAX_MESSAGE_BYTES + 1), Close.TOO_BIG, "65537 characters"),
        ("{", Close.BAD_MESSAGE, "not JSON"),
        ('{"type":"params","payload":{"wind":NaN}}', Close.BAD_MESSAGE, "not JSON"),
        ("[]", Close.BAD_MESSAGE, "not an object"),
        ('{"type":5}', Close.BAD_MESSAGE, "type"),
        ('{"type":"sing"}', Close.BAD_MESSAGE, "unknown message type 'sing'"),
    ],
)
def test_bad_messages_say_what_is_wrong(text, code, why):
    with pytest.raises(ProtocolError, match=why) as caught:
        parse(text, CLIENT_TYPES)
    assert caught.value.close_code == code


def test_hello_comes_first_and_once():
    session = Session([Codec.OPUS, Codec.S16LE])
    with pytest.raises(ProtocolError, match="'ping' before hello") as caught:
        session.receive(build("ping"))
    assert caught.value.close_code == Close.NO_HELLO
    session.receive(HELLO)
    assert session.codec is Codec.OPUS  # the client's first choice
    assert session.receive(build("ping")).type == "ping"
    with pytest.raises(ProtocolError, match="second hello"):
        session.receive(HELLO)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"protocol": 2}, Close.BAD_MESSAGE),
        ({"role": "king"}, Close.BAD_MESSAGE),
        ({"codecs": ["vorbis"]}, Close.NO_CODEC),
        ({"codecs": ["flac"]}, Close.NO_CODEC),
        ({"rates": [44100]}, Close.NO_CODEC),
        ({"channels": 6}, Close.NO_CODEC),
        ({"buffer_ms": -1}, Close.BAD_MESSAGE),
        ({"buffer_ms": True}, Close.BAD_MESSAGE),
        ({"frame_ms": 40}, Close.BAD_MESSAGE),
        ({"frame_ms": None}, Close.BAD_MESSAGE),
    ],
)
def test_a_hello_that_cannot_be_met(payload, code):
    with pytest.raises(ProtocolError) as caught:
        Session([Codec.S16LE]).receive(build("hello", payload))
    assert caught.value.close_code == code


def test_unknown_codecs_and_fields_of_later_versions_are_passed_over():
    hello = Hello.read({"codecs": ["lyra", 4, "f32le"], "mood": "calm", "resume": {"epoch": 3, "sample_index": 960}})
    assert hello.codecs == (Codec.F32LE,)
    assert (hello.resume_epoch, hello.resume_sample_index) == (3, 960)


def test_no_codecs_at_all_means_to_watch_only():
    session = Session([Codec.S16LE])
    session.receive(build("hello", {"codecs": []}))
    assert session.codec is None


def test_params_and_names_are_validated():
    assert read_params({"params": {"wind": 1, "rain": None}}) == {"wind": 1.0, "rain": None}
    for bad in ({}, {"wind": "strong"}, {"wind": True}, {"params": [1]}, {"wind": float("inf")}):
        with pytest.raises(ProtocolError):
            read_params(bad)
    assert read_name({"event": "owl"}, "event") == "owl"
    for wrong in ({}, {"event": 3}, {"event": ""}, {"event": "x" * 201}):
        with pytest.raises(ProtocolError):
            read_name(wrong, "event")


def test_what_json_cannot_say_becomes_null():
    assert read_object(build("state", {"lufs": float("-inf"), "rows": [(1, float("nan"))]}))["payload"] == {
        "lufs": None,
        "rows": [[1, None]],
    }
