"""The supply of clips of one model: what is asked for, in which order, and where that which comes goes.

Live, answers are taken in as they come. Offline, they are taken in at frames that depend on the requests alone, so that
rendering twice gives the same samples.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ambient.engine.bed import SILENT_GAIN, Accepted, Bed
from ambient.engine.options import Options
from ambient.engine.shots import Shots
from ambient.errors import BackendError
from ambient.messages import RATE, Clip, ClipFailure, ClipRequest, LayerMoment, Moment, PromptMix, frames
from ambient.plan import Ladder, Pace
from ambient.ports import Generator

__all__ = ["Counts", "Now", "Supply", "audible"]

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


def audible(layer: LayerMoment) -> bool:
    """Whether a layer is to be heard."""
    return not layer.muted and layer.gain > SILENT_GAIN


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


@dataclass(frozen=True, slots=True)
class Now:
    """What the supply must know of the moment."""

    frame: int
    moment: Moment
    look: Callable[[int], Moment]
    """What a later frame should sound like, as if nothing more happened."""
    gains: Mapping[str, float]
    """What each layer was last played with, linear."""
    guidance: float | None = None
    """The scene's own."""
    priming: bool = False
    """The clock has not started: nothing presses."""


@dataclass(slots=True)
class _Flight:
    requests: tuple[ClipRequest, ...]
    take_in_frame: int
    answers: dict[tuple[str, int], Clip | ClipFailure] = field(default_factory=dict)

    @property
    def deadline_frame(self) -> int:
        """When the first of its clips is needed."""
        return min(r.deadline_frame for r in self.requests)


class Supply:
    """Keeps the layers' players supplied with clips."""

    def __init__(
        self,
        generator: Generator,
        options: Options,
        ladder: Ladder,
        fault: Callable[[str], None],
        start: Now,
        counts: Counts | None = None,
    ) -> None:
        """``fault`` is told what went wrong and was helped; ``counts`` may be shared with other supplies."""
        self.generator = generator
        self.options = options
        self.counts = counts or Counts()
        self.pace = Pace()
        self.ladder = ladder
        self.beds: dict[str, Bed] = {}
        self.shots: dict[str, Shots] = {}
        self.fault = fault
        self._flight: _Flight | None = None
        self._late = False
        self.now = start

    @property
    def waiting(self) -> bool:
        """Whether a batch is under way."""
        return self._flight is not None

    @property
    def speed(self) -> float | None:
        """Seconds of sound that the model makes in a second; None before it was measured."""
        per = self.generator.info.frames_per_latent / RATE
        return self.pace.speed(self.ladder.rung.steps, per) if self.pace.measured else None

    def wire(self, layers: Sequence[LayerMoment], seed: int) -> None:
        """Gives every layer its player, and drops those of layers that are gone."""
        info = self.generator.info
        wanted = {
            m.name: m
            for m in layers
            if self.options.solo in (None, m.name) and not self.options.mute & {m.name, m.family, m.role}
        }
        length = self.options.clip_seconds
        latents = None if length is None else round(length * RATE / info.frames_per_latent)
        self.beds = {
            n: self.beds.get(n) or Bed(n, info, seed, clip_latents=latents)
            for n, m in wanted.items()
            if m.scatter is None
        }
        self.shots = {n: self.shots.get(n) or Shots(n, info, seed) for n, m in wanted.items() if m.scatter}

    # ---- taking in what was generated

    def take_in(self, now: Now) -> None:
        """Takes in what has come. Raises BackendError where offline rendering cannot go on."""
        self.now = now
        self._take_in()

    def _take_in(self) -> None:
        flight = self._flight
        try:
            answers = self.generator.poll(0.0)
            if flight is not None and not self.options.live and self.now.frame >= flight.take_in_frame:
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
        elif done and self.now.frame >= flight.take_in_frame:
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
            if trouble := player.receive(answer, self.now.moment.layer(layer)):
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
                if not self.options.live and not outcome.join_failed and player.plan.attempt > 3:
                    raise BackendError(f"layer {layer} cannot be generated: {outcome.fault}")

    # ---- asking for what is needed next

    def plan(self, now: Now) -> None:
        """Asks for what is needed next, most urgent first."""
        self.now = now
        self._plan()

    def _plan(self) -> None:
        ahead = frames(self.options.ahead_seconds)

        @functools.cache
        def exactly(frame: int) -> Moment:
            return self.now.look(frame)

        def look(frame: int) -> Moment:
            grid = NEAR_GRID_FRAMES if frame < self.now.frame + RATE else LOOK_GRID_FRAMES
            return exactly(max(self.now.frame, frame // grid * grid))

        future = look(self.now.frame + frames(4))
        resting = self._resting()
        changed = False
        wishes: list[tuple[int, int, ClipRequest, Bed | Shots]] = []
        # A change of state asks for all beds at once: the loudest is served first.
        turns = sorted(self.beds, key=lambda name: -self.now.moment.layer(name).gain)
        before = 0  # hurried clips to be made first
        for name in turns:
            bed, now = self.beds[name], self.now.moment.layer(name)
            if audible(now):
                bed.start(self.now.frame)
            elif self.now.gains.get(name, 0.0) <= SILENT_GAIN:
                bed.stop()
            needed = audible(now) or audible(future.layer(name)) or (now.warm and not bed.plan.begun)
            if (not needed and bed.plan.pending is None) or name in resting:
                continue
            in_flight = bed.plan.pending is not None
            request = bed.next_request(
                self.now.frame,
                self._wanted(look, name),
                self.ladder.rung,
                ahead_frames=ahead,
                lead_frames=self._lead_frames(before),
                guidance=self._guidance(now),
                steps=self._steps(now),
                hurried_steps=self._hurried_steps(),
                loop_frame=self.options.loop_frames,
            )
            changed |= bed.plan.changed
            before += bed.plan.changed and not in_flight
            if request is not None and not in_flight:
                wishes.append((request.deadline_frame, len(wishes), request, bed))
        for name, shots in self.shots.items():
            now = self.now.moment.layer(name)
            if now.scatter is None:
                continue
            # at a rate of 0 nothing falls: a layer that waits for danger needs no full bank yet
            active = (audible(now) or now.warm) and now.scatter.rate_per_minute != 0
            wish = shots.bank.next_request(
                self.now.frame,
                now.scatter,
                active=active,
                steps=self._steps(now),
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
        return self.options.live and flight.deadline_frame - self.now.frame > frames(GIVE_WAY_SECONDS)

    def _hurried_steps(self) -> int | None:
        """Denoising steps of a clip that time presses for; None where it never does."""
        if not self.options.live or self.now.priming:
            return None
        return min(self.ladder.rung.steps, self.generator.info.min_steps)

    def _wanted(self, look: Callable[[int], Moment], name: str) -> Callable[[int], PromptMix]:
        def wanted(clock_frame: int) -> PromptMix:
            return look(clock_frame).layer(name).prompt

        return wanted

    def _steps(self, layer: LayerMoment) -> int:
        """Denoising steps: the layer's own, unless the command line says; on the lower rungs no more than allowed."""
        rung = self.ladder.rung
        if layer.steps is None or self.options.steps is not None:
            return rung.steps
        return min(layer.steps, rung.steps) if rung.level else layer.steps

    def _guidance(self, layer: LayerMoment) -> float:
        for given in (self.options.guidance, layer.guidance, self.now.guidance):
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
            fits = not batch or (
                len(batch) < self.options.batch_clips and (not self.options.live or self._may_share(batch, request))
            )
            if self._flight is None and like_first and fits:
                batch.append(request)
            else:
                (player.plan if isinstance(player, Bed) else player.bank).withdraw()
        if not batch:
            return
        delay = frames(self.options.offline_delay_seconds)
        urgent = min(r.deadline_frame for r in batch) - frames(0.2)
        self._flight = _Flight(tuple(batch), min(self.now.frame + delay, max(self.now.frame, urgent)))
        timeout = max(10.0, 8 * self.pace.batch_seconds(batch))
        self.generator.submit(batch, timeout)
        if not self.options.live and self._flight.take_in_frame <= self.now.frame:
            self._take_in()
            self._plan()

    def _may_share(self, batch: list[ClipRequest], request: ClipRequest) -> bool:
        """Live: whether a batch may grow by a request without making the first one wait too long for its answer."""
        urgent = batch[0].deadline_frame - self.now.frame < frames(2.0)
        most = self.options.batch_seconds / 2 if urgent else self.options.batch_seconds
        needed = self.pace.batch_seconds([*batch, request])
        return needed <= most and self.now.frame + frames(needed + SLACK_SECONDS) <= batch[0].deadline_frame

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
        able.sort(key=lambda n: self.now.moment.layer(n).gain)
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
                added = bed.plan.added_latents(long_clips)
                made = self.pace.predict_seconds(length, steps)
                total += layers * made / (added * self.generator.info.frames_per_latent / RATE)
            return total

        if self.ladder.update(
            self.now.frame,
            load(rung.steps, rung.long_clips, len(live)),
            load(above.steps, above.long_clips, len(live) + rung.resting_layers - above.resting_layers),
            self._late,
        ):
            self.fault(f"degrade level {self.ladder.rung.level}")
        self._late = False
