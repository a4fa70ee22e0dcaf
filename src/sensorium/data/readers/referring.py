"""Phrases for boxes: RefCOCO, RefCOCO+ and RefCOCOg, and the region descriptions of Visual Genome.

RefCOCO is a pickle of references (`refs(unc).p`) beside COCO's `instances.json`. A pickle can run programs, so it is
read by an unpickler that builds lists, dicts, numbers and strings and nothing else.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sensorium.data.readers.base import Annotated, Region, Sample, SourceSettings, need, picture, pixel_box
from sensorium.data.readers.coco import read_json
from sensorium.data.readers.hub import local_path
from sensorium.errors import SensoriumError

Phrase = tuple[str, tuple[float, float, float, float]]
Pictures = dict[int, tuple[str, tuple[int, int], list[Phrase]]]


class Referring:
    """pictures: id -> (file name, size, phrases with pixel corners)."""

    def __init__(self, path: Path, folder: Path, pictures: Pictures) -> None:
        self.path, self.folder, self.pictures = path, folder, pictures
        self.ids = [number for number, (_, _, phrases) in sorted(pictures.items()) if phrases]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Sample:
        shown = self.ids[number]
        name, size, phrases = self.pictures[shown]
        where = f"{self.path} image {shown}"
        regions = tuple(Region(phrase, pixel_box(box, size, f"{where}: box"), False) for phrase, box in phrases)
        return Sample(str(shown), where, Annotated(picture(name, self.folder, where), regions=regions))


class RefcocoSettings(SourceSettings):
    """format `refcoco`. path: the pickle of references; instances: COCO's boxes; split: which of its splits."""

    format: Literal["refcoco"] = "refcoco"
    instances: str
    split: str = "train"

    def open(self) -> Referring:
        path, instances = local_path(self.path), local_path(self.instances)
        folder = local_path(self.images) if self.images else path.parent
        return Referring(path, folder, _refcoco(path, instances, self.split))


class GenomeSettings(SourceSettings):
    """format `visual-genome`. path: `region_descriptions.json`; image_data: sizes and places of the pictures."""

    format: Literal["visual-genome"] = "visual-genome"
    image_data: str

    def open(self) -> Referring:
        path = local_path(self.path)
        folder = local_path(self.images) if self.images else path.parent
        return Referring(path, folder, _genome(path, local_path(self.image_data)))


def _refcoco(path: Path, instances: Path, split: str) -> Pictures:
    content = read_json(instances)
    need(content, ["images", "annotations"], str(instances))
    boxes = {annotation["id"]: annotation["bbox"] for annotation in content["annotations"]}
    pictures: Pictures = {
        image["id"]: (image["file_name"], (image.get("width", 0), image.get("height", 0)), [])
        for image in content["images"]
    }
    references = _plain_pickle(path)
    if not isinstance(references, list):
        raise SensoriumError(path, "is no list of references.")
    if split not in (splits := {str(reference.get("split")) for reference in references}):
        raise SensoriumError(f"{path}: split {split!r}", "is not there.", f"There are {', '.join(sorted(splits))}.")
    for i, reference in enumerate(references):
        where = f"{path} reference {i}"
        need(reference, ["split", "image_id", "ann_id", "sentences"], where)
        if reference["split"] != split:
            continue
        if reference["ann_id"] not in boxes or reference["image_id"] not in pictures:
            raise SensoriumError(where, f"annotation {reference['ann_id']} or its image is not in {instances.name}.")
        x, y, width, height = boxes[reference["ann_id"]]
        phrases = [str(sentence.get("sent") or sentence.get("raw", "")).strip() for sentence in reference["sentences"]]
        pictures[reference["image_id"]][2].extend((p, (x, y, x + width, y + height)) for p in phrases if p)
    return pictures


def _genome(path: Path, image_data: Path) -> Pictures:
    pictures: Pictures = {}
    for i, image in enumerate(read_json(image_data)):
        need(image, ["image_id", "width", "height", "url"], f"{image_data}[{i}]")
        name = "/".join(PurePosixPath(image["url"]).parts[-2:])  # VG_100K_2/1.jpg
        pictures[image["image_id"]] = (name, (image["width"], image["height"]), [])
    for i, row in enumerate(read_json(path)):
        for region in row.get("regions", ()):
            where = f"{path}[{i}] region {region.get('region_id')}"
            need(region, ["image_id", "phrase", "x", "y", "width", "height"], where)
            if region["image_id"] not in pictures:
                raise SensoriumError(where, f"image {region['image_id']} is not in {image_data.name}.")
            x, y = region["x"], region["y"]
            if phrase := region["phrase"].strip():
                corners = (x, y, x + region["width"], y + region["height"])
                pictures[region["image_id"]][2].append((phrase, corners))
    return pictures


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}; only lists, dicts, numbers and strings are read")


def _plain_pickle(path: Path) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise SensoriumError(path, f"is not a pickle of plain values ({error}).", "Get the file again.") from error
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error
