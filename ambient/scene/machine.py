"""The state machine on the sample clock: which state, since when, blending from what; and what each layer is then.

Conditions are looked at once a second of listening time, on whole seconds; fired events act at their frame. Whatever
is random comes from the seed and from how often it was asked for, so the same events give the same night.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

import numpy as np

from ambient.messages import RATE, Moment, SceneEvent, frames
from ambient.scene.conditions import Condition, parse_condition
from ambient.scene.layers import LayerMixer
from ambient.scene.loader import nearest
from ambient.scene.memory import Memory, ParamMemory
from ambient.scene.model import Scene, Transition
from ambient.scene.params import ParamState
from ambient.scene.sun import sun_elevation

__all__ = ["Machine"]

DEFAULT_OVER_SECONDS = 45.0
CALENDAR_SECONDS = 146_097 * 86_400
SUN_GRID_FRAMES = 120 * RATE
"""The sun is computed on this grid of scene time at speed 1, and interpolated to a thousandth of a degree."""


@dataclass(slots=True)
class _Watch:
    """What one transition of the present state waits for."""

    transition: Transition
    condition: Condition | None
    order: int
    due_frame: int | None = None
    held_since: int | None = None
    armed: bool = True
    """Whether chance may be rolled: once each time the other keys come to hold."""
    passed: bool = False
    """Its clock time came while the state had to stay: it counts when the stay ends."""
    random: np.random.Generator | None = field(default=None)


class Machine:
    """Runs one scene. Frames never go back; ``look`` may ask about the future.

    ``live_start`` is the wall time that frame 0 stands for, where the scene's clock does not say; None starts on
    21 June at noon, so that renderings repeat.
    """

    def __init__(self, scene: Scene, *, seed: int | None = None, live_start: datetime | None = None) -> None:
        self.scene = scene
        self.seed = scene.seed if seed is None else seed
        self._entropy = self.seed % (1 << 64)
        self.frame = 0
        self.state = scene.first
        self.previous: str | None = None
        self._clock_start = _clock_start(scene, live_start)
        self._zone = ZoneInfo(scene.place.tz) if scene.place else ZoneInfo("UTC")
        self._sun_cache: dict[int, float] = {}
        self._params = {
            name: ParamState(spec, np.random.SeedSequence([self._entropy, 1, i]), self._sense(spec.source))
            for i, (name, spec) in enumerate(scene.params.items())
        }
        self._inputs: dict[str, list[str]] = {}
        for name, spec in scene.params.items():
            if spec.source is not None:
                self._inputs.setdefault(spec.source, []).append(name)
        self._mixer = LayerMixer(scene, self._entropy)
        self._weights: dict[str, float] = {}
        """State → share at the beginning of the present blend; empty without one."""
        self._blend_frame = 0
        self._blend_frames = 0
        self._entered_frame = 0
        self._stay_frames = frames(scene.states[self.state].stay or 0.0)
        self._visits = 0
        self._pending: list[SceneEvent] = []
        self._next_second = 0
        self._watches: list[_Watch] = []
        self._mixer.visit(self.state, 0)
        self._watch()

    # ---- what is

    @property
    def blend(self) -> float:
        """0 at the start of a transition to 1 when only the state is heard."""
        return self._blend_at(self.frame)

    def params(self, frame: int | None = None) -> dict[str, float]:
        """All parameters, smoothed."""
        at = self.frame if frame is None else frame
        return {name: state.at(at) for name, state in self._params.items()}

    def look(self, frame: int | None = None) -> Moment:
        """What every layer should sound like at a frame, by default now. Changes nothing.

        For a later frame: as if nothing more happened. Blends, the sun and the clock move on, the rest stays.
        """
        at = self.frame if frame is None else max(frame, self.frame)
        blend = self._blend_at(at)
        shares = {self.state: 1.0}
        if blend < 1.0:
            shares = {s: w * (1 - blend) for s, w in self._weights.items()}
            shares[self.state] = shares.get(self.state, 0.0) + blend
        params = self.params(at)
        layers = self._mixer.mix(shares, params, self.state)
        previous = self.previous if blend < 1.0 else None
        return Moment(at, self.state, previous, blend, layers, MappingProxyType(params))

    def scene_time(self, frame: int) -> datetime:
        """Scene time at a frame, aware."""
        # the calendar repeats every 400 years, so that no speed ever reaches its end
        passed = timedelta(seconds=frame / RATE * self.scene.clock.speed % CALENDAR_SECONDS)
        # aware arithmetic in UTC, so that a change to summer time neither repeats nor skips an hour
        utc = self._clock_start.astimezone(ZoneInfo("UTC")) + passed
        return utc.astimezone(self._zone)

    # ---- what happens

    def advance(self, frame: int) -> list[SceneEvent]:
        """Moves on to a frame; returns what happened on the way. Raises ValueError for a frame in the past."""
        if frame < self.frame:
            raise ValueError(f"time does not go back: {frame} is before {self.frame}")
        happened, self._pending = self._pending, []
        while self._next_second <= frame:
            self.frame = max(self.frame, self._next_second)
            self._next_second += RATE
            self._second(self.frame)
            happened += self._pending
            self._pending = []
        self.frame = frame
        return happened

    def set_param(self, name: str, value: float | None) -> None:
        """Sets a parameter now, until it is set again; None gives it back to the scene: to its input, to the sun, to
        its wandering. Raises ValueError for a name (with the nearest) or a value."""
        if name not in self._params:
            raise ValueError(self._unknown("parameter", name, list(self._params)))
        if value is None:
            self._params[name].release(self.frame)
        elif not math.isfinite(value):
            raise ValueError(f"{name} needs a finite number, not {value}")
        else:
            self._params[name].set(float(value), self.frame)
        self._pending.append(SceneEvent("param", name, self.frame, {"value": value if value is None else float(value)}))

    def held(self) -> list[str]:
        """Parameters that are what somebody, or an event, set them to."""
        return [name for name, state in self._params.items() if state.held(self.frame)]

    def feed(self, source: str, value: float) -> None:
        """A value from an input, such as ``weather.wind``. What nobody reads or is not finite is ignored."""
        if not math.isfinite(value):
            return
        for name in self._inputs.get(source, ()):
            self._params[name].feed(float(value), self.frame)

    def fire(self, event: str) -> None:
        """Fires a named event now. Raises ValueError with the nearest name."""
        spec = self.scene.events.get(event)
        if spec is None:
            raise ValueError(self._unknown("event", event, list(self.scene.events)))
        for name, value in spec.set.items():
            self._params[name].set(value, self.frame, spec.hold, override=True)
        detail = {"layer": spec.fire} if spec.fire is not None else {}
        self._pending.append(SceneEvent("event", event, self.frame, detail))
        for watch in self._watches:
            if watch.transition.event == event and self._others_hold(watch, self.frame) and self._roll(watch):
                self._go(watch.transition, self.frame)
                return

    def go(self, state: str, over_seconds: float | None = None) -> None:
        """Starts a transition to a state now. Raises ValueError for a name (with the nearest) or a length."""
        if state not in self.scene.states:
            raise ValueError(self._unknown("state", state, list(self.scene.states)))
        over = DEFAULT_OVER_SECONDS if over_seconds is None else over_seconds
        if not 0 <= over < math.inf:
            raise ValueError(f"a blend cannot take {over:g} seconds")
        self._enter(state, over, "asked for", self.frame)

    @staticmethod
    def _unknown(kind: str, name: str, names: list[str]) -> str:
        near = nearest(name, names)
        advice = f"did you mean {near!r}?" if near else f"the scene has {', '.join(names) or 'none'}"
        return f"no {kind} is called {name!r}; {advice}"

    def take_over(self, before: Machine) -> None:
        """Goes on where the machine of another version of the scene is: its frame, state, blend and parameters.

        A state that is gone leads to the first one. Call once, before anything else.
        """
        self.frame, self._next_second = before.frame, before._next_second
        if (self.scene.clock, self.scene.place) == (before.scene.clock, before.scene.place):
            self._clock_start = before._clock_start
        for name, param in self._params.items():
            if name in before._params:
                param.take_over(before._params[name], self.frame)
        self._mixer.take_over(before._mixer)
        self._visits, self._entered_frame = before._visits, self.frame
        if before.state in self.scene.states:
            self.state, self._entered_frame = before.state, before._entered_frame
            self.previous = before.previous if before.previous in self.scene.states else None
            self._weights = {s: w for s, w in before._weights.items() if s in self.scene.states}
            self._blend_frame, self._blend_frames = before._blend_frame, before._blend_frames
            if self._weights:  # the share of a state that is gone goes to the others
                total = sum(self._weights.values())
                self._weights = {s: w / total for s, w in self._weights.items()}
            stay = self.scene.states[self.state].stay
            self._stay_frames = before._stay_frames if stay is None else frames(stay)
        self._pending = before._pending
        self._watch()

    def memory(self) -> Memory:
        """What is worth keeping across a restart."""
        kept = {name: memory for name, param in self._params.items() if (memory := param.memory(self.frame))}
        stayed = (self.frame - self._entered_frame) / RATE
        return Memory(
            state=self.state,
            stayed_seconds=stayed,
            visits=self._visits,
            time=self.scene_time(self.frame),
            params=kept,
        )

    def restore(self, memory: Memory) -> None:
        """Begins where a machine of this scene, or another version of it, was. A state that is gone leads to the first
        one, and a scene that follows the time of day does so. Call once, before anything else."""
        if self.scene.clock.start is not None or self.scene.clock.speed != 1:
            self._clock_start = memory.time.astimezone(self._zone)
            self._sun_cache.clear()
        for name, param in self._params.items():
            param.restore(memory.params.get(name, ParamMemory()), self.frame)
        if memory.state in self.scene.states:
            self.state, self._visits = memory.state, memory.visits
            self._entered_frame = self.frame - frames(memory.stayed_seconds)
            self._stay_frames = frames(self.scene.states[self.state].stay or 0.0)
            self._mixer.visit(self.state, self._visits)
            self._watch()

    # ---- inside

    def _second(self, frame: int) -> None:
        for state in self._params.values():
            state.settle(frame)
        values: dict[str, float] | None = None
        staying = frame - self._entered_frame < self._stay_frames
        for watch in self._watches:
            if watch.condition is not None:
                self._update_held(watch, frame, values := values or self.params(frame))
            if watch.transition.event is not None:
                continue
            if watch.transition.at is not None and self._passes(watch.transition.at, frame):
                watch.passed = True
            if not self._triggers(watch, frame):
                watch.armed = True
            elif not staying and self._roll(watch):
                self._go(watch.transition, frame)
                return
            watch.passed &= staying

    def _update_held(self, watch: _Watch, frame: int, values: Mapping[str, float]) -> None:
        assert watch.condition is not None
        if not watch.condition.holds(values):
            watch.held_since = None
        elif watch.held_since is None:
            watch.held_since = frame

    def _triggers(self, watch: _Watch, frame: int) -> bool:
        t = watch.transition
        if watch.condition is not None:
            if watch.held_since is None or frame - watch.held_since < frames(t.hold or 0.0):
                return False
        if watch.due_frame is not None and frame < watch.due_frame:
            return False
        return t.at is None or watch.passed

    def _others_hold(self, watch: _Watch, frame: int) -> bool:
        """Whether all but the event of a transition holds at the very frame of the event."""
        if watch.condition is not None:
            self._update_held(watch, frame, self.params(frame))
        if watch.transition.at is not None:
            watch.passed = self._passes(watch.transition.at, frame)
        return self._triggers(watch, frame)

    def _passes(self, minutes: float, frame: int) -> bool:
        """Whether the scene clock came to a time of day within the second up to ``frame``."""
        now, before = self.scene_time(frame), self.scene_time(frame - RATE)
        mark = now.replace(hour=int(minutes) // 60, minute=int(minutes) % 60, second=0, microsecond=0)
        return any(before < m <= now for m in (mark, mark - timedelta(days=1)))

    def _roll(self, watch: _Watch) -> bool:
        t = watch.transition
        if t.chance is None:
            return True
        if not watch.armed and t.event is None:
            return False
        assert watch.random is not None
        won = float(watch.random.random()) < t.chance
        watch.armed = False
        if not won and t.after is not None:
            watch.due_frame = self.frame + self._draw(watch)
            watch.armed = True
        return won

    def _go(self, transition: Transition, frame: int) -> None:
        to = transition.to
        if to == "previous":
            if self.previous is None:
                return
            to = self.previous
        if to == self.state:
            for watch in self._watches:
                if watch.transition is transition and watch.transition.after is not None:
                    watch.due_frame = frame + self._draw(watch)
            return
        self._enter(to, transition.over, transition.why(), frame, transition.through)

    def _enter(self, to: str, over: float, why: str, frame: int, through: str | None = None) -> None:
        if to == self.state:
            return
        blend = self._blend_at(frame)
        if blend < 1.0:  # the next blend starts from what sounds now
            weights = {s: w * (1 - blend) for s, w in self._weights.items()}
            weights[self.state] = weights.get(self.state, 0.0) + blend
        else:
            weights = {self.state: 1.0}
        detail: dict[str, object] = {"from": self.state, "to": to, "over_seconds": over, "why": why}
        self._weights = weights
        self.previous, self.state = self.state, to
        self._blend_frame, self._blend_frames = frame, frames(over)
        self._entered_frame = frame
        stay = self.scene.states[to].stay
        self._stay_frames = frames(over if stay is None else stay)
        self._visits += 1
        self._mixer.visit(to, self._visits)
        self._watch()
        if through is not None:
            detail["through"] = through
        self._pending.append(SceneEvent("transition", f"{self.previous} → {to}", frame, detail))
        if through is not None:
            self._pending.append(SceneEvent("event", through, frame, {"layer": through}))

    def _watch(self) -> None:
        """Watches the transitions of the present state, then those from anywhere."""
        state = self.scene.states[self.state]
        self._watches = []
        for order, transition in enumerate((*state.transitions, *self.scene.transitions)):
            condition = parse_condition(transition.when) if transition.when is not None else None
            watch = _Watch(transition, condition, order)
            watch.random = np.random.Generator(
                np.random.PCG64(np.random.SeedSequence([self._entropy, 2, self._visits, order]))
            )
            if transition.after is not None:
                watch.due_frame = self._entered_frame + self._draw(watch)
            self._watches.append(watch)

    @staticmethod
    def _draw(watch: _Watch) -> int:
        assert watch.random is not None and watch.transition.after is not None
        low, high = watch.transition.after
        return frames(float(watch.random.uniform(low, high)))

    def _blend_at(self, frame: int) -> float:
        if not self._weights or self._blend_frames <= 0:
            return 1.0
        return min(1.0, max(0.0, (frame - self._blend_frame) / self._blend_frames))

    def _sense(self, source: str | None) -> Callable[[int], float] | None:
        if source == "sun.elevation" and self.scene.place is not None:
            return self._sun
        if source == "time.hour":
            return self._hour
        return None

    def _hour(self, frame: int) -> float:
        now = self.scene_time(frame)
        return now.hour + now.minute / 60 + now.second / 3600

    def _sun(self, frame: int) -> float:
        grid = max(RATE, round(SUN_GRID_FRAMES / max(self.scene.clock.speed, 1e-3)))
        grid = min(grid, 600 * RATE)
        index, rest = divmod(frame, grid)
        a, b = self._sun_at(index, grid), self._sun_at(index + 1, grid)
        return a + (b - a) * rest / grid

    def _sun_at(self, index: int, grid: int) -> float:
        if index not in self._sun_cache:
            if len(self._sun_cache) > 64:
                self._sun_cache.clear()
            place = self.scene.place
            assert place is not None
            self._sun_cache[index] = sun_elevation(self.scene_time(index * grid), place.lat, place.lon)
        return self._sun_cache[index]


def _clock_start(scene: Scene, live_start: datetime | None) -> datetime:
    zone = ZoneInfo(scene.place.tz) if scene.place else ZoneInfo("UTC")
    start = (live_start or datetime(2025, 6, 21, 12, tzinfo=zone)).astimezone(zone)
    if scene.clock.date is not None:
        year, month, day = map(int, scene.clock.date.split("-"))
        start = start.replace(year=year, month=month, day=day)
    if scene.clock.start is not None:
        minutes = int(scene.clock.start)
        start = start.replace(hour=minutes // 60, minute=minutes % 60, second=0, microsecond=0)
    return start
