"""A first scene from one line: always valid, and of what was named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.scene import draft_scene, parse_scene, simulate
from ambient.scene.draft import _SOUNDS, MOST_STATES

VOCABULARY = sorted({word for sound in _SOUNDS for word in sound.words.split()})


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.text(min_size=1), st.lists(st.sampled_from(VOCABULARY), min_size=1).map(" ".join)),
    st.integers(1, MOST_STATES),
)
def test_every_draft_is_a_scene_without_mistakes_or_warnings(description: str, states: int) -> None:
    if not any(c.isprintable() and not c.isspace() for c in description):
        with pytest.raises(ValueError, match="say what it should sound like"):
            draft_scene(description, states)
        return
    scene = parse_scene(draft_scene(description, states))
    assert len(scene.states) == states and scene.warnings == ()


def test_what_is_named_becomes_layers() -> None:
    scene = parse_scene(draft_scene("a rainy harbour at night"))
    assert {"rain", "water", "insects", "gulls"} <= set(scene.layers)
    assert scene.layers["gulls"].scatter is not None and scene.setting == "a rainy harbour at night"
    assert "gulls_now" in scene.events
    result = simulate(scene, 2.0)
    assert set(result["states"]) == {"calm", "usual", "lively"} and min(result["states"].values()) > 0
    assert min(result["layers"].values()) > 0


def test_what_nothing_is_known_about_is_taken_at_its_word() -> None:
    scene = parse_scene(draft_scene("glass marbles on velvet", 1))
    assert scene.layers["bed"].prompt[0].text == "glass marbles on velvet"


def test_impossible_numbers_of_states_are_told() -> None:
    with pytest.raises(ValueError, match="1 to 6 states, not 7"):
        draft_scene("rain", 7)
