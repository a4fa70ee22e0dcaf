"""What the detector finds, what is cut out of the picture for questions, and both in sentences.

As in the original: one pass a sentence with a prompt of all its things; boxes below the least area are dropped; of two
boxes on the same place, whatever their names, the better one stays; and what was not found is said not to be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sensorium.conversation import Image
from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.questions import plural
from sensorium.correction.verifiers.base import Found
from sensorium.correction.woodpecker.records import Asked, Seen, Sentence, Told
from sensorium.grounding import Box
from sensorium.media import encode_image

if TYPE_CHECKING:
    from sensorium.correction.woodpecker.protocol import Woodpecker

_SAME_PLACE = 0.95  # intersection over union from which two boxes are one


def look(
    protocol: Woodpecker, picture: Picture, sentences: Sequence[Sentence], meter: Meter, notes: list[str]
) -> tuple[Seen, ...]:
    """The boxes of every thing that the sentences speak of, in the order in which they are named."""
    found: dict[str, list[Found]] = {}
    for sentence in sentences:
        if not sentence.entities:
            continue
        if not meter.allows():
            notes.append("the budget was spent before the whole text was looked up")
            continue
        meter.count("detector")
        new = [name for name in sentence.entities if name not in found]
        boxes = protocol.detector.together(picture, sentence.entities, protocol.box_threshold, protocol.text_threshold)
        for name in new:
            found[name] = [one for phrase, one in boxes if meant(phrase, sentence.entities) == name
                           and one.box.area / 1e6 >= protocol.least_area]  # fmt: skip
    kept: list[tuple[str, Found]] = []
    for name, one in sorted(((n, f) for n, fs in found.items() for f in fs), key=lambda pair: -pair[1].score):
        if all(one.box.iou(other.box) <= _SAME_PLACE for _, other in kept):
            kept.append((name, one))
    return tuple(
        Seen(name=name, boxes=tuple(one.box for label, one in kept if label == name),
             scores=tuple(round(one.score, 4) for label, one in kept if label == name))
        for name in found
    )  # fmt: skip


def meant(phrase: str, entities: Sequence[str]) -> str | None:
    """Which of the things a detector's phrase is: itself, else the only one that shares a word with it.

    The original takes the nearest word vector, so that a stray phrase always is something; here it is nothing.
    """
    phrase = phrase.lower().strip(" .")
    if phrase in entities:
        return phrase
    alike = [name for name in entities if set(name.split()) & set(phrase.split())]
    return alike[0] if len(alike) == 1 else None


def crop(picture: Picture, box: Box) -> Image:
    """What a box shows, as a picture of its own, at least a pixel."""
    x1, y1, x2, y2 = (round(value) for value in box.to_pixels(*picture.size))
    return Image(encode_image(picture.pixels.crop((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))))


def claims_of(seen: Sequence[Seen], answers: Sequence[Asked]) -> Told:
    """The visual claims: counts with boxes, answers about single things, answers about the whole picture."""
    counting = tuple(_counted(one) for one in seen)
    known = [one for one in answers if one.answer is not None]
    specific = tuple(f"{one.entities[0]} {one.instance}: {one.text} {one.answer}." for one in known if one.instance)
    overall = tuple(f"{one.text} {one.answer}." for one in known if not one.instance)
    return Told(counting=counting, specific=specific, overall=overall)


def _counted(one: Seen) -> str:
    if not one.boxes:
        return f"There is no {one.name}."
    boxes = "; ".join(str([round(value, 3) for value in box.to_unit()]) for box in one.boxes)
    n = len(one.boxes)
    return f"There {'is' if n == 1 else 'are'} {n} {one.name if n == 1 else plural(one.name)}: {boxes}."
