"""A whole evaluation on paper: `results.json` for programs, `table.md` for model cards, a table for the terminal.

Every score stands beside the same model's blind score and beside chance; without these two a number means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from sensorium.evaluation.metrics import Estimate
from sensorium.evaluation.scoring import (
    ANSWERS_CHANCE_MEANS,
    CHANCE_MEANS,
    AnswersScore,
    CaptionScore,
    GroundingScore,
    QuestionsScore,
    ScenesScores,
    Score,
)
from sensorium.evaluation.speech import SpeechScores
from sensorium.files import write_whole

FORMAT = "sensorium-evaluation-1"
_UNITS = {QuestionsScore: "of 200", CaptionScore: "F1", GroundingScore: "IoU ≥ 0.5", AnswersScore: "right"}
COLUMNS = ("split", "measure", "score", "95 %", "blind", "chance", "pictures", "details")


@dataclass
class Report:
    """What was measured of one model on one dataset. model, data: what identifies them, written as given."""

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    limit: int | None = None
    seen: dict[str, ScenesScores] = field(default_factory=dict)
    blind: dict[str, ScenesScores] = field(default_factory=dict)
    speech: SpeechScores | None = None

    def add(self, scores: ScenesScores) -> None:
        (self.blind if scores.blind else self.seen)[scores.split] = scores

    def to_json(self) -> dict[str, Any]:
        splits = {
            split: {
                "seen": scores.to_json(),
                "blind": self.blind[split].to_json() if split in self.blind else None,
                "chance": {subset: round(value, 4) for subset, value in scores.chance.items()},
            }
            for split, scores in self.seen.items()
        }
        return {
            "format": FORMAT,
            "model": dict(self.model),
            "data": dict(self.data),
            "limit": self.limit,
            "splits": splits,
            "chance_means": self.chance_means,
            "speech": None if self.speech is None else self.speech.to_json(),
        }

    @property
    def chance_means(self) -> dict[str, str]:
        """What chance means of whatever was measured; of short answers only where there are some."""
        measured = [one for scores in self.seen.values() for one in scores.scores.values()]
        has_answers = any(isinstance(one, AnswersScore) for one in measured)
        return CHANCE_MEANS | (ANSWERS_CHANCE_MEANS if has_answers else {})

    def rows(self) -> list[tuple[str, ...]]:
        """One row of COLUMNS for each split and measure, as text."""
        found: list[tuple[str, ...]] = []
        for split, scores in self.seen.items():
            for subset, score in scores.scores.items():
                blind = self.blind[split].scores.get(subset) if split in self.blind else None
                shown = _shower(score)
                found.append((
                    split, _title(subset, score), shown(score.headline.value), _interval(score.headline, shown),
                    shown(blind.headline.value) if blind else "–", shown(scores.chance[subset]),
                    str(score.pictures), _details(score),
                ))  # fmt: skip
        return found

    def markdown(self) -> str:
        """The table, what its columns mean, and the speech line."""
        lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows()]
        blind = "Blind: every picture replaced by an even grey one of its size."
        lines += ["", f"{blind} Chance: {self.chance_line()}."]
        if self.speech is not None:
            lines += ["", speech_line(self.speech)]
        return "\n".join(lines) + "\n"

    def chance_line(self) -> str:
        return "; ".join(f"{subset}, {meaning}" for subset, meaning in self.chance_means.items())

    def table(self) -> Table:
        """For the terminal: without the details, which are too wide for it."""
        table = Table(*COLUMNS[:-1], title=f"{self.model.get('name', 'model')} on {self.data.get('name', 'data')}")
        last = None
        for row in self.rows():
            if last not in (None, row[0]):
                table.add_section()
            table.add_row("" if last == row[0] else row[0], *row[1:-1])
            last = row[0]
        return table

    def write(self, folder: Path) -> None:
        """results.json and table.md, each whole or not at all. Raises SensoriumError when the disk refuses."""
        write_whole(folder / "results.json", json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n")
        write_whole(folder / "table.md", self.markdown())


def speech_line(speech: SpeechScores) -> str:
    """The comparison with the plain language model in one sentence."""
    said = (
        f"Speech, on {len(speech.replies)} prompts without a picture: {speech.equal:.0%} of the greedy replies are the "
        "plain language model's, letter for letter"
    )
    if speech.log_p is None or speech.plain_log_p is None:
        return said + "."
    return said + (
        f"; its replies have a mean log P of {speech.log_p:.3f} a token, under the plain model itself "
        f"{speech.plain_log_p:.3f}."
    )


def _title(subset: str, score: Score) -> str:
    return f"{subset.replace('_', ' ')} ({_UNITS[type(score)]})"


def _shower(score: Score) -> Callable[[float], str]:
    """Scores of 200 with one decimal, shares with two."""
    return "{:.1f}".format if isinstance(score, QuestionsScore) else "{:.2f}".format


def _interval(estimate: Estimate, shown: Callable[[float], str]) -> str:
    return f"{shown(estimate.low)}–{shown(estimate.high)}"


def _details(score: Score) -> str:
    if isinstance(score, QuestionsScore):
        accuracy = _interval(score.accuracy, "{:.1f}".format)
        return (
            f"accuracy {score.accuracy.value:.1f} ({accuracy}), accuracy+ {score.accuracy_plus.value:.1f}, "
            f"yes {score.yes_share:.0%}, unparsed {score.unparsed}"
        )
    if isinstance(score, CaptionScore):
        precision = "–" if score.precision is None else f"{score.precision:.2f}"
        hallucinated = "–" if score.hallucinated is None else f"{score.hallucinated:.2f}"
        return f"precision {precision}, recall {score.recall:.2f}, hallucinated {hallucinated}"
    if isinstance(score, AnswersScore):
        return f"questions {score.questions}, unread {score.unparsed}"
    return f"mean IoU {score.mean_iou:.2f}, without a box {score.unparsed}"
