"""Meanings drawn towards what is known, and rare words by their definitions."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ambient.generate.prompt import ground
from tools.training import dictionary

KINDS = torch.nn.functional.normalize(
    torch.from_numpy(np.random.default_rng(3).standard_normal((6, 16))).float(), dim=1
)


def unit(seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(seed)), dim=0)


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(1, 40))
def test_grounding_keeps_unit_vectors_and_comes_nearer_to_the_nearest_kinds(
    seed: int, share: float, sharp: float
) -> None:
    meaning = unit(seed)
    drawn = ground(meaning, KINDS, share, sharp)
    assert float(drawn.norm()) == pytest.approx(1, abs=1e-5)
    near = torch.nn.functional.normalize(torch.softmax(sharp * KINDS @ meaning, 0) @ KINDS, dim=0)
    assert float(drawn @ near) >= float(meaning @ near) - 1e-5


def test_grounding_leaves_no_meaning_and_no_kinds_alone() -> None:
    assert torch.equal(ground(torch.zeros(16), KINDS, 0.6, 20.0), torch.zeros(16))
    assert torch.equal(ground(unit(1), KINDS[:0], 0.6, 20.0), unit(1))
    assert torch.equal(ground(unit(1), KINDS, 0.0, 20.0), unit(1))


def test_what_is_known_stays_nearly_where_it_is() -> None:
    drawn = ground(KINDS, KINDS, 0.6, 20.0)
    assert float((drawn * KINDS).sum(1).min()) > 0.95


@pytest.fixture
def wordnet(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "data.noun").write_text(
        "  1 a licence\n"
        '00000001 17 n 02 rivulet 0 rill 0 001 @ 00000009 n 0000 | a small stream; "rivulets of ink"\n'
        "00000002 18 n 01 breaker 0 000 | a quarry worker who splits off blocks of stone\n"
        "00000003 11 n 01 breaker 0 000 | waves (of water) breaking on the shore\n"
        "00000004 15 n 01 Avon 0 000 | a river in England\n"
    )
    (tmp_path / "index.noun").write_text(
        "  1 a licence\n"
        "avon n 1 0 1 0 00000004\n"
        "breaker n 2 0 2 0 00000002 00000003\n"
        "rivulet n 1 1 @ 1 0 00000001\n"
        "rock_garden n 1 0 1 0 00000001\n"
    )
    (tmp_path / "data.verb").write_text("00000005 43 v 01 patter 0 000 00 | rain gently  \n")
    (tmp_path / "index.verb").write_text("patter v 1 0 1 0 00000005\n")
    return tmp_path


def test_definitions_are_those_of_what_can_be_heard(wordnet: pathlib.Path) -> None:
    known = dictionary.definitions(wordnet)
    assert {w: d for w, (d, _) in known.items()} == {
        "rivulet": "a small stream",
        "breaker": "waves breaking on the shore",
        "patter": "rain gently",
    }
    pairs = dictionary.phrases(known, 50, {"place": ("wood",), "time": ("at dawn",), "manner": ("soft",)})
    assert len(pairs) == 50 and not any("{" in text for pair in pairs for text in pair)
    assert all("a small stream" in said and "a a " not in said for text, said in pairs if "rivulet" in text)


def test_a_rare_word_is_led_farther_towards_its_definition() -> None:
    vectors = {"rivulet": np.eye(3)[0], "a small stream": np.eye(3)[1]}
    pairs = [("rivulet", "a small stream")]

    def embed(texts: list[str]) -> np.ndarray:
        return np.stack([vectors[t] for t in texts])

    (rare,), (common,) = (dictionary.goals(pairs, lambda _, r=r: r, embed) for r in (True, False))
    assert rare[1] > common[1] > 0 and np.linalg.norm(rare) == pytest.approx(1)


def test_a_folder_without_a_dictionary_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SystemExit, match="WordNet"):
        dictionary.definitions(tmp_path)
