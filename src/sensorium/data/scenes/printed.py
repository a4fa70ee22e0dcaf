"""Compose pictures with words in them: cards and signs among things, and pages of type, 896 pixels square.

As in `compose`, a picture depends on (seed, split, number) alone, what is planned is drawn, and the truth comes from
the pixels. Test splits print held-out words only, their pages in 12 points; `test_style` in a held-out font.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from sensorium.data.draw import pick
from sensorium.data.records import Printed, PrintedWord, Scene
from sensorium.data.scenes.compose import Composer, Framing, box_of, image_path, paste, place, smaller
from sensorium.data.scenes.facts import PLACES, neighbours
from sensorium.data.scenes.fonts import faces_of
from sensorium.data.scenes.printing import (
    PAPERS,
    Lines,
    PixelBox,
    Print,
    line_width,
    pixels_of,
    print_block,
    print_card,
)
from sensorium.data.scenes.words import Words
from sensorium.grounding import Box

PAGE = (896, 896)
TEST_POINTS = 12
_POINTS, _POINT_SHARES = (10, 12, 14, 18, 24, 36), (0.1, 0.4, 0.15, 0.15, 0.1, 0.1)
_MARGIN = 56  # pixels of a page without type
# Cards are the matter, so the things beside them are smaller than elsewhere.
CARDS = Framing(
    ((320, 320), (320, 240), (240, 320), (448, 448), (448, 336)), (0.25, 0.25, 0.15, 0.2, 0.15),
    {1: (0.2, 0.36), 2: (0.18, 0.3)},
)  # fmt: skip
_TWO_CARDS_SHARE = 0.35
_WIDEST = {1: 0.8, 2: 0.48}  # of the canvas's short side, by the number of cards: two always have room
_PIXELS = (10, 56)  # smallest and largest em on a card; as many of 10 to 20 as of 20 to 40
_LEAST_PIXELS = 9
_WORD_SHARES = (0.4, 0.35, 0.25)  # of cards with one, two, three words
_MADE_UP_SHARE = 0.15  # of trained words
_CASES, _CARD_CASES, _PAGE_CASES = (str.lower, str.capitalize, str.upper), (0.45, 0.3, 0.25), (0.7, 0.3, 0.0)
_PAGE_PAPERS = ((255, 255, 255), (250, 247, 236), (240, 240, 240), (236, 243, 250))
_INKS = ((0, 0, 0), (40, 40, 44), (22, 34, 92), (96, 18, 24))
_LAYOUTS, _LAYOUT_SHARES = ("list", "lines", "spread"), (0.4, 0.35, 0.25)


class PrintedComposer:
    """Makes the scenes with words of one split, on the backgrounds and among the things of its composer."""

    def __init__(self, composer: Composer) -> None:
        self.composer, self.split = composer, composer.casting.split
        self.is_test = self.split.startswith("test")
        self.words = Words.load()
        self.faces = [face.name for face in faces_of(self.split)]
        self.text_faces = [face.name for face in faces_of(self.split) if face.for_text]

    def compose(self, number: int, kind: str) -> tuple[Image.Image, Scene]:
        """Scene `number` of the split: cards or a page as an RGB picture, and its truth."""
        rng = self.composer.random(number)
        return self._cards(number, rng) if kind == "cards" else self._page(number, rng)

    def _cards(self, number: int, rng: np.random.Generator) -> tuple[Image.Image, Scene]:
        size = CARDS.canvas(rng)
        background = pick(self.composer.casting.backgrounds, rng)
        picture = self.composer.backdrop(background, size, rng)
        names = list(self.composer.plan(background, rng))[: int(rng.integers(1, 3))]
        things = self.composer.things(dict.fromkeys(names, 1), size, rng, CARDS)
        n_cards = 2 if rng.random() < _TWO_CARDS_SHARE else 1
        cards = self._made(n_cards, size, rng)
        cutouts, card_sizes = [thing.cutout for thing in things], [made.picture.size for made, _ in cards]
        # Only things shrink until all have room: a card's letters have the size that was drawn.
        while (places := place([*card_sizes, *(c.size for c in cutouts)], size, rng)) is None or _touch(
            card_sizes, places
        ):
            cutouts = [smaller(cutout) for cutout in cutouts]
        objects = tuple(paste(picture, *one) for one in zip(things, cutouts, places[n_cards:], strict=True))
        printed = []
        for (made, block), corner in zip(cards, places, strict=False):  # last, so that nothing lies on the words
            picture.paste(made.picture, corner, made.picture)
            boxes = [[box_of(box, corner, size) for box in line] for line in made.words]
            printed.append(_with_boxes(block, boxes, box_of(made.box, corner, size)))
        scene = Scene(f"{number:06d}", image_path(number), *size, background.name, objects, "cards", tuple(printed))
        return picture, scene

    def _made(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> list[tuple[Print, Printed]]:
        """Cards with words of their own and colours that nobody mixes up."""
        made: list[tuple[Print, Printed]] = []
        colours: list[str] = []
        counts = [int(rng.choice(len(_WORD_SHARES), p=_WORD_SHARES)) + 1 for _ in range(n)]
        words = self._drawn(sum(counts), rng)
        for count in counts:
            clear = [c for c in PAPERS if not any(c == other or neighbours(c, other) for other in colours)]
            colours.append(pick(clear, rng))
            carrier, face = pick(("card", "card", "sign"), rng), pick(self.faces, rng)
            case = _CASES[int(rng.choice(3, p=_CARD_CASES))]
            own, words = [case(word) for word in words[:count]], words[count:]
            lines: Lines = [own] if rng.random() < 0.4 else [[word] for word in own]
            pixels = int(np.exp(rng.uniform(*np.log(_PIXELS))))
            widest = min(size) * _WIDEST[n]
            if line_width(own, face, _LEAST_PIXELS) > widest * 0.7:
                lines = [[word] for word in own]
            card = print_card(lines, carrier, colours[-1], face, pixels, rng)
            # Set anew in smaller type, not shrunk: else cards would have no room, or letters no shape.
            while (side := max(card.picture.size)) > widest and pixels > _LEAST_PIXELS:
                pixels = max(_LEAST_PIXELS, min(pixels - 1, int(pixels * widest / side)))
                card = print_card(lines, carrier, colours[-1], face, pixels, rng)
            made.append((card, _block(carrier, colours[-1], face, pixels, lines)))
        return made

    def _page(self, number: int, rng: np.random.Generator) -> tuple[Image.Image, Scene]:
        page = Image.new("RGB", PAGE, pick(_PAGE_PAPERS, rng))
        points = TEST_POINTS if self.is_test else _POINTS[int(rng.choice(len(_POINTS), p=_POINT_SHARES))]
        face, pixels, ink = pick(self.text_faces, rng), pixels_of(points), pick(_INKS, rng)
        case, pitch = _CASES[int(rng.choice(3, p=_PAGE_CASES))], rng.uniform(1.3, 2.2)
        layout = _LAYOUTS[int(rng.choice(len(_LAYOUTS), p=_LAYOUT_SHARES))]
        printed = []
        for lines, area in self._laid_out(layout, face, pixels, case, rng):
            width = max(line_width(line, face, pixels) for line in lines)
            height = pixels * (1.3 + pitch * (len(lines) - 1))
            corner = (_between(area[0], area[2] - width, rng), _between(area[1], area[3] - height, rng))
            boxes = print_block(page, lines, corner, face, pixels, pitch, ink)
            block = _block("page", None, face, pixels, lines)
            whole = _union([box for line in boxes for box in line])
            found = [[box_of(box, (0, 0), PAGE) for box in line] for line in boxes]
            printed.append(_with_boxes(block, found, box_of(whole, (0, 0), PAGE)))
        return page, Scene(f"{number:06d}", image_path(number), *PAGE, "page", (), "page", tuple(printed))

    def _laid_out(
        self, layout: str, face: str, pixels: int, case: object, rng: np.random.Generator
    ) -> list[tuple[Lines, PixelBox]]:
        """Blocks of lines, each with the part of the page (pixels) that it may stand in."""
        inside = (_MARGIN, _MARGIN, PAGE[0] - _MARGIN, PAGE[1] - _MARGIN)
        say = case if callable(case) else str.lower
        if layout == "list":
            return [([[say(word)] for word in self._drawn(int(rng.integers(3, 9)), rng)], inside)]
        if layout == "lines":
            lines: list[list[str]] = []
            for word in map(say, self._drawn(int(rng.integers(6, 14)), rng)):
                longest = int(rng.integers(2, 5))
                fits = lines and line_width([*lines[-1], word], face, pixels) <= inside[2] - inside[0]
                if lines and fits and len(lines[-1]) < longest:
                    lines[-1].append(word)
                else:
                    lines.append([word])
            return [(lines, inside)]
        cells = [int(cell) for cell in rng.permutation(9)[: int(rng.integers(2, 6))]]
        words = [say(word) for word in self._drawn(len(cells), rng)]
        return [([[word]], _cell(cell)) for word, cell in zip(words, sorted(cells), strict=True)]

    def _drawn(self, count: int, rng: np.random.Generator) -> list[str]:
        """So many different words of the split, in training some made up."""
        pool, drawn = self.words.of(self.split), list[str]()
        while len(drawn) < count:
            is_made_up = not self.is_test and rng.random() < _MADE_UP_SHARE
            word = self.words.made_up(rng) if is_made_up else pick(pool, rng)
            if word not in drawn:
                drawn.append(word)
        return drawn


def cell_place(block: Printed) -> str:
    """Where on a page a block stands, by the middle of its words: "in the top left"."""
    x, y = (block.box.x1 + block.box.x2) // 2, (block.box.y1 + block.box.y2) // 2
    across, down = ("left", "middle", "right")[x * 3 // 1000], ("top", "middle", "bottom")[y * 3 // 1000]
    return PLACES[across, down]


def _cell(number: int) -> PixelBox:
    """The inner part of one of nine cells of a page, where a long word in large type still stays in its own."""
    x, y = number % 3, number // 3
    side = PAGE[0] / 3
    return round(x * side + 12), round(y * side + 60), round((x + 1) * side - 12), round((y + 1) * side - 60)


def _touch(sizes: Sequence[tuple[int, int]], corners: Sequence[tuple[int, int]]) -> bool:
    """Whether two cards overlap: a word must not be half under another."""
    boxes = [(x, y, x + w, y + h) for (w, h), (x, y) in zip(sizes, corners, strict=False)]
    return any(
        min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
        for i, a in enumerate(boxes) for b in boxes[:i]
    )  # fmt: skip


def _between(low: float, high: float, rng: np.random.Generator) -> int:
    return round(rng.uniform(low, max(low, high)))


def _block(carrier: str, colour: str | None, face: str, pixels: int, lines: Lines) -> Printed:
    nowhere = Box(0, 0, 0, 0)
    words = tuple(tuple(PrintedWord(word, nowhere) for word in line) for line in lines)
    return Printed(carrier, colour, nowhere, face, pixels, words)


def _with_boxes(block: Printed, boxes: Sequence[Sequence[Box]], whole: Box) -> Printed:
    lines = tuple(
        tuple(PrintedWord(word.text, box) for word, box in zip(line, of_line, strict=True))
        for line, of_line in zip(block.lines, boxes, strict=True)
    )
    return Printed(block.carrier, block.colour, whole, block.font, block.pixels, lines)


def _union(boxes: Sequence[PixelBox]) -> PixelBox:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
