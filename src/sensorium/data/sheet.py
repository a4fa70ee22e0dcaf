"""A contact sheet of a dataset: pictures with their boxes and names, and what is said about them.

A person sees at a glance what no check can: that a cut-out is not what its name says, that a sentence is clumsy, that
a box is off. Works for any dataset of our format.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sensorium.data.dataset import Dataset
from sensorium.data.records import ConversationRow, Scene
from sensorium.errors import SensoriumError
from sensorium.grounding import Grounded, draw_grounded

COLUMNS = 4
_CELL, _MARGIN, _LINE = 420, 12, 15  # pixels
_INK = {"user": "#1c4f9c", "assistant": "#222222", "system": "#777777"}


def contact_sheet(
    root: Path | str, split: str, rows: int = 3, seed: int = 0, columns: int = COLUMNS, kind: str | None = None
) -> Image.Image:
    """Scenes drawn at random by `seed`, `rows` x `columns` of them, each above its conversations; an RGB picture.

    kind: only scenes of that kind. No picture is shown smaller than it is, or a page could not be read.

    Raises SensoriumError where the dataset, the split or a picture cannot be read, or the split has no pictures.
    """
    dataset = Dataset(root)
    scenes = dataset.scenes(split, kind)
    if not len(scenes):
        raise SensoriumError(dataset.folder(split), "has no pictures to show.")
    chosen = np.random.default_rng(seed).permutation(len(scenes))[: rows * columns]
    shown = [scenes[int(i)] for i in sorted(chosen)]
    said: dict[str, list[ConversationRow]] = {scene.id: [] for scene in shown}
    for row in dataset.conversations(split):
        if row.scene in said:
            said[row.scene].append(row)
    width = max(_CELL, *(scene.width for scene in shown))
    return _grid([_cell(scene, said[scene.id], width) for scene in shown], columns, width)


def _cell(scene: Scene, rows: list[ConversationRow], width: int) -> Image.Image:
    """One picture with boxes, its conversations wrapped below it."""
    try:
        with Image.open(scene.image) as file:
            picture = file.convert("RGB")
    except OSError as error:
        raise SensoriumError(scene.image, f"cannot be read ({error}).", "Build the dataset again.") from error
    names = dict.fromkeys(thing.name for thing in scene.objects)
    if width == _CELL or picture.width > _CELL:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.BICUBIC)
    marked = draw_grounded(picture, [Grounded(name, tuple(t.box for t in scene.of(name))) for name in names])
    _frame_words(marked, scene)
    things = [f"{t.name} ({t.colour or '?'}, {t.style})" for t in scene.objects]
    for block in scene.printed:
        words = " / ".join(" ".join(word.text for word in line) for line in block.lines)
        things.append(f"{block.carrier} ({block.colour or 'words'}, {block.font}, {block.pixels} px): {words}")
    truth = ", ".join(things)
    lines = [(f"{scene.id}: {truth}", "#777777")]
    for row in rows:
        lines.append((f"[{row.task}]", "#b03020"))
        lines.extend((f"{'Q' if m.role == 'user' else 'A'}: {m.text}", _INK[m.role]) for m in row.conversation())
    letters = 66 * width // _CELL
    wrapped = [(line, ink) for text, ink in lines for line in textwrap.wrap(text, letters, subsequent_indent="   ")]
    cell = Image.new("RGB", (width, marked.height + 8 + _LINE * len(wrapped)), "white")
    cell.paste(marked, (0, 0))
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(size=12)
    for number, (line, ink) in enumerate(wrapped):
        pen.text((2, marked.height + 6 + number * _LINE), line, fill=ink, font=font)
    return cell


def _frame_words(picture: Image.Image, scene: Scene) -> None:
    """A thin frame two pixels around each printed word, so that it can still be read."""
    pen = ImageDraw.Draw(picture)
    for word in scene.words:
        left, top, right, bottom = word.box.to_pixels(*picture.size)
        pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline="#e6194b")


def _grid(cells: list[Image.Image], columns: int, cell_width: int) -> Image.Image:
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) + _MARGIN for row in rows]
    width = min(columns, len(cells)) * (cell_width + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, sum(heights) + _MARGIN), "white")
    y = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (_MARGIN + column * (cell_width + _MARGIN), y))
        y += height
    return sheet
