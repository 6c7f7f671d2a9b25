"""Phrases to meanings: words that no caption contains must land near those that do."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ambient.generate.bundled import _load
from ambient.generate.catalogue import MODELS
from ambient.generate.prompt import PromptEncoder, Reader, ground, parts_of, read

FOLDER = MODELS / "bundled" / "prompt_encoder"
TOKENIZER = FOLDER / "tokenizer.json"


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(_load(PromptEncoder, FOLDER, "cpu"), TOKENIZER)


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
        ("a busy foyer", "a crowd of people talking", "an empty room"),
        ("forest", "birds singing", "rain in a forest"),
        ("a meadow", "insects in the warm sun", "someone crossing a meadow on foot"),
        ("waves at the harbour", "ocean waves on a beach", "an empty room"),
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


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("rain", ["rain"]),
        ("rain on a tent with distant thunder", ["rain on a tent", "distant thunder"]),
        ("Rain on a tent, with distant thunder, at night", ["Rain on a tent", "distant thunder"]),
        ("wind in the trees while an owl hoots, late evening", ["wind in the trees", "an owl hoots"]),
        ("rain, wind and thunder.", ["rain", "wind", "thunder"]),
        ("rain, wind, and thunder", ["rain", "wind", "thunder"]),
        ("drizzle on a tin roof, cold and wet", ["drizzle on a tin roof"]),
        ("birds & a stream", ["birds", "a stream"]),
        ("a fire burning and crackling", ["a fire burning and crackling"]),
        ("sandy beach without waves", ["sandy beach without waves"]),
        ("drizzle, overcast, everything wet", ["drizzle"]),
        ("and", ["and"]),
        (" , ", []),
    ],
)
def test_what_is_named_beside_each_other(text: str, parts: list[str]) -> None:
    assert parts_of(text) == parts


@given(
    st.lists(st.sampled_from(["rain", "and", "with", "a stream", ",", "&", "while", "singing", ".", " "])).map(" ".join)
)
def test_no_word_is_lost_in_parts(text: str) -> None:
    def words(said: str) -> list[str]:
        return [w for w in re.findall(r"[a-z]+", said) if w not in ("and", "with", "while")]

    lead = re.sub(" ,(?= (?:with|and|while) )", "", " ".join(["", *text.split()])).partition(",")[0]
    assert words(" ".join(parts_of(text))) in (words(text), words(lead))


KINDS = torch.eye(4)
MEANT = {"rain": KINDS[0], "thunder": KINDS[1], "an owl": KINDS[2], "little else": torch.ones(4) / 2}
MEANT |= {"a calm evening": torch.ones(4) / 2}


def embed(text: str) -> torch.Tensor:
    """As a sentence transformer: what is named first colours all."""
    found = [v for k, v in MEANT.items() if k in text] or [torch.ones(4)]
    return torch.nn.functional.normalize(sum(0.9**i * v for i, v in enumerate(found)), dim=0)


def test_each_sound_in_a_text_is_heard() -> None:
    whole = read("rain with thunder", embed, KINDS, 1.0, 30.0)
    assert 1 > float(whole[1] / whole[0]) > 0.5 and float(whole[2:].abs().max()) < 0.01
    three = read("rain, an owl and thunder", embed, KINDS, 1.0, 30.0)
    assert three[0] > three[1] > 0.2 and three[1] == pytest.approx(float(three[2]), abs=0.05)


def test_what_is_no_sound_takes_nothing() -> None:
    for text in ("rain and little else", "a calm evening with rain"):
        assert float(read(text, embed, KINDS, 1.0, 30.0) @ ground(embed(text), KINDS, 1.0, 30.0)) > 0.99


def test_what_is_called_so_as_a_whole_is_not_taken_apart() -> None:
    def familiar(text: str) -> torch.Tensor:
        return KINDS[2] if text == "thunder with rain" else embed(text)

    assert torch.allclose(read("thunder with rain", familiar, KINDS, 1.0, 30.0), KINDS[2], atol=1e-6)


def test_without_kinds_a_text_is_read_as_a_whole() -> None:
    text = "rain with thunder"
    assert torch.allclose(read(text, embed, torch.zeros(0, 4), 0.6, 30.0), embed(text), atol=1e-6)
    assert float(read(" ", embed, KINDS, 0.6, 30.0).norm()) == 0


def test_the_bundled_model_reads_both(reader: Reader) -> None:
    text = reader.text("a sprinkle on the skylight with hooting in the churchyard")
    assert float(text @ reader.text("light drizzle")) > 0.5 and float(text @ reader.text("an owl hooting")) > 0.4


def test_the_nearest_caption_stands_for_a_phrase() -> None:
    captions = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.2, 0, 0], [1.0, 0, 0.3, 0], [0, 1.0, 0, 0.4]]), dim=1
    )

    def said(text: str) -> torch.Tensor:
        return read(text, embed, KINDS, 0.6, 30.0, (captions, captions))

    for phrase, row in (("rain", 0), ("thunder", 2)):
        assert torch.allclose(said(phrase), ground(captions[row], KINDS, 0.6, 30.0), atol=1e-6)
    assert not torch.allclose(
        read("rain", lambda _: captions[1], KINDS, 0.6, 30.0, (captions, captions)), said("rain"), atol=1e-3
    )
    both = said("rain with thunder")  # each part by a caption of its own
    assert float(both @ said("rain")) > 0.5 and float(both @ said("thunder")) > 0.5
    assert float(read(" ", embed, KINDS, 0.6, 30.0, (captions, captions)).norm()) == 0
    # a setting named after it colours what is heard first
    assert 0.9 < float(said("rain, thunder") @ said("rain")) < 0.9999


def test_captions_mean_what_they_meant_and_phrases_what_captions_mean(reader: Reader) -> None:
    encoder = reader._encoder
    assert len(encoder.captions) == encoder.config.known_captions >= 500
    meant = ground(encoder.captions, encoder.prototypes, encoder.config.grounding, encoder.config.sharpness)
    for phrase in ("wasps at the jam jar", "a tram on its way downtown", "the ring road at five"):
        assert float((meant @ reader.text(phrase)).max()) > 0.9999
    for caption in ("a swarm of insects humming around flowers", "a forest"):
        row = int((encoder.names @ reader._embed(caption)).argmax())
        assert float(torch.nn.functional.normalize(encoder.names[row], dim=0) @ reader._embed(caption)) > 0.9999
        assert float(reader.text(caption) @ meant[row]) > 0.9999
    # what a caption means to the transformer is what it was trained with, however phrases have been learned since
    assert 0.9 < float((encoder.captions @ reader._embed("rain on a window")).max()) < 0.9999


@pytest.mark.parametrize("text", ["a forest", "a forest, early morning", "a forest, at night", "in a forest"])
def test_a_place_is_what_is_heard_there_whatever_is_said_of_it(reader: Reader, text: str) -> None:
    assert float(reader.text(text) @ reader.text("forest birds by day")) > 0.95
    assert float(reader.text("rain in a forest") @ reader.text("rain")) > 0.7  # and what sounds there is heard


def test_what_names_no_sound_leaves_its_share_to_what_does(reader: Reader) -> None:
    rain, owl = reader.text("rain"), reader.text("an owl hooting")
    for text, meant in (("rain and little else", rain), ("an owl hooting with high quality", owl)):
        assert float(reader.text(text) @ meant) > 0.8, text
    both = reader.text("steady rain with an owl hooting")
    assert float(both @ rain) > 0.4 and float(both @ owl) > 0.4


@pytest.mark.parametrize("name", ["bias", "painted"])
def test_bias_and_place_are_those_of_the_kinds_that_are_meant(reader: Reader, name: str) -> None:
    kinds, rows, told = reader._encoder.prototypes, getattr(reader._encoder, name), getattr(reader, name)
    assert float(rows.norm(dim=1).min()) > 0  # of every kind it was measured
    for row in (0, len(kinds) // 2, -1):
        assert float(torch.nn.functional.cosine_similarity(told(kinds[row]), rows[row], 0)) > 0.9
    assert not told(torch.zeros(kinds.shape[1])).any()


def test_places_are_those_of_one_kind_and_of_no_mixture(reader: Reader) -> None:
    config = {k: v for k, v in reader._encoder.config.items() if k[0] != "_"}
    encoder = PromptEncoder(**config | {"known_places": 5})
    places = torch.randn(len(encoder.prototypes), 5, 2, config["latent_dim"])
    places[1] = 0  # of a kind that nothing is known of
    known = {k: v for k, v in reader._encoder.state_dict().items() if k != "places"}
    encoder.load_state_dict(known | {"places": places})
    without = PromptEncoder(**config | {"known_places": 0})
    without.load_state_dict(known)
    unplaced, reader = Reader(without, TOKENIZER), Reader(encoder, TOKENIZER)
    for row in (0, len(encoder.prototypes) // 2, -1):
        found, share = reader.places(encoder.prototypes[row])
        assert share == 1 and torch.equal(found, encoder.places[row])
    rain, owl = reader.text("rain"), reader.text("an owl hooting")
    mixes = [torch.nn.functional.normalize(torch.lerp(rain, owl, x), dim=0) for x in np.linspace(0, 1, 101).tolist()]
    shares = [reader.places(mix)[1] for mix in mixes]
    least = int(np.argmin(shares))
    assert shares[0] == shares[-1] == 1 and shares[least] < 0.1
    assert all(0 <= b <= a for a, b in itertools.pairwise(shares[: least + 1]))
    assert all(0 <= a <= b for a, b in itertools.pairwise(shares[least:]))
    assert reader.places(torch.zeros_like(rain))[1] == reader.places(encoder.prototypes[1])[1] == 0
    assert unplaced.places(rain)[1] == 0


def test_what_is_avoided_is_not_read_as_the_prompt_itself(reader: Reader) -> None:
    for prompt, avoid in (("a crackling record", "music, speech"), ("sea waves", "big waves crashing")):
        assert 0 < float(reader.text(prompt) @ reader.avoided(avoid)) < 0.97
    assert not reader.avoided("").any() and not reader.text(" ,.! ").any()
