"""Loops: the sound after the last sample is the first one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.messages import Audio, Block
from ambient.sinks.loop import FADE_FRAMES, FROM_FRAMES, OVERLAP_FRAMES, LoopSink
from ambient.testing import ListSink

LENGTH = 3 * OVERLAP_FRAMES


def looped(sound: Audio, sizes: list[int], length: int = LENGTH) -> Audio:
    inner, at = ListSink(), 0
    sink = LoopSink(inner, length)
    for size in itertools.cycle(sizes):
        if at >= len(sound):
            break
        sink.write(Block(at, sound[at : at + size]))
        at += size
    return np.concatenate([b.audio for b in inner.blocks])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 3 * OVERLAP_FRAMES), min_size=1, max_size=5).filter(lambda s: max(s) > 500))
def test_a_sound_that_repeats_comes_out_as_it_is_however_it_is_cut_up(sizes: list[int]) -> None:
    once = np.random.default_rng(1).standard_normal((LENGTH, 2)).astype(np.float32)
    out = looped(np.concatenate([once, once[: OVERLAP_FRAMES + 700]]), sizes)
    np.testing.assert_allclose(out, np.roll(once, -OVERLAP_FRAMES, axis=0), atol=1e-5)


def test_where_end_and_beginning_differ_the_level_neither_dips_nor_bumps() -> None:
    sound = np.random.default_rng(2).standard_normal((LENGTH + OVERLAP_FRAMES, 2)).astype(np.float32)
    out = looped(sound, [960])
    assert len(out) == LENGTH
    join = out[-FADE_FRAMES:].reshape(14, -1)
    np.testing.assert_allclose(20 * np.log10(np.sqrt((join**2).mean(1))), 0.0, atol=0.3)
    # what follows the last sample of the file is its first, as in the sound itself
    np.testing.assert_array_equal(out[0], sound[OVERLAP_FRAMES])
    np.testing.assert_allclose(out[-1], sound[OVERLAP_FRAMES - 1], atol=0.01)
    np.testing.assert_array_equal(out[-OVERLAP_FRAMES:-FADE_FRAMES], sound[LENGTH : LENGTH + FROM_FRAMES])


def test_a_loop_shorter_than_its_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        LoopSink(ListSink(), OVERLAP_FRAMES - 1)
