"""What changed, shown: a line with struck and added words for the terminal, and one page of HTML with the picture."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from dataclasses import dataclass

from sensorium.correction.picture import Picture
from sensorium.correction.questions import pose
from sensorium.correction.records import Claim, Report, Verdict
from sensorium.grounding import Box, Grounded, draw_grounded
from sensorium.media import encode_image

_CUT_OUT, _MOST_CUT_OUT = 96, 4  # pixels of the longer side; boxes of a claim that are shown by themselves


@dataclass(frozen=True)
class Piece:
    """A piece of the text: kept as it was, or taken out, or put in."""

    text: str
    change: str = ""  # "", "-" or "+"


def pieces(report: Report) -> Iterator[Piece]:
    """The original text in order with what was taken out and put in; the kept and added ones make the output."""
    at = 0
    for edit in sorted(report.edits, key=lambda edit: (edit.start, edit.end)):
        yield Piece(report.text[at : edit.start])
        yield Piece(report.text[edit.start : edit.end], "-")
        yield Piece(edit.replacement, "+")
        at = edit.end
    yield Piece(report.text[at:])


def marked(report: Report) -> str:
    """The difference in plain characters: `[-two-]{+three+} dogs`."""
    marks = {"": "{}", "-": "[-{}-]", "+": "{{+{}+}}"}
    return "".join(marks[piece.change].format(piece.text) for piece in pieces(report) if piece.text)


def said(report: Report, claim: Claim) -> str:
    """A claim in few words: its question and whether it was denied."""
    if claim.kind == "answer":
        return f"answer: {claim.value}"
    question = pose(claim)
    asked = question.text if question else f"{claim.kind} of what is not clear"
    return f"{asked}{'' if claim.asserts else ' (denied)'}{' (a guess)' if claim.is_hedged else ''}"


def numbered_boxes(report: Report) -> list[tuple[int, Claim, Verdict, tuple[Box, ...]]]:
    """Claims with boxes, numbered as the drawing numbers them; a thing spoken of twice has one number."""
    found: list[tuple[int, Claim, Verdict, tuple[Box, ...]]] = []
    numbers: dict[tuple[Box, ...], int] = {}
    for claim in report.claims:
        verdict = report.verdict(claim.id)
        if claim.kind == "existence" and verdict.boxes:
            number = numbers.setdefault(verdict.boxes, len(numbers) + 1)
            found.append((number, claim, verdict, verdict.boxes))
    return found


def drawing(report: Report, picture: Picture) -> bytes:
    """A PNG of the picture with the numbered boxes of what was found."""
    grounded = {
        number: Grounded(f"{number} {claim.thing.name if claim.thing else ''}".strip(), boxes)
        for number, claim, _, boxes in numbered_boxes(report)
    }
    return encode_image(draw_grounded(picture.pixels, list(grounded.values())))


def page(report: Report, picture: Picture) -> str:
    """One self-contained page: the text with struck and added words, the picture with boxes, a row for each claim."""
    numbers = {claim.id: number for number, claim, _, _ in numbered_boxes(report)}
    shown = {"": "{}", "-": "<del>{}</del>", "+": "<ins>{}</ins>"}
    text = "".join(shown[p.change].format(html.escape(p.text)) for p in pieces(report) if p.text)
    rows = "".join(_row(report, claim, numbers.get(claim.id), picture) for claim in report.claims)
    image = base64.b64encode(drawing(report, picture)).decode()
    asked = f"<p class=asked>{html.escape(report.question)}</p>" if report.question else ""
    return _PAGE.format(
        image=image, asked=asked, text=text, rows=rows, output=html.escape(report.output),
        cost=html.escape(report.cost.line()),
    )  # fmt: skip


def _row(report: Report, claim: Claim, number: int | None, picture: Picture) -> str:
    verdict = report.verdict(claim.id)
    source = report.text if claim.span.source == "text" else report.question or ""
    evidence = "<br>".join(
        html.escape(f"{one.verifier}: {one.reason}" + (f" ({one.score:.2f})" if one.score is not None else ""))
        for one in report.evidence if one.claim == claim.id
    )  # fmt: skip
    evidence += "".join(_cut_out(picture, box) for box in verdict.boxes[:_MOST_CUT_OUT])
    cells = [str(number or ""), html.escape(claim.span.of(source)), html.escape(said(report, claim)),
             f"<b class={verdict.value}>{verdict.value}</b>", html.escape(verdict.reason), evidence]  # fmt: skip
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _cut_out(picture: Picture, box: Box) -> str:
    """What a box shows, small, as an element of the page."""
    x1, y1, x2, y2 = (round(value) for value in box.to_pixels(*picture.size))
    shown = picture.pixels.crop((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))
    shown.thumbnail((_CUT_OUT, _CUT_OUT))
    data = base64.b64encode(encode_image(shown)).decode()
    return f'<img class=cut src="data:image/png;base64,{data}" alt="what the box shows">'


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Correction</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}}
img{{max-width:100%;border-radius:6px}}del{{background:#fdd;color:#900}}
ins{{background:#dfd;color:#060;text-decoration:none}}table{{border-collapse:collapse;width:100%;font-size:14px}}
td,th{{border-bottom:1px solid #ddd;padding:.3rem .5rem;text-align:left;vertical-align:top}}.refuted{{color:#900}}
.supported{{color:#060}}.unknown,.asked,footer{{color:#666}}.cut{{display:block;margin:.3rem 0;border-radius:3px}}
.text{{font-size:1.2rem}}</style>
<img src="data:image/png;base64,{image}" alt="The picture with numbered boxes">{asked}
<p class=text>{text}</p><p>{output}</p>
<table><tr><th>box<th>words<th>claim<th>verdict<th>reason<th>evidence</tr>{rows}</table><footer>{cost}</footer></html>
"""
