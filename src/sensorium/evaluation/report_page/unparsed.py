"""Replies in which the rules read nothing, and what they do to the score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sensorium.evaluation.report_page.view import RunView, Sample


@dataclass(frozen=True)
class Effect:
    """Mean worth of the questions: as scored, of the replies that were read alone, and if all others had been right."""

    task: str
    unparsed: int
    of: int
    scored: float
    read_alone: float | None
    if_right: float


def effects(view: RunView) -> list[Effect]:
    """Of all questions, then of each task that has such replies, if there are several tasks."""
    samples = list(view.samples.values())
    tasks: dict[str, list[Sample]] = {}
    for sample in samples:
        tasks.setdefault(sample.task, []).append(sample)
    found = [_effect("all", samples)]
    if len(tasks) > 1:
        found += [effect for effect in (_effect(task, group) for task, group in tasks.items()) if effect.unparsed]
    return found


def unparsed(view: RunView) -> list[Sample]:
    return [sample for sample in view.samples.values() if sample.verdict == "unparsed"]


def _effect(task: str, samples: Iterable[Sample]) -> Effect:
    first = [sample.answered[0] for sample in samples]
    read = [one.worth for one in first if one.verdict != "unparsed"]
    total, missed = sum(one.worth for one in first), len(first) - len(read)
    return Effect(
        task, missed, len(first), total / len(first), sum(read) / len(read) if read else None,
        (sum(read) + missed) / len(first),
    )  # fmt: skip
