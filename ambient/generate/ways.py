"""Ways to compute one and the same denoiser: which attention kernel, compiled or not.

Which is fastest depends on the device, the model and the version of torch, so nobody can know it: `ambient models
bench` measures (:func:`ambient.generate.tuning.measure_ways`), and what it found is what streams use. Importing this
is light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ambient.errors import BackendError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PLAIN", "Way", "Ways", "compile_afresh", "ways_of"]

_KERNELS = {
    "flash": "FLASH_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
    "math": "MATH",
}
"""Ours → torch's names (``torch.nn.attention.SDPBackend``)."""
_ON = {"cpu": ("flash", "math"), "cuda": ("flash", "efficient", "cudnn", "math")}
"""Kind of device → the kernels that torch has for it; it has no choice elsewhere."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way. All give the same up to rounding."""

    attention: str = "auto"
    """The kernel: ``auto`` (torch picks), ``flash``, ``efficient``, ``cudnn`` or ``math``."""
    compiled: bool = False
    """Through ``torch.compile``, whose first clips take long."""

    def __str__(self) -> str:
        said = "attention picked by torch" if self.attention == "auto" else f"{self.attention} attention"
        return said + (", compiled" if self.compiled else "")


PLAIN = Way()


def ways_of(device_kind: str) -> tuple[Way, ...]:
    """What is worth trying on a kind of device (torch's name for it), the plain way first."""
    return (PLAIN, *(Way(kernel) for kernel in _ON.get(device_kind, ())), Way(compiled=True))


def compile_afresh() -> None:
    """Lets nothing that was compiled before be used in this process: for measuring how long compiling takes."""
    import torch.compiler.config as compiler

    compiler.force_disable_caches = True


class Ways:
    """A denoiser that is called like itself and computed in the way that was taken, at first plainly."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._run: Any = model
        self._kernels: Sequence[Any] = ()

    def take(self, way: Way) -> None:
        """From the next call on. Raises BackendError for an attention kernel that torch does not know."""
        import torch
        from torch.nn.attention import SDPBackend

        if way.attention != "auto" and way.attention not in _KERNELS:
            raise BackendError(f"no attention is called {way.attention!r}; there are auto, {', '.join(_KERNELS)}")
        self._kernels = () if way.attention == "auto" else (getattr(SDPBackend, _KERNELS[way.attention]),)
        if way.compiled:
            import torch._inductor.config as inductor

            inductor.compile_threads = 1  # no pool of processes that would outlive a worker that is killed
            self._run = torch.compile(self._model)
        else:
            self._run = self._model

    def __call__(self, *given: Any, **named: Any) -> Any:
        if not self._kernels:
            return self._run(*given, **named)
        from torch.nn.attention import sdpa_kernel

        with sdpa_kernel(list(self._kernels)):
            return self._run(*given, **named)
