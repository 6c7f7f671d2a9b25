"""Single events: when they fall, which clip they take, and what the bank asks for."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ambient.messages import BLOCK_FRAMES, RATE, PromptMix, ScatterMoment
from ambient.plan import Bank, Shot
from ambient.testing import FakeBackend

INFO = FakeBackend().info
SCATTER = ScatterMoment(
    every_seconds=(25.0, 90.0),
    rate_per_minute=None,
    most=1,
    distance_m=(20.0, 80.0),
    azimuth_deg=(-140.0, 140.0),
    gain_db=(-9.0, -3.0),
    bank=3,
    variants=(PromptMix.of("owl"), PromptMix.of("distant owl")),
)


def stocked(scatter: ScatterMoment = SCATTER, seed: int = 7) -> Bank:
    bank = Bank("owl", INFO, seed)
    fill(bank, scatter)
    return bank


def fill(bank: Bank, scatter: ScatterMoment = SCATTER, now: int = 0) -> None:
    for _ in range(20):
        if bank.next_request(now, scatter, active=True, steps=8, guidance=2.0) is None:
            return
        bank.received(scatter)
    raise AssertionError("the bank never fills")


def play(bank: Bank, scatter: ScatterMoment, hours: float, block: int = BLOCK_FRAMES * 25) -> list[Shot]:
    shots: list[Shot] = []
    for frame in range(0, round(hours * 3600 * RATE), block):
        shots += bank.advance(frame, block, scatter, active=True, sounding=0)
        fill(bank, scatter, frame)
    return shots


def test_intervals_stay_within_their_bounds() -> None:
    shots = play(stocked(), SCATTER, 3)
    gaps = np.diff([s.at_frame for s in shots]) / RATE
    assert len(shots) > 100
    assert gaps.min() >= 24.9 and gaps.max() <= 90.1
    for shot in shots:
        assert 20 <= shot.distance_m <= 80 and -140 <= shot.azimuth_deg <= 140 and -9 <= shot.gain_db <= -3


def test_a_rate_gives_poisson_events() -> None:
    scatter = replace(SCATTER, every_seconds=None, rate_per_minute=6.0, most=50)
    shots = play(stocked(scatter), scatter, 5)
    gaps = np.diff([s.at_frame for s in shots]) / RATE
    assert len(shots) == pytest.approx(1800, rel=0.08)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.12)  # exponential gaps: deviation equals mean


def test_the_same_seed_gives_the_same_night_in_any_block_size() -> None:
    def times(block: int) -> list[int]:
        return [s.at_frame for s in play(stocked(), SCATTER, 1, block)]

    assert times(BLOCK_FRAMES * 25) == times(BLOCK_FRAMES * 50)
    assert times(BLOCK_FRAMES * 25) != [s.at_frame for s in play(stocked(seed=8), SCATTER, 1)]


def test_none_plays_twice_running() -> None:
    scatter = replace(SCATTER, every_seconds=(1.0, 2.0))
    shots = play(stocked(scatter), scatter, 0.2)
    assert all(a.index != b.index for a, b in itertools.pairwise(shots))
    assert len({s.index for s in shots}) > scatter.bank  # worn clips are replaced


def test_at_most_so_many_at_once() -> None:
    scatter = replace(SCATTER, every_seconds=(0.05, 0.06), most=2)
    bank = stocked(scatter)
    assert len(bank.advance(0, RATE, scatter, active=True, sounding=1)) <= 1
    assert bank.advance(RATE, RATE, scatter, active=True, sounding=2) == []


def test_a_muted_layer_makes_nothing_by_itself_but_answers_a_fire_at_once() -> None:
    bank = stocked()
    assert bank.advance(0, 600 * RATE, SCATTER, active=False, sounding=0) == []
    bank.fire()
    shots = bank.advance(600 * RATE, BLOCK_FRAMES, SCATTER, active=False, sounding=0)
    assert [s.at_frame for s in shots] == [600 * RATE]


def test_a_fire_waits_for_the_first_clip() -> None:
    bank = Bank("owl", INFO, 7)
    bank.fire()
    assert bank.advance(0, BLOCK_FRAMES, SCATTER, active=False, sounding=0) == []
    request = bank.next_request(0, SCATTER, active=False, steps=8, guidance=2.0)
    assert request is not None and request.one_shot and request.deadline_frame == 0
    bank.received(SCATTER)
    assert len(bank.advance(BLOCK_FRAMES, BLOCK_FRAMES, SCATTER, active=False, sounding=0)) == 1
    assert bank.advance(2 * BLOCK_FRAMES, BLOCK_FRAMES, SCATTER, active=False, sounding=0) == []


def test_variants_take_turns_and_failures_change_the_seed() -> None:
    bank = Bank("owl", INFO, 7)
    first = bank.next_request(0, SCATTER, active=True, steps=8, guidance=2.0)
    bank.failed()
    again = bank.next_request(0, SCATTER, active=True, steps=8, guidance=2.0)
    bank.received(SCATTER)
    second = bank.next_request(0, SCATTER, active=True, steps=8, guidance=2.0)
    assert first is not None and again is not None and second is not None
    assert first.key == again.key and first.seed != again.seed
    assert [again.prompt, second.prompt] == list(SCATTER.variants)
