"""Which clips are needed, when, and continuing what. Pure: data and the present frame in, requests out."""

from ambient.plan.bank import Bank, Shot
from ambient.plan.bed import BedPlan, Placement
from ambient.plan.ladder import Ladder, Rung
from ambient.plan.pace import Pace
from ambient.plan.seeds import clip_seed, layer_seed
from ambient.plan.track import LatentTrack

__all__ = [
    "Bank",
    "BedPlan",
    "Ladder",
    "LatentTrack",
    "Pace",
    "Placement",
    "Rung",
    "Shot",
    "clip_seed",
    "layer_seed",
]
