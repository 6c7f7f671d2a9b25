"""Everyday phrases for the evaluation, and what a tagger (AudioSet classes) may call them. None is trained on."""

from __future__ import annotations

__all__ = ["EXPECTED"]

_RAIN = ("Rain", "Raindrop", "Rain on surface")
_BIRD = ("Bird", "Bird vocalization, bird call, bird song", "Chirp, tweet")
_WATER = ("Water", "Stream", "Waterfall", "Gurgling", "Liquid", "Trickle, dribble", "Splash, splatter", "Pour", "Gush")
_INSECT = ("Insect", "Cricket", "Frog", "Croak", "Buzz")
_SPEECH = ("Speech", "Hubbub, speech noise, speech babble", "Chatter", "Crowd", "Inside, large room or hall")
_WIND = ("Wind", "Wind noise (microphone)", "Rustling leaves", "Rustle")
_MOTOR = ("Vehicle", "Engine", "Mechanisms", "Machine", "Hum", "Mechanical fan", "Idling", "Motor vehicle (road)")
_RAIL = ("Rail transport", "Train", "Railroad car, train wagon", "Clickety-clack", "Subway, metro, underground")
_STORM = ("Thunder", "Thunderstorm")
_SEA = ("Ocean", "Waves, surf", "Wind", "Water")

EXPECTED: dict[str, tuple[str, ...]] = {
    "a cloudburst over the rooftops": _RAIN,
    "wet weather outside my window": _RAIN,
    "showers pattering on an umbrella": _RAIN,
    "monsoon hammering the street": _RAIN,
    "surf at a sandy bay": _SEA,
    "breakers rolling in from the Atlantic": _SEA,
    "the tide coming in": _SEA,
    "a creek running through the woods": _WATER,
    "mountain rivulet over pebbles": _WATER,
    "whitewater rapids": _WATER,
    "a cascade in a gorge": _WATER,
    "nightingales at sunrise": _BIRD,
    "sparrows in the hedge": _BIRD,
    "feathered singers in an orchard": _BIRD,
    "a wood full of warblers": _BIRD,
    "an owl somewhere in the dark": ("Owl", "Hoot", *_BIRD),
    "gulls above the fishing boats": _BIRD,
    "cicada song in Provence": _INSECT,
    "grasshoppers on a hot lawn": _INSECT,
    "a chirring summer evening full of insects": _INSECT,
    "croaking at the pond after dark": _INSECT,
    "a thunderclap overhead": _STORM,
    "storm clouds grumbling over the hills": _STORM,
    "lightning and thunder with a deluge": (*_STORM, *_RAIN),
    "logs burning in the grate": ("Fire", "Crackle"),
    "a bonfire spitting sparks": ("Fire", "Crackle"),
    "railway carriage rattling along": _RAIL,
    "an express roaring by": (*_RAIL, "Vehicle"),
    "bees around the lavender": ("Bee, wasp, etc.", "Insect", "Buzz", "Fly, housefly"),
    "a squall tearing at the cliffs": (*_WIND, "Ocean"),
    "foliage stirring in a draught of air": _WIND,
    "the purring of an old tomcat": ("Purr", "Cat"),
    "tick tock of grandfather's timepiece": ("Tick", "Tick-tock", "Clock"),
    "people nattering in a pub": _SPEECH,
    "hubbub of a cafeteria": _SPEECH,
    "chapel bells on a Sunday": ("Bell", "Church bell", "Chime", "Change ringing (campanology)"),
    "the drone of a cooling unit": (*_MOTOR, "Air conditioning"),
    "a motorcar ticking over": _MOTOR,
    "hiss of an untuned radio": ("White noise", "Static", "Noise", "Pink noise", "Hiss"),
    "somebody strolling over shingle": ("Walk, footsteps", "Crunch", "Run"),
}
"""Phrase → classes of which one should be among the tagger's first five."""
