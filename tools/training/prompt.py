"""``prompt``: distils the teacher's sentence embeddings into the small encoder that is shipped."""

from __future__ import annotations

import json
import math
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from ambient.generate.prompt import MAX_TOKENS, PromptEncoder
from tools.training.captions import PHRASES, SETTINGS, mixture, single
from tools.training.dictionary import definitions
from tools.training.dictionary import goals as goals_of
from tools.training.dictionary import phrases as dictionary_phrases
from tools.training.teacher import Teacher

__all__ = ["FILL", "MANNERS", "TIMES", "follow", "phrases", "tokens", "train", "words"]


_PLACES = (
    "forest", "beach", "kitchen", "attic", "city", "harbour", "village", "desert", "swamp", "mountain", "library",
    "station", "garden", "barn", "cellar", "tent", "meadow", "valley", "market", "church", "tunnel", "ship", "cabin",
)  # fmt: skip
TIMES = (
    "at night",
    "at dawn",
    "in winter",
    "in summer",
    "in the afternoon",
    "after rain",
    "before a storm",
    "at dusk",
)
MANNERS = (
    "soft", "loud", "distant", "gentle", "violent", "rhythmic", "muffled", "sharp", "eerie", "calm", "wet", "dry",
    "metallic", "wooden", "echoing", "hushed", "roaring", "crackling", "dripping", "buzzing", "humming", "rustling",
    "whistling", "splashing", "rumbling", "creaking", "chirping", "howling", "single", "many", "slow", "fast",
)  # fmt: skip

FILL = {"place": _PLACES, "time": TIMES, "manner": MANNERS}
"""What stands beside the words of a dictionary."""


def words(tokenizer: Tokenizer) -> list[str]:
    """Whole English words of the tokenizer's vocabulary."""
    return sorted(w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and w.islower() and len(w) > 2)


def phrases(count: int, vocabulary: list[str], known: list[str], seed: int = 0) -> list[str]:
    """Phrases of every kind that a scene may hold: known captions, combinations, and words of any sort."""
    rng = np.random.default_rng(seed)

    def pick(of: Any) -> str:
        return str(of[int(rng.integers(len(of)))])

    sounds = [p for ps in PHRASES.values() for p in ps]
    out = list(known)
    while len(out) < count:
        kind = rng.random()
        if kind < 0.2:
            text = single(pick(sounds), rng)
        elif kind < 0.3:
            text = mixture(pick(sounds), pick(sounds), rng)
        elif kind < 0.45:
            text = f"{pick(MANNERS)} {pick(sounds)} in the {pick(_PLACES)} {pick(TIMES)}"
        elif kind < 0.6:
            thing = f"{pick(MANNERS)} {pick(vocabulary)}"
            text = f"{thing} {pick(['in', 'on', 'near', 'of', 'and', 'behind'])} {pick(vocabulary)}"
        elif kind < 0.7:
            text = f"{pick(['sound of', 'ambience of', 'inside', 'near', ''])} {pick(vocabulary)} {pick(TIMES)}".strip()
        elif kind < 0.8:
            text = f"{pick(vocabulary)} {pick(vocabulary)}, {pick(SETTINGS)}"
        elif kind < 0.9:
            text = " ".join(pick(vocabulary) for _ in range(int(rng.integers(1, 7))))
        else:
            text = f"{pick(sounds)}, {pick(MANNERS)} {pick(vocabulary)}, {pick(SETTINGS)}"
        out.append(text)
    return [out[i] for i in rng.permutation(len(out))]


def start_from(student: PromptEncoder, teacher: Any, layers: list[int]) -> None:
    """Takes the teacher's principal directions of its token table, its positions, and some of its layers."""
    own = teacher.embeddings
    with torch.no_grad():
        table = own.word_embeddings.weight.double()
        mean = table.mean(0)
        _, vectors = torch.linalg.eigh((table - mean).T @ (table - mean))
        top = vectors[:, -student.config.table_dim :]
        student.table.weight.copy_((table - mean) @ top)
        student.widen.weight.copy_(top)
        student.widen.bias.copy_(mean)
        student.positions.copy_(own.position_embeddings.weight[:MAX_TOKENS] + own.token_type_embeddings.weight[0])
        student.norm.load_state_dict(own.LayerNorm.state_dict())
        for mine, number in zip(student.blocks, layers, strict=True):
            theirs = teacher.encoder.layer[number]
            qkv = (theirs.attention.self.query, theirs.attention.self.key, theirs.attention.self.value)
            mine.self_attn.in_proj_weight.copy_(torch.cat([x.weight for x in qkv]))
            mine.self_attn.in_proj_bias.copy_(torch.cat([x.bias for x in qkv]))
            mine.self_attn.out_proj.load_state_dict(theirs.attention.output.dense.state_dict())
            mine.norm1.load_state_dict(theirs.attention.output.LayerNorm.state_dict())
            mine.linear1.load_state_dict(theirs.intermediate.dense.state_dict())
            mine.linear2.load_state_dict(theirs.output.dense.state_dict())
            mine.norm2.load_state_dict(theirs.output.LayerNorm.state_dict())


def _defined(
    work: pathlib.Path, dictionary: pathlib.Path, count: int, tokenizer: Tokenizer, master: Teacher
) -> tuple[list[str], Tensor]:
    """Phrases with words of a dictionary, and their goals ``(count, dim)``, kept in ``prompt_dictionary.npy``."""
    known = definitions(dictionary)
    pairs = dictionary_phrases(known, count, FILL)
    vocabulary = set(tokenizer.get_vocab())

    def rare(phrase: str) -> bool:
        return any(w in known and w not in vocabulary for w in phrase.replace(",", "").split())

    path = work / "prompt_dictionary.npy"
    if not path.exists() or len(np.load(path, mmap_mode="r")) != count:
        np.save(path, goals_of(pairs, rare, master).astype(np.float16))
    print(f"prompt: {len(known)} words of the dictionary in {count} phrases", flush=True)
    return [p for p, _ in pairs], torch.from_numpy(np.load(path)).float()


def tokens(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask ``(texts, tokens)``, both int64."""
    encoded = tokenizer.encode_batch(texts)
    return torch.tensor([e.ids for e in encoded]), torch.tensor([e.attention_mask for e in encoded])


def train(
    work: pathlib.Path,
    settings: dict[str, Any],
    *,
    teacher: str | None = None,
    dictionary: pathlib.Path | None = None,
    threads: int = 1,
    seconds: float | None = None,
) -> float:
    """Writes ``prompt.pt``, ``tokenizer.json`` and ``prompt.jsonl``. Returns the mean cosine on unseen phrases.

    ``dictionary``: folder of WordNet's database, for rare words (see :mod:`tools.training.dictionary`).
    """
    torch.set_num_threads(threads)
    s = settings
    master = Teacher(teacher)
    shutil.copyfile(master.tokenizer_path, work / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    table = work / "prompt_texts.npy"
    known = json.loads((work / "texts.json").read_text())["texts"][: s["texts"] // 2]
    texts = phrases(s["texts"], words(tokenizer), [t for t in known if len(t) > 2], seed=0)
    if not table.exists() or len(np.load(table, mmap_mode="r")) != len(texts):
        np.save(table, master(texts).astype(np.float16))
    goals = torch.from_numpy(np.load(table)).float()
    held = len(texts) // 40
    if dictionary is not None:
        rare, wanted = _defined(work, dictionary, s["dictionary_texts"], tokenizer, master)
        texts, goals = texts + rare, torch.cat([goals, wanted])
    config = master.model.config
    student = PromptEncoder(
        vocabulary=config.vocab_size,
        table_dim=s["table_dim"],
        dim=config.hidden_size,
        layers=s["layers"],
        heads=config.num_attention_heads,
        ff_dim=config.intermediate_size,
    )
    start_from(student, master.model, s["from_layers"])
    learned = [p for name, p in student.named_parameters() if not name.startswith("usual")]  # that one is fitted later
    optimiser = torch.optim.AdamW(learned, lr=s["learning_rate"], weight_decay=0.0)
    step, spent = 0, 0.0
    if (work / "prompt.pt").exists():
        saved = torch.load(work / "prompt.pt", weights_only=False)
        student.load_state_dict(saved["model"], strict=False)
        if "optimiser" in saved:
            optimiser.load_state_dict(saved["optimiser"])
        step, spent = saved["step"], saved["seconds"]

    def save(agreement: float, step: int, spent: float) -> None:
        state = {"model": student.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "seconds": spent}
        torch.save(state | {"config": dict(student.config), "cosine": agreement}, work / "prompt.pt")

    lessons = texts, nn.functional.normalize(goals, dim=-1), held
    return follow(student, optimiser, tokenizer, lessons, s, (step, spent), work / "prompt.jsonl", save, seconds)[0]


def follow(
    student: PromptEncoder,
    optimiser: torch.optim.Optimizer,
    tokenizer: Tokenizer,
    lessons: tuple[list[str], Tensor, int],
    settings: dict[str, Any],
    begun: tuple[int, float],
    log: pathlib.Path,
    save: Callable[[float, int, float], None],
    seconds: float | None,
    also: Callable[[Tensor, NDArray[np.int64]], Tensor] | None = None,
) -> tuple[float, float]:
    """Trains an encoder towards goals for as long as the settings say, or ``seconds`` of it now.

    ``lessons``: texts, their goals, unit vectors ``(texts, dim)``, and how many of the first are left aside to judge
    by; ``begun``: step and seconds so far; ``save``: called with the mean cosine on those, the step and the seconds;
    ``also``: what is lost besides, from meanings ``(batch, dim)`` and the numbers of their texts.
    Returns that cosine and the seconds.
    """
    (texts, goals, held), (step, spent), s = lessons, begun, settings
    order = np.argsort([len(t) for t in texts[held:]], kind="stable") + held  # batches of like lengths waste no padding
    rng = np.random.default_rng(step)
    learned = [p for group in optimiser.param_groups for p in group["params"]]
    before, began, rows = spent, time.monotonic(), log.open("a")
    until = min(s["minutes"] * 60, spent + seconds if seconds is not None else math.inf)
    while True:
        spent = before + time.monotonic() - began
        if step % 100 == 0 or spent >= until:
            with torch.inference_mode():
                found = [student(*tokens(tokenizer, texts[i : min(i + 128, held)])) for i in range(0, held, 128)]
            agreement = float((torch.cat(found) * goals[:held]).sum(-1).mean())
            row = {"step": step, "cosine": round(agreement, 4), "seconds": round(spent)}
            print(json.dumps(row), file=rows, flush=True)
            print(row, flush=True)
            save(agreement, step, spent)
        if spent >= until:
            return agreement, spent
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / 50)
            group["lr"] = s["learning_rate"] * warm * (0.52 + 0.48 * math.cos(math.pi * spent / (s["minutes"] * 60)))
        at = int(rng.integers(0, max(1, len(order) - s["batch"])))
        pick = order[at : at + s["batch"]]
        meanings = student(*tokens(tokenizer, [texts[i] for i in pick]))
        loss = 1 - (meanings * goals[pick]).sum(-1).mean()
        if also is not None:
            loss = loss + also(meanings, pick)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        step += 1
