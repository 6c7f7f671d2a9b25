"""Weather as an input: reports in Open-Meteo's shape, from a file or a URL, scaled to 0 … 1 for ``weather.*``.

``read_report`` turns a JSON document into a :class:`Report`; :class:`WeatherPoll` fetches one again and again on a
thread of its own and hands it on. Whatever goes wrong there is logged and tried again later: a scene goes on with
what it knows, until its parameters count that as stale.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import json
import logging
import math
import pathlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from ambient.errors import WeatherError

__all__ = ["Report", "WeatherPoll", "fetch", "is_url", "open_meteo_url", "read_report"]

log = logging.getLogger("ambient.weather")

QUANTITIES = {
    "weather.rain": ("precipitation", "rain"),
    "weather.wind": ("wind_speed_10m", "windspeed_10m"),
    "weather.cloud": ("cloud_cover", "cloudcover"),
    "weather.temperature": ("temperature_2m",),
}
"""Input → Open-Meteo's names for it, the older ones last."""
UNITS = {
    "mm": (1.0, 0.0),
    "inch": (25.4, 0.0),
    "m/s": (1.0, 0.0),
    "km/h": (1 / 3.6, 0.0),
    "mp/h": (0.44704, 0.0),
    "mph": (0.44704, 0.0),
    "kn": (0.514444, 0.0),
    "%": (1.0, 0.0),
    "°C": (1.0, 0.0),
    "°F": (5 / 9, -160 / 9),
}
"""Unit → factor and offset to mm, m/s, % and °C."""
DEFAULT_UNITS = {"weather.rain": "mm", "weather.wind": "km/h", "weather.cloud": "%", "weather.temperature": "°C"}
FRESH = timedelta(hours=2)
"""An observation that is older (or so far in the future) is not weather any more."""
MOST_BYTES = 4 << 20
FETCH_SECONDS = 10.0
URL_SECONDS = 600.0
"""How often a URL is asked, unless a parameter's ``stale`` needs it more often,"""
LEAST_URL_SECONDS = 60.0
"""and never more often than this."""
FILE_SECONDS = 5.0
MOST_BACK_OFF_SECONDS = 1800.0


def scaled(source: str, value: float) -> float:
    """0 … 1 of a quantity in mm/h, m/s, % or °C.

    Rain by its square root up to 10 mm/h, wind by the Beaufort scale up to 10 (storm), cloud cover as it is,
    temperature from −20 to 40 °C.
    """
    if source == "weather.rain":
        part = math.sqrt(max(0.0, value) / 10.0)
    elif source == "weather.wind":
        part = (max(0.0, value) / 0.836) ** (2 / 3) / 10.0
    elif source == "weather.cloud":
        part = value / 100.0
    else:
        part = (value + 20.0) / 60.0
    return min(1.0, max(0.0, part))


@dataclass(frozen=True, slots=True)
class Report:
    """One weather report: what is observed, and hourly rows. Values are scaled; times are aware."""

    current: Mapping[str, float]
    current_time: datetime | None
    """None where it does not say: then it is always now."""
    hours: tuple[datetime, ...]
    rows: Mapping[str, tuple[float | None, ...]]
    """Input → one value for each of ``hours``."""

    def at(self, when: datetime) -> dict[str, float]:
        """The inputs at a time of the hourly rows, between two hours linearly; without rows, what is observed."""
        if not self.hours:
            return dict(self.current)
        if not self.hours[0] <= when <= self.hours[-1]:
            return {}
        right = min(len(self.hours) - 1, max(1, bisect.bisect_right(self.hours, when)))
        left = max(0, right - 1)
        span = (self.hours[right] - self.hours[left]).total_seconds()
        part = (when - self.hours[left]).total_seconds() / span if span else 0.0
        found = {}
        for source, values in self.rows.items():
            a, b = values[left], values[right]
            if a is not None and b is not None:
                found[source] = a + (b - a) * part
        return found

    def now(self, when: datetime) -> dict[str, float]:
        """The inputs by the real clock: what is observed, if that is fresh, else the hourly rows at that time."""
        if self.current and (self.current_time is None or abs(when - self.current_time) <= FRESH):
            return dict(self.current)
        return self.at(when) if self.hours else {}


def read_report(raw: bytes | str) -> Report:
    """A report from JSON in Open-Meteo's shape (``current`` and/or ``hourly``). Raises WeatherError."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise WeatherError(f"this is not JSON: {str(error)[:100]}") from error
    if not isinstance(document, dict):
        raise WeatherError("a weather report is a JSON object with `current` or `hourly`")
    if document.get("error"):
        raise WeatherError(f"the service says: {str(document.get('reason', 'error'))[:200]}")
    zone = timedelta(seconds=_number(document.get("utc_offset_seconds", 0), "utc_offset_seconds") or 0.0)
    current, time = _current(document, zone)
    hours, rows = _hourly(document, zone)
    if not current and not rows:
        names = ", ".join(names[0] for names in QUANTITIES.values())
        raise WeatherError(f"there is no weather in it: `current` or `hourly` with one or more of {names}")
    return Report(current, time, hours, rows)


def _current(document: Mapping[str, Any], zone: timedelta) -> tuple[dict[str, float], datetime | None]:
    block = document.get("current") or {}
    if not isinstance(block, dict):
        raise WeatherError("`current` is a mapping of names to numbers")
    interval = _number(block.get("interval", 3600), "current interval") or 3600.0
    found = {}
    for source, name in _named(block).items():
        value = _number(block[name], f"current {name}")
        if value is not None:
            value = _converted(source, value, document.get("current_units"), name)
            # precipitation is the sum of the interval before
            found[source] = scaled(source, value * 3600 / interval if source == "weather.rain" else value)
    time = block.get("time")
    return found, None if time is None else _time(time, zone)


def _hourly(
    document: Mapping[str, Any], zone: timedelta
) -> tuple[tuple[datetime, ...], dict[str, tuple[float | None, ...]]]:
    block = document.get("hourly") or {}
    if not isinstance(block, dict) or not isinstance(block.get("time", []), list):
        raise WeatherError("`hourly` is a mapping with a list `time`, and a list of numbers for each name")
    hours = tuple(_time(t, zone) for t in block.get("time", []))
    if any(b <= a for a, b in itertools.pairwise(hours)):
        raise WeatherError("the times of `hourly` must rise")
    rows: dict[str, tuple[float | None, ...]] = {}
    for source, name in _named(block).items():
        values = block[name]
        if not isinstance(values, list) or len(values) != len(hours):
            raise WeatherError(f"hourly {name} is no list of {len(hours)} numbers, one for each time")
        row: list[float | None] = []
        for value in values:
            number = _number(value, f"hourly {name}")
            known = None if number is None else _converted(source, number, document.get("hourly_units"), name)
            row.append(None if known is None else scaled(source, known))
        rows[source] = tuple(row)
    return (hours, rows) if rows and hours else ((), {})


def _named(block: Mapping[str, Any]) -> dict[str, str]:
    found = {source: next((n for n in names if n in block), None) for source, names in QUANTITIES.items()}
    return {source: name for source, name in found.items() if name is not None}


def _number(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise WeatherError(f"{what} is no number: {str(value)[:40]!r}")
    return float(value)


def _converted(source: str, value: float, units: Any, name: str) -> float:
    unit = units.get(name) if isinstance(units, dict) else None
    factor, offset = UNITS.get(str(unit or DEFAULT_UNITS[source]), (math.nan, 0.0))
    if math.isnan(factor):
        raise WeatherError(f"the unit {str(unit)[:20]!r} of {name} is not known; known are {', '.join(UNITS)}")
    return value * factor + offset


def _time(value: Any, zone: timedelta) -> datetime:
    """An aware time; Open-Meteo writes local times without their zone, or seconds since 1970."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found.astimezone(UTC) if found.tzinfo else (found - zone).replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise WeatherError(f"{str(value)[:40]!r} is no time; such as 2025-06-21T12:00")


# ---- where it comes from


def is_url(where: str) -> bool:
    """Whether a source of weather is fetched over the network."""
    return urlsplit(where).scheme in ("http", "https")


def open_meteo_url(lat: float, lon: float) -> str:
    """Where Open-Meteo tells the present weather at a place."""
    names = ",".join(names[0] for names in QUANTITIES.values())
    query = urlencode({"latitude": f"{lat:g}", "longitude": f"{lon:g}", "current": names}, safe=",")
    return f"https://api.open-meteo.com/v1/forecast?{query}"


def fetch(where: str) -> Report:
    """Reads the report in a file or at a URL, within 10 s. Raises WeatherError."""
    try:
        if is_url(where):
            return read_report(asyncio.run(_get(where)))
        with pathlib.Path(where).open("rb") as file:
            return read_report(file.read(MOST_BYTES + 1))
    except OSError as error:
        raise WeatherError(f"{where}: cannot be read: {error.strerror or error}") from error
    except WeatherError as error:
        raise WeatherError(f"{where}: {error}", error.retry_after_seconds) from error


async def _get(url: str) -> bytes:
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS)) as session,
            session.get(url) as answer,
        ):
            raw = bytearray()
            async for chunk in answer.content.iter_chunked(1 << 16):
                raw += chunk
                if len(raw) > MOST_BYTES:
                    raise WeatherError(f"more than {MOST_BYTES:,} bytes")
            if answer.status != 200:
                after = answer.headers.get("Retry-After", "")
                raise WeatherError(f"HTTP {answer.status}", float(after) if after.isdecimal() else None)
            return bytes(raw)
    except TimeoutError as error:
        raise WeatherError(f"no answer within {FETCH_SECONDS:g} s") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise WeatherError(f"cannot be reached: {str(error)[:200] or type(error).__name__}") from error


class WeatherPoll:
    """Fetches one source again and again, and hands each report to ``tell``, on a thread of its own.

    A URL is asked every ``every_seconds`` (10 min by default, at least 1 min), after a failure in 1, 2, 4 … up to
    30 min, or when the service says. A file is read every 5 s. ``start`` and ``stop`` are called by the owner.
    """

    def __init__(self, where: str, tell: Callable[[Report], None], every_seconds: float | None = None) -> None:
        self._where = where
        self._tell = tell
        self._every = FILE_SECONDS
        if is_url(where):
            self._every = max(LEAST_URL_SECONDS, every_seconds or URL_SECONDS)
        self._failures = 0
        self._said = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ambient-weather", daemon=True)

    def start(self) -> None:
        """Begins; the first report is fetched at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ends. Idempotent."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def poll(self) -> float:
        """Fetches and hands on one report, or logs why not; returns in how many seconds to come again."""
        try:
            self._tell(fetch(self._where))
        except WeatherError as error:
            self._failures += 1
            wait = self._every
            if is_url(self._where):
                wait = min(MOST_BACK_OFF_SECONDS, LEAST_URL_SECONDS * 2.0 ** min(10, self._failures - 1))
                wait = min(86_400.0, max(wait, error.retry_after_seconds or 0.0))
            if is_url(self._where) or str(error) != self._said:  # a broken file is not told every five seconds
                log.warning("weather: %s; what is known counts until it is stale; next try in %g s", error, wait)
            self._said = str(error)
            return wait
        if self._failures:
            log.info("weather: %s can be read again", self._where)
        self._failures, self._said = 0, ""
        return self._every

    def _run(self) -> None:
        wait = 0.0
        while not self._ending.wait(wait):
            try:
                wait = self.poll()
            except Exception:  # weather must never end the sound
                log.exception("weather: %s", self._where)
                wait = MOST_BACK_OFF_SECONDS
