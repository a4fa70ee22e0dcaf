"""Scores by kind of question, found in the scorers' own names: `by.task_type.Counting`, `subtasks.color.score`.

Names that differ in one level are a family, if there are three of them; what is left are headlines. Nothing here knows
of a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.evaluation.report_page.view import Bucket, Family
from sensorium.evaluation.results import Results, Score

FEWEST = 3  # buckets; fewer are no shape
TOPS = (1.0, 100.0, 200.0)


def families_of(results: Results) -> tuple[list[Score], list[Family]]:
    """(scores that belong to no family, families). The tasks of the run come first."""
    left, found = [], []
    groups = _grouped(results.scores)
    for pattern, scores in groups.items():
        if "*" not in pattern:
            left += scores
            continue
        place = pattern.index("*")
        buckets = tuple(Bucket(score.name.split(".")[place], score.value, score.low, score.high) for score in scores)
        title = " ".join(level.replace("_", " ") for level in pattern if level not in ("*", "by"))
        found.append(Family(title, buckets, _top(scores)))
    return left, found


def _grouped(scores: Sequence[Score]) -> dict[tuple[str, ...], list[Score]]:
    """Levels of the names, the one that varies the most as `*`."""
    patterns: dict[tuple[str, ...], list[Score]] = {}
    for score in scores:
        for pattern in _patterns(score):
            patterns.setdefault(pattern, []).append(score)
    found: dict[tuple[str, ...], list[Score]] = {}
    for score in scores:
        widest = max(_patterns(score), key=lambda pattern: len(patterns[pattern]), default=())
        is_family = bool(widest) and len(patterns[widest]) >= FEWEST
        found.setdefault(widest if is_family else tuple(score.name.split(".")), []).append(score)
    return found


def _patterns(score: Score) -> list[tuple[str, ...]]:
    """Each way to leave one level open; the first level never is."""
    levels = score.name.split(".")
    return [(*levels[:i], "*", *levels[i + 1 :]) for i in range(1, len(levels))]


def _top(scores: Sequence[Score]) -> float:
    highest = max(score.high for score in scores)
    return next((top for top in TOPS if highest <= top), highest)
