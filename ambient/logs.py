"""How the program logs: lines for people, or a JSON object for each (JSON Lines), for what gathers logs."""

from __future__ import annotations

import datetime
import json
import logging
import sys
import threading
from typing import Any

__all__ = ["STYLES", "JsonLines", "set_up"]

STYLES = ("text", "json")
CHATTY = ("aiohttp.access", "matplotlib", "asyncio", "websockets")
"""Heard from warnings on. The last would log tokens."""
OF_A_STREAM = "stream %s"
"""A message that begins so is about the stream that it names."""
_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``; where there is one, ``stream``, and ``exception``
    with its traceback; and what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line without line breaks."""
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(record.msg, str) and record.msg.startswith(OF_A_STREAM) and isinstance(record.args, tuple):
            line["stream"] = str(record.args[0])
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line |= {key: value for key, value in vars(record).items() if key not in _KNOWN}
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up(style: str = "text", verbose: bool = False) -> None:
    """Logs to standard error from now on, in one of ``STYLES``. As JSON, what nobody caught is logged too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if style == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    if style == "json":
        logging.captureWarnings(True)
        log = logging.getLogger("ambient")
        sys.excepthook = lambda kind, error, trace: log.critical("unhandled", exc_info=(kind, error, trace))
        threading.excepthook = lambda caught: log.critical(
            "unhandled in thread %s", caught.thread and caught.thread.name, exc_info=caught.exc_value
        )
