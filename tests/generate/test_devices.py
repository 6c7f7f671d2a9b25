"""Where a model computes, and in which numbers: what is picked, what is said, what is refused."""

from __future__ import annotations

import pytest
import torch

from ambient.errors import BackendError
from ambient.generate import devices
from ambient.generate.devices import choose_device, cpu_threads


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that has a GPU, as far as anybody asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Pocket 9000")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    return monkeypatch


def test_auto_takes_the_best_there_is_and_says_what_it_picked(cuda: pytest.MonkeyPatch) -> None:
    found = choose_device("auto", half=True)
    assert found.torch_device.type == "cuda"
    assert str(found) == "cuda (Pocket 9000), bfloat16, picked automatically"
    cuda.setattr(torch.cuda, "is_available", lambda: False)
    cuda.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto", half=True).torch_device.type == "mps"
    cuda.setattr(torch.backends.mps, "is_available", lambda: False)
    found = choose_device("auto", half=True)
    assert found.torch_device.type == "cpu" and "threads), float32, picked automatically" in str(found)


def test_half_precision_only_where_it_is_safe(cuda: pytest.MonkeyPatch) -> None:
    assert choose_device("cuda", half=True).dtype == torch.bfloat16
    assert choose_device("cuda", half=False).dtype == torch.float32
    assert choose_device("cpu", half=True).dtype == torch.float32
    cuda.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_device("cuda", half=True).dtype == torch.float16
    assert "picked" not in str(choose_device("cuda", half=True))


def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(BackendError, match=r"device 'abacus' cannot be used: .*; there are .*cpu \(--device auto"):
        choose_device("abacus", half=True)
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="device 'cuda' cannot be used"):
            choose_device("cuda", half=True)


def test_threads_leave_a_core_to_playout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 8)
    assert cpu_threads(None, offline=False) == 1
    assert cpu_threads(None, offline=True) == 7
    assert cpu_threads(3, offline=True) == 3 and cpu_threads(0, offline=False) == 1
