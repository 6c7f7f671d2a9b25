"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil

import pytest

TOOLS = {
    "ffmpeg": ("ffmpeg", "ffprobe"),
    "browser": ("chromium",),
    "firefox": ("firefox-esr", "pulseaudio"),
    "icecast": ("icecast2", "ffmpeg", "ffprobe"),
    "mosquitto": ("mosquitto", "mosquitto_passwd"),
}
"""Marker → programs that a test with it needs."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips tests whose programs are missing, saying so; fails them where ``AMBIENT_REQUIRE_TOOLS`` is set."""
    for marker, programs in TOOLS.items():
        if item.get_closest_marker(marker) is None:
            continue
        for program in programs:
            if shutil.which(program) is None:
                message = f"this test needs {program}, which is not installed"
                if os.environ.get("AMBIENT_REQUIRE_TOOLS"):
                    pytest.fail(message)
                pytest.skip(message)
