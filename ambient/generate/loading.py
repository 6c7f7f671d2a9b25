"""From a described model to one that is loaded. Importing this is light; torch comes with the call."""

from __future__ import annotations

from ambient.messages import ModelInfo
from ambient.ports import Backend

__all__ = ["load_backend"]


def load_backend(info: ModelInfo, device: str = "auto", threads: int | None = None) -> Backend:
    """Loads a model. Raises BackendError with a clear message.

    ``device``: where it computes, as torch names it; ``auto`` takes cuda, then mps, then cpu. ``threads``: torch's
    threads within an operation; None takes one, which leaves a core to playout (`tools/bench.py --only clip` compares).
    """
    import torch

    from ambient.generate.bundled import BundledBackend

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return BundledBackend(info.path or None, device=device, threads=threads or 1)
