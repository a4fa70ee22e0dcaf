"""A capable engine rewrites the passage, as Woodpecker has it (arXiv:2310.16045), and is then checked.

The rewriting is taken only if, looked at again, it says nothing that is refuted and still says everything that was
shown; else the rules of `minimal` make the edits. So a free hand can never do worse than they.
"""

from __future__ import annotations

import difflib
import re

from sensorium.conversation import Conversation, user
from sensorium.correction.editors.base import Task
from sensorium.correction.editors.minimal import Minimal
from sensorium.correction.questions import pose
from sensorium.correction.records import Claim, Edit, Verdict
from sensorium.engine import Sampling
from sensorium.errors import SensoriumError

_LONGER = 1.5  # a rewriting may be so many times as long as the text, and no more


class Rewrite:
    """An engine's rewriting, accepted or not. fallback: whose edits stand where it is not."""

    name = "rewrite"

    def __init__(self, fallback: Minimal | None = None) -> None:
        self.fallback = fallback or Minimal()

    def edit(self, task: Task) -> list[Edit]:
        if not task.refuted:
            return self.fallback.edit(task)
        if task.engine is None:
            raise SensoriumError("editor", "`rewrite` needs an engine.", "Name one with --engine.")
        rewritten = self._ask(task)
        if rewritten is None or not _is_better(task, rewritten):
            return self.fallback.edit(task)
        return changes(task.text, rewritten, tuple(claim.id for claim in task.refuted))

    def _ask(self, task: Task) -> str | None:
        if task.engine is None or not task.meter.allows():
            return None
        task.meter.count("editor")
        try:
            most = 2 * task.engine.count(task.text) + 16
            reply = task.engine.answer([Conversation((user(task.picture.image, _request(task)),))],
                                       Sampling(max_new_tokens=most))[0]  # fmt: skip
        except SensoriumError:
            return None
        text = reply.text.strip().strip('"').strip()
        return text if reply.finish == "stop" and text and len(text) <= _LONGER * len(task.text) + 40 else None


def _request(task: Task) -> str:
    """The passage with what was found out about it, and what to do."""
    lines = []
    for claim in task.claims:
        verdict = task.verdict(claim)
        if verdict.value == "unknown" or claim.kind == "answer":
            continue
        question = pose(claim)
        if question is not None:
            is_so = (verdict.value == "supported") == claim.asserts
            seen = f" ({verdict.observed} instead)" if verdict.observed and not is_so else ""
            lines.append(f"- {question.text} {'Yes' if is_so else 'No'}{seen}.")
    asked = f"The passage answers: {task.question}\n" if task.question else ""
    facts = "\n".join(dict.fromkeys(lines))
    return (
        f"Facts about the image:\n{facts}\n{asked}Passage: {task.text}\n"
        "Write the passage again. Change only what the facts contradict; keep every other word. Give the passage alone."
    )


def _is_better(task: Task, rewritten: str) -> bool:
    """No claim of it is refuted, and every claim that was shown is still made."""
    if task.again is None:
        return False
    try:
        claims, verdicts = task.again(rewritten)
    except SensoriumError:
        return False
    if any(verdict.value == "refuted" for verdict in verdicts):
        return False
    return _shown(task.claims, task.verdicts) <= _shown(claims, verdicts)


def _shown(claims: tuple[Claim, ...], verdicts: tuple[Verdict, ...]) -> set[tuple[object, ...]]:
    supported = {verdict.claim for verdict in verdicts if verdict.value == "supported"}
    return {
        (c.kind, c.thing.name if c.thing else None, c.value.rstrip("+"), c.other.name if c.other else None, c.asserts)
        for c in claims if c.id in supported and c.span.source == "text" and c.kind != "answer"
    }  # fmt: skip


def changes(old: str, new: str, claims: tuple[str, ...]) -> list[Edit]:
    """The edits by words that turn one text into another."""
    olds, news = re.findall(r"\s+|\w+|[^\w\s]", old), re.findall(r"\s+|\w+|[^\w\s]", new)
    ends = [0]
    for piece in olds:
        ends.append(ends[-1] + len(piece))
    return [
        Edit(start=ends[i1], end=ends[i2], replacement="".join(news[j1:j2]), kind="rewrite", claims=claims)
        for what, i1, i2, j1, j2 in difflib.SequenceMatcher(None, olds, news, autojunk=False).get_opcodes()
        if what != "equal"
    ]
