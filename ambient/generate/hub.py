"""Checkpoints from the model hub: which ones are known to fit, what is in its cache, and fetching them.

Only :func:`fetch` touches the network. huggingface_hub is imported when needed.
"""

from __future__ import annotations

import pathlib
import re
from dataclasses import dataclass

__all__ = ["KNOWN", "KnownModel", "cached", "repository_of"]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published checkpoint of a family that can be played, as its publisher describes it."""

    repository: str
    family: str
    rate: int
    channels: int
    licence: str
    gated: bool = False
    """Whether its licence must be accepted on the hub first."""
    converted: bool = False
    """Whether it is not published in the layout of diffusers and must be converted with diffusers' own script."""

    @property
    def name(self) -> str:
        """The repository without its owner."""
        return self.repository.split("/")[1]


_STABILITY = "Stability AI Community"
KNOWN: tuple[KnownModel, ...] = (
    KnownModel("cvssp/audioldm-s-full-v2", "audioldm", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm-m-full", "audioldm", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm-l-full", "audioldm", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm2", "audioldm2", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm2-large", "audioldm2", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("cvssp/audioldm2-music", "audioldm2", 16_000, 1, "CC-BY-NC-SA-4.0"),
    KnownModel("anhnct/audioldm2_gigaspeech", "audioldm2", 16_000, 1, "CreativeML OpenRAIL-M"),
    KnownModel("stabilityai/stable-audio-open-1.0", "stable-audio", 44_100, 2, _STABILITY, gated=True),
    KnownModel("stabilityai/stable-audio-3-small-sfx", "stable-audio-3", 44_100, 2, _STABILITY, True, True),
    KnownModel("stabilityai/stable-audio-3-medium", "stable-audio-3", 44_100, 2, _STABILITY, True, True),
)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def repository_of(name: str) -> str | None:
    """The hub's name of a model, ``owner/name``; the owner of a known one may be left out. None for what is none."""
    for known in KNOWN:
        if name in (known.name, known.repository):
            return known.repository
    return name if _REPOSITORY.fullmatch(name) else None


def cached(repository: str) -> pathlib.Path | None:
    """The folder of a fetched checkpoint, whole or not; None when nothing of it is there."""
    from huggingface_hub import constants

    base = pathlib.Path(constants.HF_HUB_CACHE) / ("models--" + repository.replace("/", "--"))
    try:
        commit = (base / "refs" / "main").read_text().strip()
    except OSError:
        return None
    folder = base / "snapshots" / commit
    return folder if folder.is_dir() else None
