"""A contact sheet of a dataset: pictures with their boxes and names, or frames of films, and what is said about them.

A person sees at a glance what no check can: that a cut-out is not what its name says, that a sentence is clumsy, that
a box is off. Works for any dataset of our format.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sensorium.data.dataset import Dataset
from sensorium.data.films.records import Film, FilmQuestion
from sensorium.data.records import ConversationRow, Scene
from sensorium.errors import SensoriumError
from sensorium.grounding import Grounded, draw_grounded
from sensorium.media.sampling import Plan, sample
from sensorium.media.strip import strip_of

Line = tuple[str, str]  # words, and the colour they are written in

COLUMNS = 4
_CELL, _MARGIN, _LINE = 420, 12, 15  # pixels
_FRAMES = (3, 2)  # of a film: across, down
_TRUTH, _TASK = "#777777", "#b03020"
_INK = {"user": "#1c4f9c", "assistant": "#222222", "system": "#777777"}


def contact_sheet(
    root: Path | str, split: str, rows: int = 3, seed: int = 0, columns: int = COLUMNS, kind: str | None = None
) -> Image.Image:
    """Scenes or films drawn at random by `seed`, `rows` x `columns` of them, each above what is said; an RGB picture.

    kind: only scenes of that kind. No picture is shown smaller than it is, or a page could not be read.

    Raises SensoriumError where the dataset, the split, a picture or a film cannot be read, or the split has none.
    """
    dataset = Dataset(root)
    items = to_show(dataset, split, kind)
    if not len(items):
        raise SensoriumError(dataset.folder(split), "has nothing to show.")
    chosen = np.random.default_rng(seed).permutation(len(items))[: rows * columns]
    shown = [items[int(i)] for i in sorted(chosen)]
    said: dict[str, list[Line]] = {item.id: [] for item in shown}
    for row in dataset.conversations(split):
        if row.scene in said:
            said[row.scene] += _lines_of(row)
    if dataset.has_films(split):
        for question in dataset.questions(split):
            if question.film in said:
                said[question.film] += _lines_of_choice(question)
    width = max([_CELL, *(one.width for one in shown if isinstance(one, Scene))])
    return _grid([
        _film_cell(one, said[one.id]) if isinstance(one, Film) else _scene_cell(one, said[one.id], width)
        for one in shown
    ], columns, width)  # fmt: skip


def to_show(dataset: Dataset, split: str, kind: str | None = None) -> Sequence[Scene | Film]:
    """What a sheet of a split draws from. Raises SensoriumError where films are asked for by a kind of picture."""
    if not dataset.has_films(split):
        return dataset.scenes(split, kind)
    if kind is not None:
        raise SensoriumError("kind", f"{split} shows films, which are of no kind.", "Leave it out.")
    return dataset.films(split)


def _scene_cell(scene: Scene, said: list[Line], width: int) -> Image.Image:
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
    return _cell(marked, [(f"{scene.id}: {', '.join(things)}", _TRUTH), *said], width)


def _film_cell(film: Film, said: list[Line]) -> Image.Image:
    """A few frames of a film, each with its time, what happens in it, and what is said about it, below them."""
    across, down = _FRAMES
    frames = sample(film.video, Plan("uniform", across * down)).frames
    times = [f"{frame.time_s:.1f} s" for frame in frames]
    strip = strip_of([frame.picture for frame in frames], times, across, _CELL // across)
    styles = ", ".join(f"{actor.name} ({actor.style})" for actor in film.actors)
    happened = "; ".join(
        f"{one.span[0]:.1f} {one.name} {one.kind} {' '.join(one.detail)}".rstrip() for one in film.happenings
    )
    return _cell(strip, [(f"{film.id}: {styles}", _TRUTH), (happened, _TRUTH), *said])


def _lines_of(row: ConversationRow) -> list[Line]:
    turns = [(f"{'Q' if m.role == 'user' else 'A'}: {m.text}", _INK[m.role]) for m in row.conversation()]
    return [(f"[{row.task}]", _TASK), *turns]


def _lines_of_choice(question: FilmQuestion) -> list[Line]:
    options = " ".join(f"{letter}. {text}" for letter, text in zip("ABCD", question.options, strict=True))
    seen = ", ".join(f"{start:g}-{end:g} s" for start, end in question.spans)
    return [(f"[{question.kind}: {seen}]", _TASK), (f"Q: {question.question} {options}", _INK["user"]),
            (f"A: {question.answer}", _INK["assistant"])]  # fmt: skip


def _cell(picture: Image.Image, lines: list[Line], width: int = _CELL) -> Image.Image:
    """A picture with lines below it, wrapped."""
    letters = 66 * width // _CELL
    wrapped = [(line, ink) for text, ink in lines for line in textwrap.wrap(text, letters, subsequent_indent="   ")]
    cell = Image.new("RGB", (width, picture.height + 8 + _LINE * len(wrapped)), "white")
    cell.paste(picture, (0, 0))
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(size=12)
    for number, (line, ink) in enumerate(wrapped):
        pen.text((2, picture.height + 6 + number * _LINE), line, fill=ink, font=font)
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
