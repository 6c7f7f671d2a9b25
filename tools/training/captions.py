"""What people call sounds: phrases for each label, and ways to say them.

Phrases marked as everyday ones for the evaluation live in ``phrases.py`` and must not appear here.
"""

from __future__ import annotations

import numpy as np

__all__ = ["ONE_SHOT_LABELS", "PHRASES", "PLACES", "SETTINGS", "mixture", "single", "variants"]

PHRASES: dict[str, list[str]] = {
    "air conditioner": [
        "air conditioner running",
        "air conditioning unit humming",
        "steady flow of cool air from a vent",
        "ventilation hum",
        "cool air blowing out of a wall unit",
        "climate control droning in a hotel room",
    ],
    "airplane cabin": [
        "inside an airplane cabin in flight",
        "jet engine roar inside a plane",
        "flying on an airliner",
        "the cabin of a jet at cruising height",
        "a long flight with steady engine noise",
    ],
    "airplane passing": [
        "a small plane flying overhead",
        "propeller aircraft passing in the sky",
        "an aeroplane crossing the sky",
        "a light aircraft droning past",
    ],
    "animals": [
        "large animals grazing",
        "cattle breathing and tearing grass",
        "cows chewing in a pasture",
        "livestock breathing in a stable",
    ],
    "aquarium": [
        "a bubbling fish tank",
        "aquarium pump humming with small bubbles",
        "an air pump bubbling in a tank",
        "bubbles rising in a fish bowl",
    ],
    "bees": [
        "bees buzzing",
        "a swarm of insects humming around flowers",
        "a bumblebee near a blossom",
        "beehive",
        "honeybees at the hive",
        "pollinators busy in the flower bed",
        "a hornet circling",
    ],
    "birdsong": [
        "birds singing",
        "songbirds chirping in the trees",
        "birdsong in a park",
        "garden birds",
        "many birds twittering in a forest",
        "robins and finches singing in spring",
        "forest birds by day",
        "little birds chattering in the bushes",
        "a thrush and a wren in the garden",
        "birds in the woods on a May morning",
        "tits and chaffinches calling",
    ],
    "boat": [
        "water lapping against a wooden boat",
        "a moored boat creaking on the water",
        "boat hull creaking on gentle waves",
        "a dinghy rocking at its mooring",
        "ropes and planks creaking in a marina",
    ],
    "brown noise": [
        "brown noise",
        "deep smooth low noise",
        "soft deep rumble of noise",
        "a deep even rushing to sleep by",
        "dark rumbling noise",
    ],
    "campfire": [
        "a campfire crackling",
        "wood burning outdoors",
        "camp fire with popping embers",
        "bonfire at night",
        "crackling flames",
        "a fire pit with snapping sticks",
        "sparks flying up from burning branches",
        "blazing brushwood",
    ],
    "car interior": [
        "inside a car driving",
        "steady drone inside a moving car",
        "driving along a country road with the windows shut",
        "the hum of tyres heard from the passenger seat",
    ],
    "cat purring": [
        "a cat purring",
        "a purring kitten close by",
        "contented cat",
        "a happy cat on the lap",
        "a kitten humming itself to sleep",
    ],
    "cave": [
        "inside a cave",
        "water echoing in a cavern",
        "dark underground space with a low rumble",
        "dripping cavern",
        "echoing grotto",
        "a vault of stone with falling drops",
        "deep in a mine",
        "an underground lake",
    ],
    "church bells": [
        "church bells ringing",
        "bells tolling from a tower",
        "a church bell striking",
        "pealing bells",
        "the minster ringing for mass",
        "a carillon over the town",
        "the tower clock striking noon",
    ],
    "cicadas": [
        "cicadas buzzing in the heat",
        "a shrill chorus of cicadas",
        "cicadas on a hot afternoon",
        "loud insects in the olive trees at noon",
        "a Mediterranean afternoon full of cicadas",
    ],
    "city street": [
        "a city street",
        "busy town with people and vehicles",
        "urban ambience",
        "downtown hum",
        "a boulevard at rush hour",
        "passers-by and cars in the centre of town",
        "a lively square",
    ],
    "clock": [
        "a clock ticking",
        "a watch ticking quickly",
        "ticking of a wall clock",
        "the mantel clock in a silent parlour",
        "a pendulum going back and forth",
        "the second hand of an alarm clock",
    ],
    "clothes dryer": [
        "a clothes dryer running",
        "tumbling drum of a dryer",
        "laundry room rumble",
        "wet laundry turning round in a drum",
        "a spinning dryer in the basement",
    ],
    "construction site": [
        "a construction site with hammering",
        "building works and machines",
        "hammering and drilling",
        "workers with jackhammers and saws",
        "excavators digging up the road",
    ],
    "coyotes": [
        "coyotes howling and yipping",
        "a pack of wild dogs howling",
        "prairie dogs of the night howling in a chorus",
        "yelping in the desert at night",
    ],
    "crickets": [
        "crickets chirping at night",
        "night crickets in the grass",
        "a warm night with crickets",
        "steady trill of crickets",
        "a lawn full of chirping after sunset",
        "field crickets under the stars",
    ],
    "crowd": [
        "a crowd of people talking",
        "people chatting in a bar",
        "murmur of many voices",
        "lively chatter of guests",
        "party babble",
        "guests talking at a reception",
        "a full hall before the concert",
        "voices of many people at a market",
        "conversation in a tavern",
    ],
    "dawn chorus": [
        "dawn chorus of many birds",
        "birds greeting the sunrise",
        "dawn chorus of robins and blackbirds",
        "early morning birdsong",
        "all the birds of the wood at first light",
        "song at daybreak in spring",
    ],
    "drizzle": [
        "light drizzle",
        "a few raindrops falling",
        "fine light rain",
        "gentle drizzle pattering",
        "soft spring rain",
        "barely raining",
        "thin misty rain",
        "scattered drops on the pavement",
        "a light shower passing",
    ],
    "drone": [
        "a low dark drone",
        "haunting hum",
        "glassy resonant tone",
        "ominous drone",
        "an endless dark chord",
        "brooding deep tone",
    ],
    "electric buzz": [
        "electricity buzzing and zapping",
        "electrical sparks crackling",
        "buzzing power line",
        "a faulty neon tube",
        "high voltage crackling",
    ],
    "electric hum": [
        "mains hum",
        "electrical transformer humming",
        "low electric hum",
        "a substation humming",
        "the fifty hertz buzz of an amplifier",
    ],
    "engine idle": [
        "a car engine idling",
        "idling motor",
        "a car standing with its engine running",
        "a diesel waiting at the kerb",
    ],
    "fan": [
        "a fan blowing",
        "computer fan humming",
        "whirr of a small fan",
        "electric fan in a bedroom",
        "a ventilator turning in the bedroom",
        "a laptop cooling itself",
        "a desk fan on a hot night",
    ],
    "farm": [
        "a farmyard with animals",
        "chickens, sheep and birds on a farm",
        "rural barnyard",
        "hens and a cockerel in the yard",
        "pigs and sheep behind the barn",
    ],
    "film static": [
        "old film projector hiss",
        "film reel crackle",
        "an old newsreel running",
        "scratches of worn celluloid",
    ],
    "fireplace": [
        "a log fire in a fireplace",
        "crackling hearth",
        "wood fire popping in a stove",
        "cosy fireplace",
        "embers snapping indoors",
        "a stove with glowing wood",
        "an evening by the hearth",
        "a log popping behind the fire screen",
    ],
    "footsteps in grass": [
        "walking through tall grass",
        "footsteps in dry grass",
        "someone crossing a meadow on foot",
        "steps through long stalks",
    ],
    "footsteps in water": [
        "wading through shallow water",
        "splashing footsteps",
        "someone walking in a stream",
        "steps through puddles",
        "somebody crossing a ford",
    ],
    "footsteps on gravel": [
        "footsteps on gravel",
        "walking on a gravel path",
        "crunching steps on small stones",
        "boots on pebbles",
        "someone coming up the drive",
        "a walker on a stony path",
    ],
    "footsteps on leaves": [
        "walking on dry leaves",
        "footsteps rustling fallen leaves",
        "one dry twig snapping underfoot",
        "strolling through autumn foliage",
        "crisp leaves under boots",
    ],
    "footsteps on snow": [
        "footsteps crunching in snow",
        "walking through fresh snow",
        "boots in deep powder",
        "a winter hike on packed snow",
    ],
    "frogs": [
        "frogs croaking in a pond",
        "a chorus of frogs at night",
        "toads calling",
        "marsh full of frogs",
        "amphibians in the reeds at night",
        "bullfrogs at the water's edge",
        "a toad pond in spring",
    ],
    "geese": [
        "geese honking",
        "a flock of wild geese on the water",
        "wildfowl gathering on a lake",
        "migrating geese overhead",
    ],
    "geyser": [
        "a geyser erupting",
        "hot water spurting and splashing",
        "roaring jet of steam and water",
        "a fountain of boiling water shooting up",
        "hot water thrown into the air",
    ],
    "hail": [
        "hail falling",
        "hailstones pelting a roof",
        "ice pellets rattling down",
        "icy grains drumming down",
        "a hail shower on the car roof",
    ],
    "heavy rain": [
        "heavy rain pouring",
        "a downpour",
        "torrential rain drumming",
        "pouring rain in a storm",
        "torrential rain drumming on a forest floor",
        "it is raining cats and dogs",
        "sheets of rain lashing down",
        "a violent shower",
        "tropical rain bucketing down",
    ],
    "helicopter": ["a helicopter hovering", "rotor blades beating", "a chopper circling above", "a rescue helicopter"],
    "horse wagon": [
        "a horse drawn wagon rattling past",
        "hooves and cart wheels",
        "a carriage and pair on cobblestones",
        "trotting horses pulling a coach",
    ],
    "hot spring": [
        "a bubbling hot spring",
        "boiling pool",
        "water bubbling and gurgling",
        "gurgling hot water",
        "simmering thermal water",
        "a pot of water boiling",
    ],
    "howling wind": [
        "howling wind",
        "a gale moaning",
        "fierce wind in a snowstorm",
        "blizzard",
        "violent gusts roaring through trees",
        "a storm whistling round the house",
        "a hurricane raging",
        "icy wind screaming over the ridge",
        "tearing gusts on an exposed headland",
    ],
    "ice": [
        "ice cracking and groaning on a frozen lake",
        "pinging lake ice",
        "a frozen pond booming",
        "sheets of ice shifting",
    ],
    "jungle": [
        "a tropical rainforest",
        "jungle with birds and insects",
        "humid rainforest ambience",
        "the Amazon by day",
        "exotic birds under dense canopy",
    ],
    "lake shore": [
        "small waves lapping on a lake shore",
        "calm water at a harbour",
        "ripples on a quiet quay",
        "wavelets against the jetty",
        "still water slapping at the bank",
    ],
    "machinery": [
        "a machine whirring and clattering",
        "factory machine",
        "sorting machine rattling",
        "3d printer working",
        "a loom at work",
        "gears and belts of a workshop",
        "an assembly line",
    ],
    "machinery hum": [
        "a motor humming",
        "compressor running",
        "industrial hum",
        "machine room drone",
        "ship engine room",
        "a generator running next door",
        "the boiler room",
        "pumps thrumming in a plant",
    ],
    "mud pots": ["mud bubbling and plopping", "thick bubbles bursting", "boiling mud", "a swamp letting off gas"],
    "night insects": [
        "insects at night",
        "steady insect drone in the dark",
        "summer night insects",
        "a dark garden full of insects",
        "nocturnal bugs droning",
    ],
    "ocean waves": [
        "ocean waves rolling onto a beach",
        "surf on the shore",
        "sea waves breaking",
        "waves washing over sand",
        "gentle sea at the coast",
        "swell crashing on the beach",
        "breaking waves at the seaside",
        "the sea at high water",
        "rollers pounding a reef",
        "foam running up the beach",
        "the Pacific at dusk",
    ],
    "oven": ["an oven fan humming", "kitchen oven running", "a baking oven with its fan on", "roasting in the kitchen"],
    "owl": [
        "an owl hooting",
        "a tawny owl calling at night",
        "single tawny owl hoot",
        "distant owl answering",
        "hoot of an owl",
        "a barn owl in the ruins",
        "a bird of prey hooting from the wood at midnight",
    ],
    "quiet countryside": [
        "quiet countryside",
        "still fields with a distant hum",
        "calm rural afternoon",
        "open farmland with nothing going on",
        "fields in the evening calm",
    ],
    "quiet night": [
        "a quiet night outdoors",
        "hushed still night air",
        "silent night with a soft low rumble",
        "a garden when everybody is asleep",
        "nothing stirring at three in the morning",
    ],
    "rain": [
        "rain falling",
        "steady rain",
        "rain at night",
        "rainy day",
        "moderate rainfall",
        "rain in the city",
        "showers during the afternoon",
        "it is raining outside",
        "water falling from a grey sky",
        "a wet evening in town",
    ],
    "rain on leaves": [
        "rain falling on leaves",
        "rain in a forest",
        "raindrops dripping through foliage",
        "light drizzle pattering on leaves",
        "wet forest",
        "showers on the greenwood",
        "rain in the beeches",
        "drops pattering down through branches",
    ],
    "rain on roof": [
        "rain on a roof heard from inside",
        "rain beating on the house",
        "rain on a tin roof",
        "rain overhead in the attic",
        "a shower on the slates",
        "rain on corrugated iron",
    ],
    "rain on tent": [
        "rain drumming on a tent",
        "raindrops on canvas",
        "camping in the rain",
        "a wet night under canvas",
        "drops on a tarpaulin",
        "rain on an awning",
    ],
    "rain on window": [
        "rain on a window",
        "rain against the glass pane",
        "rainy window from indoors",
        "drops running down the panes",
        "bad weather seen from the study",
    ],
    "refrigerator": [
        "a refrigerator humming",
        "fridge hum in the kitchen",
        "vending machine hum",
        "the freezer in the pantry",
        "a humming cooler in a shop",
    ],
    "restaurant": [
        "a busy restaurant",
        "people dining with clinking dishes",
        "café chatter with cups and plates",
        "coffee shop with clinking cups",
        "murmur of a café",
        "lunch in a busy bistro",
        "cutlery and plates in a dining room",
        "the canteen at noon",
        "a coffee house in the afternoon",
    ],
    "river": [
        "a rushing river",
        "turbulent river flowing",
        "wide river current",
        "a strong current after the thaw",
        "a broad stream rushing by",
        "rough water between boulders",
    ],
    "room tone": ["quiet indoor room tone", "an empty room", "hushed interior", "nobody in the flat", "a silent hall"],
    "seagulls": [
        "seagulls calling",
        "gulls crying over the harbour",
        "a gull screeching",
        "sea birds quarrelling on the pier",
        "terns and gulls at the coast",
    ],
    "singing bowl": [
        "a singing bowl ringing",
        "deep gong struck and left to ring",
        "meditation bowl",
        "a temple gong",
        "a bronze bowl humming for meditation",
    ],
    "single bird": [
        "a single bird singing",
        "one bird calling",
        "a blackbird singing alone",
        "a cuckoo calling",
        "bird calling at intervals",
        "lone songbird",
        "a robin by itself",
        "a thrush on the roof ridge",
        "one chaffinch repeating its call",
    ],
    "spaceship hum": [
        "spaceship engine hum",
        "deep pulsing hum of a starship",
        "science fiction engine room",
        "low thrum of a space station",
        "aboard an interstellar vessel",
        "the reactor of a space cruiser",
    ],
    "steam": [
        "hissing steam",
        "water poured on hot stones",
        "steam in a sauna",
        "a kettle letting off steam",
        "an espresso machine hissing",
    ],
    "steam vent": [
        "a roaring steam vent",
        "steam hissing under pressure",
        "jet of steam",
        "pressure escaping from a pipe",
        "a valve blowing off",
    ],
    "stream": [
        "a babbling brook",
        "a small stream over stones",
        "trickling creek",
        "gentle running water",
        "water flowing in a forest stream",
        "a rill in the moss",
        "clear water running between stones",
        "a beck in the hills",
        "a spring bubbling down the slope",
    ],
    "subway station": [
        "an underground train station",
        "metro platform with ventilation noise",
        "subway hall",
        "waiting for the underground",
        "the tube platform at night",
    ],
    "summer insects": [
        "grasshoppers in summer grass",
        "insects in the warm sun",
        "meadow insects at midday",
        "warm midday insects in the sun",
        "a meadow humming in July",
        "a field of grasshoppers",
        "warm grass alive with insects",
    ],
    "tape hiss": [
        "tape hiss",
        "cassette noise",
        "soft hiss of a recording",
        "the rushing of an old recording",
        "a radio between two stations",
        "empty tape running",
    ],
    "thunder": [
        "thunder rolling",
        "a clap of thunder",
        "close thunder crack",
        "long rolling distant thunder",
        "thunder rumbling far away",
        "lightning strike",
        "a bolt striking close",
        "a peal of thunder across the valley",
        "the sky rumbling",
    ],
    "thunderstorm": [
        "a thunderstorm with rain",
        "storm with thunder and heavy rain",
        "rain and rumbling thunder",
        "thunder and lightning over pouring rain",
        "a tempest with lightning and rain",
        "stormy weather breaking over the plain",
        "an electrical storm",
    ],
    "traffic": [
        "traffic on a road",
        "cars passing by",
        "distant motorway",
        "road noise",
        "highway with cars rushing past",
        "vehicles on a wet street",
        "lorries on the main road",
        "an avenue with steady cars",
        "a bypass heard across the fields",
        "a multi-lane freeway",
    ],
    "train interior": [
        "inside a train carriage",
        "train wheels clattering over rails",
        "rhythmic clickety clack of a train",
        "riding in a night train",
        "sleeper train compartment",
        "on the rails in a compartment",
        "a coach swaying on the track",
        "commuting by rail",
    ],
    "train passing": [
        "a train passing by",
        "freight train rolling past with its horn",
        "locomotive going by",
        "wagons thundering through a station",
        "a locomotive pulling coaches past",
        "a fast train going through",
    ],
    "underwater": [
        "underwater ambience",
        "muffled sounds under water",
        "deep sea rumble with bubbles",
        "submerged",
        "diving beneath the surface",
        "the bottom of the sea",
    ],
    "vinyl crackle": [
        "vinyl record crackle",
        "old record player noise",
        "dusty needle crackling",
        "an LP before the music starts",
        "a worn gramophone disc",
    ],
    "washing machine": [
        "a washing machine",
        "laundry machine rinsing",
        "washing cycle",
        "laundry sloshing in the drum",
        "the spin cycle",
    ],
    "waterfall": [
        "a waterfall",
        "water crashing down a cliff",
        "roaring cascade",
        "falls plunging into a pool",
        "a torrent dropping over rocks",
        "white water plunging down",
        "falls in a mountain valley",
    ],
    "white noise": [
        "white noise",
        "television static",
        "hissing static",
        "snow on a television without a signal",
        "an even hiss of all frequencies",
    ],
    "wildfire": [
        "a large fire roaring",
        "forest fire crackling",
        "a house ablaze",
        "flames sweeping through dry brush",
    ],
    "wind": [
        "wind blowing",
        "gusts of wind",
        "a breezy day",
        "strong wind",
        "soft wind",
        "breeze over open land",
        "a fresh breeze on the hill",
        "blustery weather",
        "air moving over the moor",
        "a draughty plain",
    ],
    "wind chimes": [
        "wind chimes tinkling",
        "chimes in the breeze",
        "little bells on the porch",
        "bamboo and metal tubes stirred by the breeze",
    ],
    "wind in trees": [
        "wind rustling the leaves",
        "breeze in the trees",
        "a few leaves stirring in still air",
        "steady breeze through a leafy canopy",
        "rustling foliage",
        "treetops swaying in the wind",
        "poplars whispering",
        "boughs swaying",
        "the crowns of the beeches in a breeze",
        "leaves trembling on the twigs",
    ],
    "winter ambience": [
        "quiet winter landscape",
        "snowy day with soft wind",
        "cold still winter air",
        "frost over silent fields",
        "a white landscape under low cloud",
    ],
    "wolf": ["a wolf howling", "howl of a lone wolf", "a wolf pack at night", "a long howl from the hills"],
    # procedural additions
    "drips": [
        "water dripping",
        "single drops falling into water",
        "a dripping tap",
        "drops echoing in a cave",
        "a leaking pipe",
        "drop after drop into a basin",
        "melting icicles",
    ],
    "keyboard": [
        "typing on a keyboard",
        "office keyboard clicks",
        "someone typing at a computer",
        "a secretary typing a letter",
        "a programmer at work",
        "fast fingers on the keys",
    ],
    "pink noise": ["pink noise", "balanced soft noise", "a soft even rushing", "noise like steady rainfall"],
    "vacuum cleaner": [
        "a vacuum cleaner running",
        "vacuuming the carpet",
        "hoovering the flat",
        "cleaning the floor with a hoover",
        "a carpet being cleaned by machine",
    ],
    "library": [
        "a quiet library with pages being turned",
        "reading room",
        "someone leafing through a book",
        "students reading in silence",
        "paper rustling at a desk",
    ],
    "office": [
        "a quiet office with people typing",
        "open plan office ambience",
        "office at work",
        "colleagues at their desks",
        "a workplace with printers and telephones",
    ],
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


_PLACES = """\
forest birds by day: a forest; forest; the woods; woodland; a clearing in the forest
treetops swaying in the wind: a pine forest; fir trees; a grove
garden birds: a garden; garden; a backyard
birdsong in a park: a park; a city park
a meadow humming in July: a meadow; meadow; a prairie in summer
quiet countryside: a country lane
a fresh breeze on the hill: a mountain; mountains; a mountain top
air moving over the moor: a desert; the moors
voices of many people at a market: a market; a bazaar; a fair
marsh full of frogs: a swamp; a bog at night; wetlands
small waves lapping on a lake shore: a lake; a pond without a breeze
calm water at a harbour: a harbour; a marina
a large fire roaring: flames
cosy fireplace: a cabin in the mountains; a living room with a fire; a log cabin
an empty room: a bedroom
inside a cave: a dungeon; ruins; a tomb; a cellar vault
busy town with people and vehicles: a town; a shopping street
a city street: the city; a street
quiet winter landscape: snow; a snowy field
gentle running water: water; flowing water
"""
PLACES = {
    place: caption for row in _PLACES.splitlines() for caption, said in [row.split(": ")] for place in said.split("; ")
}
"""What names a place rather than a sound → the phrase of PHRASES that is heard there. Nothing is trained on it: the
model reads by it (`export`)."""


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
