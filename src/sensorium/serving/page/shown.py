"""How what was said looks on the page: the rows of Gradio's chat, names in the colours of their boxes.

Whatever a person or a model writes is shown as its characters: a `<` is never the beginning of a tag, and a Markdown
picture, which a browser would fetch from wherever the text says, stays text.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from sensorium.conversation import Image, Message, Video
from sensorium.correction.difference import numbered_boxes, pieces, said
from sensorium.correction.records import Report
from sensorium.errors import SensoriumError
from sensorium.grounding import BOX_CLOSE, BOX_OPEN, REF_OPEN, Grounded, colours_of, draw_grounded, parse_grounded
from sensorium.media import open_image, save_image
from sensorium.serving.page.strips import Strips

LONG_SIDE = 1024  # at most, of a picture on the page; what the model sees stays as it came
DRAWN_SIDE = 640  # at least, of the long side where boxes are drawn
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.S)


def rows_of(
    messages: Sequence[Message], folder: Path, reports: Mapping[int, Report] | None = None,
    strips: Strips | None = None, language: str = "en",
) -> list[dict[str, Any]]:  # fmt: skip
    """Gradio's rows: pictures and videos, these as strips of their frames, then words; under a reply with boxes a copy
    of the picture with the boxes in it.

    folder: where shown copies are kept. reports: of corrected replies, by number: struck and added words, and the boxes
    of what was found. strips: of the videos that were watched. Boxes are about the picture shown last, as everywhere in
    Sensorium; after a video nobody knows which frame they mean.
    """
    rows: list[dict[str, Any]] = []
    last: Image | None = None
    for number, message in enumerate(messages):
        content: list[Any] = []
        for part in message.parts:
            if isinstance(part, Image):
                content.append(_file(copy_for_page(part, folder)))
                last = part
            elif isinstance(part, Video):
                content.append(_strip(part, strips or {}, language))
                last = None
        if message.role == "user":
            content += [plain(message.text)] if message.text else []
        elif reports and number in reports:
            content.append(changed(reports[number]))
            found = [Grounded(f"{n} {claim.thing.name if claim.thing else ''}".strip(), boxes)
                     for n, claim, _, boxes in numbered_boxes(reports[number])]  # fmt: skip
            found = list({one.name: one for one in found}.values())
            if last is not None and (drawn := drawn_boxes(last, found, folder)):
                content.append(_file(drawn))
        else:
            content.append(coloured(message.text) or "…")
            if last is not None and (drawn := drawn_boxes(last, parse_grounded(message.text), folder)):
                content.append(_file(drawn))
        rows.append({"role": message.role, "content": content})
    return rows


def _strip(video: Video, strips: Strips, language: str) -> str:
    return strips[video].html(language) if video in strips else plain(Path(str(video.source)).name)


def coloured(reply: str) -> str:
    """The reply as Markdown, before each name that has boxes the colour in which they are drawn."""
    grounded = parse_grounded(reply)
    colours = colours_of(grounded)
    pieces, at = [], 0
    for item in grounded:
        start, end = item.span
        name = html.escape(item.name)
        pieces += [plain(reply[at:start]), f'<b><i style="color: {colours[item.name]}">■</i> {name}</b>']
        at = end
    return "".join([*pieces, plain(reply[at:])])


def changed(report: Report) -> str:
    """A corrected reply as Markdown: what was taken out is struck, what was put in underlined, each reason below."""
    tags = {"": "{}", "-": "<del>{}</del>", "+": "<ins>{}</ins>"}
    text = "".join(tags[piece.change].format(_escaped(piece.text)) for piece in pieces(report) if piece.text)
    why = dict.fromkeys(f"{said(report, claim)} {verdict.reason}" for claim in report.claims
                        if (verdict := report.verdict(claim.id)).value == "refuted")  # fmt: skip
    return "\n".join([text or "…", *(["", *(f"- {plain(line)}" for line in why)] if why else [])])


def settled(reply: str) -> str:
    """A reply under way up to a box that is still being written."""
    start = reply.rfind(REF_OPEN if REF_OPEN in reply else BOX_OPEN)
    return reply if start < 0 or BOX_CLOSE in reply[start:] else reply[:start]


def plain(text: str) -> str:
    """Markdown that shows these characters: no tags, no pictures from elsewhere; code is left as it is."""
    pieces = _CODE.split(text)
    return "".join(piece if n % 2 else _escaped(piece) for n, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("![", "!\\[")


def drawn_boxes(picture: Image, grounded: list[Grounded], folder: Path) -> Path | None:
    """A file with the boxes drawn in, or None when there is none. Named by its content, so it is drawn once."""
    if not grounded:
        return None
    key = hashlib.sha256(repr((picture.source, [(item.name, item.boxes) for item in grounded])).encode()).hexdigest()
    path = folder / f"boxes-{key[:32]}.png"  # JPEG takes the colour out of thin lines
    if not path.exists():
        large = _fitted(open_image(picture))
        if max(large.size) < DRAWN_SIDE:  # or names would be letters of a few pixels
            scale = DRAWN_SIDE / max(large.size)
            large = large.resize((round(large.width * scale), round(large.height * scale)), PILImage.Resampling.BICUBIC)
        save_image(draw_grounded(large, grounded), path)
    return path


def copy_for_page(picture: Image, folder: Path) -> Path:
    """A copy that every browser shows, upright and no larger than the page needs."""
    path = folder / f"shown-{hashlib.sha256(str(picture.source).encode()).hexdigest()[:32]}.jpg"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        save_image(_fitted(open_image(picture)), path)
    return path


def checked(path: Path) -> Image:
    """An uploaded picture, opened once so that what cannot be read is refused before the question is asked.

    Raises SensoriumError that names the picture as its owner knows it, and no path of this machine.
    """
    try:
        open_image(path)
    except SensoriumError as error:
        raise SensoriumError(path.name, error.what, error.remedy) from error
    return Image(str(path))


def _fitted(picture: PILImage.Image) -> PILImage.Image:
    picture.thumbnail((LONG_SIDE, LONG_SIDE))
    return picture


def _file(path: Path) -> dict[str, Any]:
    return {"path": str(path)}
