"""From the files that somebody put on the page to what a question shows: pictures, videos, and the videos' subtitles.

What a file is, its first bytes say, and not its name; subtitles have nothing that tells them but their name.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sensorium.conversation import Image, Part, Video
from sensorium.errors import SensoriumError
from sensorium.media.images import HEAD
from sensorium.media.recognise import recognise

SUBTITLES = (".srt", ".vtt", ".ass", ".ssa")
TYPES = ["image", "video", *SUBTITLES]  # for Gradio


@dataclass(frozen=True)
class Frames:
    """How frames are chosen, as it stands on the page. n: at most."""

    n: int = 8
    sampling: str = "uniform"

    def of(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """The same parts, the videos among them looked at so."""
        return tuple(
            replace(part, frames=self.n, sampling=self.sampling) if isinstance(part, Video) else part for part in parts
        )


def shown_files(paths: Sequence[Path], frames: Frames) -> tuple[Part, ...]:
    """Pictures and videos in their order, not opened yet; subtitles go with the one video that is there.

    Raises SensoriumError for subtitles that could be of none or of several.
    """
    parts: list[Part] = []
    subtitles: list[Path] = []
    for path in paths:
        if path.suffix.lower() in SUBTITLES:
            subtitles.append(path)
        elif _is_video(path):
            parts.append(Video(str(path)))
        else:
            parts.append(Image(str(path)))
    if not subtitles:
        return frames.of(parts)
    n_videos = sum(isinstance(part, Video) for part in parts)
    if (n_videos, len(subtitles)) != (1, 1):
        what = f"must come with one video; videos: {n_videos}, subtitle files: {len(subtitles)}."
        raise SensoriumError(subtitles[0].name, what, "Show one video with its subtitles at a time.")
    said = str(subtitles[0])
    return frames.of([replace(part, subtitles=said) if isinstance(part, Video) else part for part in parts])


def _is_video(path: Path) -> bool:
    with path.open("rb") as file:
        kind = recognise(file.read(HEAD))
    return kind.is_recording or (not kind.is_readable and str(mimetypes.guess_type(path)[0]).startswith("video/"))
