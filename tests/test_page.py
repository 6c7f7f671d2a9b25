"""The listening page in a real browser, playing a real stream."""

from __future__ import annotations

import time

import numpy as np
import pytest
from browser import Browser, chromium

from ambient.messages import BLOCK_FRAMES, RATE, Block, SceneEvent
from ambient.server import Server
from ambient.sinks.hub import Hub
from ambient.testing import FakeStream, PacedSource

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 20"><text x="5" y="15">{}</text>'
    "<script>window.injected = true</script></svg>"
)


def soft_noise(number: int) -> Block:
    """A second of noise at −30 dB, again and again; every second of it a transition."""
    start = number * BLOCK_FRAMES
    random = np.random.default_rng(number % 50)
    events: tuple[SceneEvent, ...] = ()
    if number % 50 == 0:
        detail = {"from": "calm", "to": "rain", "over_seconds": 1, "why": "rain > 0.5"}
        events = (SceneEvent("transition", "rain", start, detail),)
    return Block(start, (0.03 * random.standard_normal((BLOCK_FRAMES, 2))).astype(np.float32), events)


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


class Stage:
    def __init__(self, browser: Browser) -> None:
        self.browser, self.hub, self.control = browser, Hub("forest"), FakeStream("forest")
        self.server = Server([(self.control, self.hub)], port=0, diagram=lambda name, state: DRAWING.format(state))
        self.server.start()

    def until(self, true, seconds: float = 5.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.02)


@pytest.fixture
def stage(browser):
    stage = Stage(browser)
    browser.errors.clear()
    with PacedSource(stage.hub, soft_noise):
        yield stage
    browser.call("Page.navigate", url="about:blank")
    stage.server.stop()


def play(stage: Stage, query: str = "") -> None:
    stage.browser.open(stage.server.url + query)
    stage.browser.wait("ambient.connected")
    stage.browser.click("#play")
    stage.browser.wait("ambient.state === 'playing'", 5)


@pytest.mark.parametrize("codec", ["s16le", "opus"])
def test_it_plays_in_real_time_without_gaps(stage, codec):
    play(stage, f"?codec={codec}")
    browser = stage.browser
    assert browser.evaluate("ambient.codec") == codec
    browser.wait("ambient.framesPlayed > 24000")
    look = "new Promise(r => { const f = ambient.framesPlayed; const i = setInterval(() => {"
    look += (
        "if (ambient.framesPlayed !== f) { clearInterval(i); r([ambient.framesPlayed, performance.now()]); } }, 1) })"
    )
    frames, at = browser.evaluate(look)
    time.sleep(6 if codec == "s16le" else 3)
    later, then = browser.evaluate(look)
    assert (later - frames) / ((then - at) / 1000) == pytest.approx(RATE, rel=0.03)
    facts = browser.evaluate("ambient")
    assert (facts["underruns"], facts["gaps"], facts["skips"], facts["reconnects"]) == (0, 0, 0, 0)
    assert facts["rms"] == pytest.approx(0.03, rel=0.2)
    assert 0.15 < facts["buffered"] < 1.5
    assert browser.errors == []


def test_it_starts_soon(stage):
    browser = stage.browser
    browser.open(stage.server.url)
    browser.wait("ambient.connected")
    began = time.monotonic()
    browser.click("#play")
    browser.wait("ambient.rms > 0.01", 5)
    assert time.monotonic() - began < 2.0
    assert stage.hub.listeners == 1
    browser.click("#play")
    stage.until(lambda: stage.hub.listeners == 0)  # a page that does not play costs no sound
    assert browser.evaluate("ambient.state") == "idle"


def test_it_shows_what_the_stream_does(stage):
    browser = stage.browser
    browser.open(stage.server.url)
    browser.wait("document.querySelector('#state').textContent === 'calm'")
    browser.wait("document.querySelectorAll('#layers li').length === 3")
    text = browser.evaluate("document.querySelector('#layers').innerText")
    assert "gusty wind through tall pines" in text and "intensity 0.40 by wind = 0.40" in text
    assert browser.evaluate("document.querySelector('#layers .meter').getAttribute('aria-valuenow')") == "-31"
    browser.wait("document.querySelector('#log').innerText.includes('rain > 0.5')")
    browser.wait("document.querySelector('#diagram svg text').textContent === 'calm'")
    stage.control.state = "storm"
    browser.wait("document.querySelector('#diagram svg text').textContent === 'storm'")
    assert browser.evaluate("document.querySelector('#states .here').textContent") == "storm"
    assert browser.evaluate("window.injected") is None  # a drawing runs no script
    # Everything that can be used has a name for those who do not see it.
    unnamed = """[...document.querySelectorAll('button, input, select, a')].filter(e => e.checkVisibility() &&
        !(e.textContent.trim() || e.ariaLabel || e.labels?.[0]?.textContent.trim())).length"""
    assert browser.evaluate(unnamed) == 0


def test_it_steers(stage):
    browser = stage.browser
    browser.open(stage.server.url)
    browser.wait("!!document.querySelector('#param-wind')")
    browser.evaluate(
        "(() => { const s = document.querySelector('#param-wind'); s.value = 0.85;"
        "s.dispatchEvent(new Event('input')); })()"
    )
    stage.until(lambda: stage.control.params["wind"] == pytest.approx(0.85))
    browser.click("#events [data-name=thunder]")
    stage.until(lambda: stage.control.fired == ["thunder"])
    browser.click("#states [data-name=rain]")
    stage.until(lambda: stage.control.state == "rain")
    stage.control.params["rain"] = 0.6
    browser.wait("document.querySelector('#param-rain').value === '0.6'")


def test_keys(stage):
    browser = stage.browser
    browser.open(stage.server.url)
    browser.wait("ambient.connected")
    browser.press(" ", "Space")
    browser.wait("ambient.state === 'playing'", 5)
    browser.press("m", "KeyM")
    assert browser.evaluate("document.querySelector('#volume').value") == "0"
    browser.press("m", "KeyM")
    assert browser.evaluate("document.querySelector('#volume').value") == "0.8"


def test_it_comes_back_after_the_server_does(stage):
    browser, port = stage.browser, stage.server.port
    play(stage)
    stage.server.stop()
    browser.wait("!ambient.connected && ambient.state === 'waiting'")
    stage.server = Server([(stage.control, stage.hub)], port=port)
    stage.server.start()
    browser.wait("ambient.connected && ambient.state === 'playing'")
    browser.wait("ambient.rms > 0.01")
    assert browser.evaluate("ambient.underruns") == 1


def test_without_a_secure_context_an_audio_element_plays(stage):
    browser = stage.browser
    script = browser.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(window, 'isSecureContext', { value: false })",
    )
    try:
        play(stage)
        browser.wait("ambient.framesPlayed > 48000", 10)
        assert browser.evaluate("ambient.codec") is None
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)


def test_it_fits_a_phone(stage):
    browser = stage.browser
    try:
        browser.screen(360, 740, dark=False, scale=2, mobile=True)
        browser.open(stage.server.url)
        browser.wait("document.querySelectorAll('#layers li').length === 3")
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
        small = "[...document.querySelectorAll('button')].filter(e => e.getBoundingClientRect().height < 36).length"
        assert browser.evaluate(small) == 0
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")
