"""Logs that programs read: one JSON object a line, whatever happened."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

from ambient.logs import JsonLines


def logged(message: str, *arguments: object, level: int = logging.WARNING, **more: object) -> dict[str, object]:
    record = logging.getLogger("ambient.test").makeRecord(
        "ambient.test", level, "file", 1, message, arguments, more.get("exc_info"), extra=more.get("extra")
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_a_line_tells_when_where_and_what():
    line = logged("stream %s: %s", "forest", "a\nlong “story”")
    assert line["level"] == "warning" and line["logger"] == "ambient.test"
    assert line["stream"] == "forest" and line["message"] == "stream forest: a\nlong “story”"
    assert str(line["time"]).endswith("Z") and len(str(line["time"])) == len("2026-01-01T00:00:00.000Z")
    assert set(logged("no stream here")) == {"time", "level", "logger", "message"}


def test_more_is_told_where_there_is_more():
    try:
        raise ValueError("made to fail")
    except ValueError:
        line = logged("it broke", exc_info=sys.exc_info(), extra={"url": "http://a:1/", "odd": {1, 2}.__class__})
    assert "ValueError: made to fail" in str(line["exception"]) and line["url"] == "http://a:1/"


def test_serving_that_cannot_begin_says_so_in_json(tmp_path):
    command = [sys.executable, "-m", "ambient", "serve", "nowhere.yaml", "--log", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1 and lines[-1]["level"] == "critical" and "nowhere" in lines[-1]["message"]


def test_what_nobody_caught_is_logged_too():
    program = """
import threading
from ambient.logs import set_up
set_up("json")
thread = threading.Thread(target=lambda: 1 / 0, name="mill")
thread.start()
thread.join()
raise RuntimeError("the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert "mill" in first["message"] and "ZeroDivisionError" in first["exception"]
    assert "RuntimeError: the end" in second["exception"]
