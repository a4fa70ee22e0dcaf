"""MathVista (arXiv:2310.02255): an answer is extracted from the reply, made like the right one, and compared.

The official file is an object pid -> problem {question_type, answer_type, choices, precision, answer, response,
extraction, metadata}; where it holds no `answer`, the question file does. Extraction is done by a language model in the
official pipeline; this scorer takes the file's `extraction`, and where there is none, applies the official rules that
need no model; what they cannot read is extracted as "" and counted.

variants: `official`, `lmms-eval` (texts trimmed before they are compared, a precision that is no integer fails),
`vlmevalkit` (letters of options, numbers by `int` and `float` of the whole extraction, never a list). All in percent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters, Interval
from sensorium.evaluation.scorers.choices import vlmevalkit_letter
from sensorium.evaluation.scorers.edit_distance import edit_distance
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import read_json, read_rows

VARIANTS = ("official", "vlmevalkit", "lmms-eval")
GROUPS = ("question_type", "answer_type", "language", "source", "category", "task", "context", "grade", "skills")
_IN_BRACKETS = re.compile(r"\(([a-zA-Z])\)")
_QUOTED = re.compile(r'The answer is "(.*)"\.')


@dataclass(frozen=True)
class MathReply:
    """One problem. extraction: None where the file has none. groups: `GROUPS` -> what the problem is."""

    question_type: str
    answer_type: str
    answer: str
    reply: str
    choices: tuple[str, ...] = ()
    precision: float | None = None
    extraction: str | None = None
    groups: Mapping[str, Any] = field(default_factory=dict)


def read(answers: Path, questions: Path | None = None) -> list[MathReply]:
    """Raises SensoriumError naming file and problem."""
    problems = read_json(answers)
    if not isinstance(problems, dict) or not problems:
        raise SensoriumError(answers, "is no object of problems by pid.")
    known = _by_pid(questions) if questions is not None else {}
    found = []
    for pid, given in problems.items():
        where = f"{answers}: problem {pid}"
        if questions is not None and pid not in known:
            raise SensoriumError(where, f"is not in {questions.name}.", "Are these files of one set?")
        if not isinstance(given, dict):
            raise SensoriumError(where, f"is no object but {type(given).__name__}.")
        found.append(_problem({**known.get(pid, {}), **given}, where))
    if missing := [pid for pid in known if pid not in problems]:
        raise SensoriumError(answers, f"has no problem {missing[0]} ({len(missing)} missing).",
                             "Add them; where a model said nothing, its response is \"\".")
    return found


def _by_pid(path: Path) -> dict[str, Any]:
    """Of the question file, an object by pid or rows that have one."""
    content = read_json(path)
    if isinstance(content, dict):
        return content
    rows = read_rows(path)
    return {str(pid): rows[i] for pid, i in rows.by("pid").items()}


def _problem(row: Mapping[str, Any], where: str) -> MathReply:
    for key in ("question_type", "answer_type", "answer"):
        if not isinstance(row.get(key), str):
            remedy = "Name the question file too: --questions." if key == "answer" and key not in row else ""
            raise SensoriumError(where, f"has no string `{key}`.", remedy)
    choices = row.get("choices") or []
    if not isinstance(choices, list):
        raise SensoriumError(where, "`choices` is no list.")
    if not isinstance(row.get("precision"), int | float | None):
        raise SensoriumError(where, "`precision` is no number.")
    if row["question_type"] == "multi_choice" and not choices:
        raise SensoriumError(where, "is multi_choice without `choices`.")
    extraction, reply = row.get("extraction"), row.get("response", "")
    if extraction is None and not isinstance(row.get("response"), str):
        raise SensoriumError(where, "has neither `extraction` nor `response`.", 'Where a model said nothing, write "".')
    metadata = row.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return MathReply(
        row["question_type"], row["answer_type"], row["answer"], str(reply), tuple(map(str, choices)),
        row.get("precision"), None if extraction is None else str(extraction),
        {key: row.get(key, metadata.get(key)) for key in GROUPS},
    )  # fmt: skip


def extracted(reply: MathReply) -> str:
    """What the official rules read from a reply without a language model, "" where they would ask one."""
    text = reply.reply
    if reply.question_type == "multi_choice" and text in reply.choices:
        return text
    if reply.answer_type in ("integer", "float"):
        try:
            return str(int(text)) if reply.answer_type == "integer" else str(float(text))
        except ValueError:
            pass
    quoted = _QUOTED.search(text)
    return quoted[1] if quoted else ""


def normalised(
    extraction: str, reply: MathReply, variant: str = "official", ignore_empty: bool = False
) -> str | None:
    """The extraction made like an answer of its kind; None where that fails.

    Multiple choice: a letter in round brackets or alone is that choice, anything else the choice nearest by edit
    distance, the first of equals; so nothing extracted is the shortest choice, unless ignore_empty says it is none.
    """
    if reply.question_type == "multi_choice":
        extraction = extraction.strip()
        if ignore_empty and not extraction:
            return None
        if letter := _IN_BRACKETS.search(extraction):
            extraction = letter[1].upper()
        letters = [chr(ord("A") + i) for i in range(len(reply.choices))]
        if extraction in letters:
            return reply.choices[letters.index(extraction)]
        return min(reply.choices, key=lambda choice: edit_distance(extraction, choice))
    if reply.answer_type in ("integer", "float"):
        return _number(extraction, reply, variant)
    return extraction


def _number(extraction: str, reply: MathReply, variant: str) -> str | None:
    digits = reply.precision
    if reply.answer_type == "float" and (digits is None or (variant == "lmms-eval" and not isinstance(digits, int))):
        return None
    try:
        value = float(extraction)
        return str(int(value)) if reply.answer_type == "integer" else str(round(value, int(digits or 0)))
    except (ValueError, OverflowError):
        return None


def is_right(reply: MathReply, variant: str = "official", ignore_empty: bool = False) -> bool:
    extraction = extracted(reply) if reply.extraction is None else reply.extraction
    if variant == "vlmevalkit":
        return _is_right_by_letter(reply, extraction)
    found = normalised(extraction, reply, variant, ignore_empty)
    return str(found).strip() == reply.answer.strip() if variant == "lmms-eval" else found == reply.answer


def _is_right_by_letter(reply: MathReply, extraction: str) -> bool:
    """VLMEvalKit: by its rule for options or by `int` and `float`, of the reply first and then of the extraction."""
    if reply.question_type == "multi_choice":
        options = {chr(ord("A") + i): choice for i, choice in enumerate(reply.choices)}
        letter = vlmevalkit_letter(reply.reply, options) or vlmevalkit_letter(extraction, options)
        return bool(letter) and options.get(letter) == reply.answer
    kinds: dict[str, Callable[[str], float]] = {"integer": int, "float": float}
    kind = kinds.get(reply.answer_type)
    if kind is None:
        return False

    def equals(text: str) -> bool:
        try:
            return kind(text) == kind(reply.answer)
        except ValueError:
            return False

    return equals(reply.reply) or equals(extraction)


def score(replies: Sequence[MathReply], variant: str = "official", ignore_empty: bool = False) -> Outcome:
    """`accuracy` in percent with `correct` of `total`, and the same `by` kind, source, task, skill, …

    ignore_empty: the official tool's option of that name; some published scores were made with it.
    """
    known_variant(variant, VARIANTS)
    right = [is_right(reply, variant, ignore_empty) for reply in replies]
    by: dict[str, dict[str, Any]] = {}
    for key in GROUPS:
        buckets: dict[str, list[bool]] = {}
        for reply, is_one in zip(replies, right, strict=True):
            value = reply.groups.get(key)
            for name in value if isinstance(value, list) else [value]:
                if name is not None:
                    buckets.setdefault(str(name), []).append(is_one)
        if buckets:
            by[key] = {name: _share(bucket)[0] for name, bucket in buckets.items()}
    unread = sum(reply.extraction is None and not extracted(reply) for reply in replies)
    values, interval = _share(right)
    notes = (f"{unread} replies need a language model to be read; they were scored as the empty extraction",)
    return Outcome(
        "mathvista", variant, {**values, "by": by, "unread": unread}, {"accuracy": interval}, notes if unread else ()
    )


def _share(right: Sequence[bool]) -> tuple[dict[str, Any], Interval]:
    clusters = Clusters()
    for is_one in right:
        clusters.add(None, is_one, 1)
    counts = {"correct": sum(right), "total": len(right)}
    return {"accuracy": 100 * sum(right) / len(right), **counts}, clusters.mean_interval(100)
