"""Where a model computes, and in which numbers."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import torch

from ambient.errors import BackendError

__all__ = ["Device", "choose_device", "cpu_threads", "native_bfloat16"]


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was tried and works."""

    torch_device: torch.device
    dtype: torch.dtype
    """Of the denoiser, and of the networks in the bundled model's decoder."""
    why: str = ""

    def __str__(self) -> str:
        kind = self.torch_device.type
        if kind == "cuda":
            name = torch.cuda.get_device_name(self.torch_device)
        else:
            name = platform.processor() or platform.machine()
            if kind == "cpu":
                name += f", {torch.get_num_threads()} threads"
        numbers = str(self.dtype).removeprefix("torch.")
        return f"{self.torch_device} ({name}), {numbers}" + self.why


def choose_device(wanted: str, *, half: bool, dtype: str | None = None) -> Device:
    """The device by torch's name for it; ``auto`` takes cuda, then mps, then cpu.

    ``half``: whether the model may run in half precision, which is taken on cuda: bfloat16 where the device has it,
    because it cannot overflow, else float16. ``dtype`` overrules that. Raises BackendError with the devices there are.
    """
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    name = there[0] if wanted == "auto" else wanted
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise BackendError(
            f"device {name!r} cannot be used: {first}; there are {', '.join(there)} (--device auto picks the first)"
        ) from error
    chosen = torch.float32
    if dtype is not None:
        chosen = getattr(torch, dtype)
    elif half and device.type == "cuda":
        chosen = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    why = ", picked automatically" if wanted == "auto" else ""
    return Device(device, chosen, why)


def cpu_threads(wanted: int | None, *, offline: bool) -> int:
    """Processor threads for a model: one leaves a core to playout; a model that is too slow to play live anyway
    (``offline``) takes all but one."""
    if wanted is not None:
        return max(1, wanted)
    return max(1, (os.cpu_count() or 1) - 1) if offline else 1


def native_bfloat16() -> bool:
    """Whether the processor itself multiplies in bfloat16 (AVX-512 BF16, AMX): faster, where emulating it is slower."""
    told = (getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in ("avx512_bf16", "amx_tile"))
    return any(ask is not None and bool(ask()) for ask in told)
