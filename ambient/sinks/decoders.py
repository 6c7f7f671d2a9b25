"""Decoders of what the stream protocol sends: the counterpart of the encoders, for clients."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ambient.errors import ProtocolError
from ambient.messages import CHANNELS, Audio
from ambient.sinks.protocol import Close, Codec, Frame

__all__ = ["Decoder", "decode"]


def decode(frame: Frame) -> Audio:
    """The sound of a PCM frame, shape ``(frames, 2)``. Raises ValueError for other codecs, which keep a state."""
    if frame.codec is Codec.F32LE:
        return np.frombuffer(frame.payload, "<f4").astype(np.float32).reshape(-1, CHANNELS)
    if frame.codec is Codec.S16LE:
        return (np.frombuffer(frame.payload, "<i2") / np.float32(32767)).astype(np.float32).reshape(-1, CHANNELS)
    raise ValueError(f"{frame.codec.label} needs a decoder that remembers: Decoder")


class Decoder:
    """Decodes consecutive frames of one codec; ``header`` is the server's ``codec_header``."""

    def __init__(self, codec: Codec, header: bytes) -> None:
        self.codec = codec
        self._context: Any = None
        if codec in (Codec.S16LE, Codec.F32LE):
            return
        import av  # late: who takes PCM does without FFmpeg

        self._av = av
        self._context = cast(Any, av.CodecContext.create(codec.label, "r"))
        self._context.extradata = header or None
        self._floats = av.AudioResampler(format="flt", layout="stereo")

    def decode(self, frame: Frame) -> Audio:
        """Shape ``(n, 2)``. Raises ProtocolError."""
        if self._context is None:
            return decode(frame)
        try:
            decoded = self._context.decode(self._av.Packet(frame.payload))
        except self._av.FFmpegError as error:
            raise ProtocolError(Close.BAD_MESSAGE, f"a frame of {self.codec.label} is broken: {error}") from error
        parts = [part.to_ndarray() for whole in decoded for part in self._floats.resample(whole)]
        return np.concatenate(parts, axis=1).reshape(-1, CHANNELS) if parts else np.zeros((0, CHANNELS), np.float32)
