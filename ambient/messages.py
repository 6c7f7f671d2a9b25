"""What passes between the rooms: frozen dataclasses and named tuples, and nothing else.

Time inside the engine is a count of **frames** of one sample clock at :data:`RATE`. Audio is float32 of
shape ``(frames, channels)``, full scale ±1. Latents are float16 of shape ``(latent_channels,
latent_frames)``. Seconds exist at the edges only, and then the name says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "BLOCK_FRAMES",
    "CHANNELS",
    "LIKE",
    "RATE",
    "Audio",
    "Block",
    "Clip",
    "ClipFailure",
    "ClipKey",
    "ClipRequest",
    "FailureKind",
    "Latents",
    "LayerMoment",
    "ModelInfo",
    "Moment",
    "PromptMix",
    "ScatterMoment",
    "SceneEvent",
    "Tail",
    "contents_of",
    "frames",
    "likes",
    "path_of",
    "seconds",
]

RATE = 48_000
"""Frames per second of the engine's one sample clock."""
CHANNELS = 2
BLOCK_FRAMES = 960
"""Frames in a block: 20 ms."""

Audio = npt.NDArray[np.float32]
"""Sound: float32, shape ``(frames, channels)``, full scale ±1."""
Latents = npt.NDArray[np.float16]
"""Latents: float16, shape ``(latent_channels, latent_frames)``."""


def frames(over_seconds: float) -> int:
    """Seconds to frames of the engine clock, rounded to the nearest."""
    return round(over_seconds * RATE)


def seconds(length_frames: int) -> float:
    """Frames of the engine clock to seconds."""
    return length_frames / RATE


LIKE = "\x1flike:"
"""Begins a part of a mix that is a recording to resemble instead of a text: ``LIKE`` + digest + ``:`` + absolute path.
Nobody can type it: what comes from outside must be printable."""


def likes(part: str) -> bool:
    """Whether a part of a mix is a recording."""
    return part.startswith(LIKE)


def path_of(part: str) -> str:
    """Where the recording of such a part lies."""
    return part.removeprefix(LIKE).partition(":")[2]


def contents_of(part: str) -> str:
    """The part without the place of its recording: what a clip depends on."""
    return part.partition(":")[0] + part.partition(":")[2].partition(":")[0] if likes(part) else part


def _shown(part: str) -> str:
    return f"like {part.replace(chr(92), '/').rpartition('/')[2]}" if likes(part) else part


@dataclass(frozen=True, slots=True)
class PromptMix:
    """A point in the space of meanings: texts with weights that sum to 1, and what to keep away from.

    A part may be a recording to resemble (:data:`LIKE`).
    ``parts`` is sorted by text and holds no text twice, so equal mixes compare equal.
    """

    parts: tuple[tuple[str, float], ...]
    avoid: str = ""

    @staticmethod
    def of(texts: str | Mapping[str, float] | Sequence[tuple[str, float]], avoid: str = "") -> PromptMix:
        """Normalises texts and weights (≥ 0, not all 0) into a mix. Raises ValueError otherwise."""
        if isinstance(texts, str):
            return PromptMix(((texts, 1.0),), avoid)
        pairs = texts.items() if isinstance(texts, Mapping) else texts
        total: dict[str, float] = {}
        for text, weight in pairs:
            if not weight >= 0:
                raise ValueError(f"prompt weight of {text!r} must be 0 or more, not {weight}")
            total[text] = total.get(text, 0.0) + weight
        whole = sum(total.values())
        if not whole > 0:
            raise ValueError("a prompt mix needs a weight above 0")
        return PromptMix(tuple([(t, w / whole) for t, w in sorted(total.items()) if w > 0]), avoid)

    def distance(self, other: PromptMix) -> float:
        """Half the L1 distance of the weights: 0 for the same mix, 1 for disjoint ones."""
        if self.avoid != other.avoid:
            return 1.0
        mine, theirs = dict(self.parts), dict(other.parts)
        return 0.5 * sum(abs(mine.get(t, 0.0) - theirs.get(t, 0.0)) for t in mine.keys() | theirs.keys())

    def __str__(self) -> str:
        if len(self.parts) == 1:
            return _shown(self.parts[0][0])
        return " + ".join(f"{w:.2f} {_shown(t)}" for t, w in self.parts)


@dataclass(frozen=True, slots=True)
class ScatterMoment:
    """How single events of a layer fall just now. Ranges are ``(low, high)``; a fixed value has low = high."""

    every_seconds: tuple[float, float] | None
    """Time between events, drawn uniformly; None when ``rate_per_minute`` rules."""
    rate_per_minute: float | None
    """Poisson rate; None when ``every_seconds`` rules."""
    most: int
    """Events that may sound at once."""
    distance_m: tuple[float, float]
    azimuth_deg: tuple[float, float]
    """0 is ahead, positive is right."""
    gain_db: tuple[float, float]
    bank: int
    """Clips kept ready."""
    variants: tuple[PromptMix, ...]
    """One is drawn for every clip of the bank."""


class LayerMoment(NamedTuple):
    """What one layer should sound like at a frame. Made anew for every layer of every block, which a named tuple bears
    three times as fast as a frozen dataclass."""

    name: str
    prompt: PromptMix
    gain: float
    """Linear amplitude ≥ 0 from intensity and level, with mute and blends worked in: 0 is silent."""
    muted: bool
    """Makes no automatic sound and is not fading out: needs no clips."""
    warm: bool
    """Muted, yet clips shall be kept ready."""
    width: float
    """Stereo width, 0 mono to 1 as generated."""
    scatter: ScatterMoment | None = None
    """None for a bed, which sounds continuously."""
    family: str | None = None
    role: str | None = None
    model: str | None = None
    steps: int | None = None
    guidance: float | None = None
    why: Sequence[str] = ()
    """Short reasons, outermost first, such as ``state rain``, ``intensity 0.40 by wind = 0.40``."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the whole environment should sound like at a frame."""

    frame: int
    state: str
    previous: str | None
    """The state that is being left, during a blend."""
    blend: float
    """0 at the start of a transition to 1 when only ``state`` is heard."""
    layers: tuple[LayerMoment, ...]
    params: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def layer(self, name: str) -> LayerMoment:
        """The layer of that name. Raises KeyError."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class SceneEvent:
    """Something that happened in the scene, for listeners and logs.

    ``kind`` is ``transition`` (detail: from, to, over_seconds, why), ``event`` (a named event was fired),
    ``oneshot`` (a single sound begins; detail: layer, distance_m, azimuth_deg, heard_frame), ``param``
    (set from outside; detail: value), ``reload`` or ``fault``.
    """

    kind: Literal["transition", "event", "oneshot", "param", "reload", "fault"]
    name: str
    frame: int
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, order=True)
class ClipKey:
    """Names a clip for ever: its layer and its index in that layer. Seeds are derived from it."""

    layer: str
    index: int


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """What a clip continues: final latents of the clip before it, never re-encoded audio.

    ``latents`` has shape ``(latent_channels, kept)``: exactly the frames that are kept, which become the
    first ``kept`` latent frames of the new clip.
    """

    latents: Latents

    @property
    def kept(self) -> int:
        """How many latent frames are kept."""
        return int(self.latents.shape[1])


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """One clip to generate. Holds everything that a stateless worker needs."""

    key: ClipKey
    start_frame: int
    """Where the clip's first sample lies on the layer's timeline: a whole number of latent frames."""
    latent_frames: int
    """Length, kept frames included."""
    deadline_frame: int
    """Clock frame at which the layer runs out of sound without this clip."""
    seed: int
    """Seed of the diffusion noise, from (scene seed, layer, index); 0 ≤ seed < 2**63."""
    noise_seed: int
    """Seed of the decoder's noise branch, one a layer: noise depends on it and on the absolute position
    ``start_frame`` only, so that two decodes of the same latents agree sample for sample."""
    prompt: PromptMix
    steps: int
    guidance: float
    tail: Tail | None = None
    head: Tail | None = None
    """What the clip leads into: the last ``kept`` latent frames of it, equal to these in the end. For loops."""
    one_shot: bool = False
    """A single event rather than a stretch of a bed: begins and ends by itself."""
    settled: bool = False
    """Whether all its texts sounded already where the tail begins, in whatever mix: it brings nothing new."""
    model: str = "bundled"


FailureKind = Literal[
    "nan",
    "silent",
    "clipping",
    "dc",
    "length",
    "rate",
    "error",
    "out_of_memory",
    "timeout",
    "worker_died",
    "late",
    "cancelled",
]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A generated clip at the engine's rate."""

    request: ClipRequest
    audio: Audio
    """Shape ``(latent_frames * frames_per_latent, 2)``."""
    latents: Latents
    """Final latents, shape ``(latent_channels, latent_frames)``: the next tail is cut from these."""
    generation_seconds: float
    """Wall time that it took; 0 from the cache."""
    cached: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ClipFailure:
    """A clip that was not made, and why."""

    request: ClipRequest
    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a planner must know of a model; read from its checkpoint without loading it."""

    name: str
    family: str
    """``ambience`` (the bundled model's), ``audioldm``, ``audioldm2``, ``stable-audio``, ``stable-audio-3``."""
    fingerprint: str
    """Changes when the weights do; keys the clip cache."""
    rate: int
    """The model's own rate; clips arrive at :data:`RATE` all the same."""
    channels: int
    latent_channels: int
    frames_per_latent: int
    """Frames of the engine clock in one latent frame: the layer's lattice."""
    max_latent_frames: int
    """Longest clip."""
    steps: int
    """Default number of denoising steps."""
    min_steps: int
    """Fewest steps that still sound acceptable: the first rungs of the degrade ladder end here."""
    guidance: float
    edge_latents: int = 2
    """Reach of the decoder: near a clip's ends, this many latent frames decode differently than inside it."""
    path: str = ""
    levelled: bool = True
    """Whether its beds come at the level that the engine expects; those of others are brought there."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """20 ms of mixed sound and the scene events that fall in it."""

    start_frame: int
    audio: Audio
    """Shape ``(BLOCK_FRAMES, 2)``, loudness-matched and limited."""
    events: tuple[SceneEvent, ...] = ()
    discontinuity: bool = False
    fallback: bool = False
    """Some layer played re-joined own material because its clip came late."""
