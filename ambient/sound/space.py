"""Places single sounds around the listener: direction, distance, air.

What does not depend on the place, the sound's diffuse tail, is made once, when a clip enters its bank
(:class:`SpatialSound`). A place is then two weights, a lag and a short filter, applied block by block
(:class:`PlacedSound`), so that an event costs no time when it is due.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy import fft, signal

from ambient.messages import RATE, Audio

__all__ = ["PlacedSound", "SpatialSound", "delay_frames", "place"]

SPEED_OF_SOUND = 343.0
REFERENCE_M = 10.0
"""A sound at this distance keeps its level."""
NEAREST_M = 1.0
HEAD_RADIUS_M = 0.0875
# ISO 9613-2:1996, table 2: atmospheric attenuation at 20 °C and 70 % relative humidity, dB per kilometre.
_AIR_HZ = np.array([63.0, 125, 250, 500, 1000, 2000, 4000, 8000])
_AIR_DB_PER_KM = np.array([0.1, 0.3, 1.1, 2.8, 5.0, 9.0, 22.9, 76.6])
BEHIND_DB = -6.0
"""What the ear's shell takes away above 4 kHz from sounds right behind."""
DIFFUSE_SECONDS = 0.6
TAPS = 127
"""Of the filters for air and head, whose colours are smooth; linear phase, its delay taken out."""
HALF = TAPS // 2
REACH = 16
"""Frames that a fractional delay needs on either side."""
MOST_LAG = 32
"""Frames: an ear's lag is at most 0.66 ms."""


def delay_frames(distance_m: float) -> int:
    """How long sound travels, in frames."""
    return round(distance_m / SPEED_OF_SOUND * RATE)


class SpatialSound:
    """A single sound, ready to be placed anywhere: dry, and as a short decorrelated tail for each ear."""

    def __init__(self, audio: Audio) -> None:
        """``audio``: ``(n, 2)``. Takes some ten milliseconds for five seconds."""
        self.dry = np.asarray((audio[:, 0] + audio[:, 1]) * np.float32(0.5), np.float32)
        tail = round(DIFFUSE_SECONDS * RATE)
        length = fft.next_fast_len(len(audio) + tail, real=True)
        spectrum = fft.rfft(self.dry, length)
        self.frames = len(audio) + tail
        """Length, the diffuse tail included."""
        self.diffuse = [
            np.asarray(fft.irfft(spectrum * _diffuse(ear, length), length)[: self.frames], np.float32)
            for ear in range(2)
        ]


class PlacedSound:
    """A sound as heard from its place; the delay of its way is not applied.

    Level falls with 1/r from 10 m. Air takes the highs (ISO 9613-2). Direction is a constant-power pan with the
    interaural delay of a spherical head (Woodworth 1938), 0° ahead, positive right; behind is darker. With distance
    the diffuse share of a short decorrelated tail grows.
    """

    def __init__(self, sound: SpatialSound, distance_m: float, azimuth_deg: float, gain_db: float) -> None:
        distance = max(NEAREST_M, distance_m)
        azimuth = float(np.radians(((azimuth_deg + 180) % 360) - 180))
        gain = 10 ** (gain_db / 20) * REFERENCE_M / distance
        # front and back share their lateral angle
        lateral = float(np.arcsin(np.clip(np.sin(azimuth), -1, 1)))
        pan = (lateral / (np.pi / 2) * 0.9 + 1) / 2 * np.pi / 2
        lag = RATE * HEAD_RADIUS_M / SPEED_OF_SOUND * (abs(lateral) + np.sin(abs(lateral)))
        diffuse = min(0.7, 0.08 * np.sqrt(distance / REFERENCE_M))
        colour = gain * _colour(distance, azimuth)
        self._sound = sound
        self._wet = np.asarray(diffuse * colour, np.float32)
        self._direct = [
            np.asarray(weight * np.convolve(colour, _lag(lag if far else 0.0)), np.float32)
            for weight, far in ((np.cos(pan), lateral > 0), (np.sin(pan), lateral < 0))
        ]

    def __len__(self) -> int:
        """Frames."""
        return self._sound.frames

    def read(self, start: int, n: int) -> Audio:
        """Frames ``start`` to ``start + n``, float32 ``(n, 2)``; the same however it is cut into blocks."""
        return np.stack(
            [
                _filtered(self._sound.dry, direct, HALF + REACH, start, n)
                + _filtered(self._sound.diffuse[ear], self._wet, HALF, start, n)
                for ear, direct in enumerate(self._direct)
            ],
            axis=1,
        )


def _filtered(
    x: npt.NDArray[np.float32], taps: npt.NDArray[np.float32], centre: int, start: int, n: int
) -> npt.NDArray[np.float32]:
    """Frames ``start`` to ``start + n`` of a filtered sound amid silence; ``centre``: the tap without delay."""
    low, high = start - (len(taps) - 1 - centre), start + n + centre
    part = x[max(0, low) : max(0, high)]
    if not len(part):
        return np.zeros(n, np.float32)
    part = np.pad(part, (max(0, -low), high - low - max(0, -low) - len(part)))
    return np.asarray(signal.oaconvolve(part, taps, "valid"), np.float32)


def place(audio: Audio, distance_m: float, azimuth_deg: float, gain_db: float) -> Audio:
    """A single sound ``(n, 2)`` as heard from its place, float32 ``(n + tail, 2)``; see :class:`PlacedSound`."""
    placed = PlacedSound(SpatialSound(audio), distance_m, azimuth_deg, gain_db)
    return placed.read(0, len(placed))


def _colour(distance: float, azimuth: float) -> npt.NDArray[np.float64]:
    """What air and head leave, as a symmetric filter of TAPS."""
    hz = np.arange(TAPS // 2 + 1) * RATE / TAPS
    # above the table the attenuation goes on with the square of the frequency
    air = np.interp(hz, _AIR_HZ, _AIR_DB_PER_KM)
    air = np.where(hz > 8000, _AIR_DB_PER_KM[-1] * (hz / 8000) ** 2, air)
    loss = np.minimum(80.0, air * distance / 1000)
    behind = max(0.0, -np.cos(azimuth)) * BEHIND_DB * np.clip((hz - 1000) / 3000, 0, 1)
    taps = np.fft.fftshift(np.fft.irfft(10 ** ((behind - loss) / 20), TAPS))
    return np.asarray(taps)


def _lag(frames: float) -> npt.NDArray[np.float64]:
    """A delay of so many frames, whole or not, by a windowed sinc; tap REACH is that without delay."""
    n = np.arange(2 * REACH + MOST_LAG + 1) - REACH - frames
    return np.asarray(np.sinc(n) * np.where(np.abs(n) < REACH, 0.5 + 0.5 * np.cos(np.pi * n / REACH), 0.0))


@functools.lru_cache(maxsize=32)
def _diffuse(ear: int, length: int) -> npt.NDArray[np.complex64]:
    """Spectrum of a decaying noise of unit energy, another for each ear."""
    n = round(DIFFUSE_SECONDS * RATE)
    noise = np.random.Generator(np.random.PCG64(977 + ear)).standard_normal(n)
    tail = noise * np.exp(-np.arange(n) / (0.12 * RATE))
    tail[: round(0.012 * RATE)] = 0.0
    return np.asarray(fft.rfft((tail / np.sqrt(np.sum(tail**2))).astype(np.float32), length))
