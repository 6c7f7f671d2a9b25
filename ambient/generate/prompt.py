"""Open English phrases to meaning: a small student of a sentence transformer, in the teacher's own space.

A narrow token table, two attention layers and a mean: a phrase becomes one unit vector. Meanings can be mixed: the
point between "light wind" and "gale" is a meaning of its own.

A phrase in words that no caption used lies in the right direction, but far from all captions ("a bonfire spitting
sparks" is nearest to campfires, at a cosine of 0.7), where the diffusion model was never trained. So the caption that
lies nearest to it stands for it: retrieval, as in kNN-Diffusion (Sheynin et al., arXiv 2204.02849), of captions rather
than of pictures. And captions are drawn towards the kinds of sound that they name, in training and afterwards alike
(:func:`ground`).

"Rain on a tent with distant thunder" is two sounds, but the meaning of the whole lies near one of them, or near
neither. So what is named beside each other (:func:`parts_of`) is read part by part, each drawn to kinds of its own.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable
from functools import lru_cache

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from tokenizers import Tokenizer
from torch import Tensor, nn

__all__ = ["MAX_TOKENS", "Known", "PromptEncoder", "Reader", "ground", "nearest", "parts_of", "read"]

MAX_TOKENS = 64
"""Longer phrases are cut."""
LEAD = 0.5
"""Share of the first phrase (up to the first comma) in a prompt that goes on after it: what is named first is what
must be heard, the rest is its surroundings."""
FIRST = 0.6
"""Share of the sound that is named first among several; the others have the rest in equal parts."""
CONTEXT = 0.5
"""How much of the meaning of the whole each part is read with: in "flashes and bangs in the sky" both are thunder."""
LISTED = 3
"""Words, at most, of what stands between the commas of a list; what is longer is a phrase and its surroundings."""
SURE = (0.65, 0.75)
"""Cosine with the nearest known kind from which a part begins to count as a sound, and counts wholly: in "rain and
little else" the second part names none."""
FAMILIAR = (0.95, 0.985)
"""Cosine of the whole with the nearest name of a caption from which it begins to be read as a whole, and wholly is: "a
warm night with crickets" is what crickets are called."""
OF_A_KIND = (0.8, 0.9)
"""The same, with the nearest kind, where captions are not known."""
ALONE = (0.5, 0.9)
"""Weight of the nearest kind from which a text begins to be of that kind alone, and wholly is."""
AVOIDED = 0.2
"""How much less what is to be avoided is drawn to its kind: drawn as far, big waves would be the sea itself."""
SAME = 0.995
"""Cosine from which a text is the name itself."""
ALIKE = 0.5
"""Say of the kinds in which caption stands for a phrase, where 1 would be as much as that of the meanings."""
_THERE = re.compile(r"^(?:in|inside|at) ", re.IGNORECASE)
_BESIDE = re.compile(r" (?:with|and|while|plus) | ?& ?", re.IGNORECASE)
_LISTED = re.compile(r" ?, ?|" + _BESIDE.pattern, re.IGNORECASE)
_NO_COMMA = re.compile(r" ?,(?= (?:with|and|while|plus) )", re.IGNORECASE)


def ground(meaning: Tensor, prototypes: Tensor, share: float, sharpness: float) -> Tensor:
    """Unit vectors ``(..., dim)`` drawn by ``share`` towards the kinds of sound that they are nearest to.

    ``prototypes``: unit vectors of the known kinds, ``(kinds, dim)``; ``sharpness``: how fast one that is less near
    loses its say (exponent of the cosine). What is zero, for no meaning, stays zero.
    """
    if not len(prototypes) or not share:
        return meaning
    near = nn.functional.normalize(torch.softmax(sharpness * meaning @ prototypes.T, -1) @ prototypes, dim=-1)
    drawn = nn.functional.normalize((1 - share) * meaning + share * near, dim=-1)
    return torch.where(meaning.abs().amax(-1, keepdim=True) > 0, drawn, meaning)


Known = tuple[Tensor, Tensor]
"""Names ``(captions, dim)``, and the captions that they stand for, unit vectors of the same shape. Names are unit
vectors too, and shorter where they are to be taken only if nothing else is as near."""


def nearest(meaning: Tensor, known: Known, prototypes: Tensor, sharpness: float) -> Tensor:
    """The caption whose name is nearest to each meaning ``(..., dim)``; shapes as there.

    A little it counts, too, whether both are of one kind: "a tram" lies nearest to air that moves over a moor, and next
    to trains, in company. What is itself a name is what it names: a forest is birds in a forest, though it lies nearer
    to wind in trees.
    """
    names, captions = known
    far = meaning @ names.T
    if len(prototypes):
        kinds, theirs = (torch.softmax(sharpness * x @ prototypes.T, -1) for x in (meaning, captions))
        far = far + ALIKE / sharpness * (kinds @ theirs.T).clamp_min(1e-9).log()
    return captions[(far + _same(meaning, names)).argmax(-1)]


def _same(meaning: Tensor, names: Tensor) -> Tensor:
    """Whether meanings ``(..., dim)`` are those of the names themselves, ``(..., captions)``."""
    return meaning @ nn.functional.normalize(names, dim=-1).T > SAME


def parts_of(text: str) -> list[str]:
    """What a prompt names beside each other: of "rain on a tent with distant thunder, at night" the first two.

    What follows a comma is surroundings, unless it is a list ("rain, wind and thunder"). A single word in -ing goes
    with what it follows ("a fire burning and crackling").
    """
    whole = _NO_COMMA.sub("", " ".join(text.split()).rstrip("."))
    lead, *others = whole.split(",")
    listed = others and _BESIDE.search(others[-1]) and all(len(p.split()) <= LISTED for p in [lead, *others[:-1]])
    found: list[str] = []
    for part in (p.strip() for p in (_LISTED.split(whole) if listed else _BESIDE.split(lead))):
        if found and part.endswith("ing") and " " not in part:
            found[-1] += " and " + part
        elif part:
            found.append(part)
    return found


def read(
    text: str,
    embed: Callable[[str], Tensor],
    prototypes: Tensor,
    share: float,
    sharpness: float,
    known: Known | None = None,
) -> Tensor:
    """Unit vector ``(dim,)`` of a prompt, drawn towards what is known; zeros for an empty one.

    ``embed``: phrase → unit vector ``(dim,)``; ``known``: the captions that the model was trained with, of which the
    nearest stands for what is read; the rest as in :func:`ground`. What is named first is stressed.
    """
    whole = text.strip().rstrip(".")
    if not re.search(r"\w", whole):
        return torch.zeros(prototypes.shape[-1])
    lead, parts = whole.split(",", 1)[0].strip() or whole, parts_of(whole)
    meaning, first = embed(whole), embed(lead)
    if lead != whole:
        meaning = LEAD * first + (1 - LEAD) * meaning
    meaning = nn.functional.normalize(meaning, dim=-1)
    place = embed(_THERE.sub("", lead))  # "in a forest, at night" is still a forest
    is_name = known is not None and bool(_same(place, known[0]).any())
    # what surroundings change, beyond what they are drawn to, is left as it is in training
    surroundings = (1 - share) * (meaning - first) * (not parts or parts[-1] in lead)

    def drawn_from(meaning: Tensor) -> Tensor:
        if known is None or not len(known[0]):
            return ground(meaning, prototypes, share, sharpness)
        drawn = ground(nearest(meaning, known, prototypes, sharpness), prototypes, share, sharpness)
        return nn.functional.normalize(drawn + surroundings, dim=-1)

    drawn = drawn_from(place if is_name else meaning)
    if len(parts) < 2 or not len(prototypes):
        return drawn

    def near(meaning: Tensor, among: Tensor, bounds: tuple[float, float]) -> float:
        begin, end = bounds
        return min(1.0, max(0.0, (float((among @ meaning).max()) - begin) / (end - begin)))

    alone = [embed(part) for part in parts]
    named = first if parts[-1] in lead else embed(whole)  # what the parts are parts of
    called = (known[0], FAMILIAR) if known is not None and len(known[0]) else (prototypes, OF_A_KIND)
    sure = torch.tensor([near(m, prototypes, SURE) for m in alone]) * (1 - near(named, *called))
    if not float(sure[1:].sum()):
        return drawn
    shares = sure * torch.tensor([FIRST] + [(1 - FIRST) / (len(parts) - 1)] * (len(parts) - 1))
    meanings = nn.functional.normalize(torch.stack(alone) + CONTEXT * meaning, dim=-1)
    told = (shares[:, None] * drawn_from(meanings)).sum(0)
    return nn.functional.normalize(told + (1 - float(shares.sum())) * drawn, dim=-1)  # the whole says the rest best


class PromptEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is not typed
    """Token ids ``(batch, tokens)`` and mask → unit vectors ``(batch, dim)``."""

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers is not typed
    def __init__(
        self,
        vocabulary: int = 30_522,
        table_dim: int = 128,
        dim: int = 384,
        layers: int = 2,
        heads: int = 12,
        ff_dim: int = 1536,
        latent_dim: int = 64,
        kinds: int = 0,
        grounding: float = 0.0,
        sharpness: float = 20.0,
        known_captions: int = 0,
        biased: bool = False,
        inverted: bool = False,
        known_places: int = 0,
    ) -> None:
        """``kinds``: number of known kinds of sound; ``grounding``, ``sharpness``: see :func:`ground`;
        ``known_captions``: number of those that stand for phrases, see :func:`read`; ``biased``: whether it is known
        where the model paints each kind, see :meth:`Reader.painted`, and how far from recordings, see
        :meth:`Reader.bias`; ``inverted``: and by which words it paints each best, see :meth:`Reader.told`;
        ``known_places``: of how many stretches of recordings of each kind it is known where they lie and how they
        move, see :meth:`Reader.places`."""
        super().__init__()
        self.table = nn.Embedding(vocabulary, table_dim)
        self.widen = nn.Linear(table_dim, dim)
        self.positions = nn.Parameter(torch.zeros(MAX_TOKENS, dim))
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, ff_dim, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True)
            for _ in range(layers)
        )

        self.usual = nn.Linear(dim, 2 * latent_dim)
        nn.init.zeros_(self.usual.weight)
        nn.init.zeros_(self.usual.bias)
        self.register_buffer("prototypes", torch.zeros(kinds, dim), persistent=kinds > 0)
        self.register_buffer("names", torch.zeros(known_captions, dim), persistent=known_captions > 0)
        self.register_buffer("captions", torch.zeros(known_captions, dim), persistent=known_captions > 0)
        self.register_buffer("bias", torch.zeros(kinds, latent_dim), persistent=biased)
        self.register_buffer("painted", torch.zeros(kinds, latent_dim), persistent=biased)
        self.register_buffer("told", torch.zeros(kinds, dim), persistent=inverted)
        self.register_buffer(
            "places", torch.zeros(kinds, known_places, 2, latent_dim), persistent=kinds * known_places > 0
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(self.widen(self.table(ids)) + self.positions[: ids.shape[1]])
        away = mask == 0
        for layer in self.blocks:
            x = layer(x, src_key_padding_mask=away)
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
        return nn.functional.normalize(mean, dim=-1)


class Reader:
    """Tokenizer and encoder together; remembers what it has read. Call from one thread."""

    def __init__(self, encoder: PromptEncoder, tokenizer: pathlib.Path) -> None:
        self._encoder = encoder
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        self._embed = lru_cache(maxsize=1024)(self._embed_once)
        self._text = lru_cache(maxsize=1024)(self._text_once)

    @torch.inference_mode()
    def _embed_once(self, text: str) -> Tensor:
        ids = torch.tensor([self._tokenizer.encode(text.lower()).ids])
        embedded: Tensor = self._encoder(ids, torch.ones_like(ids))[0]
        return embedded.clone()

    @torch.inference_mode()
    def _text_once(self, text: str, by_captions: bool) -> Tensor:
        part = self._encoder
        known = (part.names, part.captions) if by_captions else None
        share = part.config.grounding * (1 if by_captions else AVOIDED)
        return read(text, self._embed, part.prototypes, share, part.config.sharpness, known)

    def text(self, text: str) -> Tensor:
        """Unit vector ``(dim,)`` of a prompt, drawn towards what is known; zeros for an empty one: see :func:`read`."""
        return self._text(text, True)

    def avoided(self, text: str) -> Tensor:
        """As :meth:`text`, of what is not to be heard. It need not be one of the captions: were both it and the prompt
        read as the same, nothing would be avoided."""
        return self._text(text, False)

    @torch.inference_mode()
    def usual(self, meaning: Tensor) -> tuple[Tensor, Tensor]:
        """Where sounds of a meaning lie in latent space on the average of a clip, and how far they stray from there.

        Both ``(..., latent_dim)``, for unit vectors ``(..., dim)``; by ridge regression over the training clips.
        """
        mean, spread = self._encoder.usual(meaning).chunk(2, -1)
        return mean, spread.abs()

    @torch.inference_mode()
    def bias(self, meaning: Tensor) -> Tensor:
        """What is to be added to latents that the model paints of a meaning, ``(latent_dim,)``, that on average they
        have the colour and width of recordings; for a unit vector ``(dim,)``, by the kinds of sound nearest to it."""
        return self._of_kinds(meaning, self._encoder.bias)

    @torch.inference_mode()
    def painted(self, meaning: Tensor) -> Tensor:
        """How far from :meth:`usual` the model by itself paints a meaning on average, ``(latent_dim,)``; for a unit
        vector ``(dim,)``, by the kinds of sound nearest to it."""
        return self._of_kinds(meaning, self._encoder.painted)

    @torch.inference_mode()
    def told(self, meaning: Tensor) -> Tensor:
        """What the transformer is told of a meaning, unit vectors ``(dim,)``: moved to where it paints the kinds of
        sound nearest to it more as recordings are. Textual inversion (Gal et al., arXiv 2208.01618), of kinds. The
        meaning itself where the model has learned nothing of that."""
        if not self._encoder.config.inverted:
            return meaning
        moved: Tensor = nn.functional.normalize(meaning + self._of_kinds(meaning, self._encoder.told), dim=-1)
        return moved

    @torch.inference_mode()
    def places(self, meaning: Tensor) -> tuple[Tensor, float]:
        """Where recordings of the kind of sound nearest to a meaning lie and how much they move, mean and standard
        deviation of their latents ``(places, 2, latent_dim)``; and how far it is of that kind alone, 0 to 1; for a unit
        vector ``(dim,)``. Where no places are known, 0."""
        part = self._encoder
        if not part.places.numel() or not bool(meaning.any()):
            return part.places.new_zeros(0, 2, part.config.latent_dim), 0.0
        weights = torch.softmax(part.config.sharpness * part.prototypes @ meaning, 0)
        kind = int(weights.argmax())
        known = bool(part.places[kind].any())
        low, high = ALONE
        return part.places[kind], known * min(1.0, max(0.0, (float(weights[kind]) - low) / (high - low)))

    def _of_kinds(self, meaning: Tensor, rows: Tensor) -> Tensor:
        part = self._encoder
        found: Tensor = torch.softmax(part.config.sharpness * part.prototypes @ meaning, 0) @ rows
        return found * (meaning.abs().amax() > 0)  # no meaning has nothing
