"""Scene files to scenes: reads, expands, validates, and reports every mistake at once."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ambient.errors import Problem, SceneError
from ambient.scene.checks import check_use
from ambient.scene.expand import expand
from ambient.scene.model import Layer, LayerOverride, Scene
from ambient.scene.names import check_names
from ambient.scene.recordings import Hear, with_recordings
from ambient.scene.source import MOST_BYTES, Path, Source, read_source

__all__ = ["bundled_scenes", "check_scene", "find_scene", "load_scene", "nearest", "parse_scene"]

_TOKENS = 64
"""Prompts longer than this many words are cut by text encoders; a warning from there on."""


def load_scene(path: str | pathlib.Path, hear: Hear | None = None) -> Scene:
    """The scene in a file. Raises SceneError with all of its mistakes; warnings are in ``scene.warnings``.

    ``hear`` listens to the recordings that the scene names; without it they only have to be there.
    """
    return parse_scene(_read(path), str(path), hear)


def parse_scene(raw: bytes | str, file: str = "scene.yaml", hear: Hear | None = None) -> Scene:
    """The scene in a text. Raises SceneError."""
    raw = raw if isinstance(raw, bytes) else raw.encode()
    scene, problems = _parse(raw, file, hear)
    if scene is None:
        raise SceneError([p for p in problems if p.severity == "error"])
    known = {
        "warnings": tuple(problems),
        "name": pathlib.Path(file).stem,
        "text": raw.decode("utf-8-sig"),
        "folder": str(pathlib.Path(file).resolve().parent),
    }
    return scene.model_copy(update=known)


def check_scene(path: str | pathlib.Path, hear: Hear | None = None) -> list[Problem]:
    """All mistakes and warnings of a file, in the order of the file. Raises SceneError if it cannot be read."""
    return _parse(_read(path), str(path), hear)[1]


def bundled_scenes() -> list[str]:
    """Names of the scenes that come with Ambient."""
    return sorted(p.stem for p in _library().glob("*.yaml"))


def find_scene(name: str) -> pathlib.Path:
    """The file that a name on the command line means: a path, else a bundled scene. Raises SceneError."""
    path = pathlib.Path(name)
    if _is_file(path):
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        advice = "it is a folder" if path.is_dir() else f"bundled scenes: {', '.join(bundled_scenes())}"
        raise SceneError([Problem(name, 1, 1, "error", "there is no such file", advice)])
    bundled = _library() / f"{name}.yaml"
    if _is_file(bundled):
        return bundled
    names = bundled_scenes()
    near = nearest(name, names)
    advice = f"did you mean {near!r}?" if near else f"bundled scenes: {', '.join(names)}"
    raise SceneError([Problem(name, 1, 1, "error", "there is no scene file or bundled scene of that name", advice)])


def _is_file(path: pathlib.Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, such as a whole text
        return False


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    found = difflib.get_close_matches(str(name), list(names), 1, 0.6)
    return found[0] if found else None


def _library() -> pathlib.Path:
    package = pathlib.Path(__file__).resolve().parent.parent
    installed = package / "library"
    return installed if installed.is_dir() else package.parent / "scenes"


def _read(path: str | pathlib.Path) -> bytes:
    try:
        with pathlib.Path(path).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        said = error.strerror or str(error)
        raise SceneError([Problem(str(path), 1, 1, "error", f"the file cannot be read: {said}")]) from error


def _parse(raw: bytes, file: str, hear: Hear | None = None) -> tuple[Scene | None, list[Problem]]:
    source = read_source(file, raw)
    if source.data is None:
        return None, sorted(source.problems)
    data = expand(source)
    scene: Scene | None = None
    if data is not None:
        for extra in ("name", "warnings", "text", "folder"):
            if extra in data:
                source.error((extra,), f"unknown key {extra!r}", "a stream is named after its file", key=True)
                del data[extra]
        conditions = check_names(data, source)
        try:
            scene = Scene.model_validate(data)
        except ValidationError as error:
            for fault in error.errors():
                _report(source, data, fault)
        else:
            check_use(scene, source, conditions)
            _long_prompts(scene, source)
            folder = pathlib.Path(file).resolve().parent
            scene = with_recordings(_with_models(scene, folder), source, folder, hear)
    problems = sorted(set(source.problems))
    if any(p.severity == "error" for p in problems):
        return None, problems
    return scene, problems


def _with_models(scene: Scene, folder: pathlib.Path) -> Scene:
    """The scene with checkpoint folders, which it names from where it lies, by their whole paths."""

    def located(model: str | None) -> str | None:
        if model is None or not ("/" in model or model.startswith((".", "~"))):
            return model
        inside = folder / pathlib.Path(model).expanduser()
        return str(inside.resolve()) if inside.is_dir() else model

    layers = {n: layer.model_copy(update={"model": located(layer.model)}) for n, layer in scene.layers.items()}
    return scene.model_copy(update={"model": located(scene.model), "layers": layers})


def _report(source: Source, data: dict[str, Any], fault: Any) -> None:
    """One fault that pydantic found, in our words."""
    path: Path = tuple(fault["loc"])
    kind, context = fault["type"], fault.get("ctx", {})
    shown = _shown(fault.get("input"))
    example = _EXAMPLES.get(str(path[-1]) if path else "", "")
    if path and path[-1] == "[key]":  # pydantic's word for a key that is wrong itself
        message, _, advice = str(context.get("error", f"{shown} is no name")).partition("; ")
        source.error(path[:-1], message, advice or "write 1 to 64 letters, digits, spaces and _", key=True)
    elif kind == "extra_forbidden":
        known = _fields(path[:-1])
        near = nearest(str(path[-1]), known)
        advice = f"did you mean {near!r}?" if near else f"known here: {', '.join(known)}"
        source.error(path, f"unknown key {str(path[-1])!r}", advice, key=True)
    elif kind == "missing":
        source.error(path[:-1], f"{path[-1]!r} is missing", _EXAMPLES.get(str(path[-1]), ""))
    elif kind == "value_error":
        message, _, advice = str(context.get("error", fault["msg"])).partition("; ")
        source.error(path, message, advice)
    elif kind == "model_type" and context.get("class_name") in _TEXT_OR_MAPPING:
        what = "nothing stands here" if fault.get("input") is None else f"{shown} is neither a text nor a mapping"
        source.error(path, what, _TEXT_OR_MAPPING[context["class_name"]])
    elif kind == "literal_error":
        choices = context.get("expected", "").replace(" or ", ", ")
        if path == ("scene",):
            source.error(path, f"scene format {shown} is not known", "this version of Ambient reads format 1")
        else:
            source.error(path, f"{shown} is not one of the choices", f"write {choices.replace(chr(39), '')}")
    elif kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        bound = context.get("ge", context.get("le", context.get("gt", context.get("lt"))))
        word = "at least" if kind.startswith("greater") else "at most"
        source.error(path, f"{shown} is out of range", f"it must be {word} {bound:g}")
    elif context.get("class_name") == "Number":
        source.error(
            path, f"{shown} is not a number", "or let a parameter drive it: {by: wind, curve: [[0, 0], [1, 1]]}"
        )
    else:
        wanted, general = next((both for key, both in _TYPES.items() if kind.startswith(key)), (fault["msg"], ""))
        if kind.startswith("model") and context.get("class_name") == "Transition":
            example = "such as {to: night, after: 10m}"
        source.error(path, f"{shown} is not {wanted}", example or general)


def _shown(value: Any) -> str:
    """A value as the file has it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    shown = repr(value) if isinstance(value, str | int | float) else "this"
    return shown if len(shown) <= 60 else shown[:57] + "…'"


_TEXT_OR_MAPPING = {
    "Layer": "such as `rain: light rain on leaves`, or `rain: {prompt: light rain on leaves, level: -6}`",
    "LayerOverride": "such as `rain: {mute: true}`",
    "Rung": "such as `- light rain`, or `- {at: 0.5, text: light rain}`",
    "State": "such as `night: crickets in the dark`, or `night: {setting: deep night}`",
}
"""What may stand in each place, by the part that it is."""
_TYPES = {
    "float": ("a number", "such as 0.5"),
    "int": ("a whole number", "such as 7"),
    "finite": ("a finite number", "such as 0.5"),
    "bool": ("true or false", "write true or false"),
    "string_too_short": ("a text: it is empty", "describe it in a few words"),
    "string_too_long": ("short enough", "at most 2,000 characters"),
    "string": ("a text", "write words; in quotes where YAML would read them as something else"),
    "dict": ("a mapping", "write `key: value` lines below it"),
    "model": ("a mapping", "write `key: value` lines below it"),
    "list": ("a list", "such as [0, 1], or lines that begin with -"),
    "too_short": ("long enough", "more entries are needed"),
    "too_long": ("short enough", "there are too many entries"),
}
"""What is wanted and what to write, by the beginning of pydantic's word for it."""
_EXAMPLES = {
    "scene": "begin the file with `scene: 1`",
    "states": "such as `states: {forest: quiet beech forest at dawn}`",
    "prompt": "such as `prompt: light rain on leaves`",
    "to": "name the state that it leads to",
    "curve": "such as [[0, 0], [1, 1]]",
    "range": "such as [0, 1]",
    "chance": "such as 0.2 for one time in five",
    "clock": 'such as {start: "06:30", speed: 24}',
    "place": "such as {lat: 52.1, lon: 5.7, tz: Europe/Amsterdam}",
    "scatter": "such as {every: [10s, 40s], distance: [20, 80]}",
    "set": "such as {wind: 1}",
    "transitions": "such as [{to: night, after: 10m}]",
    "wander": "such as {depth: 0.3, period: 5m}",
    "when": "such as rain > 0.35 and wind < 0.7",
    "lat": "such as 52.1",
    "lon": "such as 5.7",
}


def _fields(path: Path) -> list[str]:
    """Keys that are known at a path of the scene; list places and names of mappings lead on to what they hold."""
    here: type[BaseModel] | None = Scene
    for step in path:
        if here is None:
            break
        field = next((f for n, f in here.model_fields.items() if step in (n, f.alias)), None)
        if field is not None:
            here = _part(field.annotation)
    return [f.alias or n for n, f in here.model_fields.items() if not f.exclude] if here else []


def _part(kind: Any) -> type[BaseModel] | None:
    """The part inside an annotation such as ``dict[str, Layer]`` or ``Scatter | None``."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for inner in get_args(kind) if (found := _part(inner)) is not None), None)


def _long_prompts(scene: Scene, source: Source) -> None:
    layers: list[tuple[Path, LayerOverride | Layer]] = [(("layers", n), layer) for n, layer in scene.layers.items()]
    for state_name, state in scene.states.items():
        layers += [(("states", state_name, "layers", n), override) for n, override in state.layers.items()]
    longest = max((state.setting for state in scene.states.values()), key=lambda setting: len(setting.split()))
    settings = len(scene.setting.split()) + len(longest.split())
    for path, layer in layers:
        known = scene.layers.get(str(path[-1]))
        bed = known is None or known.scatter is None
        for i, rung in enumerate(layer.prompt or []):
            words = len(rung.text.split()) + (settings if bed else 0)
            if words > _TOKENS:
                what = f"the prompt has {words} words" + (" with its settings" if bed and settings else "")
                advice = f"keep it to about {_TOKENS} words: models read no further"
                source.warning((*path, "prompt", i), what, advice)
