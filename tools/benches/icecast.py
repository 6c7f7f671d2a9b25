"""Icecast 2 on a port of its own, for comparison."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["PASSWORD", "Icecast", "icecast"]

PASSWORD = "bench-only"


@dataclass(frozen=True)
class Icecast:
    """One that runs."""

    pid: int
    port: int
    version: str


@contextlib.contextmanager
def icecast(core: int) -> Iterator[Icecast | None]:
    """An Icecast that runs on that core only; None where it is not installed."""
    program = shutil.which("icecast2") or shutil.which("icecast")
    if program is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    owner = "<changeowner><user>nobody</user><group>nogroup</group></changeowner>" if os.geteuid() == 0 else ""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o777)  # started by root, it becomes somebody else
        (folder / "icecast.xml").write_text(
            f"""<icecast><limits><clients>20000</clients><sources>2</sources></limits>
            <authentication><source-password>{PASSWORD}</source-password><admin-user>admin</admin-user>
            <admin-password>{PASSWORD}</admin-password></authentication><hostname>localhost</hostname>
            <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
            <paths><logdir>{folder}</logdir><webroot>{folder}</webroot><adminroot>{folder}</adminroot></paths>
            <logging><errorlog>error.log</errorlog><loglevel>2</loglevel></logging>
            <security><chroot>0</chroot>{owner}</security></icecast>"""
        )
        said = subprocess.run([program, "-v"], capture_output=True, text=True).stdout.strip()
        process = subprocess.Popen(
            [program, "-c", str(folder / "icecast.xml")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            end = time.monotonic() + 10
            while time.monotonic() < end and process.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield Icecast(process.pid, port, said)
        finally:
            process.terminate()
            process.wait(10)
