"""Readers of other people's datasets: one file a format, one line here.

A recipe's source, `{format: llava, path: mix.json, images: pictures}`, is one of these settings; `open` makes it a
`Source` of numbered samples.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING
from typing import Annotated as Marked

from pydantic import Field

from sensorium.data.readers.base import Annotated, Question, Region, Sample, Source, SourceSettings
from sensorium.data.readers.coco import CocoSettings
from sensorium.data.readers.instructions import InstructionsSettings
from sensorium.data.readers.llava import InternVLSettings, LlavaSettings
from sensorium.data.readers.messages import MessagesSettings
from sensorium.data.readers.questions import GqaSettings, TextVqaSettings, VqaSettings
from sensorium.data.readers.referring import GenomeSettings, RefcocoSettings
from sensorium.data.readers.spreadsheet import SpreadsheetSettings
from sensorium.data.readers.table import TableSettings
from sensorium.data.readers.webdataset import WebDatasetSettings

__all__ = ["READERS", "Annotated", "AnySource", "Question", "Region", "Sample", "Source", "SourceSettings"]

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
}
# As a field of a configuration: chosen by `format`, so that an error names the keys of that format only. The type
# checker cannot read a table, and knows what all of them share.
if TYPE_CHECKING:
    AnySource = SourceSettings
else:
    AnySource = Marked[reduce(or_, dict.fromkeys(READERS.values())), Field(discriminator="format")]
