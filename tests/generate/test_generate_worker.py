"""Generators: the contract that engines rely on, with a worker that dies, hangs, breaks or cannot load."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ambient.errors import BackendError
from ambient.generate.cache import CachingGenerator, ClipCache
from ambient.generate.shared import SharedGenerator
from ambient.generate.worker import InProcessGenerator, ProcessGenerator
from ambient.messages import Clip, ClipFailure, ClipKey, ClipRequest, ModelInfo, PromptMix, Tail
from ambient.ports import Generator
from ambient.testing import FakeBackend, ScriptedGenerator

INFO = FakeBackend().info


def request(index: int = 0, text: str = "rain", layer: str = "rain", tail: Tail | None = None) -> ClipRequest:
    return ClipRequest(ClipKey(layer, index), 0, 16, 0, 100 + index, 5, PromptMix.of(text), 8, 2.0, tail)


class Moody(FakeBackend):
    """A backend that does what the prompt says. Lives in the worker process, hence at module level."""

    device = "a thoughtful chip"

    def generate(self, requests: Sequence[ClipRequest]) -> list[Clip | ClipFailure]:
        text = requests[0].prompt.parts[0][0]
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "hang":
            time.sleep(3600)
        if text == "an hour of steps":
            for _ in range(360_000):
                self.on_step()
                time.sleep(0.01)
        if text == "a long second of steps":
            for _ in range(10):
                self.on_step()
                time.sleep(0.1)
        if text == "break":
            raise RuntimeError("something inside gave way")
        return super().generate(requests)


def moody(info: ModelInfo, device: str, threads: int | None) -> Moody:
    return Moody(info)


def broken(info: ModelInfo, device: str, threads: int | None) -> Any:
    raise BackendError("weights.safetensors is cut off after 12 bytes: fetch it again")


def process() -> ProcessGenerator:
    return ProcessGenerator(INFO, factory=moody)


MAKERS: dict[str, Callable[[], Generator]] = {
    "in process": lambda: InProcessGenerator(FakeBackend()),
    "process": process,
    "scripted fake": lambda: ScriptedGenerator(FakeBackend()),
    "shared": lambda: SharedGenerator(InProcessGenerator(FakeBackend())).port(),
}


@pytest.fixture(params=MAKERS)
def generator(request: pytest.FixtureRequest) -> Iterator[Generator]:
    made = MAKERS[request.param]()
    yield made
    made.close()


def collect(generator: Generator, count: int, patience_seconds: float = 60.0) -> list[Clip | ClipFailure]:
    answers: list[Clip | ClipFailure] = []
    end = time.monotonic() + patience_seconds
    while len(answers) < count and time.monotonic() < end:
        answers += generator.poll(0.2)
    assert len(answers) == count, f"{len(answers)} of {count} answers"
    return answers


def test_every_request_is_answered_once_with_the_tail_kept(generator: Generator) -> None:
    tail = Tail(np.random.default_rng(0).standard_normal((4, 6)).astype(np.float16))
    batch = [request(0), request(1, tail=tail), request(2)]
    generator.submit(batch[:2], 60.0)
    generator.submit(batch[2:], 60.0)
    answers = collect(generator, 3)
    assert sorted(a.request.key.index for a in answers) == [0, 1, 2]
    for answer in answers:
        assert isinstance(answer, Clip)
        assert answer.audio.shape == (16 * INFO.frames_per_latent, 2) and answer.audio.dtype == np.float32
        if answer.request.tail is not None:
            np.testing.assert_array_equal(answer.latents[:, :6], tail.latents)
    assert generator.poll(0.0) == []


def test_a_clip_leads_exactly_into_its_head(generator: Generator) -> None:
    known = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float16)
    generator.submit(
        [replace(request(0), head=Tail(known)), replace(request(1, tail=Tail(known)), head=Tail(known))], 60
    )
    for answer in collect(generator, 2):
        assert isinstance(answer, Clip)
        np.testing.assert_array_equal(answer.latents[:, -6:], known)
        if answer.request.tail is not None:
            np.testing.assert_array_equal(answer.latents[:, :6], known)


def test_the_same_request_gives_the_same_clip_whoever_makes_it(generator: Generator) -> None:
    generator.submit([request(3)], 60.0)
    answer = collect(generator, 1)[0]
    expected = FakeBackend().generate([request(3)])[0]
    assert isinstance(answer, Clip) and isinstance(expected, Clip)
    np.testing.assert_array_equal(answer.audio, expected.audio)


def test_closing_twice_does_no_harm(generator: Generator) -> None:
    generator.close()
    generator.close()


def test_a_killed_worker_fails_its_batch_and_is_replaced() -> None:
    generator = process()
    try:
        generator.submit([request(0, "die")], 60.0)
        generator.submit([request(1)], 60.0)
        answers = sorted(collect(generator, 2), key=lambda a: a.request.key.index)
        assert isinstance(answers[0], ClipFailure) and answers[0].kind == "worker_died"
        assert "SIGKILL" in answers[0].message
        assert isinstance(answers[1], Clip)
        assert generator.restarts == 1
    finally:
        generator.close()


def test_a_hung_worker_is_killed_after_its_time() -> None:
    generator = process()
    try:
        generator.submit([request(0, "hang")], 0.5)
        answer = collect(generator, 1)[0]
        assert isinstance(answer, ClipFailure) and answer.kind == "timeout"
        generator.submit([request(1)], 60.0)
        assert isinstance(collect(generator, 1)[0], Clip)
    finally:
        generator.close()


def test_a_slow_worker_that_still_works_is_left_alone() -> None:
    """Its time counts anew from each denoising step: a large model on a small machine is not dead."""
    generator = process()
    try:
        collect_ready(generator)
        generator.submit([request(0, "a long second of steps")], 0.6)
        assert isinstance(collect(generator, 1)[0], Clip) and generator.restarts == 0
        assert generator.device == "a thoughtful chip"
    finally:
        generator.close()


def test_a_batch_that_nobody_wants_any_more_is_given_up_at_its_next_step() -> None:
    generator = process()
    try:
        slow = [request(0, "an hour of steps"), request(1, "an hour of steps", "owl")]
        generator.submit(slow, 600.0)
        generator.submit([request(2), request(3)], 600.0)
        collect_ready(generator)
        generator.cancel(slow[0])
        assert generator.poll(0.5) == []  # the other half of the batch is still wanted
        generator.cancel(request(3))
        generator.cancel(slow[1])
        answer = collect(generator, 1)[0]
        assert answer.request.key.index == 2 and isinstance(answer, Clip)
        assert generator.poll(0.5) == []
        assert generator.restarts == 0
    finally:
        generator.close()


def test_what_is_cancelled_while_the_model_loads_is_never_made() -> None:
    generator = process()
    try:
        generator.submit([request(0, "an hour of steps"), request(1)], 600.0)
        generator.cancel(request(0, "an hour of steps"))
        answers = collect(generator, 1)
        assert [a.request.key.index for a in answers] == [1] and isinstance(answers[0], Clip)
    finally:
        generator.close()


def test_a_fault_inside_the_model_is_a_failure_of_that_batch_only() -> None:
    generator = process()
    try:
        generator.submit([request(0, "break")], 60.0)
        answer = collect(generator, 1)[0]
        assert isinstance(answer, ClipFailure) and answer.kind == "error"
        assert answer.message == "RuntimeError: something inside gave way"
        assert generator.restarts == 0
    finally:
        generator.close()


def test_a_model_that_cannot_load_says_why_once() -> None:
    generator = ProcessGenerator(INFO, factory=broken)
    try:
        with pytest.raises(BackendError, match=r"cut off after 12 bytes: fetch it again"):
            collect(generator, 1)
        assert not generator.ready
    finally:
        generator.close()


def test_a_pause_of_the_whole_program_is_not_held_against_the_worker() -> None:
    now = [0.0]
    generator = ProcessGenerator(INFO, factory=moody, clock=lambda: now[0])
    try:
        collect_ready(generator)
        generator.submit([request(0, "hang")], 5.0)
        now[0] += 3600.0  # the machine slept
        assert generator.poll(0.0) == [] and generator.restarts == 0
        for _ in range(6):
            now[0] += 1.0
            if answers := generator.poll(0.0):
                break
        assert answers and isinstance(answers[0], ClipFailure)
    finally:
        generator.close()


def collect_ready(generator: ProcessGenerator) -> None:
    end = time.monotonic() + 60
    while not generator.ready and time.monotonic() < end:
        generator.poll(0.1)
    assert generator.ready


def test_the_worker_goes_when_the_engine_goes() -> None:
    generator = process()
    collect_ready(generator)
    pid = generator.pid
    assert pid is not None
    generator.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# ---- cache


def test_a_cached_clip_comes_back_the_same_without_the_model(tmp_path: Any) -> None:
    cache = ClipCache(tmp_path)
    inner = ScriptedGenerator()
    first = CachingGenerator(inner, cache)
    first.submit([request(0)], 60.0)
    made = collect(first, 1)[0]
    again = CachingGenerator(ScriptedGenerator(fault=lambda clip: None), cache)
    again.submit([request(0)], 60.0)
    found = collect(again, 1)[0]
    assert isinstance(made, Clip) and isinstance(found, Clip) and found.cached and not made.cached
    np.testing.assert_array_equal(found.audio, made.audio)
    np.testing.assert_array_equal(found.latents, made.latents)


@pytest.mark.parametrize(
    "other",
    [
        request(1),
        request(0, "snow"),
        request(0, tail=Tail(np.zeros((4, 2), np.float16))),
        replace(request(0), head=Tail(np.zeros((4, 2), np.float16))),
    ],
    ids=["seed", "prompt", "tail", "head"],
)
def test_another_request_is_another_clip(tmp_path: Any, other: ClipRequest) -> None:
    cache = ClipCache(tmp_path)
    assert cache.key(INFO, request(0)) != cache.key(INFO, other)
    assert cache.key(INFO, request(0)) == cache.key(INFO, request(0))


def test_a_damaged_file_is_as_good_as_none(tmp_path: Any) -> None:
    cache = ClipCache(tmp_path)
    clip = FakeBackend().generate([request(0)])[0]
    assert isinstance(clip, Clip)
    cache.put(INFO, clip)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:1000])
    assert cache.get(INFO, request(0)) is None


def test_the_cache_stays_within_its_limit_and_forgets_the_oldest(tmp_path: Any) -> None:
    size = 16 * INFO.frames_per_latent * 8
    cache = ClipCache(tmp_path, limit_bytes=3 * size + size // 2)
    for i in range(6):
        clip = FakeBackend().generate([request(i)])[0]
        assert isinstance(clip, Clip)
        cache.put(INFO, clip)
        for path in tmp_path.glob("*.npz"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
    assert cache.get(INFO, request(0)) is None
    assert cache.get(INFO, request(5)) is not None
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= cache.limit_bytes


def test_no_cache_folder_is_no_trouble(tmp_path: Any) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = ClipCache(blocked)
    clip = FakeBackend().generate([request(0)])[0]
    assert isinstance(clip, Clip)
    cache.put(INFO, clip)
    assert cache.get(INFO, request(0)) is None


# ---- sharing


def test_ports_get_their_own_answers_only() -> None:
    shared = SharedGenerator(InProcessGenerator(FakeBackend()))
    one, two = shared.port(), shared.port()
    one.submit([request(0, layer="a")], 60.0)
    two.submit([request(1, layer="b")], 60.0)
    assert [a.request.key.layer for a in collect(two, 1)] == ["b"]
    assert [a.request.key.layer for a in collect(one, 1)] == ["a"]


def test_the_shared_generator_closes_with_its_last_port() -> None:
    inner = ScriptedGenerator()
    shared = SharedGenerator(inner)
    one, two = shared.port(), shared.port()
    one.close()
    assert not inner.closed
    two.close()
    assert inner.closed
