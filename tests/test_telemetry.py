"""Metrics that Prometheus reads, a status that radio tools read, playlists that players read."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from ambient.telemetry import StreamReport, icecast_status, metrics, playlist

STATUS = {
    "state": 'a "strange"\nstate',
    "seconds_ahead": 11.5,
    "speed": None,
    "degrade_level": 0,
    "loudness_lufs": -24.1,
    "layers": [{"name": "rain", "seconds_ahead": 11.5}, {"name": "owl", "seconds_ahead": None}],
    "counts": {"clips": 7, "joins": 5, "joins_failed": 0, "underruns": 0, "restarts": 1, "fallback_seconds": 0.02},
}
REPORT = StreamReport("forest", STATUS, listeners=3, dropped_frames=40, encoder_restarts=0)


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


def test_what_is_not_known_is_left_out() -> None:
    found = samples()
    assert not any(name == "ambient_speed" for name, _ in found)
    assert not any(("layer", "owl") in labels for _, labels in found)


def test_the_radio_status_has_icecasts_shape() -> None:
    status = icecast_status([REPORT], "http://radio.local:8765", {"mp3": "audio/mpeg", "opus": "audio/ogg"})
    first, second = status["icestats"]["source"]
    assert first["listenurl"] == "http://radio.local:8765/listen/forest.mp3" and first["listeners"] == 3
    assert second["server_type"] == "audio/ogg" and status["icestats"]["host"] == "radio.local:8765"


def test_the_playlist_leads_to_the_stream() -> None:
    assert playlist("forest", "http://a:1").splitlines() == [
        "#EXTM3U",
        "#EXTINF:-1,forest",
        "http://a:1/listen/forest.mp3",
    ]
