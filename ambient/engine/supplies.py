"""The supplies of a scene whose layers come from several models: one a model, each with its own pace and ladder."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from ambient.engine.bed import Bed
from ambient.engine.options import Opened, OpenModel, Options
from ambient.engine.shots import Shots
from ambient.engine.supply import Now, Supply
from ambient.errors import BackendError
from ambient.messages import LayerMoment
from ambient.plan import Ladder

__all__ = ["Supplies"]


class Supplies:
    """Hands every layer to the supply of its model.

    Layers that name no model belong to the first supply, which is the scene's own. The others are opened when a layer
    first asks for them, and stay: a scene that is changed may ask again. Two names of the same weights are one model.
    """

    def __init__(self, first: Supply, options: Options, open_model: OpenModel | None) -> None:
        self.first = first
        self._options = options
        self._open_model = open_model
        self._named: dict[str, Supply] = {}
        self._opened: dict[str, Opened] = {}
        self.beds: MutableMapping[str, Bed] = first.beds
        """Players of layers that sound continuously, by layer."""
        self.shots: MutableMapping[str, Shots] = first.shots
        """Players of single events, by layer."""

    def __iter__(self) -> Iterator[Supply]:
        """Each supply once, the scene's own first."""
        return iter({id(s): s for s in (self.first, *self._named.values())}.values())

    @property
    def waiting(self) -> int:
        """How many batches are under way."""
        return sum(supply.waiting for supply in self)

    def open(self, layers: Sequence[LayerMoment]) -> None:
        """Opens the models that these layers name. Raises ModelNotFound, BackendError."""
        for model in dict.fromkeys(layer.model for layer in layers):
            if model is not None and model not in self._named:
                self._named[model] = self._supply(model)

    def wire(self, layers: Sequence[LayerMoment], seed: int) -> None:
        """Gives every layer its player, and drops those of layers that are gone. Raises as :meth:`open`."""
        self.open(layers)
        theirs: dict[int, list[LayerMoment]] = collections.defaultdict(list)
        for layer in layers:
            theirs[id(self.first if layer.model is None else self._named[layer.model])].append(layer)
        for supply in self:
            supply.wire(theirs[id(supply)], seed)
        every = list(self)
        # what is written goes to the first: sounds that are asked for are made by the scene's own model
        self.beds = collections.ChainMap(*(s.beds for s in every)) if len(every) > 1 else self.first.beds
        self.shots = collections.ChainMap(*(s.shots for s in every)) if len(every) > 1 else self.first.shots

    def take_in(self, now: Now) -> None:
        """Takes in what has come. Raises BackendError where offline rendering cannot go on."""
        for supply in self:
            supply.take_in(self._own(supply, now))

    def plan(self, now: Now) -> None:
        """Asks for what is needed next."""
        for supply in self:
            supply.plan(self._own(supply, now))

    def close(self) -> None:
        """Ends all generators."""
        for supply in self:
            supply.generator.close()

    def named(self) -> dict[str, dict[str, Any]]:
        """What the models are that layers name, JSON-ready: enough to run them again in the same way."""
        return {
            name: {
                "fingerprint": self._named[name].generator.info.fingerprint,
                "usual_steps": opened.usual_steps,
                "clip_seconds": opened.clip_seconds,
                "batch_clips": opened.batch_clips,
            }
            for name, opened in self._opened.items()
        }

    def status(self) -> list[Mapping[str, Any]]:
        """How each model does, JSON-ready, the scene's own first."""
        rows: list[Mapping[str, Any]] = []
        for supply in self:
            info, rung = supply.generator.info, supply.ladder.rung
            rows.append(
                {
                    "name": info.name,
                    "family": info.family,
                    "layers": [*supply.beds, *supply.shots],
                    "ready": supply.generator.ready,
                    "device": supply.generator.device,
                    "steps": rung.steps,
                    "tuned": supply.options.usual_steps is not None,
                    "speed": None if supply.speed is None else round(supply.speed, 2),
                    "degrade_level": rung.level,
                }
            )
        return rows

    def _own(self, supply: Supply, now: Now) -> Now:
        """The scene's guidance is meant for the scene's model: what is much for one is little for another."""
        return now if supply is self.first else replace(now, guidance=None)

    def _supply(self, model: str) -> Supply:
        if self._open_model is None:
            raise BackendError(f"a layer asks for the model {model!r}, but this engine was given one model only")
        opened = self._open_model(model)
        self._opened[model] = opened
        generator = opened.generator
        for supply in self:
            if supply.generator.info.fingerprint == generator.info.fingerprint:
                if supply.generator is not generator:
                    generator.close()
                return supply
        options = replace(
            self._options,
            steps=None,
            guidance=None,
            usual_steps=opened.usual_steps,
            clip_seconds=opened.clip_seconds,
            batch_clips=opened.batch_clips,
        )
        ladder = Ladder(generator.info, steps=opened.usual_steps)
        first = self.first
        return Supply(generator, options, ladder, first.fault, first.now, first.counts)
