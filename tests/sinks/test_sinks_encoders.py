"""Encoders: no frame is lost or doubled, whatever the block size."""

from __future__ import annotations

import itertools
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.messages import RATE
from ambient.sinks.encoders import ENCODERS, S16Encoder
from ambient.testing import IndexCodedSource


def tone(length_frames: int, hertz: float = 440.0) -> np.ndarray:
    one = 0.3 * np.sin(2 * np.pi * hertz * np.arange(length_frames) / RATE)
    return np.stack([one, -one], axis=1).astype(np.float32)


def encode(name: str, audio: np.ndarray, cuts: list[int], start: int = 0):
    encoder = ENCODERS[name](start)
    packets = []
    at = 0
    for cut in [*cuts, len(audio)]:
        packets += encoder.encode(audio[at:cut])
        at = cut
    return encoder.header, packets + encoder.flush()


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["s16le", "f32le", "opus", "mp3", "ogg", "wav", "aac", "flac"]),
    length=st.integers(1, 9000),
    cuts=st.lists(st.integers(0, 9000), max_size=8),
    start=st.integers(0, 2**40),
)
def test_packets_are_contiguous_and_hold_all_frames(name, length, cuts, start):
    _, packets = encode(name, tone(length), sorted(min(c, length) for c in cuts), start)
    assert packets[0].start_frame == start
    for one, following in itertools.pairwise(packets):
        assert following.start_frame == one.start_frame + one.frames
    end = packets[-1].start_frame + packets[-1].frames
    if name in ("s16le", "f32le", "wav", "flac"):
        assert end == start + length
    else:
        assert start + length <= end <= start + length + 3 * 1152


@settings(max_examples=10, deadline=None)
@given(
    name=st.sampled_from(["opus", "mp3", "f32le", "ogg", "aac", "flac"]),
    cuts=st.lists(st.integers(1, 4799), max_size=6),
)
def test_the_bytes_do_not_depend_on_the_block_size(name, cuts):
    def sound(payloads):
        # An Ogg stream's serial number is drawn by chance, and its checksums with it.
        return [len(p) if name == "ogg" else p for p in payloads]

    whole = encode(name, tone(4800), [])[1]
    split = encode(name, tone(4800), sorted(cuts))[1]
    if name == "f32le":
        assert b"".join(p.payload for p in split) == b"".join(p.payload for p in whole)
    else:
        assert sound(p.payload for p in split) == sound(p.payload for p in whole)


def test_sixteen_bits_are_dithered_and_do_not_wrap():
    quiet = np.full((RATE, 2), 0.25 / 32767, np.float32)
    coded = np.frombuffer(S16Encoder().encode(quiet)[0].payload, "<i2")
    assert set(np.unique(coded)) <= {-1, 0, 1}
    assert coded.mean() == pytest.approx(0.25, abs=0.01)  # without dither it would be 0
    loud = np.array([[2.0, -2.0]] * 10, np.float32)
    clipped = np.frombuffer(S16Encoder().encode(loud)[0].payload, "<i2").reshape(-1, 2)
    assert (clipped[:, 0] == 32767).all() and (clipped[:, 1] == -32768).all()


def test_index_coded_sound_survives_sixteen_bits():
    audio = IndexCodedSource.audio(123_456, 5000)
    coded = np.frombuffer(S16Encoder().encode(audio)[0].payload, "<i2").reshape(-1, 2) / np.float32(32767)
    assert (IndexCodedSource.indices(coded) == np.arange(123_456, 128_456)).all()


def test_opus_packets_decode_to_the_tone():
    import av

    header, packets = encode("opus", tone(RATE), [])
    assert header[:8] == b"OpusHead"
    assert all(p.frames == 960 for p in packets)
    decoder = av.CodecContext.create("opus", "r")
    decoder.extradata = header
    decoded = np.concatenate([f.to_ndarray() for p in packets for f in decoder.decode(av.Packet(p.payload))], axis=1)
    assert decoded.shape[1] >= RATE
    spectrum = np.abs(np.fft.rfft(decoded[0, 4800 : 4800 + 24000]))
    assert np.argmax(spectrum) * 2 == 440


@pytest.mark.ffmpeg
@pytest.mark.parametrize("name", ["mp3", "ogg", "wav", "aac", "flac"])
@pytest.mark.parametrize("late", [False, True], ids=["from the start", "joined late"])
def test_ffmpeg_decodes_a_stream_from_any_packet(tmp_path, name, late):
    header, packets = encode(name, tone(2 * RATE), [])
    if late:
        packets = packets[len(packets) // 2 :]
    path = tmp_path / f"stream.{name}"
    path.write_bytes(header + b"".join(p.payload for p in packets))
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-"], capture_output=True, check=True
    )
    sound = np.frombuffer(done.stdout, "<f4").reshape(-1, 2)
    assert len(sound) > (0.9 if late else 1.9) * RATE
    steady = sound[9600:-9600, 0]
    assert np.sqrt(np.mean(steady**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
