"""A tiny catalogue of coloured shapes: the scene builder's tests need nobody's packages."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from sensorium.data.scenes.build import ScenesConfig
from sensorium.data.scenes.catalogue import Background, Catalogue, Drawing
from sensorium.data.scenes.vocabulary import Vocabulary

VOCABULARY = """
toy:
  ball: {}
  kite: {}
  drum: {}
  yo-yo: {held_out: true}
vehicle:
  car: {}
  truck: {}
  airplane: {}
  boat: {held_out: true}
tool:
  scissors: {measure: pair}
  axe: {}
animal:
  bird: {}
  duck: {like: [bird]}
"""
PAINTS = {"red": "#d01818", "blue": "#2050d0", "green": "#20a030"}
STYLES = ("plain", "round", "held")


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Twelve names in three styles (one held out), four backgrounds (two held out); every drawing of one clear hue."""
    root = tmp_path_factory.mktemp("catalogue")
    (root / "drawings").mkdir()
    (root / "backgrounds").mkdir()
    (root / "vocabulary.yaml").write_text(VOCABULARY, encoding="utf-8")
    vocabulary = Vocabulary.load(root / "vocabulary.yaml")
    drawings = tuple(
        draw_shape(root, name, style, list(PAINTS)[(number + hand) % 3])
        for number, name in enumerate(vocabulary.names)
        for hand, style in enumerate(STYLES)
    )
    made = Catalogue(root, drawings, tuple(paint(root, i) for i in range(4)), vocabulary, "held")
    made.save(VOCABULARY)
    return Catalogue.load(root)


def draw_shape(root: Path, name: str, style: str, colour: str) -> Drawing:
    picture = Image.new("RGBA", (200, 140 if style == "plain" else 200))
    pen = ImageDraw.Draw(picture)
    shape = pen.rectangle if style == "plain" else pen.ellipse
    shape((0, 0, picture.width - 1, picture.height - 1), fill=PAINTS[colour])
    path = f"drawings/{name}-{style}.png"
    picture.save(root / path)
    digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
    return Drawing(f"{style}-{name}", name, style, path, colour, 1.0, "CC0-1.0", digest)


def paint(root: Path, number: int) -> Background:
    path = f"backgrounds/b{number}.jpg"
    Image.new("RGB", (480, 360), (90 + 40 * number, 150, 140)).save(root / path)
    shows = ("drum", "fence") if number == 0 else ()
    return Background(f"b{number}", path, number >= 2, "MIT", shows)


@pytest.fixture
def config(catalogue: Catalogue, tmp_path: Path) -> ScenesConfig:
    sizes = {"train": 30, "val": 5, "test_seen": 8, "test_objects": 8, "test_style": 8}
    return ScenesConfig(
        catalogue=catalogue.root, out=tmp_path / "scenes", seed=0, sizes=sizes, conversations_per_scene=3, processes=1
    )
