"""Phrases for boxes: RefCOCO, RefCOCO+ and RefCOCOg, and the region descriptions of Visual Genome.

RefCOCO is a pickle of references (`refs(unc).p`) beside COCO's `instances.json`. A pickle can run programs, so it is
read by an unpickler that builds lists, dicts, numbers and strings and nothing else.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sensorium.data.readers import fields
from sensorium.data.readers.base import SourceSettings
from sensorium.data.readers.hub import local_path
from sensorium.data.readers.pictures import Corners, Facts, Gathering, Pictures, noting, numbered
from sensorium.data.readers.walk import JsonFile
from sensorium.errors import SensoriumError


class RefcocoSettings(SourceSettings):
    """format `refcoco`. path: the pickle of references; instances: COCO's boxes; split: which of its splits."""

    places = (*SourceSettings.places, "instances")
    format: Literal["refcoco"] = "refcoco"
    instances: str
    split: str = "train"

    def open(self) -> Pictures:
        path, instances = local_path(self.path), local_path(self.instances)
        content = JsonFile(instances)
        gathering = Gathering()
        boxes: dict[int | str, Any] = {}

        def locate(annotation: Any, where: str) -> None:
            number = fields.name(annotation, "id", where)
            boxes[number] = annotation.get("bbox")

        def refer(reference: Any, where: str) -> None:
            found = gathering.of(reference, where, f"in {instances.name}")
            with noting(found):
                _refer(reference, found, boxes, where)

        gathering.each(numbered(content.items("images"), f"{instances}: images"), gathering.add_image)
        gathering.each(numbered(content.items("annotations"), f"{instances}: annotations"), locate)
        references = enumerate(_of_split(path, self.split))
        gathering.each(((f"{path} reference {i}", reference) for i, reference in references), refer)
        return Pictures(path, self.folder(path), gathering)


class GenomeSettings(SourceSettings):
    """format `visual-genome`. path: `region_descriptions.json`; image_data: sizes and places of the pictures."""

    places = (*SourceSettings.places, "image_data")
    format: Literal["visual-genome"] = "visual-genome"
    image_data: str

    def open(self) -> Pictures:
        path, image_data = local_path(self.path), local_path(self.image_data)
        gathering = Gathering()

        def add(image: Any, where: str) -> None:
            name = "/".join(PurePosixPath(fields.words(image, "url", where)).parts[-2:])  # VG_100K_2/1.jpg
            gathering.facts[fields.name(image, "image_id", where)] = Facts(name, fields.size(image, where))

        def describe(region: Any, where: str) -> None:
            found = gathering.of(region, where, f"in {image_data.name}")
            with noting(found):
                _describe(region, found, where)

        def describe_all(row: Any, where: str) -> None:
            gathering.each(numbered(fields.items(row, "regions", where), f"{where}: regions"), describe)

        gathering.each(numbered(JsonFile(image_data).items(), image_data), add)
        gathering.each(numbered(JsonFile(path).items(), path), describe_all)
        return Pictures(path, self.folder(path), gathering)


def _refer(reference: Any, found: Facts, boxes: dict[Any, Any], where: str) -> None:
    number = fields.name(reference, "ann_id", where)
    box = fields.corners(boxes.get(number), f"{where}: ann_id {number}")
    for sentence in fields.items(reference, "sentences", where):
        key = "sent" if fields.mapping(sentence, where).get("sent") else "raw"
        _add(found, fields.words(sentence, key, where), box, where)


def _describe(region: Any, found: Facts, where: str) -> None:
    box = fields.corners([fields.number(region, key, where) for key in ("x", "y", "width", "height")], where)
    _add(found, fields.words(region, "phrase", where), box, where)


def _add(found: Facts, phrase: str, box: Corners, where: str) -> None:
    if "<" in phrase:
        raise SensoriumError(where, f"{phrase!r} holds `<`, which only marks of boxes may.")
    found.boxes.append((phrase.strip(), box, False))


def _of_split(path: Path, split: str) -> list[Any]:
    references = plain_pickle(path)
    if not isinstance(references, list):
        raise SensoriumError(path, "is no list of references.")
    of_split = [r for r in references if not isinstance(r, dict) or r.get("split") == split]
    if not of_split:
        splits = sorted({str(r.get("split")) for r in references if isinstance(r, dict)})
        raise SensoriumError(f"{path}: split {split!r}", "is not there.", f"There are {', '.join(splits)}.")
    return of_split


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}; only lists, dicts, numbers and strings are read")


_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError, OverflowError, MemoryError,
)  # fmt: skip


def plain_pickle(path: Path) -> Any:
    """What a pickle holds. Raises SensoriumError for one that would build anything but plain values."""
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except OSError as error:
        raise SensoriumError(path, f"cannot be read ({error.strerror or error}).", "Check the path.") from error
    except _DAMAGE as error:
        raise SensoriumError(path, f"is not a pickle of plain values ({error}).", "Get the file again.") from error
