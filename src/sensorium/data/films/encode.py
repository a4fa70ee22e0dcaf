"""Write a film's frames into a small file: VP9 in MP4, whose licence asks for nothing and which browsers show.

One thread, so that the same frames give the same bytes on every machine with the same encoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from sensorium.files import replacing
from sensorium.media.container import pyav

_KEYFRAME_S = 10  # between keyframes at most: what a leap into the middle must decode
_OPTIONS = {"deadline": "realtime", "cpu-used": "8", "crf": "29", "b": "0", "row-mt": "0"}
_REMEDY = "Make room or choose another folder, and build again: it goes on where it was."


def write_video(path: Path, frames: Iterable[Image.Image], size: tuple[int, int], fps: int) -> None:
    """Encode frames one by one; the file is there whole or not at all. size: (width, height), even numbers.

    Raises SensoriumError where PyAV is missing or the disk refuses.
    """
    av = pyav(str(path))
    with replacing(path, _REMEDY) as part, av.open(str(part), "w", format="mp4") as out:
        stream = out.add_stream("libvpx-vp9", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = _KEYFRAME_S * fps
        stream.codec_context.thread_count = 1
        stream.codec_context.options = _OPTIONS
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_image(picture)))
        out.mux(stream.encode())
