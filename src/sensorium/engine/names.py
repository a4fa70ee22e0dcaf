"""What a model's name leads to: a folder of ours or another's, the hub, or an address. Apart from everything heavy.

- `http://…` or `https://…` is an endpoint of OpenAI's API; a model of several stands behind `#`;
- `default`, a folder of ours or a finished run is a model of Sensorium's; some folders are for llama.cpp only;
- a folder whose config.json is transformers' is one of its models;
- `user/name`, where there is no folder `user`, is one on the Hugging Face hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sensorium.errors import SensoriumError
from sensorium.model.folder import is_gguf_folder, is_transformers_folder, model_folder

Kind = Literal["sensorium", "gguf", "transformers", "hub", "remote"]
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# The engines that run a kind of model.
RUN_BY: dict[Kind, tuple[str, ...]] = {
    "sensorium": ("torch", "llamacpp"), "gguf": ("llamacpp",), "transformers": ("transformers",),
    "hub": ("transformers",), "remote": ("remote",),
}  # fmt: skip
_WHAT: dict[Kind, str] = {
    "sensorium": "is a model of Sensorium's", "gguf": "was exported for llama.cpp",
    "transformers": "is a folder of transformers'", "hub": "is a model of the hub", "remote": "is an address",
}  # fmt: skip


@dataclass(frozen=True)
class Named:
    """name: as it was given. folder: of kinds that are one. base_url, model: of an address, the latter if named."""

    name: str
    kind: Kind
    folder: Path | None = None
    base_url: str = ""
    model: str | None = None

    def require(self, engine: str) -> None:
        """Raises SensoriumError when that engine does not run such a model."""
        able = RUN_BY[self.kind]
        if engine not in able:
            better = " or ".join(f"--engine {name}" for name in able)
            raise SensoriumError(self.name, f"{_WHAT[self.kind]}; {engine} cannot run it.",
                                 f"Use {better}, or leave --engine out.")


def find_model(name: str | Path) -> Named:
    """Looks at names and files only. Raises SensoriumError when the name leads nowhere."""
    text = str(name)
    if re.match(r"https?://", text, re.IGNORECASE):
        base_url, _, model = text.partition("#")
        return Named(base_url, "remote", base_url=base_url, model=model or None)
    if _HUB.fullmatch(text) and not Path(text).exists() and not Path(text).parent.exists():
        return Named(text, "hub")
    folder = model_folder(name)
    kind: Kind = "gguf" if is_gguf_folder(folder) else "transformers" if is_transformers_folder(folder) else "sensorium"
    return Named(text, kind, folder)
