"""ANLS (arXiv:1907.00490): how near an answer read from a document is to what stands there; DocVQA, InfographicVQA.

An answer is worth 1 - edit distance / length, nothing below a half; the best of the right answers counts. Official
files: {data: [{questionId, answers}]} and a submission [{questionId, answer}].

variants: `official` (the RRC script, also lmms-eval's): the distance is taken of the texts with blanks collapsed, the
length of the **raw** ones, and exactly a half is kept; so blanks around a wrong answer raise its score. `vlmevalkit`:
the same in percent. `strict` (the package `anls`): one and the same cleaned text, and a half is nothing. `pix2struct`:
blanks are left alone, a half is kept, percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.scorers.edit_distance import edit_distance
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import read_rows, same_ids

VARIANTS = ("official", "vlmevalkit", "lmms-eval", "strict", "pix2struct")
THRESHOLD = 0.5


@dataclass(frozen=True)
class DocumentReply:
    """answers: any of which is right; picture: whose questions belong together, None where that is not known."""

    answers: tuple[str, ...]
    reply: str
    picture: str | None = None


def read(questions: Path, answers: Path) -> list[DocumentReply]:
    """Raises SensoriumError naming file and line; both must be about the same questions."""
    asked, answered = read_rows(questions, "data"), read_rows(answers, "data")
    found = []
    for i, j in same_ids(asked, answered, "questionId"):
        picture = asked[i].get("image") or asked[i].get("image_local_name")
        found.append(DocumentReply(
            tuple(asked.texts(i, "answers")), answered.text(j, "answer"), str(picture) if picture else None,
        ))  # fmt: skip
    if not found:
        raise SensoriumError(questions, "holds no questions.")
    return found


def similarity(reply: str, answers: Sequence[str], variant: str = "official") -> float:
    """Of one reply, 0-1."""
    if variant == "strict":
        return max(_strict(_cleaned(reply), _cleaned(answer)) for answer in answers)
    if variant == "pix2struct":
        return max(1 - far if (far := _far(reply.lower(), answer.lower())) <= THRESHOLD else 0.0 for answer in answers)
    nearest = 1 - min(_far_of_raw(reply, answer) for answer in answers)
    return nearest if nearest >= THRESHOLD else 0.0


def _strict(reply: str, answer: str) -> float:
    far = _far(reply, answer)
    return 1 - far if far < THRESHOLD else 0.0


def _far_of_raw(reply: str, answer: str) -> float:
    length = max(len(answer.upper()), len(reply.upper()))
    return _distance(_cleaned(answer), _cleaned(reply), length) / length if length else 0.0


def _far(reply: str, answer: str) -> float:
    length = max(len(answer.upper()), len(reply.upper()))
    return _distance(answer, reply, length) / length if length else 0.0


def _distance(first: str, second: str, length: int) -> int:
    """Not counted out where the lengths alone make it more than half: the answer is worth nothing either way."""
    least = abs(len(first) - len(second))
    return least if least > length * (1 - THRESHOLD) else edit_distance(first, second)


def _cleaned(text: str) -> str:
    return " ".join(text.strip().lower().split())


def score(replies: Sequence[DocumentReply], variant: str = "official") -> Outcome:
    """`anls`: 0-1, for `vlmevalkit` and `pix2struct` in percent. Interval by picture where pictures are named."""
    scale = 100 if known_variant(variant, VARIANTS) in ("vlmevalkit", "pix2struct") else 1
    clusters = Clusters()
    total = 0.0
    for reply in replies:
        worth = similarity(reply.reply, reply.answers, variant)
        total += worth
        clusters.add(reply.picture, worth, 1)
    values = {"anls": scale * total / len(replies), "questions": len(replies)}
    return Outcome("anls", variant, values, {"anls": clusters.mean_interval(scale)})
