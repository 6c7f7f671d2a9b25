"""The server that tools/bench.py measures: a tone in real time behind the real hub, encoders and doors. No engine.

Prints one line of JSON when it listens, and serves until its standard input is closed.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import logging
import os
import pathlib
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

from ambient.messages import BLOCK_FRAMES, RATE, Block  # noqa: E402
from ambient.server import Server  # noqa: E402
from ambient.sinks.encoders import ENCODERS, OggOpusEncoder, OpusEncoder  # noqa: E402
from ambient.sinks.hub import Hub  # noqa: E402
from ambient.sinks.icecast import PushTarget  # noqa: E402
from ambient.testing import FakeStream, PacedSource  # noqa: E402

OPUS_BITS_PER_SECOND = 96_000


class ConstantOpus(OpusEncoder):
    """Opus of one bit rate whatever the sound: a tone would take half as much again."""

    def _open(self, codec: str, bits_per_second: int, options: dict[str, str]) -> Any:
        return super()._open(codec, bits_per_second, options | {"vbr": "off"})


class ConstantOggOpus(OggOpusEncoder):
    """The same in Ogg."""

    def _open(self, codec: str, bits_per_second: int, options: dict[str, str]) -> Any:
        return super()._open(codec, bits_per_second, options | {"vbr": "off"})


def tone_blocks() -> list[np.ndarray]:
    """A second of 440 and 660 Hz, in blocks: what comes after it is the same again."""
    at = np.arange(RATE) / RATE
    waves = [0.25 * np.sin(2 * np.pi * hertz * at) for hertz in (440, 660)]
    return list(np.stack(waves, 1).astype(np.float32).reshape(-1, BLOCK_FRAMES, 2))


def main() -> None:
    """Serves the tone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, required=True, help="the only processor core to run on")
    parser.add_argument("--push", help="an Icecast mount that gets the same Ogg Opus")
    given = parser.parse_args()
    os.sched_setaffinity(0, {given.core})
    logging.basicConfig(level=logging.WARNING)
    ENCODERS["opus"] = functools.partial(ConstantOpus, bits_per_second=OPUS_BITS_PER_SECOND)
    ENCODERS["ogg"] = functools.partial(ConstantOggOpus, bits_per_second=OPUS_BITS_PER_SECOND)
    blocks = tone_blocks()

    def make(number: int) -> Block:
        return Block(number * BLOCK_FRAMES, blocks[number % len(blocks)])

    hub = Hub("tone")
    pushes = [PushTarget.read(given.push)] if given.push else []
    server = Server([(FakeStream("tone"), hub)], port=0, most_listeners=20_000, pushes=pushes)
    server.start()
    gc.collect()
    gc.freeze()  # as `ambient serve` does
    began = time.monotonic()
    with PacedSource(hub, make):
        print(json.dumps({"port": server.port, "began": began}), flush=True)
        sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
