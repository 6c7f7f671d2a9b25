"""A bed layer at work: its plan, its timeline and its own playhead."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass

from ambient.messages import RATE, Clip, ClipRequest, LayerMoment, ModelInfo, PromptMix
from ambient.plan import BedPlan, Rung, layer_seed
from ambient.sound import Join, LayerAnchor, LayerBlock, Remix, Timeline, inspect_clip

__all__ = ["Accepted", "Bed", "Farewell", "Refused"]

SILENT_GAIN = 1e-4
"""−80 dB: below it a layer needs no sound."""
MOST_REPAIRS = 2
"""How often a clip whose join fails is made again."""
FAREWELL_SECONDS = 0.5
LONGEST_FAREWELL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """A clip went into the timeline."""

    join: Join
    ran_out: bool
    """The layer had no generated sound left when it came."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A clip was dropped; ``fault`` says why, None when it merely was not wanted any more."""

    fault: str | None
    join_failed: bool = False


class Bed:
    """Plays one bed layer.

    ``head`` is the layer's own playhead. It stands still while the layer is silent, so that a layer which comes
    back goes on where it stopped, at once, with the sound that was ready. It always differs from the clock by a
    whole number of latent frames.
    """

    def __init__(self, name: str, info: ModelInfo, scene_seed: int, *, clip_latents: int | None = None) -> None:
        self.name = name
        self.plan = BedPlan(name, info, scene_seed, clip_latents=clip_latents)
        self.timeline = Timeline()
        self.head = 0
        self.playing = False
        self.fallback = False
        self.sounded = False
        """Whether any of it was heard yet: before that there is no sound to run out of."""
        self.joins_heard: list[int] = []
        """Clock frames of the joins that were played, middle of each crossfade."""
        self.made: collections.deque[Join] = collections.deque(maxlen=100)
        """The last joins between two clips, as they were measured when they were made."""
        self._per = info.frames_per_latent
        self._remix = Remix(layer_seed(scene_seed, name, "remix"))
        self._anchor = LayerAnchor(levelled=info.levelled)
        self._joins_ahead: list[int] = []
        self._width = 1.0
        self._opens = False
        """Whether it sounds from the scene's very beginning."""
        self._best: tuple[float, Clip] | None = None
        """Join score and clip of the best try so far, while a clip is made again."""

    def start(self, clock_frame: int) -> None:
        """The layer is about to be heard: its playhead moves again."""
        if not self.playing:
            self.playing = True
            self._opens |= clock_frame == 0
            self.head += (clock_frame - self.head) % self._per

    def stop(self) -> None:
        """The layer is silent: its playhead stands still."""
        self.playing = False

    def ahead_frames(self) -> int:
        """Frames of generated sound in front of the playhead."""
        return max(0, self.plan.end_frame - self.head) if self.plan.begun else 0

    def next_request(
        self,
        clock_frame: int,
        wanted: Callable[[int], PromptMix],
        rung: Rung,
        *,
        ahead_frames: int,
        lead_frames: int,
        guidance: float,
        steps: int,
        hurried_steps: int | None = None,
        loop_frame: int | None = None,
    ) -> ClipRequest | None:
        """The clip that is needed next; ``wanted`` takes clock frames, and so does ``loop_frame``."""
        offset = clock_frame - self.head
        return self.plan.next_request(
            self.head,
            lambda local: wanted(local + offset),
            offset_frames=offset,
            ahead_frames=ahead_frames,
            lead_frames=lead_frames,
            steps=steps,
            hurried_steps=hurried_steps and min(steps, hurried_steps),
            guidance=guidance,
            long_clips=rung.long_clips,
            loop_frame=loop_frame - offset if loop_frame is not None and self._opens else None,
        )

    def receive(self, clip: Clip, repair_frames: int | None) -> Accepted | Refused:
        """Takes in the pending clip.

        ``repair_frames`` is the time that making it again would take; None when time does not matter.
        """
        bad = inspect_clip(clip.audio, clip.request.latent_frames * self._per)
        if bad is not None:
            self.plan.failed()
            return Refused(f"{self.name}: clip {clip.request.key.index} refused: {bad[1]}")
        timely = repair_frames is None or self.plan.retry_is_timely(self.head, repair_frames)
        may_repair = timely and self.plan.attempt < MOST_REPAIRS
        before = self.timeline.end_frame
        ran_out = self.plan.begun and self.plan.end_frame < self.head
        placement = self.plan.peek(clip, self.head)
        if placement is None:
            self.plan.drop()
            return Refused(None)
        audio = self._anchor.correct(clip.audio, placement.join_frame - placement.start_frame)
        fade = placement.fade_frames
        if not clip.request.settled:
            self.timeline.changes()
        if before and clip.request.tail is not None:
            tried = self.timeline.try_join(audio, placement.start_frame, placement.join_frame, fade)
            rival = self._best if self._best and self._best[1].request.start_frame == clip.request.start_frame else None
            if tried.failed and may_repair:
                if rival is None or tried.score < rival[0]:
                    self._best = tried.score, clip
                self.plan.failed()
                return Refused(f"{self.name}: clip {clip.request.key.index} joins badly, made again", True)
            if tried.failed and rival is not None and rival[0] < tried.score:
                clip = rival[1]  # the tries are over: the best of them
                audio = self._anchor.correct(clip.audio, placement.join_frame - placement.start_frame)
        self._best = None
        self.plan.place(clip, placement, self.head)
        join = self.timeline.splice(audio, placement.start_frame, placement.join_frame, fade)
        self._anchor.learn(clip.audio)
        self._joins_ahead = [j for j in self._joins_ahead if j < join.middle_frame - fade]
        if clip.request.tail is not None:
            self._joins_ahead.append(join.middle_frame)
            self.made.append(join)
        return Accepted(join, ran_out)

    def read(self, clock_frame: int, n: int, moment: LayerMoment, gains: tuple[float, float]) -> LayerBlock | None:
        """The next ``n`` frames, with the gain ramp to apply; None while the layer is silent or has no sound yet."""
        self.fallback = False
        if not self.playing:
            return None
        start, self.head = self.head, self.head + n
        if not self.plan.begun:
            return None
        if self.timeline.end_frame < self.head:
            # The next clip is late: own recent material, re-joined, a second at a time.
            self._remix.extend(self.timeline, self.head + RATE)
        self.fallback = self.plan.end_frame < start
        audio, missing = self.timeline.read(start, n)
        if missing == n:
            return None
        self.sounded = True
        while self._joins_ahead and self._joins_ahead[0] < self.head:
            self.joins_heard.append(self._joins_ahead.pop(0) - start + clock_frame)
        self.timeline.forget_before(self.head)
        width, self._width = self._width, moment.width
        return LayerBlock(audio, *gains, width, moment.width)


class Farewell:
    """The last that is heard of a bed whose layer is gone from the scene, or comes from another model now."""

    def __init__(self, bed: Bed, moment: LayerMoment, gain: float) -> None:
        """``moment``: the layer as it last was; ``gain``: what it was last played with."""
        self.name = bed.name
        self._bed, self._moment, self._gain = bed, moment, gain
        self._step = gain / (FAREWELL_SECONDS * RATE)
        self._left = round(LONGEST_FAREWELL_SECONDS * RATE)

    def read(self, clock_frame: int, n: int, waits: bool) -> LayerBlock | None:
        """The next ``n`` frames; None when it is over. While it ``waits`` for its heir's first sound it does not fade,
        but for no longer than half a minute."""
        self._left -= n
        before = self._gain
        self._gain = before if waits and self._left > 0 else max(0.0, before - n * self._step)
        return self._bed.read(clock_frame, n, self._moment, (before, self._gain)) if before else None
