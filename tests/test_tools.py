"""tools/run and tools/test for a newcomer: what they say when they cannot set up."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout without a virtual environment."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("training", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(clone: Path, *command: str, path: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = os.environ | environment | ({"PATH": path} if path else {})
    return subprocess.run([str(clone / "tools" / "run"), *command], env=settings, capture_output=True, text=True)


def fake(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_an_old_python_is_refused_with_what_to_do(clone: Path) -> None:
    old = fake(clone, "python3.9", "exit 1")
    done = run(clone, AMBIENT_PYTHON=str(old))
    assert done.returncode == 1
    assert f"AMBIENT_PYTHON={old} is no Python 3.11 or newer" in done.stderr


def test_a_full_disk_is_told_before_anything_is_downloaded(clone: Path) -> None:
    folder = clone / "bin"
    folder.mkdir()
    fake(folder, "df", 'echo "Filesystem 1024-blocks Used Available"; echo "disk 100 100 5120"')
    done = run(clone, path=f"{folder}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "needs about 3 GB of disk" in done.stderr and "only 5 MB are free" in done.stderr
    assert not (clone / ".venv").exists()


def test_a_failed_installation_says_how_to_go_on(clone: Path) -> None:
    python = fake(
        clone,
        "python",
        'case "$*" in *venv*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";; *pip*) exit 1;; *) exit 0;; esac',
    )
    done = run(clone, AMBIENT_PYTHON=str(python))
    assert done.returncode == 1
    assert "installing torch==2.13.0 failed" in done.stderr


def test_a_set_up_checkout_starts_at_once_with_the_arguments_given(clone: Path) -> None:
    log = clone / "log"
    python = fake(
        clone,
        "python",
        f'case "$*" in *venv*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";; *) echo "$*" >> {log};; esac',
    )
    first = run(clone, "cafe", "--port", "9000", AMBIENT_PYTHON=str(python))
    assert first.returncode == 0, first.stderr
    lines = log.read_text().splitlines()
    assert [i for i, line in enumerate(lines) if "install" in line and "torch" in line] == [
        next(i for i, line in enumerate(lines) if "install" in line)
    ]  # torch comes first, by itself
    assert lines[-1].endswith("scenes/forest.yaml cafe --port 9000") and "-m ambient serve" in lines[-1]
    log.unlink()
    run(clone, AMBIENT_PYTHON=str(python))
    assert len(log.read_text().splitlines()) == 1  # nothing is installed twice
