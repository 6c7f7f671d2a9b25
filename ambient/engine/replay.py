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
from ambient.engine.options import Opened, Options
from ambient.errors import ReplayError
from ambient.messages import BLOCK_FRAMES, RATE, Block, Clip, ClipFailure, ClipRequest, ModelInfo, path_of
from ambient.ports import Generator
from ambient.scene import Memory, Scene, parse_scene, recordings_of

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
            self.scene: Scene = self._scene(head["scene"])
            self._models: dict[str, Mapping[str, Any]] = dict(head["scene"].get("models", {}))
            self.model: Mapping[str, str] = head["model"]
            self.options = Options(
                seed=head["seed"],
                steps=head["steps"],
                usual_steps=head.get("usual_steps"),
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
        self._tape = _Tape(self._rows, self._departs)

    def engine(self, generator: Generator, find: Callable[[str], Generator] | None = None) -> Engine:
        """The engine, with its first clips made, so that its next block is the session's first.

        ``find`` gives the generator of a model that a layer names. Raises ReplayError for another model than the
        recorded one, or where a clip cannot be made again. Whoever made the generators closes them.
        """
        self._same(self.model["name"], self.model["fingerprint"], generator)

        def open_model(name: str) -> Opened:
            row = self._models.get(name)
            if row is None or find is None:
                raise self._departs(f"it asks for the model {name!r}")
            found = find(name)
            self._same(name, row["fingerprint"], found)
            return Opened(_Takes(found, self._tape), row["usual_steps"], row["clip_seconds"], row["batch_clips"])

        self._engine = Engine(self.scene, _Takes(generator, self._tape, counts=True), self.options, open_model)
        while self._tape.polls < self._began:
            self._obey()
            self._engine.prime()
        return self._engine

    def step(self) -> Block:
        """The next block. Raises ReplayError."""
        assert self._engine is not None
        self._obey()
        return self._engine.step()

    def _same(self, name: str, fingerprint: str, generator: Generator) -> None:
        if generator.info.fingerprint != fingerprint:
            raise ReplayError(
                f"{self._path} was recorded with other weights of the model {name!r}, or by another version: "
                f"{fingerprint}, here is {generator.info.fingerprint}; name the recorded ones by --model"
            )

    def _scene(self, row: Mapping[str, Any]) -> Scene:
        """The scene as it was written then; recordings that it names are looked for where it lay."""
        scene = parse_scene(row["text"], str(pathlib.Path(row.get("folder", ""), f"{row['name']}.yaml")))
        changed = set(recordings_of(scene)) - set(row.get("recordings", recordings_of(scene)))
        for part in sorted(changed):
            raise ReplayError(f"{self._path}: the recording {path_of(part)} is not as it was then; put that back")
        return scene

    def _obey(self) -> None:
        """Does what was done before the next poll."""
        engine = self._engine
        assert engine is not None
        while self._rows and self._rows[0]["poll"] <= self._tape.polls:
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
                        self._models |= row.get("models", {})
                        engine.replace_scene(self._scene(row))
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

    @property
    def key(self) -> tuple[str, int, int]:
        """What names it in all of the session."""
        return self.layer, self.seed, self.batch


class _Tape:
    """What the record shows of the clips, for all models together."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], departs: Callable[[str], ReplayError]) -> None:
        self.departs = departs
        self.due: dict[int, list[_Take]] = collections.defaultdict(list)
        for row in rows:
            if row["do"] == "clip":
                self.due[row["poll"]].append(_take(row))
        self.needed = {t.batch for takes in self.due.values() for t in takes if t.failure is None}
        self.wanted = {(t.layer, t.seed) for takes in self.due.values() for t in takes if t.failure is None}
        self.asked: dict[tuple[str, int, int], ClipRequest] = {}
        """(layer, seed, batch) of what was asked for, of whichever model."""
        self.batches = 0
        self.polls = 0
        """How often the scene's own model was asked; the others each time after it."""


class _Takes:
    """A generator that answers with the recorded poll what the recorded one did.

    Batches of which the record shows no clip (they were given up, or failed) are not made again; the others are made
    whole, because what is in a batch may change its last bits.
    """

    def __init__(self, inner: Generator, tape: _Tape, counts: bool = False) -> None:
        """``counts``: whether this is the scene's own model."""
        self._inner = inner
        self._tape = tape
        self._counts = counts
        self._mine: set[tuple[str, int, int]] = set()
        self._made: dict[tuple[str, int], Clip] = {}

    @property
    def info(self) -> ModelInfo:
        return self._inner.info

    @property
    def ready(self) -> bool:
        return self._inner.ready

    @property
    def device(self) -> str | None:
        return self._inner.device

    @property
    def restarts(self) -> int:
        return self._inner.restarts

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        number = self._tape.batches
        self._tape.batches += 1
        for request in batch:
            self._mine.add((request.key.layer, request.seed, number))
            self._tape.asked[request.key.layer, request.seed, number] = request
        if number in self._tape.needed:
            self._inner.submit(batch, PATIENCE_SECONDS)

    def poll(self, timeout_seconds: float = 0.0) -> list[Clip | ClipFailure]:
        tape = self._tape
        tape.polls += self._counts
        due = tape.due.get(tape.polls, [])
        mine = [take for take in due if take.key in self._mine]
        if self._counts and (strange := [take for take in due if take.key not in tape.asked]):
            raise tape.departs(f"no clip of {strange[0].layer} with seed {strange[0].seed} was asked for")
        tape.due[tape.polls] = [take for take in due if take not in mine]
        return [self._again(take) for take in mine]

    def cancel(self, request: ClipRequest) -> None:
        """What the record shows of it comes all the same."""

    def close(self) -> None:
        """Closed by whoever made it."""

    def _again(self, take: _Take) -> Clip | ClipFailure:
        key = take.layer, take.seed
        request = self._tape.asked[take.key]
        if take.failure is not None:
            return ClipFailure(request, take.failure, take.message)  # type: ignore[arg-type]  # as it was recorded
        while key not in self._made:
            for answer in self._inner.poll(1.0):
                of = answer.request.key.layer, answer.request.seed
                if of not in self._tape.wanted:
                    continue
                if isinstance(answer, Clip):
                    self._made[of] = answer
                elif of == key:
                    raise self._tape.departs(f"a clip of {take.layer} cannot be made again: {answer.message}")
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
