"""What people call sounds: phrases for each label, and ways to say them.

Phrases marked as everyday ones for the evaluation live in ``phrases.py`` and must not appear here.
"""

from __future__ import annotations

import numpy as np

__all__ = ["ONE_SHOT_LABELS", "PHRASES", "SETTINGS", "mixture", "single", "variants"]

PHRASES: dict[str, list[str]] = {
    "air conditioner": [
        "air conditioner running",
        "air conditioning unit humming",
        "steady flow of cool air from a vent",
        "ventilation hum",
    ],
    "airplane cabin": ["inside an airplane cabin in flight", "jet engine roar inside a plane", "flying on an airliner"],
    "airplane passing": ["a small plane flying overhead", "propeller aircraft passing in the sky"],
    "animals": ["large animals grazing", "cattle breathing and tearing grass"],
    "aquarium": ["a bubbling fish tank", "aquarium pump humming with small bubbles"],
    "bees": ["bees buzzing", "a swarm of insects humming around flowers", "a bumblebee near a blossom", "beehive"],
    "birdsong": [
        "birds singing",
        "songbirds chirping in the trees",
        "birdsong in a park",
        "garden birds",
        "many birds twittering in a forest",
        "robins and finches singing in spring",
        "forest birds by day",
    ],
    "boat": [
        "water lapping against a wooden boat",
        "a moored boat creaking on the water",
        "boat hull creaking on gentle waves",
    ],
    "brown noise": ["brown noise", "deep smooth low noise", "soft deep rumble of noise"],
    "campfire": [
        "a campfire crackling",
        "wood burning outdoors",
        "camp fire with popping embers",
        "bonfire at night",
        "crackling flames",
    ],
    "car interior": ["inside a car driving", "steady drone inside a moving car"],
    "cat purring": ["a cat purring", "a purring kitten close by", "contented cat"],
    "cave": [
        "inside a cave",
        "water echoing in a cavern",
        "dark underground space with a low rumble",
        "dripping cavern",
        "echoing grotto",
    ],
    "church bells": ["church bells ringing", "bells tolling from a tower", "a church bell striking", "pealing bells"],
    "cicadas": ["cicadas buzzing in the heat", "a shrill chorus of cicadas", "cicadas on a hot afternoon"],
    "city street": ["a city street", "busy town with people and vehicles", "urban ambience", "downtown hum"],
    "clock": ["a clock ticking", "a watch ticking quickly", "ticking of a wall clock"],
    "clothes dryer": ["a clothes dryer running", "tumbling drum of a dryer", "laundry room rumble"],
    "construction site": [
        "a construction site with hammering",
        "building works and machines",
        "hammering and drilling",
    ],
    "coyotes": ["coyotes howling and yipping", "a pack of wild dogs howling"],
    "crickets": [
        "crickets chirping at night",
        "night crickets in the grass",
        "a warm night with crickets",
        "steady trill of crickets",
    ],
    "crowd": [
        "a crowd of people talking",
        "people chatting in a bar",
        "murmur of many voices",
        "lively chatter of guests",
        "party babble",
    ],
    "dawn chorus": [
        "dawn chorus of many birds",
        "birds greeting the sunrise",
        "dawn chorus of robins and blackbirds",
        "early morning birdsong",
    ],
    "drizzle": [
        "light drizzle",
        "a few raindrops falling",
        "fine light rain",
        "gentle drizzle pattering",
        "soft spring rain",
    ],
    "drone": ["a low dark drone", "haunting hum", "glassy resonant tone", "ominous drone"],
    "electric buzz": ["electricity buzzing and zapping", "electrical sparks crackling", "buzzing power line"],
    "electric hum": ["mains hum", "electrical transformer humming", "low electric hum"],
    "engine idle": ["a car engine idling", "idling motor"],
    "fan": ["a fan blowing", "computer fan humming", "whirr of a small fan", "electric fan in a bedroom"],
    "farm": ["a farmyard with animals", "chickens, sheep and birds on a farm", "rural barnyard"],
    "film static": ["old film projector hiss", "film reel crackle"],
    "fireplace": [
        "a log fire in a fireplace",
        "crackling hearth",
        "wood fire popping in a stove",
        "cosy fireplace",
        "embers snapping indoors",
    ],
    "footsteps in grass": ["walking through tall grass", "footsteps in dry grass"],
    "footsteps in water": ["wading through shallow water", "splashing footsteps", "someone walking in a stream"],
    "footsteps on gravel": ["footsteps on gravel", "walking on a gravel path", "crunching steps on small stones"],
    "footsteps on leaves": [
        "walking on dry leaves",
        "footsteps rustling fallen leaves",
        "one dry twig snapping underfoot",
    ],
    "footsteps on snow": ["footsteps crunching in snow", "walking through fresh snow"],
    "frogs": ["frogs croaking in a pond", "a chorus of frogs at night", "toads calling", "marsh full of frogs"],
    "geese": ["geese honking", "a flock of wild geese on the water"],
    "geyser": ["a geyser erupting", "hot water spurting and splashing", "roaring jet of steam and water"],
    "hail": ["hail falling", "hailstones pelting a roof", "ice pellets rattling down"],
    "heavy rain": [
        "heavy rain pouring",
        "a downpour",
        "torrential rain drumming",
        "pouring rain in a storm",
        "torrential rain drumming on a forest floor",
    ],
    "helicopter": ["a helicopter hovering", "rotor blades beating"],
    "horse wagon": ["a horse drawn wagon rattling past", "hooves and cart wheels"],
    "hot spring": ["a bubbling hot spring", "boiling pool", "water bubbling and gurgling", "gurgling hot water"],
    "howling wind": [
        "howling wind",
        "a gale moaning",
        "fierce wind in a snowstorm",
        "blizzard",
        "violent gusts roaring through trees",
    ],
    "ice": ["ice cracking and groaning on a frozen lake", "pinging lake ice"],
    "jungle": ["a tropical rainforest", "jungle with birds and insects", "humid rainforest ambience"],
    "lake shore": ["small waves lapping on a lake shore", "calm water at a harbour", "ripples on a quiet quay"],
    "machinery": [
        "a machine whirring and clattering",
        "factory machine",
        "sorting machine rattling",
        "3d printer working",
    ],
    "machinery hum": [
        "a motor humming",
        "compressor running",
        "industrial hum",
        "machine room drone",
        "ship engine room",
    ],
    "mud pots": ["mud bubbling and plopping", "thick bubbles bursting"],
    "night insects": ["insects at night", "steady insect drone in the dark", "summer night insects"],
    "ocean waves": [
        "ocean waves rolling onto a beach",
        "surf on the shore",
        "sea waves breaking",
        "waves washing over sand",
        "gentle sea at the coast",
        "swell crashing on the beach",
    ],
    "oven": ["an oven fan humming", "kitchen oven running"],
    "owl": [
        "an owl hooting",
        "a tawny owl calling at night",
        "single tawny owl hoot",
        "distant owl answering",
        "hoot of an owl",
    ],
    "quiet countryside": ["quiet countryside", "still fields with a distant hum", "calm rural afternoon"],
    "quiet night": ["a quiet night outdoors", "hushed still night air", "silent night with a soft low rumble"],
    "rain": ["rain falling", "steady rain", "rain at night", "rainy day", "moderate rainfall", "rain in the city"],
    "rain on leaves": [
        "rain falling on leaves",
        "rain in a forest",
        "raindrops dripping through foliage",
        "light drizzle pattering on leaves",
        "wet forest",
    ],
    "rain on roof": ["rain on a roof heard from inside", "rain beating on the house", "rain on a tin roof"],
    "rain on tent": ["rain drumming on a tent", "raindrops on canvas", "camping in the rain"],
    "rain on window": ["rain on a window", "rain against the glass pane", "rainy window from indoors"],
    "refrigerator": ["a refrigerator humming", "fridge hum in the kitchen", "vending machine hum"],
    "restaurant": [
        "a busy restaurant",
        "people dining with clinking dishes",
        "café chatter with cups and plates",
        "coffee shop with clinking cups",
        "murmur of a café",
    ],
    "river": ["a rushing river", "turbulent river flowing", "wide river current"],
    "room tone": ["quiet indoor room tone", "an empty room", "hushed interior"],
    "seagulls": ["seagulls calling", "gulls crying over the harbour", "a gull screeching"],
    "singing bowl": ["a singing bowl ringing", "deep gong struck and left to ring", "meditation bowl"],
    "single bird": [
        "a single bird singing",
        "one bird calling",
        "a blackbird singing alone",
        "a cuckoo calling",
        "bird calling at intervals",
        "lone songbird",
    ],
    "spaceship hum": [
        "spaceship engine hum",
        "deep pulsing hum of a starship",
        "science fiction engine room",
        "low thrum of a space station",
    ],
    "steam": ["hissing steam", "water poured on hot stones", "steam in a sauna"],
    "steam vent": ["a roaring steam vent", "steam hissing under pressure", "jet of steam"],
    "stream": [
        "a babbling brook",
        "a small stream over stones",
        "trickling creek",
        "gentle running water",
        "water flowing in a forest stream",
    ],
    "subway station": ["an underground train station", "metro platform with ventilation noise", "subway hall"],
    "summer insects": [
        "grasshoppers in summer grass",
        "insects in the warm sun",
        "meadow insects at midday",
        "warm midday insects in the sun",
    ],
    "tape hiss": ["tape hiss", "cassette noise", "soft hiss of a recording"],
    "thunder": [
        "thunder rolling",
        "a clap of thunder",
        "close thunder crack",
        "long rolling distant thunder",
        "thunder rumbling far away",
        "lightning strike",
    ],
    "thunderstorm": [
        "a thunderstorm with rain",
        "storm with thunder and heavy rain",
        "rain and rumbling thunder",
        "thunder and lightning over pouring rain",
    ],
    "traffic": [
        "traffic on a road",
        "cars passing by",
        "distant motorway",
        "road noise",
        "highway with cars rushing past",
        "vehicles on a wet street",
    ],
    "train interior": [
        "inside a train carriage",
        "train wheels clattering over rails",
        "rhythmic clickety clack of a train",
        "riding in a night train",
        "sleeper train compartment",
    ],
    "train passing": ["a train passing by", "freight train rolling past with its horn", "locomotive going by"],
    "underwater": ["underwater ambience", "muffled sounds under water", "deep sea rumble with bubbles", "submerged"],
    "vinyl crackle": ["vinyl record crackle", "old record player noise", "dusty needle crackling"],
    "washing machine": ["a washing machine", "laundry machine rinsing", "washing cycle"],
    "waterfall": ["a waterfall", "water crashing down a cliff", "roaring cascade", "falls plunging into a pool"],
    "white noise": ["white noise", "television static", "hissing static"],
    "wildfire": ["a large fire roaring", "forest fire crackling"],
    "wind": ["wind blowing", "gusts of wind", "a breezy day", "strong wind", "soft wind", "breeze over open land"],
    "wind chimes": ["wind chimes tinkling", "chimes in the breeze"],
    "wind in trees": [
        "wind rustling the leaves",
        "breeze in the trees",
        "a few leaves stirring in still air",
        "steady breeze through a leafy canopy",
        "rustling foliage",
        "treetops swaying in the wind",
    ],
    "winter ambience": ["quiet winter landscape", "snowy day with soft wind", "cold still winter air"],
    "wolf": ["a wolf howling", "howl of a lone wolf"],
    # procedural additions
    "drips": ["water dripping", "single drops falling into water", "a dripping tap", "drops echoing in a cave"],
    "keyboard": ["typing on a keyboard", "office keyboard clicks", "someone typing at a computer"],
    "pink noise": ["pink noise", "balanced soft noise"],
    "vacuum cleaner": ["a vacuum cleaner running", "vacuuming the carpet", "hoovering the flat"],
    "library": ["a quiet library with pages being turned", "reading room", "someone leafing through a book"],
    "office": ["a quiet office with people typing", "open plan office ambience", "office at work"],
}
"""Label → what people call it."""

ONE_SHOT_LABELS = {
    "owl", "thunder", "church bells", "seagulls", "single bird", "footsteps on leaves", "wolf", "drips", "coyotes",
    "geese", "singing bowl", "ice", "footsteps on gravel", "horse wagon", "train passing", "crowd", "electric buzz",
}  # fmt: skip

_INTENSITY = ["", "", "", "soft ", "gentle ", "quiet ", "loud ", "steady ", "continuous ", "faint "]
_DISTANCE = ["", "", "", "", " in the distance", " far away", " close by", " nearby", " all around"]
SETTINGS = [
    "field recording in an old beech forest", "deep night, hushed", "first light, damp", "overcast, everything wet",
    "warm midday, insects in the sun", "field recording", "a small café on a rainy evening", "late evening",
    "a rocky shore at low tide", "night train through the country", "outdoors", "indoors", "early morning",
    "in the city", "recorded at night", "high quality stereo recording", "calm", "storm", "summer", "winter",
    "in a quiet room", "by the sea", "in the mountains", "wide stereo ambience", "afternoon", "empty street",
]  # fmt: skip


def _article(text: str) -> str:
    for article in ("a ", "an ", "the "):
        if text.startswith(article):
            return text[len(article) :]
    return text


def single(phrase: str, rng: np.random.Generator) -> str:
    """One way to say a phrase, often with settings behind it, as scenes compose their prompts."""
    text = phrase.rstrip(".")
    intensity = str(rng.choice(_INTENSITY))
    if intensity and rng.random() < 0.6:
        text = intensity + _article(text[0].lower() + text[1:])
    if rng.random() < 0.5:
        text += str(rng.choice(_DISTANCE))
    kind = rng.random()
    if kind < 0.15:
        text = str(rng.choice(["the sound of ", "ambience of ", "recording of ", "sounds of "])) + text
    for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.25, 0.25]))):
        text += ", " + str(rng.choice(SETTINGS))
    return text


def mixture(one: str, two: str, rng: np.random.Generator) -> str:
    """Two phrases heard at once."""
    words = str(rng.choice([" with ", " and ", " and ", " while ", ", "]))
    text = one.rstrip(".") + words + two.rstrip(".")
    if rng.random() < 0.4:
        text += ", " + str(rng.choice(SETTINGS))
    return text


def variants(label: str, captions: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` ways to say a label."""
    phrases = [*PHRASES.get(label, [label]), label, *captions]
    plain = [p.rstrip(".") for p in phrases]
    return plain + [single(str(rng.choice(phrases)), rng) for _ in range(max(0, count - len(plain)))]
