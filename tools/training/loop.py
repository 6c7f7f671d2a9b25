"""What stages bounded by minutes share: weights and their running mean, learning rate, log, checkpoint."""

from __future__ import annotations

import copy
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Training"]


class Training:
    """One run of a stage: goes on from ``<stage>.pt``, where there is one, and writes it and ``<stage>.jsonl``.

    Iterating gives the steps for which there is time; each must call :meth:`learn`.
    """

    def __init__(
        self,
        work: pathlib.Path,
        stage: str,
        model: nn.Module,
        optimisers: list[torch.optim.Optimizer],
        settings: dict[str, Any],
        *,
        seconds: float | None = None,
        row: Callable[[np.ndarray], dict[str, float]],
    ) -> None:
        """``settings``: ``learning_rate`` and ``warmup`` (steps), ``minutes`` of training in all, along which the rate
        falls, ``ema`` (decay of the running mean), ``save_every`` (steps). ``seconds`` bounds this run. ``row``: what
        the log says of the scores of the last steps, ``(steps, scores)``."""
        self.model, self.step, self.spent = model, 0, 0.0
        self._optimisers, self._settings, self._row = optimisers, settings, row
        self._checkpoint, self._log = work / f"{stage}.pt", work / f"{stage}.jsonl"
        saved: dict[str, Any] = {}
        if self._checkpoint.exists():
            saved = torch.load(self._checkpoint, weights_only=False)
            model.load_state_dict(saved["model"])
            self.step, self.spent = saved["step"], saved["seconds"]
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        if saved:
            self.ema.load_state_dict(saved["ema"])
        self.scores: list[list[float]] = []
        """Of the steps since the log's last row."""
        self._begun = 0
        if "optimisers" in saved:
            for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
                optimiser.load_state_dict(state)
        else:  # a finished model: its optimiser warms up again
            self._begun = self.step
        self._until = min(settings["minutes"] * 60, self.spent + seconds if seconds is not None else math.inf)

    def __iter__(self) -> Iterator[int]:
        s, before, began = self._settings, self.spent, time.monotonic()
        while self.spent < self._until:
            warm = min(1.0, (self.step - self._begun + 1) / s["warmup"])
            fall = 0.52 + 0.48 * math.cos(math.pi * min(1.0, self.spent / (s["minutes"] * 60)))
            for group in (g for optimiser in self._optimisers for g in optimiser.param_groups):
                group["lr"] = s["learning_rate"] * warm * fall
            yield self.step
            self.step += 1
            self.spent = before + time.monotonic() - began
            if self.step % 50 == 0:
                self._write()
            if self.step % s["save_every"] == 0:
                self._save()
        self._save()

    def learn(self, loss: Tensor, scores: list[float] | None) -> None:
        """A step down ``loss``; ``scores`` are kept for the log."""
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self._optimisers:
            optimiser.step()
        done = self.step - self._begun + 1
        decay = min(self._settings["ema"], (done + 1) / (done + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1 - decay)
        if scores is not None:
            self.scores.append(scores)

    def _write(self) -> None:
        found = {k: round(float(v), 4) for k, v in self._row(np.array(self.scores)).items()}
        row = {"step": self.step, **found, "seconds": round(self.spent, 1)}
        self.scores = []
        with self._log.open("a") as log:
            print(json.dumps(row), file=log)
        print(row, flush=True)

    def _save(self) -> None:
        part = self._checkpoint.with_suffix(".part")
        state = {"model": self.model.state_dict(), "ema": self.ema.state_dict(), "step": self.step}
        state |= {"optimisers": [optimiser.state_dict() for optimiser in self._optimisers]}
        torch.save(state | {"seconds": self.spent, "settings": self._settings}, part)
        part.replace(self._checkpoint)
