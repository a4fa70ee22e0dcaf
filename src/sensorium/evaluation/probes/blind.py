"""Blind baselines: the same questions without the picture, with a grey one, with that of another question.

The multi-modal gain is the score with pictures less the score without; leakage is how much more the model knows without
pictures than a base model that never saw the test's like (MMStar, arXiv:2403.20330).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Question
from sensorium.evaluation.probes.base import Probe
from sensorium.evaluation.scenes import grey_picture
from sensorium.media import image_size


def without_pictures(questions: Sequence[Question]) -> list[Question]:
    return [replace(question, media=tuple) for question in questions]


def with_grey_pictures(questions: Sequence[Question]) -> list[Question]:
    return [replace(question, media=partial(_grey, question)) for question in questions]


def _grey(question: Question) -> tuple[Image, ...]:
    return tuple(Image(grey_picture(*image_size(image))) for image in pictures_of(question))


def with_shuffled_pictures(questions: Sequence[Question]) -> list[Question]:
    """Each with the picture of another cluster of its task; all questions about one picture get the same other one.

    Where a task has one picture, it is that of any other task. The same questions, the same shuffle.
    """
    if len({question.cluster for question in questions}) < 2:
        raise SensoriumError("--probe shuffled", "needs questions about at least two pictures.", "Raise --limit.")
    first: dict[str, Question] = {}
    tasks: dict[str, list[str]] = {}
    for question in questions:
        if question.cluster not in first:
            tasks.setdefault(question.task, []).append(question.cluster)
        first.setdefault(question.cluster, question)
    everything = list(first)
    Random(0).shuffle(everything)
    others: dict[str, list[Question]] = {}
    for names in tasks.values():
        pool = [name for name in everything if name in set(names)] if len(names) > 1 else everything
        for place, name in enumerate(pool):
            if name in names:
                others[name] = [first[other] for other in (*pool[place + 1 :], *pool[:place])]
    return [replace(question, media=partial(_of_another, question, others[question.cluster])) for question in questions]


def _of_another(question: Question, others: Sequence[Question]) -> tuple[Image, ...]:
    """The first that is not the same picture: two clusters may be about one."""
    own = [image.digest for image in pictures_of(question)]
    for other in others:
        pictures = pictures_of(other)
        if [image.digest for image in pictures] != own:
            return pictures
    raise SensoriumError(question.where, "all other questions are about the same picture.", "Raise --limit.")


def pictures_of(question: Question) -> tuple[Image, ...]:
    """Raises SensoriumError where the question is about a video."""
    media = question.media()
    pictures = tuple(medium for medium in media if isinstance(medium, Image))
    if len(pictures) < len(media):
        raise SensoriumError(question.where, "is about a video; this probe is for pictures.",
                             "Take --probe no-picture.")
    return pictures


NO_PICTURE = Probe("no-picture", "without the picture", without_pictures)
GREY = Probe("grey", "with an even grey picture of the same size", with_grey_pictures)
SHUFFLED = Probe("shuffled", "with the picture of another question", with_shuffled_pictures)
BLIND = (NO_PICTURE, GREY, SHUFFLED)
