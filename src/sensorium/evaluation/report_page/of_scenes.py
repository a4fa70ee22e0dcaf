"""The view of a run of `sensorium evaluate scenes`: scored again from its replies, blind scores and chance beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.data.records import ANSWER_SUBSETS, BOX_SUBSETS
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.errors import SensoriumError
from sensorium.evaluation.metrics import wilson, yes_or_no
from sensorium.evaluation.naming import Names
from sensorium.evaluation.replies import ScenesReply, read_judged
from sensorium.evaluation.report import COLUMNS, Report
from sensorium.evaluation.report_page.view import (
    Answered,
    Bucket,
    Family,
    RunView,
    Sample,
    ScoreTable,
    in_words,
    verdict_of,
)
from sensorium.evaluation.scoring import ENOUGH_OVERLAP, overlap, score_scenes
from sensorium.evaluation.short_answers import read_answer
from sensorium.grounding import Box, parse_grounded

Judged = tuple[ScenesReply, bool]


def is_scenes(folder: Path) -> bool:
    return not (folder / "replies.jsonl").is_file() and any(folder.glob("replies-*.jsonl"))


def scenes_view(folder: Path, vocabulary: Sequence[str] | None = None) -> RunView:
    """vocabulary: the names that captions may give; the shipped ones where the data is not at hand.

    Raises SensoriumError for files that are damaged, and where no replies are of a model that saw the pictures.
    """
    names = Names(vocabulary or Vocabulary.load().names)
    results = _results(folder)
    report = Report(results.get("model", {"name": folder.name}), results.get("data", {}), results.get("limit"))
    samples: dict[str, Sample] = {}
    seen: dict[str, list[Judged]] = {}
    blind: dict[str, list[Judged]] = {}
    identity: Mapping[str, Any] = {}
    for path in sorted(folder.glob("replies-*.jsonl")):
        header, rows = read_judged(path)
        split, is_blind = str(header.get("split")), bool(header.get("blind"))
        if not rows:
            continue
        report.add(score_scenes([reply for reply, _ in rows], names, split, is_blind))
        (blind if is_blind else seen)[split] = rows
        if not is_blind:
            identity = header
            samples |= {f"{split}/{reply.id}": _sample(split, reply, right, names) for reply, right in rows}
    if not seen:
        raise SensoriumError(folder, "holds no replies of a model that saw the pictures.")
    note = f"Blind: every picture replaced by an even grey one of its size. Chance: {report.chance_line()}."
    # The first two columns in one: what a row is of.
    said = ((f"{split} " if len(seen) > 1 else "", measure, cells) for split, measure, *cells in report.rows())
    lines = tuple((split + measure, *cells) for split, measure, cells in said)
    table = ScoreTable(COLUMNS[1:], lines, frozenset(range(1, 6)), note)
    model = str(report.model.get("name", folder.name))
    return RunView(
        folder=folder,
        model=model,
        title=str(report.data.get("name") or "scenes"),
        protocol=f"{', '.join(seen)}: asked and scored by our own protocol",
        variant=None,
        tables=(table,),
        families=tuple(_family(split, rows, blind.get(split, []), names) for split, rows in seen.items()),
        samples=samples,
        unasked={},
        remarks=(),
        manifest=tuple(_manifest(report, identity, results)),
    )


def _results(folder: Path) -> dict[str, Any]:
    """What else the run left; the replies are what counts."""
    path = folder / "results.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise SensoriumError(path, f"cannot be read ({error}).", "Remove it; the replies are what counts.") from error
    return found if isinstance(found, dict) else {}


def _sample(split: str, reply: ScenesReply, right: bool, names: Names) -> Sample:
    said, worth = _read(reply, names), float(right)
    boxes = tuple(box.to_unit() for item in parse_grounded(reply.reply) for box in item.boxes)
    truth, true_boxes = _truth(reply)
    answered = Answered(reply.reply, said, worth, verdict_of(worth, said, True), boxes)
    return Sample(f"{split}/{reply.id}", f"{split} {reply.subset}", f"{split}/{reply.scene}", reply.question, truth,
                  (answered,), true_boxes)  # fmt: skip


def _truth(reply: ScenesReply) -> tuple[tuple[tuple[str, str], ...], tuple[Any, ...]]:
    if reply.subset in BOX_SUBSETS:
        box = Box(*reply.truth)
        return (("true box", f"({box.x1},{box.y1}),({box.x2},{box.y2})"),), (box.to_unit(),)
    if reply.subset == "caption":
        return (("true names", ", ".join(reply.truth)),), ()
    return (("answer", str(reply.truth)),), ()


def _read(reply: ScenesReply, names: Names) -> str:
    """How the rules read it, "" for not at all."""
    if reply.subset == "caption":
        return ", ".join(names.find(reply.reply))
    if reply.subset in BOX_SUBSETS:
        if not parse_grounded(reply.reply):
            return ""
        return f"first box, overlap {overlap(reply):.2f} ({ENOUGH_OVERLAP} is enough)"
    if reply.subset in ANSWER_SUBSETS:
        return read_answer(reply.reply, reply.subset)
    label = yes_or_no(reply.reply)
    return "" if label == "other" else label


def _family(split: str, rows: Sequence[Judged], blind: Sequence[Judged], names: Names) -> Family:
    columns = ("questions", "unparsed")
    return Family(f"share right, {split}", _buckets(rows, names), 1.0, columns, _buckets(blind, names))


def _buckets(rows: Sequence[Judged], names: Names) -> tuple[Bucket, ...]:
    found = []
    for subset in dict.fromkeys(reply.subset for reply, _ in rows):
        chosen = [(reply, right) for reply, right in rows if reply.subset == subset]
        share = wilson(sum(right for _, right in chosen), len(chosen))
        unread = sum(not _read(reply, names) for reply, _ in chosen)
        found.append(Bucket(subset, share.value, share.low, share.high, (str(len(chosen)), str(unread))))
    return tuple(found)


def _manifest(report: Report, header: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    provenance = report.model.get("provenance") or {}
    limit = "none" if report.limit is None else f"{report.limit} probes of each subset"
    return [
        ("model", str(report.model.get("name", ""))), ("weights and arithmetic", str(header.get("model"))),
        *((f"model: {key}", in_words(value)) for key, value in provenance.items()),
        ("data", str(report.data.get("name", ""))), ("data: fingerprint", str(header.get("data"))),
        *((f"data: {key}", str(report.data[key])) for key in ("seed",) if key in report.data),
        ("sampling", "greedy"), ("limit", limit), ("format of results.json", str(results.get("format", "none"))),
    ]  # fmt: skip
