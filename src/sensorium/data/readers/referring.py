"""Phrases for boxes: RefCOCO, RefCOCO+ and RefCOCOg, and the region descriptions of Visual Genome.

RefCOCO is a pickle of references (`refs(unc).p`) beside COCO's `instances.json`. A pickle can run programs, so it is
read by an unpickler that builds lists, dicts, numbers and strings and nothing else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Hashable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sensorium.data.readers import fields
from sensorium.data.readers.base import SourceSettings
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.pictures import Corners, Facts, Pictures, read_json
from sensorium.errors import SensoriumError


class RefcocoSettings(SourceSettings):
    """format `refcoco`. path: the pickle of references; instances: COCO's boxes; split: which of its splits."""

    places = (*SourceSettings.places, "instances")
    format: Literal["refcoco"] = "refcoco"
    instances: str
    split: str = "train"

    def open(self) -> Pictures:
        path, instances = local_path(self.path), local_path(self.instances)
        content = read_json(instances)
        facts: dict[Hashable, Facts] = {}
        for i, image in enumerate(fields.items(content, "images", str(instances))):
            where = f"{instances}: images[{i}]"
            found = Facts(fields.words(image, "file_name", where), fields.size(image, where))
            facts[fields.name(image, "id", where)] = found
        boxes = {a.get("id"): a.get("bbox") for a in fields.items(content, "annotations", str(instances))}
        orphans: list[SensoriumError] = []
        for i, reference in enumerate(_of_split(path, self.split)):
            where = f"{path} reference {i}"
            try:
                shown = fields.name(reference, "image_id", where)
                if shown not in facts:
                    raise SensoriumError(f"{where}: image_id", f"{shown} is not in {instances.name}.")
            except SensoriumError as error:
                orphans.append(error)
                continue
            _refer(reference, facts[shown], boxes, where)
        return Pictures(path, local_path(self.images) if self.images else path.parent, facts, orphans)


class GenomeSettings(SourceSettings):
    """format `visual-genome`. path: `region_descriptions.json`; image_data: sizes and places of the pictures."""

    places = (*SourceSettings.places, "image_data")
    format: Literal["visual-genome"] = "visual-genome"
    image_data: str

    def open(self) -> Pictures:
        path, image_data = local_path(self.path), local_path(self.image_data)
        facts: dict[Hashable, Facts] = {}
        for i, image in enumerate(_array(image_data)):
            where = f"{image_data}[{i}]"
            url = fields.words(image, "url", where)
            name = "/".join(PurePosixPath(url).parts[-2:])  # VG_100K_2/1.jpg
            facts[fields.name(image, "image_id", where)] = Facts(name, fields.size(image, where))
        orphans: list[SensoriumError] = []
        for i, row in enumerate(_array(path)):
            for region in fields.items(row, "regions", f"{path}[{i}]"):
                where = f"{path}[{i}] region {region.get('region_id') if isinstance(region, dict) else '?'}"
                try:
                    shown = fields.name(region, "image_id", where)
                    if shown not in facts:
                        raise SensoriumError(f"{where}: image_id", f"{shown} is not in {image_data.name}.")
                except SensoriumError as error:
                    orphans.append(error)
                    continue
                _describe(region, facts[shown], where)
        return Pictures(path, local_path(self.images) if self.images else path.parent, facts, orphans)


def _refer(reference: Any, found: Facts, boxes: dict[Any, Any], where: str) -> None:
    try:
        number = fields.name(reference, "ann_id", where)
        box = fields.corners(boxes.get(number), f"{where}: ann_id {number}")
        for sentence in fields.items(reference, "sentences", where):
            key = "sent" if fields.mapping(sentence, where).get("sent") else "raw"
            _add(found, fields.words(sentence, key, where), box, where)
    except SensoriumError as error:
        found.faults.append(error)


def _describe(region: Any, found: Facts, where: str) -> None:
    try:
        box = fields.corners([fields.number(region, key, where) for key in ("x", "y", "width", "height")], where)
        _add(found, fields.words(region, "phrase", where), box, where)
    except SensoriumError as error:
        found.faults.append(error)


def _add(found: Facts, phrase: str, box: Corners, where: str) -> None:
    if "<" in phrase:
        raise SensoriumError(where, f"{phrase!r} holds `<`, which only marks of boxes may.")
    found.boxes.append((phrase.strip(), box, False))


def _of_split(path: Path, split: str) -> list[Any]:
    references = _plain_pickle(path)
    if not isinstance(references, list):
        raise SensoriumError(path, "is no list of references.")
    of_split = [r for r in references if not isinstance(r, dict) or r.get("split") == split]
    if not of_split:
        splits = sorted({str(r.get("split")) for r in references if isinstance(r, dict)})
        raise SensoriumError(f"{path}: split {split!r}", "is not there.", f"There are {', '.join(splits)}.")
    return of_split


def _array(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        raise SensoriumError(path, "is no list.", "Check that the source's `format` is right.")
    return content


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}; only lists, dicts, numbers and strings are read")


_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError, OverflowError, MemoryError,
)  # fmt: skip


def _plain_pickle(path: Path) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error
    except _DAMAGE as error:
        raise SensoriumError(path, f"is not a pickle of plain values ({error}).", "Get the file again.") from error
