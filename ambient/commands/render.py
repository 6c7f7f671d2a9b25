"""``ambient render`` and ``ambient clip``: sound into files."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import pathlib
import re
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from ambient.commands.generators import Generators
from ambient.commands.mute import check_mute
from ambient.commands.stems import Stems
from ambient.commands.weather import weather_by_clock
from ambient.engine.bed import Accepted, Bed
from ambient.engine.core import Engine
from ambient.engine.offline import render
from ambient.engine.options import Options
from ambient.engine.replay import Replay
from ambient.errors import AmbientError, BackendError, SinkError
from ambient.generate.catalogue import describe
from ambient.generate.recording import fault_of
from ambient.generate.worker import ProcessGenerator
from ambient.messages import (
    BLOCK_FRAMES,
    RATE,
    Audio,
    Block,
    Clip,
    ClipFailure,
    ClipKey,
    ClipRequest,
    ModelInfo,
    PromptMix,
    frames,
)
from ambient.plan import Ladder, clip_seed, layer_seed
from ambient.ports import Generator
from ambient.scene import Scene, find_scene, load_scene, part_of
from ambient.sinks.file import open_file_sink
from ambient.sinks.loop import OVERLAP_FRAMES, LoopSink
from ambient.sound import Limiter

__all__ = ["run"]

LEAST_LOOP_FRAMES = frames(8.0)
"""Below it a loop is heard as one."""
LONGEST_UNIT_FRAMES = frames(2.0)


def run(given: argparse.Namespace) -> int:
    """Runs the command that was given."""
    return _render(given) if given.command == "render" else _clip(given)


def _render(given: argparse.Namespace) -> int:
    replay = _replayed(given) if given.replay is not None else None
    if replay is None and (given.scene is None or given.seconds is None):
        raise AmbientError("render needs a SCENE and --seconds, or --replay LOG")
    if replay is not None and given.loop:
        raise AmbientError("--loop: a recorded session ends where it ended; loops are rendered from a SCENE")
    scene = load_scene(find_scene(given.scene), fault_of) if replay is None else replay.scene
    if given.state is not None:
        scene = _staying(scene, given.state)
    _check(given, scene)
    inputs = weather_by_clock(given, scene)
    model = given.model or (scene.model if replay is None else replay.model["name"]) or "bundled"
    info = describe(model)
    generators = Generators(lambda i: ProcessGenerator(i, device=given.device, threads=given.threads))
    length = frames(given.seconds) if given.seconds is not None or replay is None else replay.length_frames
    if given.loop:
        length = _whole(length, _unit(info, scene, given.solo))
    sink = open_file_sink(given.out, length)
    heard = length + OVERLAP_FRAMES if given.loop else length
    started = time.monotonic()
    finished = False
    try:
        generator = generators.find(model)
        if replay is not None:
            engine, step = replay.engine(generator, generators.find), replay.step
        else:
            options = Options(
                seed=given.seed,
                live=False,
                steps=given.steps,
                solo=given.solo,
                mute=frozenset(given.mute),
                loop_frames=length if given.loop else None,
            )
            engine = Engine(scene, generator, options, generators.open)
            step = engine.step
        for name, value in given.assignments:
            try:
                engine.set_param(name, value)
            except ValueError as error:
                raise AmbientError(f"--set: {error}") from error
        fire = [(frames(at), event) for at, event in given.timed]
        with _bar(heard, pathlib.Path(given.out).name) as bar:

            def progress(done: int, engine: Engine) -> None:
                bar.update(done / RATE - bar.n)
                if engine.frame // BLOCK_FRAMES % 50 == 0:
                    bar.set_postfix_str(engine.moment.state, refresh=False)

            with contextlib.ExitStack() as stack:
                if given.stems is not None:
                    layers = [n for n in scene.layers if given.solo in (None, n)]
                    engine.on_layers = stack.enter_context(Stems(given.stems, layers, length, given.loop)).write
                out = LoopSink(sink, length) if given.loop else sink
                render(engine, out, heard, fire=fire, inputs=inputs, progress=progress, step=step)
        sink.close()
        finished = True
    finally:
        generators.close()
        if not finished:
            sink.abort()
    joins = {n: [j for j in found if j < length] for n, found in engine.joins().items()}
    if given.joins:
        document = {"rate": RATE, "lattice": info.frames_per_latent, "joins": joins}
        try:
            pathlib.Path(given.joins).write_text(json.dumps(document) + "\n")
        except OSError as error:
            raise SinkError(f"the joins cannot be written to {given.joins}: {error.strerror}") from error
    took = time.monotonic() - started
    report = {
        "out": given.out,
        "seconds": length / RATE,
        "took_seconds": round(took, 2),
        "times_real_time": round(length / RATE / took, 2),
        "clips": engine.counts.clips,
        "latents": engine.counts.latents,
        "joins": sum(map(len, joins.values())),
        "joins_repaired": engine.counts.joins_repaired,
        "faults": list(engine.faults),
    }
    if given.json:
        print(json.dumps(report, indent=1))
    else:
        print(
            f"{given.out}: {length / RATE:g} s in {took:.1f} s ({report['times_real_time']} times real time), "
            f"{report['clips']} clips, {report['joins']} joins"
        )
    return 0


def _check(given: argparse.Namespace, scene: Scene) -> None:
    if given.solo is not None and given.solo not in scene.layers:
        raise AmbientError(f"--solo: the scene has no layer {given.solo!r}, only {', '.join(scene.layers)}")
    check_mute(given.mute, [scene])
    for _, event in given.timed:
        if event not in scene.events:
            raise AmbientError(
                f"--at: the scene has no event {event!r}, only {', '.join(scene.events) or 'none at all'}"
            )


def _unit(info: ModelInfo, scene: Scene, solo: str | None) -> int:
    """Frames of which the length of a loop must be a multiple: whole latents of each of its models."""
    named = {layer.model for name, layer in scene.layers.items() if solo in (None, name) and layer.model is not None}
    unit = math.lcm(info.frames_per_latent, *(describe(name).frames_per_latent for name in named))
    if unit > LONGEST_UNIT_FRAMES:
        raise AmbientError(
            f"--loop: {', '.join(sorted(named))} and {info.name} come in pieces that fit together only every "
            f"{unit / RATE:.0f} s; render loops of the layers one by one, with --solo"
        )
    return unit


def _whole(length: int, unit: int) -> int:
    """The nearest length that a loop can have: a whole number of latent frames, longer than its overlap."""
    least = -(-LEAST_LOOP_FRAMES // unit) * unit
    if length < least:
        raise AmbientError(f"--seconds: a loop has at least {least / RATE:g} s")
    return max(1, round(length / unit)) * unit


def _staying(scene: Scene, state: str) -> Scene:
    """The scene as if it began in a state and never left it."""
    if state not in scene.states:
        raise AmbientError(f"--state: the scene has no state {state!r}, only {', '.join(scene.states)}")
    return scene.staying(state)


def _replayed(given: argparse.Namespace) -> Replay:
    theirs = ("scene", "state", "seed", "steps", "solo", "mute", "assignments", "timed", "weather")
    if both := [n for n in theirs if getattr(given, n) not in (None, [])]:
        names = {"scene": "SCENE", "assignments": "--set", "timed": "--at"}
        said = ", ".join(names.get(n, f"--{n}") for n in both)
        raise AmbientError(f"--replay: the session says this by itself; leave out {said}")
    replay = Replay(given.replay)
    if given.seconds is not None and frames(given.seconds) > replay.length_frames:
        raise AmbientError(f"--seconds: the session was {replay.length_frames / RATE:g} s long")
    return replay


def _clip(given: argparse.Namespace) -> int:
    out = pathlib.Path(given.out)
    like = _like(given.like)
    if not given.prompts:
        if like is None:
            raise AmbientError("a clip needs a PROMPT, or --like FILE")
        given.prompts = [f"like {given.like.name}"]
        mixes = [PromptMix.of(like, given.avoid)]
    else:
        mixes = [PromptMix.of(p if like is None else {p: 0.5, like: 0.5}, given.avoid) for p in given.prompts]
    single = out.suffix != ""
    if single and len(given.prompts) > 1:
        raise SinkError(f"{out} is one file, but {len(given.prompts)} prompts were given: name a folder")
    if not single:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"the folder {out} cannot be made: {error.strerror}") from error
    info = describe(given.model or "bundled")
    length = frames(given.seconds)
    digits = max(3, len(str(len(given.prompts))))
    rows = []
    generator = ProcessGenerator(info, device=given.device, threads=given.threads)
    try:
        with tqdm(total=len(given.prompts), unit="clip", disable=None, leave=False) as bar:
            for number, (prompt, mix) in enumerate(zip(given.prompts, mixes, strict=True), start=1):
                audio, spent = _generate(generator, mix, length, given)
                path = out if single else out / f"{number:0{digits}d}-{_slug(prompt)}.wav"
                sink = open_file_sink(str(path), length)
                try:
                    sink.write(Block(0, _limited(audio)))
                except BaseException:
                    sink.abort()
                    raise
                sink.close()
                rows.append(
                    {
                        "prompt": prompt,
                        "out": str(path),
                        "seconds": given.seconds,
                        "generation_seconds": round(spent, 3),
                    }
                )
                if not given.json:
                    tqdm.write(f"{path}: {prompt}")
                bar.update()
    finally:
        generator.close()
    if given.json:
        print(json.dumps(rows, indent=1))
    return 0


def _like(file: pathlib.Path | None) -> str | None:
    """A recording as a part of a mix. Raises AmbientError where it is none."""
    if file is None:
        return None
    try:
        part = part_of(file)
    except OSError as error:
        raise AmbientError(f"--like {file}: {error.strerror}") from error
    if fault := fault_of(file):
        raise AmbientError(f"--like {file} {fault}")
    return part


def _generate(generator: Generator, mix: PromptMix, length: int, given: argparse.Namespace) -> tuple[Audio, float]:
    """One prompt for ``length`` frames: a single clip where the model can, else clips continuing each other."""
    info = generator.info
    guidance = info.guidance if given.guidance is None else given.guidance
    rung = Ladder(info, steps=given.steps).rung
    whole = -(-length // info.frames_per_latent)
    spent = 0.0
    if given.one_shot:
        request = _one_shot(info, mix, given.seed, min(whole, info.max_latent_frames), rung.steps, guidance)
        clip = _wait(generator, request)
        if isinstance(clip, ClipFailure):
            raise BackendError(f"{mix}: {clip.message}")
        padded = np.zeros((length, 2), np.float32)
        padded[: len(clip.audio)] = clip.audio[:length]
        return padded, clip.generation_seconds
    bed = Bed(str(mix), info, given.seed, clip_latents=min(whole, info.max_latent_frames))
    bed.start(0)
    while True:
        request_ = bed.next_request(
            0, lambda _: mix, rung, ahead_frames=length, lead_frames=0, guidance=guidance, steps=rung.steps
        )
        if request_ is None:
            break
        answer = _wait(generator, request_)
        spent += answer.generation_seconds if isinstance(answer, Clip) else 0.0
        trouble = answer.message if isinstance(answer, ClipFailure) else None
        if isinstance(answer, ClipFailure):
            bed.plan.failed()
        elif not isinstance(outcome := bed.receive(answer, None), Accepted):
            trouble = outcome.fault
        if trouble and bed.plan.attempt > 3:
            raise BackendError(f"{mix}: {trouble}")
    audio, _ = bed.timeline.read(0, length)
    return audio, spent


def _limited(audio: Audio) -> Audio:
    """The clip with its peaks held below full scale; unchanged where they are."""
    limiter = Limiter()
    lag = limiter.latency_frames
    return limiter.process(np.concatenate([audio, np.zeros((lag, 2), np.float32)]))[lag:]


def _one_shot(info: ModelInfo, mix: PromptMix, seed: int, latents: int, steps: int, guidance: float) -> ClipRequest:
    return ClipRequest(
        key=ClipKey(str(mix), 0),
        start_frame=0,
        latent_frames=latents,
        deadline_frame=0,
        seed=clip_seed(seed, str(mix), 0),
        noise_seed=layer_seed(seed, str(mix), "noise"),
        prompt=mix,
        steps=steps,
        guidance=guidance,
        one_shot=True,
        model=info.name,
    )


def _wait(generator: Generator, request: ClipRequest) -> Clip | ClipFailure:
    generator.submit([request], timeout_seconds=600.0)
    while not (answers := generator.poll(1.0)):
        pass
    return answers[0]


def _bar(length: int, name: str) -> tqdm[Any]:
    shape = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}] {postfix}"
    return tqdm(total=length / RATE, desc=name, bar_format=shape, disable=None)


def _slug(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:48] or "clip"
