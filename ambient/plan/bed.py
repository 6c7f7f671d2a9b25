"""Plans one bed layer: an unbroken sound, each clip painted over the end of the one before.

Two coordinates, both integers. A *position* counts latent frames on the layer's own lattice and never jumps, so
that every clip truly continues its tail. A *local frame* counts frames on the layer's timeline; ``shift`` (a whole
number of latent frames) leads from positions to local frames. It grows when a clip came too late and the layer
had to help itself with other material meanwhile: the latents go on where they stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ambient.messages import RATE, Clip, ClipKey, ClipRequest, Latents, ModelInfo, PromptMix, Tail
from ambient.plan.seeds import clip_seed, layer_seed
from ambient.plan.track import LatentTrack

__all__ = ["BedPlan", "Placement"]

REPLAN_DISTANCE = 0.25
"""Mix distance beyond which sound that is ready, but not yet heard, is painted anew."""
STEP_DISTANCE = 0.2
"""Mix distance that one clip may leap: a far change is walked in steps of this size."""
SCARCE_FRAMES = 3 * RATE
"""Less sound than this in front of the playhead is added to in short, quick clips, so that no other layer waits."""
FADE_FRAMES = round(0.3 * RATE)
FIRST_FADE_FRAMES = round(0.05 * RATE)
LOOP_SECONDS = 1.6
"""How much of its beginning a loop is led into."""
BRIDGE_SECONDS = 2.0
"""Least new sound between what was there and the beginning that it leads into."""
UNSURE_SECONDS = 0.48
"""The last of a clip is painted anew by the next, where time allows: a model knows less of what nothing follows. (The
bundled one makes surf move half as much again there; of others it was not measured.)"""
MARGIN_FRAMES = round(0.04 * RATE)
"""Least distance of a join from the playhead."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a clip goes on the layer's timeline, in local frames."""

    start_frame: int
    join_frame: int
    """Middle of the crossfade."""
    fade_frames: int
    late_frames: int = 0
    """How far the layer had to be shifted because the clip was late; 0 when in time."""


class BedPlan:
    """Decides the next clip of a bed layer and where a finished one goes.

    One clip is in flight at most, because each continues the one before.
    """

    def __init__(
        self,
        name: str,
        info: ModelInfo,
        scene_seed: int,
        *,
        clip_latents: int | None = None,
        kept_latents: int | None = None,
    ) -> None:
        self.name = name
        self.info = info
        self.track = LatentTrack()
        self.shift = 0
        self.pending: ClipRequest | None = None
        self.opening: Latents | None = None
        """The layer's first latents, which a loop leads back into."""
        self._seed = scene_seed
        self._noise_seed = layer_seed(scene_seed, name, "noise")
        self._mixes: list[tuple[int, PromptMix]] = []
        self._index = 0
        self._attempt = 0
        self._stale = False
        self.changed = False
        """Whether ready sound, soon to be heard, is not what the scene wants any more, as the last look found."""
        per_second = RATE / info.frames_per_latent
        self._clip = min(info.max_latent_frames, clip_latents or round(7.68 * per_second))
        self.kept_latents = min(kept_latents or round(1.6 * per_second), self._clip // 2)
        # The overlap of a hurried clip: the crossfade and the decoder's reach at both of its ends.
        self._hurried_kept = min(self.kept_latents, 2 * info.edge_latents + max(2, round(0.16 * per_second)))
        self._new_hurried = round(1.28 * per_second)
        self._new_short = round(2.56 * per_second)
        self._unsure = min(round(UNSURE_SECONDS * per_second), self.kept_latents // 3)
        self._loop = min(round(LOOP_SECONDS * per_second), self._clip // 4)
        self._bridge = min(round(BRIDGE_SECONDS * per_second), self._clip // 4)

    @property
    def end_frame(self) -> int:
        """Local frame at which the generated sound runs out."""
        return self.track.end * self.info.frames_per_latent + self.shift

    @property
    def begun(self) -> bool:
        """Whether any clip has come in."""
        return bool(self._mixes)

    def hurried_latents(self) -> int:
        """Length of a clip that answers a change."""
        return self._hurried_kept + self._new_hurried

    def regular_latents(self, long_clips: bool = False) -> int:
        """Length of a clip that goes on."""
        return self.info.max_latent_frames if long_clips else self._clip

    def added_latents(self, long_clips: bool = False) -> int:
        """How much longer such a clip makes the layer."""
        return max(1, self.regular_latents(long_clips) - self.kept_latents - self._unsure)

    def mix_at(self, local_frame: int) -> PromptMix | None:
        """The mix that the generated sound at a local frame was made for."""
        position = (local_frame - self.shift) // self.info.frames_per_latent
        found = None
        for start, mix in self._mixes:
            if start > position and found is not None:
                break
            found = mix
        return found

    def next_request(
        self,
        now_frame: int,
        wanted: Callable[[int], PromptMix],
        *,
        offset_frames: int,
        ahead_frames: int,
        lead_frames: int,
        steps: int,
        guidance: float,
        hurried_steps: int | None = None,
        long_clips: bool = False,
        loop_frame: int | None = None,
    ) -> ClipRequest | None:
        """The clip that this layer needs next, or None.

        ``now_frame`` is the local frame at the playhead, ``wanted`` gives the mix that the scene asks for at a
        local frame, ``offset_frames`` leads from local to clock frames, ``ahead_frames`` is how much sound to
        keep ready, ``lead_frames`` the time that a hurried clip needs until it can be heard, and
        ``hurried_steps`` its denoising steps where time presses. At ``loop_frame``, a local frame, the layer's
        beginning is to be heard again: the last clip is painted between what was before and that.
        """
        meet = None if loop_frame is None or self.opening is None else self._position(loop_frame)
        if meet is not None and self.track.end > meet:
            return None  # closed
        cut = self._cut(now_frame + lead_frames, wanted)
        self.changed = cut is not None
        if self.pending is not None:
            gone = self.pending.prompt.distance(wanted(self._middle_frame(self.pending))) > 2 * REPLAN_DISTANCE
            self._stale |= gone or (cut is not None and cut < self._continued(self.pending))
            return None
        if cut is not None:
            kept = min(self._hurried_kept, cut - self.track.start)
            new, head = self._towards(meet, cut, kept, self._new_hurried)
            return self._request(
                cut,
                kept,
                new,
                wanted,
                head=head,
                offset_frames=offset_frames,
                steps=hurried_steps or steps,
                guidance=guidance,
            )
        if self.begun and self.end_frame - now_frame >= ahead_frames:
            return None
        scarce = lead_frames if hurried_steps is None else max(lead_frames, SCARCE_FRAMES)
        hurried = self.end_frame - now_frame < scarce
        start = self.track.end - self._unsure * (self.begun and not hurried)
        kept = min(self.kept_latents, start - self.track.start)
        new = self._new_short if hurried else self.regular_latents(long_clips) - kept
        # A mix that moves on within the clip is walked in steps: shorter clips, each nearer to where it leads.
        while new > self._new_short:
            leap = wanted(self._frame(start)).distance(wanted(self._frame(start + new)))
            if leap <= STEP_DISTANCE:
                break
            new = max(self._new_short, new * 2 // 3)
        new, head = self._towards(meet, start, kept, new)
        return self._request(
            start,
            kept,
            new,
            wanted,
            head=head,
            offset_frames=offset_frames,
            steps=hurried_steps or steps if hurried else steps,
            guidance=guidance,
        )

    def peek(self, clip: Clip, now_frame: int) -> Placement | None:
        """Where the pending clip would go; None when it is no longer wanted. Changes nothing.

        Raises ValueError for a clip that was not asked for.
        """
        request = self.pending
        if request is None or (request.key, request.seed) != (clip.request.key, clip.request.seed):
            raise ValueError(f"layer {self.name} did not ask for clip {clip.request.key.index}")
        kept = request.tail.kept if request.tail else 0
        if self._stale and kept and self.end_frame - now_frame > RATE // 2:
            return None
        placement = self._placement(request.start_frame // self.info.frames_per_latent, kept)
        margin = MARGIN_FRAMES if kept else 0
        missing = now_frame + margin - (placement.join_frame - placement.fade_frames // 2)
        per = self.info.frames_per_latent
        late = -(-max(0, missing) // per) * per
        return Placement(placement.start_frame + late, placement.join_frame + late, placement.fade_frames, late)

    def place(self, clip: Clip, placement: Placement, now_frame: int) -> None:
        """The pending clip goes where :meth:`peek` said; shifts the layer where it came too late for its place."""
        request = self.pending
        assert request is not None
        self.shift += placement.late_frames
        kept = request.tail.kept if request.tail else 0
        start = request.start_frame // self.info.frames_per_latent
        self.track.put(start, kept, clip.latents)
        if self.opening is None and not self._mixes:
            self.opening = clip.latents[:, : self._loop].copy()
        cut = start + kept
        self._mixes = [m for m in self._mixes if m[0] < cut] + [(cut, request.prompt)]
        self._forget(now_frame)
        self.drop()

    def drop(self) -> None:
        """The pending clip is done with, used or not; the next one has the next index."""
        self.pending = None
        self._stale = False
        self._index += 1
        self._attempt = 0

    def withdraw(self) -> None:
        """The pending clip was not sent after all: nothing has happened."""
        self.pending = None
        self._stale = False

    def failed(self) -> None:
        """The pending clip could not be made: the same one is asked for again with another seed."""
        self.pending = None
        self._stale = False
        self._attempt += 1
        if self._attempt >= 8:  # the same tail may be the trouble; a new index changes nothing but the seed's name
            self._index, self._attempt = self._index + 1, 0

    def retry_is_timely(self, now_frame: int, needed_frames: int) -> bool:
        """Whether the pending clip could be made once more before its place in the timeline comes up."""
        if self.pending is None or self.pending.tail is None:
            return False
        start = self.pending.start_frame // self.info.frames_per_latent
        placement = self._placement(start, self.pending.tail.kept)
        return placement.join_frame - placement.fade_frames // 2 - now_frame > needed_frames

    @property
    def attempt(self) -> int:
        """How often the present clip has failed so far."""
        return self._attempt

    def _towards(self, meet: int | None, start: int, kept: int, new: int) -> tuple[int, Tail | None]:
        """New latent frames from ``start`` on, and what they lead into, where a loop closes at ``meet``."""
        if meet is None or self.opening is None:
            return new, None
        left = meet - start
        if kept + left + self._loop <= self.info.max_latent_frames and left < new + self._bridge:
            return left + self._loop, Tail(self.opening)
        return min(new, left - self._bridge), None

    def _request(
        self,
        cut: int,
        kept: int,
        new: int,
        wanted: Callable[[int], PromptMix],
        *,
        head: Tail | None = None,
        offset_frames: int,
        steps: int,
        guidance: float,
    ) -> ClipRequest:
        start, length = cut - kept, min(kept + new, self.info.max_latent_frames)
        placement = self._placement(start, kept)
        prompt = wanted(self._frame(cut + (length - kept) // 2))
        before = self.mix_at(self._frame(start)) if kept else None
        self.pending = ClipRequest(
            key=ClipKey(self.name, self._index),
            start_frame=start * self.info.frames_per_latent,
            latent_frames=length,
            deadline_frame=placement.join_frame - placement.fade_frames // 2 + offset_frames,
            seed=clip_seed(self._seed, self.name, self._index, self._attempt),
            noise_seed=self._noise_seed,
            prompt=prompt,
            steps=steps,
            guidance=guidance,
            tail=Tail(self.track.cut(start, cut)) if kept else None,
            head=head,
            settled=before is not None and {t for t, _ in prompt.parts} <= {t for t, _ in before.parts},
            model=self.info.name,
        )
        return self.pending

    def _cut(self, from_frame: int, wanted: Callable[[int], PromptMix]) -> int | None:
        """First position, not before ``from_frame``, from which ready sound is not what the scene wants."""
        if not self.begun:
            return None
        per = self.info.frames_per_latent
        first = -((self.shift - from_frame) // per) + self.info.edge_latents
        least = self.track.start + self._hurried_kept
        position = max(first, least)
        stride = max(1, round(0.16 * RATE / per))
        while position < self.track.end:
            frame = self._frame(position)
            planned = self.mix_at(frame)
            if planned is not None and planned.distance(wanted(frame)) > REPLAN_DISTANCE:
                return position
            position += max(stride, (position - first) // 4)  # a far change need not be found to the frame
        return None

    def _placement(self, start: int, kept: int) -> Placement:
        frame = self._frame(start)
        if not kept:
            return Placement(frame, frame + FIRST_FADE_FRAMES // 2, FIRST_FADE_FRAMES)
        per, edge = self.info.frames_per_latent, self.info.edge_latents
        # Inside the overlap both decodes agree, except within the decoder's reach of either clip's end.
        coherent = max(per // 2, (kept - 2 * edge) * per)
        fade = min(FADE_FRAMES, coherent)
        end = self._frame(start + kept) - min(edge, kept // 3) * per
        return Placement(frame, end - fade // 2, fade)

    def _continued(self, request: ClipRequest) -> int:
        return request.start_frame // self.info.frames_per_latent + (request.tail.kept if request.tail else 0)

    def _middle_frame(self, request: ClipRequest) -> int:
        cut = self._continued(request)
        end = request.start_frame // self.info.frames_per_latent + request.latent_frames
        return self._frame((cut + end) // 2)

    def _position(self, local_frame: int) -> int:
        return (local_frame - self.shift) // self.info.frames_per_latent

    def _frame(self, position: int) -> int:
        return position * self.info.frames_per_latent + self.shift

    def _forget(self, now_frame: int) -> None:
        position = (now_frame - self.shift) // self.info.frames_per_latent
        while len(self._mixes) > 1 and self._mixes[1][0] <= position - 64:
            del self._mixes[0]
