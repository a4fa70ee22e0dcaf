"""COCO annotations: captions, and instances with their boxes, one sample a picture.

`captions_*.json` and `instances_*.json` hold `images` and `annotations` joined by ids (cocodataset.org, data format).
Boxes are [x, y, width, height] in pixels from the top left. A crowd (`iscrowd`) is no instance; its class is noted, so
that nobody counts it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sensorium.data.readers.base import Annotated, Region, Sample, SourceSettings, need, picture, pixel_box
from sensorium.data.readers.hub import local_path
from sensorium.errors import SensoriumError


@dataclass
class _Picture:
    name: str
    size: tuple[int, int]
    captions: list[str] = field(default_factory=list)
    boxes: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)
    crowds: list[str] = field(default_factory=list)


class Coco:
    """The pictures of one or two annotation files (captions, instances) that have annotations at all."""

    def __init__(self, paths: list[Path], folder: Path) -> None:
        self.path, self.folder = paths[0], folder
        pictures: dict[int, _Picture] = {}
        for path in paths:
            _read(path, pictures)
        self.ids = [number for number in sorted(pictures) if pictures[number].captions or pictures[number].boxes]
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Sample:
        of_coco = self.ids[number]
        found, where = self.pictures[of_coco], f"{self.path} image {of_coco}"
        regions = tuple(Region(name, pixel_box(box, found.size, f"{where}: bbox")) for name, box in found.boxes)
        image = picture(found.name, self.folder, f"{where}: file_name")
        content = Annotated(image, tuple(found.captions), regions=regions, crowds=tuple(found.crowds))
        return Sample(str(of_coco), where, content)


class CocoSettings(SourceSettings):
    """format `coco`. path: captions or instances; also: the other of the two, if both are wanted."""

    format: Literal["coco"] = "coco"
    also: str | None = None

    def open(self) -> Coco:
        paths = [local_path(path) for path in (self.path, self.also) if path]
        return Coco(paths, local_path(self.images) if self.images else paths[0].parent)


def read_json(path: Path) -> Any:
    """A whole JSON file. Raises SensoriumError when it cannot be read or is damaged."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise SensoriumError(path, f"is not JSON ({error}).", "Get the file again.") from error


def _read(path: Path, pictures: dict[int, _Picture]) -> None:
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise SensoriumError(path, "is no COCO file: expected an object with `images` and `annotations`.")
    need(content, ["images", "annotations"], str(path))
    for i, image in enumerate(content["images"]):
        where = f"{path}: images[{i}]"
        need(image, ["id", "file_name"], where)
        size = (int(image.get("width", 0)), int(image.get("height", 0)))
        pictures.setdefault(image["id"], _Picture(image["file_name"], size))
    categories = {category["id"]: category["name"] for category in content.get("categories", ())}
    for i, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotations[{i}]"
        found = pictures.get(annotation.get("image_id"))
        if found is None:
            raise SensoriumError(f"{where}: image_id", f"{annotation.get('image_id')!r} is not among `images`.")
        if "caption" in annotation:
            if caption := " ".join(str(annotation["caption"]).split()):
                found.captions.append(caption)
        elif "bbox" in annotation:
            if annotation.get("category_id") not in categories:
                raise SensoriumError(f"{where}: category_id", f"{annotation.get('category_id')!r} is no category.")
            name = categories[annotation["category_id"]]
            x, y, width, height = annotation["bbox"]
            if annotation.get("iscrowd"):
                found.crowds.append(name)
            else:
                found.boxes.append((name, (x, y, x + width, y + height)))
