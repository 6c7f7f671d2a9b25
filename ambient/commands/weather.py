"""The ``--weather`` of play, serve, render and simulate: from where, for which scenes, how often."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ambient.errors import WeatherError
from ambient.scene import Inputs, Machine, Scene
from ambient.scene.model import Param
from ambient.weather import URL_SECONDS, Report, WeatherPoll, fetch, is_url, open_meteo_url

if TYPE_CHECKING:  # the engine takes long to import, and `simulate` needs none
    from ambient.engine.live import LiveStream

__all__ = ["weather_by_clock", "weather_polls"]

log = logging.getLogger("ambient.weather")


def weather_by_clock(given: argparse.Namespace, scene: Scene) -> Inputs | None:
    """For a scene that nobody waits for: the weather by scene time; None without any. Raises WeatherError."""
    where = _source(given.weather, scene)
    if where is None:
        return None
    report = fetch(where)
    begins = Machine(scene).scene_time(0)
    if report.hours and not report.hours[0] <= begins <= report.hours[-1]:
        first, last = report.hours[0], report.hours[-1]
        log.warning(
            "weather: %s covers %s to %s (UTC), and the scene begins at %s: give it `clock: {date: %s}`",
            *(where, f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}", f"{begins:%Y-%m-%d %H:%M}"),
            first.date(),
        )
    return report.at


def weather_polls(given: argparse.Namespace, streams: Sequence[tuple[Scene, LiveStream]]) -> list[WeatherPoll]:
    """One poll for each source, telling every stream that reads weather; not started. Raises WeatherError."""
    tellers: dict[str, list[Callable[[Report], None]]] = {}
    stale: dict[str, list[float]] = {}
    for scene, stream in streams:
        where = _source(given.weather, scene)
        if where is not None:
            if not is_url(where):
                fetch(where)  # a file that is wrong from the beginning is told now
            tellers.setdefault(where, []).append(_teller(where, stream))
            stale.setdefault(where, []).extend(p.stale for p in _readers(scene) if p.stale is not None)
    return [WeatherPoll(where, _each(tells), _every(stale[where])) for where, tells in tellers.items()]


def _source(asked: str | None, scene: Scene) -> str | None:
    if asked is None:
        return None
    if not _readers(scene):
        log.warning("--weather does nothing for %s: no parameter is `from: weather.…`", scene.name)
        return None
    if asked != "open-meteo":
        return asked
    if scene.place is None:
        raise WeatherError(f"--weather open-meteo: {scene.name} has no place; add `place: {{lat: 52.1, lon: 5.7}}`")
    return open_meteo_url(scene.place.lat, scene.place.lon)


def _readers(scene: Scene) -> list[Param]:
    return [p for p in scene.params.values() if p.source is not None and p.source.startswith("weather.")]


def _every(stale: Sequence[float]) -> float | None:
    """Twice within the shortest `stale`, so that one failure is not noticed; None where nobody asks for it."""
    return min(stale) / 2 if stale and min(stale) / 2 < URL_SECONDS else None


def _each(tells: Sequence[Callable[[Report], None]]) -> Callable[[Report], None]:
    def tell(report: Report) -> None:
        for one in tells:
            one(report)

    return tell


def _teller(where: str, stream: LiveStream) -> Callable[[Report], None]:
    def by_the_real_clock(report: Report) -> None:
        values = report.now(datetime.now(UTC))
        if not values:
            raise WeatherError(f"{where}: the report is no longer (or not yet) of this hour")
        for source, value in values.items():
            stream.feed(source, value)

    def by_the_scenes_clock(report: Report) -> None:
        stream.feed_all(report.at)

    return by_the_real_clock if is_url(where) else by_the_scenes_clock
