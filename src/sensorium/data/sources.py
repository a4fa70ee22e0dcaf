"""A file that names sources: what a recipe's `data` points to when the data is other people's, or of several kinds.

    sources:
      - {format: llava, path: llava_v1_5_mix665k.json, images: pictures}
      - {format: coco, path: captions_train2017.json, images: train2017, epochs: 2}
      - {format: sensorium, path: runs/video}
    temperature: 2

Paths are relative to the file. `sensorium data check` reads the same file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sensorium.configuration import explain, read_yaml
from sensorium.data.readers.choice import FORMATS, AnySource
from sensorium.data.rewriters import RewriteSettings
from sensorium.errors import SensoriumError, did_you_mean


class SourcesSettings(BaseModel):
    """sources: in any order. temperature and shares: how weights divide the samples (`mixture.shares`). rewrite: how
    annotations become conversations. max_bad_rows: share of the samples that may be dropped before training stops.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[AnySource, ...] = Field(min_length=1)
    temperature: float = Field(default=1.0, gt=0)
    shares: Literal["samples", "tokens"] = "samples"
    rewrite: RewriteSettings = RewriteSettings()
    max_bad_rows: float = Field(default=0.01, ge=0, le=1)

    def alone(self) -> SourcesSettings:
        """The same sources, each taken whole and once."""
        plain = dict.fromkeys(("weight", "samples", "epochs"))
        sources = tuple(source.model_copy(update=plain) for source in self.sources)
        return self.model_copy(update={"sources": sources, "temperature": 1.0, "shares": "samples"})


def load_sources(path: Path) -> SourcesSettings:
    """Read such a file, paths made absolute. Raises SensoriumError naming the file, the place and what was expected."""
    tree = read_yaml(path, "Check the path.")
    if not isinstance(tree, dict) or not isinstance(tree.get("sources"), list):
        raise SensoriumError(path, "names no sources.", "Write a list `sources:` of {format, path, …}.")
    for i, source in enumerate(tree["sources"]):
        found = source.get("format") if isinstance(source, dict) else None
        if not isinstance(found, str) or found not in FORMATS:
            raise SensoriumError(f"{path}: sources[{i}].format", f"there is no format `{found}`.",
                                 did_you_mean(str(found), FORMATS))
        places = FORMATS[found].places
        tree["sources"][i] = {key: _beside(path, value) if key in places else value for key, value in source.items()}
    try:
        return SourcesSettings.model_validate(tree)
    except ValidationError as error:
        raise explain(path, error, SourcesSettings) from error


def _beside(path: Path, value: object) -> object:
    """A path relative to the file, made absolute; hub addresses and what is no path stay as they are."""
    if not isinstance(value, str) or value.startswith("hf://"):
        return value
    return str((path.parent / Path(value).expanduser()).absolute())
