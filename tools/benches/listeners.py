"""How many listeners one core serves, what each costs, and how rude clients fare; beside Icecast on the same core."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benches.crowd import Crowd, Listener, percentiles
from benches.icecast import PASSWORD, Icecast, icecast

__all__ = ["listeners"]

FOLDER = pathlib.Path(__file__).resolve().parent
WS, OPUS, WAV, MOUNT = "/ws/v1/tone", "/listen/tone.opus", "/listen/tone.wav", "/tone.ogg"
LISTENERS = 1000
PACE = 250.0
"""Connects a second while a crowd gathers."""
WINDOW_SECONDS = 10.0
STEP_SECONDS = 6.0
STEPS = (1500, 1750, 2000, 2250, 2500, 3000)
STORM, STORM_SECONDS = 500.0, 6.0
NEVER_READ = 25
PRIORITY = -10
"""Helps a little against what else runs; `core_share_of_others_and_interrupts` tells how much did."""
LIMITS = {
    "listeners_on_one_core": 1000,
    "late_ms": 250,
    "gaps": 0,
    "processor_times_icecast": 1.5,
    "kb_each": 64,
    "never_reads_gone_seconds": 10,
    "never_reads_kb_each": 512,
    "connects_a_second": 500,
    "first_audio_ms": 300,
}


class Served:
    """The process under test."""

    def __init__(self, process: subprocess.Popen[str], core: int, port: int, began: float) -> None:
        self.pid, self.core, self.port, self.began = process.pid, core, port, began

    @property
    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/streams/tone", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)["server"]
        return found


def processor_seconds(pid: int) -> float:
    """Time that the threads of a process have used so far, by the scheduler's own clock: ticks are too coarse."""
    return sum(int(of.read_text().split()[0]) for of in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def shares(pids: Sequence[int], meanwhile: Callable[[], object]) -> list[float]:
    """Share of a core that each process uses while something is done."""
    before, began = [processor_seconds(pid) for pid in pids], time.monotonic()
    meanwhile()
    took = time.monotonic() - began
    return [(processor_seconds(pid) - start) / took for pid, start in zip(pids, before, strict=True)]


def kilobytes(pid: int) -> int:
    """Proportional set size of a process."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def busy_seconds(core: int) -> float:
    """Time that a core has worked so far, for anybody."""
    lines = pathlib.Path("/proc/stat").read_text().splitlines()
    fields = next(line.split() for line in lines if line.startswith(f"cpu{core} "))
    return sum(int(fields[i]) for i in (1, 2, 3, 6, 7)) / os.sysconf("SC_CLK_TCK")


def kernel_kilobytes(port: int) -> float:
    """What the kernel holds for the sockets of that port which have something to send."""
    said = subprocess.run(["ss", "-tmnH", f"sport = :{port}"], capture_output=True, text=True).stdout
    marks = [mark for mark in said.replace("(", ",").replace(")", ",").split(",") if mark[:1] in "twf"]
    return sum(int(mark[1:]) for mark in marks if mark[:1] == "w" and mark[1:].isdecimal()) / 1024


@contextlib.contextmanager
def served(core: int, other: Icecast | None) -> Iterator[Served]:
    """A server with a tone on that core."""
    command = [sys.executable, str(FOLDER / "tone.py"), "--core", str(core)]
    if other is not None:
        command += ["--push", f"icecast://source:{PASSWORD}@127.0.0.1:{other.port}{MOUNT}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        time.sleep(3)  # the recent past is there, and the push connected
        yield Served(process, core, said["port"], said["began"])
    finally:
        process.stdin.close()
        process.wait(20)


@dataclass(frozen=True)
class Target:
    """A process and one of its streams."""

    pid: int
    port: int
    kind: str
    path: str


def crowds(targets: Sequence[Target], server: Served) -> list[dict[str, Any]]:
    """So many listeners for each target, all at the same time: lateness, what was missed, processor time, memory."""
    every: list[Crowd] = []
    came, memories = [], []
    without = shares([target.pid for target in targets], lambda: time.sleep(WINDOW_SECONDS))
    for target in targets:
        memory = kilobytes(target.pid)
        crowd = Crowd(target.port, server.began)
        came.append(crowd.fill(LISTENERS, target.kind, "opus", target.path, PACE, *every))
        crowd.listen(2, *every)
        every.append(crowd)
        memories.append((kilobytes(target.pid) - memory) / LISTENERS)
    rows: list[dict[str, Any]] = []
    others = busy_seconds(server.core)
    spents = shares(
        [target.pid for target in targets], lambda: rows.extend(every[0].measure(WINDOW_SECONDS, *every[1:]))
    )
    others = (busy_seconds(server.core) - others) / WINDOW_SECONDS - sum(spents)
    for row, spent, base, memory, those in zip(rows, spents, without, memories, came, strict=True):
        row["core_share"] = round(spent, 3)
        row["core_share_of_others_and_interrupts"] = round(others, 3)
        row["core_share_without_them"] = round(base, 3)
        row["processor_us_per_listener_and_second"] = round(1e6 * (spent - base) / LISTENERS, 1)
        row["kb_each"] = round(memory, 1)
        row["first_audio_ms"] = first_audio(those)
    for crowd in every:
        crowd.leave_all()
    time.sleep(1)
    return rows


def first_audio(came: Sequence[Listener]) -> dict[str, float]:
    """From connecting to the first sound."""
    return percentiles([1000 * (one.first_at - one.asked_at) for one in came if one.first_at is not None])


def beyond(server: Served) -> dict[str, Any]:
    """More and more WebSocket listeners, until frames come late or not at all."""
    crowd, rows, most = Crowd(server.port, server.began), [], 0
    for count in STEPS:
        crowd.fill(count - len(crowd.here), "ws", "opus", WS, PACE)
        crowd.listen(2)
        others = busy_seconds(server.core)
        measured: list[dict[str, Any]] = []
        (spent,) = shares([server.pid], lambda: measured.extend(crowd.measure(STEP_SECONDS)))  # noqa: B023
        (row,) = measured
        row["core_share"] = round(spent, 3)
        row["core_share_of_others_and_interrupts"] = round(
            (busy_seconds(server.core) - others) / STEP_SECONDS - spent, 3
        )
        rows.append(row)
        good = not row["gaps"] and not row["lost_listeners"] and row["late_ms"]["most"] <= LIMITS["late_ms"]
        if not good:
            break
        most = count
    crowd.leave_all()
    time.sleep(1)
    return {"most_in_time": most, "steps": rows}


def storm(server: Served) -> dict[str, Any]:
    """500 listeners are there; 500 a second more come, hear something and go."""
    crowd, passing = Crowd(server.port, server.began), []
    crowd.fill(500, "ws", "opus", WS, PACE)
    crowd.listen(1)
    crowd.measuring = True
    before, others = processor_seconds(server.pid), busy_seconds(server.core)
    began = time.monotonic()
    while (ago := time.monotonic() - began) < STORM_SECONDS:
        crowd.turn(0.001)
        for i in range(len(passing), int(ago * STORM)):
            kind, path = (("ws", WS), ("http", OPUS))[i % 2]
            passing.append(crowd.connect(kind, "opus", path, brief=True))
    spent = (processor_seconds(server.pid) - before) / STORM_SECONDS
    others = (busy_seconds(server.core) - others) / STORM_SECONDS - spent
    crowd.until(lambda: all(one.first_at or one.ended_at for one in passing), 10)
    heard = [one for one in passing if one.first_at is not None]
    refused = [one for one in passing if one.first_at is None and one.status not in (0, 101, 200)]
    stayed = sum(not one.brief for one in crowd.here.values())
    found = {
        "connects": len(passing),
        "heard": len(heard),
        "refused_politely": len(refused),
        "neither": len(passing) - len(heard) - len(refused),
        "first_audio_ms": first_audio(passing),
        "listeners_there_before": 500,
        "of_them_lost": 500 - stayed,
        "their_gaps": crowd.gaps,
        "their_late_ms": crowd.late_ms(),
        "core_share": round(spent, 3),
        "core_share_of_others_and_interrupts": round(others, 3),
    }
    crowd.leave_all()
    time.sleep(1)
    return {**found, "survived": bool(server.status)}


def never_read(server: Served, kind: str, codec: str, path: str) -> dict[str, Any]:
    """Clients that ask for sound and read nothing, with the kernel's own buffers."""
    crowd = Crowd(server.port)
    reads = crowd.connect(kind, codec, path)  # the encoder and what it keeps are there already
    crowd.listen(3)
    before, kernel = kilobytes(server.pid), kernel_kilobytes(server.port)
    came = [crowd.connect(kind, codec, path, reads=False) for _ in range(NEVER_READ)]
    most = most_kernel = 0.0
    end = time.monotonic() + 40
    while len(crowd.here) > 1 and time.monotonic() < end:
        crowd.listen(0.5)
        most = max(most, kilobytes(server.pid) - before)
        most_kernel = max(most_kernel, kernel_kilobytes(server.port) - kernel)
    gone = [one.ended_at - one.asked_at for one in came if one.ended_at is not None]
    heard_all = reads.ended_at is None and not crowd.gaps
    crowd.leave_all()
    return {
        "clients": NEVER_READ,
        "another_heard_all": heard_all,
        "gone": len(gone),
        "gone_after_seconds": round(max(gone, default=float("inf")), 1),
        "kb_each": round(most / NEVER_READ, 1),
        "kernel_kb_each": round(most_kernel / NEVER_READ, 1),
    }


def listeners() -> dict[str, Any]:
    """All of it: the server on one core, this process on another."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("bench: listeners needs two processor cores, one for the server and one for the crowd")
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {cores[1]})
    with contextlib.suppress(OSError):  # where that is allowed; children inherit it
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    gc.disable()  # the crowd makes no cycles, and its pauses would be the server's lateness
    try:
        found: dict[str, Any] = {"priority": os.getpriority(os.PRIO_PROCESS, 0)}
        with served(cores[0], None) as server:  # a fresh one: its memory is all that listeners cost
            (found["websocket"],) = crowds([Target(server.pid, server.port, "ws", WS)], server)
            found["beyond"] = beyond(server)
            found["storm"] = storm(server)
            found["dropped_frames"] = server.status["dropped_frames"]
            found["never_reads"] = {
                name: never_read(server, kind, codec, path)
                for name, kind, codec, path in (
                    ("websocket_opus", "ws", "opus", WS),
                    ("http_opus", "http", "opus", OPUS),
                    ("websocket_f32le", "ws", "f32le", WS),
                    ("http_wav", "http", "wav", WAV),
                )
            }
        with icecast(cores[0]) as other, served(cores[0], other) as server:
            ours = Target(server.pid, server.port, "http", OPUS)
            if other is None:
                found["icecast"] = "not installed (Debian: icecast2): no comparison"
                (found["http"],) = crowds([ours], server)
            else:
                rows = crowds([ours, Target(other.pid, other.port, "http", MOUNT)], server)
                found["http"], found["icecast"] = rows[0], {"version": other.version, **rows[1]}
                cost = [row["processor_us_per_listener_and_second"] for row in rows]
                found["processor_times_icecast"] = round(cost[0] / cost[1], 2)
                whole = [row["core_share"] for row in rows]
                found["processor_times_icecast_with_the_encoder"] = round(whole[0] / whole[1], 2)
        found["limits"] = LIMITS
        return found
    finally:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, priority)
        gc.enable()
        os.sched_setaffinity(0, set(cores))
