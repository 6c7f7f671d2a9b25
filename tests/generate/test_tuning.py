"""What a device can do with a model is measured, chosen from and remembered."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambient.cli import main
from ambient.commands import models
from ambient.errors import BackendError
from ambient.generate.catalogue import describe
from ambient.generate.tuning import (
    LONGEST_WARM_UP_SECONDS,
    MARGIN,
    WORTH,
    Measured,
    Tried,
    Tuning,
    choose,
    choose_way,
    measure,
    measure_ways,
    remember,
    tuning_of,
    tunings_of,
)
from ambient.generate.ways import PLAIN, Way
from ambient.messages import Clip, ClipFailure, ClipRequest
from ambient.testing import FakeBackend


class Paced(FakeBackend):
    """A backend whose clips take a known time on a clock of its own."""

    def __init__(self, seconds_per_latent_step: float) -> None:
        super().__init__()
        self.now = 0.0
        self._cost = seconds_per_latent_step

    def generate(self, requests: list[ClipRequest]) -> list[Clip | ClipFailure]:
        self.now += sum(r.latent_frames * r.steps for r in requests) * self._cost
        return super().generate(requests)


def measured(cost: float) -> tuple[Paced, list[Measured]]:
    backend = Paced(cost)
    return backend, measure(backend, clock=lambda: backend.now, most_seconds=1e9)


def test_a_fast_device_gets_all_steps_and_a_slower_one_fewer() -> None:
    backend, rows = measured(1e-4)
    info = backend.info
    quick = choose(info, rows)
    assert quick.real_time and quick.steps == info.steps and quick.layers >= 1
    # just too slow for all the steps
    slower = 1e-4 * quick.times_real_time / MARGIN * 1.3
    fewer = choose(info, measured(slower)[1])
    assert fewer.real_time and info.min_steps <= fewer.steps < info.steps


def test_where_nothing_keeps_real_time_the_fastest_way_is_told() -> None:
    backend, rows = measured(1.0)
    found = choose(backend.info, rows)
    assert not found.real_time and found.layers == 0 and found.steps == backend.info.min_steps


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(8, 400), st.integers(1, 4), st.floats(0.01, 50)), min_size=1))
def test_the_choice_is_one_that_was_measured_and_the_best_that_keeps_real_time(
    rows: list[tuple[int, int, int, float]],
) -> None:
    info = FakeBackend().info
    found = choose(info, [Measured(s, n, b, 1.0, x) for s, n, b, x in rows])
    able = [r for r in rows if r[3] >= MARGIN]
    assert found.real_time == bool(able)
    assert any(r[0] == found.steps and r[2] == found.batch and round(r[3], 2) == found.times_real_time for r in rows)
    if able:
        assert found.steps == max(r[0] for r in able)


def test_what_would_take_too_long_is_estimated() -> None:
    backend = Paced(0.1)
    rows = measure(backend, clock=lambda: backend.now, most_seconds=60.0)
    assert rows[0].estimated and backend.now < 400  # whole clips would have taken an hour
    exact = measured(0.1)[1]
    for row in rows:
        (same,) = (r for r in exact if (r.steps, r.latent_frames, r.batch) == (row.steps, row.latent_frames, row.batch))
        assert row.seconds == pytest.approx(same.seconds) and not same.estimated
    found = choose(backend.info, rows)
    assert found.estimated and not found.real_time


def test_what_the_memory_does_not_hold_is_left_out() -> None:
    class Small(Paced):
        room = 200

        def generate(self, requests: list[ClipRequest]) -> list[Clip | ClipFailure]:
            if sum(r.latent_frames for r in requests) > self.room:
                return [ClipFailure(r, "out_of_memory", "20 MiB more were needed") for r in requests]
            return super().generate(requests)

    backend = Small(1e-5)
    rows = measure(backend, clock=lambda: backend.now)
    assert rows and max(r.batch * r.latent_frames for r in rows) <= backend.room
    backend.room = 10
    with pytest.raises(BackendError, match="fake does not fit into the memory of this device: 20 MiB"):
        measure(backend, clock=lambda: backend.now)


def test_measuring_ends_in_time_and_a_model_that_fails_is_told() -> None:
    backend = Paced(0.1)
    assert len(measure(backend, clock=lambda: backend.now, most_seconds=0.0)) == 1
    broken = FakeBackend()
    broken.generate = lambda requests: [ClipFailure(r, "nan", "not finite") for r in requests]  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="makes no clip: not finite"):
        measure(broken)


def test_it_is_remembered_for_these_weights_and_this_device_only(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMBIENT_CACHE", str(tmp_path / "deep" / "down"))
    info = FakeBackend().info
    tuning = Tuning(4, 7.68, 2, 3.2, True)
    assert tuning_of(info, "auto", None) is None
    path = remember(info, "auto", None, tuning, "cpu (a small one)")
    (row,) = tunings_of(info)
    assert row["device"] == "auto" and row["on"] == "cpu (a small one)" and row["steps"] == 4
    assert tuning_of(info, "auto", None) == tuning
    assert tuning_of(info, "cpu", None) is None and tuning_of(info, "auto", 2) is None
    assert tuning_of(replace(info, fingerprint="other"), "auto", None) is None
    other = Tuning(8, 10.24, 1, 9.0, True)
    remember(info, "cpu", 2, other)
    assert tuning_of(info, "auto", None) == tuning and tuning_of(info, "cpu", 2) == other
    for damage in ("", "[1, 2]", '{"x": 3}', path.read_text().replace('"steps": 4', '"paces": 4')):
        path.write_text(damage)
        assert tuning_of(info, "auto", None) is None and tunings_of(replace(info, fingerprint="x")) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AMBIENT_CACHE", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="AMBIENT_CACHE"):
        remember(FakeBackend().info, "auto", None, Tuning(4, 7.68, 2, 3.2, True))


@pytest.fixture
def at_pace(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Paced]:
    """`ambient models bench` with a backend and a clock of the test's own."""
    monkeypatch.setenv("AMBIENT_CACHE", str(tmp_path / "cache"))

    def put(cost: float) -> Paced:
        backend = Paced(cost)
        monkeypatch.setattr("ambient.generate.loading.load_backend", lambda *_: backend)
        monkeypatch.setattr(models, "measure", functools.partial(measure, clock=lambda: backend.now))
        return backend

    return put


def test_the_command_says_what_it_found_stores_it_and_lists_it(
    at_pace: Callable[[float], Paced], capsys: pytest.CaptureFixture[str]
) -> None:
    at_pace(2e-4)
    assert main(["models", "bench", "bundled", "--device", "cpu", "--threads", "1"]) == 0
    said = capsys.readouterr()
    assert "play and serve use it from now on" in said.out and "steps, 1 x" in said.err
    found = tuning_of(describe("bundled"), "cpu", 1)
    assert found is not None and found.real_time
    assert main(["models"]) == 0
    assert f"bundled: measured with --device cpu --threads 1 (cpu): {found.steps} steps" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    (row,) = (r for r in json.loads(capsys.readouterr().out) if r["name"] == "bundled")
    assert row["measured"][0]["times_real_time"] == found.times_real_time


def test_where_real_time_cannot_be_had_it_says_how_far_it_is_and_what_to_do(
    at_pace: Callable[[float], Paced], capsys: pytest.CaptureFixture[str]
) -> None:
    at_pace(1.0)
    assert main(["models", "bench", "bundled"]) == 0
    said = capsys.readouterr().out
    assert "too slow to play live here: it would have to be" in said and "times as fast" in said
    assert "ambient render" in said and "--model bundled" in said


def test_the_command_can_be_interrupted_and_stores_nothing_then(
    at_pace: Callable[[float], Paced], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = at_pace(1e-4)

    def interrupted(requests: list[ClipRequest]) -> list[Clip | ClipFailure]:
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "generate", interrupted)
    assert main(["models", "bench", "bundled"]) == 130
    assert "interrupted" in capsys.readouterr().err and tunings_of(describe("bundled")) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["bundled", "audioldm", "stable-audio", "stable-audio-3"])
def test_real_models_can_be_measured(
    family: str,
    checkpoint: Callable[[str], pathlib.Path],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AMBIENT_CACHE", str(tmp_path / "cache"))
    name = family if family == "bundled" else str(checkpoint(family))
    given = ["--device", "cpu", "--threads", "1", "--seconds", "0.5", "--json"]
    assert main(["models", "bench", name, *given]) == 0
    said = json.loads(capsys.readouterr().out)
    info = describe(name)
    assert said["name"] == info.name and said["device"].startswith("cpu") and said["measured"]
    found = tuning_of(info, "cpu", 1)
    assert found is not None and info.min_steps <= found.steps <= info.steps
    assert found.clip_seconds <= info.max_latent_frames * info.frames_per_latent / 48_000 + 0.01


class Wayed(Paced):
    """Faster or slower in each way, and able to take some only."""

    ways = (PLAIN, Way("flash"), Way("math"), Way("cudnn"), Way(compiled=True))
    pace = MappingProxyType({Way("flash"): 0.7, Way("math"): 2.0, Way(compiled=True): 0.5})
    warm_up = MappingProxyType({Way(compiled=True): 40.0})

    def __init__(self, seconds_per_latent_step: float) -> None:
        super().__init__(seconds_per_latent_step)
        self.way, self._plain, self._warm = PLAIN, seconds_per_latent_step, set[Way]()

    def take(self, way: Way) -> None:
        self.way = way
        self._cost = self._plain * self.pace.get(way, 1.0)

    def generate(self, requests: list[ClipRequest]) -> list[Clip | ClipFailure]:
        if self.way == Way("cudnn"):
            return [ClipFailure(r, "error", "RuntimeError: no available kernel") for r in requests]
        if self.way not in self._warm:
            self._warm.add(self.way)
            self.now += self.warm_up.get(self.way, 0.0)
        return super().generate(requests)


def test_the_fastest_way_that_is_soon_ready_is_taken() -> None:
    backend = Wayed(1e-4)
    rows = measure_ways(backend, clock=lambda: backend.now)
    assert [r.way for r in rows] == list(Wayed.ways)
    assert backend.way == choose_way(rows) == Way("flash")  # compiled is faster still, but not soon ready
    by = {r.way: r for r in rows}
    assert by[Way("flash")].seconds == pytest.approx(0.7 * by[PLAIN].seconds)
    assert by[PLAIN].seconds == pytest.approx(backend.info.steps * 96 * 1e-4)
    assert "no available kernel" in by[Way("cudnn")].trouble and by[Way(compiled=True)].first_seconds >= 40
    assert measure_ways(FakeBackend()) == [] and choose_way([]) == PLAIN  # a backend without a choice


def test_ways_are_not_begun_after_the_time_and_failing_plainly_is_told() -> None:
    backend = Wayed(1.0)
    rows = measure_ways(backend, clock=lambda: backend.now, most_seconds=1.0)
    assert len(rows) == len(Wayed.ways) and all("not tried" in r.trouble for r in rows[1:]) and backend.way == PLAIN
    backend.ways = (Way("cudnn"), PLAIN)
    backend.generate = lambda requests: [ClipFailure(r, "nan", "not finite") for r in requests]  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="not finite"):
        measure_ways(backend, clock=lambda: backend.now)


@given(st.lists(st.tuples(st.sampled_from(Wayed.ways), st.floats(0, 100), st.floats(0.01, 100))))
def test_another_way_is_worth_it_and_measured_beside_the_plain_one(found: list[tuple[Way, float, float]]) -> None:
    rows = [Tried(*row) for row in found]
    way = choose_way(rows)
    if way != PLAIN:
        plain = next(r for r in rows if r.way == PLAIN)
        assert any(
            r.way == way and r.seconds * WORTH <= plain.seconds and r.first_seconds <= LONGEST_WARM_UP_SECONDS
            for r in rows
        )


def test_a_way_is_remembered_with_the_rest(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMBIENT_CACHE", str(tmp_path))
    info = FakeBackend().info
    tuning = Tuning(4, 7.68, 2, 3.2, True, attention="flash", compiled=True)
    remember(info, "cpu", 1, tuning)
    found = tuning_of(info, "cpu", 1)
    assert found == tuning and found.way == Way("flash", True)
