"""Scene files: every mistake at once, each where it stands, with what to write instead; and no input does harm."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.errors import SceneError
from ambient.scene import bundled_scenes, check_scene, find_scene, load_scene, parse_scene
from ambient.scene.loader import _parse

BASE = """scene: 1
params:
  wind: {start: 0.4}
events:
  gust: {set: {wind: 1}}
layers:
  leaves: leaves in the wind
  owl: {prompt: owl, scatter: {every: [5s, 9s]}}
states:
  calm:
    transitions: [{to: wild, when: wind > 0.7}]
  wild:
    transitions: [{to: calm, when: wind < 0.3}]
"""


def problems(text: str | bytes) -> list[str]:
    raw = text if isinstance(text, bytes) else text.encode()
    return [str(p) for p in _parse(raw, "s.yaml")[1]]


def test_three_lines_are_a_scene() -> None:
    scene = parse_scene("scene: 1\nstates:\n  forest: quiet beech forest at dawn\n")
    assert scene.first == "forest" and scene.loudness == -24
    assert [r.text for r in scene.layers["forest"].prompt] == ["quiet beech forest at dawn"]
    assert scene.warnings == ()


def test_the_base_scene_is_clean() -> None:
    assert problems(BASE) == []


def test_states_without_transitions_cycle() -> None:
    scene = parse_scene("scene: 1\nstates: {a: one, b: two, c: three}\n")
    assert [(s, t.to, t.after) for s, state in scene.states.items() for t in state.transitions] == [
        ("a", "b", [300, 600]),
        ("b", "c", [300, 600]),
        ("c", "a", [300, 600]),
    ]


MISTAKES = {
    "syntax": (
        "wind: {start: 0.4}",
        "wind: {start: 0.4",
        "s.yaml:4:7: error: this is not YAML: expected ',' or '}', but got ':'",
    ),
    "duplicate key": (
        "  leaves: leaves in the wind\n",
        "  leaves: a\n  leaves: b\n",
        "s.yaml:8:3: error: 'leaves' stands here twice; it is in line 7 already",
    ),
    "unknown key": ("{start: 0.4}", "{strat: 0.4}", "s.yaml:3:10: error: unknown key 'strat'; did you mean 'start'?"),
    "unknown key in a layer": (
        "{prompt: owl,",
        "{prompt: owl, intensty: 1,",
        "s.yaml:8:22: error: unknown key 'intensty'; did you mean 'intensity'?",
    ),
    "unknown state": ("to: wild", "to: wlid", "s.yaml:11:24: error: unknown state 'wlid'; did you mean 'wild'?"),
    "unknown event": (
        "when: wind > 0.7",
        "event: gsut",
        "s.yaml:11:37: error: unknown event 'gsut'; did you mean 'gust'?",
    ),
    "unknown layer": (
        "  wild:\n",
        "  wild:\n    layers: {leavs: {mute: true}}\n",
        "s.yaml:13:14: error: unknown layer 'leavs'; did you mean 'leaves'?",
    ),
    "unknown parameter in an event": (
        "{set: {wind: 1}}",
        "{set: {wnd: 1}}",
        "s.yaml:5:16: error: unknown parameter 'wnd'; did you mean 'wind'?",
    ),
    "unknown parameter in a condition": (
        "wind > 0.7",
        "wind > 0.7 and rian > 1",
        "s.yaml:11:51: error: unknown parameter 'rian'; parameters: wind",
    ),
    "wrong type": ("{start: 0.4}", "{start: much}", "s.yaml:3:17: error: 'much' is not a number"),
    "wrong choice": (
        "{prompt: owl,",
        "{prompt: owl, family: birds,",
        "s.yaml:8:30: error: 'birds' is not one of the choices; write geo, bio, anthro",
    ),
    "out of range": (
        "scene: 1\n",
        "scene: 1\nloudness: 3\n",
        "s.yaml:2:11: error: 3 is out of range; it must be at most -5",
    ),
    "intensity out of range": (
        "{prompt: owl,",
        "{prompt: owl, intensity: 2,",
        "s.yaml:8:33: error: intensity goes from 0 to 1, not 2; write a number between them",
    ),
    "missing unit": (
        "[5s, 9s]",
        "[5, 9s]",
        "s.yaml:8:40: error: a duration needs a unit; write 5s, or 5m for minutes",
    ),
    "reversed range": ("[5s, 9s]", "[9s, 5s]", "s.yaml:8:39: error: the range runs backwards; write [5s, 9s]"),
    "bad clock time": (
        "when: wind > 0.7",
        "at: 25:00",
        's.yaml:11:34: error: \'25:00\' is no clock time; write "HH:MM", such as "22:30"',
    ),
    "bad condition": (
        "wind > 0.7",
        "wind > 0.7 and 3",
        "s.yaml:11:51: error: a comparison is needed here; such as rain > 0.35",
    ),
    "bad condition in quotes": (
        "wind > 0.7",
        "'wind > 0.7 and 3'",
        "s.yaml:11:52: error: a comparison is needed here; such as rain > 0.35",
    ),
    "a number beyond all numbers": (
        "wind > 0.7",
        "wind > 1" + "0" * 400,
        "s.yaml:11:43: error: the number is too large",
    ),
    "a condition without bottom": (
        "wind > 0.7",
        "wind > " + "-" * 400 + "1",
        "s.yaml:11:36: error: the condition is nested too deeply",
    ),
    "a condition that is code": (
        "wind > 0.7",
        "open('x') > 1",
        "s.yaml:11:36: error: only parameters, numbers and + - * / may stand here",
    ),
    "assignment for comparison": (
        "wind > 0.7",
        "wind = 0.7",
        "error: 'wind = 0.7' is no condition; write == to compare",
    ),
    "no trigger": (
        ", when: wind > 0.7",
        "",
        "s.yaml:11:19: error: nothing triggers this transition; give `when`, `after`, `at` or `event`",
    ),
    "both clocks of a scatter": (
        "{every: [5s, 9s]}",
        "{every: [5s, 9s], rate: 3}",
        "s.yaml:8:31: error: two clocks for one scatter; give either `every` (an interval) or `rate` (per minute)",
    ),
    "neither clock of a scatter": (
        "{every: [5s, 9s]}",
        "{most: 3}",
        "s.yaml:8:31: error: a scatter needs a clock; give either `every` (an interval) or `rate` (per minute)",
    ),
    "curve out of order": (
        "{prompt: owl,",
        "{prompt: owl, intensity: {by: wind, curve: [[0, 0], [0.5, 1], [0.5, 0]]},",
        "s.yaml:8:33: error: curve points must rise from left to right; 0.5 follows 0.5",
    ),
    "ladder out of order": (
        "leaves: leaves in the wind",
        "leaves: [{at: 1, text: a}, {at: 0, text: b}]",
        "s.yaml:7:11: error: ladder steps must rise; 0 follows 1",
    ),
    "sun without a place": (
        "{start: 0.4}",
        "{from: sun.elevation}",
        "s.yaml:3:16: error: the sun needs a place; add `place: {lat: 52.1, lon: 5.7, tz: Europe/Amsterdam}`",
    ),
    "unknown input": (
        "{start: 0.4}",
        "{from: sun.elevaton}",
        "s.yaml:3:16: error: 'sun.elevaton' is no input; did you mean 'sun.elevation'?",
    ),
    "unknown weather": (
        "{start: 0.4}",
        "{from: weather.wnd}",
        "s.yaml:3:16: error: 'weather.wnd' is no input; did you mean 'weather.wind'?",
    ),
    "never holds": (
        "wind > 0.7",
        "wind > 1.5",
        "s.yaml:11:36: error: 'wind > 1.5' can never hold; the ranges are: wind 0 to 1",
    ),
    "a bed cannot be fired": (
        "gust: {set: {wind: 1}}",
        "gust: {fire: leaves}",
        "s.yaml:5:16: error: layer 'leaves' is a bed, not one of single events; give it `scatter`, or name another",
    ),
    "no such day": (
        "scene: 1\n",
        "scene: 1\nclock: {date: 2025-02-30}\n",
        "s.yaml:2:15: error: '2025-02-30' is no date; write one such as 2025-06-21",
    ),
    "a year beyond the calendar": (
        "scene: 1\n",
        "scene: 1\nclock: {date: 9999-12-31}\n",
        "s.yaml:2:15: error: a year from 1900 to 2199 is needed",
    ),
    "wander too quick": (
        "{start: 0.4}",
        "{wander: {depth: 1, period: 1ms}}",
        "s.yaml:3:37: error: a period must be at least 1s",
    ),
    "rate too high": (
        "{every: [5s, 9s]}",
        "{rate: 1e30}",
        "s.yaml:8:38: error: rate goes from 0 to 600 per minute, not 1e+30; write a number between them",
    ),
    "too far away": (
        "{every: [5s, 9s]}",
        "{every: 5s, distance: 1e30}",
        "s.yaml:8:53: error: distance goes from 0.1 to 10000 m, not 1e+30; write a number between them",
    ),
    "a keyword for a parameter": (
        "  wind: {start: 0.4}",
        "  wind: {start: 0.4}\n  in: {}",
        "s.yaml:4:3: error: 'in' cannot stand in a condition",
    ),
    "never holds with itself": (
        "wind > 0.7",
        "wind > 0.7 and wind < 0.3",
        "s.yaml:11:36: error: 'wind > 0.7 and wind < 0.3' can never hold; the ranges are: wind 0 to 1",
    ),
    "a curve without its parameter": (
        "{prompt: owl,",
        "{prompt: owl, intensity: {curve: [[0, 0], [1, 1]]},",
        "s.yaml:8:33: error: a curve needs a parameter that drives it; add `by: NAME`",
    ),
    "a number given and driven": (
        "{prompt: owl,",
        "{prompt: owl, level: {value: 3, by: wind, curve: [[0, 0], [1, 1]]},",
        "s.yaml:8:29: error: a number is given or driven, not both; drop `value`",
    ),
    "a step beyond the ladder": (
        "leaves: leaves in the wind",
        "leaves: [{at: 0, text: a}, {at: 10, text: b}]",
        "s.yaml:7:35: error: 10 is out of range; it must be at most 1",
    ),
    "a prompt of nothing": (
        "leaves: leaves in the wind",
        "leaves: '  '",
        "s.yaml:7:11: error: the text is empty",
    ),
    "a layer that is a number": (
        "leaves: leaves in the wind",
        "leaves: 5",
        "s.yaml:7:11: error: 5 is neither a text nor a mapping; such as `",
    ),
    "a prompt with a terminal's commands": (
        "leaves in the wind",
        '"a\\e[31mb"',
        "s.yaml:7:11: error: the character U+001B cannot be read aloud or shown; leave it out",
    ),
    "a state without a name": (
        "  wild:\n",
        "  '':\n",
        "s.yaml:12:3: error: '' is no name; write 1 to 64 letters, digits, spaces and _",
    ),
    "a state called previous": (
        "  wild:\n",
        "  previous:\n    transitions: [{to: calm, after: 5s}]\n  wild:\n",
        "s.yaml:12:3: error: `previous` means the state that was left last; rename it",
    ),
    "angles round the back": (
        "{every: [5s, 9s]}",
        "{every: 5s, azimuth: [170, -170]}",
        "s.yaml:8:52: error: the range runs backwards; write [170, 190] for the way round behind",
    ),
    "a topic with a wildcard": (
        "{start: 0.4}",
        "{from: 'mqtt:home/+/wind'}",
        "s.yaml:3:16: error: 'mqtt:home/+/wind' is no input; mqtt:TOPIC, mqtt:TOPIC#KEY or osc:/ADDRESS",
    ),
    "a single transition": (
        "[{to: wild, when: wind > 0.7}]",
        "{to: wild, when: wind > 0.7}",
        "s.yaml:11:18: error: this is not a list; such as [{to: night, after: 10m}]",
    ),
    "a quote that is not closed": (
        "leaves in the wind",
        "'leaves in the wind",
        "s.yaml:7:11: error: this is not YAML: found unexpected end of stream; a quote is opened here and not closed",
    ),
    "a format that is a truth": ("scene: 1", "scene: true", "s.yaml:1:8: error: scene format true is not known"),
    "wrong format": ("scene: 1", "scene: 2", "s.yaml:1:8: error: scene format 2 is not known"),
    "no format": ("scene: 1\n", "", "s.yaml:1:1: error: 'scene' is missing; begin the file with `scene: 1`"),
    "start outside its range": (
        "{start: 0.4}",
        "{start: 4}",
        "s.yaml:3:17: error: start 4 lies outside the range 0 to 1; write a number within it, or widen `range`",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_told_where_it_stands_with_what_to_write(name: str) -> None:
    old, new, expected = MISTAKES[name]
    assert old in BASE
    found = problems(BASE.replace(old, new, 1))
    assert any(expected in p for p in found), found


def _is_syntax(name: str) -> bool:
    old, new, _ = MISTAKES[name]
    return "not YAML" in problems(BASE.replace(old, new, 1))[0]


def test_any_two_mistakes_are_told_at_once() -> None:
    """Whatever kinds they are, as long as the file can be read: one never hides the other."""

    def said(text: str) -> set[str]:
        return {p.split(": ", 1)[1].split("; ")[0] for p in problems(text)}  # places and advice may be others then

    names = [name for name in MISTAKES if not _is_syntax(name)]
    alone = {name: said(BASE.replace(*MISTAKES[name][:2], 1)) for name in names}
    tried = 0
    for one, other in itertools.permutations(names, 2):
        (old, new, _), (other_old, other_new, _) = MISTAKES[one], MISTAKES[other]
        # each in its own part of the file, so that the second still says what it says alone
        if {old, other_old} == {"{start: 0.4}", "wind > 0.7"}:
            continue  # what a condition may ask for is a question of its parameter's range
        if abs(BASE.index(old) - BASE.index(other_old)) < 40 or other_old in new:
            continue
        found = said(BASE.replace(old, new, 1).replace(other_old, other_new, 1))
        errors = {p for p in alone[one] | alone[other] if p.startswith("error")}
        assert errors <= found, (one, other, errors - found)
        tried += 1
    assert tried > 1000


@pytest.mark.parametrize("part", ["params", "events", "layers", "states"])
def test_a_part_that_cannot_be_read_is_one_mistake_and_not_one_for_every_name_in_it(part: str) -> None:
    text = BASE.replace("{set: {wind: 1}}", "{set: {wind: 1}, fire: owl}")
    text = text.replace("to: wild,", "event: gust, to: wild,").replace(
        "  wild:\n", "  wild:\n    layers: {leaves: {}}\n"
    )
    assert problems(text) == []
    start = text.index(f"{part}:\n")
    rest = text[start + len(part) + 2 :]
    end = next((i for i in range(len(rest)) if rest[i - 1] == "\n" and rest[i] != " "), len(rest))
    for broken in ("5", "[a, b]"):
        assert len(problems(text[:start] + f"{part}: {broken}\n" + rest[end:])) == 1
    if part == "states":
        assert len(problems(text[:start])) == 1


def test_all_mistakes_are_told_at_once_in_file_order() -> None:
    text = BASE.replace("{start: 0.4}", "{strat: 0.4}").replace("[5s, 9s]", "[5, 9s]").replace("to: calm", "too: calm")
    found = problems(text)
    assert len(found) == 4  # `too` is unknown, and so `to` is missing
    assert [int(p.split(":")[1]) for p in found] == [3, 8, 13, 13]


WARNINGS = {
    "unreachable": (
        "states:\n  calm:",
        "start: calm\nstates:\n  alone:\n    transitions: [{to: calm, after: 5s}]\n  calm:",
        "s.yaml:11:3: warning: no transition leads to state 'alone'",
    ),
    "no way out": (
        "\n    transitions: [{to: calm, when: wind < 0.3}]",
        " {}",
        "s.yaml:12:3: warning: state 'wild' is never left; give it `transitions`",
    ),
    "no hysteresis": (
        "wind < 0.3",
        "wind < 0.7",
        "warning: 'calm' and 'wild' hand over to each other where wind is 0.7; leave a gap",
    ),
    "always holds": (
        "wind > 0.7",
        "wind >= 0",
        "s.yaml:11:36: warning: 'wind >= 0' always holds; the ranges are: wind 0 to 1",
    ),
    "a parameter that nothing reads": (
        "{start: 0.4}",
        "{start: 0.4}\n  rain: {}",
        "s.yaml:4:3: warning: nothing reads parameter 'rain'; such as `intensity: {by: rain,",
    ),
    "an event that does nothing": (
        "gust: {set: {wind: 1}}",
        "gust: {set: {wind: 1}}\n  calm:",
        "s.yaml:6:3: warning: event 'calm' does nothing; give it `set` or `fire`",
    ),
    "a layer that is never heard": (
        "{prompt: owl,",
        "{prompt: owl, mute: true,",
        "s.yaml:8:3: warning: layer 'owl' is never heard; let a state say `mute: false`",
    ),
    "an input that never falls silent": (
        "{start: 0.4}",
        "{from: time.hour, stale: 5m}",
        "s.yaml:3:34: warning: time.hour always speaks: `stale` does nothing; drop it",
    ),
    "the age of no input": (
        "{start: 0.4}",
        "{start: 0.4, stale: 5m}",
        "s.yaml:3:29: warning: `stale` is the age of an input; give `from` too",
    ),
    "long prompt in a state": (
        "  wild:\n",
        "  wild:\n    layers: {leaves: {prompt: " + "leaf " * 70 + "}}\n",
        "s.yaml:13:31: warning: the prompt has 70 words",
    ),
    "a prompt that its settings make long": (
        "scene: 1\n",
        "scene: 1\nsetting: " + "damp " * 63 + "\n",
        "s.yaml:8:11: warning: the prompt has 67 words with its settings",
    ),
    "long prompt": ("leaves in the wind", "leaf " * 70, "s.yaml:7:11: warning: the prompt has 70 words"),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_what_would_run_but_hardly_as_meant_is_a_warning(name: str) -> None:
    old, new, expected = WARNINGS[name]
    text = BASE.replace(old, new, 1)
    found = problems(text)
    assert any(expected in p for p in found), found
    assert parse_scene(text).warnings


def test_yaml_1_1_words_stay_text() -> None:
    scene = parse_scene("scene: 1\nclock: {start: 05:00}\nstates: {on: yes, off: 22:00}\n")
    assert list(scene.states) == ["on", "off"]
    assert scene.layers["on"].prompt[0].text == "yes" and scene.layers["off"].prompt[0].text == "22:00"
    assert scene.clock.start == 300


def bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines).encode()


HARMFUL = {
    "alias bomb": bomb(),
    "alias to itself": b"a: &a [*a]",
    "deep nesting": b"[" * 5000 + b"]" * 5000,
    "deep mapping": b"".join(b" " * i + b"a:\n" for i in range(400)),
    "ten megabytes": b"a: " + b"x" * 10_000_000,
    "not UTF-8": b"scene: 1\nstates: {a: \xff\xfe}",
    "UTF-16": "scene: 1".encode("utf-16"),
    "null bytes": b"scene: 1\n\x00\x00",
    "empty": b"",
    "nothing": b"~\n",
    "a list": b"- 1\n- 2\n",
    "a number": b"7",
    "not a number": b"scene: 1\nloudness: .nan\nstates: {a: b}",
    "huge number": b"scene: 1\nseed: " + b"9" * 400 + b"\nstates: {a: b}",
    "a megabyte of values": b"scene: [" + b"a," * 500_000 + b"]",
    "a megabyte of keys": b"a:\n" * 340_000,
    "huge exponent": b"scene: 1\nloudness: -1e999\nstates: {a: b}",
    "tabs": b"scene: 1\nstates:\n\ta: b\n",
    "python object": b"!!python/object/apply:os.system ['true']",
    "complex key": b"scene: 1\n? [1, 2]\n: 3\nstates: {a: b}",
    "long condition": b"scene: 1\nstates: {a: {transitions: [{to: a, when: '" + b"(" * 400 + b"'}]}}",
    "internal names": b"scene: 1\nname: x\nwarnings: [1]\nstates: {a: b}",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_no_file_does_harm(name: str) -> None:
    began = time.monotonic()
    found = problems(HARMFUL[name])
    assert found and all(": error: " in p for p in found)
    assert time.monotonic() - began < 5
    assert len(found) < 100


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_never_crash_the_loader(raw: bytes) -> None:
    problems(raw)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_spoiled_scenes_never_crash_the_loader(data: st.DataObject) -> None:
    text = list(Path(find_scene("forest")).read_text())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 12))] = data.draw(st.text("{}[]:,-& *!|>'\"0a\n\t", max_size=6))
    problems("".join(text))


def test_finding_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"forest", "cafe", "shore", "night_train"} <= set(bundled_scenes())
    monkeypatch.chdir(tmp_path)
    assert find_scene("forest").is_file()
    with pytest.raises(SceneError, match="did you mean 'forest'"):
        find_scene("forrest")
    with pytest.raises(SceneError, match="no scene file or bundled scene"):
        find_scene("x" * 300)
    with pytest.raises(SceneError, match="there is no such file"):
        find_scene("nowhere/x.yaml")
    (tmp_path / "mine.yaml").write_text("scene: 1\nstates: {a: b}\n")
    assert load_scene(find_scene("mine.yaml")).name == "mine"
    with pytest.raises(SceneError, match="cannot be read"):
        check_scene(tmp_path)
