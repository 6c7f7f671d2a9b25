"""Captions that a model paints badly are left to better ones of their kind, and to those alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tools.training.painted import APART, SURE, WORSE, stand_ins

DISTANCES = hnp.arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 5)), elements=st.floats(-0.2, 4.0))


def meanings(count: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@given(DISTANCES, st.integers(0, 5))
def test_what_stands_for_another_is_better_and_stands_for_itself(far: np.ndarray, seed: int) -> None:
    found = stand_ins(far, meanings(len(far), seed))
    mean = far.mean(1)
    assert found[int(mean.argmin())] == int(mean.argmin())  # the best needs none
    for one, other in enumerate(found):
        assert found[other] == other
        if one != other:
            gained = far[one] - far[other]
            error = gained.std(ddof=1) / len(gained) ** 0.5
            assert gained.mean() > max(APART, WORSE * mean[other], SURE * error)


def test_the_nearest_in_meaning_stands_for_what_is_far_from_recordings() -> None:
    x = meanings(3)
    x[2] = x[0] + 0.1 * x[1]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    far = np.array([[0.3, 0.32, 0.28], [0.25, 0.28, 0.31], [2.0, 2.4, 2.2]])
    assert stand_ins(far, x) == [0, 1, 0]  # not the best, which means something else


def test_chance_leaves_almost_all_as_they_are() -> None:
    rng = np.random.default_rng(0)
    found = [stand_ins(np.abs(rng.normal(0.6, 0.25, (6, 6))), meanings(6)) for _ in range(100)]
    assert sum(one != other for kind in found for one, other in enumerate(kind)) < 30  # one in twenty
    assert stand_ins(np.array([[0.1], [3.0]]), meanings(2)) == [0, 1]  # of a single set nothing is sure
