"""The listening page in Firefox: another engine, another audio graph."""

from __future__ import annotations

import time

import pytest
from browser import firefox
from test_page import Stage, soft_noise

from ambient.messages import RATE
from ambient.testing import PacedSource

pytestmark = [pytest.mark.firefox, pytest.mark.slow]

COUNTED = """(() => {
    const { get } = Object.getOwnPropertyDescriptor(AudioContext.prototype, "outputLatency");
    window.asked = 0;
    Object.defineProperty(AudioContext.prototype, "outputLatency", {
        get() { window.asked++; return get.call(this); },
    });
})()"""
"""Firefox that is asked for its latency can hang for ever, with PulseAudio: that the page does not ask is checked."""


def test_firefox_plays_in_real_time_without_gaps_and_steers():
    with firefox() as browser:
        stage = Stage(browser)
        try:
            with PacedSource(stage.hub, soft_noise):
                browser.open(stage.server.url)
                browser.wait("ambient.connected")
                browser.evaluate(COUNTED)
                began = time.monotonic()
                browser.click("#play")
                browser.wait("ambient.rms > 0.01", 10)
                assert time.monotonic() - began < 5.0
                frames, at = browser.evaluate("[ambient.framesPlayed, performance.now()]")
                time.sleep(20)
                later, then = browser.evaluate("[ambient.framesPlayed, performance.now()]")
                # the page hears of what was played ten times a second or so
                assert (later - frames) / ((then - at) / 1000) == pytest.approx(RATE, rel=0.05)
                facts = browser.evaluate("ambient")
                assert (facts["underruns"], facts["gaps"], facts["skips"], facts["reconnects"]) == (0, 0, 0, 0)
                assert browser.evaluate("asked") == 0
                shown = "['latency', 'buffer'].map((id) => parseFloat(document.getElementById(id).textContent))"
                latency, buffered = browser.evaluate(shown)
                assert latency - buffered == pytest.approx(0.06 + 0.043, abs=0.011)  # both are shown in hundredths
                assert facts["rms"] == pytest.approx(0.03, rel=0.2)
                browser.wait("document.querySelectorAll('#layers li').length === 3")
                browser.wait("document.querySelector('#diagram svg text').textContent === 'calm'")
                browser.wait("document.querySelectorAll('#events button').length > 0")
                browser.click("#events button")
                stage.until(lambda: bool(stage.control.fired))
                browser.click("#play")
                stage.until(lambda: stage.hub.listeners == 0)
        finally:
            stage.server.stop()
