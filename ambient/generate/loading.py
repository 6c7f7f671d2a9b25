"""From a described model to one that is loaded. Importing this is light; torch comes with the call."""

from __future__ import annotations

from ambient.messages import ModelInfo
from ambient.ports import Backend

__all__ = ["load_backend"]


def load_backend(info: ModelInfo, device: str = "cpu", threads: int | None = None) -> Backend:
    """Loads a model. ``threads``: torch's threads within an operation. Raises BackendError with a clear message."""
    from ambient.generate.bundled import BundledBackend

    return BundledBackend(info.path or None, device=device, threads=threads)
