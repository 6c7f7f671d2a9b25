"""Phrases to meanings: words that no caption contains must land near those that do."""

from __future__ import annotations

import pytest
import torch

from ambient.generate.bundled import _load
from ambient.generate.catalogue import MODELS
from ambient.generate.prompt import PromptEncoder, Reader


@pytest.fixture(scope="module")
def reader() -> Reader:
    folder = MODELS / "bundled" / "prompt_encoder"
    return Reader(_load(PromptEncoder, folder, "cpu"), folder / "tokenizer.json")


@pytest.mark.parametrize(
    ("phrase", "near", "far"),
    [
        ("a cloudburst over the rooftops", "heavy rain pouring", "a clock ticking"),
        ("a rivulet", "a small stream over stones", "a machine humming"),
        ("wasps", "bees buzzing", "rain falling"),
        ("a ring road", "traffic on a road", "birds singing"),
        ("a squall", "howling wind", "people chatting in a bar"),
        ("the tide coming in", "ocean waves on a beach", "a clock ticking"),
        ("birds waking up", "dawn chorus of many birds", "a car engine idling"),
        ("a tram", "inside a train carriage", "ocean waves on a beach"),
        ("railway carriage rattling along", "inside a train", "birds singing"),
        ("nightingales at sunrise", "songbirds chirping at dawn", "a machine humming"),
        ("breakers rolling in from the Atlantic", "ocean waves on a beach", "a crackling fire"),
        ("logs burning in the grate", "a log fire in a fireplace", "wind in the trees"),
    ],
)
def test_unseen_phrases_land_near_their_kin(reader: Reader, phrase: str, near: str, far: str) -> None:
    here = reader.text(phrase)
    assert float(here @ reader.text(near)) > float(here @ reader.text(far)) + 0.15


def test_meanings_are_unit_vectors_and_empty_is_none(reader: Reader) -> None:
    assert float(reader.text("rain").norm()) == pytest.approx(1, abs=1e-4)
    assert float(reader.text("  ").norm()) == 0
    assert reader.text("x" * 5000).isfinite().all()
    assert reader.text("дождь 雨 🌧").isfinite().all()


def test_a_mix_lies_between(reader: Reader) -> None:
    calm, gale = reader.text("a soft breeze"), reader.text("a violent storm")
    seen = [float(torch.nn.functional.normalize((1 - w) * calm + w * gale, dim=0) @ gale) for w in (0, 0.37, 1)]
    assert seen[0] < seen[1] < seen[2]


def test_the_first_phrase_leads(reader: Reader) -> None:
    whole = reader.text("light drizzle on leaves, overcast, everything wet, field recording in an old beech forest")
    assert float(whole @ reader.text("light drizzle on leaves")) > 0.75
    assert torch.equal(
        whole, reader.text("light drizzle on leaves, overcast, everything wet, field recording in an old beech forest")
    )
