"""Projected guidance: it turns, and does not stretch."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.generate.guidance import projected


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    x, towards, away = (torch.randn(2, 8, 12, generator=random) for _ in range(3))
    new = torch.ones(2, 1, 12)
    new[0, :, :5] = 0.0
    return x, towards, away, new


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1.0), st.floats(1.0, 8.0))
def test_only_what_is_at_right_angles_to_what_is_there_is_amplified(seed: int, level: float, strength: float) -> None:
    x, towards, away, new = drawn(seed)
    sigma, power = torch.tensor(level), torch.tensor(strength)
    flow = projected(x, sigma, towards, away, power, new)
    there = (x - sigma * towards) * new
    change = (flow - towards) * new
    assert float((change * there).sum((1, 2)).abs().max()) < 1e-3 * strength * float(change.norm() + 1)
    # what is kept is left alone, and so is all of it at strength 1
    torch.testing.assert_close(flow * (1 - new), towards * (1 - new))
    torch.testing.assert_close(projected(x, sigma, towards, away, torch.tensor(1.0), new), towards)


def test_towards_a_prompt_that_says_the_same_louder_nothing_changes() -> None:
    x, towards, _, new = drawn(1)
    sigma = torch.tensor(0.5)
    there = x - sigma * towards
    louder = towards - there * new  # moves on along what is there
    torch.testing.assert_close(projected(x, sigma, towards, louder, torch.tensor(5.0), new), towards, atol=1e-4, rtol=0)
