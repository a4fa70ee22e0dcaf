"""Draw a film from its truth: what is on the screen at a time, one frame after the other.

Only what a frame shows is in memory, so that an hour takes no more than a moment. Cut-outs are scaled and painted once
for each colour that they are seen in.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sensorium.data.films.records import Actor, Film, Set, Span
from sensorium.data.scenes.catalogue import Catalogue
from sensorium.data.scenes.compose import open_backdrop, open_cutout, scaled, trimmed
from sensorium.data.scenes.recolour import recolour
from sensorium.errors import SensoriumError

JUMP_S = 0.6  # up and down again
JUMP = 0.55  # of the thing's own long side
_FADE_S = 3.0  # one set passes into the next, in long films
_CARDS = (("#fdf6e3", "#20242c"), ("#20242c", "#ffe08a"), ("#ffffff", "#7a1f1f"), ("#16406b", "#ffffff"))
_CARD = (0.66, 0.36)  # of the picture's width and height


class Stage:
    """Draws one film. Raises SensoriumError where the catalogue lacks a drawing or background of it."""

    def __init__(self, catalogue: Catalogue, film: Film) -> None:
        self.film = film
        drawings = {drawing.id: drawing.path for drawing in catalogue.drawings}
        backgrounds = {background.name: background.path for background in catalogue.backgrounds}
        names = [actor.drawing for actor in film.actors] + [one.background for one in film.sets]
        for name in names:
            if name not in drawings and name not in backgrounds:
                raise SensoriumError(catalogue.root, f"has no {name!r}.", "Take the catalogue that the film is of.")
        self._paths = {key: catalogue.root / path for key, path in {**drawings, **backgrounds}.items()}
        self._cutout = lru_cache(maxsize=64)(self._painted)

    def frames(self) -> Iterator[Image.Image]:
        """All frames in order, RGB."""
        for number in range(round(self.film.duration_s * self.film.fps)):
            yield self.frame(number / self.film.fps)

    def frame(self, time_s: float) -> Image.Image:
        """What is on the screen at a time."""
        picture = self._ground(time_s)
        for actor in self.film.actors:
            if any(_within(time_s, span) for span in actor.seen):
                self._draw(actor, picture, time_s)
        for card in self.film.of("card"):
            if _within(time_s, card.span):
                draw_card(picture, card.name)
        return picture

    def _ground(self, time_s: float) -> Image.Image:
        sets = self.film.sets
        number = max(i for i, one in enumerate(sets) if i == 0 or one.span[0] <= time_s)
        picture = self._view(sets[number], time_s)
        since = time_s - sets[number].span[0]
        if number and since < _FADE_S:
            picture = Image.blend(self._view(sets[number - 1], time_s), picture, since / _FADE_S)
        return picture

    def _view(self, one: Set, time_s: float) -> Image.Image:
        source = open_backdrop(self._paths[one.background])
        size = self.film.width, self.film.height
        fit = min(source.width / size[0], source.height / size[1]) * one.zoom
        w, h = size[0] * fit, size[1] * fit
        share = min(1.0, max(0.0, (time_s - one.span[0]) / (one.span[1] - one.span[0])))
        x, y = (a + (b - a) * share for a, b in zip(one.start, one.end, strict=True))
        left, top = x * (source.width - w), y * (source.height - h)
        return source.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))

    def _draw(self, actor: Actor, picture: Image.Image, time_s: float) -> None:
        colour = [colour for since, colour in actor.colours if since <= time_s or since == actor.colours[0][0]][-1]
        cutout = self._cutout(actor.drawing, colour, actor.side, actor.mirrored)
        x, y = place(actor, time_s)
        left = round(x * picture.width - cutout.width / 2)
        lift = height_of_jump(actor, time_s) * actor.side * picture.height
        picture.paste(cutout, (left, round(y * picture.height - cutout.height / 2 - lift)), cutout)

    def _painted(self, drawing: str, colour: str | None, side: float, mirrored: bool) -> Image.Image:
        cutout = scaled(open_cutout(self._paths[drawing]), side * self.film.height)
        if colour is not None:
            # A film is drawn again as it was: the shade of its paint follows from what is painted.
            rng = np.random.default_rng(zlib.crc32(f"{drawing} {colour}".encode()))
            cutout = recolour(cutout, colour, rng) or cutout
        return trimmed(cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else cutout)


def place(actor: Actor, time_s: float) -> tuple[float, float]:
    """Where an actor's centre is at a time, jumps left out."""
    times, xs, ys = zip(*actor.path, strict=True)
    return float(np.interp(time_s, times, xs)), float(np.interp(time_s, times, ys))


def height_of_jump(actor: Actor, time_s: float) -> float:
    """How high it is above its place, as a share of its long side."""
    for start in actor.jumps:
        share = (time_s - start) / JUMP_S
        if 0 <= share <= 1:
            return JUMP * 4 * share * (1 - share)
    return 0.0


def draw_card(picture: Image.Image, word: str) -> None:
    """A card in the middle with one printed word, as large as fits; its colours follow from the word."""
    paper, ink = _CARDS[zlib.crc32(word.encode()) % len(_CARDS)]
    w, h = picture.width * _CARD[0], picture.height * _CARD[1]
    left, top = (picture.width - w) / 2, (picture.height - h) / 2
    pen = ImageDraw.Draw(picture)
    pen.rectangle((left, top, left + w, top + h), fill=paper, outline=ink, width=max(1, picture.height // 80))
    font = _font(w * 0.86, h * 0.6, word)
    pen.text((picture.width / 2, picture.height / 2), word, fill=ink, font=font, anchor="mm")


@lru_cache(maxsize=256)
def _font(width: float, height: float, word: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    size = height
    long = ImageFont.load_default(size=size).getlength(word)
    return ImageFont.load_default(size=min(size, size * width / long))


def _within(time_s: float, span: Span) -> bool:
    return span[0] <= time_s < span[1]
