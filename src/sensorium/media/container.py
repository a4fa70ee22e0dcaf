"""Open a file of moving pictures or sound that somebody gave us, through PyAV, or say in one line why not.

The container is read from a stream of ours, so that nothing in it can name another file or address to open. Only
formats and codecs of recordings are tried: FFmpeg also reads play lists, which lead elsewhere, and text as video.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sensorium.conversation import Medium
from sensorium.errors import SensoriumError
from sensorium.media.recognise import recognise
from sensorium.media.sources import open_source

FORMATS = (
    "mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "gif", "ivf",
    "wav", "mp3", "flac", "aac", "aiff",
)  # fmt: skip
PICTURE_CODECS = (
    "h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mpeg2video", "mpeg1video", "h263", "mjpeg", "theora",
    "prores", "dnxhd", "msmpeg4", "msmpeg4v2", "wmv1", "wmv2", "wmv3", "vc1", "flv", "gif", "ffv1", "rawvideo",
)  # fmt: skip
SOUND_CODECS = (
    "aac", "mp3float", "mp3", "mp2float", "mp2", "opus", "vorbis", "flac", "alac", "ac3", "eac3", "amrnb", "amrwb",
    "wmav1", "wmav2", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8",
    "pcm_mulaw", "pcm_alaw",
)  # fmt: skip
_OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "codec_whitelist": ",".join(PICTURE_CODECS + SOUND_CODECS),
    "protocol_whitelist": "none",  # there is no such protocol
    "max_streams": "64",
}
_BUFFER = 2**18  # bytes read at once: each read crosses from FFmpeg into Python
# PyAV's errors are its own and, by their kind, Python's as well; these are what damaged files raise beside them.
_BESIDE = (OSError, ValueError, OverflowError, MemoryError, UnicodeError)

Source = Medium | str | Path | bytes


def pyav(where: str = "video") -> Any:
    """The module `av`. Raises SensoriumError where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        remedy = "Install `sensorium[video]`."
        raise SensoriumError(where, "needs PyAV to be read, which is not installed.", remedy) from error


def damage() -> tuple[type[Exception], ...]:
    """What reading or decoding a damaged file raises."""
    return (pyav().error.FFmpegError, *_BESIDE)


@contextmanager
def opened(
    source: Source, noun: str, max_bytes: int, codec_options: dict[str, str] | None = None
) -> Iterator[tuple[str, Any]]:
    """(what to call it in errors, the open container): headers read, nothing decoded but what FFmpeg must look at.

    noun: what is expected, "video" or "sound"; codec_options: FFmpeg's, for that look.
    Raises SensoriumError when it is missing, too large, of no known format, or damaged.
    """
    av = pyav()
    where, stream = open_source(source.source if isinstance(source, Medium) else source, noun, max_bytes)
    with stream:
        try:
            container = av.open(
                stream, "r", options=codec_options, container_options=_OPTIONS, metadata_errors="replace",
                buffer_size=_BUFFER,
            )  # fmt: skip
        except damage() as error:
            stream.seek(0)
            raise _unreadable(where, noun, stream.read(512), error) from error
        with container:
            yield where, container


def _unreadable(where: str, noun: str, head: bytes, error: Exception) -> SensoriumError:
    kind = recognise(head)
    if kind.is_recording:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:120]
        return SensoriumError(where, f"is damaged or cut off ({reason}).", "Get the file again.")
    remedy = f"Show it as a picture, not as a {noun}." if kind.is_readable else f"Give a {noun} file."
    if kind.name.startswith("of no known"):
        return SensoriumError(where, f"is of no known {noun} format.", remedy)
    return SensoriumError(where, f"is {kind.name}, not a {noun} that can be read.", remedy)
