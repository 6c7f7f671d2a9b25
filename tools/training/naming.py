"""``naming``: teaches the prompt encoder which kinds of sound a phrase names.

A sentence transformer tells what sentences are about: "mountain rivulet over pebbles" lay nearer to footsteps on
gravel than to streams. What is heard is the head of the phrase; what stands behind a preposition is where it is, and
the verb is how it goes. WordNet knows thousands of words for what sounds (a kittiwake is a gull, a comber a wave), by
its hyponyms. So the encoder learns phrases of all these words, at odd places and with odd verbs, whose goal is what it
has itself for a caption of that kind of sound with the same manner and time; for captions and phrases of any other sort
the goal is what it said before, and for rare words something between that and their definitions.

What people call sounds is more than names: "the sky opened", "thar she blows". The phrasebook (``phrasebook.py``) has
thousands of such phrases; each is to mean the captions of its kind that it lies nearest to, and to lie nearer
to these than to those of other kinds (cross entropy over captions, as in InfoNCE, van den Oord et al., arXiv
1807.03748).

Of words that it does not meet it may forget a little: a part of the weights can stay what it was (WiSE-FT, Wortsman et
al., arXiv 2109.01903). From WordNet and the table of calls no name is drawn that has a word of the everyday phrases of
the evaluation in it, from the phrasebook none with one that captions lack.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from tokenizers import Tokenizer
from torch import nn

from ambient.generate.prompt import MAX_TOKENS, Known, PromptEncoder, nearest, parts_of, read
from tools.training.adopt import OwnEncoder
from tools.training.captions import PHRASES, SETTINGS
from tools.training.dictionary import Nouns, definitions
from tools.training.dictionary import goals as goals_of
from tools.training.dictionary import phrases as defined
from tools.training.phrasebook import ASKED, stem, taught, unseen
from tools.training.phrases import NAMED
from tools.training.prompt import FILL, MANNERS, TIMES, follow, phrases, words

__all__ = ["named", "pairs", "train", "understood"]

_KINDS: dict[str, tuple[tuple[str, int], ...]] = {
    "rain": (("rain", 19),),
    "heavy rain": (("downpour", 19),),
    "drizzle": (("drizzle", 19), ("shower", 19)),
    "hail": (("hail", 19), ("hailstorm", 19)),
    "thunder": (("thunderclap", 11),),
    "thunderstorm": (("thunderstorm", 19), ("storm", 19)),
    "wind": (("wind", 19),),
    "howling wind": (("gale", 19), ("windstorm", 19), ("blizzard", 19)),
    "stream": (("stream", 17),),
    "river": (("river", 17),),
    "waterfall": (("waterfall", 17),),
    "ocean waves": (("wave", 11), ("ocean", 17), ("sea", 17)),
    "lake shore": (("lake", 17),),
    "cave": (("cave", 17),),
    "geyser": (("geyser", 17),),
    "hot spring": (("hot spring", 17),),
    "campfire": (("fire", 11),),
    "wildfire": (("forest fire", 11), ("brush fire", 11), ("conflagration", 11)),
    "fireplace": (("fireplace", 6), ("stove", 6)),
    "birdsong": (("oscine", 5),),
    "single bird": (("cuckoo", 5), ("thrush", 5), ("lark", 5), ("wagtail", 5)),
    "seagulls": (("larid", 5), ("seabird", 5)),
    "geese": (("goose", 5), ("duck", 5), ("swan", 5)),
    "owl": (("owl", 5),),
    "crickets": (("cricket", 5),),
    "summer insects": (("grasshopper", 5),),
    "cicadas": (("cicada", 5),),
    "bees": (("bee", 5), ("wasp", 5), ("fly", 5)),
    "frogs": (("frog", 5),),
    "cat purring": (("domestic cat", 5),),
    "wolf": (("wolf", 5),),
    "coyotes": (("coyote", 5), ("wild dog", 5), ("jackal", 5)),
    "animals": (("cattle", 5), ("sheep", 5)),
    "farm": (("domestic fowl", 5), ("swine", 5)),
    "jungle": (("parrot", 5), ("monkey", 5)),
    "horse wagon": (("horse-drawn vehicle", 6), ("wagon", 6), ("cart", 6)),
    "train passing": (("train", 6), ("locomotive", 6), ("streetcar", 6)),
    "train interior": (("passenger car", 6),),
    "subway station": (("subway", 6),),
    "airplane passing": (("airplane", 6),),
    "airplane cabin": (("airliner", 6),),
    "helicopter": (("helicopter", 6),),
    "traffic": (("highway", 6), ("truck", 6), ("bus", 6)),
    "engine idle": (("car", 6),),
    "city street": (("street", 6),),
    "boat": (("boat", 6), ("sailing vessel", 6)),
    "spaceship hum": (("spacecraft", 6),),
    "church bells": (("bell", 6), ("chime", 6), ("carillon", 6)),
    "singing bowl": (("gong", 6),),
    "clock": (("clock", 6), ("watch", 6)),
    "keyboard": (("typewriter", 6),),
    "fan": (("fan", 6),),
    "air conditioner": (("air conditioner", 6),),
    "refrigerator": (("refrigerator", 6),),
    "washing machine": (("washing machine", 6),),
    "clothes dryer": (("clothes dryer", 6),),
    "vacuum cleaner": (("vacuum cleaner", 6),),
    "oven": (("oven", 6),),
    "machinery hum": (("engine", 6), ("compressor", 6)),
    "machinery": (("machine tool", 6), ("loom", 6), ("textile machine", 6), ("printer", 6)),
    "construction site": (("power tool", 6), ("excavator", 6)),
    "restaurant": (("restaurant", 6),),
    "crowd": (("barroom", 6), ("conversation", 10), ("crowd", 14), ("party", 14)),
    "office": (("office", 6),),
    "library": (("library", 6),),
    "aquarium": (("aquarium", 6),),
    "white noise": (("static", 11),),
    "vinyl crackle": (("phonograph record", 6), ("record player", 6)),
}
"""Label → where WordNet keeps words for it: a noun and the number of its lexicographer file. All hyponyms belong to it,
down to those of another label."""
_CALLS: dict[str, tuple[str, ...]] = {
    "owl": ("hooting",),
    "geese": ("honking", "gaggling"),
    "birdsong": ("tweeting", "twittering", "warbling", "trilling", "chirruping"),
    "dawn chorus": ("birdsong at daybreak", "the first birds waking"),
    "single bird": ("whistling of one bird", "cooing"),
    "seagulls": ("mewing overhead",),
    "frogs": ("ribbit ribbit", "ribbiting"),
    "night insects": ("chirping in the dark", "stridulation"),
    "bees": ("buzzing from bloom to bloom", "droning in the blossom"),
    "animals": ("mooing", "lowing", "bleating"),
    "farm": ("clucking", "crowing", "grunting", "cackling"),
    "wolf": ("baying", "baying at the moon"),
    "coyotes": ("yapping", "yelping"),
    "horse wagon": ("hoofbeats", "clip-clopping"),
    "church bells": ("tolling", "pealing", "ding dong", "a knell"),
    "wind chimes": ("tinkling", "jingling in the breeze"),
    "clock": ("ticking", "ticktock"),
    "rain": ("raining", "pouring", "a wet day", "showers"),
    "heavy rain": ("bucketing down", "teeming", "pouring down"),
    "drizzle": ("spitting", "drizzling", "a few drops"),
    "hail": ("hailing", "hailstones"),
    "drips": ("dripping", "plink plonk", "a leak", "drip drop"),
    "stream": ("purling", "babbling", "gurgling", "burbling"),
    "ocean waves": ("the seaside", "the coast", "waves"),
    "fireplace": ("crackling logs", "embers"),
    "thunder": ("a rumble from the clouds", "a bolt from the sky"),
    "thunderstorm": ("stormy weather", "lightning"),
    "howling wind": ("stormy gusts", "a windstorm"),
    "wind in trees": ("rustling overhead", "leaves whispering", "leaves rustling", "treetops swaying"),
    "train interior": ("clickety-clack", "a ride by rail"),
    "train passing": ("a tram", "trains"),
    "crowd": ("chattering", "gossiping", "laughter", "voices", "a foyer", "people"),
    "restaurant": ("clinking glasses", "diners", "cutlery"),
    "keyboard": ("typing", "tapping out a letter"),
    "vacuum cleaner": ("hoovering", "vacuuming"),
    "footsteps on snow": ("trudging through the snow",),
    "footsteps on gravel": ("boots crunching", "steps crunching"),
    "footsteps in water": ("wading", "splashing through puddles"),
    "electric buzz": ("zapping", "a neon sign"),
    "construction site": ("drilling", "sawing", "builders"),
    "steam": ("hissing kettle", "a boiling kettle"),
    "cave": ("a grotto",),
    "underwater": ("scuba diving", "below the surface"),
    "aquarium": ("goldfish bubbling", "a tank of fish"),
    "jungle": ("the tropics", "monkeys and parrots"),
    "traffic": ("cars swishing past", "vehicles", "rush hour"),
    "white noise": ("hissing static",),
}
"""What is said without naming what sounds: its call, its going, its company."""
_AT = ("in", "on", "near", "by", "behind", "above", "under", "below", "beside", "over", "across", "beyond", "around",
       "between", "at", "along", "from", "through", "against", "among")  # fmt: skip
_GOING = (
    "moving", "rushing", "falling", "floating", "gliding", "crawling", "racing", "beating", "thundering", "sweeping",
    "passing", "circling", "drifting", "pouring", "sinking", "rising", "turning", "shaking", "pounding", "playing",
    "waiting", "working", "breaking", "bursting", "leaping", "drumming", "whispering", "muttering", "screaming",
    "shouting", "lashing", "whipping", "creeping", "spinning", "striking", "wandering", "dancing", "sleeping",
)  # fmt: skip
_SAID = (
    "{}", "a {}", "the {}", "{} {at} the {noun}", "a {} {at} a {noun}", "{} {at} the {noun}", "the {} {at} the {noun}",
    "{manner} {} {at} the {noun}", "a {manner} {}", "{} {going} {at} the {noun}", "a {} {going}",
    "{noun} {} {going} {at} the {noun}", "the {noun}'s {}", "{} {at} {noun}", "{manner} {} {time}", "{} {time}",
    "the sound of a {} {at} the {noun}", "a {} and its {noun} {at} the {noun}",
)  # fmt: skip
_MOVING = ("train passing", "traffic", "horse wagon", "airplane passing", "helicopter", "boat", "geese")
_BY = ("{} {going} by", "a {} {going} by", "the {} {going} past", "a {} {going} past", "{} {going} along")
"""What goes by: whatever else it is called, and however it goes, it moves."""
_INDOORS = (("room", 6), ("hall", 6), ("building", 6), ("corridor", 6), ("shop", 6), ("station", 6))
_PEOPLED = {
    "crowd": ("busy", "bustling", "crowded", "packed", "lively", "thronged"),
    "room tone": ("quiet", "empty", "deserted", "silent", "still", "hushed", "abandoned"),
}
"""Label → how a place indoors is, that names no sound itself, when this is what one hears in it."""
_THERE = ("{}", "a {}", "the {}", "in a {}", "inside the {}", "a {} {time}", "{} {time}")
_NOUN_FILES = (6, 15, 17, 18, 20, 28)
"""Files of things, places, people, plants, times: what phrases stand beside."""
_LIKE = 0.55
"""Labels whose mean meanings are nearer than this share their surroundings: rain on a tent is no rain near a tent."""


PAIRS = 400
"""Texts of two sounds drawn to see whether both are understood; those with conjunctions within are left out."""
_SHARP = 20.0
"""Exponent of the cosine, by which captions nearer to a phrase have more say, and by which kinds are told apart."""


def named(nouns: Nouns) -> dict[str, list[str]]:
    """Label → words that WordNet has for it, those of the evaluation left out."""
    label_of = {}
    for label, anchors in _KINDS.items():
        for word, file in anchors:
            found = nouns.sense(word, file)
            if found is not None:
                label_of[found] = label
    words: dict[str, list[str]] = {label: [] for label in _KINDS}
    for word in sorted(nouns.first):
        if any(stem(w) in ASKED for w in re.findall(r"[a-z]+", word)):
            continue
        kind = nouns.nearest(nouns.first[word], label_of)
        if kind is not None:
            words[kind].append(word)
    for label, calls in _CALLS.items():
        words[label] = words.get(label, []) + [c for c in calls if not {stem(w) for w in c.split()} & ASKED]
    return {label: found for label, found in words.items() if found}


def indoors(nouns: Nouns, known: dict[str, list[str]]) -> list[str]:
    """Words for places indoors that name no sound of their own; those of the evaluation left out."""
    above = {sense: word for word, file in _INDOORS if (sense := nouns.sense(word, file)) is not None}
    taken = {word for found in known.values() for word in found}
    return [
        word
        for word in sorted(nouns.first)
        if word not in taken
        and nouns.nearest(nouns.first[word], above)
        and not any(stem(w) in ASKED for w in re.findall(r"[a-z]+", word))
    ]


def pairs(
    known: dict[str, list[str]],
    nouns: list[str],
    near: dict[str, set[str]],
    count: int,
    seed: int = 2,
    places: Sequence[str] = (),
) -> list[tuple[str, list[str]]]:
    """``count`` phrases, and for each of them captions that mean the same sound.

    ``known``: label → words that name it, see :func:`named`; ``nouns``: what may stand beside it; ``near``: label →
    words that may not, because they would make it another label; ``places``: see :func:`indoors`.
    """
    rng = np.random.default_rng(seed)
    labels = sorted(PHRASES)

    def pick(of: Any) -> str:
        return str(of[int(rng.integers(len(of)))])

    def filled(template: str, label: str) -> str:
        def choice(name: str) -> str:
            if name != "noun":
                return pick({"at": _AT, "going": _GOING}[name])
            while (word := pick(nouns)) in near.get(label, set()):
                pass
            return word

        return re.sub(r"\{(noun|at|going)\}", lambda found: choice(found[1]), template)

    out: list[tuple[str, list[str]]] = []
    while len(out) < count:
        label = pick(labels)
        if places and rng.random() < 0.06:
            label = pick(list(_PEOPLED))
            thing, said = f"{pick(_PEOPLED[label])} {pick(places)}", pick(_THERE)
        elif label in known and label in _MOVING and rng.random() < 0.1:
            thing, said = pick(known[label]), pick(_BY)
        elif label in known and rng.random() < 0.65:
            thing = pick(known[label])
            if rng.random() < 0.4 and not thing.endswith("s"):
                thing += "s"
            said = pick(_SAID)
        else:
            thing = re.sub("^(a|an|the) ", "", pick(PHRASES[label]))
            said = pick([t for t in _SAID if "'s" not in t and "{going}" not in t])
        captions = PHRASES[label]
        same = {"manner": pick(MANNERS), "time": pick(TIMES)}
        kept = " ".join(x for x in ("{manner}", "{}", "{time}") if x == "{}" or x in said)
        meant = [kept.replace("{}", pick(captions)).format(**same) for _ in range(3)]
        out.append((filled(said, label).replace("{}", thing).format(**same), meant))
    return out


def train(
    work: pathlib.Path,
    settings: dict[str, Any],
    dictionary: pathlib.Path,
    *,
    threads: int = 1,
    seconds: float | None = None,
) -> float:
    """Writes ``naming.pt`` and ``naming.jsonl``, and, when done, the texts' embeddings anew.

    Returns the mean cosine with the goals on phrases left aside.
    """
    torch.set_num_threads(threads)
    s = settings
    before = OwnEncoder(work, "prompt.pt")
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    taught_now = _lessons(work, s, dictionary, before, tokenizer)
    captions, owners = _captions(before)
    saved = torch.load(work / "prompt.pt", weights_only=False)
    student = PromptEncoder(**saved["config"])
    student.load_state_dict(saved["model"], strict=False)
    learned = [p for name, p in student.named_parameters() if not name.startswith("usual")]
    optimiser = torch.optim.AdamW(learned, lr=s["learning_rate"], weight_decay=0.0)
    step, spent = 0, 0.0
    if (work / "naming.pt").exists():
        state = torch.load(work / "naming.pt", weights_only=False)
        student.load_state_dict(state["now"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["seconds"]

    def save(_: float, step: int, spent: float) -> None:
        now = student.state_dict()
        kept = {k: torch.lerp(v, saved["model"][k], s["kept"]) if k in saved["model"] else v for k, v in now.items()}
        state = {"model": kept, "now": now, "optimiser": optimiser.state_dict(), "config": saved["config"]}
        torch.save(state | {"step": step, "seconds": spent}, work / "naming.pt")

    def astray(meanings: torch.Tensor, pick: np.ndarray) -> torch.Tensor:
        """How far phrases of the book lie nearer to the captions of other kinds."""
        kinds = taught_now.kinds[pick]
        near = _SHARP * meanings[kinds >= 0] @ captions.T
        own = near.masked_fill(owners != kinds[kinds >= 0, None], -torch.inf)
        return s["apart"] * (near.logsumexp(1) - own.logsumexp(1)).sum() / len(pick)

    texts, goals = taught_now.texts, taught_now.goals
    print(f"naming: {taught_now.words} words, {len(texts)} phrases", flush=True)
    lessons = texts, goals, len(texts) // 40
    log = work / "naming.jsonl"
    agreement, spent = follow(student, optimiser, tokenizer, lessons, s, (step, spent), log, save, seconds, astray)
    if spent >= s["minutes"] * 60:
        embedded = OwnEncoder(work)(json.loads((work / "texts.json").read_text())["texts"])
        np.save(work / "texts.npy", embedded.astype(np.float16))
    return agreement


@dataclass(frozen=True)
class _Lessons:
    """Phrases, shuffled; their goals, unit vectors ``(phrases, dim)``; of those of the book the number of their label,
    of others −1, ``(phrases,)``; and how many words name sounds."""

    texts: list[str]
    goals: torch.Tensor
    kinds: torch.Tensor
    words: int


def _captions(before: OwnEncoder) -> tuple[torch.Tensor, torch.Tensor]:
    """All captions, unit vectors ``(captions, dim)``, and the number of the label of each."""
    said = [(i, text) for i, label in enumerate(sorted(PHRASES)) for text in PHRASES[label]]
    return torch.from_numpy(before([text for _, text in said])), torch.tensor([i for i, _ in said])


def booked(before: OwnEncoder, own: float, share: float, seed: int = 6) -> tuple[list[str], np.ndarray, list[int]]:
    """A share of the phrases of the book, half of them with a manner, a time or surroundings; their goals, not yet of
    unit length, ``(phrases, dim)``; and the number of the label of each.

    A phrase is to mean what the captions of its kind do, the nearer the more, and as much as ``own`` what it meant; one
    with a manner, a time or surroundings what the nearest caption means with these.
    """
    rng = np.random.default_rng(seed)
    labels = sorted(PHRASES)
    drawn = [(labels.index(label), phrase) for label, phrase in taught() if rng.random() < share]
    captions, owners = _captions(before)
    all_captions = [text for label in labels for text in PHRASES[label]]
    meant = torch.from_numpy(before([phrase for _, phrase in drawn]))
    kinds = torch.tensor([kind for kind, _ in drawn])
    near = (_SHARP * meant @ captions.T).masked_fill(owners != kinds[:, None], -torch.inf)
    goals = nn.functional.normalize(torch.softmax(near, 1) @ captions, dim=-1).numpy()
    texts = [phrase for _, phrase in drawn]
    said: dict[int, str] = {}
    for i in np.flatnonzero(rng.random(len(texts)) < 0.5):
        way = _varied(("{manner} {}", "{} {time}", "{}, {setting}"), rng)
        texts[i], said[int(i)] = way.replace("{}", texts[i]), way.replace("{}", all_captions[int(near[i].argmax())])
    goals[list(said)] = before(list(said.values()))
    return texts, own * before(texts) + (1 - own) * goals, kinds.tolist()


def _varied(ways: Sequence[str], rng: np.random.Generator) -> str:
    """One of the ways to say something, with a manner, a time and surroundings filled in."""

    def pick(of: Sequence[str]) -> str:
        return str(of[int(rng.integers(len(of)))])

    named = {"manner": pick(MANNERS), "time": pick(TIMES), "setting": pick(SETTINGS)}
    return re.sub(r"\{(\w+)\}", lambda found: named[found[1]], pick(ways))


def _lessons(
    work: pathlib.Path, s: dict[str, Any], dictionary: pathlib.Path, before: OwnEncoder, tokenizer: Tokenizer
) -> _Lessons:
    nouns = Nouns(dictionary)
    table = named(nouns)
    vocabulary = words(tokenizer)
    things = [w for w in vocabulary if w in nouns.first and nouns.file(nouns.first[w]) in _NOUN_FILES]
    things = [w for w in things if stem(w) not in ASKED]
    said = {label: set(re.findall(r"[a-z]+", " ".join(found))) for label, found in PHRASES.items()}
    centres = np.stack([before(PHRASES[label]).mean(0) for label in sorted(PHRASES)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    alike = centres @ centres.T > _LIKE
    near = {
        label: set().union(*(said[other] for j, other in enumerate(sorted(PHRASES)) if alike[i, j]))
        for i, label in enumerate(sorted(PHRASES))
    }
    lessons = pairs(table, things, near, s["phrases"], places=indoors(nouns, table))
    meant = before([m for _, ms in lessons for m in ms]).reshape(len(lessons), 3, -1).mean(1)
    meant /= np.linalg.norm(meant, axis=1, keepdims=True)
    goals = s["own"] * before([text for text, _ in lessons]) + (1 - s["own"]) * meant
    captions = json.loads((work / "texts.json").read_text())["texts"]
    others = captions + phrases(s["others"], vocabulary, [], seed=3)
    rare = defined(definitions(dictionary), s["defined"], FILL)
    book, theirs, kinds = booked(before, s["own"], s["book"])
    texts = [text for text, _ in lessons] + others + [text for text, _ in rare] + book
    every = np.concatenate([goals, before(others), goals_of(rare, lambda _: False, before), theirs])
    every /= np.maximum(np.linalg.norm(every, axis=1, keepdims=True), 1e-9)
    of = np.array([-1] * (len(texts) - len(book)) + kinds)
    shuffled = np.random.default_rng(4).permutation(len(texts))
    return _Lessons(
        [texts[i] for i in shuffled],
        torch.from_numpy(every[shuffled]).float(),
        torch.from_numpy(of[shuffled]),
        sum(map(len, table.values())),
    )


def understood(
    embed: Callable[[str], torch.Tensor],
    prototypes: torch.Tensor,
    labels: list[str],
    sharpness: float,
    captions: Known | None = None,
) -> dict[str, Any]:
    """How well phrases that no caption contains lead to the kind of sound they name.

    ``embed``: phrase → unit vector; ``prototypes``: one row a label; ``captions``: see :func:`read`. ``nearest``: share
    of phrases whose reading lies nearest to a right label; ``weight``: of the right labels in what readings are drawn
    to, mean; ``wrong``: phrase → nearest; ``unseen``: as ``nearest``, of phrases that were written apart from all else
    (:func:`tools.training.phrasebook.unseen`);
    ``both``: of texts that name two sounds, in how many each has at least a tenth of what the reading is drawn to;
    ``own``: share of a label in the readings of those of its captions that name things beside each other, mean.
    """
    kinds = prototypes[: len(labels)]

    def judged(phrases: Iterable[tuple[Sequence[str], str]]) -> tuple[list[tuple[list[int], str]], list[np.ndarray]]:
        """Phrases with the numbers of the labels that they name, and what share each label has in their reading."""
        rows = [([labels.index(x) for x in meant if x in labels], phrase) for meant, phrase in phrases]
        rows = [(right, phrase) for right, phrase in rows if right]
        near = []
        for _, phrase in rows:
            meaning = embed(phrase)
            if captions is not None and len(captions[0]):
                meaning = nearest(meaning, captions, kinds, sharpness)
            near.append(torch.softmax(sharpness * kinds @ meaning, 0).numpy())
        return rows, near

    known, near = judged((meant, p) for meant, said in NAMED.items() for p in said)
    wrong = {p: labels[int(x.argmax())] for (rows, p), x in zip(known, near, strict=True) if x.argmax() not in rows}
    others, theirs = judged(unseen())

    def shares(text: str) -> np.ndarray:
        drawn = read(text, embed, kinds, 1.0, sharpness, captions)
        found = nnls(kinds.T.double().numpy(), drawn.double().numpy())[0]
        return np.asarray(found / found.sum())

    listed = [(i, p) for i, x in enumerate(labels) for p in PHRASES.get(x, []) if len(parts_of(p)) > 1]
    own = [shares(caption)[i] for i, caption in listed]
    both = []
    rng = np.random.default_rng(1)
    for _ in range(PAIRS if len(known) > 1 else 0):
        one, two = (known[i] for i in rng.choice(len(known), 2, replace=False))
        if not set(one[0]) & set(two[0]) and len(parts_of(one[1]) + parts_of(two[1])) == 2:
            found = shares(one[1] + str(rng.choice([" with ", " and ", " while "])) + two[1])
            both.append(min(found[one[0]].sum(), found[two[0]].sum()) >= 0.1)
    share = {
        "nearest": [x.argmax() in rows for (rows, _), x in zip(known, near, strict=True)],
        "weight": [x[rows].sum() for (rows, _), x in zip(known, near, strict=True)],
        "unseen": [x.argmax() in rows for (rows, _), x in zip(others, theirs, strict=True)],
        "both": both,
        "own": own,
    }
    return (
        {"phrases": len(known), "unseen_phrases": len(others), "pairs": len(both), "captions": len(own)}
        | {k: round(float(np.mean(v)), 3) if v else 0.0 for k, v in share.items()}
        | {"wrong": wrong}
    )
