"""Tiny checkpoints of the big families, made once."""

from __future__ import annotations

import pathlib
import shutil
import warnings
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], pathlib.Path]:
    """The folder of a family's checkpoint, to be read only."""
    made: dict[str, pathlib.Path] = {}

    def folder(family: str) -> pathlib.Path:
        if family not in made:
            from checkpoints import make

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[family] = make(family, tmp_path_factory.mktemp("checkpoints") / f"tiny-{family}")
        return made[family]

    return folder


@pytest.fixture
def copied(checkpoint: Callable[[str], pathlib.Path], tmp_path: pathlib.Path) -> Callable[[str], pathlib.Path]:
    """A copy of a family's checkpoint, to be damaged."""
    return lambda family: pathlib.Path(shutil.copytree(checkpoint(family), tmp_path / family))
