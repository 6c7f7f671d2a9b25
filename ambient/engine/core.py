"""The engine: scene → plan → clips → timelines → mix, one block at a time, on one sample clock.

Everything happens in :meth:`Engine.step`, called from one thread. Live, answers are taken in as they come. Offline,
they are taken in at frames that depend on the requests alone, so that rendering twice gives the same samples.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ambient.engine.asked import Asked
from ambient.engine.bed import SILENT_GAIN, Accepted, Bed
from ambient.engine.shots import Shots
from ambient.errors import BackendError
from ambient.messages import (
    BLOCK_FRAMES,
    RATE,
    Audio,
    Block,
    Clip,
    ClipFailure,
    ClipRequest,
    LayerMoment,
    Moment,
    PromptMix,
    SceneEvent,
    frames,
)
from ambient.plan import Ladder, Pace
from ambient.ports import Generator
from ambient.scene import Inputs, Machine, Scene
from ambient.sound import LayerBlock, Limiter, LoudnessControl, mix

__all__ = ["Counts", "Engine", "Options"]

PLAN_EVERY_BLOCKS = 5
PRIMED_SECONDS = 8.0
"""Long enough for a worker to load its model behind clips from the cache."""
LOOK_GRID_FRAMES = frames(0.64)
"""Forecasts are made on this grid,"""
NEAR_GRID_FRAMES = frames(0.08)
"""and on this one for the next second, where the answer to a change begins."""
SLACK_SECONDS = 0.1
"""What a clip may take longer than foretold: its way to and from the worker, and a busy machine."""
HURRIED_FADE_SECONDS = 0.16
GIVE_WAY_SECONDS = 1.5
"""A batch that is needed within this time is finished whatever happens."""
STEP_SHARE = 0.35
"""Share of a batch's time that passes, at the worst, before it can be given up: that of the decoder."""
NOMINAL_LUFS = -24.0
"""About what one layer at full gain measures."""
GAIN_SLEW = BLOCK_FRAMES / frames(0.03)
"""Share of a full-scale gain step that one block may take: 30 ms for a whole one, so that nothing clicks."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine runs. Absent is None."""

    seed: int | None = None
    live: bool = True
    """Whether time presses. Offline, the engine waits for every clip and degrades nothing."""
    steps: int | None = None
    solo: str | None = None
    """The only layer to be heard and generated."""
    mute: frozenset[str] = frozenset()
    """Layers, families and roles that are neither heard nor generated."""
    ahead_seconds: float = 12.0
    """Sound to keep ready in front of the playhead."""
    batch_seconds: float = 0.7
    """Live, longest batch: a changed scene waits for the one that is being made."""
    offline_delay_seconds: float = 4.0
    """Offline, mixing goes on for so long after a request, while the clip is made."""
    guidance: float | None = None
    loudness: bool = True
    loop_frames: int | None = None
    """Offline: when the beginning is to come again, a whole number of latent frames. Layers that sound from the
    beginning are led back into it."""
    began: datetime | None = None
    """Live, the time of day that frame 0 stands for, where the scene's clock does not say; None: now."""


@dataclass(slots=True)
class Counts:
    """What happened so far."""

    clips: int = 0
    latents: int = 0
    """Latent frames that were generated, kept ones included."""
    cached: int = 0
    failures: int = 0
    joins: int = 0
    joins_repaired: int = 0
    joins_failed: int = 0
    late: int = 0
    underruns: int = 0
    fallback_blocks: int = 0


@dataclass(slots=True)
class _Flight:
    requests: tuple[ClipRequest, ...]
    take_in_frame: int
    answers: dict[tuple[str, int], Clip | ClipFailure] = field(default_factory=dict)

    @property
    def deadline_frame(self) -> int:
        """When the first of its clips is needed."""
        return min(r.deadline_frame for r in self.requests)


class Engine:
    """Makes block after block of a scene, for ever."""

    def __init__(self, scene: Scene, generator: Generator, options: Options | None = None) -> None:
        self.options = options or Options()
        if self.options.live and self.options.began is None:
            self.options = replace(self.options, began=datetime.now(UTC))
        self.scene = scene
        self.generator = generator
        self.machine = self._machine(scene)
        self.seed = self.machine.seed
        self.frame = 0
        """First frame of the next block."""
        self.counts = Counts()
        self.pace = Pace()
        self.ladder = Ladder(generator.info, steps=self.options.steps or scene.steps)
        self.moment: Moment = self.machine.look(0)
        self.faults: collections.deque[str] = collections.deque(maxlen=50)
        self.fault_count = 0
        self.beds: dict[str, Bed] = {}
        self.shots: dict[str, Shots] = {}
        self.levels: dict[str, float] = {}
        self._asked = Asked()
        self._gains: dict[str, float] = {}
        self._flight: _Flight | None = None
        self._blocks = 0
        self._happened: list[SceneEvent] = []
        self._loudness = LoudnessControl(scene.loudness, self._expected_lufs())
        self._limiter = Limiter()
        self._late = False
        self._priming = False
        self.on_layers: Callable[[Mapping[str, Audio]], None] | None = None
        """Called with every layer's share of each block, before loudness and limiter: they sum to the mix."""
        self.on_note: Callable[[str, Mapping[str, Any]], None] | None = None
        """Called with what is done to the scene from outside, once it is done, and with every fault."""
        self._awoken = False
        self._wired()

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
        heard = [bed for bed in self.beds.values() if self._audible(self.moment.layer(bed.name))]
        return all(bed.plan.begun and bed.plan.end_frame >= frames(PRIMED_SECONDS) for bed in heard)

    def prime(self) -> None:
        """Works on the first clips without moving the clock. Call until :attr:`primed`."""
        self.moment = self._asked.join(self.machine.look(self.frame))
        self._priming = True
        self._take_in()
        self._plan()
        self._priming = False

    def step(self) -> Block:
        """Makes the next block. Raises BackendError where offline rendering cannot go on."""
        if not self._blocks:
            self._note("begin")
        events = self._happened + self.machine.advance(self.frame)
        self._happened = []
        self.moment = self._asked.join(self.machine.look(self.frame))
        for event in events:
            layer = event.detail.get("layer")
            if event.kind == "event" and layer in self.shots:
                self.shots[layer].bank.fire()
        busy = self._flight is not None
        self._take_in()
        idle = self.options.live and busy and self._flight is None
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
        """Lets time pass unheard: the scene moves on, the sound that is ready waits. Rounded down to whole latents.

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

    def set_param(self, name: str, value: float) -> None:
        """Sets a parameter from the next block on. Raises ValueError."""
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
        """Seconds of sound that the generator makes in a second; None before it was measured."""
        if not self.pace.measured:
            return None
        info = self.generator.info
        return self.pace.speed(self.ladder.rung.steps, info.frames_per_latent / RATE)

    def joins(self) -> dict[str, list[int]]:
        """Frames of output, middle of every crossfade between two clips that was heard, by layer."""
        return {name: list(bed.joins_heard) for name, bed in self.beds.items()}

    def replace_scene(self, scene: Scene) -> None:
        """Goes on with another version of the scene, in the same state; layers of the same name keep their sound, and
        what of it is not as the new version wants it is painted anew."""
        before = self.machine
        self.scene = scene
        self.machine = self._machine(scene)
        self.machine.take_over(before)
        self._loudness.target_lufs = scene.loudness
        self.moment = self._asked.join(self.machine.look(self.frame))
        self._wired()
        self._note("scene", name=scene.name, text=scene.text)

    def _note(self, what: str, **how: Any) -> None:
        if self.on_note is not None:
            self.on_note(what, how)

    def _machine(self, scene: Scene) -> Machine:
        return Machine(scene, seed=self.options.seed, live_start=self.options.began)

    def _expected_lufs(self) -> float | None:
        """Loudness to expect of the first moment, from the layers' gains and the models' nominal level."""
        power = sum(m.gain**2 for m in self.moment.layers if not m.muted and m.scatter is None)
        return NOMINAL_LUFS + 10 * math.log10(power) if power > 1e-4 else None

    def _wired(self) -> None:
        """Gives every layer of the scene its player, and drops those of layers that are gone."""
        info = self.generator.info
        wanted = {
            m.name: m
            for m in self.moment.layers
            if self.options.solo in (None, m.name) and not self.options.mute & {m.name, m.family, m.role}
        }
        self.beds = {n: self.beds.get(n) or Bed(n, info, self.seed) for n, m in wanted.items() if m.scatter is None}
        self.shots = {n: self.shots.get(n) or Shots(n, info, self.seed) for n, m in wanted.items() if m.scatter}

    # ---- taking in what was generated

    def _take_in(self) -> None:
        flight = self._flight
        try:
            answers = self.generator.poll(0.0)
            if flight is not None and not self.options.live and self.frame >= flight.take_in_frame:
                while len(flight.answers) + len(answers) < len(flight.requests):
                    answers += self.generator.poll(1.0)
        except BackendError as error:
            if not self.options.live:
                raise
            self.fault(str(error))
            return
        if flight is None:
            return
        known = {(r.key.layer, r.seed) for r in flight.requests}
        for answer in answers:
            key = (answer.request.key.layer, answer.request.seed)
            if key in known:
                flight.answers[key] = answer
        done = len(flight.answers) == len(flight.requests)
        if self.options.live:
            if flight.answers:  # one a block: joining a clip takes a good part of one
                key = next(iter(flight.answers))
                self._accept(flight.answers.pop(key))
                flight.requests = tuple(r for r in flight.requests if (r.key.layer, r.seed) != key)
            if not flight.requests:
                self._flight = None
        elif done and self.frame >= flight.take_in_frame:
            self._flight = None
            for request in flight.requests:
                self._accept(flight.answers[request.key.layer, request.seed])

    def _accept(self, answer: Clip | ClipFailure) -> None:
        layer = answer.request.key.layer
        player = self.beds.get(layer) or self.shots.get(layer)
        if isinstance(answer, ClipFailure):
            self.counts.failures += 1
            self.fault(f"{layer}: clip {answer.request.key.index} failed: {answer.message}")
            if isinstance(player, Bed):
                player.plan.failed()
                if not self.options.live and player.plan.attempt > 3:
                    raise BackendError(f"layer {layer} cannot be generated: {answer.message}")
            elif player is not None:
                player.bank.failed()
            return
        self.counts.clips += 1
        self.counts.cached += answer.cached
        self.counts.latents += 0 if answer.cached else answer.request.latent_frames
        self.pace.observe(answer)
        if isinstance(player, Shots):
            if trouble := player.receive(answer, self.moment.layer(layer)):
                self.fault(trouble)
        elif isinstance(player, Bed):
            again = None
            if self.options.live:
                again = frames(2 * self.pace.predict_seconds(answer.request.latent_frames, answer.request.steps) + 0.2)
            outcome = player.receive(answer, again)
            if isinstance(outcome, Accepted):
                self.counts.joins += answer.request.tail is not None
                self.counts.joins_failed += outcome.join.failed and answer.request.tail is not None
                if outcome.ran_out:
                    self.counts.late += 1
                    self._late = True
            elif outcome.fault is not None:
                self.counts.joins_repaired += outcome.join_failed
                self.counts.failures += not outcome.join_failed
                self.fault(outcome.fault)

    def fault(self, text: str) -> None:
        """Notes a fault, for status and log."""
        self.faults.append(text)
        self.fault_count += 1
        self._note("fault", text=text)

    # ---- asking for what is needed next

    def _audible(self, layer: LayerMoment) -> bool:
        return not layer.muted and layer.gain > SILENT_GAIN

    def _plan(self) -> None:
        for name, trouble in self._asked.settle(self.shots, self.frame).items():
            del self.shots[name]
            self.levels.pop(name, None)
            if trouble:
                self.fault(f"{name}: {trouble}")
        ahead = frames(self.options.ahead_seconds)

        @functools.cache
        def exactly(frame: int) -> Moment:
            return self.machine.look(frame)

        def look(frame: int) -> Moment:
            grid = NEAR_GRID_FRAMES if frame < self.frame + RATE else LOOK_GRID_FRAMES
            return exactly(max(self.frame, frame // grid * grid))

        future = look(self.frame + frames(4))
        resting = self._resting()
        changed = False
        wishes: list[tuple[int, int, ClipRequest, Bed | Shots]] = []
        # A change of state asks for all beds at once: the loudest is served first.
        turns = sorted(self.beds, key=lambda name: -self.moment.layer(name).gain)
        before = 0  # hurried clips to be made first
        for name in turns:
            bed, now = self.beds[name], self.moment.layer(name)
            if self._audible(now):
                bed.start(self.frame)
            elif self._gains.get(name, 0.0) <= SILENT_GAIN:
                bed.stop()
            needed = self._audible(now) or self._audible(future.layer(name)) or (now.warm and not bed.plan.begun)
            if (not needed and bed.plan.pending is None) or name in resting:
                continue
            in_flight = bed.plan.pending is not None
            request = bed.next_request(
                self.frame,
                self._wanted(look, name),
                self.ladder.rung,
                ahead_frames=ahead,
                lead_frames=self._lead_frames(before),
                guidance=self._guidance(now),
                steps=now.steps,
                hurried_steps=self._hurried_steps(),
                loop_frame=self.options.loop_frames,
            )
            changed |= bed.plan.changed
            before += bed.plan.changed and not in_flight
            if request is not None and not in_flight:
                wishes.append((request.deadline_frame, len(wishes), request, bed))
        for name, shots in self.shots.items():
            now = self.moment.layer(name)
            if now.scatter is None:
                continue
            # at a rate of 0 nothing falls: a layer that waits for danger needs no full bank yet
            active = (self._audible(now) or now.warm) and now.scatter.rate_per_minute != 0
            wish = shots.bank.next_request(
                self.frame,
                now.scatter,
                active=active,
                steps=min(self.ladder.rung.steps, now.steps or self.ladder.rung.steps),
                guidance=self._guidance(now),
            )
            if wish is not None:
                wishes.append((wish.deadline_frame, len(wishes), wish, shots))
        if changed and self._give_up_flight():
            for _, _, _, player in wishes:
                (player.plan if isinstance(player, Bed) else player.bank).withdraw()
            self._plan()
            return
        self._dispatch(wishes)
        if self.options.live:
            self._climb()

    def _give_up_flight(self) -> bool:
        """What is being made must not keep a change waiting: it is asked for again, if it is still wanted."""
        flight = self._flight
        if flight is None or not self._can_wait(flight):
            return False
        for request in flight.requests:
            self.generator.cancel(request)
            player = self.beds.get(request.key.layer) or self.shots.get(request.key.layer)
            if isinstance(player, Bed):
                player.plan.drop()
            elif player is not None:
                player.bank.withdraw()
        self._flight = None
        return True

    def _can_wait(self, flight: _Flight) -> bool:
        """Live: whether a batch is needed so much later than the answer to a change that it gives way to it."""
        return self.options.live and flight.deadline_frame - self.frame > frames(GIVE_WAY_SECONDS)

    def _hurried_steps(self) -> int | None:
        """Denoising steps of a clip that time presses for; None where it never does."""
        if not self.options.live or self._priming:
            return None
        return min(self.ladder.rung.steps, self.generator.info.min_steps)

    def _wanted(self, look: Callable[[int], Moment], name: str) -> Callable[[int], PromptMix]:
        def wanted(clock_frame: int) -> PromptMix:
            return look(clock_frame).layer(name).prompt

        return wanted

    def _guidance(self, layer: LayerMoment) -> float:
        for given in (self.options.guidance, layer.guidance, self.scene.guidance):
            if given is not None:
                return given
        return self.generator.info.guidance

    def _dispatch(self, wishes: list[tuple[int, int, ClipRequest, Bed | Shots]]) -> None:
        """Sends the most urgent wishes as one batch, earliest deadline first, and withdraws the others."""
        wishes.sort(key=lambda w: w[:2])
        batch: list[ClipRequest] = []
        for _, _, request, player in wishes:
            like_first = not batch or (request.latent_frames, request.steps, request.guidance, request.one_shot) == (
                batch[0].latent_frames,
                batch[0].steps,
                batch[0].guidance,
                batch[0].one_shot,
            )
            fits = not batch or (len(batch) < 4 and (not self.options.live or self._may_share(batch, request)))
            if self._flight is None and like_first and fits:
                batch.append(request)
            else:
                (player.plan if isinstance(player, Bed) else player.bank).withdraw()
        if not batch:
            return
        delay = frames(self.options.offline_delay_seconds)
        urgent = min(r.deadline_frame for r in batch) - frames(0.2)
        self._flight = _Flight(tuple(batch), min(self.frame + delay, max(self.frame, urgent)))
        timeout = max(10.0, 8 * self.pace.batch_seconds(batch))
        self.generator.submit(batch, timeout)
        if not self.options.live and self._flight.take_in_frame <= self.frame:
            self._take_in()
            self._plan()

    def _may_share(self, batch: list[ClipRequest], request: ClipRequest) -> bool:
        """Live: whether a batch may grow by a request without making the first one wait too long for its answer."""
        urgent = batch[0].deadline_frame - self.frame < frames(2.0)
        most = self.options.batch_seconds / 2 if urgent else self.options.batch_seconds
        needed = self.pace.batch_seconds([*batch, request])
        return needed <= most and self.frame + frames(needed + SLACK_SECONDS) <= batch[0].deadline_frame

    def _lead_frames(self, before: int) -> int:
        """From now until a hurried clip can be heard: waiting, making it and so many ``before`` it, its crossfade."""
        if not self.options.live:
            return frames(0.6)
        hurried = next((b.plan.hurried_latents() for b in self.beds.values()), 0)
        steps = self._hurried_steps() or self.ladder.rung.steps
        made = self.pace.predict_seconds(hurried, steps) * (before + 1)
        waiting = 0.0
        if self._flight is not None:
            waiting = self.pace.batch_seconds(self._flight.requests)
            if self._can_wait(self._flight):  # it is given up between two steps, or before the decoder
                waiting *= STEP_SHARE
        return frames(min(4.0, made + waiting) + SLACK_SECONDS + HURRIED_FADE_SECONDS)

    def _resting(self) -> set[str]:
        """The quietest layers, which make do with their own material on the lowest rungs."""
        count = self.ladder.rung.resting_layers
        able = [n for n, b in self.beds.items() if b.playing and b.timeline.end_frame]
        able.sort(key=lambda n: self.moment.layer(n).gain)
        return set(able[: min(count, len(able) - 1)]) if count and able else set()

    def _climb(self) -> None:
        """Compares the measured speed with what the live layers need, and moves on the ladder."""
        if not self.pace.measured:
            return
        rung, above = self.ladder.rung, self.ladder.above
        live = [b for n, b in self.beds.items() if b.playing and n not in self._resting()]

        def load(steps: int, long_clips: bool, layers: int) -> float:
            total = 0.0
            for bed in live[:1]:
                length = bed.plan.regular_latents(long_clips)
                new = max(1, length - bed.plan.kept_latents)
                made = self.pace.predict_seconds(length, steps)
                total += layers * made / (new * self.generator.info.frames_per_latent / RATE)
            return total

        if self.ladder.update(
            self.frame,
            load(rung.steps, rung.long_clips, len(live)),
            load(above.steps, above.long_clips, len(live) + rung.resting_layers - above.resting_layers),
            self._late,
        ):
            self.fault(f"degrade level {self.ladder.rung.level}")
        self._late = False

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
        self.counts.fallback_blocks += fallback
        if self.on_layers is not None:
            self.on_layers({name: mix([block], n) for name, block in blocks.items()})
        audio = mix(list(blocks.values()), n)
        if self.options.loudness:
            audio = self._loudness.process(audio)
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
