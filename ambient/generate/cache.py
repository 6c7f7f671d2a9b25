"""Keeps clips on disk, so that a scene heard before starts at once, before the model has loaded.

Only clips whose outcome is certain are kept: the same model, prompt mix, length, seeds, steps, tail and head give the
same clip. The cache is bounded; the clips that were not asked for longest go first. Losing it loses nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

from ambient.messages import Clip, ClipFailure, ClipRequest, ModelInfo, contents_of
from ambient.ports import Generator

__all__ = ["CachingGenerator", "ClipCache", "cache_folder"]


def cache_folder() -> pathlib.Path:
    """The user's cache folder for clips: ``AMBIENT_CACHE``, else the platform's usual place."""
    if given := os.environ.get("AMBIENT_CACHE"):
        return pathlib.Path(given)
    if sys.platform == "darwin":
        base = pathlib.Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = pathlib.Path(os.environ.get("LOCALAPPDATA", pathlib.Path.home()))
    else:
        base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    return base / "ambient" / "clips"


class ClipCache:
    """Clips in a folder, one file each, at most ``limit_bytes`` in all. Never raises for trouble with the disk."""

    def __init__(self, folder: pathlib.Path | None = None, limit_bytes: int = 400_000_000) -> None:
        self.folder = folder or cache_folder()
        self.limit_bytes = limit_bytes

    def key(self, info: ModelInfo, request: ClipRequest) -> str:
        """What the clip depends on, as a hexadecimal digest."""
        known = b"/".join(b"" if x is None else x.latents.tobytes() for x in (request.tail, request.head))
        text = repr(
            (
                info.fingerprint,
                [(contents_of(t), round(w, 4)) for t, w in request.prompt.parts],
                request.prompt.avoid,
                request.start_frame,
                request.latent_frames,
                request.seed,
                request.noise_seed,
                request.steps,
                request.guidance,
                request.one_shot,
                request.settled,
            )
        )
        return hashlib.blake2b(text.encode() + known, digest_size=20).hexdigest()

    def get(self, info: ModelInfo, request: ClipRequest) -> Clip | None:
        """The clip, if it is there and whole."""
        path = self.folder / f"{self.key(info, request)}.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                audio, latents = stored["audio"], stored["latents"]
        except Exception:  # missing, cut off, not ours: all the same to us
            return None
        if audio.shape != (request.latent_frames * info.frames_per_latent, 2) or not np.isfinite(audio).all():
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return Clip(request, audio.astype(np.float32), latents.astype(np.float16), 0.0, cached=True)

    def put(self, info: ModelInfo, clip: Clip) -> None:
        """Keeps a clip: written aside and renamed, so that no half file is ever found."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, audio=clip.audio, latents=clip.latents)
                pathlib.Path(name).replace(self.folder / f"{self.key(info, clip.request)}.npz")
            except OSError:
                pathlib.Path(name).unlink(missing_ok=True)
            self._trim()

    def _trim(self) -> None:
        files = [(p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.npz")]
        surplus = sum(size for _, size, _ in files) - self.limit_bytes
        for _, size, path in sorted(files):
            if surplus <= 0:
                break
            path.unlink(missing_ok=True)
            surplus -= size


class CachingGenerator:
    """Answers from the cache what it can, and passes the rest on.

    Only a scene's opening is kept: clips up to ``first_clips`` of each layer. Later ones depend on when things
    happened and would hardly be asked for again.
    """

    def __init__(self, inner: Generator, cache: ClipCache, first_clips: int = 4) -> None:
        self._inner = inner
        self._cache = cache
        self._first_clips = first_clips
        self._found: list[Clip | ClipFailure] = []

    @property
    def info(self) -> ModelInfo:
        """What the planner must know."""
        return self._inner.info

    @property
    def ready(self) -> bool:
        """Whether the model has loaded."""
        return self._inner.ready

    @property
    def device(self) -> str | None:
        """What the model computes on."""
        return self._inner.device

    @property
    def restarts(self) -> int:
        """How many times a worker was replaced."""
        return self._inner.restarts

    def submit(self, batch: Sequence[ClipRequest], timeout_seconds: float) -> None:
        """Looks each request up; what is not there goes to the generator."""
        missing = []
        for request in batch:
            clip = self._cache.get(self.info, request) if self._keeps(request) else None
            if clip is None:
                missing.append(request)
            else:
                self._found.append(clip)
        if missing:
            self._inner.submit(missing, timeout_seconds)

    def poll(self, timeout_seconds: float = 0.0) -> list[Clip | ClipFailure]:
        """Found and generated clips."""
        found, self._found = self._found, []
        made = self._inner.poll(0.0 if found else timeout_seconds)
        for answer in made:
            if isinstance(answer, Clip) and self._keeps(answer.request) and np.isfinite(answer.audio).all():
                self._cache.put(self.info, answer)
        return found + made

    def cancel(self, request: ClipRequest) -> None:
        """Passed on."""
        self._inner.cancel(request)

    def close(self) -> None:
        """Passed on."""
        self._inner.close()

    def _keeps(self, request: ClipRequest) -> bool:
        return request.key.index < self._first_clips
