"""How samples join: crossfades, timelines, mixing, space, loudness, limiting. Pure: samples in, samples out."""

from ambient.sound.crossfade import correlation, crossfade, weights
from ambient.sound.limiter import Limiter
from ambient.sound.loudness import LoudnessControl, LoudnessMeter
from ambient.sound.mixer import LayerBlock, Voices, mix
from ambient.sound.oneshot import trim_one_shot
from ambient.sound.quality import LayerAnchor, inspect_clip
from ambient.sound.remix import Remix
from ambient.sound.ring import RingBuffer
from ambient.sound.space import PlacedSound, SpatialSound, delay_frames, place
from ambient.sound.timeline import Join, Timeline

__all__ = [
    "Join",
    "LayerAnchor",
    "LayerBlock",
    "Limiter",
    "LoudnessControl",
    "LoudnessMeter",
    "PlacedSound",
    "Remix",
    "RingBuffer",
    "SpatialSound",
    "Timeline",
    "Voices",
    "correlation",
    "crossfade",
    "delay_frames",
    "inspect_clip",
    "mix",
    "place",
    "trim_one_shot",
    "weights",
]
