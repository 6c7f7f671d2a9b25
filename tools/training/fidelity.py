"""How faithful the codec is: recordings beside their reconstructions, label by label.

Two draws of the same noise differ as well, frame by frame. So beside the mel distance stands that between two
reconstructions of the same latents with other noise: what remains above it is the codec's doing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import find_peaks, stft

from ambient.generate.bands import BANDS, HOP, analyse, band_centres, band_filters, band_widths
from ambient.generate.codec import FRAME, AmbienceCodec
from ambient.generate.tones import REST
from ambient.messages import RATE, Audio
from tools.training.hearing import jensen_shannon
from tools.training.tones import call_goals

__all__ = ["calling", "compare", "decoded", "mel_distance", "onset_agreement", "width_db"]

_SIZES = (512, 1024, 2048, 4096)
_MELS = 64
_TOLERANCE = 3
"""Hops of 5.3 ms by which an onset may be off."""
_CALLS, _EVENTS = 0.3, 0.05
"""Shares, see :func:`calling`, from which a recording is one of calls."""

Power = NDArray[np.float64]


def _power(x: NDArray[np.float32], size: int, hop: int) -> Power:
    found = stft(x, RATE, nperseg=size, noverlap=size - hop, boundary=None)[2]  # type: ignore[arg-type]
    return np.asarray(np.square(np.abs(found)), np.float64)


def _mel(size: int) -> Power:
    """Triangular filters on the mel scale (O'Shaughnessy), 20 Hz to 20 kHz, ``(_MELS, bins)``."""
    top, bottom = (2595 * np.log10(1 + f / 700) for f in (20_000, 20))
    edges = 700 * (10 ** (np.linspace(bottom, top, _MELS + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(size, 1 / RATE)
    rows = [np.interp(hz, edges[i : i + 3], [0, 1, 0], 0, 0) for i in range(_MELS)]
    filters = np.stack(rows)
    # a filter narrower than a bin is the bin that it lies in
    for row, centre in zip(filters, edges[1:-1], strict=True):
        if not row.any():
            row[int(np.argmin(np.abs(hz - centre)))] = 1
    return filters / filters.sum(1, keepdims=True)


def mel_distance(a: Audio, b: Audio) -> float:
    """Mean absolute difference of log-mel spectra at four resolutions, decibels; the quietest 70 dB do not count."""
    found = []
    for size in _SIZES:
        filters = _mel(size)
        levels = [sum(filters @ _power(x[:, c], size, size // 4) for c in (0, 1)) for x in (a, b)]
        floor = max(np.max(x) for x in levels) * 1e-7
        found.append(np.abs(np.diff([10 * np.log10(x + floor) for x in levels], axis=0)).mean())
    return float(np.mean(found))


def _onsets(x: Audio) -> NDArray[np.int64]:
    power = _power(x.mean(1), 512, 256)
    log = np.log(power + power.mean() * 1e-3)
    rise = np.maximum(np.diff(log, axis=1), 0).mean(0)
    # louder than the flutter of noise, which rises all the time
    return np.asarray(find_peaks(rise, height=np.median(rise) + 8 * np.median(np.abs(rise - np.median(rise))))[0])


def onset_agreement(a: Audio, b: Audio) -> tuple[float, int]:
    """F-measure of the onsets of ``b`` against those of ``a``, within 16 ms; and how many ``a`` has."""
    ours, theirs = _onsets(a), _onsets(b)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs)), len(ours)
    near = np.abs(ours[:, None] - theirs[None]) <= _TOLERANCE
    recall, precision = near.any(1).mean(), near.any(0).mean()
    return float(2 * recall * precision / max(1e-9, recall + precision)), len(ours)


def calling(x: Audio) -> tuple[float, float]:
    """Share of the power of what stands out, above 900 Hz and 9 dB over the median of its band, that is a gliding tone
    (see :func:`tools.training.tones.call_goals`); and the share of all power that stands out so."""
    whole = torch.from_numpy(x[: len(x) // (REST * HOP) * REST * HOP].mean(1, keepdims=True).T.copy())
    pair, filters = torch.stack([whole, 0 * whole], 1), band_filters()
    share = call_goals(pair, filters, torch.zeros(1, 2, BANDS, whole.shape[1] // HOP // REST))[0][0, 0]
    power = analyse(whole, filters)[0].T.exp() * torch.from_numpy(band_widths())[:, None]
    power = power.unflatten(1, (-1, REST)).mean(2)
    high = torch.from_numpy(band_centres()[1:-1] > 900)[:, None]
    loud = power * high * (power > 8 * power.median(1, keepdim=True).values)
    return float((share * loud).sum() / loud.sum().clamp_min(1e-12)), float(loud.sum() / power.sum().clamp_min(1e-12))


def width_db(x: Audio) -> float:
    """Power of side over mid, decibels, not below −60."""
    mid, side = (np.square(x[:, 0] + s * x[:, 1], dtype=np.float64).mean() for s in (1, -1))
    return float(10 * np.log10(max(1e-6, side / max(mid, 1e-12))))


def decoded(codec: AmbienceCodec, sound: Audio, *seeds: int) -> list[Audio]:
    """Sound, in whole latent frames, encoded and decoded with the noise of each seed."""
    with torch.inference_mode():
        latents = codec.encode(torch.from_numpy(sound.T[None].copy())).latents
        return [codec.decode(latents, [0], [seed]).sample[0].T.numpy() for seed in seeds]


def compare(
    codec: AmbienceCodec,
    recorded: Iterable[tuple[str, str, Audio]],
    hear: Callable[[Audio], NDArray[np.float32]] | None = None,
) -> dict[str, Any]:
    """Figures of each label and means. ``recorded``: label, how it was held out (``file`` or ``time``), sound.

    ``hear``: class scores by a tagger, to be compared before and after.
    """
    rows: list[dict[str, Any]] = []
    for label, held, sound in recorded:
        x = sound[: len(sound) // FRAME * FRAME]
        if len(x) < RATE:
            continue
        y, z = decoded(codec, x, 0, 1)
        agreement, onsets = onset_agreement(x, y)
        row = {
            "label": label,
            "held": held,
            "mel_db": mel_distance(x, y),
            "mel_db_of_other_noise": mel_distance(y, z),
            "width_error_db": abs(width_db(x) - width_db(y)),
        }
        if onsets >= 5:
            row["onsets_f"] = agreement
        if (calls := calling(x[: 10 * RATE]))[0] > _CALLS and calls[1] > _EVENTS:
            row |= {"calls": calls[0], "calls_decoded": calling(y[: 10 * RATE])[0]}
        if hear is not None:
            row["tagger_js"] = jensen_shannon(hear(x), hear(y))
        rows.append(row)

    def means(of: list[dict[str, Any]]) -> dict[str, float]:
        keys = ("mel_db", "mel_db_of_other_noise", "width_error_db", "onsets_f", "calls", "calls_decoded", "tagger_js")
        found = {k: [r[k] for r in of if k in r] for k in keys}
        return {"stretches": len(of)} | {k: round(float(np.mean(v)), 2) for k, v in found.items() if v}

    rows.sort(key=lambda r: r["label"])
    return {
        "held_out_by": {
            held: means([r for r in rows if r["held"] == held]) for held in sorted({r["held"] for r in rows})
        },
        "labels": {k: means(list(v)) for k, v in itertools.groupby(rows, lambda r: str(r["label"]))},
    }
