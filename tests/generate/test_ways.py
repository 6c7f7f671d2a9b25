"""Every way to compute a denoiser gives the same sound, and one that does not work gives way to the plain one."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ambient.errors import BackendError
from ambient.generate.catalogue import describe
from ambient.generate.loading import load_backend
from ambient.generate.ways import PLAIN, Way, Ways, ways_of
from ambient.messages import Clip, ClipKey, ClipRequest, PromptMix
from ambient.ports import Backend


def clip(backend: Backend, frames: int) -> Clip:
    info = backend.info
    request = ClipRequest(ClipKey("a", 0), 0, frames, 0, 1, 1, PromptMix.of("rain"), 2, info.guidance, model=info.name)
    (made,) = backend.generate([request])
    assert isinstance(made, Clip), made
    return made


def test_the_plain_way_comes_first_and_each_device_has_its_kernels() -> None:
    assert all(ways_of(kind)[0] == PLAIN and Way(compiled=True) in ways_of(kind) for kind in ("cpu", "cuda", "mps"))
    assert Way("cudnn") in ways_of("cuda") and Way("cudnn") not in ways_of("cpu")
    assert str(Way("math", True)) == "math attention, compiled"


@pytest.mark.parametrize("family", ["bundled", "audioldm", "audioldm2", "stable-audio", "stable-audio-3"])
def test_every_attention_gives_the_same_clip(family: str, checkpoint: Callable[[str], pathlib.Path]) -> None:
    name = family if family == "bundled" else str(checkpoint(family))
    backend = load_backend(describe(name), "cpu", 1)
    plain = clip(backend, 16)
    for way in ways_of("cpu")[1:-1]:
        backend.take(way)  # type: ignore[attr-defined]
        np.testing.assert_allclose(
            clip(backend, 16).latents.astype(np.float32), plain.latents.astype(np.float32), atol=0.03
        )


def test_the_kernel_that_was_asked_for_is_the_one_that_computes() -> None:
    class Attention(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    def ran(way: Way) -> set[str]:
        attention = Ways(Attention())
        attention.take(way)
        with torch.profiler.profile() as seen, torch.inference_mode():
            attention(torch.randn(1, 2, 64, 16))
        return {event.key for event in seen.key_averages()}

    flash = "aten::_scaled_dot_product_flash_attention_for_cpu"
    assert flash in ran(Way("flash")) and flash not in ran(Way("math"))


def test_compiled_or_not_it_computes_the_same() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception:
        pytest.skip("torch.compile needs a C++ compiler, and there is none")
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU())
    ways, x = Ways(model), torch.randn(3, 8)
    ways.take(Way(compiled=True))
    with torch.inference_mode():
        torch.testing.assert_close(ways(x), model(x), atol=1e-5, rtol=1e-4)


def test_a_way_that_does_not_work_gives_way_to_the_plain_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda model: broken)
    with caplog.at_level(logging.WARNING):
        backend = load_backend(describe("bundled"), "cpu", 1, Way(compiled=True))
    assert "no C++ compiler" in caplog.text and "plainly" in caplog.text
    assert clip(backend, 16).audio.std() > 0
    with pytest.raises(BackendError, match="no attention is called 'flush'"):
        Ways(torch.nn.Identity()).take(Way("flush"))
