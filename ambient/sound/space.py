"""Places single sounds around the listener: direction, distance, air."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy import fft

from ambient.messages import RATE, Audio

__all__ = ["delay_frames", "place"]

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


def delay_frames(distance_m: float) -> int:
    """How long sound travels, in frames."""
    return round(distance_m / SPEED_OF_SOUND * RATE)


def place(audio: Audio, distance_m: float, azimuth_deg: float, gain_db: float) -> Audio:
    """A single sound ``(n, 2)`` as heard from its place, float32 ``(n + tail, 2)``; the delay is not applied.

    Level falls with 1/r from 10 m. Air takes the highs (ISO 9613-2). Direction is a constant-power pan with the
    interaural delay of a spherical head (Woodworth 1938), 0° ahead, positive right; behind is darker. With distance
    the diffuse share of a short decorrelated tail grows.
    """
    distance = max(NEAREST_M, distance_m)
    tail = round(DIFFUSE_SECONDS * RATE)
    length = fft.next_fast_len(len(audio) + tail, real=True)
    spectrum = fft.rfft((audio[:, 0] + audio[:, 1]) * np.float32(0.5), length)
    hz = np.asarray(np.fft.rfftfreq(length, 1 / RATE), np.float64)
    azimuth = np.radians(((azimuth_deg + 180) % 360) - 180)
    gain = 10 ** (gain_db / 20) * REFERENCE_M / distance
    spectrum = spectrum * (gain * _colour(hz, distance, azimuth)).astype(np.float32)
    # front and back share their lateral angle
    lateral = float(np.arcsin(np.clip(np.sin(azimuth), -1, 1)))
    pan = (lateral / (np.pi / 2) * 0.9 + 1) / 2 * np.pi / 2
    lag = HEAD_RADIUS_M / SPEED_OF_SOUND * (abs(lateral) + np.sin(abs(lateral)))
    late = np.exp((-2j * np.pi * lag * hz).astype(np.complex64))
    diffuse = min(0.7, 0.08 * np.sqrt(distance / REFERENCE_M))
    out = np.empty((len(audio) + tail, 2), np.float32)
    for ear, (weight, far) in enumerate(((np.cos(pan), lateral > 0), (np.sin(pan), lateral < 0))):
        direct = spectrum * (late if far else np.complex64(1)) * np.float32(weight)
        full = direct + spectrum * _diffuse(ear, length) * np.float32(diffuse)
        out[:, ear] = fft.irfft(full, length)[: len(out)]
    return out


def _colour(hz: npt.NDArray[np.float64], distance: float, azimuth: float) -> npt.NDArray[np.float64]:
    """Magnitudes that air and head leave."""
    # above the table the attenuation goes on with the square of the frequency
    air = np.interp(hz, _AIR_HZ, _AIR_DB_PER_KM)
    air = np.where(hz > 8000, _AIR_DB_PER_KM[-1] * (hz / 8000) ** 2, air)
    loss = np.minimum(80.0, air * distance / 1000)
    behind = max(0.0, -np.cos(azimuth)) * BEHIND_DB * np.clip((hz - 1000) / 3000, 0, 1)
    return np.asarray(10 ** ((behind - loss) / 20))


@functools.lru_cache(maxsize=32)
def _diffuse(ear: int, length: int) -> npt.NDArray[np.complex64]:
    """Spectrum of a decaying noise of unit energy, another for each ear."""
    n = round(DIFFUSE_SECONDS * RATE)
    noise = np.random.Generator(np.random.PCG64(977 + ear)).standard_normal(n)
    tail = noise * np.exp(-np.arange(n) / (0.12 * RATE))
    tail[: round(0.012 * RATE)] = 0.0
    return np.asarray(fft.rfft((tail / np.sqrt(np.sum(tail**2))).astype(np.float32), length))
