"""``ambient play`` and ``ambient serve``: sound that does not stop."""

from __future__ import annotations

import argparse
import gc
import logging
import pathlib
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from ambient.commands.doors import Door, open_doors
from ambient.commands.mute import check_mute
from ambient.commands.reload import SceneFile
from ambient.commands.replay import play_again
from ambient.commands.state import StateFile
from ambient.commands.weather import weather_polls
from ambient.engine.clocks import RealClock
from ambient.engine.core import Engine
from ambient.engine.journal import Recorder
from ambient.engine.live import LiveStream
from ambient.engine.options import Opened, Options
from ambient.errors import AmbientError, SinkError
from ambient.generate.cache import CachingGenerator, ClipCache
from ambient.generate.catalogue import describe
from ambient.generate.recording import fault_of
from ambient.generate.shared import SharedGenerator
from ambient.generate.tuning import tuning_of
from ambient.generate.ways import PLAIN
from ambient.generate.worker import ProcessGenerator
from ambient.messages import ModelInfo
from ambient.ports import Generator, Sink
from ambient.scene import Scene, draw_states, find_scene, load_scene
from ambient.sinks.hub import Hub
from ambient.sinks.soundcard import SoundCard
from ambient.weather import WeatherPoll

__all__ = ["run"]

log = logging.getLogger("ambient")


def run(given: argparse.Namespace) -> int:
    """Runs the command that was given, until it is interrupted."""
    playing = given.command == "play"
    if playing and given.replay is not None:
        return play_again(given, _sound_card(given, required=True), _Ending())
    if playing and given.scene is None:
        raise AmbientError("play needs a SCENE, or --replay LOG")
    paths = [find_scene(given.scene)] if playing else _scene_files(given.scenes or [given.default_scene])
    scenes = [(path, load_scene(path, fault_of)) for path in paths]
    stems = [path.stem for path in paths]
    if twice := {s for s in stems if stems.count(s) > 1}:
        raise AmbientError(f"two scenes are both called {', '.join(sorted(twice))}: rename one of the files")
    check_mute(given.mute, [scene for _, scene in scenes])
    card = _sound_card(given, required=playing)
    ending = _Ending()
    with ending:
        return _stream(given, scenes, card, ending, page=not playing)


def _stream(
    given: argparse.Namespace,
    scenes: Sequence[tuple[pathlib.Path, Scene]],
    card: SoundCard | None,
    ending: _Ending,
    page: bool,
) -> int:
    generators: dict[str, SharedGenerator] = {}
    streams: list[LiveStream] = []
    served: list[tuple[LiveStream, Hub]] = []
    files: dict[str, SceneFile] = {}
    polls: list[WeatherPoll] = []
    doors: list[Door] = []
    recorders: list[Recorder] = []
    kept = StateFile(given.state) if given.state is not None else None
    server = None
    try:
        for i, (path, scene) in enumerate(scenes):
            name = path.stem
            model = given.model or scene.model or "bundled"
            info = describe(model)
            generator = _generator(generators, info, given)
            clock = RealClock()
            sinks: list[Sink] = []
            hub = Hub(name) if page else None
            if hub is not None:
                sinks.append(hub)
            if i == 0 and card is not None:
                sinks.append(card)
                card.follow(clock)
            recorder = None
            if given.record is not None:
                recorder = Recorder(given.record / f"{name}.jsonl" if len(scenes) > 1 else given.record, model)
                recorders.append(recorder)
                generator = recorder.generator(generator)
            tuned = _tuned(info, given)
            options = Options(
                seed=given.seed,
                steps=given.steps,
                usual_steps=tuned.usual_steps,
                clip_seconds=tuned.clip_seconds,
                batch_clips=tuned.batch_clips,
                mute=frozenset(given.mute),
                memory=kept.memory(name) if kept is not None else None,
            )
            opened = _Opened(generators, given, recorder)
            opened.prepare(scene)
            engine = Engine(scene, generator, options, opened)
            if recorder is not None:
                recorder.follow(engine)
            rests = hub is not None and card not in sinks and given.rest_after > 0
            stream = LiveStream(
                name,
                engine,
                sinks,
                clock,
                heard=_listened_to(hub) if hub is not None and rests else None,
                idle_seconds=given.rest_after if rests else 0.0,
            )
            streams.append(stream)
            files[name] = SceneFile(path, stream, scene, opened.prepare)
            if hub is not None:
                served.append((stream, hub))
        if page:
            from ambient.server import Server, read_tokens

            server = Server(
                served,
                host=given.host,
                port=given.port,
                diagram=lambda name, state: draw_states(files[name].scene, state),
                origins=given.origins,
                tokens=read_tokens(given.tokens),
                most_listeners=given.max_listeners,
                pushes=given.pushes,
            )
            server.start()
            if given.log == "json":
                log.info("listening page: %s (%s)", server.url, server.exposure, extra={"url": server.url})
            else:
                print(f"listening page: {server.url} ({server.exposure})", file=sys.stderr)
        polls = weather_polls(given, [(scene, stream) for (_, scene), stream in zip(scenes, streams, strict=True)])
        for stream in streams:
            stream.start()
        for poll in polls:
            poll.start()
        open_doors(given, doors, streams)
        gc.collect()
        gc.freeze()  # what is there now stays: full collections, which stop everything, need not look through it
        line = _StatusLine(streams[0], quiet=given.quiet or given.log == "json")
        while not ending.wait(0.5):
            line.update()
            if given.reload:
                for file in files.values():
                    file.look()
            if kept is not None:
                kept.keep({stream.name: stream.memory for stream in streams})
            if any(stream.wait(0.0) for stream in streams):
                raise AmbientError("the stream ended by a fault; see the log above")
        line.end()
        return 0
    finally:
        if server is not None:
            server.drain()
        for poll in polls:
            poll.stop()
        for stream in streams:
            stream.stop()
        for recorder in recorders:
            recorder.close()
        if kept is not None and streams:
            kept.keep({stream.name: stream.memory for stream in streams}, now=True)
        if server is not None:
            server.stop()
        if card is not None:
            card.close()


def _listened_to(hub: Hub) -> Callable[[], bool]:
    return lambda: hub.connected > 0


def _scene_files(names: Sequence[str]) -> list[pathlib.Path]:
    """The files that scenes on the command line mean; a folder means all of its scenes, by name."""
    found: list[pathlib.Path] = []
    for name in names:
        folder = pathlib.Path(name)
        inside = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]) if folder.is_dir() else []
        if folder.is_dir() and not inside:
            raise AmbientError(f"there is no scene in the folder {name}: scenes end in .yaml")
        found += inside or [find_scene(name)]
    return found


@dataclass(frozen=True, slots=True)
class _Tuned:
    usual_steps: int | None = None
    clip_seconds: float | None = None
    batch_clips: int = 4


def _tuned(info: ModelInfo, given: argparse.Namespace) -> _Tuned:
    """What `ambient models bench` found for this model here, said aloud."""
    found = tuning_of(info, given.device, given.threads)
    if found is None:
        return _Tuned()
    how = f"{found.steps} steps, clips of {found.clip_seconds:g} s, {found.batch} at once, {found.way}"
    log.info("%s as measured here: %s, %.1f times real time", info.name, how, found.times_real_time)
    if not found.real_time:
        log.warning(
            "%s is too slow to play live here; render ahead with `ambient render`, or play with --model bundled",
            info.name,
        )
    return _Tuned(found.steps, found.clip_seconds, found.batch)


class _Opened:
    """Opens the models that a stream's layers name; remembers those that are open."""

    def __init__(
        self, generators: dict[str, SharedGenerator], given: argparse.Namespace, recorder: Recorder | None
    ) -> None:
        self._generators, self._given, self._recorder = generators, given, recorder
        self._known: dict[str, Opened] = {}

    def __call__(self, name: str) -> Opened:
        if name not in self._known:
            info = describe(name)
            generator = _generator(self._generators, info, self._given)
            if self._recorder is not None:
                generator = self._recorder.generator(generator)
            self._known[name] = Opened(generator, **asdict(_tuned(info, self._given)))
        return self._known[name]

    def prepare(self, scene: Scene) -> None:
        """Opens what a scene names, away from the playout. Raises ModelNotFound, BackendError."""
        for model in dict.fromkeys(layer.model for layer in scene.layers.values()):
            if model is not None:
                self(model)


def _generator(made: dict[str, SharedGenerator], info: ModelInfo, given: argparse.Namespace) -> Generator:
    if info.fingerprint not in made:
        found = tuning_of(info, given.device, given.threads)
        way = found.way if found is not None else PLAIN
        worker = ProcessGenerator(info, device=given.device, threads=given.threads, way=way)
        made[info.fingerprint] = SharedGenerator(CachingGenerator(worker, ClipCache()))
    return made[info.fingerprint].port()


def _sound_card(given: argparse.Namespace, required: bool) -> SoundCard | None:
    if getattr(given, "no_sound_card", False):
        return None
    chosen: str | int | None = given.sound_device
    if isinstance(chosen, str) and chosen.isdecimal():
        chosen = int(chosen)
    card = SoundCard(chosen)
    try:
        card.open()
    except SinkError as error:
        if required or given.sound_device is not None:
            raise
        log.info("no sound card (%s): streams only", str(error).splitlines()[0])
        return None
    return card


class _Ending:
    """Turns Ctrl-C and SIGTERM into an orderly end; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, timeout_seconds: float) -> bool:
        """Whether the end was asked for, after waiting at most that long for it."""
        return self._event.wait(timeout_seconds)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._event.set()


class _StatusLine:
    """One line that tells how the stream does: rewritten on a terminal, left out elsewhere."""

    def __init__(self, stream: LiveStream, quiet: bool) -> None:
        self._stream = stream
        self._shown = not quiet and sys.stderr.isatty()

    def update(self) -> None:
        """Draws the line anew."""
        if self._shown:
            width = shutil.get_terminal_size().columns
            print("\r\x1b[K" + _summary(self._stream.status())[: width - 1], end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leaves the line."""
        if self._shown:
            print(file=sys.stderr)


def _summary(status: dict[str, Any]) -> str:
    if not status["playing"]:
        return "preparing the first sounds …" if status["model_ready"] else "loading the model …"
    heard = [row["name"] for row in status["layers"] if row["level_db"] > -70]
    state = status["state"]
    if status["previous"] and status["blend"] < 1:
        state = f"{status['previous']} → {state} {100 * status['blend']:.0f} %"
    speed = "…" if status["speed"] is None else f"{status['speed']:.0f}×"
    parts = [
        state,
        ", ".join(heard) or "silence",
        f"{status['seconds_ahead']:.0f} s ahead",
        f"{speed} real time",
    ]
    if status["scene_problems"]:
        parts.append(f"scene file: {len(status['scene_problems'])} mistakes, the version before it plays")
    if status["degrade_level"]:
        parts.append(f"degraded {status['degrade_level']}")
    if status["counts"]["restarts"]:
        parts.append(f"worker replaced {status['counts']['restarts']}×")
    return " | ".join(parts)
