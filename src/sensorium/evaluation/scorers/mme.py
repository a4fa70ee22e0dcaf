"""MME (arXiv:2306.13394): fourteen subtasks of yes and no, two questions a picture; perception of 2000, cognition of
800.

A subtask's score is 100 times the share of right answers plus 100 times the share of pictures with both right. The
official files are one `SUBTASK.txt` each, four fields a line apart by tabs: picture, question, truth, reply; two lines
that follow one another belong to one picture. MME's content may not be redistributed, so none of it is here.

variants: `official` (the tool of its authors), `vlmevalkit` (yes or no as words, without a judge), `lmms-eval` (blanks
and periods out first, and the mean over pictures).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters, Interval, interval_of_sum
from sensorium.evaluation.metrics import Floats, Label
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.yes_no import MME_RULES

VARIANTS = ("official", "vlmevalkit", "lmms-eval")
# Subtask -> pictures in the whole benchmark.
PERCEPTION = {
    "existence": 30, "count": 30, "position": 30, "color": 30, "posters": 147, "celebrity": 170, "scene": 200,
    "landmark": 200, "artwork": 200, "OCR": 20,
}  # fmt: skip
COGNITION = {"commonsense_reasoning": 70, "numerical_calculation": 20, "text_translation": 20, "code_reasoning": 20}
PICTURES = PERCEPTION | COGNITION
_FIELDS = 4


@dataclass(frozen=True)
class MmeReply:
    """truth: "yes" or "no". reply: as the file has it, its line end included (the official rule looks at it)."""

    picture: str
    question: str
    truth: str
    reply: str


@dataclass(frozen=True)
class _Subtask:
    """right: of each picture's two questions."""

    labels: Sequence[tuple[str, Label]]
    right: Sequence[tuple[bool, bool]]

    @property
    def clusters(self) -> Clusters:
        clusters = Clusters()
        for pair in self.right:
            clusters.add(None, sum(pair) / 2, float(all(pair)))
        return clusters


def read(folder: Path, is_partial: bool = False) -> dict[str, list[MmeReply]]:
    """subtask -> replies of a folder of official files. is_partial: put up with subtasks that are not there.

    Raises SensoriumError naming file and line.
    """
    if not folder.is_dir():
        raise SensoriumError(folder, "is no folder.", "Name the folder that holds existence.txt and the others.")
    paths = {subtask: folder / f"{subtask}.txt" for subtask in PICTURES}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing and (not is_partial or len(missing) == len(paths)):
        remedy = "" if is_partial else "To score the others alone: --partial."
        raise SensoriumError(folder, f"has no {', '.join(missing)}.", remedy)
    return {subtask: _read_file(path) for subtask, path in paths.items() if path.name not in missing}


def _read_file(path: Path) -> list[MmeReply]:
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.readlines()
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise SensoriumError(path, f"is not UTF-8 ({error.reason}).") from error
    replies: list[MmeReply] = []
    seen: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path} line {number}"
        cells = line.split("\t")
        if len(cells) != _FIELDS:
            remedy = "A line is: picture, tab, question, tab, Yes or No, tab, reply; no tabs or line ends in the reply."
            raise SensoriumError(where, f"has {len(cells)} fields where {_FIELDS} should be.", remedy)
        picture, question, truth, reply = cells
        if truth.lower() not in ("yes", "no"):
            raise SensoriumError(where, f"the truth is {truth!r}, neither Yes nor No.")
        first = seen.setdefault((picture, question), number)
        if first != number:
            raise SensoriumError(where, f"asks about {picture} what line {first} asked.", "Keep one of them.")
        if number % 2 == 0 and replies[-1].picture != picture:
            what = f"is about {picture}, the line before it about {replies[-1].picture}."
            raise SensoriumError(where, what, "Two lines that follow one another belong to one picture.")
        replies.append(MmeReply(picture, question, truth.lower(), reply))
    if not replies or len(replies) % 2:
        raise SensoriumError(path, f"has {len(replies)} lines; each picture has two.", "Was the file cut off?")
    return replies


def score(replies: Mapping[str, Sequence[MmeReply]], variant: str = "official") -> Outcome:
    """replies: subtask -> replies, the two about one picture one after the other.

    Subtasks: `acc`, `acc_plus`, `precision`, `recall` as shares; `score` of 200; `other`: replies that say neither,
    which are wrong, and left out of precision and recall. `perception` and `cognition` are sums over subtasks.
    """
    rule = MME_RULES[known_variant(variant, VARIANTS)]
    known = {name: _labelled(replies[name], rule) for name in PICTURES if name in replies}
    subtasks = {name: _subtask_values(subtask, variant) for name, subtask in known.items()}
    intervals: dict[str, Any] = {
        group: interval_of_sum([known[name].clusters for name in names if name in known], _score)
        for group, names in (("perception", PERCEPTION), ("cognition", COGNITION)) if any(n in known for n in names)
    }  # fmt: skip
    intervals["subtasks"] = {name: _subtask_intervals(subtask) for name, subtask in known.items()}
    return Outcome(
        "mme", variant,
        {"perception": _sum(subtasks, PERCEPTION), "cognition": _sum(subtasks, COGNITION), "subtasks": subtasks},
        intervals, tuple(_notes(known)),
    )  # fmt: skip


def _labelled(replies: Sequence[MmeReply], rule: Any) -> _Subtask:
    labels = [(reply.truth, rule(reply.reply)) for reply in replies]
    right = [truth == label for truth, label in labels]
    return _Subtask(labels, list(zip(right[::2], right[1::2], strict=True)))


def _subtask_values(subtask: _Subtask, variant: str) -> dict[str, Any]:
    pictures = len(subtask.right)
    count = {pair: subtask.labels.count(pair) for pair in
             [("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")]}  # fmt: skip
    right_yes, said_yes = count["yes", "yes"], count["yes", "yes"] + count["no", "yes"]
    true_yes = right_yes + count["yes", "no"]
    acc = (right_yes + count["no", "no"]) / (2 * pictures)
    acc_plus = sum(all(pair) for pair in subtask.right) / pictures
    total = 100 * acc + 100 * acc_plus
    if variant == "lmms-eval":  # the same but for the order of adding, which shows in the last digits
        total = sum(100.0 * all(pair) + sum(pair) / 2 * 100.0 for pair in subtask.right) / pictures
    return {
        "acc": acc,
        "acc_plus": acc_plus,
        "score": total,
        "other": sum(label == "other" for _, label in subtask.labels),
        "precision": right_yes / said_yes if said_yes else 0.0,
        "recall": right_yes / true_yes if true_yes else 0.0,
        "pictures": pictures,
    }


def _subtask_intervals(subtask: _Subtask) -> dict[str, Interval]:
    score = subtask.clusters.interval(_score)
    pairs, both = Clusters(), Clusters()
    for pair in subtask.right:
        pairs.add(None, sum(pair), 2)
        both.add(None, all(pair), 1)
    return {"acc": pairs.mean_interval(), "acc_plus": both.mean_interval(), "score": score}


def _sum(subtasks: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> float | None:
    scores = [subtasks[name]["score"] for name in names if name in subtasks]
    return sum(scores) if scores else None


def _score(means: Floats) -> Floats:
    """[..., (share right, both right)] -> of 200."""
    return 100 * means.sum(-1)


def _notes(known: Mapping[str, _Subtask]) -> Iterable[str]:
    if missing := [name for name in PICTURES if name not in known]:
        yield f"not scored: {', '.join(missing)}; sums are over the other subtasks"
    for name, subtask in known.items():
        if len(subtask.right) != PICTURES[name]:
            yield f"{name}: {len(subtask.right)} pictures, {PICTURES[name]} in the whole benchmark"
