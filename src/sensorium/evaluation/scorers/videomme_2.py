"""Video-MME-v2: four questions a video that are scored together, so that consistent answers count more than lucky ones.

The official file is a tab-separated table, a question a row, four rows that follow one another a group: columns level,
group_type, group_structure, second_head, third_head, answer, prediction. Groups of the type `relevance` score by how
many of the four are right: 0, 1, 4, 9, 16 of 16. Groups of the type `logic` by how far along their structure all is
right: a chain 1-2-3-4 the same; 1-(2,3)-4: 0, 1, 4, 7, 12 of 12; (1,2)-3-4: 0, 1, 2, 5, 10 of 10. Percent.

variants: `official`: also its fault, that a reply in which no letter is found scores as true inside a logic group, and
takes one from the count of a relevance group; `repaired`: such a reply is simply wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.scorers.choices import videomme_2_letter
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import Rows, read_table

VARIANTS = ("official", "repaired")
GROUP = 4
_UNREAD = -1
_CHAIN = (0, 1, 4, 9, 16)
# Structure -> points for 0 to 4 right in a row, and the two questions of which either may come first.
_STRUCTURES: dict[str, tuple[tuple[int, ...], tuple[int, int] | None]] = {
    "[1, 2, 3, 4]": (_CHAIN, None),
    "[1, [2, 3], 4]": ((0, 1, 4, 7, 12), (1, 2)),
    "[[1, 2], 3, 4]": ((0, 1, 2, 5, 10), (0, 1)),
}


@dataclass(frozen=True)
class VideoGroup:
    """structure: of a logic group, as the file writes it, "" of a relevance group; answers and replies: of the four."""

    structure: str
    answers: tuple[str, ...]
    replies: tuple[str, ...]
    level: str = ""
    second_head: str = ""
    third_head: str = ""


def read(path: Path) -> list[VideoGroup]:
    """Raises SensoriumError naming file and line."""
    rows = read_table(path)
    if not len(rows) or len(rows) % GROUP:
        raise SensoriumError(path, f"holds {len(rows)} questions; a group has {GROUP}.", "Was the table cut off?")
    return [_group(rows, i) for i in range(0, len(rows), GROUP)]


def _group(rows: Rows, first: int) -> VideoGroup:
    members = range(first, first + GROUP)
    last = rows[members[-1]]  # the tool takes a group's kind from its last row
    kind = rows.text(members[-1], "group_type")
    if len({rows.text(i, "group_type") for i in members}) > 1:
        raise rows.fault(members[-1], "is of another `group_type` than the rows before.", "Was the table reordered?")
    structure = _structure(rows, members[-1]) if kind == "logic" else ""
    if kind not in ("relevance", "logic"):
        raise rows.fault(members[-1], f"`group_type` is {kind!r}, neither relevance nor logic.")
    return VideoGroup(
        structure, tuple(rows.text(i, "answer") for i in members), tuple(rows.text(i, "prediction") for i in members),
        last.get("level", ""), last.get("second_head", ""), last.get("third_head", ""),
    )  # fmt: skip


def _structure(rows: Rows, i: int) -> str:
    written = rows.text(i, "group_structure")
    try:
        found = str(ast.literal_eval(written))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = written
    if found not in _STRUCTURES:
        raise rows.fault(i, f"`group_structure` is {written!r}.", f"Known: {', '.join(_STRUCTURES)}.")
    return found


def points(group: VideoGroup, variant: str = "official") -> float:
    """Of one group, percent."""
    right = [_right(reply, answer, variant) for reply, answer in zip(group.replies, group.answers, strict=True)]
    if not group.structure:
        reached = sum(right)
        return 100.0 * _CHAIN[reached] / _CHAIN[-1] if 0 <= reached <= GROUP else 0.0
    worth, either = _STRUCTURES[group.structure]
    reached = next((i for i, one in enumerate(right) if not one), GROUP)
    if either is not None and reached == either[0] and right[either[1]]:
        reached += 1
    return 100.0 * worth[reached] / worth[-1]


def _right(reply: str, answer: str, variant: str) -> int:
    letter = videomme_2_letter(reply)
    return int(letter == answer) if letter or variant == "repaired" else _UNREAD


def score(groups: Sequence[VideoGroup], variant: str = "official") -> Outcome:
    """`overall`: the mean over groups; `relevance`, `logic`, `by` level and heads; `accuracy` of the questions read."""
    known_variant(variant, VARIANTS)
    worth = [points(group, variant) for group in groups]
    letters = [[videomme_2_letter(reply) for reply in group.replies] for group in groups]
    clusters, accuracy = Clusters(), Clusters()
    buckets: dict[str, dict[str, list[float]]] = {}
    for number, (group, one, own) in enumerate(zip(groups, worth, letters, strict=True)):
        clusters.add(None, one)
        read_ = [letter == answer for letter, answer in zip(own, group.answers, strict=True) if letter]
        if read_:
            accuracy.add(number, sum(read_), len(read_))
        for key, name in _names(group):
            buckets.setdefault(key, {}).setdefault(name, []).append(one)
    means = {key: {name: sum(one) / len(one) for name, one in of_key.items()} for key, of_key in buckets.items()}
    values: dict[str, Any] = {"overall": sum(worth) / len(worth), **means.pop("type"), "by": means}
    unread = sum(own.count("") for own in letters)
    values |= {"accuracy": 100 * accuracy.mean, "groups": len(groups), "unread": unread}
    intervals = {"overall": clusters.interval(lambda rows: rows[..., 0]), "accuracy": accuracy.mean_interval(100)}
    return Outcome("videomme-2", variant, values, intervals)


def _names(group: VideoGroup) -> list[tuple[str, str]]:
    found = [("type", "logic" if group.structure else "relevance")]
    for key in ("level", "second_head", "third_head"):
        name = getattr(group, key)
        if name and name != "None":
            found.append((key, name))
    return found
