"""Files: exactly as many frames as announced, or no file and a clear word."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ambient.errors import SinkError
from ambient.messages import BLOCK_FRAMES, RATE, Block
from ambient.sinks.file import FORMATS, open_file_sink


def write(path, length: int, given: int | None = None) -> np.ndarray:
    random = np.random.default_rng(3)
    audio = (0.1 * random.standard_normal((given or length, 2))).astype(np.float32)
    sink = open_file_sink(path, length)
    for start in range(0, len(audio), BLOCK_FRAMES):
        sink.write(Block(start, audio[start : start + BLOCK_FRAMES]))
    sink.close()
    return audio


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("length", [1000, RATE + 137])
def test_exactly_the_frames_that_were_announced(tmp_path, ending, length):
    path = tmp_path / f"forest{ending}"
    write(path, length, given=length + 500)  # the last block is longer than what is missing
    assert soundfile.info(path).frames == length
    assert soundfile.info(path).samplerate == RATE and soundfile.info(path).channels == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.ffmpeg
@pytest.mark.parametrize("ending", FORMATS)
def test_other_decoders_find_the_same_length(tmp_path, ending):
    length = 2 * RATE + 137
    path = tmp_path / f"forest{ending}"
    audio = write(path, length)
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-"], capture_output=True, check=True)
    sound = np.frombuffer(done.stdout, "<f4").reshape(-1, 2)
    assert len(sound) == length
    # Not shifted either: the lossy formats still resemble what went in, best so at no delay.
    middle = slice(RATE // 2, RATE)
    delays = [np.dot(sound[middle, 0], np.roll(audio[:, 0], shift)[middle]) for shift in range(-3, 4)]
    assert np.argmax(delays) == 3


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_lossless_formats_keep_24_bits(tmp_path, ending):
    path = tmp_path / f"forest{ending}"
    audio = write(path, 5000)
    assert np.abs(soundfile.read(path, dtype="float32")[0] - audio).max() <= 2**-23


def test_long_wavs_get_a_header_that_can_count_them(tmp_path):
    sink = open_file_sink(tmp_path / "night.wav", 12 * 3600 * RATE)
    sink.write(Block(0, np.zeros((BLOCK_FRAMES, 2), np.float32)))
    sink._file.flush()
    assert (tmp_path / "night.wav.part").read_bytes()[:4] == b"RF64"
    sink.abort()


def test_unknown_endings_and_impossible_places(tmp_path):
    with pytest.raises(SinkError, match=r"the ending '\.xyz' names no known format; write \.wav, \.flac, \.ogg"):
        open_file_sink(tmp_path / "forest.xyz", 10)
    with pytest.raises(SinkError, match="no ending names no known format"):
        open_file_sink(tmp_path / "forest", 10)
    with pytest.raises(SinkError, match=r"there is no folder .*missing; make it first"):
        open_file_sink(tmp_path / "missing" / "forest.wav", 10)
    with pytest.raises(SinkError, match="at least one frame"):
        open_file_sink(tmp_path / "forest.wav", 0)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(SinkError, match="is a folder"):
        open_file_sink(tmp_path / "folder.wav", 10)


def test_an_aborted_file_leaves_nothing_and_harms_no_former_one(tmp_path):
    path = tmp_path / "forest.flac"
    write(path, 1000)
    before = path.read_bytes()
    sink = open_file_sink(path, 1000)
    sink.write(Block(0, np.zeros((500, 2), np.float32)))
    sink.abort()
    sink.close()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_too_few_frames_are_no_file(tmp_path):
    sink = open_file_sink(tmp_path / "forest.wav", 1000)
    sink.write(Block(0, np.zeros((960, 2), np.float32)))
    with pytest.raises(SinkError, match="only 960 of 1000 frames were made"):
        sink.close()
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, signal, sys
import numpy as np
from ambient.errors import SinkError
from ambient.messages import Block
from ambient.sinks.file import open_file_sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
random = np.random.default_rng(0)
sink = open_file_sink(sys.argv[1], 960 * 1500)
try:
    for i in range(1500):
        sink.write(Block(960 * i, (0.3 * random.standard_normal((960, 2))).astype(np.float32)))
    sink.close()
except SinkError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="file size limits are a thing of Unix")
@pytest.mark.parametrize("ending", FORMATS)
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, ending):
    path = tmp_path / f"forest{ending}"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith(f"{path} could not be written: ")
    assert "partial file was removed" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", FORMATS)
def test_without_an_announced_length_it_takes_what_comes(tmp_path, ending):
    path = tmp_path / f"forest{ending}"
    sink = open_file_sink(path, None)
    for number in range(70):
        sink.write(Block(0, np.full((BLOCK_FRAMES, 2), 0.01 * number / 70, np.float32)))
    sink.close()
    assert soundfile.info(path).frames == 70 * BLOCK_FRAMES
    empty = open_file_sink(tmp_path / f"empty{ending}", None)
    with pytest.raises(SinkError, match="no sound came"):
        empty.close()
    assert list(tmp_path.iterdir()) == [path]


def test_an_endless_wav_takes_no_more_than_it_can_count(tmp_path):
    sink = open_file_sink(tmp_path / "long.wav", None)
    assert sink.frames_left == 0xFFFF_0000 // 6
    sink.abort()
