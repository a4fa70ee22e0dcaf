"""What scenes stand on: photographs from Debian's `scratch`, and plain, graded and softly textured ones made here.

A background must not answer questions that the scene's truth does not know of. Photographs with prominent things in
them were left out by eye; what the rest still show (a tree, a cloud) is listed with each, in `shows`, to be neither
asked about nor put on top. About a quarter of each kind is held out, for the test splits only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sensorium.errors import SensoriumError

SCRATCH = Path("/usr/share/scratch/Media/Backgrounds")
SIZE = (480, 360)

# Photograph: names of the vocabulary that can be seen in it.
PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    "Indoors/chalkboard": (),
    "Nature/beach-malibu": ("wave", "house", "mountain", "rock"),
    "Nature/flower-bed": ("flower", "sunflower", "leaf", "brick", "log"),
    "Nature/forest": ("tree", "log"),
    "Nature/garden-rock": ("rock", "tree", "flower", "leaf"),
    "Nature/grand-canyon": ("tree", "cloud", "rain cloud", "rock", "mountain", "pine tree"),
    "Nature/gravel-desert": ("cloud", "rain cloud", "mountain", "tree", "rock"),
    "Nature/hill": ("rock", "mountain", "island", "volcano"),
    "Nature/moon": ("rock", "moon"),
    "Nature/tree": ("tree", "leaf", "log"),
    "Nature/water-and-rocks": ("rock", "tree", "log"),
    "Nature/wave": ("wave",),
    "Outdoors/boardwalk": ("island", "cloud", "rain cloud", "mountain", "boat", "sailboat", "ship"),
    "Outdoors/brick-wall-and-stairs": ("brick", "ladder"),
    "Outdoors/brick-wall1": ("brick",),
    "Outdoors/brick-wall2": ("brick",),
    "Outdoors/city-with-water2": (
        "cloud", "rain cloud", "boat", "sailboat", "ship", "office building", "hotel", "tower", "bank", "wave",
    ),
    "Outdoors/hallway_outdoors": ("lantern", "lamp", "light bulb"),
    "Outdoors/hay_field": ("tree", "barrel", "wheel"),
    "Outdoors/train-tracks1": ("railroad track", "tree", "rock", "mountain"),
    "Outdoors/train-tracks2": ("railroad track", "tree", "rock"),
    "Sports/basketball-court1-a": ("window", "tree", "brick", "house"),
    "Sports/playing-field": ("tree", "pine tree", "house", "goal", "cloud"),
    "Sports/tennis-backboard": ("tree", "leaf"),
}
HELD_OUT_PHOTOGRAPHS = frozenset(
    {"Nature/grand-canyon", "Nature/water-and-rocks", "Outdoors/brick-wall1", "Outdoors/hay_field",
     "Outdoors/train-tracks2", "Sports/tennis-backboard"}
)


@dataclass(frozen=True)
class BackgroundArtwork:
    """A background yet to be written: `paint()` gives it as an RGB picture of SIZE."""

    name: str
    held_out: bool
    licence: str
    shows: tuple[str, ...]
    paint: Callable[[], Image.Image]


def background_artworks(folder: Path = SCRATCH) -> Iterator[BackgroundArtwork]:
    """All backgrounds; SensoriumError when the photographs are not installed."""
    if not folder.is_dir():
        raise SensoriumError(folder, "the background photographs are not installed.", "Run `apt install scratch`.")
    for key, shows in PHOTOGRAPHS.items():
        name = "photo-" + key.split("/")[1].replace("_", "-")
        yield BackgroundArtwork(name, key in HELD_OUT_PHOTOGRAPHS, "CC-BY-SA-3.0", shows, _photograph(folder, key))
    for kind, texture in TEXTURES.items():
        for number in range(8):
            name = f"{kind}-{number}"
            yield BackgroundArtwork(name, number >= 6, "Apache-2.0", (), _painted(name, texture))


def _photograph(folder: Path, key: str) -> Callable[[], Image.Image]:
    def paint() -> Image.Image:
        try:
            return Image.open(folder / f"{key}.jpg").convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
        except FileNotFoundError as error:
            raise SensoriumError(folder / f"{key}.jpg", "this background is missing.",
                                 "Install `scratch` 1.4 again.") from error
    return paint


def _painted(name: str, texture: Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]) -> Callable:
    def paint() -> Image.Image:
        chance = np.random.default_rng(list(name.encode()))
        first, second = _colour(chance), _colour(chance)
        # How much of the second colour each pixel has, [height, width], 0-1.
        x, y = np.meshgrid(np.linspace(0, SIZE[0] / SIZE[1], SIZE[0]), np.linspace(0, 1, SIZE[1]))
        share = np.clip(texture(chance, x, y), 0, 1)[..., None]
        return Image.fromarray((first * (1 - share) + second * share).round().astype(np.uint8), "RGB")
    return paint


def _colour(chance: np.random.Generator) -> np.ndarray:
    """A muted colour, so that drawings stand out from it, as three floats 0-255."""
    hsv = (int(chance.integers(256)), int(chance.integers(10, 120)), int(chance.integers(110, 250)))
    return np.array(Image.new("HSV", (1, 1), hsv).convert("RGB").getpixel((0, 0)), float)


def _plain(chance: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros_like(x)


def _gradient(chance: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle = chance.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    return (along - along.min()) / np.ptp(along)


def _room(chance: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A wall above a floor, each a little darker downwards."""
    return np.where(y < chance.uniform(0.45, 0.75), 0.15 * y, 0.75 + 0.25 * y)


def _stripes(chance: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle, bands = chance.uniform(0, np.pi), chance.uniform(3, 12)
    return 0.4 * ((np.cos(angle) * x + np.sin(angle) * y) * bands % 1 < 0.5)


def _checks(chance: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = chance.uniform(4, 10)
    return 0.35 * (((x * squares).astype(int) + (y * squares).astype(int)) % 2)


def _speckle(chance: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Soft blotches of several sizes, as of paper, plaster, grass or sand."""
    total = np.zeros_like(x)
    for cells in (4, 9, 24, 120):
        grid = Image.fromarray(chance.uniform(0, 1, (cells, cells)).astype(np.float32))
        total += np.asarray(grid.resize(SIZE, Image.Resampling.BICUBIC)) / 4
    return total + (chance.uniform(-0.2, 0.2, x.shape) if chance.random() < 0.5 else 0)


TEXTURES = {
    "plain": _plain,
    "gradient": _gradient,
    "room": _room,
    "stripes": _stripes,
    "checks": _checks,
    "speckle": _speckle,
}
