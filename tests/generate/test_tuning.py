"""What a device can do with a model is measured, chosen from and remembered."""

from __future__ import annotations

import pathlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambient.errors import BackendError
from ambient.generate.tuning import MARGIN, Measured, Tuning, choose, measure, remember, tuning_of
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
    path = remember(info, "auto", None, tuning)
    assert tuning_of(info, "auto", None) == tuning
    assert tuning_of(info, "cpu", None) is None and tuning_of(info, "auto", 2) is None
    assert tuning_of(replace(info, fingerprint="other"), "auto", None) is None
    other = Tuning(8, 10.24, 1, 9.0, True)
    remember(info, "cpu", 2, other)
    assert tuning_of(info, "auto", None) == tuning and tuning_of(info, "cpu", 2) == other
    for damage in ("", "[1, 2]", '{"x": 3}', path.read_text().replace('"steps": 4', '"paces": 4')):
        path.write_text(damage)
        assert tuning_of(info, "auto", None) is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AMBIENT_CACHE", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="AMBIENT_CACHE"):
        remember(FakeBackend().info, "auto", None, Tuning(4, 7.68, 2, 3.2, True))
