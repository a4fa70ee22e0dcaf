"""Which questions the page shows in full: where two runs differ, then errors, then the rest; all tasks alike."""

from __future__ import annotations

import random
from collections.abc import Iterable

from sensorium.evaluation.report_page.view import Runs

ORDERS = ("errors", "random", "all")


def choose(runs: Runs, n: int, order: str = "errors", seed: int = 0) -> list[str]:
    """Ids of at most n questions (of all, for `all`), those about one picture together, else in the order of the data.

    Within a kind they are drawn by the seed, a task at a time, so that no task fills the page.
    """
    ids = list(runs.first.samples)
    if order == "all":
        return _by_picture(runs, ids)
    drawn = ids.copy()
    random.Random(seed).shuffle(drawn)
    if order == "errors":
        groups: list[list[str]] = [[], [], []]
        for name in drawn:
            groups[0 if differs(runs, name) else 1 if _is_error(runs, name) else 2].append(name)
        drawn = [name for group in groups for name in _round_robin(runs, group)]
    chosen = set(drawn[:n])
    return _by_picture(runs, [name for name in ids if name in chosen])


def differs(runs: Runs, name: str) -> bool:
    """Whether two runs were judged differently; of one run, never."""
    return len({view.samples[name].verdict for view in runs.views}) > 1


def _by_picture(runs: Runs, names: Iterable[str]) -> list[str]:
    pictures: dict[str, list[str]] = {}
    for name in names:
        pictures.setdefault(runs.first.samples[name].cluster, []).append(name)
    return [name for group in pictures.values() for name in group]


def _is_error(runs: Runs, name: str) -> bool:
    return any(view.samples[name].verdict != "right" for view in runs.views)


def _round_robin(runs: Runs, names: Iterable[str]) -> list[str]:
    tasks: dict[str, list[str]] = {}
    for name in names:
        tasks.setdefault(runs.first.samples[name].task, []).append(name)
    placed = [(place, name) for group in tasks.values() for place, name in enumerate(group)]
    return [name for _, name in sorted(placed, key=lambda pair: pair[0])]
