"""Boxes written into a text beside the things that they show, in the project's form `<ref>…</ref><box>…</box>`."""

from __future__ import annotations

from sensorium.correction.editors.base import Task
from sensorium.correction.records import Edit
from sensorium.grounding import REF_CLOSE, REF_OPEN, format_grounded


def box_edits(task: Task, edits: list[Edit]) -> list[Edit]:
    """Insertions around the name of each thing that was shown, once a name; none where the name itself is edited."""
    found: list[Edit] = []
    named: set[str | None] = set()
    for claim in task.claims:
        verdict, thing = task.verdict(claim), claim.thing
        if claim.kind != "existence" or claim.span.source != "text" or verdict.value != "supported" or thing is None:
            continue
        head = thing.head
        if not verdict.boxes or thing.name in named or not claim.asserts or "<" in head.of(task.text):
            continue
        if any(edit.start < head.end and head.start < edit.end and edit.kind != "agreement" for edit in edits):
            continue
        if any(edit.start <= head.start and head.end <= edit.end and edit.start < edit.end for edit in edits):
            continue  # the word itself gives way to another form, which cannot be wrapped by its old characters
        named.add(thing.name)
        close = REF_CLOSE + format_grounded("", *verdict.boxes)
        found.append(Edit(start=head.start, end=head.start, replacement=REF_OPEN, kind="box", claims=(claim.id,)))
        found.append(Edit(start=head.end, end=head.end, replacement=close, kind="box", claims=(claim.id,)))
    return found
