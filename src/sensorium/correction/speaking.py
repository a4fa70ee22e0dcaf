"""Correct a text while it is being said: sentence by sentence, one held back.

A sentence is let go when the next one has ended, because only then is it sure where it ends and what its neighbours
say; what has been let go is never taken back. Each is read together with some sentences before it, so that pronouns
find their things; evidence about those comes from the memo, so that this costs parsing and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from sensorium.correction.editors import Minimal
from sensorium.correction.language import read
from sensorium.correction.memo import Meter
from sensorium.correction.picture import Picture
from sensorium.correction.records import Claim, Edit, Report, apply_edits
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.correction.corrector import Corrector

_ENDED = re.compile(r"(?:[.!?…][\"'”’)\]]*\s|[。！？]|\n)\s*")
_LOOK_BACK = 8  # sentences let go that are read once more with the next ones


class Speaking:
    """One text on its way: `hear` each piece as it comes, then `end` once; `report` is there from then on.

    A text that cannot be corrected, because it is empty, too long or not English, is passed on as it is, and the
    report's `notes` say why. Raises SensoriumError when the picture does not open, or the editor is one that needs the
    whole passage.
    """

    def __init__(self, corrector: Corrector, picture: Picture, question: str | None = None) -> None:
        if not isinstance(corrector.editor, Minimal):
            raise SensoriumError("editor", f"`{corrector.editor.name}` writes whole passages anew; what is still being "
                                 "said is edited by sentences.", "Use `minimal`.")  # fmt: skip
        picture.check()
        self.report: Report | None = None
        self._whole = corrector
        policy = corrector.policy.model_copy(update={"add_missing": False, "boxes": False})
        self._corrector = replace(corrector, policy=policy)
        self._picture, self._question = picture, question
        self._meter = Meter(corrector.budget)
        self._meter.pause()
        self._text, self._looked = "", 0  # up to which character the text was looked at
        self._said, self._starts = 0, [0]  # how far it has been let go; where the sentences of that begin
        self._edits: list[Edit] = []
        self._refusal = ""

    def hear(self, piece: str) -> str:
        """Take in what was said next; returns what may be shown of the corrected text, often nothing."""
        self._text += piece
        ends = [match.end() for match in _ENDED.finditer(self._text, max(0, self._looked - 1))]
        if not ends or ends[-1] <= self._looked:
            return ""
        self._looked = ends[-1]
        return self._let_go(ends[-1], is_last=False)

    def end(self) -> str:
        """The rest of the corrected text."""
        rest = self._let_go(len(self._text), is_last=True)
        self.report, added = self._told()
        return rest + added

    def _let_go(self, end: int, is_last: bool) -> str:
        """What may be said of the text up to `end`: all but its last sentence; at the end of the text, all of it."""
        start = self._starts[-_LOOK_BACK:][0]
        found = [] if self._refusal else self._find(start, end)
        if self._refusal or is_last:
            until = end
        else:
            sentences = [s for s in read(self._text[start:end]).sents if s.text.strip()]
            until = start + sentences[-2].end_char if len(sentences) > 1 else self._said
            self._starts += [at for s in sentences[:-1] if (at := start + s.start_char) > self._starts[-1]]
        if until <= self._said:
            return ""
        new = [edit for edit in found if edit.start >= self._said and (is_last or edit.start < until)]
        reach = max([until, *(edit.end for edit in new)])
        if not is_last and self._text[until:reach].strip():
            return ""  # an edit is not settled while it reaches into what is still open
        piece = apply_edits(self._text[self._said : reach], [_moved(edit, -self._said) for edit in new])
        self._edits += new
        self._said = reach
        return piece

    def _find(self, start: int, end: int) -> list[Edit]:
        """The edits of a stretch of the text."""
        question = self._question if start == 0 else None  # only the beginning of a text answers
        self._meter.go_on()
        try:
            report = self._corrector.correct(self._picture, self._text[start:end], question, meter=self._meter)
        except SensoriumError as error:
            if error.where not in ("text", "question"):
                raise
            self._refusal = str(error)
            return []
        finally:
            self._meter.pause()
        return [_moved(edit, start) for edit in report.edits]

    def _told(self) -> tuple[Report, str]:
        """The report on the whole text with the edits that were made, and what is added at its end."""
        self._meter.remembered = self._meter.skipped = 0
        self._meter.go_on()
        report = self._whole.correct_reply(self._picture, self._text, self._question, self._meter)
        self._meter.pause()
        added = [edit for edit in report.edits if edit.kind == "add"]
        edits = [*(_claimed(edit, report) for edit in self._edits), *added]
        boxes = [] if any(_meet(box, edit) for box in report.boxes for edit in edits) else report.boxes
        told = report.model_copy(update={
            "edits": tuple(edits), "boxes": tuple(boxes), "output": apply_edits(self._text, edits),
            "grounded": apply_edits(self._text, [*edits, *boxes]), "cost": self._meter.cost(),
            "notes": (self._refusal,) if self._refusal else report.notes,
        })  # fmt: skip
        return told, "".join(edit.replacement for edit in added)


def _moved(edit: Edit, by: int) -> Edit:
    return edit.model_copy(update={"start": edit.start + by, "end": edit.end + by})


def _meet(box: Edit, edit: Edit) -> bool:
    return edit.start <= box.start <= edit.end and edit.start < edit.end


def _claimed(edit: Edit, report: Report) -> Edit:
    """The edit with the numbers that its claims have in the report on the whole text."""

    def is_edited(claim: Claim) -> bool:
        at = claim.value_span or (claim.thing.head if claim.thing else claim.span)
        return at.source == "text" and edit.start < at.end and at.start < edit.end

    refuted = {verdict.claim for verdict in report.verdicts if verdict.value == "refuted"}
    ids = tuple(claim.id for claim in report.claims if claim.id in refuted and is_edited(claim))
    return edit.model_copy(update={"claims": ids})
