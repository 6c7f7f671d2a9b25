"""Denoising with a tail that stays: one loop for every scheduler that can keep it exact.

RePaint's idea (Lugmayr et al., arXiv 2201.09865) without its resampling: after every step the kept region is set to
what the known latents look like at the noise level of the next step, and to the known latents after the last one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["denoise", "noisy"]

_ON_THE_WAY = 0x5DEECE66D


def noisy(scheduler: Any, known: Tensor, noise: Tensor, step: int) -> Tensor:
    """``known`` as it looks before denoising step ``step``; ``known`` itself after the last."""
    if step >= len(scheduler.timesteps):
        return known
    kind = type(scheduler).__name__
    if kind == "FlowMatchEulerDiscreteScheduler":
        sigma = scheduler.sigmas[step].to(known)
        return torch.lerp(known, noise, sigma)
    if kind == "CosineDPMSolverMultistepScheduler":
        return torch.addcmul(known, scheduler.sigmas[step].to(known), noise)
    level = scheduler.timesteps[step : step + 1].expand(len(known))
    made: Tensor = scheduler.add_noise(known, noise, level)
    return made


def denoise(
    scheduler: Any,
    predict: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    known: Tensor,
    mask: Tensor,
    seeds: list[int],
    on_step: Callable[[], None],
) -> Tensor:
    """Latents of ``noise``'s shape, equal to ``known`` where ``mask`` is 1.

    ``scheduler``: one of diffusers', its timesteps set, used by nobody else. ``predict``: model output for latents
    (scaled as the scheduler wants them) at a timestep. ``seeds``: one for each clip, for the schedulers that draw
    noise as they go, so that a clip does not depend on what else is in the batch.
    """
    # not the seeds of ``noise``: what is drawn on the way must know nothing of the beginning
    generators = [torch.Generator().manual_seed(seed ^ _ON_THE_WAY) for seed in seeds]
    more = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = torch.where(
        mask > 0, noisy(scheduler, known, noise, 0), noise * float(getattr(scheduler, "init_noise_sigma", 1))
    )
    for i, timestep in enumerate(scheduler.timesteps):
        on_step()
        scaled = scheduler.scale_model_input(x, timestep) if hasattr(scheduler, "scale_model_input") else x
        out = predict(scaled, timestep)
        x = scheduler.step(out, timestep, x, return_dict=False, **more)[0]
        x = torch.where(mask > 0, noisy(scheduler, known, noise, i + 1), x)
    return x
