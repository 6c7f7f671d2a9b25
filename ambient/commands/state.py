"""``--state FILE``: states and parameters survive a restart."""

from __future__ import annotations

import json
import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from ambient.errors import AmbientError
from ambient.scene import Memory

__all__ = ["StateFile"]

log = logging.getLogger("ambient.state")

FORMAT = 1
WRITE_SECONDS = 5.0


class StateFile:
    """Keeps the memories of streams by name in a JSON file, which is whole at every moment.

    Streams that are not served this time keep what was written of them.
    """

    def __init__(self, path: pathlib.Path, now: Callable[[], float] = time.monotonic) -> None:
        """Reads the file, if it is there. Raises AmbientError where it is something else."""
        self._path, self._now = path, now
        self._kept: dict[str, Any] = {}
        self._written_at = now()
        self._troubled = False
        self._memories = self._read()

    def memory(self, stream: str) -> Memory | None:
        """What was kept of a stream; None where nothing was."""
        return self._memories.get(stream)

    def keep(self, memories: Mapping[str, Memory], now: bool = False) -> None:
        """Writes, at most every 5 s unless it must be ``now``. What cannot be written is logged, once."""
        if not now and self._now() - self._written_at < WRITE_SECONDS:
            return
        self._written_at = self._now()
        self._kept |= {name: memory.model_dump(mode="json", exclude_none=True) for name, memory in memories.items()}
        text = json.dumps({"ambient_state": FORMAT, "streams": self._kept}, indent=1, ensure_ascii=False)
        part = self._path.with_name(f"{self._path.name}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            if not self._troubled:
                log.error("the state cannot be kept in %s: %s", self._path, error.strerror or error)
            self._troubled = True
        else:
            self._troubled = False

    def _read(self) -> dict[str, Memory]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if not self._path.parent.is_dir():
                raise AmbientError(f"the folder {self._path.parent} for the state is not there") from None
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise AmbientError(f"the state cannot be read from {self._path}: {error}") from error
        try:
            document = json.loads(text)
            if document["ambient_state"] != FORMAT:
                raise ValueError(f"its format is {document['ambient_state']!r}, not {FORMAT}")
            self._kept = dict(document["streams"])
            return {name: Memory.model_validate(kept) for name, kept in self._kept.items()}
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            raise self._foreign(f"{place}: {error.errors()[0]['msg']}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._foreign(str(error) or type(error).__name__) from error

    def _foreign(self, what: str) -> AmbientError:
        return AmbientError(f"{self._path} was not written by --state ({what}); name another file, or remove this one")
