"""Headless browsers, as far as the tests of the page need them: Chromium by its DevTools, Firefox by WebDriver BiDi."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
)


MIDDLE = """(() => {
    const element = document.querySelector(%s);
    element.scrollIntoView({block: "center"});
    const box = element.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    return element.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
})()"""
"""Where to click on an element, if it can be reached there."""


class Waiting:
    """What pages of all browsers have in common."""

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        raise NotImplementedError

    def wait(self, script: str, seconds: float = 15.0) -> Any:
        """Waits for an expression to become true, and returns it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(RuntimeError):
                if value := self.evaluate(script):
                    return value
            time.sleep(0.05)
        raise AssertionError(f"never came true: {script}; facts: {self.evaluate('JSON.stringify(window.ambient)')}")

    def middle(self, selector: str) -> tuple[float, float]:
        """Where to click on an element, as soon as it stands still: a page that is still being laid out moves it."""
        where = self.wait(MIDDLE % json.dumps(selector))
        while where != (where := self.wait(MIDDLE % json.dumps(selector))):
            time.sleep(0.05)
        return where[0], where[1]


class Browser(Waiting):
    """One page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.errors: list[str] = []
        """What the page's console complained of, and requests to other places."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """One command, and its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=30))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def open(self, url: str) -> None:
        """Goes to a page."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def click(self, selector: str) -> None:
        """Clicks with the mouse, which counts as a gesture."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: str) -> None:
        """Presses a key."""
        number = {"Enter": 13, "Tab": 9}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            typed = {"text": "\r"} if (key, kind) == ("Enter", "keyDown") else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code, windowsVirtualKeyCode=number, **typed)

    def screen(self, width: int, height: int, dark: bool, scale: float = 1.0, mobile: bool = False) -> None:
        """Size and theme of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        theme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def screenshot(self, path: pathlib.Path, whole: bool = False) -> None:
        """The page as a picture."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif event.get("method") == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:")):
                self.errors.append(f"request to {url}")


@contextlib.contextmanager
def chromium(*more_flags: str) -> Iterator[Browser]:
    """A fresh browser with an empty profile."""
    profile = tempfile.mkdtemp(prefix="ambient-browser-")
    process = subprocess.Popen(
        ["chromium", *FLAGS, *more_flags, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = pathlib.Path(profile, "DevToolsActivePort")
        _until(lambda: port_file.exists() and "\n" in port_file.read_text(), process)
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [t for t in json.load(answer) if t["type"] == "page"]
        with connect(
            pages[0]["webSocketDebuggerUrl"], max_size=None, compression=None, ping_interval=None
        ) as connection:
            yield Browser(connection)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        shutil.rmtree(profile, ignore_errors=True)


class Firefox(Waiting):
    """A page of Firefox: WebDriver BiDi (W3C), which it speaks without a driver."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.call("session.new", capabilities={})
        self._context = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **params: Any) -> Any:
        """One command, and its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (answer := json.loads(self._connection.recv(timeout=30))).get("id") != self._number:
            pass
        if answer["type"] == "error":
            raise RuntimeError(f"{method}: {answer['message']}")
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        found = self.call(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({script})) ?? null))()",
            awaitPromise=True,
            target={"context": self._context},
        )
        if found["type"] == "exception":
            raise RuntimeError(f"{script}: {found['exceptionDetails']['text']}")
        return json.loads(found["result"]["value"])

    def open(self, url: str) -> None:
        """Goes to a page."""
        self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def click(self, selector: str) -> None:
        """Clicks with the mouse, which counts as a gesture."""
        x, y = self.middle(selector)
        moves = [{"type": "pointerMove", "x": int(x), "y": int(y)}]
        moves += [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        mouse = {"type": "pointer", "id": "mouse", "actions": moves}
        self.call("input.performActions", context=self._context, actions=[mouse])


@contextlib.contextmanager
def firefox() -> Iterator[Firefox]:
    """A fresh browser with an empty profile, and a sound card that is none: without one it does not begin to play."""
    with tempfile.TemporaryDirectory(prefix="ambient-browser-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        sound, log = folder / "sound", folder / "log"
        environment = os.environ | {"PULSE_SERVER": f"unix:{sound}", "XDG_RUNTIME_DIR": name, "HOME": name}
        modules = ("module-null-sink", f"module-native-protocol-unix auth-anonymous=1 socket={sound}")
        card = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", *(f"--load={module}" for module in modules)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with log.open("w") as out, _ended(card):
            _until(sound.exists, card)
            program = shutil.which("firefox-esr") or "firefox"
            command = [program, "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", name]
            process = subprocess.Popen([*command, "about:blank"], env=environment, stdout=out, stderr=out)
            with _ended(process):
                said = "WebDriver BiDi listening on "
                _until(lambda: said in log.read_text(), process)
                address = log.read_text().partition(said)[2].split()[0]
                with connect(f"{address}/session", max_size=None, compression=None, ping_interval=None) as connection:
                    yield Firefox(connection)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A process that is over afterwards."""
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


def _until(true: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, f"the browser ended with {process.returncode}"
        assert time.monotonic() < until, "the browser does not come up"
        time.sleep(0.05)
