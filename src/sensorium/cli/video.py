"""What commands say about videos: the options that choose frames and set limits, and what a video will cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.conversation import Video
    from sensorium.media.video import VideoLimits

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".flv", ".wmv", ".ogv", ".gif")
ACROSS, FRAME_WIDTH = 8, 120  # of drawn frames: how many side by side, and pixels
Frames = Annotated[int | None, typer.Option(min=1, help="Look at so many frames of a video at most; 8 if left out.")]
SamplingOf = Annotated[
    str | None,
    typer.Option("--sampling", metavar="uniform|fps:N|scenes|subtitles|difference", help="How frames are chosen."),
]
Subtitles = Annotated[Path | None, typer.Option(help="Subtitles of the video: SRT, WebVTT or ASS.")]
MaxPixels = Annotated[
    int | None, typer.Option(min=1, help="Open videos with frames of so many pixels; 9,437,184 if left out.")
]
MaxSeconds = Annotated[float | None, typer.Option(min=1, help="Open videos that long; 14,400 if left out: four hours.")]
MaxBytes = Annotated[int | None, typer.Option(min=1, help="Open video files that large; 8 GiB if left out.")]


@dataclass(frozen=True)
class Watching:
    """The options about videos, as they were given: those that choose frames, and the limits."""

    frames: int | None = None
    sampling: str | None = None
    subtitles: Path | None = None
    max_pixels: int | None = None
    max_seconds: float | None = None
    max_bytes: int | None = None

    @property
    def limits(self) -> VideoLimits:
        """What a video may be."""
        from sensorium.media.video import DEFAULT_LIMITS as USUAL

        pixels, n_bytes = self.max_pixels or USUAL.max_pixels, self.max_bytes or USUAL.max_bytes
        usual = USUAL.lasting(self.max_seconds or USUAL.max_seconds)
        return usual.model_copy(update={"max_pixels": pixels, "max_bytes": n_bytes})

    def of(self, path: Path | str) -> Video:
        """The part of a conversation. Raises SensoriumError for a sampling that is not known."""
        from sensorium.conversation import Video

        subtitles = None if self.subtitles is None else str(self.subtitles)
        return Video(str(path), frames=self.frames, sampling=self.sampling or "uniform", subtitles=subtitles)

    def require_unused(self, but_limits: bool = False) -> None:
        """Raises SensoriumError when an option was given and there is no video that it could be about.

        but_limits: there is one, whose frames are chosen already.
        """
        for name, value in vars(self).items():
            if value is not None and not (but_limits and name.startswith("max_")):
                option = f"--{name.replace('_', '-')}"
                raise SensoriumError(option, "is about a video, and there is none.", "Add --video PATH.")


def size_of_frame(video: Video, limits: VideoLimits) -> tuple[int, int]:
    """(width, height) in which frames are shown, by the header. Raises SensoriumError when it cannot be opened."""
    from sensorium.media.watching import Watcher, frame_size

    return frame_size(Watcher(limits=limits).expect(video)[0])


def cost(video: Video, visual_tokens: int, context_length: int, limits: VideoLimits) -> dict[str, Any]:
    """What looking at a video will take, from its header.

    visual_tokens: of a frame; context_length: tokens there is room for; 0 where they are not known.
    Raises SensoriumError when it cannot be opened, or so many frames have no room.
    """
    from dataclasses import asdict

    from sensorium.media.watching import Watcher, require_room

    info, n_frames = Watcher(limits=limits).expect(video)
    if visual_tokens and context_length:
        require_room(video, n_frames, visual_tokens, context_length)
    return {
        "source": video.source, **asdict(info), "sampling": video.sampling, "frames": n_frames,
        "visual_tokens": n_frames * visual_tokens, "context_length": context_length,
    }  # fmt: skip


def draw_frames(video: Video, out: Path, limits: VideoLimits) -> dict[str, Any]:
    """Write the frames that a model is shown, with their times, as one picture; which file, and the times in seconds.

    `difference` goes by colours here, since nobody's vision encoder is at hand.
    Raises SensoriumError when the video cannot be opened.
    """
    from sensorium.media import open_image, save_image
    from sensorium.media.strip import strip_of
    from sensorium.media.watching import Watcher, stamps_of

    watched = Watcher(limits=limits).watch(video)
    pictures = [open_image(frame) for frame in watched.frames]
    save_image(strip_of(pictures, stamps_of(watched.times_s), ACROSS, FRAME_WIDTH), out)
    return {"drawn": str(out), "times_s": list(watched.times_s)}


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
    if "drawn" in content:
        lines.append(f"  {len(content['times_s'])} frames with their times are in {content['drawn']}")
    return lines
