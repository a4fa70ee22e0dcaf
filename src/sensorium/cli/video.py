"""What commands say about videos: the options that choose frames, and what a video will cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.conversation import Video

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".flv", ".wmv", ".ogv", ".gif")
Frames = Annotated[int | None, typer.Option(min=1, help="Look at so many frames of a video at most; 8 if left out.")]
SamplingOf = Annotated[
    str | None,
    typer.Option("--sampling", metavar="uniform|fps:N|scenes|subtitles|difference", help="How frames are chosen."),
]
Subtitles = Annotated[Path | None, typer.Option(help="Subtitles of the video: SRT, WebVTT or ASS.")]


@dataclass(frozen=True)
class Watching:
    """The options that choose frames, as they were given."""

    frames: int | None = None
    sampling: str | None = None
    subtitles: Path | None = None

    def of(self, path: Path | str) -> Video:
        """The part of a conversation. Raises SensoriumError for a sampling that is not known."""
        from sensorium.conversation import Video

        subtitles = None if self.subtitles is None else str(self.subtitles)
        return Video(str(path), frames=self.frames, sampling=self.sampling or "uniform", subtitles=subtitles)

    def require_unused(self) -> None:
        """Raises SensoriumError when an option was given and there is no video that it could be about."""
        for name, value in vars(self).items():
            if value is not None:
                raise SensoriumError(f"--{name}", "is about a video, and there is none.", "Add --video PATH.")


def cost(video: Video, visual_tokens: int, context_length: int) -> dict[str, Any]:
    """What looking at a video will take, from its header. context_length, visual_tokens: 0 where they are not known.

    Raises SensoriumError when it cannot be opened, or so many frames have no room.
    """
    from dataclasses import asdict

    from sensorium.media.watching import Watcher, require_room

    info, n_frames = Watcher().expect(video)
    if visual_tokens and context_length:
        require_room(video, n_frames, visual_tokens, context_length)
    return {
        "source": video.source, **asdict(info), "sampling": video.sampling, "frames": n_frames,
        "visual_tokens": n_frames * visual_tokens, "context_length": context_length,
    }  # fmt: skip


def cost_lines(content: dict[str, Any]) -> list[str]:
    """`cost` for people."""
    from sensorium.media.video import clock

    rate = f", {content['fps']:.4g} frames a second" if content["fps"] else ""
    sound = "with sound" if content["has_sound"] else "without sound"
    size = f"{content['width']}x{content['height']}"
    lines = [
        str(content["source"]),
        f"  {clock(content['duration_s'])} of {size}{rate}, {content['codec']}, {sound}",
        f"  {content['frames']} frames at most will be looked at ({content['sampling']})",
    ]
    if content["visual_tokens"]:
        room = f" of {content['context_length']:,} tokens that there is room for" if content["context_length"] else ""
        lines.append(f"  and take {content['visual_tokens']:,} visual tokens{room}")
    return lines
