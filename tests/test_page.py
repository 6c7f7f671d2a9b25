"""The listening page in a real browser, playing a real stream."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time

import numpy as np
import pytest
from browser import Browser, chromium

from ambient.messages import BLOCK_FRAMES, RATE, Block, SceneEvent
from ambient.server import Server, Tokens
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


def play(stage: Stage, query: str = "", url: str | None = None) -> None:
    stage.browser.open((url or stage.server.url) + query)
    stage.browser.wait("ambient.connected")
    stage.browser.click("#play")
    stage.browser.wait("ambient.state === 'playing'", 5)


@pytest.mark.parametrize(("codec", "seconds"), [("s16le", 60), ("opus", 4)])
def test_it_plays_in_real_time_without_gaps(stage, codec, seconds):
    play(stage, f"?codec={codec}")
    browser = stage.browser
    assert browser.evaluate("ambient.codec") == codec
    browser.wait("ambient.framesPlayed > 24000")
    look = "new Promise(r => { const f = ambient.framesPlayed; const i = setInterval(() => {"
    look += (
        "if (ambient.framesPlayed !== f) { clearInterval(i); r([ambient.framesPlayed, performance.now()]); } }, 1) })"
    )
    frames, at = browser.evaluate(look)
    time.sleep(seconds)
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


def test_who_is_quicker_than_the_page_is_heard_too(stage):
    browser = stage.browser
    script = browser.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="const get = fetch; fetch = async (...what) => {"
        " await new Promise(done => setTimeout(done, 1000)); return get(...what); }",
    )
    try:
        browser.open(stage.server.url)
        browser.wait("!!window.ambient")
        browser.click("#play")
        assert browser.evaluate("ambient.state") == "waiting"
        browser.wait("ambient.rms > 0.01", 10)
        browser.click("#play")
        browser.wait("ambient.state === 'idle'")
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)


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
    back = "document.querySelector('#param-{}').parentElement.querySelector('button')"
    browser.wait(f"!{back.format('wind')}.hidden && {back.format('rain')}.hidden")  # what was set can be given back
    browser.evaluate(back.format("wind") + ".click()")
    browser.wait(f"{back.format('wind')}.hidden && document.querySelector('#param-wind').value === '0.4'")
    assert stage.control.params["wind"] == 0.4
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


@pytest.mark.parametrize("blocked", [[], ["*.mp3*"]])
def test_without_a_secure_context_an_audio_element_plays_whole_or_in_segments(stage, blocked):
    browser = stage.browser
    browser.call("Network.setBlockedURLs", urls=blocked)
    script = browser.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(window, 'isSecureContext', { value: false })",
    )
    try:
        play(stage)
        browser.wait("ambient.framesPlayed > 48000", 20)
        assert browser.evaluate("ambient.codec") is None
    finally:
        browser.call("Network.setBlockedURLs", urls=[])
        browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)


def test_it_fits_a_phone(stage):
    browser = stage.browser
    try:
        browser.screen(360, 740, dark=False, scale=2, mobile=True)
        browser.open(stage.server.url)
        browser.wait("document.querySelectorAll('#layers li').length === 3")
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
        small = """[...document.querySelectorAll('button, input, select')].filter(e => e.checkVisibility() &&
            e.getBoundingClientRect().height < 44).map(e => e.id || e.textContent)"""
        assert browser.evaluate(small) == []
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("width", [1280, 360])
def test_the_focus_goes_the_way_of_the_eyes(stage, width):
    browser = stage.browser
    try:
        browser.screen(width, 740, dark=True)
        browser.open(stage.server.url)
        browser.wait("document.querySelectorAll('#states button').length === 3")
        order = """[...document.querySelectorAll('button, input, select')].filter(e => e.checkVisibility()).map(e => {
            const r = e.getBoundingClientRect(); return [e.id || e.textContent, r.left, r.top, r.right, r.bottom]; })"""
        for (name, _, _, right, bottom), (after, left, top, _, _) in itertools.pairwise(browser.evaluate(order)):
            assert top >= bottom or left >= right, f"{after} is neither below nor to the right of {name}"
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


CONTRAST = """(() => {
    const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = (ink) => ink.slice(0, 3).reduce((sum, v, i) => sum + linear(v / 255) * [.2126, .7152, .0722][i], 0);
    const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const shown = (e) => e ? getComputedStyle(e).opacity * shown(e.parentElement) : 1;
    const ground = (e) => { for (; e; e = e.parentElement) {
        const colour = rgb(getComputedStyle(e).backgroundColor);
        if (colour[3] !== 0) return colour; } };
    return [...document.querySelectorAll('.card *, footer *, .bar *')].filter(e => e.checkVisibility() && !e.disabled &&
        shown(e) > 0 && !e.closest('svg') && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
        const back = ground(e), ink = rgb(getComputedStyle(e).color), part = shown(e);
        const [a, b] = [light(back), light(ink.slice(0, 3).map((v, i) => part * v + (1 - part) * back[i]))];
        return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.className || e.tagName, e.textContent.trim()];
    }).filter(([ratio]) => ratio < 4.5); })()"""


@pytest.mark.parametrize("dark", [True, False])
def test_what_is_written_can_be_read(stage, dark):
    """WCAG 2.2, success criterion 1.4.3: a contrast of at least 4.5 to 1."""
    browser = stage.browser
    try:
        browser.screen(1280, 900, dark=dark)
        browser.open(stage.server.url)
        browser.wait("document.querySelectorAll('#layers .quiet').length > 0")
        browser.evaluate(
            "Promise.all(document.getAnimations().map(a => a.finish && a.effect.getComputedTiming().endTime "
            "!== Infinity && a.finish()))"
        )
        assert browser.evaluate(CONTRAST) == []
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_a_sound_in_words_of_ones_own(stage, monkeypatch):
    browser, status, asked = stage.browser, stage.control.status, "“a door far away” 1"

    def told():
        document = status()
        if stage.control.asked and not heard:
            document["layers"].append({**document["layers"][0], "name": asked, "prompt": "a door far away"})
        return document

    heard: list[str] = []
    monkeypatch.setattr(stage.control, "status", told)
    browser.open(stage.server.url)
    browser.wait("ambient.connected")
    browser.evaluate("document.querySelector('#ask-place').value = 'far'")
    browser.evaluate("document.querySelector('#ask-text').focus()")
    browser.call("Input.insertText", text="a door far away")
    browser.press("Enter", "Enter")
    stage.until(lambda: stage.control.asked == [("a door far away", 300.0, None)])
    assert "being made" in browser.evaluate("document.querySelector('#ask-answer').textContent")
    browser.wait("document.querySelector('#layers').textContent.includes('“a door far away”')")
    heard.append("not at all")  # the layer is over, and no sound of it came
    browser.wait("document.querySelector('#log').innerText.includes('could not be made')")
    assert browser.evaluate("document.querySelector('#ask-answer').textContent") == ""


def test_who_may_not_steer_sees_so(stage):
    server = Server([(stage.control, stage.hub)], port=0, tokens=Tokens(control=frozenset(["steer-steer"])))
    server.start()
    try:
        stage.browser.open(server.url)
        stage.browser.wait("!document.querySelector('#listens-only').hidden")
        usable = "document.querySelectorAll('#params input:enabled, .chips button:enabled, #ask :enabled').length"
        assert stage.browser.evaluate(usable) == 0
        stage.browser.click("#play")
        stage.browser.wait("ambient.state === 'playing'")
    finally:
        stage.browser.call("Page.navigate", url="about:blank")
        server.stop()


class Wire:
    """A network between the browser and the server: slow, or standing still."""

    def __init__(self, port: int) -> None:
        self.bytes_per_second = 1e9
        self.still = False
        self._to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}/"
        threading.Thread(target=self._admit, daemon=True).start()

    def _admit(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for end in (near, far):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
                threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, source: socket.socket, goal: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                while slow and self.still:
                    time.sleep(0.01)
                if slow:
                    time.sleep(len(data) / self.bytes_per_second)
                goal.sendall(data)
        for end in (source, goal):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._door.close()


@pytest.fixture
def wire(stage):
    wire = Wire(stage.server.port)
    yield wire
    wire.close()


def test_a_network_that_stands_still_now_and_then_is_learned(stage, wire):
    """Each pause is longer than the buffer at first; the buffer grows until they are not heard any more."""
    play(stage, "?codec=s16le", wire.url)
    browser = stage.browser

    def pause() -> int:
        before = browser.evaluate("ambient.underruns")
        wire.still = True
        time.sleep(1.2)
        wire.still = False
        browser.wait("ambient.state === 'playing'")
        time.sleep(2.0)
        return browser.evaluate("ambient.underruns") - before

    heard = [pause() for _ in range(6)]
    assert heard[0] == 1 and heard[-2:] == [0, 0]
    facts = browser.evaluate("ambient")
    assert (facts["reconnects"], facts["gaps"]) == (0, 0)  # late is not lost


def test_a_network_too_slow_for_the_sound_is_survived(stage, wire):
    play(stage, "?codec=s16le", wire.url)
    browser = stage.browser
    wire.bytes_per_second = 120_000  # PCM needs 192,000
    browser.wait("ambient.gaps > 0 && ambient.underruns > 0", 30)  # whole frames are left out, oldest first
    wire.bytes_per_second = 1e9
    time.sleep(3)
    browser.wait("ambient.state === 'playing'")
    frames, underruns = browser.evaluate("[ambient.framesPlayed, ambient.underruns]")
    time.sleep(4)
    later, then = browser.evaluate("[ambient.framesPlayed, ambient.underruns]")
    assert later - frames > 3 * RATE and then == underruns
    assert browser.evaluate("ambient.reconnects") == 0 and browser.errors == []


def test_mistakes_of_the_scene_file_are_told_until_they_are_gone(stage, monkeypatch):
    browser, problems = stage.browser, ["forest.yaml:3:1: error: no state is called <b>nigth</b>"]
    status = stage.control.status
    monkeypatch.setattr(stage.control, "status", lambda: {**status(), "scene_problems": list(problems)})
    browser.open(stage.server.url)
    browser.wait("!document.querySelector('#problems-card').hidden")
    assert browser.evaluate("document.querySelector('#problems').innerText") == problems[0]  # and no markup
    problems.clear()
    browser.wait("document.querySelector('#problems-card').hidden")


def test_a_layer_says_what_it_is_and_what_is_still_heard(stage, monkeypatch):
    browser, status = stage.browser, stage.control.status

    def told():
        document = status()
        document["layers"][0] |= {"kind": "bed", "family": "geo", "role": "keynote", "heard": "a light breeze"}
        return document

    monkeypatch.setattr(stage.control, "status", told)
    browser.open(stage.server.url)
    row = "document.querySelector('#layers [data-name=wind]')"
    browser.wait(f"{row}?.innerText.includes('continuous · earth and weather · keynote')")
    assert "gusty wind through tall pines (coming; still heard: a light breeze)" in browser.evaluate(f"{row}.innerText")


def test_what_all_layers_have_in_common_is_said_once(stage, monkeypatch):
    browser, status = stage.browser, stage.control.status

    def told():
        document = status()
        wind, birds, rain = document["layers"]
        heard = "0.40 a breeze, in a wood, at night + 0.60 gusts, in a wood, at night"
        now = "0.35 a breeze, in a wood, at night + 0.65 gusts, in a wood, at night"
        wind |= {"kind": "bed", "prompt": now, "heard": heard, "level_db": -20.0, "muted": False}
        birds |= {"kind": "bed", "prompt": "owls, in a wood, at night", "muted": False}
        rain |= {"kind": "bed", "prompt": "rain on leaves, in a wood", "muted": True}  # ready for another state
        return document

    monkeypatch.setattr(stage.control, "status", told)
    browser.open(stage.server.url)
    browser.wait("document.querySelector('#note').textContent === 'in a wood · at night'")
    texts = "[...document.querySelectorAll('#layers .prompt')].map(e => e.textContent)"
    assert browser.evaluate(texts) == ["a breeze 35 % · gusts 65 %", "owls", "rain on leaves"]


def test_another_scene_in_the_file_brings_its_own_controls(stage, monkeypatch):
    browser, describe = stage.browser, stage.control.describe
    browser.open(stage.server.url)
    browser.wait("ambient.connected && document.querySelectorAll('#events button').length === 2")
    monkeypatch.setattr(stage.control, "describe", lambda: {**describe(), "events": ["owl", "wolf", "thunder"]})
    stage.hub.write(Block(10**9, np.zeros((BLOCK_FRAMES, 2), np.float32), (SceneEvent("reload", "forest", 10**9),)))
    browser.wait("document.querySelectorAll('#events button').length === 3")


def test_the_sleep_timer_fades_and_pauses(stage):
    browser = stage.browser
    play(stage)
    browser.evaluate(
        "(() => { const s = document.querySelector('#sleep'); s.add(new Option('soon', 0.08));"
        "s.value = 0.08; s.dispatchEvent(new Event('change')); })()"
    )
    assert browser.evaluate("document.querySelector('#sleep-left').textContent") == "5 s"
    browser.wait("ambient.state === 'idle'", 15)
    stage.until(lambda: stage.hub.listeners == 0)
    assert browser.evaluate("document.querySelector('#sleep').value") == "0"
    browser.click("#play")
    browser.wait("ambient.state === 'playing'")
    assert browser.errors == []
