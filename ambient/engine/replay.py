"""Replays a recorded session: the same engine, told the same things at the same frames, given each clip when it came.

The clips are generated anew, so a log needs no sound. Whatever depended on timing (when a clip came, how long it had
taken, that it failed) is taken from the log; so the degrade ladder, the leads and the joins come out as they did.
"""

from __future__ import annotations

import collections
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ambient import __version__
from ambient.engine.core import Engine
from ambient.engine.journal import FORMAT
from ambient.engine.options import Options
from ambient.errors import ReplayError
from ambient.messages import BLOCK_FRAMES, RATE, Block, Clip, ClipFailure, ClipRequest, ModelInfo
from ambient.ports import Generator
from ambient.scene import Memory, Scene, parse_scene

__all__ = ["Replay"]

PATIENCE_SECONDS = 600.0
"""A clip that takes longer than this is not coming."""


class Replay:
    """A log, read, and the engine that lives it again.

    ``scene``, ``model`` (name, fingerprint) and ``length_frames`` (of sound) are known before the model is.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Raises ReplayError where the file is no log; a last line that was cut off is left out."""
        self._path = path
        head, self._rows = self._read()
        self._head = head
        try:
            self.scene: Scene = _scene(head["scene"])
            self.model: Mapping[str, str] = head["model"]
            self.options = Options(
                seed=head["seed"],
                steps=head["steps"],
                guidance=head["guidance"],
                clip_seconds=head.get("clip_seconds"),
                batch_clips=head.get("batch_clips", 4),
                solo=head["solo"],
                mute=frozenset(head["mute"]),
                memory=Memory.model_validate(head["memory"]) if head.get("memory") else None,
                began=datetime.fromisoformat(head["began"]),
            )
            began = next((r["poll"] for r in self._rows if r["do"] == "begin"), None)
            ended = max((r["poll"] for r in self._rows), default=0)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(1, f"its first line lacks {error}") from error
        if began is None or ended <= began:
            raise ReplayError(f"{path}: the session ended before it sounded; there is nothing to replay")
        self._began: int = began
        self.length_frames = (ended - began) * BLOCK_FRAMES
        self._engine: Engine | None = None
        self._takes: _Takes | None = None

    def engine(self, generator: Generator) -> Engine:
        """The engine, with its first clips made, so that its next block is the session's first.

        Raises ReplayError for another model than the recorded one, or where a clip cannot be made again.
        """
        if generator.info.fingerprint != self.model["fingerprint"]:
            raise ReplayError(
                f"{self._path} was recorded with other weights of the model {self.model['name']!r}: "
                f"{self.model['fingerprint']}, here are {generator.info.fingerprint}; name the recorded ones by --model"
            )
        self._takes = _Takes(generator, self._rows, self._departs)
        self._engine = Engine(self.scene, self._takes, self.options)
        while self._takes.polls < self._began:
            self._obey()
            self._engine.prime()
        return self._engine

    def step(self) -> Block:
        """The next block. Raises ReplayError."""
        assert self._engine is not None
        self._obey()
        return self._engine.step()

    def _obey(self) -> None:
        """Does what was done before the next poll."""
        engine, takes = self._engine, self._takes
        assert engine is not None and takes is not None
        while self._rows and self._rows[0]["poll"] <= takes.polls:
            row = self._rows.popleft()
            try:
                match row["do"]:
                    case "fire":
                        engine.fire(row["event"])
                    case "ask":
                        engine.ask(row["text"], row["distance_m"], row["azimuth_deg"])
                    case "param":
                        engine.set_param(row["name"], row["value"])
                    case "feed":
                        engine.feed(row["source"], row["value"])
                    case "state":
                        engine.go(row["state"], row["over_seconds"])
                    case "scene":
                        engine.replace_scene(_scene(row))
                    case "skip":
                        engine.skip(row["frames"])
            except (KeyError, TypeError, ValueError) as error:
                raise ReplayError(f"{self._path}: at {row['at'] / RATE:.2f} s: {row}: {error}") from error

    def _departs(self, what: str) -> ReplayError:
        at = self._engine.frame / RATE if self._engine is not None else 0.0
        told = self._head.get("ambient")
        other = f"; it was recorded with Ambient {told}, this is {__version__}" if told != __version__ else ""
        return ReplayError(f"{self._path}: at {at:.2f} s the replay departs from the record: {what}{other}")

    def _read(self) -> tuple[dict[str, Any], collections.deque[dict[str, Any]]]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "it is no text"
            raise ReplayError(f"the log {self._path} cannot be read: {said}") from error
        rows: collections.deque[dict[str, Any]] = collections.deque()
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("not an object")
                if number > 1:
                    row["at"], row["poll"], row["do"] = int(row["at"]), int(row["poll"]), str(row["do"])
                    if len(rows) > 1 and row["poll"] < rows[-1]["poll"]:
                        raise ValueError("time goes back")
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                if number == len(lines) and number > 1:
                    break  # the power went out while it was written
                raise self._damaged(number, str(error)) from error
            rows.append(row)
        if not rows or rows[0].get("log") != FORMAT:
            raise ReplayError(f"{self._path} is no log of a session; `--record FILE` writes one")
        return rows.popleft(), rows

    def _damaged(self, line: int, why: str) -> ReplayError:
        return ReplayError(f"{self._path}:{line}: the log is damaged: {why}")


@dataclass(frozen=True, slots=True)
class _Take:
    """One answer of the recorded generator."""

    layer: str
    seed: int
    batch: int
    seconds: float
    cached: bool
    failure: str | None
    message: str


class _Takes:
    """A generator that answers with the recorded poll what the recorded one did.

    Batches of which the record shows no clip (they were given up, or failed) are not made again; the others are made
    whole, because what is in a batch may change its last bits.
    """

    def __init__(
        self, inner: Generator, rows: Sequence[Mapping[str, Any]], departs: Callable[[str], ReplayError]
    ) -> None:
        self._inner = inner
        self._departs = departs
        self._due: dict[int, list[_Take]] = collections.defaultdict(list)
        for row in rows:
            if row["do"] == "clip":
                self._due[row["poll"]].append(_take(row))
        self._needed = {t.batch for takes in self._due.values() for t in takes if t.failure is None}
        self._wanted = {(t.layer, t.seed) for takes in self._due.values() for t in takes if t.failure is None}
        self._asked: dict[tuple[str, int], ClipRequest] = {}
        self._made: dict[tuple[str, int], Clip] = {}
        self._batches = 0
        self.polls = 0

    @property
    def info(self) -> ModelInfo:
        return self._inner.info

    @property
    def ready(self) -> bool:
        return self._inner.ready

    @property
    def restarts(self) -> int:
        return self._inner.restarts

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        number, self._batches = self._batches, self._batches + 1
        for request in batch:
            self._asked[request.key.layer, request.seed] = request
        if number in self._needed:
            self._inner.submit(batch, PATIENCE_SECONDS)

    def poll(self, timeout_seconds: float = 0.0) -> list[Clip | ClipFailure]:
        self.polls += 1
        return [self._again(take) for take in self._due.pop(self.polls, ())]

    def cancel(self, request: ClipRequest) -> None:
        """What the record shows of it comes all the same."""

    def close(self) -> None:
        self._inner.close()

    def _again(self, take: _Take) -> Clip | ClipFailure:
        key = take.layer, take.seed
        request = self._asked.get(key)
        if request is None:
            raise self._departs(f"no clip of {take.layer} with seed {take.seed} was asked for")
        if take.failure is not None:
            return ClipFailure(request, take.failure, take.message)  # type: ignore[arg-type]  # as it was recorded
        while key not in self._made:
            for answer in self._inner.poll(1.0):
                of = answer.request.key.layer, answer.request.seed
                if of not in self._wanted:
                    continue
                if isinstance(answer, Clip):
                    self._made[of] = answer
                elif of == key:
                    raise self._departs(f"a clip of {take.layer} cannot be made again: {answer.message}")
        clip = self._made.pop(key)
        return replace(clip, generation_seconds=take.seconds, cached=take.cached)


def _take(row: Mapping[str, Any]) -> _Take:
    return _Take(
        row["layer"],
        row["seed"],
        row["batch"],
        row.get("seconds", 0.0),
        row.get("cached", False),
        row.get("failure"),
        row.get("message", ""),
    )


def _scene(row: Mapping[str, Any]) -> Scene:
    """The scene as it was written then; recordings that it names are looked for where it lay."""
    return parse_scene(row["text"], str(pathlib.Path(row.get("folder", ""), f"{row['name']}.yaml")))
