"""What each layer is at a moment: overrides by state, ladders by intensity, blends between states."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ambient.messages import LayerMoment, PromptMix, ScatterMoment
from ambient.scene.expand import ALONE
from ambient.scene.model import Layer, LayerOverride, Scene
from ambient.scene.values import Number

__all__ = ["LayerMixer"]

_ONE = Number(value=1.0)
_ZERO = Number(value=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Resolved:
    """A layer with a state's overrides worked in."""

    layer: Layer
    intensity: Number
    level: Number
    width: Number
    mute: bool
    ladder: bool
    """Whether its words change with its intensity."""
    settings: str
    overridden: bool
    like: str | None
    """A recording to resemble, as a part of a mix."""
    variants: tuple[PromptMix, ...]
    """What single events of the layer may be; a single event keeps its own words: settings would drown it."""

    def amplitude(self, params: Mapping[str, float]) -> float:
        """The level, linear."""
        level = self.level.at(params)
        return 10 ** (level / 20) if level else 1.0


class _Reasons(Sequence[str]):
    """Reasons that are put into words when somebody asks: a block every 20 ms, and hardly anybody does."""

    __slots__ = ("_found", "_make")

    def __init__(self, make: Callable[[], tuple[str, ...]]) -> None:
        self._make = make
        self._found: tuple[str, ...] | None = None

    @property
    def _words(self) -> tuple[str, ...]:
        if self._found is None:
            self._found = self._make()
        return self._found

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as a tuple's
        return self._words[index]

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __eq__(self, other: object) -> bool:
        return self._words == (other._words if isinstance(other, _Reasons) else other)

    def __hash__(self) -> int:
        return hash(self._words)

    def __repr__(self) -> str:
        return repr(self._words)


class LayerMixer:
    """Gives every layer's moment for shares of states and values of parameters."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._seed = seed
        self._visits: dict[str, int] = {}
        self._resolved = {(state, name): self._resolve(state, name) for state in scene.states for name in scene.layers}
        self._warm: dict[str, str] = {}
        """Layer → the first warm state in which it is heard, for which its clips are kept ready."""
        for state, name in self._resolved:
            if scene.states[state].warm and not self._resolved[state, name].mute:
                self._warm.setdefault(name, state)
        self._text = functools.lru_cache(maxsize=4096)(self._mixed_text)

    def visit(self, state: str, number: int) -> None:
        """A state is entered for the ``number``-th time in all: its beds choose their variants anew."""
        self._visits[state] = number

    def take_over(self, before: LayerMixer) -> None:
        """Keeps the variants that another version of the scene has chosen."""
        self._visits.update({k: v for k, v in before._visits.items() if k in self._scene.states})

    def mix(self, shares: Mapping[str, float], params: Mapping[str, float], state: str) -> tuple[LayerMoment, ...]:
        """All layers, in the scene's order. ``shares`` of states sum to 1; ``state`` is the one that is entered."""
        return tuple([self._layer(name, shares, params, state) for name in self._scene.layers])

    def _layer(self, name: str, shares: Mapping[str, float], params: Mapping[str, float], state: str) -> LayerMoment:
        gain = width = whole = 0.0
        heard: list[tuple[str, float, float]] = []
        for other, share in shares.items():
            r = self._resolved[other, name]
            if r.mute or share <= 0:
                continue
            intensity = r.intensity.at(params)
            gain += share * intensity * r.amplitude(params)
            width += share * r.width.at(params)
            whole += share
            heard.append((other, share, intensity if r.ladder else 0.0))
        here = self._resolved[state, name]
        muted = not heard
        if muted:
            ready = self._warm.get(name, state)
            r = self._resolved[ready, name]
            heard, whole = [(ready, 1.0, r.intensity.at(params) if r.ladder else 0.0)], 1.0
            width = here.width.at(params)
        else:
            width /= whole
        layer = here.layer
        scatter = self._scatter(here, params) if layer.scatter is not None else None
        prompt = scatter.variants[0] if scatter is not None else self._prompt(name, heard, whole)
        return LayerMoment(
            name=name,
            prompt=prompt,
            gain=gain,
            muted=muted,
            warm=name in self._warm,
            width=width,
            scatter=scatter,
            family=layer.family,
            role=layer.role,
            model=layer.model,
            steps=layer.steps,
            guidance=layer.guidance,
            why=_Reasons(functools.partial(self._why, here, state, shares, params, muted)),
        )

    def _prompt(self, name: str, heard: list[tuple[str, float, float]], whole: float) -> PromptMix:
        return self._text(
            name, tuple([(s, self._visits.get(s, 0), round(w / whole, 3), round(i, 3)) for s, w, i in heard])
        )

    def _mixed_text(self, name: str, key: tuple[tuple[str, int, float, float], ...]) -> PromptMix:
        weights: dict[str, float] = {}
        for state, visit, share, intensity in key:
            r = self._resolved[state, name]
            for text, weight in self._rungs(name, r, visit, intensity):
                for part, half in _parts(text, r.settings, r.like):
                    weights[part] = weights.get(part, 0.0) + share * weight * half
        return PromptMix.of(weights, self._scene.avoid)

    def _rungs(self, name: str, r: _Resolved, visit: int, intensity: float) -> list[tuple[str, float]]:
        rungs = r.layer.prompt
        if rungs[0].at is None:
            pick = 0
            if len(rungs) > 1:
                index = list(self._scene.layers).index(name)
                sequence = np.random.SeedSequence([self._seed, 3, index, visit])
                pick = int(np.random.Generator(np.random.PCG64(sequence)).integers(len(rungs)))
            return [(rungs[pick].text, 1.0)]
        places = [float(rung.at or 0.0) for rung in rungs]
        if intensity <= places[0]:
            return [(rungs[0].text, 1.0)]
        for i in range(1, len(places)):
            if intensity <= places[i]:
                part = (intensity - places[i - 1]) / (places[i] - places[i - 1])
                return [(rungs[i - 1].text, 1 - part), (rungs[i].text, part)]
        return [(rungs[-1].text, 1.0)]

    def _scatter(self, r: _Resolved, params: Mapping[str, float]) -> ScatterMoment:
        spec = r.layer.scatter
        assert spec is not None
        return ScatterMoment(
            every_seconds=None if spec.every is None else (spec.every[0], spec.every[1]),
            rate_per_minute=None if spec.rate is None else spec.rate.at(params),
            most=spec.most,
            distance_m=_range(spec.distance, params),
            azimuth_deg=_range(spec.azimuth, params),
            gain_db=_range(spec.gain, params),
            bank=spec.bank,
            variants=r.variants,
        )

    def _why(
        self, r: _Resolved, state: str, shares: Mapping[str, float], params: Mapping[str, float], muted: bool
    ) -> tuple[str, ...]:
        reasons = [f"state {state}" + (" changes it" if r.overridden else "")]
        if len(shares) > 1:
            others = ", ".join(f"{s} {100 * w:.0f} %" for s, w in shares.items())
            reasons.append(f"blending: {others}")
        if muted:
            reasons.append("muted")
        for name, number in (("intensity", r.intensity), ("level", r.level), ("width", r.width)):
            if number.by is not None:
                reasons.append(f"{name} {number.at(params):.2f} by {number.by} = {params[number.by]:.2f}")
        return tuple(reasons)

    def _resolve(self, state: str, name: str) -> _Resolved:
        layer = self._scene.layers[name]
        override: LayerOverride | None = self._scene.states[state].layers.get(name)
        if override is not None:
            changes = {k: getattr(override, k) for k in override.model_fields_set if getattr(override, k) is not None}
            if override.scatter is not None and layer.scatter is not None:
                changes["scatter"] = override.scatter.over(layer.scatter)
            layer = layer.model_copy(update=changes)
        settings = [s for s in (self._scene.setting, self._scene.states[state].setting) if s]
        return _Resolved(
            layer=layer,
            intensity=layer.intensity or _ONE,
            level=layer.level or _ZERO,
            width=layer.width or _ONE,
            mute=bool(layer.mute),
            ladder=layer.prompt[0].at is not None,
            settings="".join(f", {s}" for s in settings),
            overridden=override is not None,
            like=layer.like,
            variants=tuple(PromptMix.of(_parts(rung.text, "", layer.like), self._scene.avoid) for rung in layer.prompt),
        )


def _parts(text: str, settings: str, like: str | None) -> list[tuple[str, float]]:
    """A text with the settings, a recording, or half of each."""
    if like is None:
        return [(text + settings, 1.0)]
    return [(like, 1.0)] if text == ALONE else [(text + settings, 0.5), (like, 0.5)]


def _range(ends: list[Number], params: Mapping[str, float]) -> tuple[float, float]:
    """Lowest and highest, also where curves have crossed each other."""
    one, two = ends[0].at(params), ends[1].at(params)
    return min(one, two), max(one, two)
