"""The sound of a recording or a video as samples: one channel, 16,000 a second, the form that speech models take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sensorium.errors import SensoriumError
from sensorium.media.container import SOUND_CODECS, Source, damage, opened, pyav

RATE = 16_000


class SoundLimits(BaseModel):
    """max_seconds: of samples kept; an hour of them takes 230 MB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=8 * 2**30, ge=1)
    max_seconds: float = Field(default=2 * 3600, gt=0)


DEFAULT_LIMITS = SoundLimits()


def read_sound(
    source: Source,
    start_s: float = 0,
    seconds: float | None = None,
    rate: int = RATE,
    limits: SoundLimits = DEFAULT_LIMITS,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Samples [n] from -1 to 1, channels mixed into one; of the stretch from start_s, all of it if seconds is None.

    Damaged stretches are left out. Raises SensoriumError when there is no sound, or more of it than the limits allow.
    """
    with opened(source, "sound", limits.max_bytes) as (where, container):
        stream = _stream(where, container)
        length_s = float(container.duration or 0) / 1e6 - start_s if seconds is None else seconds
        if length_s > limits.max_seconds:
            what = f"has {length_s:,.0f} s of sound to be read; at most {limits.max_seconds:,.0f} are."
            raise SensoriumError(where, what, "Read a shorter stretch, or raise `max_seconds`.")
        first, most = int(start_s * rate), int((limits.max_seconds if seconds is None else seconds) * rate)
        if start_s > 0:
            with suppress(*damage()):  # what cannot be leapt in is read from its start
                container.seek(int(start_s * 1e6))
        pieces: list[Any] = []
        held = 0
        for begin, samples in _resampled(container, stream, rate):
            kept = samples[max(0, first - begin) :][: most - held]
            if len(kept):
                pieces.append(kept)
                held += len(kept)
            if held >= most:
                break
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _stream(where: str, container: Any) -> Any:
    if not container.streams.audio:
        raise SensoriumError(where, "holds no sound.", "Give a recording, or a video with sound.")
    stream = container.streams.audio[0]
    codec = getattr(stream.codec_context, "name", None)
    if codec not in SOUND_CODECS:
        raise SensoriumError(where, f"has sound coded in {codec or 'an unknown way'}, which is not read.",
                             "Convert it to WAV.")  # fmt: skip
    return stream


def _resampled(container: Any, stream: Any, rate: int) -> Iterator[tuple[int, Any]]:
    """(place of the first sample, samples [n] float32) of each piece in the order of the file."""
    # FFmpeg mixes float channels to a sum that may exceed 1; their mean is taken here instead.
    resampler = pyav().AudioResampler(format="fltp", rate=rate)
    start_s = float((stream.start_time or 0) * stream.time_base)
    place: int | None = None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except damage():
            break
        try:
            frames = packet.decode()
        except damage():
            continue
        for frame in frames:
            if place is None:
                place = round(((frame.time or 0.0) - start_s) * rate)
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray().mean(axis=0, dtype=np.float32)
                yield place, samples
                place += len(samples)
    if place is not None:
        for piece in resampler.resample(None):
            yield place, piece.to_ndarray().mean(axis=0, dtype=np.float32)
