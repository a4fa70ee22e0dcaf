"""COCO annotations: captions, and instances with their boxes, one sample a picture.

`captions_*.json` and `instances_*.json` hold `images` and `annotations` joined by ids (cocodataset.org, data format).
Boxes are [x, y, width, height] in pixels from the top left. A crowd (`iscrowd`) is no instance; its class is noted, so
that nobody counts it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from sensorium.data.readers import fields
from sensorium.data.readers.base import SourceSettings
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.pictures import Facts, Gathering, Pictures, noting, numbered
from sensorium.data.readers.walk import JsonFile
from sensorium.errors import SensoriumError


class CocoSettings(SourceSettings):
    """format `coco`. path: captions or instances; also: the other of the two, if both are wanted."""

    places = (*SourceSettings.places, "also")
    format: Literal["coco"] = "coco"
    also: str | None = None

    def open(self) -> Pictures:
        paths = [local_path(path) for path in (self.path, self.also) if path]
        gathering = Gathering()
        for path in paths:
            _read(path, gathering)
        return Pictures(paths[0], self.folder(paths[0]), gathering)


def _read(path: Path, gathering: Gathering) -> None:
    content = JsonFile(path)
    gathering.each(numbered(content.items("images"), f"{path}: images"), gathering.add_image)
    categories: dict[int | str, str] = {}

    def name(category: Any, where: str) -> None:
        categories[fields.name(category, "id", where)] = fields.words(category, "name", where)

    def note(annotation: Any, where: str) -> None:
        found = gathering.of(annotation, where, "among `images`")
        with noting(found):
            _note(annotation, found, categories, where)

    if "categories" in content:
        gathering.each(numbered(content.items("categories"), f"{path}: categories"), name)
    gathering.each(numbered(content.items("annotations"), f"{path}: annotations"), note)


def _note(annotation: Any, found: Facts, categories: dict[int | str, str], where: str) -> None:
    if "caption" in annotation:
        found.captions.append(" ".join(fields.words(annotation, "caption", where).split()))
    elif "bbox" in annotation:
        category = fields.name(annotation, "category_id", where)
        if category not in categories:
            raise SensoriumError(f"{where}: category_id", f"{category!r} is no category.")
        box = fields.corners(annotation["bbox"], f"{where}: bbox")
        if annotation.get("iscrowd"):
            found.crowds.append(categories[category])
        else:
            found.boxes.append((categories[category], box, True))
