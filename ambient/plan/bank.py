"""Plans a scatter layer: single events at random moments, from a bank of clips kept ready.

Every event comes from a seeded stream of its own layer, so a night can be replayed. None plays twice running,
and a clip that was heard is replaced when there is time, so that a night of owls has no favourite owl.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ambient.messages import RATE, ClipKey, ClipRequest, ModelInfo, ScatterMoment
from ambient.plan.seeds import clip_seed, generator, layer_seed

__all__ = ["Bank", "Shot"]

ONE_SHOT_SECONDS = 5.12
REFRESH_FRAMES = 30 * RATE
"""A used clip is replaced within this time, if the worker has nothing better to do."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One single sound to begin at a clock frame."""

    layer: str
    at_frame: int
    index: int
    """Index of the clip in the layer's bank."""
    distance_m: float
    azimuth_deg: float
    gain_db: float


class Bank:
    """Keeps one-shot clips ready and says when which of them sounds."""

    def __init__(self, name: str, info: ModelInfo, scene_seed: int) -> None:
        self.name = name
        self.info = info
        self.pending: ClipRequest | None = None
        self._seed = scene_seed
        self._times = generator(scene_seed, name, "times")
        self._draws = generator(scene_seed, name, "draws")
        self._uses: dict[int, int] = {}
        self._last: int | None = None
        self._index = 0
        self._attempt = 0
        self._next_frame: int | None = None
        self._hazard = 0.0
        self._threshold = 0.0
        self._owed = 0

    @property
    def ready(self) -> tuple[int, ...]:
        """Indices of the clips in the bank."""
        return tuple(self._uses)

    @property
    def owing(self) -> bool:
        """Whether an event was fired and has not begun."""
        return self._owed > 0

    @property
    def attempts(self) -> int:
        """How often the next clip was tried in vain."""
        return self._attempt

    def next_request(
        self, now_frame: int, scatter: ScatterMoment, *, active: bool, steps: int, guidance: float
    ) -> ClipRequest | None:
        """The next clip for the bank, or None when it is full and fresh, or one is under way.

        An inactive layer (muted) keeps one clip only, so that a fired event finds something.
        """
        if self.pending is not None:
            return None
        size = max(1, scatter.bank if active else 1)
        worn = active and any(self._uses.values())
        if len(self._uses) >= size and not worn:
            return None
        pressing = self._owed or (active and not self._uses)
        urgency = 0 if pressing and not self._attempt else REFRESH_FRAMES * (1 + len(self._uses))
        variant = scatter.variants[self._index % len(scatter.variants)]
        length = min(self.info.max_latent_frames, round(ONE_SHOT_SECONDS * RATE / self.info.frames_per_latent))
        self.pending = ClipRequest(
            key=ClipKey(self.name, self._index),
            start_frame=0,
            latent_frames=length,
            deadline_frame=now_frame + urgency,
            seed=clip_seed(self._seed, self.name, self._index, self._attempt),
            noise_seed=layer_seed(self._seed, self.name, f"noise {self._index}"),
            prompt=variant,
            steps=steps,
            guidance=guidance,
            one_shot=True,
            model=self.info.name,
        )
        return self.pending

    def received(self, scatter: ScatterMoment) -> list[int]:
        """The pending clip is good and goes into the bank; returns the indices of clips that leave it."""
        self.pending = None
        self._uses[self._index] = 0
        self._index, self._attempt = self._index + 1, 0
        leaving = []
        while len(self._uses) > max(1, scatter.bank):
            worn = max(self._uses, key=lambda i: (self._uses[i], -i))
            del self._uses[worn]
            leaving.append(worn)
        return leaving

    def withdraw(self) -> None:
        """The pending clip was not sent after all: nothing has happened."""
        self.pending = None

    def failed(self) -> None:
        """The pending clip is of no use: another seed is tried."""
        self.pending = None
        self._attempt += 1
        if self._attempt >= 4:
            self._index, self._attempt = self._index + 1, 0

    def fire(self) -> None:
        """One event is due at the next chance, whatever the times say."""
        self._owed += 1

    def advance(
        self, start_frame: int, length_frames: int, scatter: ScatterMoment, *, active: bool, sounding: int
    ) -> list[Shot]:
        """The events that begin in ``[start_frame, start_frame + length_frames)``.

        ``sounding`` is how many of this layer sound already. An event that finds the bank empty waits.
        """
        due = [start_frame] * self._owed
        if active:
            due += self._timed(start_frame, length_frames, scatter)
        else:
            self.rest()
        shots: list[Shot] = []
        for frame in due:
            forced = self._owed > 0
            if not self._uses or (not forced and sounding + len(shots) >= scatter.most):
                continue
            shots.append(self._draw(frame, scatter))
            self._owed -= forced
        return shots

    def rest(self) -> None:
        """Time passes in which nothing falls; what was due is forgotten."""
        self._next_frame = None

    def _timed(self, start: int, length: int, scatter: ScatterMoment) -> list[int]:
        due: list[int] = []
        if scatter.every_seconds is not None:
            low, high = scatter.every_seconds
            if self._next_frame is None:
                # Somewhere within the first interval: a layer that is switched on is heard, but not at once.
                self._next_frame = start + round(float(self._times.uniform(0.1, 1.0)) * low * RATE)
            while self._next_frame < start + length:
                due.append(max(start, self._next_frame))
                step = max(0.05, float(self._times.uniform(low, high)))
                self._next_frame += round(step * RATE)
        elif scatter.rate_per_minute is not None and scatter.rate_per_minute > 0:
            # An inhomogeneous Poisson process: the integrated rate crosses exponentially distributed thresholds.
            per_frame = scatter.rate_per_minute / 60 / RATE
            if not self._threshold:
                self._threshold = float(self._times.exponential())
            after = self._hazard + per_frame * length
            while self._threshold <= after:
                due.append(start + min(length - 1, math.floor((self._threshold - self._hazard) / per_frame)))
                self._threshold += float(self._times.exponential())
            self._hazard = after
        return due

    def _draw(self, frame: int, scatter: ScatterMoment) -> Shot:
        choices = [i for i in self._uses if i != self._last] or list(self._uses)
        fresh = min(self._uses[i] for i in choices)
        choices = [i for i in choices if self._uses[i] == fresh]
        index = choices[int(self._draws.integers(len(choices)))]
        self._uses[index] += 1
        self._last = index

        def within(bounds: tuple[float, float]) -> float:
            return float(self._draws.uniform(*bounds))

        return Shot(
            self.name,
            frame,
            index,
            within(scatter.distance_m),
            within(scatter.azimuth_deg),
            within(scatter.gain_db),
        )
