"""The tables of a model card, from the folders that `sensorium evaluate` left, put between the card's marks.

A card says `<!-- scores: NAME -->` and `<!-- end -->` where a table belongs; all else is left as its author wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.choice import find_benchmark
from sensorium.evaluation.results import Results, shown
from sensorium.files import write_whole

COLUMNS = ("benchmark", "score", "value", "95 %", "without pictures", "questions")
# What a reader of a card looks for first; a benchmark that is not here shows all of its scores.
HEADLINES = {
    "scenes-mme": ("perception", "subtasks.existence.score", "subtasks.count.score", "subtasks.position.score",
                   "subtasks.color.score"),
    "scenes-pope": ("accuracy", "f1", "yes_ratio"),
    "scenes-caption": ("chair_s", "chair_i", "recall", "amber.cog"),
    "scenes-refcoco": ("precision",),
    "easy-vqa": ("accuracy", "by.yes-no", "by.shape", "by.color"),
}  # fmt: skip


def benchmarks_table(runs: Sequence[Results]) -> str:
    """Markdown: each headline with its interval, and what the same model scores without pictures where it was asked."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for run in runs:
        blind = next((one for one in run.probes.blind if one.probe == "no-picture"), None)
        unseen = {} if blind is None else {score.name: shown(score.value) for score in blind.scores}
        wanted = HEADLINES.get(run.benchmark)
        for score in run.scores:
            if wanted is None or score.name in wanted:
                cells = (find_benchmark(run.benchmark).name, score.name, shown(score.value),
                         f"{shown(score.low)}–{shown(score.high)}", unseen.get(score.name, "–"), str(run.answered))
                lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(_gain(run) for run in runs if run.probes.blind)]
    return "\n".join(lines).rstrip() + "\n"


def _gain(run: Results) -> str:
    said = []
    for one in run.probes.blind:
        between = "" if one.gain_low is None else f" ({one.gain_low:+.3f} to {one.gain_high:+.3f})"
        said.append(f"{one.probe} {one.gain:+.3f}{between}")
    bias = run.probes.polarity
    leaning = "" if bias is None else f"; d' {bias.d_prime:.2f}, criterion {bias.criterion:+.2f}"
    unread = f"; {run.unread} of {run.answered} replies unread" if run.unread else ""
    return f"- {run.benchmark}: gain of seeing over {', '.join(said)}{leaning}{unread}."


def put_into_card(card: Path, name: str, content: str) -> None:
    """Between the marks of that name. Raises SensoriumError for a card without them, or with two."""
    try:
        text = card.read_text(encoding="utf-8")
    except OSError as error:
        raise SensoriumError(card, f"cannot be read ({error.strerror or error}).") from error
    begin, end = f"<!-- scores: {name} -->\n", "<!-- end -->"
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.S)
    found = pattern.findall(text)
    if len(found) != 1:
        raise SensoriumError(card, f"has {len(found)} places {begin.strip()} … {end}.", "Give it one.")
    write_whole(card, pattern.sub(lambda match: f"{match[1]}{content.rstrip()}\n{match[2]}", text))


def read_results(folder: Path) -> Results:
    """Of a finished run. Raises SensoriumError where there is none, or of another version."""
    path = folder / "results.json"
    try:
        return Results.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SensoriumError(path, "is not there, or not what this version writes.",
                             f"Run `sensorium rescore {folder}`.") from error
