"""What a running server tells to monitors and radio tools: Prometheus metrics, Icecast's status, playlists.

Pure functions of the streams' statuses, so that what they say can be tested without a server.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ambient import __version__

__all__ = ["Mount", "StreamReport", "icecast_status", "metrics", "playlist"]


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream as its control and its hub see it."""

    name: str
    status: Mapping[str, Any]
    """Of :meth:`ambient.ports.StreamControl.status`."""
    listeners: int
    dropped_frames: int
    encoder_restarts: int
    listeners_of: Mapping[str, int] = field(default_factory=dict)
    """By encoder."""
    most_listeners: Mapping[str, int] = field(default_factory=dict)
    """At once, by encoder."""


@dataclass(frozen=True, slots=True)
class Mount:
    """What a stream is under one ending, as radio tools see it."""

    ending: str
    encoder: str
    media_type: str
    kilobits: int | None
    """A second; None where it depends on the sound."""


_COUNTERS = {
    "clips": "Clips taken in",
    "joins": "Joins made",
    "joins_repaired": "Clips made again because they joined badly",
    "joins_failed": "Joins that stayed bad",
    "failures": "Clips that could not be made",
    "underruns": "Blocks of a layer that came without sound",
    "late": "Clips that came after their layer had run out",
    "restarts": "Generator processes replaced",
    "fallback_seconds": "Seconds in which a layer played its own recent material",
}
_GAUGES = {
    "seconds_ahead": "Seconds of generated sound in front of the playhead, in the layer that has least",
    "speed": "Seconds of sound that the generator makes in a second",
    "degrade_level": "Rung of the degrade ladder; 0 is full quality",
    "loudness_lufs": "Momentary loudness of what goes out",
}


def metrics(reports: Iterable[StreamReport]) -> str:
    """The text format of Prometheus, version 0.0.4. What is not known yet is left out."""
    streams = list(reports)
    lines: list[str] = []

    def family(name: str, kind: str, about: str, samples: Iterable[tuple[dict[str, str], Any]]) -> None:
        rows = [(labels, float(value)) for labels, value in samples if value is not None]
        if rows:
            lines.extend([f"# HELP ambient_{name} {about}.", f"# TYPE ambient_{name} {kind}"])
        for labels, value in rows:
            told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"ambient_{name}{{{told}}} {value:.10g}")

    for key, about in _GAUGES.items():
        family(key, "gauge", about, [({"stream": s.name}, s.status.get(key)) for s in streams])
    each = [(s, row) for s in streams for row in s.status.get("layers", ())]
    family(
        "layer_seconds_ahead",
        "gauge",
        "Seconds of generated sound in front of a layer's playhead",
        [({"stream": s.name, "layer": row["name"]}, row.get("seconds_ahead")) for s, row in each],
    )
    for key, about in _COUNTERS.items():
        rows = [({"stream": s.name}, s.status.get("counts", {}).get(key)) for s in streams]
        family(f"{key}_total", "counter", about, rows)
    family("listeners", "gauge", "Listeners", [({"stream": s.name}, s.listeners) for s in streams])
    family(
        "dropped_frames_total",
        "counter",
        "Frames that slow listeners did not get",
        [({"stream": s.name}, s.dropped_frames) for s in streams],
    )
    family(
        "encoder_restarts_total",
        "counter",
        "Encoders rebuilt after a fault",
        [({"stream": s.name}, s.encoder_restarts) for s in streams],
    )
    family(
        "state",
        "gauge",
        "1 for the state that a stream is in",
        [({"stream": s.name, "state": str(s.status["state"])}, 1) for s in streams if s.status.get("state")],
    )
    return "\n".join(lines) + "\n"


def icecast_status(
    reports: Iterable[StreamReport], base: str, mounts: Sequence[Mount], since: datetime.datetime
) -> dict[str, Any]:
    """The shape of Icecast's ``/status-json.xsl``. ``base``: the server's URL; ``since``: when it began.

    Listeners are those of each mount, because tools add them up; those on WebSockets have none.
    """
    began = since.isoformat(timespec="seconds")
    source = [
        {
            "audio_info": "samplerate=48000;channels=2" + (f";bitrate={mount.kilobits}" if mount.kilobits else ""),
            **({"bitrate": mount.kilobits} if mount.kilobits else {}),
            "channels": 2,
            "genre": "ambient",
            "listener_peak": report.most_listeners.get(mount.encoder, 0),
            "listeners": report.listeners_of.get(mount.encoder, 0),
            "listenurl": f"{base}/listen/{report.name}.{mount.ending}",
            "samplerate": 48_000,
            "server_description": "a generated soundscape",
            "server_name": report.name,
            "server_type": mount.media_type,
            "stream_start_iso8601": began,
            "title": str(report.status.get("state") or ""),
        }
        for report in reports
        for mount in mounts
    ]
    return {
        "icestats": {
            "host": re.sub(r"^\w+://", "", base),
            "server_id": f"Ambient {__version__}",
            "server_start_iso8601": began,
            "source": source,
        }
    }


def playlist(name: str, base: str) -> str:
    """An extended M3U with the stream as mp3, which every player knows."""
    return f"#EXTM3U\n#EXTINF:-1,{name}\n{base}/listen/{name}.mp3\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
