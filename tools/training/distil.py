"""``distil``: a student that needs few steps and no guidance, taught by the guided model's own way.

Progressive distillation (Salimans and Ho, arXiv 2202.00512) on a fixed grid: between two of the student's few noise
levels the teacher takes several guided steps; the student learns the mean velocity of that stretch. Half of the
stretches begin where the student itself arrives from pure noise, so that it learns to go on from its own errors.
"""

from __future__ import annotations

import copy
import itertools
import pathlib
from typing import Any

import torch
from torch import Tensor, nn

from ambient.generate.bundled import velocity
from ambient.generate.guidance import projected
from tools.training.diffusion import batches_ahead, build, channel_weights
from tools.training.loop import Training

__all__ = ["guided", "imposed", "stretch", "train"]


def imposed(x: Tensor, sigma: Tensor, z: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """``x`` with its kept part at noise level ``sigma`` (batch,), as sampling has it."""
    s = sigma[:, None, None]
    return torch.where(mask > 0, (1 - s) * z + s * noise, x)


def guided(
    model: nn.Module, x: Tensor, sigma: Tensor, given: Tensor, z: Tensor, mask: Tensor, guidance: float
) -> Tensor:
    """Velocity guided away from the empty prompt."""
    empty = given.clone()
    empty[:, :-1] = 0.0
    both = velocity(
        model,
        x.repeat(2, 1, 1),
        sigma.repeat(2),
        torch.cat([given, empty]),
        z.repeat(2, 1, 1),
        mask.repeat(2, 1, 1),
    )
    towards, away = both.float().chunk(2)
    return projected(x, sigma[:, None, None], towards, away, torch.tensor(guidance), (mask == 0).float())


@torch.no_grad()
def stretch(
    teacher: nn.Module,
    x: Tensor,
    sigma: Tensor,
    width: float,
    noise: Tensor,
    known: tuple[Tensor, Tensor, Tensor],
    substeps: int,
    guidance: float,
) -> Tensor:
    """The teacher's mean velocity from noise level ``sigma`` (batch,) down by ``width``; ``known``: conditioning,
    latents and mask."""
    given, z, mask = known
    start, at = x, sigma
    for _ in range(substeps):
        flow = guided(teacher, x, at, given, z, mask, guidance)
        x = x - width / substeps * flow
        at = at - width / substeps
        x = imposed(x, at.clamp_min(0.0), z, noise, mask)
    return (start - x) / width


def train(
    work: pathlib.Path,
    settings: dict[str, Any],
    *,
    after: pathlib.Path | None = None,
    threads: int = 1,
    seconds: float | None = None,
) -> None:
    """Trains, or goes on training, and writes ``distil.pt`` and ``distil.jsonl`` in ``work``; needs ``diffusion.pt``.

    ``after``: another working folder, whose teacher this one's has been trained on from; what distillation changed
    there is changed here to begin with (as LCM-LoRA is put to other weights of its kind, arXiv 2311.05556).

    The log's ``error`` is that of the student's steps, over that of the teacher if it took steps as long: below 1 it
    is nearer to the teacher's many steps than the teacher's few are.
    """
    torch.set_num_threads(threads)
    s, checkpoint = settings, work / "distil.pt"
    try:
        trained = torch.load(work / "diffusion.pt", weights_only=False)
    except FileNotFoundError as error:
        raise SystemExit(f"{work}: nothing to distil yet; run the diffusion stage first") from error
    teacher = build(trained["settings"]).eval().requires_grad_(False)
    teacher.load_state_dict(trained["ema"])
    student = copy.deepcopy(teacher).train().requires_grad_(True)
    if after is not None and not checkpoint.exists():
        _change(student, after)
    optimiser = torch.optim.AdamW(student.parameters(), lr=s["learning_rate"], betas=(0.9, 0.98), weight_decay=0.0)
    run = Training(
        work,
        "distil",
        student,
        [optimiser],
        s,
        seconds=seconds,
        row=lambda errors: {"error": errors[:, 0].mean() / errors[:, 1].mean()},
    )
    print(f"distil: {s['steps']} steps for {s['steps'] * s['substeps']} guided ones, from step {run.step}", flush=True)
    torch.manual_seed(2000 + run.step)
    channels, width = channel_weights(work), 1.0 / s["steps"]
    sampling = trained["settings"] | {k: s[k] for k in ("batch", "drop_text", "ahead")}
    dtype = torch.bfloat16 if s["bf16"] else torch.float32
    with batches_ahead(work, sampling, 5000 + run.step) as batches:
        for step in run:
            z, given, mask = next(batches)
            noise = torch.randn_like(z)
            node = torch.randint(s["steps"], (len(z),))
            sigma = 1.0 - node * width
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                x = (1 - sigma[:, None, None]) * z + sigma[:, None, None] * noise
                if torch.rand(()) < s["own"]:
                    x = _arrived(student, noise, node, width, (given, z, mask))
                goal = stretch(teacher, x, sigma, width, noise, (given, z, mask), s["substeps"], s["guidance"])
                found = velocity(student, x, sigma, given, z, mask).float()
                judged = step % 10 == 0 or not run.scores  # a run may begin just before a row is due
                if judged:
                    with torch.no_grad():
                        plain = guided(teacher, x, sigma, given, z, mask, s["guidance"])
            weight = (mask == 0).float()
            loss = _mean((found - goal).square() * channels, weight)
            errors = [loss, _mean((plain - goal).square() * channels, weight)] if judged else None
            run.learn(loss, [float(e.detach()) for e in errors] if errors else None)


@torch.no_grad()
def _change(student: nn.Module, after: pathlib.Path) -> None:
    """Changes a teacher by what distillation changed in another folder. Raises SystemExit where there is none."""
    try:
        theirs, taught = (torch.load(after / name, weights_only=False)["ema"] for name in ("diffusion.pt", "distil.pt"))
        for name, weight in student.named_parameters():
            weight += taught[name] - theirs[name]
    except (OSError, KeyError, RuntimeError) as error:
        raise SystemExit(f"{after} has no distillation to begin with: {error}") from error


@torch.no_grad()
def _arrived(
    student: nn.Module, noise: Tensor, node: Tensor, width: float, known: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Where the student comes from pure noise, by its own steps, each clip to its own node."""
    given, z, mask = known
    x = noise
    for i in itertools.count():
        going = node > i
        if not bool(going.any()):
            return x
        sigma = torch.full((len(z),), 1.0 - i * width)
        moved = x - width * velocity(student, x, sigma, given, z, mask).float()
        moved = imposed(moved, sigma - width, z, noise, mask)
        x = torch.where(going[:, None, None], moved, x)
    return x


def _mean(error: Tensor, weight: Tensor) -> Tensor:
    return (error.mean(1, keepdim=True) * weight).sum() / weight.sum().clamp_min(1.0)
