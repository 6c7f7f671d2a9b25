"""Everyday phrases for the evaluation, and what a tagger (AudioSet classes) may call them. None is trained on."""

from __future__ import annotations

__all__ = ["ACCEPTED", "EXPECTED", "MEANT", "NAMED"]

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

_BUZZ = ("Bee, wasp, etc.", "Insect", "Buzz", "Fly, housefly", "Mosquito")
_STEP = ("Walk, footsteps", "Crunch", "Run", "Rustle", "Shuffle")
_ROAD = ("Vehicle", "Car", "Motor vehicle (road)", "Traffic noise, roadway noise", "Car passing by", "Truck")
_FIRE = ("Fire", "Crackle")
_NOISE = ("White noise", "Pink noise", "Noise", "Static", "Hiss", "Steam")
_BEAST = ("Animal", "Wild animals", "Dog", "Howl", "Canidae, dogs, wolves")
_BUBBLES = (*_WATER, "Boiling", "Fill (with liquid)", "Plop", "Slosh")

ACCEPTED: dict[str, tuple[str, ...]] = {
    "air conditioner": (*_MOTOR, "Air conditioning", *_NOISE),
    "airplane cabin": ("Aircraft", "Fixed-wing aircraft, airplane", "Jet engine", "Vehicle", *_NOISE),
    "airplane passing": (
        "Aircraft",
        "Fixed-wing aircraft, airplane",
        "Propeller, airscrew",
        "Aircraft engine",
        "Vehicle",
    ),
    "animals": ("Animal", "Livestock, farm animals, working animals", "Cattle, bovinae", "Domestic animals, pets"),
    "aquarium": _BUBBLES,
    "bees": _BUZZ,
    "birdsong": _BIRD,
    "boat": ("Boat, Water vehicle", "Rowboat, canoe, kayak", "Creak", *_WATER),
    "brown noise": (*_NOISE, "Rumble"),
    "campfire": _FIRE,
    "car interior": _ROAD,
    "cat purring": ("Purr", "Cat"),
    "cave": ("Drip", "Raindrop", "Water", "Rumble", "Echo", "Reverberation"),
    "church bells": ("Bell", "Church bell", "Chime", "Change ringing (campanology)"),
    "cicadas": _INSECT,
    "city street": (*_ROAD, *_SPEECH, "Outside, urban or manmade"),
    "clock": ("Tick", "Tick-tock", "Clock"),
    "clothes dryer": _MOTOR,
    "construction site": ("Tools", "Hammer", "Jackhammer", "Power tool", "Drill", *_MOTOR),
    "coyotes": _BEAST,
    "crickets": _INSECT,
    "crowd": _SPEECH,
    "dawn chorus": _BIRD,
    "drips": ("Drip", "Raindrop", "Water", "Plop", "Trickle, dribble", "Rain"),
    "drizzle": (*_RAIN, "Patter", "Drip"),
    "electric buzz": ("Buzz", "Hum", "Mains hum", "Crackle", "Static"),
    "electric hum": ("Hum", "Mains hum", *_MOTOR),
    "engine idle": (*_MOTOR, "Car"),
    "fan": (*_MOTOR, "Air conditioning", *_NOISE),
    "farm": ("Animal", "Livestock, farm animals, working animals", "Fowl", "Chicken, rooster", "Sheep", *_BIRD),
    "film static": (*_NOISE, *_FIRE),
    "fireplace": _FIRE,
    "footsteps in grass": _STEP,
    "footsteps in water": (*_STEP, *_WATER),
    "footsteps on gravel": _STEP,
    "footsteps on leaves": (*_STEP, "Crumpling, crinkling"),
    "footsteps on snow": _STEP,
    "frogs": ("Frog", "Croak", "Insect"),
    "geese": ("Goose", "Honk", "Duck", "Fowl", "Bird"),
    "geyser": (*_BUBBLES, "Steam", "Spray", "Eruption"),
    "hail": (*_RAIN, "Patter", "Clatter"),
    "heavy rain": (*_RAIN, "Water", "Waterfall"),
    "helicopter": ("Helicopter", "Aircraft"),
    "horse wagon": ("Horse", "Clip-clop"),
    "hot spring": _BUBBLES,
    "howling wind": (*_WIND, "Howl"),
    "ice": ("Crack", "Ping", "Creak", "Breaking"),
    "jungle": (*_BIRD, *_INSECT),
    "keyboard": ("Typing", "Computer keyboard", "Typewriter", "Clicking"),
    "lake shore": (*_SEA, *_WATER, "Boat, Water vehicle"),
    "library": (
        "Inside, small room",
        "Inside, large room or hall",
        "Rustle",
        "Crumpling, crinkling",
        "Writing",
        "Silence",
    ),
    "machinery": (*_MOTOR, "Whir", "Tools", "Printer"),
    "machinery hum": _MOTOR,
    "mud pots": _BUBBLES,
    "night insects": _INSECT,
    "ocean waves": ("Ocean", "Waves, surf"),
    "office": ("Typing", "Computer keyboard", "Inside, small room", "Clicking", *_SPEECH),
    "oven": _MOTOR,
    "owl": ("Owl", "Hoot", *_BIRD),
    "pink noise": _NOISE,
    "rain": _RAIN,
    "rain on leaves": _RAIN,
    "rain on roof": _RAIN,
    "rain on tent": _RAIN,
    "rain on window": _RAIN,
    "refrigerator": _MOTOR,
    "restaurant": (*_SPEECH, "Dishes, pots, and pans", "Cutlery, silverware"),
    "river": _WATER,
    "seagulls": _BIRD,
    "singing bowl": ("Singing bowl", "Bell", "Gong", "Music"),
    "single bird": _BIRD,
    "spaceship hum": (*_MOTOR, "Rumble", "Throbbing", "Sound effect"),
    "steam": (*_NOISE, *_WATER),
    "steam vent": (*_NOISE, "Waterfall"),
    "stream": _WATER,
    "subway station": (*_RAIL, *_SPEECH, "Vehicle"),
    "summer insects": _INSECT,
    "tape hiss": _NOISE,
    "thunder": (*_STORM, "Explosion", "Rumble"),
    "thunderstorm": (*_STORM, *_RAIN),
    "traffic": _ROAD,
    "train interior": (*_RAIL, "Vehicle"),
    "train passing": (*_RAIL, "Vehicle"),
    "underwater": ("Water", "Gurgling", "Whale vocalization", "Boat, Water vehicle"),
    "vacuum cleaner": ("Vacuum cleaner", *_MOTOR),
    "vinyl crackle": (*_FIRE, *_NOISE),
    "washing machine": (*_MOTOR, "Water"),
    "waterfall": ("Waterfall", "Water", "Stream", "Waves, surf", "Ocean"),
    "white noise": (*_NOISE, "Waterfall"),
    "wildfire": _FIRE,
    "wind": _WIND,
    "wind chimes": ("Wind chime", "Chime", "Bell", "Jingle, tinkle"),
    "wind in trees": _WIND,
    "wolf": _BEAST,
}
"""Label → classes of which one should be among the tagger's first five. Quiet rooms and nights have none."""

_NAMED = """\
rain, heavy rain, drizzle, rain on leaves, rain on roof, rain on tent, rain on window: a sprinkle on the skylight;
  pouring outside the kitchen window; teeming down on the tarpaulin; spitting on the pavement; a soaking downfall in
  the valley; torrents beating on the greenhouse; raindrops on a tin shed; precipitation over the moor; it is
  bucketing down on the car roof
rain, heavy rain, drizzle, rain on leaves, rain on roof, rain on tent, rain on window, drips: wet leaves dripping in
  a shower
stream, river, waterfall: a brooklet by the old mill; a burn tumbling down the glen; beck between mossy boulders;
  water purling over rocks; falls thundering into a pool; a torrent in the canyon; the weir behind the factory; a
  rill trickling down a meadow
ocean waves: swell breaking on the reef; combers on a shingle beach; the seaside in August; rollers pounding the
  pier; whitecaps off the coast
ocean waves, lake shore: high tide under the promenade
lake shore, boat, ocean waves: ripples lapping at the jetty
birdsong, single bird, dawn chorus: blackbirds after the frost; a lark above the field; a choir of finches by the
  cottage; tweeting from the rooftops; skylarks over the meadow; birdies in the backyard
birdsong, single bird, dawn chorus, owl: a woodpigeon in the elm
birdsong, single bird, dawn chorus, jungle: the aviary at feeding time
owl: a screech owl by the barn; hooting in the churchyard
seagulls: terns screaming over the harbour wall; herring gulls at the pier
seagulls, birdsong, single bird, dawn chorus: kittiwakes on a sea cliff
geese: wild geese flying south over the marsh; honking in the autumn sky
crickets, cicadas, summer insects, night insects: katydids in the hedge; creepy crawlies on an August night; bugs
  trilling under the porch
crickets, cicadas, summer insects, night insects, bees: a locust swarm in the field
frogs: toads in a ditch; ribbit ribbit by the lily pads
frogs, crickets, cicadas, summer insects, night insects: peepers in the bayou
thunder, thunderstorm, heavy rain: a storm breaking over the city
thunder, thunderstorm: flashes and bangs in the sky; distant booming before the rain
thunder, thunderstorm, howling wind, heavy rain: a tempest in the mountains
campfire, fireplace, wildfire: embers glowing in the hearth; kindling catching in the stove; a pyre on the beach at
  midsummer; flames licking at the pine needles
train interior, train passing, subway station: a commuter train over the points; locomotive passing through the
  village; the tube arriving at the platform; sleeper car at night; wheels clattering on rails
train interior, train passing, subway station, city street: a tram on its way downtown
bees: wasps at the jam jar; bumblebees in the clover; a hive in the apple orchard
wind, howling wind, wind in trees: a gale howling in the chimney; a breeze in the birch grove; gusts rattling the
  shutters; zephyr over the wheat; draughts in an empty corridor; leaves whispering overhead
wind, howling wind, wind in trees, winter ambience: a blizzard around the hut
cat purring: a contented pussycat on the sofa; kitten vibrating on my chest
clock: a pendulum in the hall; the second hand in a quiet room; an alarm clock on the nightstand
crowd, restaurant: guests chatting at a wedding; a full bar on Friday night; the foyer before the concert
crowd: an audience before the curtain
restaurant: diners in a bistro; a busy coffee shop
crowd, city street: a marketplace full of voices
church bells, wind chimes: cathedral chimes on Easter morning
church bells: a belfry calling to prayer; ding dong from the steeple
wind chimes: tinkling on the veranda in the wind
singing bowl: a Tibetan bowl being struck
refrigerator: the freezer in the corner shop
refrigerator, machinery hum, air conditioner: compressor behind the bar
air conditioner, fan: a ventilation shaft
fan, vacuum cleaner, air conditioner: a blower in the attic
vacuum cleaner: someone hoovering next door
clothes dryer, washing machine: the tumbler in the utility room
washing machine, clothes dryer: laundry on the spin cycle
engine idle, machinery, machinery hum: a lorry warming up
engine idle, car interior, traffic, city street: a taxi waiting with the engine on
machinery, machinery hum, engine idle: a diesel generator
traffic, city street: the ring road at five
traffic: an expressway behind the hotel
traffic, city street, airplane passing: a flyover in the distance
helicopter: rotor blades above the house
airplane passing: a biplane in the sky
airplane cabin: economy class on a long haul flight
car interior: on the passenger seat at ninety
vinyl crackle: crackly old gramophone; dust on a record
tape hiss: an empty cassette
white noise, tape hiss, film static: between stations on the wireless
film static: the projector in an old cinema
white noise, film static, tape hiss: a detuned television
footsteps on gravel, footsteps on leaves, footsteps on snow, footsteps in grass, footsteps in water: hiking boots on
  a cinder path; walking through autumn foliage; trudging across the frozen field; steps on a pebble beach
footsteps on gravel, footsteps on leaves, footsteps on snow, footsteps in grass, footsteps in water, lake shore:
  wading along the shore
horse wagon: hooves on cobbles; a coach and four
drips: a faucet leaking at night
drips, cave: plink plonk in the cellar
keyboard, office: a secretary at her desk; someone writing emails
office: an open plan workplace
library: a reading room
aquarium: a tank of guppies
underwater: below the surface of the pool
cave, drips: a grotto with falling drops
wolf, coyotes: a pack baying at the moon
coyotes, wolf: prairie wolves at dusk
jungle: the rainforest at noon
jungle, birdsong, single bird, dawn chorus: macaws and monkeys
farm: a barnyard in the morning
construction site: builders at work; jackhammers down the road
steam, steam vent, hot spring: a kettle boiling over
geyser: Old Faithful erupting
steam vent, geyser, hot spring, mud pots: fumaroles in the crater
hail: hailstones on the bonnet
ice: ice floes grinding
spaceship hum, drone: the warp core of a starship
electric hum, electric buzz: a transformer substation
boat: a fishing smack at anchor
boat, lake shore: a rowing boat on a lake
"""


def _rows(rows: str) -> dict[tuple[str, ...], tuple[str, ...]]:
    parted = [row.partition(": ") for row in rows.replace("\n  ", " ").strip().splitlines()]
    return {tuple(labels.split(", ")): tuple(phrases.split("; ")) for labels, _, phrases in parted}


NAMED = _rows(_NAMED)
"""Labels → phrases that name one of them: what the prompt encoder is judged by. None is trained on."""

_MEANT = """\
rain on roof, heavy rain, rain: a cloudburst over the rooftops
rain on window, rain: wet weather outside my window
rain, rain on tent, rain on leaves, drizzle: showers pattering on an umbrella
heavy rain: monsoon hammering the street
ocean waves: surf at a sandy bay; breakers rolling in from the Atlantic; the tide coming in
stream: a creek running through the woods
stream, river: mountain rivulet over pebbles
river, waterfall: whitewater rapids
waterfall: a cascade in a gorge
birdsong, dawn chorus: nightingales at sunrise; a wood full of warblers
single bird, birdsong: sparrows in the hedge
birdsong: feathered singers in an orchard
owl: an owl somewhere in the dark
seagulls: gulls above the fishing boats
cicadas: cicada song in Provence
summer insects, crickets: grasshoppers on a hot lawn
summer insects, night insects, crickets: a chirring summer evening full of insects
frogs: croaking at the pond after dark
thunder: a thunderclap overhead
thunder, thunderstorm: storm clouds grumbling over the hills
thunderstorm: lightning and thunder with a deluge
fireplace, campfire: logs burning in the grate
campfire, fireplace: a bonfire spitting sparks
train interior: railway carriage rattling along
train passing: an express roaring by
bees: bees around the lavender
howling wind, wind: a squall tearing at the cliffs
wind in trees, wind: foliage stirring in a draught of air
cat purring: the purring of an old tomcat
clock: tick tock of grandfather's timepiece
crowd, restaurant: people nattering in a pub
restaurant, crowd: hubbub of a cafeteria
church bells: chapel bells on a Sunday
refrigerator, air conditioner: the drone of a cooling unit
engine idle: a motorcar ticking over
white noise, tape hiss, film static: hiss of an untuned radio
footsteps on gravel: somebody strolling over shingle
"""


def _by_phrase(rows: str) -> dict[str, tuple[str, ...]]:
    return {phrase: labels for labels, phrases in _rows(rows).items() for phrase in phrases}


MEANT = _by_phrase(_MEANT)
"""Phrase of :data:`EXPECTED` → labels of the recordings that it describes, by which is told how often a tagger hears
the right thing in those. Nothing is trained on this either."""
