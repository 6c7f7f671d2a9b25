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

__all__ = ["FIRST", "entries", "make"]

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
    """A tap, a grotto, eaves: of each drop a faint impact and the bubbles that it leaves, which ring for a few periods
    only (Phillips et al., "The sound produced by a dripping tap", Scientific Reports 8, 2018)."""
    out = np.zeros((n, 2))
    steady = rng.random() < 0.5
    rate = rng.uniform(0.7, 5.0)
    moments = (
        np.arange(rng.uniform(0, 0.5), n / RATE, 1 / rate) * RATE * rng.uniform(0.98, 1.02)
        if steady
        else list(_times(rng, n, rate))
    )
    base = 10 ** rng.uniform(2.8, 3.6)  # from a bucket to a thin film of water
    for at in moments:
        if at >= n:
            break
        loud, pan = rng.uniform(0.3, 1), rng.uniform(-0.6, 0.6)
        t = np.arange(int(0.003 * RATE)) / RATE
        _add(out, int(at), 0.3 * loud * _band(rng.standard_normal(len(t)), 1500, 12_000) * np.exp(-t / 0.0006), pan)
        late = rng.uniform(0.004, 0.02)
        for _ in range(int(rng.integers(1, 4))):
            if at + late * RATE < n:
                _add(out, int(at + late * RATE), loud * _bubble(rng, base * rng.uniform(0.7, 1.6)), pan)
            late, loud = late + rng.uniform(0.01, 0.05), loud * rng.uniform(0.2, 0.7)
    out = _room(rng, out, rng.uniform(0.4, 3.0), rng.uniform(0.2, 1.2))
    if rng.random() < 0.7:  # it also trickles
        thin = np.zeros((n, 2))
        for at in _times(rng, n, rng.uniform(60, 250)):
            _add(thin, at, rng.exponential(1.0) * _bubble(rng, base * 10 ** rng.uniform(-0.2, 0.5)), rng.uniform(-1, 1))
        out += rng.uniform(0.2, 0.6) * out.std() * thin / thin.std()
    return out + 0.002 * _wide(rng, n, lambda: _noise(rng, n, 4), 0.7)


def _bubble(rng: Rng, hz: float) -> Sound:
    """A bubble below the surface rings and, as it rises to it, a little higher (Minnaert resonance)."""
    decay = rng.uniform(8, 30) / (np.pi * hz)
    t = np.arange(int(min(0.15, 7 * decay) * RATE)) / RATE
    f = hz * (1 + 0.1 * rng.random() * t / decay)
    return np.asarray(np.sin(2 * np.pi * np.cumsum(f) / RATE) * np.exp(-t / decay))


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
    """One talker without words: pulses through formants that glide from syllable to syllable."""
    pitch = rng.choice([rng.uniform(90, 140), rng.uniform(160, 240)])
    f0 = pitch * np.exp(0.12 * _slow(rng, n, 0.4))
    pulses = np.diff(np.floor(np.cumsum(f0) / RATE), prepend=0.0)
    source = lfilter([1, -0.98], [1, -0.7], pulses) + 0.01 * rng.standard_normal(n)
    tract = rng.uniform(0.9, 1.15)
    vowels = np.array([[730, 1090], [270, 2290], [300, 870], [530, 1840], [660, 1720], [570, 840], [490, 1350]])
    out, at = np.zeros(n), int(rng.uniform(0, 1.5) * RATE)
    while at < n:
        for _ in range(int(rng.integers(4, 16))):  # a phrase of syllables, then a pause
            m = int(rng.uniform(0.12, 0.24) * RATE)
            if at + m >= n:
                break
            if rng.random() < 0.12:
                part = 0.05 * _band(rng.standard_normal(m), 2500, 7500)  # a fricative
            else:
                part = np.zeros(m)
                first, second = tract * vowels[int(rng.integers(7))]
                for centre, wide, gain in ((first, 90, 1.0), (second, 110, 0.7), (tract * 2600, 160, 0.3)):
                    r = np.exp(-np.pi * wide / RATE)
                    turn = 2 * r * np.cos(2 * np.pi * centre / RATE)
                    part += gain * lfilter([(1 - r) * 4], [1, -turn, r * r], source[at : at + m])
            out[at : at + m] += part * np.hanning(m) ** 0.6 * rng.uniform(0.5, 1)
            at += int(m * rng.uniform(0.7, 0.95))
        at += int(rng.uniform(0.2, 1.5) * RATE)
    return out / (out.std() + 1e-9)


def babble(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    for _ in range(int(rng.integers(10, 22))):
        _add(out, 0, _voice(rng, n) * 10 ** rng.uniform(-0.8, 0), rng.uniform(-0.6, 0.6))
    out = _room(rng, out, rng.uniform(0.5, 1.2), rng.uniform(0.3, 0.8))
    return out + 0.1 * out.std() * _wide(rng, n, lambda: _noise(rng, n, 4), 0.7)


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
    far = rng.uniform(0.3, 1.0)
    out = (0.1 + 0.2 * far) * _wide(rng, n, lambda: _below(_noise(rng, n, 4), 900 - 500 * far, 1), 0.4)
    t = np.arange(n) / RATE
    for at in _times(rng, n, rng.uniform(0.4, 1.2)):
        lorry = rng.random() < 0.25
        speed, distance = (rng.uniform(20, 26) if lorry else rng.uniform(20, 38)), rng.uniform(4, 12) + 30 * far
        x = speed * (t - at / RATE)
        away = np.sqrt(distance**2 + x**2)
        heard = 1 - speed * x / away / 343  # Doppler
        near = (distance / away) ** 1.5
        tyres = _band(_noise(rng, n, 4), rng.uniform(250, 500), rng.uniform(900, 1600), 1)
        tyres = np.interp(np.cumsum(heard) % (n - 1), np.arange(n), tyres)
        fires = rng.uniform(35, 60) if lorry else rng.uniform(60, 110)
        phase = 2 * np.pi * np.cumsum(fires * heard) / RATE
        engine = sum(np.sin(k * phase + rng.uniform(0, 6.28)) / k for k in range(1, 12))
        rumble = _below(_noise(rng, n, 4), 200)
        car = near * (tyres + (0.8 if lorry else 0.3) * engine + (1.5 if lorry else 1.0) * rumble)
        angle = (rng.choice([-1, 1]) * 0.8 * np.tanh(x / distance / 2) + 1) * np.pi / 4
        out += rng.uniform(0.5, 1) * car[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return out


def vacuum_cleaner(rng: Rng, n: int) -> Sound:
    """A motor of 15,000 to 27,000 turns a minute, the blades of its fan, the brush, and the air."""
    turns = rng.uniform(250, 450) * np.exp(0.006 * _slow(rng, n, 2.0))
    phase = 2 * np.pi * np.cumsum(turns) / RATE
    blades, uneven = int(rng.integers(7, 10)), np.exp(rng.normal(0, 0.8, 24))
    motor = np.zeros(n)
    for k in range(1, 25):
        strength = 3.0 if k % blades == 0 else 1.0
        motor += strength * uneven[k - 1] / k**0.9 * np.sin(k * phase + rng.uniform(0, 6.28))
    belt = 2 * np.pi * np.cumsum(turns / rng.uniform(4, 7)) / RATE
    brush = sum(np.sin(k * belt + rng.uniform(0, 6.28)) / k for k in range(1, 8))
    sweep = np.exp(0.12 * _slow(rng, n, 0.8))
    air = _wide(rng, n, lambda: _band(_noise(rng, n, 3), 150, rng.uniform(4000, 9000), 1), 0.4) * sweep[:, None]
    drawn = rng.uniform(0.6, 1.4) * motor / motor.std() + rng.uniform(0.1, 0.5) * np.asarray(brush)
    return _room(rng, air / air.std() + drawn[:, None], 0.4, 0.3)


def bees(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    for i in range(int(rng.integers(6, 24))):
        f = rng.uniform(190, 270) * np.exp(0.03 * _slow(rng, n, 0.3) + 0.05 * _slow(rng, n, 2.0))
        phase = np.cumsum(f) / RATE
        wing = _band(2 * (phase % 1) - 1 + 0.1 * rng.standard_normal(n), 160, 5000, 1)
        near = np.exp((0.8 if i < 2 else 0.3) * _slow(rng, n, 1.2) - 0.5)  # most swarm, a few come by
        _add(out, 0, wing * near, float(np.clip(rng.normal(0, 0.5), -1, 1)))
    return out + 0.02 * _wide(rng, n, lambda: _noise(rng, n, 3), 0.8)


def bells(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    # hum, prime, tierce, quint, nominal, superquint, octave nominal and the rim's partials above
    ratios = np.array([0.5, 1, 1.19, 1.5, 2, 2.51, 2.66, 3.01, 4.17, 5.43, 6.8, 8.2, 9.7, 11.2, 13.0])
    decays = np.array([12, 6, 5, 2.5, 4, 1.8, 1.8, 2.2, 1.6, 1.2, 0.9, 0.7, 0.5, 0.4, 0.3])
    loud = np.array([0.5, 0.6, 0.8, 0.4, 1.0, 0.5, 0.5, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25])
    tenor = rng.uniform(180, 420)
    tuned = tenor * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12) * np.exp(rng.normal(0, 0.006, 8))
    peal = rng.random() < 0.6
    tower = list(tuned[: int(rng.integers(4, 9))][::-1]) if peal else list(tuned[: int(rng.integers(1, 3))])
    split = [np.exp(rng.normal(0, 0.0015, (2, len(ratios)))) for _ in tower]  # no bell is quite round: it beats
    places = rng.uniform(-0.4, 0.4, len(tower))
    at, pace = rng.uniform(0, 0.5), rng.uniform(0.2, 0.4) if peal else rng.uniform(1.0, 2.5)
    while at * RATE < n:
        for which in range(len(tower)):  # in rounds
            if at * RATE >= n:
                break
            force = rng.uniform(0.6, 1)
            shape = loud * force ** (np.arange(len(ratios)) / 8) * rng.uniform(0.7, 1.3, len(ratios))
            bell = sum(
                _modes(rng, tower[which] * ratios * s, decays, shape / 2, 8.0 if not peal else 5.0)
                for s in split[which]
            )
            bell = np.asarray(bell)
            bell[:300] += 0.8 * _band(rng.standard_normal(300), 1500, 9000, 1) * np.exp(-np.arange(300) / 60)
            _add(out, int(at * RATE), bell * force, places[which])
            at += pace * rng.uniform(0.93, 1.07)
        at += pace * rng.uniform(0.0, 1.0)
        if rng.random() < 0.3:  # a change: two neighbours swap
            k = int(rng.integers(max(1, len(tower) - 1)))
            tower[k : k + 2], split[k : k + 2] = tower[k : k + 2][::-1], split[k : k + 2][::-1]
    out = _room(rng, out, rng.uniform(1.5, 3.5), rng.uniform(0.1, 0.5))
    air = _wide(rng, n, lambda: _noise(rng, n, 5), 0.7)
    return out + rng.uniform(0.003, 0.03) * out.std() * air


def chimes(rng: Rng, n: int) -> Sound:
    out = np.zeros((n, 2))
    tubes = rng.uniform(600, 2200) * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12) * np.exp(rng.normal(0, 0.01, 6))
    ring = rng.uniform(0.5, 1.2)
    gust = np.exp(1.2 * _slow(rng, n, 2.5))
    for at in _times(rng, n, 7.0):
        if rng.random() < gust[at] / 4:
            f = float(rng.choice(tubes))
            decays = [3 * ring, 1.4 * ring, 0.5, 0.2]
            tube = _modes(rng, f * np.array([1, 2.76, 5.4, 8.93]), decays, [1, 0.8, 0.4, 0.2], 3)
            tube[:100] += 0.3 * _band(rng.standard_normal(100), 3000, 12_000, 1)
            _add(out, at, tube * rng.uniform(0.1, 0.7), rng.uniform(-0.5, 0.5))
    return _room(rng, out, 0.6, 0.1) + 0.01 * _wide(rng, n, lambda: _noise(rng, n, 4), 0.8)


def grasshoppers(rng: Rng, n: int) -> Sound:
    """A meadow: grasshoppers and bush-crickets near and far, field crickets, flies, and the air above it."""
    out, far = np.zeros((n, 2)), np.zeros(n)
    for i in range(int(rng.integers(8, 20))):
        away = 0.0 if i < 2 else rng.uniform(0.2, 1.0)
        low, strokes = rng.uniform(3500, 8000), rng.uniform(8, 30) * rng.choice([1, 3])
        pan, loud, at = rng.uniform(-0.9, 0.9), 10 ** (0.2 - 1.3 * away), rng.uniform(-2, 3)
        song = np.zeros(n)
        while at * RATE < n:
            m = int(rng.choice([rng.uniform(0.2, 0.8), rng.uniform(1.0, 6.0)]) * RATE)
            u = np.arange(m) / RATE
            stroke = (u * strokes * (1 + 0.05 * rng.standard_normal())) % 1  # a leg along the wing: a scratch of teeth
            rasp = 0.15 + np.exp(-3 * stroke) * np.minimum(1, stroke * 6)
            begin = max(0, int(at * RATE))
            piece = (rng.standard_normal(m) * rasp * np.hanning(m) ** 0.3)[begin - int(at * RATE) : n - int(at * RATE)]
            song[begin : begin + len(piece)] += piece
            at += m / RATE + rng.exponential(0.8)
        song = _band(song, low, min(low * rng.uniform(1.6, 2.6), 20_000))
        if away > 0.5:
            far += loud * song
        else:
            _add(out, 0, loud * song, pan)
    for _ in range(int(rng.integers(1, 5))):
        _add(out, 0, 10 ** rng.uniform(-0.8, 0.2) * _field_cricket(rng, n), rng.uniform(-0.9, 0.9))
    out += _room(rng, far, 0.6, 1.0)
    hum = _below(bees(rng, n), 2500)
    air = _wide(rng, n, lambda: _noise(rng, n, 4.5), 0.5)
    level = out.std()
    return out + level * (10 ** rng.uniform(-1.4, -0.6) * hum / hum.std() + 10 ** rng.uniform(-1.3, -0.4) * air)


def _field_cricket(rng: Rng, n: int) -> NDArray[np.float64]:
    """Chirps of three or four pulses, three or four a second, nearly pure in tone."""
    t = np.arange(n) / RATE
    hz, each = rng.uniform(4300, 5200), rng.uniform(2.6, 4.2)
    chirp = (t * each + 0.03 * np.cumsum(_slow(rng, n, 1.0)) / RATE) % 1 / each
    pulses, rate = int(rng.integers(3, 5)), rng.uniform(26, 34)
    pulse = chirp * rate % 1
    sounds = (chirp < pulses / rate) * np.sin(np.pi * np.minimum(1, pulse / 0.7)) ** 2
    found: NDArray[np.float64] = 0.2 * np.sin(2 * np.pi * hz * t * (1 + 0.0005 * rng.standard_normal())) * sounds
    return found


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


def _drop(rng: Rng, high: float, body: float, ring: float) -> Sound:
    """One drop on a surface: a splash, and what it strikes, which rings from ``body`` Hz on."""
    t = np.arange(int(0.12 * RATE)) / RATE
    splash = _band(rng.standard_normal(len(t)), high / 10, high) * np.exp(-t / rng.uniform(0.001, 0.004))
    hz = body * np.sort(rng.uniform(1, 6, 7))
    struck = _modes(rng, hz, rng.uniform(0.02, 0.1) * rng.uniform(0.5, 1.5, 7), (hz / hz[0]) ** -0.6, 0.12)
    return splash / np.sqrt(np.square(splash).sum()) + ring * struck / np.sqrt(np.square(struck).sum())


def pattering(rng: Rng, n: int, rate: float, high: float, body: float, hiss: float) -> Sound:
    """Rain on a surface, at most ``rate`` drops a second near by and the ``hiss`` of all others. Sizes of drops are
    exponential (Marshall and Palmer 1948). Rates are such that bands flicker within a tenth of a second as in
    recordings of rain, by 0.22 to 0.6 in natural logarithms."""
    out, swell = np.zeros((n, 2)), np.exp(0.35 * _slow(rng, n, 2.0))
    for _ in range(16):
        at = rng.integers(0, n, rng.poisson(rate * n / RATE / 16))
        at = at[rng.random(len(at)) < swell[at] / swell.max()]
        loud = rng.exponential(1.0, len(at)) ** 1.8 * rng.choice([-1.0, 1.0], len(at))
        angle = (np.clip(rng.uniform(-0.8, 0.8) + rng.normal(0, 0.3, len(at)), -1, 1) + 1) * np.pi / 4
        drop = _drop(rng, high * rng.uniform(0.7, 1.3), body * rng.uniform(0.7, 1.3), rng.uniform(0.2, 0.6))
        for side, pan in enumerate((np.cos(angle), np.sin(angle))):
            out[:, side] += fftconvolve(np.bincount(at, loud * pan, n), drop)[:n]
    far = _wide(rng, n, lambda: _band(_noise(rng, n, 3.0), 150, high), 0.8) * np.exp(0.12 * _slow(rng, n, 2.0))[:, None]
    return _room(rng, out / out.std() + hiss * far / far.std(), rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.5))


def rain_on_roof(rng: Rng, n: int) -> Sound:
    """From tiles to tin."""
    bright = rng.random()
    return pattering(
        rng, n, 10 ** rng.uniform(3.6, 4.2), 4500 + 5000 * bright, 150 + 400 * bright, rng.uniform(0.3, 0.9)
    )


def rain_on_window(rng: Rng, n: int) -> Sound:
    return pattering(
        rng, n, 10 ** rng.uniform(3.1, 3.8), rng.uniform(6000, 11_000), rng.uniform(250, 500), rng.uniform(0.5, 1.2)
    )


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
    "bees": ("bees", bees, 2.0),
    "bells": ("church bells", bells, 2.0),
    "chimes": ("wind chimes", chimes, 1.5),
    "grasshoppers": ("summer insects", grasshoppers, 1.5),
    "fan": ("fan", lambda rng, n: _machine(rng, n, 0.1, 1.0, (1500, 8000), turn=rng.uniform(3, 12)), 1.5),
    "air conditioner": ("air conditioner", lambda rng, n: _machine(rng, n, 0.2, 1.0, (800, 4000)), 1.5),
    "refrigerator": ("refrigerator", lambda rng, n: _machine(rng, n, 1.0, 0.25, (300, 1500)), 1.5),
    "washing machine": ("washing machine", washing_machine, 1.5),
    "airplane cabin": ("airplane cabin", lambda rng, n: _machine(rng, n, 0.15, 1.2, (600, 2500)), 1.5),
    "static": ("white noise", static, 1.5),
    "pink": ("pink noise", _colour(3.01), 1.0),
    "brown": ("brown noise", _colour(6.02), 1.0),
    "white": ("white noise", _colour(0.0), 1.0),
    "roof": ("rain on roof", rain_on_roof, 2.0),
    "window": ("rain on window", rain_on_window, 2.0),
}
"""Name → label, maker, minutes at a share of 1."""
FIRST = ("rain on roof", "rain on window")
"""Labels of which a single recording is not what one expects, such as a roof's from deep inside the building."""


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
