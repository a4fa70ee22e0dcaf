"""Ways to answer, as tables: one for each task, ways in its rows; and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from sensorium.evaluation.benchmarks import BENCHMARKS
from sensorium.evaluation.gains import DESCRIBED, PAIRED, Gain, Share
from sensorium.evaluation.methods import PLAIN, Cost, Row
from sensorium.files import write_whole

COLUMNS = ("way", "score", "change", "fixed", "harmed", "coverage", "recall", "words", "time", "passes", "calls")


def titles(rows: Sequence[Row]) -> Iterator[tuple[str, list[tuple[Row, Gain]]]]:
    """(title, the rows with their gain) of each task of each benchmark, in their order."""
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        ours = [row for row in rows if row.benchmark == benchmark]
        unit = "of 200" if benchmark in PAIRED else "F1 of names, %" if benchmark in DESCRIBED else "right, %"
        for number, task in enumerate(gain.task for gain in ours[0].gains):
            yield f"{BENCHMARKS[benchmark].title}: {task} ({unit})", [(row, row.gains[number]) for row in ours]


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """For the terminal."""
    for title, found in titles(rows):
        is_described = found[0][0].benchmark in DESCRIBED
        table = Table(*COLUMNS, *(("CHAIR i",) if is_described else ()), title=title)
        for row, gain in found:
            table.add_row(*_cells(row, gain), *((_share(gain.false),) if is_described else ()))
        yield table


def markdown(rows: Sequence[Row]) -> str:
    written = []
    for title, found in titles(rows):
        is_described = found[0][0].benchmark in DESCRIBED
        columns = [*COLUMNS, *(("CHAIR i",) if is_described else ())]
        written += [f"**{title}**", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
        for row, gain in found:
            cells = [*_cells(row, gain), *((_share(gain.false),) if is_described else ())]
            written.append(f"| {' | '.join(cells)} |")
        written.append("")
    return "\n".join(written)


def write(rows: Sequence[Row], about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """methods.json and methods.md; returns what the former holds."""
    content = {"format": "sensorium-methods-1", **about, "rows": [row.to_json() for row in rows]}
    write_whole(folder / "methods.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / "methods.md", markdown(rows) + "\n")
    return content


def _cells(row: Row, gain: Gain) -> list[str]:
    score = f"{gain.score:.1f}" + ("" if gain.interval is None else f" ± {gain.interval[1] - gain.score:.1f}")
    change = gain.change.mean
    told = "–" if row.way == PLAIN else f"{change.value:+.1f}" + (
        "" if change.interval is None else f" ± {change.interval[1] - change.value:.1f}")  # fmt: skip
    is_plain = row.way == PLAIN
    return [row.way, score, told, "–" if is_plain else _share(gain.fixed), "–" if is_plain else _share(gain.harmed),
            _share(gain.coverage) if row.judged is None else f"{_share(gain.coverage)}; judged {_share(row.judged)}",
            _share(gain.recall), f"{gain.words:.1f}", *_cost(row.cost)]  # fmt: skip


def _share(share: Share) -> str:
    """In percent, with its interval."""
    return "–" if share.value is None else f"{share.value:.1%} ({share.low:.1%}–{share.high:.1%})"


def _cost(cost: Cost | None) -> tuple[str, str, str]:
    if cost is None:
        return "–", "–", "–"
    return f"{cost.seconds:.2f} s, x{cost.ratio:.2f}", str(cost.passes), f"{cost.calls:.2g}"
