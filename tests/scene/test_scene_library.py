"""The scenes of the library: a whole day of each keeps every promise that its file makes."""

from __future__ import annotations

import itertools

import pytest

from ambient.messages import RATE, LayerMoment
from ambient.scene import Machine, Scene, bundled_scenes, check_scene, find_scene, load_scene, simulate

KINDS = {
    "forest", "cafe", "shore", "night_train", "storm", "campfire", "city_window", "spaceship", "library", "meadow",
    "cave", "cabin",
}  # fmt: skip
LOOK_SECONDS = 10


def heard(layer: LayerMoment) -> bool:
    """Whether a layer makes sound by itself."""
    falls = layer.scatter is None or layer.scatter.rate_per_minute is None or layer.scatter.rate_per_minute > 0
    return not layer.muted and layer.gain > 1e-4 and falls


def driven_by_games(scene: Scene) -> set[str]:
    """Layers that an event fires, or that follow a parameter which neither an input nor its own wandering moves."""
    idle = {name for name, p in scene.params.items() if p.source is None and p.wander is None}
    driven = {event.fire for event in scene.events.values() if event.fire is not None}
    for name, layer in scene.layers.items():
        numbers = [layer.intensity, layer.scatter.rate if layer.scatter is not None else None]
        if any(number is not None and number.by in idle for number in numbers):
            driven.add(name)
    return driven


def test_the_library_has_a_scene_of_every_kind() -> None:
    assert set(bundled_scenes()) >= KINDS


@pytest.mark.parametrize("name", bundled_scenes())
def test_a_scene_is_clean_commented_and_fits_on_a_screen_or_two(name: str) -> None:
    path = find_scene(name)
    assert check_scene(path) == []
    text = path.read_text()
    assert len(text.splitlines()) < 100 and text.startswith("# ")


@pytest.mark.parametrize("name", bundled_scenes())
def test_a_day_reaches_every_state_keeps_every_stay_and_leaves_no_layer_silent(name: str) -> None:
    scene = load_scene(find_scene(name))
    machine, found, states, layers = Machine(scene), [], set(), set()
    for second in range(0, 24 * 3600, LOOK_SECONDS):
        found += [e for e in machine.advance(second * RATE) if e.kind == "transition"]
        states.add(machine.state)
        layers |= {layer.name for layer in machine.look().layers if heard(layer)}
    assert states | {str(e.detail["to"]) for e in found} == set(scene.states)
    for before, after in itertools.pairwise(found):
        stay = scene.states[str(before.detail["to"])].stay
        least = before.detail["over_seconds"] if stay is None else stay
        assert isinstance(least, float) and (after.frame - before.frame) / RATE >= least
    assert set(scene.layers) - layers <= driven_by_games(scene)


@pytest.mark.parametrize("name", bundled_scenes())
def test_a_game_can_drive_what_is_silent_by_itself(name: str) -> None:
    scene = load_scene(find_scene(name))
    for event in scene.events:
        machine = Machine(scene)
        before = machine.look()
        machine.fire(event)
        happened = machine.advance(3 * RATE)
        after = machine.look()
        fired = {e.detail.get("layer") for e in happened}
        changed = (before.state, dict(before.params)) != (after.state, dict(after.params))
        assert changed or scene.events[event].fire in fired
    machine, layers = Machine(scene), set()
    for param, spec in scene.params.items():
        if spec.source is None and spec.wander is None:
            machine.set_param(param, spec.range[1])
    for event in scene.events:
        machine.fire(event)
        for _ in range(4):
            layers |= {e.detail.get("layer") for e in machine.advance(machine.frame + RATE)}
            layers |= {layer.name for layer in machine.look().layers if heard(layer)}
    assert driven_by_games(scene) <= layers


@pytest.mark.parametrize("name", bundled_scenes())
def test_the_same_seed_gives_the_same_night(name: str) -> None:
    scene = load_scene(find_scene(name))
    assert simulate(scene, 1) == simulate(scene, 1)
