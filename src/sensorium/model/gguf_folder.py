"""What lies in a folder that `sensorium export gguf` wrote, and all that is needed to run it without torch.

llama.cpp itself reads the two GGUF files and nothing else; `sensorium.json` and the tokenizer let our engine write its
prompts by our renderer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.media.sight import Sight, ViewsConfig
from sensorium.model.folder import GGUF_FILE

FORMAT = "sensorium-gguf-2"
TEXT, VISION = "model.gguf", "mmproj.gguf"


class NotInLlamaCpp(SensoriumError):
    """llama.cpp has no graph that computes a model, or none that is written here."""


@dataclass(frozen=True)
class GgufFolder:
    """folder: where it lies; views: how pictures are cut for an encoder of image_size² pixels, of which a visual token
    covers token_pixels².
    """

    folder: Path
    quantization: str
    image_size: int
    token_pixels: int
    views: ViewsConfig
    context_length: int
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> Path:
        return self.folder / TEXT

    @property
    def vision(self) -> Path:
        return self.folder / VISION

    @property
    def sight(self) -> Sight:
        """How pictures are shown to the encoder, and how many visual tokens each takes."""
        return Sight(self.views, self.image_size, self.token_pixels)

    def tokenizer(self) -> Any:
        """transformers' fast tokenizer, our tokens added. Raises SensoriumError when it cannot be read."""
        from transformers import PreTrainedTokenizerFast

        try:
            return PreTrainedTokenizerFast.from_pretrained(self.folder)
        except (OSError, ValueError) as error:
            raise SensoriumError(self.folder, f"its tokenizer cannot be read ({error}).", "Export it again.") from error

    def write(self) -> None:
        """sensorium.json, into the folder, which is there. Raises OSError when the disk is full."""
        content = {"format": FORMAT} | {name: value for name, value in asdict(self).items() if name != "folder"}
        content["views"] = self.views.model_dump(mode="json")
        (self.folder / GGUF_FILE).write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> GgufFolder:
        """Raises SensoriumError when the folder is not one, or a file is missing."""
        path = folder / GGUF_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format", None) != FORMAT:
                raise SensoriumError(path, f"is not of the format {FORMAT}.")
            found = cls(folder, **content | {"views": ViewsConfig.model_validate(content["views"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise SensoriumError(path, f"cannot be read ({error}).", "Export the model again.") from error
        for file in (found.text, found.vision):
            if not file.is_file():
                raise SensoriumError(file, "is missing.", "Export the model again.")
        return found
