"""The engine: scene → plan → clips → timelines → mix, one block at a time, on one sample clock.

Everything happens in :meth:`Engine.step`, called from one thread.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ambient.engine.asked import Asked
from ambient.engine.bed import Bed, Farewell
from ambient.engine.options import OpenModel, Options
from ambient.engine.shots import Shots
from ambient.engine.supplies import Supplies
from ambient.engine.supply import Counts, Now, Supply, audible
from ambient.messages import (
    BLOCK_FRAMES,
    RATE,
    Audio,
    Block,
    Moment,
    SceneEvent,
    frames,
)
from ambient.plan import Ladder, Pace
from ambient.ports import Generator
from ambient.scene import Inputs, Machine, Scene, recordings_of
from ambient.sound import LayerBlock, Limiter, LoudnessControl, mix

__all__ = ["Engine", "status_layers"]

PLAN_EVERY_BLOCKS = 5
PRIMED_SECONDS = 8.0
"""Long enough for a worker to load its model behind clips from the cache."""
NOMINAL_LUFS = -24.0
"""About what one layer at full gain measures."""
GAIN_SLEW = BLOCK_FRAMES / frames(0.03)
"""Share of a full-scale gain step that one block may take: 30 ms for a whole one, so that nothing clicks."""


class Engine:
    """Makes block after block of a scene, for ever."""

    def __init__(
        self,
        scene: Scene,
        generator: Generator,
        options: Options | None = None,
        open_model: OpenModel | None = None,
    ) -> None:
        """``generator`` makes the clips of layers that name no model, ``open_model`` opens those that are named.

        Raises ModelNotFound, BackendError where one cannot be opened.
        """
        self.options = options or Options()
        if self.options.live and self.options.began is None:
            self.options = replace(self.options, began=datetime.now(UTC))
        self.scene = scene
        self.generator = generator
        self.machine = self._machine(scene)
        if self.options.memory is not None:
            self.machine.restore(self.options.memory)
        self.seed = self.machine.seed
        self.frame = 0
        """First frame of the next block."""
        self.moment: Moment = self.machine.look(0)
        self.faults: collections.deque[str] = collections.deque(maxlen=50)
        self.fault_count = 0
        self.levels: dict[str, float] = {}
        self._asked = Asked()
        self._gains: dict[str, float] = {}
        self._blocks = 0
        self._happened: list[SceneEvent] = []
        self._loudness = LoudnessControl(scene.loudness, self._expected_lufs())
        self._limiter = Limiter()
        self.on_layers: Callable[[Mapping[str, Audio]], None] | None = None
        """Called with every layer's share of each block, before loudness and limiter: they sum to the mix."""
        self.on_note: Callable[[str, Mapping[str, Any]], None] | None = None
        """Called with what is done to the scene from outside, once it is done, and with every fault."""
        self._awoken = False
        self._farewells: list[Farewell] = []
        ladder = Ladder(generator.info, steps=self.options.steps or scene.steps or self.options.usual_steps)
        first = Supply(generator, self.options, ladder, self.fault, self._now())
        self.supplies = Supplies(first, self.options, open_model)
        self.supplies.wire(self.moment.layers, self.seed)

    @property
    def counts(self) -> Counts:
        """What happened so far."""
        return self.supplies.first.counts

    @property
    def ladder(self) -> Ladder:
        """Where the degrade ladder of the scene's own model stands."""
        return self.supplies.first.ladder

    @property
    def pace(self) -> Pace:
        """How fast clips of the scene's own model come."""
        return self.supplies.first.pace

    @property
    def beds(self) -> MutableMapping[str, Bed]:
        """The players of layers that sound continuously."""
        return self.supplies.beds

    @property
    def shots(self) -> MutableMapping[str, Shots]:
        """The players of layers of single events."""
        return self.supplies.shots

    @property
    def latency_frames(self) -> int:
        """How far the mixed sound lags behind the scene, because of the limiter's look-ahead."""
        return self._limiter.latency_frames

    @property
    def loudness_lufs(self) -> float | None:
        """Momentary loudness of what goes out; None in silence."""
        return self._loudness.momentary_lufs

    @property
    def primed(self) -> bool:
        """Whether every bed that should be heard now has sound for the first seconds, so that the clock may start."""
        heard = [bed for bed in self.beds.values() if audible(self.moment.layer(bed.name))]
        return all(bed.plan.begun and bed.plan.end_frame >= frames(PRIMED_SECONDS) for bed in heard)

    def prime(self) -> None:
        """Works on the first clips without moving the clock. Call until :attr:`primed`."""
        self.moment = self._asked.join(self.machine.look(self.frame))
        self.supplies.take_in(self._now(priming=True))
        self._plan(priming=True)

    def step(self) -> Block:
        """Makes the next block. Raises BackendError where offline rendering cannot go on."""
        if not self._blocks:
            self._note("begin")
        events = self._happened + self.machine.advance(self.frame)
        self._happened = []
        self.moment = self._asked.join(self.machine.look(self.frame))
        for event in events:
            layer = event.detail.get("layer")
            if event.kind == "event" and layer is not None and layer in self.shots:
                self.shots[layer].bank.fire()
        busy = self.supplies.waiting
        self.supplies.take_in(self._now())
        idle = self.options.live and self.supplies.waiting < busy
        if self._blocks % PLAN_EVERY_BLOCKS == 0 or events or idle:
            self._plan()
        audio, fallback, shot_events = self._mix()
        awoken, self._awoken = self._awoken, False
        if awoken:
            audio = audio * np.linspace(0.0, 1.0, len(audio), dtype=np.float32)[:, None]
        block = Block(self.frame, audio, tuple(events + shot_events), discontinuity=awoken, fallback=fallback)
        self.frame += BLOCK_FRAMES
        self._blocks += 1
        return block

    def skip(self, length_frames: int) -> None:
        """Lets time pass unheard: the scene moves on, the sound that is ready waits. Rounded down to whole latents of
        the scene's own model.

        Events of the meantime are not reported, and the next block fades in. For a stream that nobody has listened to
        for a while.
        """
        step = math.lcm(BLOCK_FRAMES, self.generator.info.frames_per_latent)
        self.frame += length_frames // step * step
        self.machine.advance(self.frame)
        self.moment = self._asked.join(self.machine.look(self.frame))
        for shots in self.shots.values():
            shots.bank.rest()
        self._awoken = True
        self._note("skip", frames=length_frames)

    def fire(self, event: str) -> None:
        """Fires a named event with the next block. Raises ValueError."""
        self._reach().fire(event)
        self._note("fire", event=event)

    def ask(self, text: str, distance_m: float | None = None, azimuth_deg: float | None = None) -> None:
        """Has a single sound made from free text, and played once as soon as it is there."""
        layer = self._asked.add(text, distance_m, azimuth_deg)
        self.shots[layer.name] = Shots(layer.name, self.generator.info, self.seed)
        self.shots[layer.name].bank.fire()
        self._note("ask", text=text, distance_m=distance_m, azimuth_deg=azimuth_deg)

    def set_param(self, name: str, value: float | None) -> None:
        """Sets a parameter from the next block on; None gives it back to the scene. Raises ValueError."""
        self._reach().set_param(name, value)
        self._note("param", name=name, value=value)

    def feed(self, source: str, value: float) -> None:
        """A value from an input, such as ``weather.wind``, from the next block on. What nobody reads is ignored."""
        self._reach().feed(source, value)
        self._note("feed", source=source, value=value)

    def feed_all(self, inputs: Inputs) -> None:
        """What inputs say at the scene time of the next block."""
        for source, value in inputs(self._reach().scene_time(self.frame)).items():
            self.feed(source, value)

    def go(self, state: str, over_seconds: float | None = None) -> None:
        """Starts a transition with the next block. Raises ValueError."""
        self._reach().go(state, over_seconds)
        self._note("state", state=state, over_seconds=over_seconds)

    def _reach(self) -> Machine:
        """The machine, brought to the next block, so that what is done to it bears that block's frame."""
        self._happened += self.machine.advance(self.frame)
        return self.machine

    def seconds_ahead(self) -> float:
        """Seconds of generated sound in front of the playhead, in the layer that has least; 0 without any."""
        heard = [b.ahead_frames() for b in self.beds.values() if b.playing]
        return min(heard) / RATE if heard else 0.0

    def speed(self) -> float | None:
        """Seconds of sound that the scene's own model makes in a second; None before it was measured."""
        return self.supplies.first.speed

    def joins(self) -> dict[str, list[int]]:
        """Frames of output, middle of every crossfade between two clips that was heard, by layer."""
        return {name: list(bed.joins_heard) for name, bed in self.beds.items()}

    def replace_scene(self, scene: Scene) -> None:
        """Goes on with another version of the scene, in the same state; layers of the same name keep their sound, and
        what of it is not as the new version wants it is painted anew; layers that are gone, or come from another model
        now, fade out. Raises ModelNotFound, BackendError and changes nothing where a model cannot be opened."""
        before, machine = self.machine, self._machine(scene)
        self.supplies.open(machine.look(self.frame).layers)
        self.scene, self.machine = scene, machine
        self.machine.take_over(before)
        self._loudness.target_lufs = scene.loudness
        last, beds = self.moment, dict(self.beds)
        self.moment = self._asked.join(self.machine.look(self.frame))
        self.supplies.wire(self.moment.layers, self.seed)
        for name, bed in beds.items():
            if bed is not self.beds.get(name) and (gain := self._gains.pop(name, 0.0)):
                self._farewells.append(Farewell(bed, last.layer(name), gain))
        self._note("scene", **self.written())

    def written(self) -> dict[str, Any]:
        """The scene as a log keeps it, JSON-ready, with what else its sound depends on: models, recordings."""
        scene = self.scene
        return {
            "name": scene.name,
            "text": scene.text,
            "folder": scene.folder,
            "recordings": recordings_of(scene),
            "models": self.supplies.named(),
        }

    def close(self) -> None:
        """Ends all generators."""
        self.supplies.close()

    def _note(self, what: str, **how: Any) -> None:
        if self.on_note is not None:
            self.on_note(what, how)

    def _machine(self, scene: Scene) -> Machine:
        return Machine(scene, seed=self.options.seed, live_start=self.options.began)

    def _expected_lufs(self) -> float | None:
        """Loudness to expect of the moment, from the layers' gains and the models' nominal level."""
        power = sum(m.gain**2 for m in self.moment.layers if not m.muted and m.scatter is None)
        return NOMINAL_LUFS + 10 * math.log10(power) if power > 1e-4 else None

    def _now(self, priming: bool = False) -> Now:
        return Now(self.frame, self.moment, self.machine.look, self._gains, self.scene.guidance, priming)

    def _plan(self, priming: bool = False) -> None:
        for name, trouble in self._asked.settle(self.shots, self.frame).items():
            del self.shots[name]
            self.levels.pop(name, None)
            if trouble:
                self.fault(f"{name}: {trouble}")
        self.supplies.plan(self._now(priming))

    def fault(self, text: str) -> None:
        """Notes a fault, for status and log."""
        self.faults.append(text)
        self.fault_count += 1
        self._note("fault", text=text)

    # ---- mixing

    def _mix(self) -> tuple[Audio, bool, list[SceneEvent]]:
        n = BLOCK_FRAMES
        blocks: dict[str, LayerBlock] = {}
        events: list[SceneEvent] = []
        fallback = False
        for layer in self.moment.layers:
            name = layer.name
            if bed := self.beds.get(name):
                before = self._gains.get(name, 0.0)
                target = 0.0 if layer.muted else layer.gain
                after = before + max(-GAIN_SLEW, min(GAIN_SLEW, target - before))
                block = bed.read(self.frame, n, layer, (before, after))
                if block is None:
                    self.counts.underruns += bed.playing and bed.sounded
                    self.levels[name] = 0.0
                    continue
                self._gains[name] = after
                blocks[name] = block
                fallback |= bed.fallback
                self.levels[name] = after * float(np.sqrt(np.mean(np.square(block.audio))))
            elif shots := self.shots.get(name):
                events += shots.advance(self.frame, n, layer)
                sound = shots.read(self.frame, n)
                self.levels[name] = float(np.sqrt(np.mean(np.square(sound))))
                if self.levels[name]:
                    blocks[name] = LayerBlock(sound, 1.0, 1.0, 1.0, 1.0)
        leaving: list[LayerBlock] = []
        for farewell in list(self._farewells):
            heir = self.beds.get(farewell.name)
            last = farewell.read(self.frame, n, waits=heir is not None and not heir.plan.begun)
            if last is None:
                self._farewells.remove(farewell)
            else:
                leaving.append(last)
        self.counts.fallback_blocks += fallback
        if self.on_layers is not None:
            self.on_layers({name: mix([block], n) for name, block in blocks.items()})
        audio = mix([*blocks.values(), *leaving], n)
        if self.options.loudness:
            audio = self._loudness.process(audio, self._expected_lufs())
        return self._limiter.process(audio), fallback, events


def status_layers(engine: Engine) -> list[Mapping[str, Any]]:
    """What each layer does now, JSON-ready."""
    rows: list[Mapping[str, Any]] = []
    for layer in engine.moment.layers:
        bed = engine.beds.get(layer.name)
        level = engine.levels.get(layer.name, 0.0)
        rows.append(
            {
                "name": layer.name,
                "kind": "bed" if layer.scatter is None else "scatter",
                "family": layer.family,
                "role": layer.role,
                "prompt": str(layer.prompt),
                "heard": str(bed.plan.mix_at(bed.head) or "") if bed else None,
                "gain": round(layer.gain, 4),
                "muted": layer.muted,
                "level_db": round(20 * float(np.log10(max(level, 1e-6))), 1),
                "seconds_ahead": round(bed.ahead_frames() / RATE, 2) if bed else None,
                "why": list(layer.why),
            }
        )
    return rows
