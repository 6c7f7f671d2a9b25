"""A first scene from one line: what the description names becomes layers, the rest colours their prompts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

__all__ = ["draft_scene"]


@dataclass(frozen=True, slots=True)
class _Sound:
    """Something that a description may name."""

    layer: str
    words: str
    """Beginnings of words that mean it, separated by spaces."""
    prompts: tuple[str, ...]
    """A ladder from little to much for a bed; variants for single events."""
    family: str
    every: str = ""
    """Interval of single events; empty for a bed."""
    distance: str = "[5, 40]"
    level: int = 0


_SOUNDS = (
    _Sound(
        "rain",
        "rain drizzl shower wet downpour storm monsoon",
        ("light drizzle", "steady rain", "heavy rain pouring"),
        "geo",
    ),
    _Sound(
        "wind",
        "wind breez gust gale storm blizzard squall draught moor mountain",
        ("soft wind", "wind blowing", "howling wind"),
        "geo",
        level=-3,
    ),
    _Sound(
        "leaves",
        "forest wood tree leaf leaves grove orchard park jungle",
        ("a few leaves stirring in still air", "wind rustling the leaves", "treetops swaying in the wind"),
        "geo",
    ),
    _Sound(
        "waves",
        "sea ocean beach shore coast wave surf bay tide island",
        ("gentle sea at the coast", "waves washing over sand", "swell crashing on the beach"),
        "geo",
    ),
    _Sound(
        "water",
        "harbour harbor lake quay pier boat dock pond marina canal",
        ("ripples on a quiet quay", "small waves lapping on a lake shore", "water lapping against a wooden boat"),
        "geo",
    ),
    _Sound(
        "stream",
        "stream brook creek river rivulet spring valley",
        ("trickling creek", "a small stream over stones", "a rushing river"),
        "geo",
    ),
    _Sound("falls", "waterfall cascade falls gorge", ("a waterfall", "water crashing down a cliff"), "geo"),
    _Sound(
        "fire",
        "fire camp hearth stove cabin ember",
        ("embers snapping indoors", "a log fire in a fireplace", "crackling flames"),
        "anthro",
    ),
    _Sound(
        "birds",
        "bird dawn morning garden spring meadow lark robin",
        ("one bird calling", "birds singing", "dawn chorus of many birds"),
        "bio",
        level=-4,
    ),
    _Sound(
        "insects",
        "insect cricket summer night meadow grass cicada desert evening",
        ("insects at night", "crickets chirping at night", "steady trill of crickets"),
        "bio",
        level=-6,
    ),
    _Sound("frogs", "frog swamp marsh pond", ("toads calling", "frogs croaking in a pond"), "bio", level=-4),
    _Sound(
        "people",
        "people crowd cafe café restaurant bar pub market square foyer party",
        ("people chatting in a bar", "a busy restaurant", "murmur of many voices"),
        "anthro",
        level=-4,
    ),
    _Sound(
        "typing",
        "office library desk keyboard study",
        ("someone typing at a computer", "typing on a keyboard"),
        "anthro",
        level=-8,
    ),
    _Sound(
        "street",
        "city street town traffic road motorway car urban",
        ("distant motorway", "traffic on a road", "a city street"),
        "anthro",
        level=-3,
    ),
    _Sound(
        "train",
        "train railway carriage compartment sleeper",
        ("inside a train carriage", "train wheels clattering over rails"),
        "anthro",
    ),
    _Sound(
        "machines",
        "ship space engine factory machine station submarine lab",
        ("spaceship engine hum", "machine room drone", "industrial hum"),
        "anthro",
    ),
    _Sound("cave", "cave cavern grotto underground mine tunnel", ("inside a cave", "water echoing in a cavern"), "geo"),
    _Sound(
        "depths", "underwater diving deep sea submarine", ("underwater ambience", "deep sea rumble with bubbles"), "geo"
    ),
    _Sound(
        "room",
        "room library museum church empty attic cellar house",
        ("quiet indoor room tone", "an empty room"),
        "anthro",
        level=-8,
    ),
    _Sound(
        "thunder",
        "thunder storm lightning",
        ("long rolling distant thunder", "close thunder crack"),
        "geo",
        "[20s, 90s]",
        "[300, 2500]",
    ),
    _Sound("owl", "owl wood", ("single tawny owl hoot", "distant owl answering"), "bio", "[25s, 2m]", "[20, 80]"),
    _Sound(
        "gulls",
        "gull harbour harbor sea beach port pier",
        ("a gull screeching", "gulls crying over the harbour"),
        "bio",
        "[10s, 1m]",
        "[15, 80]",
    ),
    _Sound("bells", "bell church village abbey", ("a church bell striking",), "anthro", "[3m, 8m]", "[80, 400]"),
    _Sound(
        "drops",
        "drip cave cellar drop tunnel mine",
        ("single drops falling into water",),
        "geo",
        "[2s, 12s]",
        "[2, 15]",
    ),
    _Sound("steps", "step walk gravel path street", ("footsteps on gravel",), "anthro", "[40s, 3m]", "[4, 20]"),
    _Sound("wolf", "wolf wolves tundra wilderness", ("howl of a lone wolf",), "bio", "[90s, 5m]", "[150, 600]"),
)
_STATES = (
    ("calm", "calm and quiet"),
    ("usual", "at its usual pace"),
    ("lively", "lively, all around"),
    ("wild", "loud and close"),
    ("hushed", "hushed, far away"),
    ("restless", "restless, changing"),
)
MOST_STATES = len(_STATES)
MOST_BEDS = 4


def _named(sound: _Sound, description: str) -> int | None:
    """Where a description names a sound; None where it does not."""
    starts = "|".join(map(re.escape, sound.words.split()))
    found = re.search(rf"\b(?:{starts})", description, re.IGNORECASE)
    return found.start() if found else None


def draft_scene(description: str, states: int = 3) -> str:
    """A commented scene file, always valid, for a description such as "a rainy harbour at night".

    ``states``: 1 to MOST_STATES. Raises ValueError for another number or an empty description.
    """
    told = "".join(c for c in " ".join(description.split()) if c.isprintable())[:200].strip()
    if not told:
        raise ValueError('say what it should sound like, such as "a rainy harbour at night"')
    if not 1 <= states <= MOST_STATES:
        raise ValueError(f"a draft has 1 to {MOST_STATES} states, not {states}")
    named = [(at, sound) for sound in _SOUNDS if (at := _named(sound, told)) is not None]
    named.sort(key=lambda pair: pair[0])
    beds = [s for _, s in named if not s.every][:MOST_BEDS]
    shots = [s for _, s in named if s.every][:3]
    lines = [
        f"# {told}",
        "# A first draft: `ambient play FILE`, and change it while it plays. `ambient check FILE` finds mistakes.",
        "scene: 1",
        f"setting: {json.dumps(told, ensure_ascii=False)}   # joins the prompt of every bed",
        "avoid: music, speech" if not any(s.layer == "people" for s in beds) else "avoid: music",
        "",
        "params:",
        "  # how much is going on: set it from the page or a game; left alone, it wanders",
        "  energy: {start: 0.4, smooth: [4s, 12s], wander: {depth: 0.3, period: 6m}}",
        "",
        "events:",
        "  surge: {set: {energy: 1}, hold: 20s}   # fire it and listen",
        *(f"  {s.layer}_now: {{fire: {s.layer}}}" for s in shots),
        "",
        "layers:",
    ]
    if not beds:  # nothing in it is known: the description itself is the sound
        lines += ["  bed:", f"    prompt: {json.dumps(told, ensure_ascii=False)}"]
        lines += ["    intensity: {by: energy, curve: [[0, 0.4], [1, 1]]}"]
    for bed in beds:
        lines += [f"  {bed.layer}:", f"    family: {bed.family}"]
        if bed.level:
            lines.append(f"    level: {bed.level}")
        lines += ["    intensity: {by: energy, curve: [[0, 0.2], [1, 1]]}", "    prompt:   # from little to much"]
        last = max(1, len(bed.prompts) - 1)
        lines += [f"      - {{at: {0.2 + 0.8 * i / last:.2g}, text: {text}}}" for i, text in enumerate(bed.prompts)]
    for shot in shots:
        lines += [
            f"  {shot.layer}:",
            f"    family: {shot.family}",
            "    role: signal",
            f"    prompt: [{', '.join(shot.prompts)}]",
            f"    scatter: {{every: {shot.every}, distance: {shot.distance}, azimuth: [-80, 80], gain: [-6, 0]}}",
        ]
    lines += ["", "states:"]
    chosen = _STATES[:states]
    for i, (name, setting) in enumerate(chosen):
        lines += [f"  {name}:", f"    setting: {setting}"]
        if name in ("calm", "hushed") and shots:
            lines.append(f"    layers: {{{shots[0].layer}: {{mute: true}}}}")
        if states > 1:
            to = chosen[(i + 1) % states][0]
            lines.append(f"    transitions: [{{to: {to}, after: [4m, 9m], over: 45s}}]")
    return "\n".join(lines) + "\n"
