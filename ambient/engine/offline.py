"""Rendering: the same engine, as fast as the machine goes, exactly as many frames as asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ambient.engine.core import Engine
from ambient.messages import BLOCK_FRAMES, RATE, Block, SceneEvent
from ambient.ports import Sink
from ambient.scene import Inputs

__all__ = ["render"]


def render(
    engine: Engine,
    sink: Sink,
    length_frames: int,
    *,
    fire: Sequence[tuple[int, str]] = (),
    inputs: Inputs | None = None,
    progress: Callable[[int, Engine], None] | None = None,
    step: Callable[[], Block] | None = None,
) -> list[SceneEvent]:
    """Renders ``length_frames`` from the engine's present frame into ``sink``; returns the scene's events.

    ``fire`` holds ``(frame, event name)`` pairs; ``inputs`` are asked once a second, by scene time. ``progress`` is
    called with the frames done after every block; ``step`` makes a block where the engine is not asked alone, as in a
    replay. The limiter's delay is taken out, so the first sample written is
    the scene's first. Raises BackendError where a clip cannot be made, SinkError where the sound cannot be written.
    """
    waiting, step = sorted(fire), step or engine.step
    skip, done = engine.latency_frames, 0
    events: list[SceneEvent] = []
    while done < length_frames:
        while waiting and waiting[0][0] < engine.frame + BLOCK_FRAMES:
            engine.fire(waiting.pop(0)[1])
        if inputs is not None and engine.frame % RATE == 0:
            engine.feed_all(inputs)
        block = step()
        events += block.events
        audio = block.audio[skip:] if skip < BLOCK_FRAMES else block.audio[:0]
        skip = max(0, skip - BLOCK_FRAMES)
        audio = audio[: length_frames - done]
        if len(audio):
            sink.write(replace(block, start_frame=done, audio=audio) if len(audio) != BLOCK_FRAMES else block)
        done += len(audio)
        if progress is not None:
            progress(done, engine)
    return events
