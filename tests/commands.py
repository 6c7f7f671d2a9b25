"""The command line as a user meets it: a real process in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ONE_BED = "scene: 1\nseed: 5\nstates: {rain: steady rain}\n"


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ambient", *arguments],
        cwd=cwd,
        env=os.environ | {"AMBIENT_CACHE": str(cwd / "cache"), "OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ambient(*arguments: str, cwd: Path, seconds: float = 100) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=seconds)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
