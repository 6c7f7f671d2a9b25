"""Metrics that Prometheus reads, a status that radio tools read, playlists that players read."""

from __future__ import annotations

import datetime

from prometheus_client.parser import text_string_to_metric_families

from ambient.telemetry import Mount, StreamReport, icecast_status, metrics, playlist

STATUS = {
    "state": 'a "strange"\nstate',
    "seconds_ahead": 11.5,
    "speed": None,
    "degrade_level": 0,
    "loudness_lufs": -24.1,
    "layers": [{"name": "rain", "seconds_ahead": 11.5}, {"name": "owl", "seconds_ahead": None}],
    "counts": {"clips": 7, "joins": 5, "joins_failed": 0, "underruns": 0, "restarts": 1, "fallback_seconds": 0.02},
}
REPORT = StreamReport(
    "forest",
    STATUS,
    listeners=3,
    dropped_frames=40,
    encoder_restarts=0,
    listeners_of={"mp3": 2, "opus": 1},
    most_listeners={"mp3": 4, "ogg": 7},
)


def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(metrics([REPORT, StreamReport("cafe", {}, 0, 0, 0)])):
        assert family.documentation and family.type in ("gauge", "counter")
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_metrics_are_read_by_prometheus_own_parser() -> None:
    found = samples()
    forest = (("stream", "forest"),)
    assert found["ambient_seconds_ahead", forest] == 11.5
    assert found["ambient_listeners", forest] == 3 and found["ambient_listeners", (("stream", "cafe"),)] == 0
    assert found["ambient_dropped_frames_total", forest] == 40
    assert found["ambient_restarts_total", forest] == 1
    assert found["ambient_fallback_seconds_total", forest] == 0.02
    assert found["ambient_layer_seconds_ahead", (("layer", "rain"), ("stream", "forest"))] == 11.5
    assert found["ambient_state", (("state", 'a "strange"\nstate'), ("stream", "forest"))] == 1


def test_what_an_operator_watches_is_there() -> None:
    names = {name.removeprefix("ambient_") for name, _ in samples()}
    assert names >= {"layer_seconds_ahead", "degrade_level", "listeners", "joins_failed_total", "underruns_total"}
    assert names >= {"dropped_frames_total", "encoder_restarts_total", "restarts_total"}
    known = StreamReport("sea", {"speed": 9.5, "counts": {"joins_repaired": 2}}, 0, 0, 0)
    text = metrics([known])
    assert 'ambient_speed{stream="sea"} 9.5' in text and 'ambient_joins_repaired_total{stream="sea"} 2' in text


def test_what_is_not_known_is_left_out() -> None:
    found = samples()
    assert not any(name == "ambient_speed" for name, _ in found)
    assert not any(("layer", "owl") in labels for _, labels in found)


def test_the_radio_status_has_icecasts_shape() -> None:
    mounts = [Mount("mp3", "mp3", "audio/mpeg", 192), Mount("flac", "flac", "audio/flac", None)]
    since = datetime.datetime(2026, 5, 1, 12, 30, tzinfo=datetime.UTC)
    status = icecast_status([REPORT], "http://radio.local:8765", mounts, since)["icestats"]
    first, second = status["source"]
    assert first["listenurl"] == "http://radio.local:8765/listen/forest.mp3" and first["bitrate"] == 192
    assert first["audio_info"] == "samplerate=48000;channels=2;bitrate=192"
    assert second["server_type"] == "audio/flac" and "bitrate" not in second and status["host"] == "radio.local:8765"
    assert status["server_start_iso8601"] == first["stream_start_iso8601"] == "2026-05-01T12:30:00+00:00"


def test_each_mount_tells_its_own_listeners() -> None:
    """Tools add the mounts up: two who listen to mp3 and one on a WebSocket are two."""
    mounts = [Mount("mp3", "mp3", "audio/mpeg", 192), Mount("opus", "ogg", "audio/ogg", 128)]
    source = icecast_status([REPORT], "http://a:1", mounts, datetime.datetime.now(datetime.UTC))["icestats"]["source"]
    assert [(s["listeners"], s["listener_peak"]) for s in source] == [(2, 4), (0, 7)]


def test_the_playlist_leads_to_the_stream() -> None:
    assert playlist("forest", "http://a:1").splitlines() == [
        "#EXTM3U",
        "#EXTINF:-1,forest",
        "http://a:1/listen/forest.mp3",
    ]
