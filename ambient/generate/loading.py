"""From a described model to one that is loaded. Importing this is light; torch comes with the call."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable

from ambient.errors import BackendError
from ambient.generate.tuning import works
from ambient.generate.ways import PLAIN, Way
from ambient.messages import ModelInfo
from ambient.ports import Backend

__all__ = ["load_backend"]

log = logging.getLogger(__name__)


def load_backend(info: ModelInfo, device: str = "auto", threads: int | None = None, way: Way = PLAIN) -> Backend:
    """Loads a model. Raises BackendError with a clear message.

    ``device``: where it computes, as torch names it; ``auto`` takes cuda, then mps, then cpu. ``threads``: torch's
    threads within an operation; None takes one for the bundled model, which leaves a core to playout
    (`tools/bench.py --only clip` compares), and for the others all processors but one. ``way``: how the denoiser is
    computed, tried with one clip; where it does not work any more, plainly, and the log says so.
    """
    backend = _load(info, device, threads)
    if way != PLAIN:
        try:
            backend.take(way)  # type: ignore[attr-defined]  # every backend that is loaded here can
            works(backend)
        except BackendError as error:
            log.warning("%s; computed plainly instead of with %s", error, way)
            backend.take(PLAIN)  # type: ignore[attr-defined]
    return backend


def _load(info: ModelInfo, device: str, threads: int | None) -> Backend:
    import torch

    from ambient.generate.devices import choose_device, cpu_threads

    ours = info.family == "ambience"
    torch.set_num_threads(cpu_threads(threads, offline=not ours))
    if ours:
        from ambient.generate.bundled import BundledBackend

        return BundledBackend(info.path or None, device=device)
    chosen = choose_device(device, half=True)
    from ambient.generate.checkpoint import load_pipeline
    from ambient.generate.mel import AudioLDM2Backend, AudioLDMBackend
    from ambient.generate.stable import StableAudio3Backend, StableAudioBackend

    folder = pathlib.Path(info.path)
    family, pipeline = load_pipeline(folder)
    kinds: dict[str, Callable[..., Backend]] = {
        "audioldm": AudioLDMBackend,
        "audioldm2": AudioLDM2Backend,
        "stable-audio": StableAudioBackend,
        "stable-audio-3": StableAudio3Backend,
    }
    return kinds[family.name](info, pipeline, family.geometry(folder).hop, chosen)
