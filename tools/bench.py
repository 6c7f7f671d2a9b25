#!/usr/bin/env python3
"""Measures speed, memory and time to the first sound: tools/bench.py [--only NAME] [--json]

    clip         one 10 s clip: times real time on one and two threads, on an idle machine and with one core kept busy
    render       120 s of the forest: times real time
    first_sound  `ambient serve` from a cold start, and again when the scene's first clips are cached
    live         processor time and memory of `ambient serve` over 40 s, engine and worker together
    change       from firing an event that changes the state until beds made for the new prompts are heard
    scene        a day simulated, a large scene loaded and checked, `ambient check`, the state machine's step
    families     steps and decoder of each big family at its published size, with random weights
    rest         how soon a stream that rests is heard again
    listeners    how many listeners one core serves and what each costs, beside Icecast 2 where that is installed
    block        what the engine itself takes for 20 ms of the forest, and the limiter's and meter's share

Beside the clip stands the physical limit: its floating-point operations over what a matrix product of the same kind
reaches on this machine in the same run. Machines are noisy: compare figures of one run with each other.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def _spin() -> None:
    while True:
        sum(range(10_000))


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keeps so many cores busy with something else."""
    others = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(cores)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()


def _matrix(torch: Any, dtype: Any) -> float:
    """Floating-point operations a second of a matrix product as the transformer has them."""
    a, b = torch.randn(256, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
    a @ b
    start = time.perf_counter()
    for _ in range(50):
        a @ b
    return 50 * 2 * 256 * 1024 * 1024 / (time.perf_counter() - start)


def _request(index: int, info: Any) -> Any:
    from ambient.messages import RATE, ClipKey, ClipRequest, PromptMix

    latents = 10 * RATE // info.frames_per_latent
    prompt = PromptMix.of("steady rain on leaves")
    return ClipRequest(ClipKey("bench", index), 0, latents, 0, index, 1, prompt, info.steps, info.guidance)


def _operations(backend: Any) -> dict[Any, float]:
    """Floating-point operations of the bench's clip, counted, by the type of number: the transformer's may be rougher
    than the decoder's."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    transformer = backend._transformer
    backend.generate([_request(0, backend.info)])  # what is made once for each stream does not count
    with FlopCounterMode(display=False) as counter:
        backend.generate([_request(0, backend.info)])
    inside = sum(counter.get_flop_counts()[type(transformer).__name__].values())
    found = {torch.float32: float(counter.get_total_flops() - inside)}
    found[transformer.dtype] = found.get(transformer.dtype, 0.0) + inside
    return found


def _least(operations: dict[Any, float]) -> float:
    """Seconds that so many operations take at the rate of matrix products of each type of number, here and now."""
    import torch

    return sum(count / _matrix(torch, dtype) for dtype, count in operations.items())


def _least_per_latent() -> float:
    """As :func:`_least`, for a latent frame of the bundled model on one thread."""
    from ambient.generate.catalogue import describe
    from ambient.generate.loading import load_backend

    backend = load_backend(describe("bundled"), device="cpu", threads=1)
    return _least(_operations(backend)) / _request(0, backend.info).latent_frames


def clip() -> dict[str, Any]:
    """One clip of 10 s, from prompt to samples."""
    began = time.perf_counter()
    import torch

    import ambient.generate.bundled  # noqa: F401  # what load_backend would import: diffusers, transformers
    from ambient.generate.catalogue import describe
    from ambient.generate.loading import load_backend
    from ambient.messages import RATE, Clip

    imports = time.perf_counter() - began
    began = time.perf_counter()
    info = describe("bundled")
    backend = load_backend(info, device="cpu", threads=1)
    load = time.perf_counter() - began
    sound = _request(0, info).latent_frames * info.frames_per_latent / RATE

    def run(times: int = 5) -> float:
        spent = []
        for i in range(times):
            start = time.perf_counter()
            assert isinstance(backend.generate([_request(i, info)])[0], Clip)
            spent.append(time.perf_counter() - start)
        return sorted(spent)[len(spent) // 2]

    run(1)
    operations = _operations(backend)
    found: dict[str, Any] = {
        "seconds_of_sound": sound,
        "steps": info.steps,
        "guidance": info.guidance,
        "import_seconds": round(imports, 2),
        "load_seconds": round(load, 2),
        "gigaflop": {str(dtype).removeprefix("torch."): round(n / 1e9, 1) for dtype, n in operations.items()},
    }
    for threads in (1, 2):
        torch.set_num_threads(threads)
        least = _least(operations)
        spent = run()
        found[f"threads_{threads}"] = {
            "times_real_time": round(sound / spent, 1),
            "limit_times_real_time": round(sound / least, 1),
            "share_of_limit": round(least / spent, 2),
        }
        with busy(1):
            found[f"threads_{threads}"]["times_real_time_one_core_busy"] = round(sound / run(), 1)
        with busy(2):
            found[f"threads_{threads}"]["times_real_time_two_cores_busy"] = round(sound / run(), 1)
    found["times_real_time"] = max(found["threads_1"]["times_real_time"], found["threads_2"]["times_real_time"])
    return found


def render() -> dict[str, Any]:
    """Two minutes of the forest, by the command that users type."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ambient", "render", str(ROOT / "scenes" / "forest.yaml")]
        command += ["--seconds", "120", "--out", f"{folder}/forest.wav", "--json"]
        began = time.perf_counter()
        said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
        spent = time.perf_counter() - began
        each = _least_per_latent()
        return {
            "times_real_time": round(120 / spent, 2),
            "limit_times_real_time": round(120 / (said["latents"] * each), 1),
            "clips": said["clips"],
            "joins": said["joins"],
            "includes": "start of both processes and loading of the model",
        }


def _get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.load(answer)


@contextlib.contextmanager
def _served(
    cache: str, scene: pathlib.Path = ROOT / "scenes" / "forest.yaml"
) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ambient", "serve", str(scene)]
    command += ["--port", str(port), "--no-sound-card", "--quiet", "--rest-after", "0"]
    began = time.perf_counter()
    environment = os.environ | {"AMBIENT_CACHE": cache}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                if _get(port, f"/api/v1/streams/{scene.stem}")["playing"]:
                    break
            if process.poll() is not None or time.perf_counter() - began > 120:
                raise SystemExit("bench: the server does not start; try `ambient serve forest`")
            time.sleep(0.02)
        yield port, process, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(20)


def first_sound() -> dict[str, Any]:
    """From typing the command until the clock of the stream runs."""
    with tempfile.TemporaryDirectory() as cache:
        with _served(cache) as (_, _, cold):
            time.sleep(4)  # the first clips are on disk
        with _served(cache) as (_, _, warm):
            pass
    return {"cold_seconds": round(cold, 2), "cached_seconds": round(warm, 2)}


def _family(pid: int) -> list[int]:
    found = [pid]
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid:
                found += _family(int(entry.name))
    return found


def _usage(pid: int) -> tuple[float, float]:
    """Processor seconds and megabytes (proportional set) of a process and its children."""
    ticks = megabytes = 0.0
    for one in _family(pid):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
            for line in pathlib.Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    megabytes += int(line.split()[1]) / 1024
    return ticks / os.sysconf("SC_CLK_TCK"), megabytes


def live() -> dict[str, Any]:
    """What a playing forest costs once it has settled."""
    with tempfile.TemporaryDirectory() as cache, _served(cache) as (port, process, _):
        time.sleep(25)  # the first sounds and the bank are made
        before, _ = _usage(process.pid)
        time.sleep(40)
        after, megabytes = _usage(process.pid)
        status = _get(port, "/api/v1/streams/forest")
        latents = status["counts"]["latents"] / status["seconds"]
    cores = os.cpu_count() or 1
    each = _least_per_latent()
    return {
        "processor_share_of_all_cores": round((after - before) / 40 / cores, 3),
        "limit_share_of_all_cores": round(latents * each / cores, 3),
        "cores": cores,
        "memory_mb": round(megabytes),
        "underruns": status["counts"]["underruns"],
        "degrade_level": status["degrade_level"],
        "speed": status["speed"],
    }


def memory() -> dict[str, Any]:
    """Memory of engine and worker together, from `live`."""
    return {"engine_and_worker_mb": live()["memory_mb"], "limit_mb": 1536}


def change() -> dict[str, Any]:
    """From firing an event that changes the state until beds made for the new prompts are at the playhead.

    Three beds in two states that have nothing in common; every 12 s an event leads to the other in half a second.
    """
    scene = """
scene: 1
events: {there: {}, back: {}}
layers:
  first: {prompt: heavy rain}
  second: {level: -6, prompt: gale in the trees}
  third: {level: -12, prompt: surf on a beach}
states:
  wild: {transitions: [{to: calm, event: there, over: 0.5s}]}
  calm:
    layers: {first: {prompt: crickets at night}, second: {prompt: a log fire}, third: {prompt: a small stream}}
    transitions: [{to: wild, event: back, over: 0.5s}]
"""
    loudest, all_beds = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "bench.yaml")
        path.write_text(scene)
        with _served(folder, path) as (port, _, _):

            def heard() -> list[str]:
                return [layer["heard"] for layer in _get(port, "/api/v1/streams/bench")["layers"]]

            time.sleep(25)
            for event in ("there", "back") * 5:
                body = json.dumps({"event": event}).encode()
                request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/streams/bench/fire", data=body)
                request.add_header("Content-Type", "application/json")
                before, times = heard(), [0.0] * 3
                began = time.perf_counter()
                urllib.request.urlopen(request, timeout=5).close()
                while not all(times) and time.perf_counter() - began < 10:
                    now = time.perf_counter() - began
                    changed = [new != old for new, old in zip(heard(), before, strict=True)]
                    times = [t or now * c for t, c in zip(times, changed, strict=True)]
                    time.sleep(0.01)
                loudest.append(round(times[0], 2))
                all_beds.append(round(max(times), 2))
                time.sleep(12)
    return {
        "seconds_until_loudest_heard": loudest,
        "seconds_until_all_three_heard": all_beds,
        "status_is_up_to_seconds_old": 0.1,
    }


def block() -> dict[str, Any]:
    """Without a model: the engine's own time for a block."""
    import numpy as np

    from ambient.engine.core import Engine
    from ambient.engine.options import Options
    from ambient.messages import BLOCK_FRAMES
    from ambient.scene import find_scene, load_scene
    from ambient.sound import Limiter, LoudnessControl
    from ambient.testing import ScriptedGenerator

    engine = Engine(load_scene(find_scene("forest")), ScriptedGenerator(), Options(live=False))
    spent = []
    for _ in range(3000):
        start = time.perf_counter()
        engine.step()
        spent.append(time.perf_counter() - start)
    sound = (np.random.default_rng(0).standard_normal((BLOCK_FRAMES, 2)) * 0.1).astype(np.float32)
    limiter, loudness = Limiter(), LoudnessControl()

    def each(work: Callable[[Any], Any]) -> float:
        start = time.perf_counter()
        for _ in range(500):
            work(sound)
        return round(1000 * (time.perf_counter() - start) / 500, 3)

    spent.sort()
    return {
        "median_ms": round(1000 * spent[len(spent) // 2], 3),
        "p99_ms": round(1000 * spent[int(0.99 * len(spent))], 2),
        "limiter_ms": each(limiter.process),
        "loudness_ms": each(loudness.process),
        "budget_ms": 20.0,
    }


def _large_scene() -> str:
    """300 lines or more: 10 layers, 20 parameters, states and transitions that use them."""
    lines = ["scene: 1", "params:"]
    lines += [
        f"  p{i}:\n    start: 0.4\n    smooth: [5s, 9s]\n    wander: {{depth: 0.3, period: 5m}}" for i in range(20)
    ]
    lines.append("layers:")
    for i in range(10):
        lines += [f"  l{i}:", "    prompt:", "      - {at: 0, text: soft wind}", "      - {at: 1, text: howling wind}"]
        lines += ["    intensity:", f"      by: p{i}", "      curve:", "        - [0, 0.1]", "        - [1, 1]"]
        lines += [f"    level: {{by: p{i + 10}, curve: [[0, -6], [1, 0]]}}"]
    lines.append("states:")
    for i in range(9):
        lines += [f"  s{i}:", "    setting: on open land", "    stay: 30s", "    layers:"]
        lines += [f"      l{(i + j) % 10}: {{mute: true}}" for j in range(3)]
        lines += ["    transitions:", f"      - to: s{(i + 1) % 9}", f"        when: p{i} > 0.5 and p{i + 10} < 0.9"]
        lines += ["        for: 5s", f"      - to: s{(i + 1) % 9}", "        after: [4m, 9m]"]
    return "\n".join(lines) + "\n"


def scene() -> dict[str, Any]:
    """What scenes cost without sound: a day simulated, a large one loaded and checked, the machine's step.

    Wall-clock and, because other programs may be running, processor time of this process (``cpu``).
    """
    from ambient.messages import BLOCK_FRAMES
    from ambient.scene import Machine, bundled_scenes, check_scene, find_scene, load_scene, parse_scene, simulate

    def timed(work: Callable[[], Any]) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - wall, time.process_time() - cpu

    days = {n: timed(functools.partial(simulate, load_scene(find_scene(n)), 24.0)) for n in bundled_scenes()}
    slowest = max(days, key=lambda n: days[n][1])
    text = _large_scene()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "large.yaml")
        path.write_text(text)
        loads = sorted(timed(lambda: (load_scene(path), check_scene(path))) for _ in range(7))
        command = [sys.executable, "-m", "ambient", "check", str(path)]
        checks = sorted(
            timed(lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True)) for _ in range(7)
        )
    machine = Machine(parse_scene(text))
    steps = []
    for i in range(6000):
        began = time.perf_counter()
        machine.advance(i * BLOCK_FRAMES)
        machine.look(i * BLOCK_FRAMES)
        steps.append(time.perf_counter() - began)
    steps.sort()
    return {
        "day_slowest_scene": slowest,
        "day_seconds": round(days[slowest][0], 2),
        "day_cpu_seconds": round(days[slowest][1], 2),
        "large_scene_lines": text.count("\n"),
        "load_and_check_ms": round(1000 * loads[3][0], 1),
        "check_command_seconds": round(checks[3][0], 2),
        "check_command_best_seconds": round(checks[0][0], 2),
        "step_median_us": round(1e6 * steps[3000], 1),
        "step_p99_us": round(1e6 * steps[5940], 1),
        "step_mean_us": round(1e6 * sum(steps) / len(steps), 1),
        "limits": {"day_seconds": 5, "load_and_check_ms": 150, "check_command_seconds": 0.7, "step_us": 100},
    }


def families() -> dict[str, Any]:
    """The big models through their backends, each in a process of its own."""
    from benches.families import families

    return families()


def listeners() -> dict[str, Any]:
    """A server with a tone on one core, a crowd of raw sockets on another."""
    from benches.listeners import listeners

    return listeners()


def rest() -> dict[str, Any]:
    """The engine without a model, resting until somebody connects."""
    from benches.rest import rest

    return rest()


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "clip": clip,
    "render": render,
    "first_sound": first_sound,
    "live": live,
    "memory": memory,
    "change": change,
    "block": block,
    "scene": scene,
    "families": families,
    "listeners": listeners,
    "rest": rest,
}


def main() -> None:
    """Runs what was asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=BENCHES, action="append", help="only this; may be repeated")
    parser.add_argument("--json", action="store_true", help="JSON only")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for name in given.only or [n for n in BENCHES if n != "memory"]:
        found[name] = BENCHES[name]()
        if name == "live":
            found["memory"] = {"engine_and_worker_mb": found["live"]["memory_mb"], "limit_mb": 1536}
        if not given.json:
            print(f"{name}: {json.dumps(found[name])}", flush=True)
    if given.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
