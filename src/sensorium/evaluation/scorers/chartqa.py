"""ChartQA (arXiv:2203.10244): relaxed accuracy, right words or a number within five percent.

Official files: an array of {imgname, query, label} for people's and one for machine-made questions; the score is the
mean of the two. Predictions: rows {answer} in the same order.

variants: `official` (pix2struct's code, percent), `vlmevalkit` (the same, but blanks around a reply are taken off
first), `lmms-eval` (0-1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters, interval_of_sum
from sensorium.evaluation.metrics import ratio
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import read_rows, same_length

VARIANTS = ("official", "vlmevalkit", "lmms-eval")
TOLERANCE = 0.05


@dataclass(frozen=True)
class ChartReply:
    """picture: whose questions belong together, None where that is not known."""

    answers: tuple[str, ...]
    reply: str
    picture: str | None = None


def read(questions: Path, answers: Path) -> list[ChartReply]:
    """Raises SensoriumError naming file and line."""
    asked, answered = read_rows(questions), read_rows(answers)
    same_length(asked, answered)
    found = []
    for i in range(len(asked)):
        picture = asked[i].get("imgname")
        asks, says = asked[i].get("query"), answered[i].get("query", answered[i].get("question"))
        if says is not None and asks != says:
            what = f"answers {says!r}, but {asked.where(i)} asks {asks!r}."
            raise answered.fault(i, what, "Are these files of one set, in one order?")
        label = tuple(asked.texts(i, "label"))
        found.append(ChartReply(label, answered.text(i, "answer", "prediction"), str(picture) if picture else None))
    if not found:
        raise SensoriumError(questions, "holds no questions.")
    return found


def is_right(reply: str, answer: str) -> bool:
    """Numbers as Python reads them, % divides by 100; else the same letters, case apart, blanks included.

    So "5" is not "$5", "1000" not "1,000", and "0" is right for "0" by its letters alone. Binary floating point decides
    at the edge: -4.2 for -4 is wrong.
    """
    said, true = _number(reply), _number(answer)
    if said is not None and true:
        return abs(said - true) / abs(true) <= TOLERANCE
    return reply.lower() == answer.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def score(splits: Mapping[str, Sequence[ChartReply]], variant: str = "official") -> Outcome:
    """splits: name -> replies. `relaxed_accuracy`: the mean of the splits; `splits`: each. Intervals by chart."""
    scale = 1 if known_variant(variant, VARIANTS) == "lmms-eval" else 100
    values: dict[str, float] = {}
    clusters = {name: Clusters() for name in splits}
    for name, replies in splits.items():
        right = 0
        for reply in replies:
            said = reply.reply.strip() if variant == "vlmevalkit" else reply.reply
            is_one = any(is_right(said, answer) for answer in reply.answers)
            right += is_one
            clusters[name].add(reply.picture, is_one, 1)
        values[name] = scale * right / len(replies)
    intervals = {name: one.mean_interval(scale) for name, one in clusters.items()}
    n = len(splits)
    overall = next(iter(intervals.values())) if n == 1 else interval_of_sum(
        list(clusters.values()), lambda means: scale * ratio(means[..., 0], means[..., 1]) / n
    )  # fmt: skip
    return Outcome(
        "chartqa", variant,
        {"relaxed_accuracy": sum(values.values()) / n, "splits": values, "questions": sum(map(len, splits.values()))},
        {"relaxed_accuracy": overall, "splits": intervals},
    )  # fmt: skip
