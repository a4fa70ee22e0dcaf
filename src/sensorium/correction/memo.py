"""What was found out once is not found out again: evidence by picture, phrase, verifier and its version.

In memory, and in a file of JSON lines where one is given, so that a second run asks no model at all. Also the meter:
what a report has cost so far, and whether its budget allows more.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from sensorium.correction.records import Cost, Evidence
from sensorium.errors import SensoriumError

Key = tuple[str, str, str, str]


class Memo:
    """path: a file of earlier evidence, read at once and appended to; None keeps everything in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._known: dict[Key, Evidence] = {}
        self._path = path
        if path is not None and path.exists():
            self._load(path)

    def get(self, picture: str, phrase: str, verifier: str, version: str) -> Evidence | None:
        return self._known.get((picture, phrase, verifier, version))

    def put(self, picture: str, phrase: str, evidence: Evidence) -> None:
        key = (picture, phrase, evidence.verifier, evidence.version)
        self._known[key] = evidence
        if self._path is not None:
            row = {"picture": picture, "phrase": phrase, "evidence": evidence.model_dump(mode="json")}
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            except OSError as error:
                raise SensoriumError(self._path, f"cannot be written ({error.strerror}).", "Choose another place."
                                     ) from error  # fmt: skip

    def __len__(self) -> int:
        return len(self._known)

    def _load(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                evidence = Evidence.model_validate(row["evidence"])
                self._known[row["picture"], row["phrase"], evidence.verifier, evidence.version] = evidence
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines):
                    break  # a run that was stopped wrote half a line; what it held is found out again
                raise SensoriumError(f"{path} row {number}", "is no evidence.", "Delete the file.") from error


@dataclass(frozen=True)
class Budget:
    """The most that one report may take; None: without limit. What is beyond it stays unknown."""

    milliseconds: float | None = None
    calls: int | None = None


@dataclass
class Meter:
    """Counts what one report costs. Verifiers call `count` at each call of a model, and ask `allows` before it."""

    budget: Budget = Budget()
    calls: dict[str, int] = field(default_factory=dict)
    remembered: int = 0
    skipped: int = 0
    _began: float = field(default_factory=time.perf_counter)
    _paused: float | None = None

    @property
    def milliseconds(self) -> float:
        return ((self._paused or time.perf_counter()) - self._began) * 1000

    def pause(self) -> None:
        """Time does not count from now on: somebody else is at work."""
        self._paused = self._paused or time.perf_counter()

    def go_on(self) -> None:
        """Time counts again."""
        if self._paused is not None:
            self._began += time.perf_counter() - self._paused
            self._paused = None

    def allows(self) -> bool:
        """Whether one more call of a model is within the budget."""
        in_time = self.budget.milliseconds is None or self.milliseconds < self.budget.milliseconds
        return in_time and (self.budget.calls is None or sum(self.calls.values()) < self.budget.calls)

    def count(self, name: str, calls: int = 1) -> None:
        self.calls[name] = self.calls.get(name, 0) + calls

    def cost(self) -> Cost:
        return Cost(milliseconds=round(self.milliseconds, 1), calls=dict(self.calls), remembered=self.remembered,
                    skipped=self.skipped)  # fmt: skip
