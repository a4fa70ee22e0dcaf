"""What was seen of a video, as a strip on the page: its frames, when each was, and the visual tokens it cost."""

from __future__ import annotations

import hashlib
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PILImage

from sensorium.conversation import Image, Video
from sensorium.media import save_image
from sensorium.media.video import clock
from sensorium.media.watching import stamps_of
from sensorium.serving.page.words import say
from sensorium.serving.viewing import View

LONG_SIDE = 240  # of a frame on the page, on screens with two pixels to a point


@dataclass(frozen=True)
class Strip:
    """name: of the file; frames: (time as text, visual tokens, small copy) of each; remark: about a damaged file."""

    name: str
    duration_s: float
    frames: tuple[tuple[str, int, Path], ...]
    remark: str = ""

    def html(self, language: str) -> str:
        """One line: an empty one would end it in Markdown."""
        costs = [tokens for _, tokens, _ in self.frames]
        head = say(language, "watched", name=self.name, duration=clock(self.duration_s), frames=len(costs),
                   tokens=f"{sum(costs):,}")  # fmt: skip
        head += f" ({self.remark})" if self.remark else ""
        cells = "".join(
            f'<span class="frame"><img src="/gradio_api/file={html.escape(str(path))}" alt="{time}">'
            f"<span><b>{time}</b> {html.escape(say(language, 'frame_cost', tokens=tokens))}</span></span>"
            for time, tokens, path in self.frames
        )
        return f'<span class="watched">{html.escape(head)}</span><span class="strip">{cells}</span>'


Strips = Mapping[Video, Strip]


def strips_of(view: View, folder: Path) -> dict[Video, Strip]:
    """The strip of each video that was watched; small copies of its frames go to the folder."""
    strips = {}
    for shown in view.shown:
        if shown.watched is None or not isinstance(shown.part, Video):
            continue
        watched = shown.watched
        small = [_small(frame, folder) for frame in watched.frames]
        frames = tuple(zip(stamps_of(watched.times_s), shown.visual_tokens, small, strict=True))
        name = Path(str(shown.part.source)).name
        strips[shown.part] = Strip(name, watched.info.duration_s, frames, watched.remark)
    return strips


def _small(frame: Image, folder: Path) -> Path:
    assert isinstance(frame.source, bytes)
    path = folder / f"frame-{hashlib.sha256(frame.source).hexdigest()[:32]}.jpg"
    if not path.exists():
        picture = PILImage.open(io.BytesIO(frame.source), formats=("JPEG",))  # our own bytes: no stranger's
        picture.thumbnail((LONG_SIDE, LONG_SIDE))
        save_image(picture, path)
    return path
