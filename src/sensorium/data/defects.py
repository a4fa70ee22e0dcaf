"""Every defect of a source, by file, row, field and reason, without decoding a picture.

Each sample is read as training would read it, and the header of each of its pictures is looked at: that it is there, is
a picture, and is not larger than the limits. Of a video one frame is decoded as well, since its header tells little.
What is found is counted by reason.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice

from sensorium.conversation import Conversation, Video
from sensorium.data.readers import Annotated, Sample, Source
from sensorium.data.rewriters import Rewriter
from sensorium.errors import SensoriumError
from sensorium.media import image_size
from sensorium.media.watching import Watcher

_BLOCK = 512  # samples a thread takes at once


@dataclass
class Defects:
    """What was found in one source. samples: how many it has; reasons: reason -> how many; listed: a line for each.

    A sample whose annotations are wrong in part may have several.
    """

    title: str
    samples: int
    reasons: Counter[str] = field(default_factory=Counter)
    listed: list[str] = field(default_factory=list)
    _reason_of: list[str] = field(default_factory=list)  # of each line

    @property
    def bad(self) -> int:
        return len(self.listed)

    def add(self, error: SensoriumError) -> None:
        reason = reason_of(error)
        self.reasons[reason] += 1
        self.listed.append(str(error))
        self._reason_of.append(reason)

    def first(self, most: int) -> list[str]:
        """The lines, of each reason at most so many."""
        seen: Counter[str] = Counter()
        lines = []
        for reason, line in zip(self._reason_of, self.listed, strict=True):
            seen[reason] += 1
            if seen[reason] <= most:
                lines.append(line)
        return lines


def find_defects(
    source: Source, title: str, rewriter: Rewriter, progress: Callable[[int, int], None] | None = None
) -> Defects:
    """Look at every sample. The order of the list is that of the samples, whatever the threads do."""
    found = Defects(title, len(source))
    blocks = [range(start, min(start + _BLOCK, len(source))) for start in range(0, len(source), _BLOCK)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for block, errors in zip(blocks, pool.map(lambda block: list(_errors(source, block, rewriter)), blocks),
                                 strict=True):
            for error in errors:
                found.add(error)
            if progress:
                progress(block.stop, len(source))
    return found


def reason_of(error: SensoriumError) -> str:
    """The complaint without what differs from row to row, so that like can be counted with like."""
    text = re.sub(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`", "…", error.what)
    return re.sub(r"\(?-?\d[\d,.]*\)?", "#", text).strip()


def _errors(source: Source, numbers: range, rewriter: Rewriter) -> Iterator[SensoriumError]:
    for number in numbers:
        try:
            sample = source[number]
            conversation = rewriter(sample)
        except SensoriumError as error:
            yield error
            continue
        yield from sample.faults
        # At most one a sample: it is dropped as a whole.
        yield from islice(chain(_picture_errors(sample, conversation), _video_errors(sample, conversation)), 1)


def _video_errors(sample: Sample, conversation: Conversation) -> Iterator[SensoriumError]:
    videos = [part for message in conversation for part in message.parts if isinstance(part, Video)]
    for i, video in enumerate(videos):
        try:
            Watcher().expect(video)
        except SensoriumError as error:
            yield SensoriumError(f"{sample.where}: video {i + 1} ({error.where})", error.what, error.remedy)


def _picture_errors(sample: Sample, conversation: Conversation) -> Iterator[SensoriumError]:
    for i, image in enumerate(conversation.images):
        where = f"{sample.where}: picture {i + 1}"
        try:
            found = image_size(image)
        except SensoriumError as error:
            yield SensoriumError(f"{where} ({error.where})", error.what, error.remedy)
            continue
        facts = sample.content
        if isinstance(facts, Annotated) and facts.regions and facts.size not in (found, (0, 0)):
            yield _of_another_size(facts, found, f"{where}: width, height")


def _of_another_size(facts: Annotated, found: tuple[int, int], where: str) -> SensoriumError:
    (width, height), (told_width, told_height) = found, facts.size
    what = f"boxes were drawn in {told_width} x {told_height} pixels, the picture has {width} x {height}."
    if abs(width * told_height - height * told_width) <= max(*found, *facts.size):  # but for rounding of one side
        return SensoriumError(where, what, "They fit if it was only made smaller or larger; else it is another one.")
    return SensoriumError(where, what, "Get the picture that the boxes belong to.")
