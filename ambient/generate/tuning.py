"""What a device can do with a model, measured: the steps, clip length and batch that keep real time with a margin.

`ambient models bench` measures and stores; live streams read. Importing this is light: the model comes as a backend.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ambient.errors import BackendError, OutOfMemory
from ambient.generate.cache import cache_folder
from ambient.generate.ways import PLAIN, Way
from ambient.messages import RATE, ClipFailure, ClipKey, ClipRequest, ModelInfo, PromptMix, Tail
from ambient.ports import Backend

__all__ = [
    "MARGIN",
    "Measured",
    "Tried",
    "Tuning",
    "choose",
    "choose_way",
    "measure",
    "measure_ways",
    "remember",
    "tuning_of",
    "tunings_of",
    "works",
]

MARGIN = 1.5
"""Times real time that a layer needs: what is left is for changes of the scene, single events and a busy machine."""
KEPT_SECONDS = 1.6
"""What a regular clip repeats of the one before."""
LENGTHS_SECONDS = (7.68, 15.36, 30.72)
"""Clip lengths that are tried, and the longest that the model allows. Shorter ones follow a scene more closely."""
FEW_STEPS = (1, 1, 3)
"""Of the clips that warm up, and from which longer ones are estimated."""
WORTH = 1.1
"""How many times as fast as plainly another way must be: less is the noise of a machine."""
LONGEST_WARM_UP_SECONDS = 15.0
"""Another way's first clip may take so long. A compiled denoiser compiles anew for other lengths and batches, which a
stream asks for whenever the scene changes."""
_FILE = "tuning.json"
_ABOUT = ("model", "device", "threads", "on")
"""What a stored row says beside the tuning."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to run the model, measured."""

    steps: int
    latent_frames: int
    batch: int
    seconds: float
    """For the whole batch, wall time."""
    times_real_time: float
    """Seconds of new sound, of all clips of the batch together, made in a second."""
    estimated: bool = False
    """Reckoned from clips of fewer steps, because the whole ones would have taken too long."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One way to compute the denoiser, measured."""

    way: Way
    first_seconds: float
    """The first clip, of one step: compiling, loading kernels."""
    seconds: float
    """A clip of the model's usual steps after that, reckoned from clips of fewer; infinite where it does not work."""
    trouble: str = ""
    """Why it does not work, or was not tried."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a live stream should run a model on a device."""

    steps: int
    clip_seconds: float
    batch: int
    times_real_time: float
    real_time: bool
    """Whether one layer keeps real time with the margin; else all is as fast as it gets."""
    estimated: bool = False
    """As of :class:`Measured`."""
    attention: str = "auto"
    """As of :class:`Way`, like ``compiled``."""
    compiled: bool = False

    @property
    def way(self) -> Way:
        """How the denoiser is computed."""
        return Way(self.attention, self.compiled)

    @property
    def layers(self) -> int:
        """Beds that can play at once."""
        return int(self.times_real_time / MARGIN)


def measure_ways(
    backend: Backend,
    *,
    most_seconds: float = 60.0,
    clock: Callable[[], float] = time.perf_counter,
    tell: Callable[[Tried], None] = lambda row: None,
) -> list[Tried]:
    """Makes the same short clip in every way that the backend's device offers, plainly first; ``tell`` hears of each.

    Leaves the backend in the way that :func:`choose_way` takes. After about ``most_seconds`` no other way is begun.
    Raises BackendError where the model does not even work plainly.
    """
    began, length = clock(), _lengths(backend.info)[0]
    rows: list[Tried] = []
    for way in getattr(backend, "ways", ()):
        if rows and clock() - began > most_seconds:
            rows.append(Tried(way, 0.0, math.inf, "not tried for want of time; more with --seconds"))
        else:
            backend.take(way)  # type: ignore[attr-defined]  # what has ways can take them
            try:
                rows.append(_try(backend, way, length, clock))
            except (BackendError, OutOfMemory) as error:
                if way == PLAIN:
                    raise
                rows.append(Tried(way, 0.0, math.inf, str(error)))
        tell(rows[-1])
    if rows:
        backend.take(choose_way(rows))  # type: ignore[attr-defined]
    return rows


def choose_way(rows: Sequence[Tried]) -> Way:
    """The fastest that is worth it (:data:`WORTH`, :data:`LONGEST_WARM_UP_SECONDS`), else the plain one."""
    plain = next((r.seconds for r in rows if r.way == PLAIN), math.inf)
    able = [r for r in rows if r.seconds * WORTH <= plain and r.first_seconds <= LONGEST_WARM_UP_SECONDS]
    return min(able, key=lambda r: r.seconds).way if able and math.isfinite(plain) else PLAIN


def works(backend: Backend) -> None:
    """Makes one short clip. Raises BackendError where that fails."""
    try:
        _time(backend, 1, _lengths(backend.info)[0], 1, time.perf_counter)
    except OutOfMemory as error:
        raise BackendError(str(error)) from error


def _try(backend: Backend, way: Way, length: int, clock: Callable[[], float]) -> Tried:
    first = _time(backend, 1, length, 1, clock)
    one, few = math.inf, math.inf
    began = clock()
    for _ in range(5):  # the best of several: what is slower was disturbed
        one = min(one, _time(backend, 1, length, 1, clock))
        few = min(few, _time(backend, FEW_STEPS[-1], length, 1, clock))
        if clock() - began > 5:
            break
    each = max(0.0, few - one) / (FEW_STEPS[-1] - 1)
    return Tried(way, first, one + each * (backend.info.steps - 1))


def measure(
    backend: Backend,
    *,
    batches: Sequence[int] = (1, 2, 4),
    most_seconds: float = 120.0,
    clock: Callable[[], float] = time.perf_counter,
    tell: Callable[[Measured], None] = lambda row: None,
) -> list[Measured]:
    """Makes clips of several lengths, steps and batches; ``tell`` hears of each.

    The first clip of each length, which warms up, does not count. It ends after about ``most_seconds``, and a clip that
    would not be done by then is estimated from two with fewer steps. Batches and lengths for which the memory does not
    suffice are left out. Raises BackendError for a clip that fails, and where not even one fits.
    """
    info = backend.info
    began = clock()
    rows: list[Measured] = []
    counts = list(dict.fromkeys([info.steps, (info.steps + info.min_steps + 1) // 2, info.min_steps]))
    for length in _lengths(info):
        for batch in batches:
            if rows and clock() - began > most_seconds:
                return rows
            try:
                least = [_time(backend, n, length, batch, clock) for n in FEW_STEPS]
                for steps in counts:
                    left = most_seconds - (clock() - began)
                    if rows and left < 0:
                        return rows
                    each = max(0.0, least[-1] - least[-2]) / (FEW_STEPS[-1] - FEW_STEPS[-2])
                    spent = least[-1] + each * (steps - FEW_STEPS[-1])
                    estimated = spent > left
                    if not estimated:
                        spent = _time(backend, steps, length, batch, clock)
                    new = (length - _kept(info, length)) * info.frames_per_latent / RATE * batch
                    rows.append(Measured(steps, length, batch, spent, new / spent, estimated))
                    tell(rows[-1])
            except OutOfMemory as error:
                if not rows:
                    raise BackendError(f"{info.name} does not fit into the memory of this device: {error}") from error
                break  # larger batches of that length fit still less
    return rows


def choose(info: ModelInfo, rows: Sequence[Measured]) -> Tuning:
    """The most steps that keep real time with the margin, as fast as they get; where none do, the fastest of all.

    Among ways that are about as fast (within a tenth), shorter clips and smaller batches come first: a changed scene
    is heard sooner. Raises ValueError without measurements.
    """
    able = [r for r in rows if r.times_real_time >= MARGIN]
    steps = max((r.steps for r in able), default=None)
    field = [r for r in able if r.steps == steps] or list(rows)
    best = max(r.times_real_time for r in field)
    chosen = min((r for r in field if r.times_real_time >= 0.9 * best), key=lambda r: (r.latent_frames, r.batch))
    seconds = chosen.latent_frames * info.frames_per_latent / RATE
    speed = round(chosen.times_real_time, 2)
    return Tuning(chosen.steps, round(seconds, 2), chosen.batch, speed, bool(able), chosen.estimated)


def remember(info: ModelInfo, device: str, threads: int | None, tuning: Tuning, on: str = "") -> pathlib.Path:
    """Stores a tuning for :func:`tuning_of`; returns the file. Raises BackendError where it cannot be written.

    ``device`` and ``threads`` as they were asked for, which is what a stream asks for too; ``on``: what that was.
    """
    path = _path()
    row = dict(zip(_ABOUT, (info.name, device, threads, on), strict=True)) | asdict(tuning)
    known = _read(path) | {_key(info, device, threads): row}
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1) + "\n")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise BackendError(f"{path} cannot be written: {error.strerror}; AMBIENT_CACHE names another folder") from error
    return path


def tuning_of(info: ModelInfo, device: str, threads: int | None) -> Tuning | None:
    """What was measured for these weights on this device, if anything was."""
    return _tuning(_read(_path()).get(_key(info, device, threads)))


def tunings_of(info: ModelInfo) -> list[dict[str, Any]]:
    """All that was measured for these weights here, JSON-ready, with the device and threads that were asked for."""
    rows = [row for key, row in _read(_path()).items() if key.startswith(f"{info.fingerprint} on ")]
    return [{k: row.get(k) for k in _ABOUT[1:]} | asdict(tuned) for row in rows if (tuned := _tuning(row))]


def _tuning(row: Any) -> Tuning | None:
    try:
        found = Tuning(**{k: v for k, v in row.items() if k not in _ABOUT}) if row else None
        good = found is not None and 1 <= found.steps <= 1000 and found.clip_seconds > 0 and found.batch >= 1
    except (TypeError, AttributeError):
        return None
    return found if good else None


def _path() -> pathlib.Path:
    return cache_folder() / _FILE


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _key(info: ModelInfo, device: str, threads: int | None) -> str:
    return f"{info.fingerprint} on {device}" + ("" if threads is None else f", {threads} threads")


def _lengths(info: ModelInfo) -> list[int]:
    wanted = [round(s * RATE / info.frames_per_latent) for s in LENGTHS_SECONDS]
    return sorted({min(n, info.max_latent_frames) for n in wanted})


def _kept(info: ModelInfo, length: int) -> int:
    return min(round(KEPT_SECONDS * RATE / info.frames_per_latent), length // 2)


def _time(backend: Backend, steps: int, length: int, batch: int, clock: Callable[[], float]) -> float:
    """Seconds for one batch of clips that continue something."""
    import numpy as np

    info = backend.info
    tail = Tail(np.zeros((info.latent_channels, _kept(info, length)), np.float16))
    prompt = PromptMix.of("steady rain on leaves")
    requests = [
        ClipRequest(ClipKey("bench", i), 0, length, 0, i, 1, prompt, steps, info.guidance, tail, model=info.name)
        for i in range(batch)
    ]
    began = clock()
    for answer in backend.generate(requests):
        if isinstance(answer, ClipFailure):
            if answer.kind == "out_of_memory":
                raise OutOfMemory(answer.message)
            raise BackendError(f"{info.name} makes no clip: {answer.message}")
    return math.nextafter(clock() - began, math.inf)
