"""What a check of a dataset finds: how many rows there are, what was answered, and every fault with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sensorium.conversation import Conversation
from sensorium.errors import SensoriumError

Row = TypeVar("Row")
_MOST_PROBLEMS = 200  # reported; a broken build repeats one problem a thousand times


@dataclass
class CheckReport:
    """What was found. rows: split -> file -> rows read; answers: split -> (kind, "Yes" or "No") -> how many."""

    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    answers: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.problems

    def add(self, where: object, what: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{where}: {what}")


def good_rows(path: Path, parse: Callable[[Any, str], Row], report: CheckReport) -> Iterator[tuple[str, Row]]:
    """(where, row) of every row that parses; the others become problems."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        report.add(path, f"cannot be read ({error.strerror or error}).")
        return
    for number, line in enumerate(lines, start=1):
        where = f"{path} row {number}"
        try:
            row = parse(json.loads(line), where)
        except ValueError as error:
            report.add(where, f"is not JSON ({error}).")
        except SensoriumError as error:
            report.add(error.where, error.what)
        else:
            yield where, row


def check_held_out(
    held_out: Mapping[str, Collection[str]], shown: Mapping[str, set[str]], split: str, where: str, report: CheckReport
) -> None:
    """Nothing held out may be seen in train and val; what a test split is for must be seen there.

    held_out, shown: kind of thing (objects, styles, backgrounds, words, fonts) -> names.
    """
    in_test = split.startswith("test")
    only = {"objects": split == "test_objects", "styles": split == "test_style", "fonts": split == "test_style"}
    for kind, names in shown.items():
        is_allowed = only.get(kind, in_test)
        leaked = names & set(held_out.get(kind, ()))
        if leaked and not is_allowed:
            report.add(f"{where}: {kind}", f"{', '.join(sorted(leaked))} is held out and may not be in {split}.")
        if names and is_allowed and not leaked and held_out.get(kind):
            report.add(f"{where}: {kind}", f"nothing held out is shown, though {split} is for that.")


def check_turns(messages: Any, where: str, report: CheckReport) -> Conversation | None:
    """The conversation, if it is one in which user and assistant take turns."""
    try:
        conversation = Conversation.from_json(messages, where)
    except SensoriumError as error:
        report.add(error.where, error.what)
        return None
    roles = [message.role for message in conversation if message.role != "system"]
    if len(roles) < 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        report.add(f"{where}: messages", "users and assistants do not take turns.")
        return None
    return conversation


def check_counts(expected: Mapping[str, int], counts: Mapping[str, int], folder: Path, report: CheckReport) -> None:
    """As many good rows in each file of a split as its dataset says."""
    for kind, number in expected.items():
        if counts.get(kind) != number:
            report.add(folder / f"{kind}.jsonl", f"has {counts.get(kind)} good rows, dataset.json says {number}.")
