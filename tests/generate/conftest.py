"""Tiny checkpoints of the big families, made once."""

from __future__ import annotations

import pathlib
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
