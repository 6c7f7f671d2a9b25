"""Sounds that the recordings lack, made by rule: drops, keys, cafés, motorways, household machines, noise colours.

Each maker draws its own variation from a seeded generator. What it makes is training material only, marked as
procedural in the index and counted in the model card; nothing of it is ever played to anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from ambient.generate.bands import RATE

__all__ = ["entries", "make"]

SECONDS = 20.0
"""Length of each piece."""

Sound = NDArray[np.float64]
Rng = np.random.Generator


def _noise(rng: Rng, n: int, slope_db: float = 0.0) -> Sound:
    """Noise of unit level whose power falls by so many decibels an octave, ``(n,)``."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20.0)
    spectrum *= 10 ** (-slope_db / 20 * np.log2(hz / 1000))
    x = np.fft.irfft(spectrum, n)
    return x / x.std()


def _band(x: Sound, low: float, high: float, order: int = 2) -> Sound:
    return np.asarray(sosfilt(butter(order, [low, min(high, 23_000)], "bandpass", fs=RATE, output="sos"), x))


def _below(x: Sound, hz: float, order: int = 2) -> Sound:
    return np.asarray(sosfilt(butter(order, hz, "lowpass", fs=RATE, output="sos"), x))


def _slow(rng: Rng, n: int, period_seconds: float) -> Sound:
    """A slow random curve of unit spread."""
    knots = max(4, int(n / RATE / period_seconds) + 3)
    x = np.interp(np.linspace(0, knots - 1, n), np.arange(knots), rng.standard_normal(knots))
    return np.asarray(x)


def _room(rng: Rng, x: Sound, seconds: float, wet: float) -> Sound:
    """Puts mono or stereo sound into a diffuse room, ``(n, 2)``."""
    stereo = x if x.ndim == 2 else np.stack([x, x], 1)
    if wet <= 0:
        return stereo
    length = int(RATE * seconds * 1.2)
    t = np.arange(length) / RATE
    out = stereo.copy()
    for side in range(2):
        tail = _below(rng.standard_normal(length) * 10 ** (-3 * t / seconds), rng.uniform(3000, 8000))
        tail *= wet / np.sqrt(np.square(tail).sum())
        out[:, side] += fftconvolve(stereo[:, side], tail)[: len(stereo)]
    return out


def _times(rng: Rng, n: int, rate: float) -> Iterator[int]:
    """Frames of random moments, so many a second."""
    at = rng.exponential(1 / rate)
    while at * RATE < n:
        yield int(at * RATE)
        at += rng.exponential(1 / rate)


def _add(out: Sound, at: int, event: Sound, pan: float = 0.0) -> None:
    """Adds a mono event at a frame; ``pan`` from -1 (left) to 1."""
    m = min(len(event), len(out) - at)
    angle = (pan + 1) * np.pi / 4
    out[at : at + m, 0] += event[:m] * np.cos(angle)
    out[at : at + m, 1] += event[:m] * np.sin(angle)


def _modes(rng: Rng, hz: Any, seconds: Any, amplitudes: Any, length: float) -> Sound:
    """A struck body: decaying partials."""
    t = np.arange(int(length * RATE)) / RATE
    x = np.zeros(len(t))
    for f, decay, a in zip(hz, seconds, amplitudes, strict=True):
        if f < 20_000:
            x += a * np.sin(2 * np.pi * f * t + rng.uniform(0, 6.28)) * 10 ** (-3 * t / decay)
    return x


def _wide(rng: Rng, n: int, make_one: Callable[[], Sound], width: float) -> Sound:
    """Two channels that share some of their sound."""
    shared, left, right = make_one(), make_one(), make_one()
    return np.stack([shared + width * left, shared + width * right], 1)


# ---- what is made


def drips(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    steady = rng.random() < 0.5
    rate = rng.uniform(0.7, 5.0)
    moments = (
        np.arange(rng.uniform(0, 0.5), n / RATE, 1 / rate) * RATE * rng.uniform(0.98, 1.02)
        if steady
        else list(_times(rng, n, rate))
    )
    base = rng.uniform(500, 1600)
    for at in moments:
        if at >= n:
            break
        f0, decay = base * rng.uniform(0.8, 1.5), rng.uniform(0.02, 0.09)
        t = np.arange(int(0.2 * RATE)) / RATE
        f = f0 * (1 + rng.uniform(2, 9) * t)  # a closing bubble rises (Minnaert resonance)
        drop = np.sin(2 * np.pi * np.cumsum(f) / RATE) * np.exp(-t / decay) * np.minimum(1, t / 0.001)
        click = _band(rng.standard_normal(len(t)), 2000, 12_000) * np.exp(-t / 0.002)
        _add(out, int(at), (drop + 0.3 * click) * rng.uniform(0.3, 1), rng.uniform(-0.6, 0.6))
    out = _room(rng, out, rng.uniform(0.4, 3.0), rng.uniform(0.2, 1.2))
    return out + 0.002 * _wide(rng, n, lambda: _noise(rng, n, 4), 0.7)


def keyboard(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    at, body = rng.uniform(0, 0.5), rng.uniform(1800, 4500)

    def key(loud: float, low: float) -> Sound:
        t = np.arange(int(0.06 * RATE)) / RATE
        x = _band(rng.standard_normal(len(t)), low, low * 3) * np.exp(-t / rng.uniform(0.003, 0.01))
        knock = np.sin(2 * np.pi * rng.uniform(150, 320) * t) * np.exp(-t / 0.015)
        return loud * (x + 0.5 * knock)

    while at * RATE < n:
        for _ in range(int(rng.integers(2, 9))):
            if at * RATE >= n:
                break
            pan = rng.uniform(-0.3, 0.3)
            _add(out, int(at * RATE), key(rng.uniform(0.5, 1), body * rng.uniform(0.8, 1.25)), pan)
            up = int((at + rng.uniform(0.05, 0.1)) * RATE)
            if up < n:
                _add(out, up, key(rng.uniform(0.15, 0.35), body * 1.3), pan)
            at += rng.uniform(0.07, 0.2)
        at += rng.choice([0.12, 0.3, 1.2], p=[0.6, 0.3, 0.1]) * rng.uniform(0.7, 1.4)
    out = _room(rng, out, 0.4, rng.uniform(0.1, 0.5))
    return out + 0.003 * _wide(rng, n, lambda: _noise(rng, n, 4), 0.7)


def _voice(rng: Rng, n: int) -> Sound:
    """One talker without words: pulses through formants that change from syllable to syllable."""
    pitch = rng.choice([rng.uniform(85, 140), rng.uniform(160, 250)])
    f0 = pitch * np.exp(0.12 * _slow(rng, n, 0.4))
    phase = np.cumsum(f0) / RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)
    source = lfilter([1], [1, -0.96], pulses) + 0.02 * rng.standard_normal(n)
    out = np.zeros(n)
    at = int(rng.uniform(0, 2) * RATE)
    while at < n:
        for _ in range(int(rng.integers(3, 14))):  # a phrase of syllables, then a pause
            m = int(rng.uniform(0.11, 0.26) * RATE)
            if at + m >= n:
                break
            part = np.zeros(m)
            piece = source[at : at + m]
            if rng.random() < 0.25:
                piece = 0.25 * rng.standard_normal(m)  # a fricative
                part = _band(piece, 3000, 8000)
            else:
                for centre, gain in ((rng.uniform(280, 800), 1.0), (rng.uniform(850, 2300), 0.5), (2700, 0.2)):
                    r = np.exp(-np.pi * centre * 0.1 / RATE)
                    part += gain * lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * centre / RATE), r * r], piece)
            out[at : at + m] += part * np.hanning(m) * rng.uniform(0.5, 1)
            at += int(m * rng.uniform(0.75, 1.0))
        at += int(rng.uniform(0.2, 2.5) * RATE)
    return out / (out.std() + 1e-9)


def babble(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    for _ in range(int(rng.integers(7, 16))):
        _add(out, 0, _voice(rng, n) * rng.uniform(0.2, 1.0), rng.uniform(-0.9, 0.9))
    return _room(rng, out, rng.uniform(0.6, 1.4), rng.uniform(0.5, 1.2))


def cafe(rng: Rng, n: int) -> Sound:
    out = babble(rng, n) / 3
    dishes = np.zeros((n, 2))
    for at in _times(rng, n, rng.uniform(0.5, 2.0)):
        first = rng.uniform(1800, 5200)
        ratios = np.array([1, 1.58, 2.24, 2.92]) * rng.uniform(0.97, 1.03, 4)
        clink = _modes(rng, first * ratios, rng.uniform(0.05, 0.35, 4), [1, 0.6, 0.4, 0.3], 0.4)
        _add(dishes, at, clink * rng.uniform(0.1, 0.8), rng.uniform(-0.8, 0.8))
    if rng.random() < 0.6:  # milk being steamed
        at, m = int(rng.uniform(0, 0.7) * n), int(rng.uniform(2, 5) * RATE)
        hiss = _band(rng.standard_normal(m), 1500, 9000) * np.hanning(m) ** 0.3
        _add(dishes, at, 0.5 * hiss / hiss.std(), rng.uniform(-0.5, 0.5))
    out += 0.4 * _room(rng, dishes, 0.8, 0.4)
    return out + 0.05 * _wide(rng, n, lambda: _noise(rng, n, 6), 0.8)


def office(rng: Rng, n: int) -> Sound:
    air = _wide(rng, n, lambda: _below(_noise(rng, n, 4), 1500), 0.6)
    return keyboard(rng, n) + 0.02 * air + 0.015 * babble(rng, n)


def library(rng: Rng, n: int) -> Sound:
    out = 0.05 * _wide(rng, n, lambda: _noise(rng, n, 5), 0.7)
    for at in _times(rng, n, 0.25):  # a page is turned
        m = int(rng.uniform(0.25, 0.7) * RATE)
        grain = (rng.random(m) < 0.004) * rng.standard_normal(m) * 6 + 0.4 * rng.standard_normal(m)
        _add(out, at, 0.12 * _band(grain, 1200, 9000) * np.hanning(m), rng.uniform(-0.7, 0.7))
    return _room(rng, out, 1.5, 0.4)


def motorway(rng: Rng, n: int) -> Sound:
    far = rng.uniform(0.0, 1.0)
    out = (0.15 + 0.6 * far) * _wide(rng, n, lambda: _below(_noise(rng, n, 3), 1200 - 500 * far), 0.6)
    t = np.arange(n) / RATE
    for at in _times(rng, n, rng.uniform(0.2, 0.8)):
        speed, distance = rng.uniform(18, 36), rng.uniform(5, 15) + 40 * far
        x = speed * (t - at / RATE)
        near = distance**2 / (distance**2 + x**2)
        tyres = _band(_noise(rng, n), rng.uniform(300, 600), rng.uniform(1500, 4000)) + 0.5 * _below(
            _noise(rng, n, 3), 300
        )
        side = np.sign(rng.standard_normal()) * np.tanh(x / distance / 2)
        angle = (side + 1) * np.pi / 4
        car = rng.uniform(0.4, 1) * (1 - 0.5 * far) * near * tyres
        out += np.stack([car * np.cos(angle), car * np.sin(angle)], 1)
    return out


def vacuum_cleaner(rng: Rng, n: int) -> Sound:
    f = rng.uniform(180, 420) * np.exp(0.02 * _slow(rng, n, 1.5))
    phase = 2 * np.pi * np.cumsum(f) / RATE
    motor = sum(np.sin(k * phase + rng.uniform(0, 6.28)) / k**0.8 for k in range(1, 18))
    sweep = np.exp(0.25 * _slow(rng, n, 0.8))
    air = _wide(rng, n, lambda: _band(_noise(rng, n, 1), 150, 9000), 0.4)
    return (0.35 * np.asarray(motor)[:, None] + air) * sweep[:, None]


def clock(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    rate, pan = rng.choice([1.0, 2.0, 2.0, 4.0, 5.0]), rng.uniform(-0.3, 0.3)
    bodies = [rng.uniform(1500, 4500, 5) for _ in range(2)]
    for i, at in enumerate(np.arange(rng.uniform(0, 0.5), n / RATE, 1 / rate)):
        tick = _modes(rng, bodies[i % 2], rng.uniform(0.01, 0.06, 5), [1, 0.7, 0.6, 0.4, 0.4], 0.12)
        tick[:96] += _band(rng.standard_normal(96), 3000, 14_000)
        _add(out, int(at * RATE), tick * rng.uniform(0.9, 1) * (1 - 0.3 * (i % 2)), pan)
    out = _room(rng, out, 0.5, rng.uniform(0.1, 0.5))
    return out + 0.004 * _wide(rng, n, lambda: _noise(rng, n, 5), 0.7)


def bees(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    t = np.arange(n) / RATE
    for _ in range(int(rng.integers(4, 14))):
        f = rng.uniform(170, 270) * np.exp(0.06 * _slow(rng, n, 0.3))
        phase = np.cumsum(f) / RATE
        wing = _band(2 * (phase % 1) - 1 + 0.1 * rng.standard_normal(n), 160, 5000)
        near = np.exp(1.1 * _slow(rng, n, 1.2) - 0.5)
        _add(out, 0, wing * near, float(np.clip(rng.normal(0, 0.5), -1, 1)))
    return out * (1 + 0.1 * np.sin(2 * np.pi * 0.2 * t))[:, None] + 0.02 * _wide(rng, n, lambda: _noise(rng, n, 3), 0.8)


def purring(rng: Rng, n: int) -> Sound:
    breath = np.cumsum(1 / (RATE * rng.uniform(0.8, 1.4)) * (1 + 0.1 * _slow(rng, n, 1.0)))
    inhale = (breath % 1) < 0.48
    f = np.where(inhale, 26.0, 23.5) * rng.uniform(0.9, 1.1)
    beat = np.cumsum(f) / RATE % 1
    pulse = np.exp(-beat * 7)
    throat = _band(_noise(rng, n, 3), 60, rng.uniform(500, 1500)) + 0.3 * _band(_noise(rng, n, 2), 1000, 4000)
    level = np.where(inhale, 0.7, 1.0) * np.minimum(1, 12 * np.abs(((breath * 2) % 1) - 0.5) * 2 + 0.1).clip(0, 1)
    return _room(rng, throat * pulse * _below(level, 20, 1), 0.3, 0.15)


def bells(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    ratios = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0])  # hum, prime, tierce, quint, nominal, …
    decays = np.array([9.0, 5.0, 4.0, 2.5, 3.0, 1.6, 1.5, 1.2, 0.8])
    loud = np.array([0.5, 0.6, 0.7, 0.3, 1.0, 0.4, 0.4, 0.4, 0.3])
    tuned = rng.uniform(260, 520) * np.array([1, 9 / 8, 5 / 4, 4 / 3, 3 / 2, 5 / 3])
    choice = tuned[: int(rng.integers(1, 7))]
    at, pace = rng.uniform(0, 1), rng.uniform(0.35, 2.5)
    while at * RATE < n:
        prime = float(rng.choice(choice))
        bell = _modes(rng, prime * ratios, decays * rng.uniform(0.7, 1.2), loud, 7.0)
        bell[:400] += 0.6 * _band(rng.standard_normal(400), 2000, 9000)
        _add(out, int(at * RATE), bell * rng.uniform(0.6, 1), rng.uniform(-0.4, 0.4))
        at += pace * rng.uniform(0.9, 1.1)
    return _room(rng, out, 2.5, rng.uniform(0.2, 0.8))


def chimes(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    tubes = rng.uniform(600, 1100) * np.array([1, 9 / 8, 5 / 4, 3 / 2, 5 / 3, 2])
    gust = np.exp(1.2 * _slow(rng, n, 2.5))
    for at in _times(rng, n, 6.0):
        if rng.random() < gust[at] / 4:
            f = float(rng.choice(tubes))
            tube = _modes(rng, f * np.array([1, 2.76, 5.4, 8.93]), [2.5, 1.2, 0.5, 0.2], [1, 0.6, 0.35, 0.2], 3.0)
            _add(out, at, tube * rng.uniform(0.1, 0.7), rng.uniform(-0.7, 0.7))
    return _room(rng, out, 0.6, 0.1) + 0.02 * _wide(rng, n, lambda: _noise(rng, n, 4), 0.8)


def _machine(
    rng: Rng,
    n: int,
    hum: float,
    air: float,
    cutoff: tuple[float, float],
    turn: float | None = None,
    depth: float = 0.1,
) -> Sound:
    """Mains hum and its harmonics, moved air, and something that goes round."""
    t = np.arange(n) / RATE
    base = float(rng.choice([50.0, 60.0, rng.uniform(40, 140)]))
    tones = sum(
        np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6.28)) / k ** rng.uniform(0.7, 1.5) for k in range(1, 9)
    )
    out = hum * np.asarray(tones)[:, None] + air * _wide(
        rng, n, lambda: _below(_noise(rng, n, rng.uniform(1, 5)), rng.uniform(*cutoff)), rng.uniform(0.3, 0.8)
    )
    if turn is not None:
        out *= (1 + depth * np.sin(2 * np.pi * turn * rng.uniform(0.8, 1.2) * t + 0.5 * _slow(rng, n, 1.0)))[:, None]
    return np.asarray(out)


def washing_machine(rng: Rng, n: int) -> Sound:
    out = _machine(rng, n, 0.3, 0.5, (500, 2000), turn=rng.uniform(0.5, 1.5), depth=0.4)
    for at in _times(rng, n, 1.5):  # wet cloth falls
        m = int(0.25 * RATE)
        slap = _below(rng.standard_normal(m), 700) * np.exp(-np.arange(m) / 2500)
        _add(out, at, 0.8 * slap, rng.uniform(-0.4, 0.4))
    return out


def static(rng: Rng, n: int) -> Sound:
    out = _wide(rng, n, lambda: _band(_noise(rng, n), 200, rng.uniform(6000, 20_000)), rng.uniform(0, 1))
    if rng.random() < 0.5:
        whistle = np.sin(2 * np.pi * np.cumsum(rng.uniform(700, 3000) * np.exp(0.2 * _slow(rng, n, 2))) / RATE)
        out += 0.2 * whistle[:, None]
        for at in _times(rng, n, 3.0):
            _add(out, at, 4 * rng.standard_normal(60), rng.uniform(-1, 1))
    return out


def _colour(slope_db: float) -> Callable[[Rng, int], Sound]:
    def noise(rng: Rng, n: int) -> Sound:
        return _wide(rng, n, lambda: _noise(rng, n, slope_db + rng.uniform(-0.3, 0.3)), rng.uniform(0.0, 1.5))

    return noise


MAKERS: dict[str, tuple[str, Callable[[Rng, int], Sound], float]] = {
    "drips": ("drips", drips, 4.0),
    "keyboard": ("keyboard", keyboard, 3.0),
    "office": ("office", office, 2.0),
    "library": ("library", library, 1.5),
    "cafe": ("restaurant", cafe, 4.0),
    "babble": ("crowd", babble, 2.0),
    "motorway": ("traffic", motorway, 4.0),
    "vacuum": ("vacuum cleaner", vacuum_cleaner, 1.5),
    "clock": ("clock", clock, 2.0),
    "bees": ("bees", bees, 2.0),
    "purring": ("cat purring", purring, 1.5),
    "bells": ("church bells", bells, 2.0),
    "chimes": ("wind chimes", chimes, 1.5),
    "fan": ("fan", lambda rng, n: _machine(rng, n, 0.1, 1.0, (1500, 8000), turn=rng.uniform(3, 12)), 1.5),
    "air conditioner": ("air conditioner", lambda rng, n: _machine(rng, n, 0.2, 1.0, (800, 4000)), 1.5),
    "refrigerator": ("refrigerator", lambda rng, n: _machine(rng, n, 1.0, 0.25, (300, 1500)), 1.5),
    "washing machine": ("washing machine", washing_machine, 1.5),
    "airplane cabin": ("airplane cabin", lambda rng, n: _machine(rng, n, 0.15, 1.2, (600, 2500)), 1.5),
    "static": ("white noise", static, 1.5),
    "pink": ("pink noise", _colour(3.01), 1.0),
    "brown": ("brown noise", _colour(6.02), 1.0),
    "white": ("white noise", _colour(0.0), 1.0),
}
"""Name → label, maker, minutes at a share of 1."""


def entries(share: float) -> Iterator[tuple[str, str]]:
    """File names, as it were, and labels of ``share`` of the material: ``procedural/NAME-INDEX``."""
    for name, (label, _, minutes) in MAKERS.items():
        for index in range(round(share * minutes * 60 / SECONDS)):
            yield f"procedural/{name}-{index}", label


def make(file: str) -> NDArray[np.float32]:
    """The sound of a name that :func:`entries` gave, float32 ``(frames, 2)`` at RATE; the same every time."""
    name, _, index = file.removeprefix("procedural/").rpartition("-")
    seed, seconds = [int(index), *name.encode()], SECONDS
    x = MAKERS[name][1](np.random.default_rng(seed), int(seconds * RATE))
    return (x / (np.abs(x).max() + 1e-9) * 0.5).astype(np.float32)
