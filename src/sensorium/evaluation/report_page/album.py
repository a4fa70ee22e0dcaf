"""The pictures inside the page: small, each once however many questions are about it, and no more than a limit.

A page is a file that is sent around; what does not fit under the limit is counted and said.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image as PILImage

from sensorium.conversation import Image, Video
from sensorium.errors import SensoriumError
from sensorium.evaluation.report_page.media import Media
from sensorium.evaluation.report_page.view import Sample
from sensorium.media import encode_image, open_image

SIDE = 480  # pixels
QUALITY = 80  # of JPEG
MOST = 6  # pictures of one question


@dataclass(frozen=True)
class Thumbnail:
    """key: by which the page refers to it; url: `data:` with the whole picture."""

    key: str
    width: int
    height: int
    url: str


@dataclass(frozen=True)
class Shown:
    """Of one question. remark: why there are no pictures, or not all."""

    pictures: tuple[Thumbnail, ...] = ()
    remark: str = ""


@dataclass
class Album:
    """limit: bytes of all pictures as they stand in the page. left_out: questions whose pictures did not fit."""

    limit: int
    side: int = SIDE
    thumbnails: dict[str, Thumbnail] = field(default_factory=dict)  # by digest
    used: int = 0
    left_out: int = 0

    def show(self, sample: Sample, media: Media | None) -> Shown:
        """media: None where the data is not at hand, which is no remark on each question."""
        if media is None:
            return Shown()
        try:
            parts = media[sample.id]() if sample.id in media else ()
            return self._show(sample, parts)
        except SensoriumError as error:
            return Shown((), f"Not shown: {error}")

    def _show(self, sample: Sample, parts: Sequence[Image | Video]) -> Shown:
        pictures = [part for part in parts if isinstance(part, Image)]
        if len(pictures) < len(parts):
            return Shown((), "Not shown: a video.")
        remark = "" if len(pictures) <= MOST else f"{MOST} of {len(pictures)} pictures are shown."
        if sample.media and tuple(part.digest for part in parts) != sample.media:
            remark = "The picture in the data is no longer the one that the model was shown. " + remark
        found = [self._thumbnail(picture) for picture in pictures[:MOST]]
        fitting = tuple(one for one in found if one is not None)
        if len(fitting) < len(found):
            self.left_out += 1
            remark += f"Left out: the pictures of this page would be more than {self.limit / 1e6:g} MB."
        return Shown(fitting, remark.strip())

    def _thumbnail(self, picture: Image) -> Thumbnail | None:
        digest = picture.digest
        if digest not in self.thumbnails:
            small = open_image(picture)
            small.thumbnail((self.side, self.side), PILImage.Resampling.LANCZOS)
            url = "data:image/jpeg;base64," + base64.b64encode(encode_image(small, "JPEG", QUALITY)).decode()
            if self.used + len(url) > self.limit:
                return None
            self.used += len(url)
            self.thumbnails[digest] = Thumbnail(f"p{len(self.thumbnails)}", *small.size, url)
        return self.thumbnails[digest]
