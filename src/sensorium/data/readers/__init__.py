"""Readers of other people's datasets, and of ours beside them: one file a format, one line here.

A recipe's source, `{format: llava, path: mix.json, images: pictures}`, is one of these settings; `open` makes it a
`Source` of numbered samples. An installed distribution adds one by an entry point of the group `sensorium.readers`.
"""

from __future__ import annotations

from sensorium.data.readers.base import Annotated, Question, Region, Sample, Source, SourceSettings
from sensorium.data.readers.coco import CocoSettings
from sensorium.data.readers.instructions import InstructionsSettings
from sensorium.data.readers.llava import InternVLSettings, LlavaSettings
from sensorium.data.readers.messages import MessagesSettings
from sensorium.data.readers.own import OwnSettings
from sensorium.data.readers.questions import GqaSettings, TextVqaSettings, VqaSettings
from sensorium.data.readers.referring import GenomeSettings, RefcocoSettings
from sensorium.data.readers.spreadsheet import SpreadsheetSettings
from sensorium.data.readers.table import TableSettings
from sensorium.data.readers.webdataset import WebDatasetSettings

__all__ = ["READERS", "Annotated", "Question", "Region", "Sample", "Source", "SourceSettings"]

READERS: dict[str, type[SourceSettings]] = {
    "llava": LlavaSettings,
    "sharegpt": LlavaSettings,
    "messages": MessagesSettings,
    "internvl": InternVLSettings,
    "parquet": TableSettings,
    "webdataset": WebDatasetSettings,
    "coco": CocoSettings,
    "vqa": VqaSettings,
    "textvqa": TextVqaSettings,
    "gqa": GqaSettings,
    "refcoco": RefcocoSettings,
    "visual-genome": GenomeSettings,
    "mimic-it": InstructionsSettings,
    "csv": SpreadsheetSettings,
    "sensorium": OwnSettings,
}
