"""Compose a picture whose truth is known: cut-outs on a background, with names, boxes and colours.

A scene depends on (seed, split, number) alone, so any worker can make any scene and a broken build goes on where it
was. What is shown is drawn first (`plan`), then placed without crowding (`place`), then pasted; boxes come from the
pasted alpha. Nothing planned is ever dropped: things that do not fit shrink, so counts stay what the plan says.

`Casting` says which names, styles and backgrounds a split may use; the rules of holding out live there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from sensorium.data.draw import pick
from sensorium.data.records import COLOURS, SPLITS, Scene, SceneObject
from sensorium.data.scenes.catalogue import Background, Catalogue, Drawing
from sensorium.data.scenes.recolour import recolour
from sensorium.errors import SensoriumError
from sensorium.grounding import Box

_KINDS_SHARES = (0.10, 0.24, 0.36, 0.20, 0.10)  # one to five kinds of things in a picture
# Of pictures with so many kinds, how many show one of them several times (three in ten of those, a second one too). Of
# two kinds mostly neither is repeated, because relations need two single things.
_REPEAT_SHARES = {1: 0.6, 2: 0.35, 3: 0.75, 4: 0.75, 5: 0.75}
_COUNT_SHARES = (0.4, 0.3, 0.18, 0.12)  # of two, three, four, five of a repeated kind
_MOST_THINGS = 7
_MOST_DRAWS = 60  # of names for one picture; a small catalogue may not fill the plan
_SAME_DRAWING_SHARE = 0.85  # repeated things are mostly one drawing, as a reader expects of "three apples"
_RECOLOUR_SHARE = 0.85
LEAST_HUE_SHARE = 0.45  # of a drawing, for a try; `recolour` has a wider window of hues, and the last word
_KEEP_COLOUR = ("food", "plant", "person", "nature", "animal")  # a green lemon is a lime, a gray fox is a wolf
_ALIKE_SHARE = 0.35  # chance that the next kind is of a category already shown: neighbours must be told apart
_MOST_COVERED = 0.1  # of either box by another
_SOLID = 96  # alpha from which a pixel counts as the thing, not as its soft shadow
_LARGEST_CUTOUT = 224


@dataclass(frozen=True)
class Framing:
    """How large pictures are, and things in them.

    canvases, shares: (width, height) in pixels, and how often each; sizes: number of things in a picture -> smallest
    and largest long side, as a share of the canvas's mean side.
    """

    canvases: tuple[tuple[int, int], ...]
    shares: tuple[float, ...]
    sizes: dict[int, tuple[float, float]]

    def canvas(self, rng: np.random.Generator) -> tuple[int, int]:
        return self.canvases[rng.choice(len(self.canvases), p=self.shares)]


PLAIN = Framing(
    ((320, 320), (320, 240), (240, 320)), (0.4, 0.4, 0.2),
    {1: (0.36, 0.6), 2: (0.32, 0.52), 3: (0.28, 0.45), 4: (0.25, 0.4), 5: (0.23, 0.36), 6: (0.21, 0.32),
     7: (0.2, 0.29)},
)  # fmt: skip
# From a twentieth to a tenth of the picture: a patch of 14 pixels or less once it is shrunk to 224, several at 448.
SMALL = Framing(
    ((448, 448), (640, 480), (480, 640), (672, 672), (896, 672), (896, 896)), (0.2, 0.2, 0.1, 0.2, 0.1, 0.2),
    dict.fromkeys(range(1, _MOST_THINGS + 1), (0.05, 0.1)),
)  # fmt: skip


@dataclass(frozen=True)
class Casting:
    """Who may appear in a split.

    lead: names of which each picture shows at least one (empty: any); others: all names that may appear; alike: name ->
    names of its category; shows: background -> names that can be seen in it, so must be neither placed nor asked.
    """

    split: str
    lead: tuple[str, ...]
    others: tuple[str, ...]
    drawings: dict[str, tuple[Drawing, ...]]
    backgrounds: tuple[Background, ...]
    alike: dict[str, tuple[str, ...]]
    shows: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, catalogue: Catalogue, split: str) -> Casting:
        """The rules of holding out: train and val see nothing held out; the three test splits see only held-out
        backgrounds, test_objects shows held-out objects, test_style the held-out style.

        Raises SensoriumError where the catalogue has nothing to show for a split.
        """
        in_test = split.startswith("test")
        style = catalogue.held_out_style
        drawings: dict[str, tuple[Drawing, ...]] = {}
        for entry in catalogue.vocabulary.entries:
            found = tuple(d for d in catalogue.drawings_of(entry.name) if (d.style == style) == (split == "test_style"))
            if found and (not entry.held_out or split == "test_objects"):
                drawings[entry.name] = found
        held_out = tuple(e.name for e in catalogue.vocabulary.entries if e.held_out and e.name in drawings)
        lead = held_out if split == "test_objects" else ()
        backgrounds = tuple(b for b in catalogue.backgrounds if b.held_out == in_test)
        if not drawings or not backgrounds or (split == "test_objects" and not lead):
            raise SensoriumError(
                catalogue.root, f"has no drawings or no backgrounds for split {split!r}.", "Build the catalogue again."
            )
        alike: dict[str, list[str]] = {}
        for name in drawings:
            alike.setdefault(catalogue.vocabulary[name].category, []).append(name)
        neighbours = {name: tuple(group) for group in alike.values() for name in group}
        # A background may hold things that the vocabulary has no word for: nobody will ask about them.
        shows = {b.name: tuple(name for name in b.shows if name in catalogue.vocabulary) for b in backgrounds}
        return cls(split, lead, tuple(sorted(drawings)), drawings, backgrounds, neighbours, shows)

    def cast(self, names: Sequence[str], rng: np.random.Generator) -> str:
        """One more name for a picture that has `names`."""
        if self.lead and (not names or rng.random() < 0.4):
            return pick(self.lead, rng)
        if names and rng.random() < _ALIKE_SHARE:
            return pick(self.alike[pick(names, rng)], rng)
        return pick(self.others, rng)


@dataclass(frozen=True)
class Thing:
    """A thing to be pasted: what it is, its pixels, its size in the picture."""

    drawing: Drawing
    colour: str | None
    cutout: Image.Image


class Composer:
    """Makes the scenes of one split. Holds the casting and, through a cache, the decoded cut-outs."""

    def __init__(self, catalogue: Catalogue, split: str, seed: int) -> None:
        self.catalogue, self.casting, self.seed = catalogue, Casting.of(catalogue, split), seed

    def compose(self, number: int, kind: str = "plain") -> tuple[Image.Image, Scene]:
        """Scene `number` of the split, plain (a long side of 320 pixels) or small: an RGB picture, and its truth."""
        rng, framing = self.random(number), SMALL if kind == "small" else PLAIN
        size = framing.canvas(rng)
        background = pick(self.casting.backgrounds, rng)
        picture = self.backdrop(background, size, rng)
        counts = self.plan(background, rng)
        things = self.things(counts, size, rng, framing)
        objects = _paste(picture, things, rng)
        return picture, Scene(f"{number:06d}", image_path(number), *size, background.name, objects, kind)

    def random(self, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, SPLITS.index(self.casting.split), number))

    def backdrop(self, background: Background, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
        """A crop of the background at the canvas's size, mirrored, tinted and softened a little."""
        return backdrop(open_backdrop(self.catalogue.root / background.path), size, rng)

    def plan(self, background: Background, rng: np.random.Generator) -> dict[str, int]:
        """Name -> how many, at most seven in all; no two that might be taken for one another, or for the background."""
        n_kinds = int(rng.choice(len(_KINDS_SHARES), p=_KINDS_SHARES)) + 1
        confusable, names = self.catalogue.vocabulary.confusable, list[str]()
        for _ in range(_MOST_DRAWS):
            if len(names) == n_kinds:
                break
            name = self.casting.cast(names, rng)
            if not any(confusable(name, other) for other in (*names, *self.casting.shows[background.name])):
                names.append(name)
        counts = dict.fromkeys(names, 1)
        if rng.random() < _REPEAT_SHARES[len(names)]:
            leading = [name for name in names if name in self.casting.lead] or names
            for name in dict.fromkeys([pick(leading, rng), pick(names, rng)][: 2 if rng.random() < 0.3 else 1]):
                counts[name] = int(rng.choice(len(_COUNT_SHARES), p=_COUNT_SHARES)) + 2
        for name in sorted(counts, key=lambda name: -counts[name]):
            counts[name] = max(1, min(counts[name], _MOST_THINGS - sum(counts.values()) + counts[name]))
        return counts

    def things(
        self, counts: dict[str, int], size: tuple[int, int], rng: np.random.Generator, framing: Framing
    ) -> list[Thing]:
        """The cut-outs of a picture, scaled, coloured and turned."""
        low, high = framing.sizes[sum(counts.values())]
        side = (size[0] * size[1]) ** 0.5
        things = []
        for name, count in counts.items():
            drawings, category = self.casting.drawings[name], self.catalogue.vocabulary[name].category
            drawing, colour = pick(drawings, rng), new_colour(name, category, rng)
            long_side = rng.uniform(low, high) * side
            for _ in range(count):
                if count > 1 and rng.random() > _SAME_DRAWING_SHARE:
                    drawing, colour = pick(drawings, rng), new_colour(name, category, rng)
                things.append(self._thing(drawing, colour, long_side * rng.uniform(0.88, 1.12), rng))
        return things

    def _thing(self, drawing: Drawing, colour: str | None, long_side: float, rng: np.random.Generator) -> Thing:
        cutout = open_cutout(self.catalogue.root / drawing.path)
        cutout = scaled(cutout, long_side)
        known = drawing.colour
        if colour is not None and drawing.hue_share >= LEAST_HUE_SHARE:
            repainted = recolour(cutout, colour, rng)
            cutout, known = (cutout, known) if repainted is None else (repainted, colour)
        if rng.random() < 0.5:
            cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.6:
            cutout = cutout.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True)
        light = ImageEnhance.Brightness(cutout.convert("RGB")).enhance(rng.uniform(0.88, 1.1))
        light.putalpha(cutout.getchannel("A"))
        return Thing(drawing, known, trimmed(light))


def new_colour(name: str, category: str, rng: np.random.Generator) -> str | None:
    """A colour to paint a kind with, or None to leave it."""
    if not may_be_painted(name, category) or rng.random() > _RECOLOUR_SHARE:
        return None
    return pick(COLOURS, rng)


def may_be_painted(name: str, category: str) -> bool:
    """Not where a name holds a colour word ("orange", "blueberries"), nor in categories whose members are told apart by
    colour."""
    return category not in _KEEP_COLOUR and not any(word in name for word in COLOURS)


def _paste(picture: Image.Image, things: Sequence[Thing], rng: np.random.Generator) -> tuple[SceneObject, ...]:
    """Paste the things where they do not crowd; returns the truth, in the order of `things`."""
    cutouts = [thing.cutout for thing in things]
    while (places := place([c.size for c in cutouts], picture.size, rng)) is None:
        cutouts = [smaller(c) for c in cutouts]
    return tuple(paste(picture, *one) for one in zip(things, cutouts, places, strict=True))


def paste(picture: Image.Image, thing: Thing, cutout: Image.Image, corner: tuple[int, int]) -> SceneObject:
    """Paste a thing as that cut-out with its top-left corner there; returns the truth about it."""
    picture.paste(cutout, corner, cutout)
    box, drawing = box_of(_solid_box(cutout), corner, picture.size), thing.drawing
    return SceneObject(drawing.name, box, thing.colour, drawing.id, drawing.style)


def box_of(pixels: tuple[int, int, int, int], corner: tuple[int, int], size: tuple[int, int]) -> Box:
    """The box of pixels (right and bottom exclusive) of what was pasted at a corner of a picture of that size."""
    (left, top, right, bottom), (x, y) = pixels, corner
    return Box.from_pixels(x + left, y + top, x + right - 0.01, y + bottom - 0.01, *size)


def smaller(cutout: Image.Image) -> Image.Image:
    """The same a little smaller, for the next try to place it."""
    return trimmed(scaled(cutout, max(cutout.size) * 0.88))


def image_path(number: int) -> str:
    """Where picture `number` lies in the folder of its split."""
    return f"images/{number // 1000:02d}/{number:06d}.jpg"


def place(
    sizes: Sequence[tuple[int, int]], canvas: tuple[int, int], rng: np.random.Generator
) -> list[tuple[int, int]] | None:
    """Top-left corners, all inside and no box more than a tenth covered by another; None when that was not found.

    The largest are placed first, forty tries each: what is hard to place should have the empty canvas.
    """
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i][0] * sizes[i][1])
    taken: dict[int, tuple[int, int, int, int]] = {}
    for i in order:
        (w, h), (width, height) = sizes[i], canvas
        if w > width or h > height:
            return None
        xs, ys = rng.integers(0, width - w + 1, 40).tolist(), rng.integers(0, height - h + 1, 40).tolist()
        boxes = ((x, y, x + w, y + h) for x, y in zip(xs, ys, strict=True))
        free = next((b for b in boxes if all(_covered(b, other) <= _MOST_COVERED for other in taken.values())), None)
        if free is None:
            return None
        taken[i] = free
    return [taken[i][:2] for i in range(len(sizes))]


def _covered(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """The shared area as a share of the smaller box."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def backdrop(source: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A crop of the background at the canvas's size, mirrored, tinted and softened a little."""
    width, height = source.size
    fit = min(width / size[0], height / size[1]) * rng.uniform(0.55, 1.0)
    w, h = size[0] * fit, size[1] * fit
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    picture = source.resize(size, Image.Resampling.BILINEAR, box=(x, y, x + w, y + h))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.6, 1.15))
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.85, 1.12))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 1.8)))
    return picture


def scaled(cutout: Image.Image, long_side: float) -> Image.Image:
    scale = long_side / max(cutout.size)
    w, h = (max(4, round(side * scale)) for side in cutout.size)
    return cutout.resize((w, h), Image.Resampling.BILINEAR)


def trimmed(cutout: Image.Image) -> Image.Image:
    return cutout.crop(cutout.getchannel("A").getbbox() or (0, 0, *cutout.size))


def _solid_box(cutout: Image.Image) -> tuple[int, int, int, int]:
    """The box of what is plainly there, in the cut-out's pixels."""
    solid = cutout.getchannel("A").point([255 * (alpha >= _SOLID) for alpha in range(256)])
    return solid.getbbox() or (0, 0, *cutout.size)


@lru_cache(maxsize=2048)
def open_cutout(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            cutout = file.convert("RGBA")
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error}).", "Build the catalogue again.") from error
    return scaled(cutout, _LARGEST_CUTOUT) if max(cutout.size) > _LARGEST_CUTOUT else cutout


@lru_cache(maxsize=128)
def open_backdrop(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            backdrop = file.convert("RGB")
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error}).", "Build the catalogue again.") from error
    backdrop.thumbnail((640, 640))
    return backdrop
